"""Outlines to rings that do not touch themselves, and rings to valid polygons."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine

from geoseg.polygons.cycles import walk
from geoseg.polygons.describe import is_saddle, row_col
from geoseg.polygons.nodes import Ints
from geoseg.polygons.outlines import Regions

Coordinates = npt.NDArray[np.float64]


def to_map(transform: Affine, col: npt.ArrayLike, row: npt.ArrayLike) -> tuple[Coordinates, Coordinates]:
    """Map coordinates x and y of lattice points."""
    xy = _coordinates(transform, np.asarray(col), np.asarray(row))
    return xy[..., 0], xy[..., 1]


def build_polygons(regions: Regions, transform: Affine) -> npt.NDArray[np.object_]:
    """(region,) shapely polygons in map coordinates, valid, in the order of the regions.

    Rings begin at their first vertex in row-major order; shells run counter-clockwise, holes clockwise, on
    the map (RFC 7946); holes come in the order of their first vertices. The transform is applied once, to
    whole numbers. ``regions`` come from ``with_simple_rings``.
    """
    begin = np.append(0, np.cumsum(regions.length))[:-1]
    if not len(begin):
        return np.empty(0, object)
    least = np.minimum.reduceat(regions.vertices, begin)
    shift = np.flatnonzero(regions.vertices == np.repeat(least, regions.length)) - begin
    rank = np.lexsort((least, regions.is_hole, regions.region))
    begin, length, shift = begin[rank], regions.length[rank], shift[rank]
    ring_offset = np.append(0, np.cumsum(length + 1))
    step = np.arange(ring_offset[-1]) - np.repeat(ring_offset[:-1], length + 1)
    size = np.repeat(length, length + 1)
    step = np.repeat(shift, length + 1) + (step if transform.determinant < 0 else size - step)
    step -= np.where(step >= size, size, 0)  # 0 <= step <= 2 * size - 1 ...
    step -= np.where(step >= size, size, 0)  # ... or equal to it where a ring closes at its last vertex
    step += np.repeat(begin, length + 1)
    row, col = row_col(regions.vertices[step])
    per_region = np.bincount(regions.region, minlength=len(regions.class_id))
    offsets = (ring_offset, np.append(0, np.cumsum(per_region)))
    polygons: npt.NDArray[np.object_] = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, _coordinates(transform, col, row), offsets
    )
    return polygons


def with_simple_rings(regions: Regions) -> Regions:
    """The regions with outlines that touch themselves taken apart where they do.

    A ring must not touch itself, but two rings of a polygon may touch in a point (OGC 06-103r4, 6.1.11).
    An outline that comes to a vertex twice is the border of one region on both occasions: going on
    the other way closes a loop before the vertex is reached again.
    """
    at = np.flatnonzero(is_saddle(regions.vertices))
    ring = np.repeat(np.arange(len(regions.length)), regions.length)
    order = np.lexsort((regions.vertices[at], ring[at]))
    at = at[order]
    is_twice = (ring[at[1:]] == ring[at[:-1]]) & (regions.vertices[at[1:]] == regions.vertices[at[:-1]])
    if not is_twice.any():
        return regions
    one, other = at[:-1][is_twice], at[1:][is_twice]
    begin = np.append(0, np.cumsum(regions.length))
    follower = np.arange(1, len(ring) + 1)
    before = np.arange(-1, len(ring) - 1)
    follower[begin[1:] - 1], before[begin[:-1]] = begin[:-1], begin[1:] - 1
    follower[before[one]], follower[before[other]] = other, one
    is_touched = np.zeros(len(regions.length), bool)
    is_touched[ring[one]] = True
    inside = np.flatnonzero(is_touched[ring])
    new = np.cumsum(is_touched[ring]) - 1
    walked, offset = walk(new[follower[inside]].astype(np.int32))
    taken_apart = inside[walked]
    vertices, length = regions.vertices[taken_apart], np.diff(offset)
    return replace(
        regions,
        vertices=np.concatenate([regions.vertices[~is_touched[ring]], vertices]),
        length=np.append(regions.length[~is_touched], length),
        region=np.append(regions.region[~is_touched], regions.region[ring[taken_apart[offset[:-1]]]]),
        is_hole=np.append(regions.is_hole[~is_touched], _is_clockwise(vertices, offset)),
    )


def _is_clockwise(vertices: Ints, offset: Ints) -> npt.NDArray[np.bool_]:
    """(ring,) by Green's theorem: such a ring has a negative area."""
    row, col = row_col(vertices)
    follower = np.arange(1, len(row) + 1)
    follower[offset[1:] - 1] = offset[:-1]
    twice = (col[follower] - col) * (row[follower] + row)
    is_clockwise: npt.NDArray[np.bool_] = np.add.reduceat(twice, offset[:-1]) < 0
    return is_clockwise


def _coordinates(
    transform: Affine, col: npt.NDArray[np.integer], row: npt.NDArray[np.integer]
) -> Coordinates:
    """(..., 2) x and y."""
    a, b, c, d, e, f = transform[:6]
    xy = np.empty((*col.shape, 2))
    xy[..., 0], xy[..., 1] = a * col, e * row
    if b or d:
        xy[..., 0] += b * row
        xy[..., 1] += d * col  # the sum of the products is the same in either order
    xy += (c, f)
    return xy
