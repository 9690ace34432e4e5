"""Outlines to rings that do not touch themselves, and rings to valid polygons, in whole lattice coordinates."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine

from geoseg.polygons.cycles import walk
from geoseg.polygons.nodes import Ints
from geoseg.polygons.outlines import Regions, is_saddle, row_col

Coordinates = npt.NDArray[np.float64]


def to_map(transform: Affine, col: npt.ArrayLike, row: npt.ArrayLike) -> tuple[Coordinates, Coordinates]:
    """Map coordinates x and y of lattice points."""
    a, b, c, d, e, f = transform[:6]
    col, row = np.asarray(col, np.float64), np.asarray(row, np.float64)
    return a * col + b * row + c, d * col + e * row + f


def build_polygons(regions: Regions, transform: Affine) -> npt.NDArray[np.object_]:
    """(region,) shapely polygons in map coordinates, valid, in the order of the regions.

    Rings begin at their first vertex in row-major order; shells run counter-clockwise, holes clockwise, on
    the map (RFC 7946); holes come in the order of their first vertices. The transform is applied once, to whole
    numbers. ``regions`` come from ``with_simple_rings``.
    """
    begin = np.append(0, np.cumsum(regions.length))[:-1]
    if not len(begin):
        return np.empty(0, object)
    least = np.minimum.reduceat(regions.vertices, begin)
    shift = np.flatnonzero(regions.vertices == np.repeat(least, regions.length)) - begin
    rank = np.lexsort((least, ~_is_shell(regions, begin), regions.region))
    begin, length, shift = begin[rank], regions.length[rank], shift[rank]
    ring_offset = np.append(0, np.cumsum(length + 1))
    step = np.arange(ring_offset[-1]) - np.repeat(ring_offset[:-1], length + 1)
    size = np.repeat(length, length + 1)
    step = np.repeat(shift, length + 1) + (step if transform.determinant < 0 else size - step)
    step -= np.where(step >= size, size, 0)  # 0 <= step <= 2 * size - 1 ...
    step -= np.where(step >= size, size, 0)  # ... or equal to it where a ring closes at its last vertex
    row, col = row_col(regions.vertices[np.repeat(begin, length + 1) + step])
    x, y = to_map(transform, col, row)
    per_region = np.bincount(regions.region, minlength=len(regions.class_id))
    offsets = (ring_offset, np.append(0, np.cumsum(per_region)))
    polygons: npt.NDArray[np.object_] = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, np.column_stack([x, y]), offsets
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
    taken_apart, offset = walk(new[follower[inside]].astype(np.int32))
    taken_apart = inside[taken_apart]
    return replace(
        regions,
        vertices=np.concatenate([regions.vertices[~is_touched[ring]], regions.vertices[taken_apart]]),
        length=np.append(regions.length[~is_touched], np.diff(offset)),
        region=np.append(regions.region[~is_touched], regions.region[ring[taken_apart[offset[:-1]]]]),
    )


def _is_shell(regions: Regions, begin: Ints) -> npt.NDArray[np.bool_]:
    """(ring,) whether it runs counter-clockwise: by Green's theorem its area is positive."""
    row, col = row_col(regions.vertices)
    follower = np.arange(1, len(row) + 1)
    follower[np.append(begin[1:], len(row)) - 1] = begin
    twice = (col[follower] - col) * (row[follower] + row)
    is_shell: npt.NDArray[np.bool_] = np.add.reduceat(twice, begin) > 0
    return is_shell
