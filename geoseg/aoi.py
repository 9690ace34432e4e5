"""The area asked for: any vector file, a bounding box or GeoJSON text becomes one valid geometry."""

import json
import sys
import warnings
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import shapely
from odc.geo.geom import Geometry
from pyproj import CRS, Geod
from pyproj.exceptions import CRSError
from shapely.geometry.base import BaseGeometry

from geoseg.errors import AoiError, GeosegWarning
from geoseg.recipe import MAX_AREA_KM2

_WGS84 = "EPSG:4326"
_GEOD = Geod(ellps="WGS84")
_LONGITUDE_SLACK = 360.0


def read_aoi(source: str, *, crs: str | None = None, max_area_km2: float = MAX_AREA_KM2) -> Geometry:
    """The union of all polygons of ``source``, valid, with its CRS.

    Args:
        source: a vector file of any kind GDAL reads, GeoParquet, ``file.gpkg|layername=fields``,
            ``-`` for GeoJSON on standard input, GeoJSON text, or ``west,south,east,north`` in degrees
            (west > east crosses the antimeridian).
        crs: the CRS of a source that does not say its own, such as ``EPSG:31985``.
        max_area_km2: a larger area is refused, so that a slip does not start a day of work.

    Returns:
        A polygon or multipolygon. In geographic CRSs longitudes lie in -180..180: an area across the
        antimeridian is split there (RFC 7946, section 3.1.9).

    Raises:
        AoiError: one line that says what is wrong and how to mend it.

    Warns:
        GeosegWarning: when rings were repaired or features without geometry were left out.

    Example:
        >>> read_aoi("-34.95,-8.05,-34.85,-7.95").geom_type
        'Polygon'
    """
    frame, label = _read(source)
    frame = _with_crs(frame, crs, label)
    geometry = _union(frame, label)
    geographic = CRS.from_user_input(frame.crs).is_geographic
    if geographic:
        _check_degrees(geometry, label, frame.crs)
        geometry = _split_at_antimeridian(geometry, label)
    aoi = Geometry(geometry, crs=frame.crs.to_string())
    size_km2 = area_km2(aoi)
    if size_km2 > max_area_km2:
        raise AoiError(
            f"{label} is {size_km2:,.0f} km², more than --max-area-km2 {max_area_km2:,.0f}. "
            "Take a smaller area, or raise the limit if that is what you want."
        )
    return aoi


def area_km2(aoi: Geometry) -> float:
    """Geodesic area on the WGS 84 ellipsoid, km² (Karney 2013, by PROJ)."""
    return abs(_GEOD.geometry_area_perimeter(to_degrees(aoi).geom)[0]) / 1e6


def to_degrees(aoi: Geometry) -> Geometry:
    """The area in EPSG:4326, edges densified so that straight lines stay where they were."""
    if aoi.crs == _WGS84:
        return aoi
    step = 0.01 if aoi.crs.geographic else 1000.0
    moved = shapely.make_valid(aoi.to_crs(_WGS84, resolution=step, wrapdateline=True).geom)
    return Geometry(_polygons_of(moved), crs=_WGS84)


def swapped(aoi: Geometry) -> Geometry | None:
    """The area with longitude and latitude exchanged, or None where that is not a place."""
    degrees = to_degrees(aoi).geom
    if max(abs(degrees.bounds[0]), abs(degrees.bounds[2])) > 90:
        return None
    return Geometry(shapely.transform(degrees, lambda xy: xy[:, ::-1]), crs=_WGS84)


# --- reading -------------------------------------------------------------------------------------


def _read(source: str) -> tuple[gpd.GeoDataFrame, str]:
    text = sys.stdin.read() if source == "-" else source
    if source == "-" or text.lstrip().startswith("{"):
        return _read_geojson(text), "The GeoJSON given"
    bbox = _as_bbox(source)
    if bbox is not None:
        return gpd.GeoDataFrame(geometry=[bbox], crs=_WGS84), f"The box {source}"
    name, _, layer = source.partition("|layername=")
    path = Path(name)
    if not path.exists():
        raise AoiError(
            f"{name} does not exist. Give --aoi a vector file, '-' for GeoJSON on standard input, "
            "or --bbox west,south,east,north."
        )
    return _read_file(path, layer or None), path.name


