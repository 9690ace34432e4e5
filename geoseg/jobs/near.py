"""Which blocks hold some of the area, and which items may have pixels for each: for all blocks at once."""

from collections.abc import Sequence

import numpy as np
import pystac
import shapely
from numpy.typing import NDArray
from odc.geo.geom import Geometry
from pyproj import Transformer

from geoseg.aoi import to_degrees
from geoseg.grid.geobox import snap_out
from geoseg.grid.tiling import Block
from geoseg.imagery.loader import CELL
from geoseg.jobs.plan import Plan

_FAR_PX = 64
"""Items whose footprint is nearer than this to a block are handed to it: footprints are drawn roughly."""
_EARTH = shapely.box(-180, -90, 180, 90)
_ALL = 0.999
"""A share that counts as all."""
_POINTS_PER_SIDE = 8
_FLAT = (90.0, 85.0)
"""An outline wider than this, or nearer to a pole, degrees, is drawn by itself, with care."""


def blocks_within(plan: Plan) -> list[Block]:
    """The blocks that the area touches; of a map that is not cut, all."""
    area = plan.aoi_px
    if area is None:
        return list(plan.blocks)
    sides = np.array([[*block.window.flatten()] for block in plan.blocks]).T
    left, top, width, height = sides
    shapely.prepare(area)
    touches = shapely.intersects(area, shapely.box(left, top, left + width, top + height))
    return [block for block, is_in in zip(plan.blocks, touches, strict=True) if is_in]


def items_near(plan: Plan, blocks: Sequence[Block]) -> list[list[pystac.Item]]:
    """For each block the prepared items that may have pixels for it, in order of preference."""
    near: list[list[pystac.Item]] = [[] for _ in blocks]
    footprints = _footprints(plan)
    pairs = shapely.STRtree(footprints).query(_outlines(plan, blocks), predicate="intersects")
    for block, item in sorted(pairs.T.tolist()):
        near[block].append(plan.inputs.items[item])
    return near


def read_shares(plan: Plan, blocks: Sequence[Block]) -> tuple[NDArray[np.int_], NDArray[np.float64]]:
    """Pairs of a block and an item that has pixels for it, (2, pair), and how much of what is read for the
    block the item covers, 0..1.
    """
    return _shares(_footprints(plan), _outlines(plan, blocks))


def _shares(
    footprints: NDArray[np.object_], outlines: NDArray[np.object_]
) -> tuple[NDArray[np.int_], NDArray[np.float64]]:
    pairs = shapely.STRtree(footprints).query(outlines, predicate="intersects")
    both = shapely.intersection(outlines[pairs[0]], footprints[pairs[1]])
    return pairs, shapely.area(both) / shapely.area(outlines[pairs[0]])


def pixels_seen(plan: Plan, blocks: Sequence[Block]) -> NDArray[np.float64]:
    """Of what is read for each block and around it, how many pixels some item covers; all where the CRS of
    the map says nothing of a corner.
    """
    footprints, outlines = _footprints(plan), _outlines(plan, blocks)
    (block, item), covered = _shares(footprints, outlines)
    shares = np.zeros(len(blocks))
    np.maximum.at(shares, block, covered)
    for n in np.flatnonzero((shares > 0) & (shares < _ALL)):  # not by one alone
        seen = shapely.union_all(footprints[item[block == n]])
        shares[n] = shapely.area(shapely.intersection(outlines[n], seen)) / shapely.area(outlines[n])
    shares[shapely.area(outlines) >= shapely.area(_EARTH)] = 1.0
    rows, cols = _read(plan, blocks)
    return np.asarray(shares * np.ptp(rows, axis=1) * np.ptp(cols, axis=1), float)


def _footprints(plan: Plan) -> NDArray[np.object_]:
    return np.array([shapely.geometry.shape(item.geometry) for item in plan.inputs.items], object)


def _read(plan: Plan, blocks: Sequence[Block]) -> NDArray[np.float64]:
    """First and last rows, then columns, of what is read for each block and around it, (2, block, 2)."""
    # Whole cells, as they are read: two block sizes must see the same items over a pixel.
    hulls = [snap_out(plan.geobox, plan.tiles.hull(block.window), CELL).toranges() for block in blocks]
    sides = np.array(hulls, float).reshape(-1, 2, 2).transpose(1, 0, 2)
    return np.asarray(sides + np.array([-_FAR_PX, _FAR_PX]), float)


def _outlines(plan: Plan, blocks: Sequence[Block]) -> NDArray[np.object_]:
    """What is read for each block and some pixels around it, in degrees, cut at the antimeridian."""
    rows, cols = _read(plan, blocks)
    steps = np.linspace(0, 1, _POINTS_PER_SIDE, endpoint=False)
    ahead, still = steps, np.ones_like(steps)
    across = np.hstack([ahead, still, 1 - ahead, 0 * still])  # once around, from the first corner
    down = np.roll(across, _POINTS_PER_SIDE)
    col = cols[:, :1] + across * (cols[:, 1:] - cols[:, :1])  # (block, point)
    row = rows[:, :1] + down * (rows[:, 1:] - rows[:, :1])
    a, b, c, d, e, f = list(plan.geobox.affine)[:6]
    x, y = a * col + b * row + c, d * col + e * row + f
    lon, lat = Transformer.from_crs(str(plan.geobox.crs), "EPSG:4326", always_xy=True).transform(x, y)
    with np.errstate(invalid="ignore"):
        is_plain = (np.ptp(lon, axis=1) < _FLAT[0]) & (np.abs(lat).max(axis=1) < _FLAT[1])
    outlines = np.empty(len(blocks), object)
    outlines[is_plain] = shapely.polygons(np.stack([lon, lat], axis=-1)[is_plain])
    outlines[~is_plain] = _EARTH  # stays where the CRS says nothing of a corner
    for n in np.flatnonzero(~is_plain & np.isfinite(lon + lat).all(axis=1)):
        ring = Geometry(shapely.Polygon(np.stack([x[n], y[n]], axis=-1)), crs=plan.geobox.crs)
        outlines[n] = to_degrees(ring).geom
    return outlines
