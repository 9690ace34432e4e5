"""GeoPackage 1.3 of the polygons of a class map, with the style that QGIS applies by itself.

Spec: https://www.geopackage.org/spec130/. Version 1.3 because QGIS 3.22 warns on 1.4. The table
``layer_styles`` is QGIS's convention (QgsOgrProviderUtils::saveStyle); a GeoPackage may hold it when
``gpkg_contents`` lists it as ``attributes``.
"""

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import geopandas as gpd
import pyogrio
from pyogrio.errors import DataSourceError, FeatureError, GeometryError

from geoseg.errors import OutputError, one_line
from geoseg.legend import Legend
from geoseg.writers.qml import qml_for_polygons, sld_for_polygons

LAYER = "classes"
"""Name of the layer of polygons."""

_COLUMN_TYPES = {"class_id": "int32", "class_name": "object", "area_ha": "float64", "confidence": "float64"}

_STYLES_TABLE = """
CREATE TABLE layer_styles (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    f_table_catalog TEXT(256), f_table_schema TEXT(256), f_table_name TEXT(256), f_geometry_column TEXT(256),
    styleName TEXT(30), styleQML TEXT, styleSLD TEXT, useAsDefault BOOLEAN, description TEXT,
    owner TEXT(30), ui TEXT(30), update_time DATETIME
)"""


def write_gpkg(
    gdf: gpd.GeoDataFrame,
    path: Path,
    *,
    legend: Legend,
    title: str,
    created: datetime | None = None,
) -> Path:
    """A GeoPackage with layer ``classes``, styled with the legend; the same input gives the same bytes.

    Args:
        gdf: Polygons with a CRS and the columns class_id, class_name, area_ha (hectares) and confidence
            (0..1). May be empty. Other columns are not written.
        path: The file to write; appears when whole.
        legend: Names and colours of the style.
        title: What ``gpkg_contents`` tells people about the layer.
        created: Time stamp of the contents, with time zone; by default now (UTC).

    Raises:
        OutputError: when a column or the CRS is missing, or the file cannot be written.

    Example:
        >>> import tempfile
        >>> from shapely.geometry import box
        >>> columns = {"class_id": [0], "class_name": ["water"], "area_ha": [0.01], "confidence": [0.9]}
        >>> gdf = gpd.GeoDataFrame(columns, geometry=[box(0, 0, 10, 10)], crs="EPSG:32633")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = write_gpkg(gdf, Path(folder, "a.gpkg"), legend=Legend.of(water="1F78B4"), title="A")
        ...     pyogrio.read_info(path, layer="classes")["features"]
        1
    """
    missing = [name for name in _COLUMN_TYPES if name not in gdf.columns]
    if missing or gdf.crs is None:
        lack = f"columns {', '.join(missing)}" if missing else "a CRS"
        raise OutputError(
            f"Cannot write {path.name}: the polygons lack {lack}; give what polygonize returns."
        )
    stamp = (created or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.gpkg")
    temporary.unlink(missing_ok=True)
    try:
        _write_layer(gdf, temporary, title)
        with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
            add_style(
                connection,
                layer=LAYER,
                qml=qml_for_polygons(legend),
                sld=sld_for_polygons(legend, layer=LAYER),
                title="Colours of the legend",
                stamp=stamp,
            )
            connection.execute("UPDATE gpkg_contents SET last_change = ?", (stamp,))
            connection.execute("VACUUM")  # leaves no bytes of the rows replaced above
        temporary.replace(path)
    except (OSError, sqlite3.Error, DataSourceError, FeatureError, GeometryError) as error:
        reason = one_line(error)
        raise OutputError(
            f"Cannot write {path}: {reason}. Check the folder, its rights and the space left, then run again."
        ) from error
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            temporary.with_name(temporary.name + suffix).unlink(missing_ok=True)
    return path


def _write_layer(gdf: gpd.GeoDataFrame, path: Path, title: str) -> None:
    """The polygons alone, by GDAL; a layer of MultiPolygon only where a geometry needs it."""
    columns = gdf[[*_COLUMN_TYPES, gdf.geometry.name]].astype(_COLUMN_TYPES)
    has_multi = bool((gdf.geom_type == "MultiPolygon").any())
    pyogrio.write_dataframe(
        columns,
        path,
        layer=LAYER,
        driver="GPKG",
        geometry_type="MultiPolygon" if has_multi else "Polygon",
        promote_to_multi=has_multi,
        dataset_options={"VERSION": "1.3"},
        layer_options={"GEOMETRY_NAME": "geom", "IDENTIFIER": title, "SPATIAL_INDEX": "YES"},
    )


def add_style(
    connection: sqlite3.Connection, *, layer: str, qml: str, sld: str | None, title: str, stamp: str
) -> None:
    """QGIS's table of styles with one row, the default of ``layer``."""
    connection.execute(_STYLES_TABLE)
    connection.execute(
        "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column,"
        " styleName, styleQML, styleSLD, useAsDefault, description, owner, ui, update_time)"
        " VALUES ('', '', ?, 'geom', 'legend', ?, ?, 1, ?, '', NULL, ?)",
        (layer, qml, sld, title, stamp),
    )
    connection.execute(
        "INSERT INTO gpkg_contents (table_name, data_type, identifier, description, last_change)"
        " VALUES ('layer_styles', 'attributes', 'layer_styles', 'Styles for QGIS', ?)",
        (stamp,),
    )
