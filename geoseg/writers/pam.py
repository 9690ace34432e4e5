"""The .aux.xml beside a class map: what GDAL and QGIS read that TIFF has no place for."""

from pathlib import Path
from xml.sax.saxutils import escape

from geoseg.legend import Legend
from geoseg.writers.vrt import categories_xml

# Column name, GDALRATFieldType (0 integer, 2 string), GDALRATFieldUsage: gdal/gcore/gdal_rat.h
_COLUMNS = (("Value", 0, 5), ("Class", 2, 2), ("Red", 0, 6), ("Green", 0, 7), ("Blue", 0, 8))


def write_pam(path: Path, legend: Legend, description: str) -> Path:
    """Category names and a raster attribute table (value, class, red, green, blue) for band 1.

    Format: https://gdal.org/user/raster_data_model.html and GDAL's data/pamdataset.xsd.
    """
    fields = (
        f'<FieldDefn index="{i}"><Name>{name}</Name><Type>{kind}</Type><Usage>{usage}</Usage></FieldDefn>'
        for i, (name, kind, usage) in enumerate(_COLUMNS)
    )
    rows = (
        f'<Row index="{i}">{"".join(f"<F>{escape(str(v))}</F>" for v in (c.value, c.name, *c.rgb))}</Row>'
        for i, c in enumerate(sorted(legend.classes, key=lambda c: c.value))
    )
    lines = [
        "<PAMDataset>",
        '<PAMRasterBand band="1">',
        f"<Description>{escape(description)}</Description>",
        categories_xml(legend),
        '<GDALRasterAttributeTable tableType="thematic">',
        *fields,
        *rows,
        "</GDALRasterAttributeTable>",
        "</PAMRasterBand>",
        "</PAMDataset>",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
