"""Ground that items cover: footprints in degrees, their areas, and the places of an area.

Footprints are taken as GeoJSON means them (RFC 7946): edges straight in longitude and latitude. Set
operations are done there; areas are measured in EPSG:6933, which keeps them.
"""

from functools import cache

import numpy as np
import pystac
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from geoseg.stac.reading import box_parts

_N_PLACES = 3072
_MAX_GRID = 16_384
_N_RIM = 512
_SEGMENT_DEG = 0.1


def footprint(item: pystac.Item) -> BaseGeometry:
    """The ground an item covers, degrees, longitudes in -180..180; its bbox where it has no geometry.

    A ring that jumps by more than half the Earth between two corners is read as crossing the antimeridian: no
    item of imagery is that wide. Points and lines cover nothing; broken rings are repaired.
    """
    if item.geometry is None:
        parts = box_parts(item.bbox) if item.bbox else []
    else:
        found = shapely.force_2d(shape(item.geometry))
        parts = [p for p in shapely.get_parts(found) if p.geom_type == "Polygon"]
    return polygons_of(shapely.unary_union([_wrapped(shapely.make_valid(_unjumped(p))) for p in parts]))


def polygons_of(geometry: BaseGeometry) -> BaseGeometry:
    """The part of ``geometry`` that has an area."""
    if geometry.geom_type in ("Polygon", "MultiPolygon"):
        return geometry
    return shapely.unary_union([p for p in shapely.get_parts(geometry) if p.area > 0])


def area_km2(geometry: BaseGeometry) -> float:
    """Area of a geometry in degrees, km² on the WGS 84 ellipsoid (EPSG:6933, edges straight in degrees)."""
    fine = shapely.segmentize(geometry, _SEGMENT_DEG)
    return float(shapely.transform(fine, _equal_area, interleaved=False).area) / 1e6


def places(area: BaseGeometry) -> NDArray[np.float64]:
    """Points (n, 2) that stand for the places of an area in degrees: a lattice in each part, and its rim.

    Their number does not grow with the area: some 3,000 on the lattice, 500 just inside the rim, and at
    least one in each part.
    """
    parts = [p for p in shapely.get_parts(area) if p.area > 0]
    total = sum(p.area for p in parts)
    points = [_places_of(part, part.area / total) for part in parts]
    return np.unique(np.concatenate(points), axis=0) if points else np.empty((0, 2))


def _places_of(part: BaseGeometry, share: float) -> NDArray[np.float64]:
    west, south, east, north = part.bounds
    box = (east - west) * (north - south)
    step = max((part.area / (_N_PLACES * share)) ** 0.5, (box / (_MAX_GRID * share)) ** 0.5)
    columns = np.arange(west + step / 2, east, step)
    rows = np.arange(south + step / 2, north, step)
    grid = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)  # (row * column, 2)
    shapely.prepare(part)
    inside = grid[shapely.contains_xy(part, grid)] if len(grid) else grid
    rim = shapely.get_coordinates(part.buffer(-step / 20))
    n_rim = max(int(_N_RIM * share), 1)
    rim = rim[:: len(rim) // n_rim + 1]
    middle = shapely.get_coordinates(part.representative_point())
    return np.concatenate([inside, rim, middle])


@cache
def _to_equal_area() -> Transformer:
    return Transformer.from_crs("EPSG:4326", "EPSG:6933", always_xy=True)


def _equal_area(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    east, north = _to_equal_area().transform(x, y)
    return east, north


def _unjumped(polygon: BaseGeometry) -> BaseGeometry:
    """Rings that leap across the antimeridian made continuous, in 0..360. A leap of 360 is a plain edge."""
    leaps = np.abs(np.diff(shapely.get_coordinates(polygon.exterior)[:, 0]))
    if not np.any((leaps > 180) & (leaps < 359.99)):
        return polygon
    return shapely.transform(polygon, lambda xy: np.where([True, False] & (xy < 0), xy + 360, xy))


def _wrapped(geometry: BaseGeometry) -> BaseGeometry:
    """Longitudes brought into -180..180, cut there."""
    west, _, east, _ = geometry.bounds if not geometry.is_empty else (0, 0, 0, 0)
    if west >= -180 and east <= 180:
        return geometry
    pieces = []
    for turn in (-360, 0, 360):
        moved = shapely.transform(geometry, lambda xy, turn=turn: xy + np.array([turn, 0]))
        pieces.append(moved.intersection(shapely.box(-180, -90, 180, 90)))
    return shapely.unary_union(pieces)
