"""Polygons in longitude and latitude: brought there and back, cut at the antimeridian, closed over poles."""

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.crs import CRS
from shapely.geometry.base import BaseGeometry

WGS84 = CRS("EPSG:4326")
_STEP_M = 1000.0
_STEP_DEG = 0.01
_MAX_POINTS = 20_000
"""Densified outlines have about this many points at most."""
_ROUNDING_DEG = 1e-9
"""By which a width may differ that was measured 360° further east."""
_NO_AREA = 1e-18
"""Square degrees or square metres: what overlay computes with is then rounding error."""


def reproject(geometry: BaseGeometry, source: CRS, target: CRS) -> BaseGeometry:
    """Polygons in another CRS; a point every kilometre keeps straight edges where they were.

    Corners that ``target`` cannot hold become infinite: see :func:`is_finite`.
    """
    step = _STEP_DEG if source.geographic else _STEP_M / source.proj.axis_info[0].unit_conversion_factor
    dense = shapely.segmentize(geometry, max(step, geometry.length / _MAX_POINTS))
    return shapely.transform(dense, source.transformer_to_crs(target), interleaved=False)


def to_lonlat(geometry: BaseGeometry, source: CRS) -> BaseGeometry:
    """Polygons of any CRS in EPSG:4326, longitudes in -180..180, cut at the antimeridian; poles are held."""
    moved = reproject(geometry, source, WGS84)
    if not is_finite(moved):
        return moved
    return polygons_of(np.array([split(p) for p in shapely.get_parts(moved)], dtype=object))


def is_finite(geometry: BaseGeometry) -> bool:
    """Whether all coordinates are numbers."""
    return bool(np.isfinite(shapely.get_coordinates(geometry)).all())


def polygons_of(geometry: BaseGeometry | NDArray[np.object_]) -> BaseGeometry:
    """The union of all parts of one or several geometries, made valid, that have an area."""
    parts = shapely.get_parts(shapely.get_parts(shapely.make_valid(geometry)))
    has_area = (shapely.get_type_id(parts) == shapely.GeometryType.POLYGON) & (shapely.area(parts) > _NO_AREA)
    return shapely.union_all(parts[has_area]) if has_area.any() else shapely.Polygon()


def has_leap(polygon: BaseGeometry) -> bool:
    """Whether its outline steps over more than half the Earth, which only a crossing of 180° explains.

    A step of 360 is none where the polygon is sound as it stands: so the rim of a whole hemisphere is drawn.
    """
    steps = np.abs(np.diff(shapely.get_coordinates(polygon.exterior)[:, 0]))
    leaps = steps[steps > 180]
    return len(leaps) > 0 and bool((leaps < 359.99).any() or not polygon.is_valid)


def wrap(polygons: NDArray[np.object_]) -> BaseGeometry:
    """The union of polygons in degrees, valid, longitudes in -180..180; a leap is a crossing of 180°."""
    leaps = np.array([has_leap(p) for p in polygons], bool)
    whole = polygons_of(polygons[~leaps])
    if not whole.is_empty and not (whole.bounds[0] >= -180 and whole.bounds[2] <= 180):
        # Corners on long edges, so that each step is the short way round; GEOS needs valid polygons for it.
        whole = polygons_of(np.array([split(p) for p in shapely.get_parts(shapely.segmentize(whole, 90))]))
    return polygons_of(np.array([whole, *(split(p) for p in polygons[leaps])]))


def split(polygon: BaseGeometry) -> BaseGeometry:
    """A polygon in degrees with longitudes in -180..180, cut at the antimeridian (RFC 7946, 3.1.9).

    Each step of more than 180° is taken the short way round. A ring that goes all the way round holds the
    pole that it is nearer to.
    """
    if polygon.is_empty:
        return polygon
    shell = _split_ring(shapely.get_coordinates(polygon.exterior))
    holes = [_split_ring(shapely.get_coordinates(ring)) for ring in polygon.interiors]
    return polygons_of(shapely.difference(shell, shapely.union_all(holes))) if holes else shell


def join(geometry: BaseGeometry) -> BaseGeometry:
    """Polygons in degrees with those west of Greenwich moved east by 360, where that brings them closer.

    Undoes ``split``: halves that meet at the antimeridian become one.
    """
    parts = shapely.get_parts(geometry)
    is_west = shapely.bounds(parts)[:, 2] <= 0
    moved = shapely.transform(parts[is_west], lambda xy: xy + np.array([360.0, 0.0]))
    joined = shapely.union_all([*moved, *parts[~is_west]])
    return joined if _width(joined) < _width(geometry) - _ROUNDING_DEG else geometry


def area_m2(lonlat: BaseGeometry) -> float:
    """Area on the WGS 84 ellipsoid, edges straight in longitude and latitude, m² (EPSG:6933 keeps areas)."""
    return float(shapely.area(reproject(lonlat, WGS84, CRS("EPSG:6933"))))


def _width(geometry: BaseGeometry) -> float:
    return float(geometry.bounds[2] - geometry.bounds[0])


def _split_ring(xy: NDArray[np.float64]) -> BaseGeometry:
    steps = np.diff(xy[:, 0])
    turns = np.where(np.abs(steps) > 180, -360 * np.round(steps / 360), 0)
    lon, lat = xy[:, 0] + np.concatenate([[0], np.cumsum(turns)]), xy[:, 1]
    if abs(lon[-1] - lon[0]) > 180:
        pole = 90.0 if lat.mean() > 0 else -90.0
        lon, lat = np.append(lon, [lon[-1], lon[0]]), np.append(lat, [pole, pole])
    area = polygons_of(shapely.Polygon(np.column_stack([lon, lat])))
    if area.is_empty or (area.bounds[0] >= -180 and area.bounds[2] <= 180):
        return area
    first, last = np.floor((np.array(area.bounds[0::2]) + 180) / 360)
    worlds = [360.0 * n for n in np.arange(first, last + 1)]
    pieces = [shapely.intersection(area, shapely.box(w - 180, -90, w + 180, 90)) for w in worlds]
    moved = [
        shapely.transform(p, lambda xy, w=w: xy - np.array([w, 0.0]))
        for p, w in zip(pieces, worlds, strict=True)
    ]
    return polygons_of(np.array(moved))
