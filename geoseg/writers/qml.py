"""Styles that QGIS 3 and other desktop programs apply by themselves: names and colours of a legend."""

from pathlib import Path
from xml.sax.saxutils import quoteattr

from geoseg.errors import OutputError
from geoseg.legend import Legend

_DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>"
_OUTLINE_MM = 0.1  # in the colour of the class: dark lines drown small polygons, none leave white hairlines
_MM_TO_PX = 1 / 0.28  # the pixel of OGC SLD 1.0 is 0.28 mm


def write_qml(path: Path, legend: Legend) -> Path:
    """The QGIS style of a class map: band 1 as a palette of the legend; nodata is not listed.

    QGIS takes it up when it lies beside the raster under the same name (``class.tif``, ``class.qml``).

    Args:
        path: The file to write; appears when whole.
        legend: Names and colours.

    Raises:
        OutputError: when the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     text = write_qml(Path(folder, "class.qml"), Legend.of(water="1F78B4")).read_text()
        >>> '<paletteEntry value="0" label="water" color="#1f78b4" alpha="255"/>' in text
        True
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(qml_for_raster(legend), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise OutputError(
            f"Cannot write {path}: {error.strerror}. Check the folder and its rights."
        ) from error
    return path


def qml_for_raster(legend: Legend) -> str:
    """The text of a QML file with a ``paletted`` renderer on band 1."""
    entries = [
        f'<paletteEntry value="{c.value}" label={quoteattr(c.name)} color="{_hex(c.rgb)}" alpha="255"/>'
        for c in legend.classes
    ]
    return "\n".join(
        [
            _DOCTYPE,
            '<qgis version="3.22" styleCategories="Symbology">',
            "<pipe>",
            '<provider><resampling enabled="false" zoomedInResamplingMethod="nearestNeighbour" '
            'zoomedOutResamplingMethod="nearestNeighbour" maxOversampling="2"/></provider>',
            '<rasterrenderer type="paletted" band="1" opacity="1" alphaBand="-1" nodataColor="">',
            "<rasterTransparency/>",
            "<colorPalette>",
            *entries,
            "</colorPalette>",
            "</rasterrenderer>",
            "</pipe>",
            "<blendMode>0</blendMode>",
            "</qgis>\n",
        ]
    )


def qml_for_polygons(legend: Legend) -> str:
    """The text of a QML style with a ``categorizedSymbol`` renderer on ``class_id``, labelled by name."""
    categories = [
        f'<category value="{c.value}" type="long" symbol="{i}" label={quoteattr(c.name)} render="true"/>'
        for i, c in enumerate(legend.classes)
    ]
    symbols = [_symbol_qml(i, c.rgb) for i, c in enumerate(legend.classes)]
    return "\n".join(
        [
            _DOCTYPE,
            '<qgis version="3.22" styleCategories="Symbology">',
            '<renderer-v2 type="categorizedSymbol" attr="class_id" symbollevels="0" enableorderby="0">',
            "<categories>",
            *categories,
            "</categories>",
            "<symbols>",
            *symbols,
            "</symbols>",
            "</renderer-v2>",
            "<blendMode>0</blendMode>",
            "<featureBlendMode>0</featureBlendMode>",
            "<layerOpacity>1</layerOpacity>",
            "<layerGeometryType>2</layerGeometryType>",
            "</qgis>\n",
        ]
    )


def sld_for_polygons(legend: Legend, *, layer: str) -> str:
    """The same style as OGC SLD 1.0.0, for GeoServer and others: one rule a class, by ``class_id``."""
    rules = (
        f"<Rule><Name>{c.name}</Name><ogc:Filter><ogc:PropertyIsEqualTo>"
        f"<ogc:PropertyName>class_id</ogc:PropertyName><ogc:Literal>{c.value}</ogc:Literal>"
        f"</ogc:PropertyIsEqualTo></ogc:Filter><PolygonSymbolizer>"
        f'<Fill><CssParameter name="fill">{_hex(c.rgb)}</CssParameter></Fill>'
        f'<Stroke><CssParameter name="stroke">{_hex(c.rgb)}</CssParameter>'
        f'<CssParameter name="stroke-width">{_OUTLINE_MM * _MM_TO_PX:.2f}</CssParameter></Stroke>'
        f"</PolygonSymbolizer></Rule>"
        for c in legend.classes
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<StyledLayerDescriptor version="1.0.0" xmlns="http://www.opengis.net/sld" '
        'xmlns:ogc="http://www.opengis.net/ogc" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xsi:schemaLocation="http://www.opengis.net/sld '
        'http://schemas.opengis.net/sld/1.0.0/StyledLayerDescriptor.xsd">'
        f"<NamedLayer><Name>{layer}</Name><UserStyle><FeatureTypeStyle>{''.join(rules)}"
        "</FeatureTypeStyle></UserStyle></NamedLayer></StyledLayerDescriptor>\n"
    )


def _symbol_qml(index: int, rgb: tuple[int, int, int]) -> str:
    options = {
        "color": f"{_comma(rgb)},255",
        "style": "solid",
        "outline_color": f"{_comma(rgb)},255",
        "outline_style": "solid",
        "outline_width": str(_OUTLINE_MM),
        "outline_width_unit": "MM",
        "joinstyle": "bevel",
    }
    values = "".join(
        f'<Option name={quoteattr(k)} type="QString" value={quoteattr(v)}/>' for k, v in options.items()
    )
    return (
        f'<symbol type="fill" name="{index}" alpha="1" clip_to_extent="1" force_rhr="0">'
        '<layer class="SimpleFill" enabled="1" locked="0" pass="0">'
        f'<Option type="Map">{values}</Option></layer></symbol>'
    )


def _hex(rgb: tuple[int, int, int]) -> str:
    return f"#{bytes(rgb).hex()}"


def _comma(rgb: tuple[int, int, int]) -> str:
    return ",".join(str(v) for v in rgb)
