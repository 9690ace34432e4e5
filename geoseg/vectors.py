"""Features as users give them: a vector file of any kind, GeoJSON text, standard input or a bounding box."""

import json
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import shapely
from shapely.geometry.base import BaseGeometry

from geoseg.errors import AoiError
from geoseg.lonlat import WGS84
from geoseg.resources import path_exists

_GEOJSON_TYPES = (
    *("FeatureCollection", "Feature", "GeometryCollection", "Topology"),
    *("Polygon", "MultiPolygon", "Point", "MultiPoint", "LineString", "MultiLineString"),
)
_SEPARATORS = re.compile(r"[,;\s]+")
_AROUND_EARTH = 2000.0
_FORMATS = "Give GeoJSON, GeoPackage, Shapefile, GeoParquet or KML; imagery goes to --image."


def read_features(source: str) -> tuple[gpd.GeoDataFrame, str]:
    """The geometries of ``source``, in the CRS it says, and what to call it in messages.

    Args:
        source: see :func:`geoseg.aoi.read_aoi`.

    Raises:
        AoiError: it does not exist, is not a vector file, or holds several layers.
    """
    if source == "-":
        return _read_geojson(_standard_input()), "The GeoJSON on standard input"
    if source.lstrip("\ufeff \n\t\r").startswith("{"):
        return _read_geojson(source), "The GeoJSON given"
    bbox = _as_bbox(source)
    if bbox is not None:
        return gpd.GeoDataFrame(geometry=[bbox], crs=WGS84.proj), f"The box {source}"
    name, _, layer = source.partition("|layername=")
    path = Path(name)
    if not name.strip() or not path_exists(path):
        named = " ".join(name.split())[:200] or "The area given"
        raise AoiError(
            f"{named} does not exist. Give --aoi a vector file, '-' for GeoJSON on standard input, or --bbox "
            "west,south,east,north."
        )
    return _read_file(path, layer or None), path.name or str(path)


def _standard_input() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        raise AoiError("Standard input is not text in UTF-8. Pipe GeoJSON into it.") from None


def _as_bbox(source: str) -> BaseGeometry | None:
    order = "Give --bbox west,south,east,north in degrees."
    parts = [p for p in _SEPARATORS.split(source.strip()) if p]
    try:
        numbers = [float(p) for p in parts]
    except ValueError:
        return None
    if len(numbers) != 4 and len(numbers) > 1:
        raise AoiError(f"The box {source} has {len(numbers)} numbers, expected 4. {order}")
    if len(numbers) != 4:
        return None
    west, south, east, north = numbers
    if not np.isfinite([west, south, east, north]).all():
        raise AoiError(f"The box {source} has edges that are not numbers. {order}")
    if not south < north:
        raise AoiError(f"The box {source} has south {south:g} not below north {north:g}. {order}")
    if west == east:
        raise AoiError(f"The box {source} has no width. {order}")
    if west > east and east + 360 - west > 180:
        raise AoiError(
            f"The box {source} has west beyond east: {east + 360 - west:g} degrees across the antimeridian. "
            f"If they were swapped, swap them back. {order}"
        )
    box = shapely.box(west, south, east + 360 if west > east else east, north)
    # Short edges, so that a wide box is not taken for a narrow one across the antimeridian.
    return box if box.length > _AROUND_EARTH else shapely.segmentize(box, 90)


def _read_geojson(text: str) -> gpd.GeoDataFrame:
    text = text.lstrip("\ufeff")
    if not text.strip():
        raise AoiError("The GeoJSON given is empty. Give a FeatureCollection, Feature or Polygon.")
    try:
        data = json.loads(text)
        kind = data.get("type") if isinstance(data, dict) else None
        if kind in _GEOJSON_TYPES:
            text = json.dumps({"type": kind, **data})  # GDAL knows GeoJSON by its first bytes
    except (ValueError, RecursionError) as error:
        raise AoiError(f"The GeoJSON given is not JSON ({error}). Give a Feature or Polygon.") from None
    if kind not in _GEOJSON_TYPES:
        raise AoiError(
            f"The GeoJSON given is of type {str(kind)[:50]!r}. Give a FeatureCollection, Feature or Polygon."
        )
    return _parse(text.encode(), None, "The GeoJSON given")


def _read_file(path: Path, layer: str | None) -> gpd.GeoDataFrame:
    label = path.name or str(path)
    if path.is_file() and path.stat().st_size == 0:
        raise AoiError(f"{label} is empty (0 bytes). {_FORMATS}")
    if path.suffix.lower() in (".parquet", ".geoparquet"):
        return _parse(path, None, label)
    layers = _layers(path, label)
    if layer is not None and layer not in layers:
        raise AoiError(
            f"{label} has no layer {layer!r} with geometries. It has: {', '.join(layers) or 'none'}."
        )
    wanted = [layer] if layer else [n for n, kind in layers.items() if not _is_thin(kind)] or list(layers)[:1]
    if not wanted:
        raise AoiError(f"{label} has no geometries. Give a layer with polygons.")
    if len(wanted) > 1:
        raise AoiError(
            f"{label} has {len(wanted)} layers ({', '.join(wanted)}). "
            f"Name one: --aoi '{path}|layername={wanted[0]}'."
        )
    return _parse(path, wanted[0], label)


def _layers(path: Path, label: str) -> dict[str, str]:
    """Names of the layers with geometries, and what kind."""
    with _drivers(label):
        return {str(name): kind for name, kind in pyogrio.list_layers(path) if kind is not None}


def _is_thin(kind: str) -> bool:
    return "Point" in kind or "Line" in kind


def _parse(source: Path | bytes, layer: str | None, label: str) -> gpd.GeoDataFrame:
    """The geometries; attributes are not read."""
    with _drivers(label):
        if isinstance(source, Path) and source.suffix.lower() in (".parquet", ".geoparquet"):
            return gpd.read_parquet(source)
        return pyogrio.read_dataframe(source, layer=layer, columns=[], on_invalid="fix")


@contextmanager
def _drivers(label: str) -> Iterator[None]:
    """Drivers warn and raise as they like on broken bytes: every error of theirs is the file's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except Exception as error:
            raise _unreadable(label, error) from None


def _unreadable(label: str, error: Exception) -> AoiError:
    text = " ".join(str(error).split()).rstrip(".")
    if "not recognized as being in a supported" in text:
        return AoiError(f"{label} is not a vector file that can be read. {_FORMATS}")
    if "Missing geo metadata" in text:
        return AoiError(f"{label} is a table without geometries. {_FORMATS}")
    return AoiError(f"{label} cannot be read: {text[:300]}. {_FORMATS}")
