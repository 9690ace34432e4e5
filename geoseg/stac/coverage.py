"""Ground that items cover: footprints in degrees, their areas, and the places of an area.

Footprints are taken as GeoJSON means them (RFC 7946): edges straight in longitude and latitude. Set
operations are done there; areas are measured in EPSG:6933, which keeps them.
"""

import numpy as np
import pystac
import shapely
from numpy.typing import NDArray
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from geoseg.lonlat import area_m2, wrap
from geoseg.stac.reading import box_parts

_N_PLACES = 3072
_MAX_GRID = 16_384
_N_RIM = 512


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
    return wrap(np.array(parts, dtype=object))


def area_km2(geometry: BaseGeometry) -> float:
    """Area of a geometry in degrees, km² on the WGS 84 ellipsoid (EPSG:6933, edges straight in degrees)."""
    return area_m2(geometry) / 1e6


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
