"""Features as users give them: a vector file of any kind, GeoJSON text, standard input or a bounding box."""

import json
import re
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import shapely
from shapely.geometry.base import BaseGeometry

from geoseg.aoi_source import AoiSource, can_name
from geoseg.errors import AoiError, GeosegWarning, some
from geoseg.lonlat import WGS84
from geoseg.registry import did_you_mean
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
    found = AoiSource.parse(source)
    path = _existing(found)
    label = path.name or str(path)
    if found.attribute is None:
        return _read_file(path, found.layer), label
    frame = _read_file(path, found.layer, found.attribute)
    values = frame[found.attribute].map(_text)
    if not (values == found.value).any():
        raise AoiError(no_such(found.value, set(values.dropna()), attribute=found.attribute, label=label))
    return frame[values == found.value], f"{label} ({found.attribute} = {found.value})"


def sources_by(source: str, attribute: str) -> dict[str, str]:
    """For each value of an attribute what :func:`read_features` takes for its features, in their order.

    Args:
        source: a vector file, perhaps with a layer; or GeoJSON, also on standard input.
        attribute: its name.

    Raises:
        AoiError: there is nothing like that in ``source``, or not one feature has a value.

    Warns:
        GeosegWarning: features without a value are left out.
    """
    if source == "-":
        source = _standard_input()
    if source.lstrip("\ufeff \n\t\r").startswith("{"):
        return _by_text(source, attribute)
    if _as_bbox(source) is not None:
        raise AoiError(f"The box {source} has no attributes. Give --per-feature with a layer in --aoi FILE.")
    found = AoiSource.parse(source)
    if found.attribute is not None:
        raise AoiError(f"{source} names its features already: leave --per-feature {attribute} out.")
    if not can_name(attribute):
        raise AoiError(f"Attribute {attribute!r} cannot be --per-feature. Rename it: no '|' or '='.")
    path = _existing(found)
    frame = _read_file(path, found.layer, attribute)
    values = _given(map(_text, frame[attribute]), attribute, path.name)
    return {value: str(AoiSource(found.file, found.layer, attribute, value)) for value in values}


def no_such(value: str, values: Collection[str], *, attribute: str, label: str) -> str:
    """The message about a value that no feature has."""
    known = sorted(values)
    hint = did_you_mean(value, known)
    if hint.startswith("known") and len(known) > 1:
        hint = f"it has the {some(known, 'value')}."
    return f"{label} has no feature with {attribute} {value!r}: {hint}"


def _by_text(text: str, attribute: str) -> dict[str, str]:
    """Of GeoJSON: the same text with the features of one value only."""
    label = "The GeoJSON given"
    data = _loaded(text.lstrip("\ufeff"))
    if data["type"] == "Feature":
        data = {"type": "FeatureCollection", "features": [data]}
    features = data.get("features")
    if not isinstance(features, list) or not all(isinstance(feature, dict) for feature in features):
        raise AoiError(f"{label} is no FeatureCollection, which --per-feature needs. Give features.")
    properties = [feature.get("properties") or {} for feature in features]
    _refuse_unknown(attribute, list(dict.fromkeys(key for one in properties for key in one)), label)
    values = [_text(one.get(attribute)) for one in properties]
    of_value: dict[str | None, list[object]] = {}
    for feature, value in zip(features, values, strict=True):
        of_value.setdefault(value, []).append(feature)
    return {
        value: json.dumps({**data, "features": of_value[value]}) for value in _given(values, attribute, label)
    }


def _given(values: Iterable[str | None], attribute: str, label: str) -> dict[str, None]:
    """Each value once; a warning says how many features have none."""
    listed = list(values)
    known = dict.fromkeys(value for value in listed if value is not None)
    n_without = sum(value is None for value in listed)
    if not known:
        raise AoiError(f"{label} has no feature with a value of {attribute}. Give another --per-feature.")
    if n_without:
        text = f"{label}: {n_without} of {len(listed)} features have no {attribute}, left out."
        warnings.warn(text, GeosegWarning, stacklevel=3)
    return known


def _text(value: Any) -> str | None:
    """What a value is called, None for none. 12.0 is ``12``: with gaps, integers are read as floats."""
    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip() or None


def _refuse_unknown(attribute: str, known: list[str], label: str) -> None:
    if attribute not in known:
        raise AoiError(f"{label} has no attribute {attribute!r}: {did_you_mean(attribute, known)}")


def _existing(found: AoiSource) -> Path:
    path = Path(found.file)
    if not found.file.strip() or not path_exists(path):
        named = " ".join(found.file.split())[:200] or "The area given"
        raise AoiError(
            f"{named} does not exist. Give --aoi a vector file, '-' for GeoJSON on standard input, or --bbox "
            "west,south,east,north."
        )
    return path


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
    data = _loaded(text.lstrip("\ufeff"))
    text = json.dumps({"type": data["type"], **data})  # GDAL knows GeoJSON by its first bytes
    return _parse(text.encode(), None, "The GeoJSON given")


def _loaded(text: str) -> dict[str, Any]:
    if not text.strip():
        raise AoiError("The GeoJSON given is empty. Give a FeatureCollection, Feature or Polygon.")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AoiError(f"The GeoJSON given is not JSON ({error}). Give a Feature or Polygon.") from None
    kind = data.get("type") if isinstance(data, dict) else None
    if not isinstance(data, dict) or kind not in _GEOJSON_TYPES:
        raise AoiError(
            f"The GeoJSON given is of type {str(kind)[:50]!r}. Give a FeatureCollection, Feature or Polygon."
        )
    return data


def _read_file(path: Path, layer: str | None, attribute: str | None = None) -> gpd.GeoDataFrame:
    """The geometries, with one attribute where one is asked for."""
    label = path.name or str(path)
    if path.is_file() and path.stat().st_size == 0:
        raise AoiError(f"{label} is empty (0 bytes). {_FORMATS}")
    if path.suffix.lower() in (".parquet", ".geoparquet"):
        return _parse(path, None, label, attribute)
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
    return _parse(path, wanted[0], label, attribute)


def _layers(path: Path, label: str) -> dict[str, str]:
    """Names of the layers with geometries, and what kind."""
    with _drivers(label):
        return {str(name): kind for name, kind in pyogrio.list_layers(path) if kind is not None}


def _is_thin(kind: str) -> bool:
    return "Point" in kind or "Line" in kind


def _parse(
    source: Path | bytes, layer: str | None, label: str, attribute: str | None = None
) -> gpd.GeoDataFrame:
    columns = [] if attribute is None else [attribute]
    with _drivers(label):
        if isinstance(source, Path) and source.suffix.lower() in (".parquet", ".geoparquet"):
            frame = gpd.read_parquet(source)
            known = [name for name in frame.columns if name != frame.geometry.name]
        else:
            frame = pyogrio.read_dataframe(source, layer=layer, columns=columns, on_invalid="fix")
            known = list(pyogrio.read_info(source, layer=layer)["fields"]) if columns else []
    if attribute is not None:
        _refuse_unknown(attribute, known, label)
    return frame


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