def _as_bbox(source: str) -> BaseGeometry | None:
    parts = source.split(",")
    if len(parts) != 4:
        return None
    try:
        west, south, east, north = (float(p) for p in parts)
    except ValueError:
        return None
    if not south < north:
        raise AoiError(
            f"The box {source} has south {south:g} not below north {north:g}: "
            "the order is west,south,east,north in degrees."
        )
    if west == east:
        raise AoiError(f"The box {source} has no width: the order is west,south,east,north in degrees.")
    return shapely.box(west, south, east if east > west else east + 360, north)


def _read_geojson(text: str) -> gpd.GeoDataFrame:
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise AoiError(f"The GeoJSON given is not JSON ({error}). Give a Feature or Polygon.") from None
    if not isinstance(data, dict) or "type" not in data:
        raise AoiError("The GeoJSON given has no 'type'. Give a FeatureCollection, Feature or Polygon.")
    if data["type"] not in ("Feature", "FeatureCollection"):
        data = {"type": "Feature", "properties": {}, "geometry": data}
    try:
        return gpd.read_file(json.dumps(data), engine="pyogrio")
    except (pyogrio.errors.DataSourceError, ValueError, shapely.errors.ShapelyError) as error:
        raise AoiError(f"The GeoJSON given cannot be read: {_one_line(error)}") from None


def _read_file(path: Path, layer: str | None) -> gpd.GeoDataFrame:
    try:
        if path.suffix.lower() in (".parquet", ".geoparquet"):
            return gpd.read_parquet(path)
        layers = pyogrio.list_layers(path)
        polygonal = [str(n) for n, kind in layers if kind is not None]
        if layer is None and len(polygonal) > 1:
            raise AoiError(
                f"{path.name} has {len(polygonal)} layers ({', '.join(polygonal)}). "
                f"Name one: --aoi '{path}|layername={polygonal[0]}'."
            )
        return gpd.read_file(path, layer=layer or (polygonal[0] if polygonal else None), engine="pyogrio")
    except (OSError, ValueError, RuntimeError) as error:
        raise AoiError(
            f"{path.name} cannot be read as a vector file: {_one_line(error)} "
            "Give GeoJSON, GeoPackage, Shapefile, GeoParquet or KML."
        ) from None


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if text.endswith(".") else f"{text}."


def _with_crs(frame: gpd.GeoDataFrame, crs: str | None, label: str) -> gpd.GeoDataFrame:
    if not isinstance(frame, gpd.GeoDataFrame):
        raise AoiError(f"{label} has no geometry column. Give a layer with polygons.")
    if frame.crs is not None:
        return frame
    if crs is None:
        raise AoiError(f"{label} does not say its CRS. Add it: --aoi-crs EPSG:4326 (or what it is in).")
    try:
        return frame.set_crs(CRS.from_user_input(crs))
    except CRSError:
        raise AoiError(f"--aoi-crs {crs} is not a CRS. Give a code such as EPSG:32725.") from None


# --- checking and mending ------------------------------------------------------------------------


