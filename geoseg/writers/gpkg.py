"""GeoPackage 1.3 of the polygons of a class map, with the style that QGIS applies by itself.

Spec: https://www.geopackage.org/spec130/. Version 1.3 because QGIS 3.22 warns on 1.4. The table
``layer_styles`` is QGIS's convention (QgsOgrProviderUtils::saveStyle); a GeoPackage may hold it when
``gpkg_contents`` lists it as ``attributes``.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyogrio
import shapely
from pyogrio.errors import DataSourceError, FeatureError, GeometryError
from shapely import MultiPolygon

from geoseg.errors import OutputError, one_line
from geoseg.legend import Legend
from geoseg.writers.qml import qml_for_polygons, sld_for_polygons

LAYER = "classes"
"""Name of the layer of polygons."""

_GEOMETRY = "geom"
_SCHEMA = pa.schema(
    [
        pa.field("class_id", pa.int32()),
        pa.field("class_name", pa.string()),
        pa.field("area_ha", pa.float64()),
        pa.field("confidence", pa.float64()),
        pa.field(_GEOMETRY, pa.binary(), metadata={"ARROW:extension:name": "geoarrow.wkb"}),
    ]
)

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
    _write([gdf], path, legend=legend, title=title, created=created)
    return path


def write_gpkg_in_parts(
    parts: Iterable[gpd.GeoDataFrame],
    path: Path,
    *,
    legend: Legend,
    title: str,
    created: datetime | None = None,
) -> int:
    """What ``write_gpkg`` writes, from tables that are taken one by one; returns the number of polygons.

    Args:
        parts: one table at least, of Polygons, all like the first; each may be empty.
        path: as in ``write_gpkg``, and so are the others.
        legend: names and colours of the style.
        title: what ``gpkg_contents`` tells people about the layer.
        created: time stamp of the contents.

    Raises:
        OutputError: as ``write_gpkg``; errors of ``parts`` pass through.
    """
    return _write(parts, path, legend=legend, title=title, created=created)


def _write(
    parts: Iterable[gpd.GeoDataFrame], path: Path, *, legend: Legend, title: str, created: datetime | None
) -> int:
    stamp = (created or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.gpkg")
    temporary.unlink(missing_ok=True)
    try:
        n_polygons = _write_layer(parts, temporary, title, name=path.name)
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
    return n_polygons


def _write_layer(parts: Iterable[gpd.GeoDataFrame], path: Path, title: str, *, name: str) -> int:
    """The polygons alone, by GDAL, which takes one batch after the other; returns how many there are.

    A layer of MultiPolygon only where a geometry of the first table needs it.
    """
    first = next(iterator := iter(parts))
    _check_columns(first, name)
    has_multi = bool((first.geom_type == "MultiPolygon").any())
    stream = _Stream(chain([first], iterator), has_multi=has_multi)
    try:
        pyogrio.write_arrow(
            pa.RecordBatchReader.from_batches(_SCHEMA, stream.batches()),
            path,
            layer=LAYER,
            driver="GPKG",
            geometry_name=_GEOMETRY,
            geometry_type="MultiPolygon" if has_multi else "Polygon",
            crs=first.crs.to_wkt("WKT1_GDAL") if not first.crs.to_epsg() else f"EPSG:{first.crs.to_epsg()}",
            dataset_options={"VERSION": "1.3"},
            layer_options={"GEOMETRY_NAME": _GEOMETRY, "IDENTIFIER": title, "SPATIAL_INDEX": "YES"},
        )
    except Exception:
        if stream.error is not None:  # through Arrow's C interface only its text comes back
            raise stream.error from None
        raise
    return stream.n_polygons


class _Stream:
    """Tables to batches of Arrow; remembers what went wrong and how many rows there were."""

    def __init__(self, parts: Iterable[gpd.GeoDataFrame], *, has_multi: bool) -> None:
        self._parts, self._has_multi = parts, has_multi
        self.error: Exception | None = None
        self.n_polygons = 0

    def batches(self) -> Iterator[pa.RecordBatch]:
        try:
            for part in self._parts:
                self.n_polygons += len(part)
                yield _batch(part, has_multi=self._has_multi)
        except Exception as error:
            self.error = error
            raise


def _batch(part: gpd.GeoDataFrame, *, has_multi: bool) -> pa.RecordBatch:
    shapes = np.asarray(part.geometry.array)
    if has_multi:
        shapes = np.array([s if s.geom_type == "MultiPolygon" else MultiPolygon([s]) for s in shapes], object)
    columns = [
        pa.array(
            part[field.name].to_numpy(object if field.type == pa.string() else None),
            field.type,
            from_pandas=True,
        )
        for field in list(_SCHEMA)[:-1]
    ]
    # The flavour that GDAL expects, as pyogrio asks shapely for it.
    wkb = pa.array(shapely.to_wkb(shapes, flavor="iso"), type=pa.binary())
    return pa.record_batch([*columns, wkb], schema=_SCHEMA)


def _check_columns(gdf: gpd.GeoDataFrame, name: str) -> None:
    missing = [field.name for field in list(_SCHEMA)[:-1] if field.name not in gdf.columns]
    if missing or gdf.crs is None:
        lack = f"columns {', '.join(missing)}" if missing else "a CRS"
        raise OutputError(f"Cannot write {name}: the polygons lack {lack}; give what polygonize returns.")


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