def _union(frame: gpd.GeoDataFrame, label: str) -> BaseGeometry:
    if len(frame) == 0:
        raise AoiError(f"{label} has no features. Draw a polygon in it, or give --bbox.")
    geometries = frame.geometry.to_numpy()
    is_there = ~(shapely.is_missing(geometries) | shapely.is_empty(geometries))
    if not is_there.any():
        raise AoiError(f"{label}: none of its {len(frame)} features has a geometry. Draw a polygon in it.")
    if not is_there.all():
        _warn(f"{label}: {int((~is_there).sum())} of {len(frame)} features have no geometry, left out.")
    geometries = shapely.force_2d(geometries[is_there])
    if not np.isfinite(shapely.get_coordinates(geometries)).all():
        raise AoiError(f"{label} has coordinates that are not finite numbers. Mend or redraw the polygon.")
    kinds = sorted({g.geom_type for g in geometries})
    polygons = [g for g in geometries if g.geom_type in ("Polygon", "MultiPolygon", "GeometryCollection")]
    if not polygons:
        raise AoiError(
            f"{label} holds {' and '.join(kinds)}, not polygons. Buffer it first (in QGIS: Vector, "
            "Geoprocessing Tools, Buffer), or give --bbox."
        )
    if len(polygons) < len(geometries):
        _warn(f"{label}: {len(geometries) - len(polygons)} features are not polygons, left out.")
    broken = [g for g in polygons if not g.is_valid]
    if broken:
        _warn(f"{label}: repaired {len(broken)} polygon(s): {shapely.is_valid_reason(broken[0])}.")
    merged = _polygons_of(shapely.union_all(shapely.make_valid(np.array(polygons, dtype=object))))
    if merged.is_empty or merged.area == 0:
        raise AoiError(f"{label} encloses no area. Draw a polygon with at least three corners.")
    return merged


def _polygons_of(geometry: BaseGeometry) -> BaseGeometry:
    """The polygonal parts of what make_valid returned, which may hold lines and points too."""
    parts = [g for g in shapely.get_parts(geometry) if g.geom_type in ("Polygon", "MultiPolygon")]
    return shapely.union_all(parts) if parts else shapely.Polygon()


def _check_degrees(geometry: BaseGeometry, label: str, crs: CRS) -> None:
    west, south, east, north = geometry.bounds
    x, y = max(abs(west), abs(east)), max(abs(south), abs(north))
    if x > _LONGITUDE_SLACK or y > 360:
        raise AoiError(
            f"{label} says {crs.to_string()} (degrees), but has coordinates up to {max(x, y):,.0f}, which look "
            "like metres. Save it with its true CRS, then give it again."
        )
    if y > 90:
        hint = "Longitude and latitude look swapped: " if x <= 90 else ""
        raise AoiError(
            f"{label} has a latitude of {y:g}, beyond 90. {hint}"
            "Coordinates are [longitude, latitude]; swap them and give it again."
        )


def _split_at_antimeridian(geometry: BaseGeometry, label: str) -> BaseGeometry:
    parts = [_unwrapped(part, label) for part in shapely.get_parts(geometry)]
    whole = shapely.union_all(parts)
    if whole.bounds[0] >= -180 and whole.bounds[2] <= 180:
        return whole
    worlds = (-540.0, -180.0, 180.0)
    pieces = [
        _moved_east(shapely.intersection(whole, shapely.box(west, -90, west + 360, 90)), -180 - west)
        for west in worlds
    ]
    return _polygons_of(shapely.union_all([p for p in pieces if not p.is_empty]))


def _unwrapped(part: BaseGeometry, label: str) -> BaseGeometry:
    """A ring that jumps from one side of 180° to the other, drawn on across it; others as they are."""
    west, _, east, _ = part.bounds
    if east - west <= 180 or west < -180 or east > 180:
        return part
    drawn_on = shapely.make_valid(
        shapely.transform(part, lambda xy: np.column_stack([xy[:, 0] % 360, xy[:, 1]]))
    )
    if drawn_on.bounds[2] - drawn_on.bounds[0] >= 180:
        return part
    _warn(f"{label} was read as crossing the antimeridian: one of its rings jumps across 180°.")
    return drawn_on


def _moved_east(geometry: BaseGeometry, degrees: float) -> BaseGeometry:
    return shapely.transform(geometry, lambda xy: xy + [[degrees, 0.0]])


def _warn(text: str) -> None:
    warnings.warn(text, GeosegWarning, stacklevel=3)
