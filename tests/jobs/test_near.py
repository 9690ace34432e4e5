"""Items of all blocks at once: none is forgotten, and none from far away is handed over."""

from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pystac
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry

from geoseg.aoi import to_degrees
from geoseg.grid.geobox import snap_out
from geoseg.grid.tiling import TilePlan, blocks_of
from geoseg.imagery.loader import CELL
from geoseg.jobs.near import blocks_within, items_near, pixels_seen

GRIDS = {
    "utm": GeoBox((3000, 4000), Affine(10, 0, 290_000, 0, -10, 9_110_000), "EPSG:32725"),
    "over 180 degrees": GeoBox((3000, 4000), Affine(10, 0, 800_000, 0, -10, 8_120_000), "EPSG:32760"),
    "over the pole": GeoBox((3000, 4000), Affine(100, 0, -180_000, 0, -100, 140_000), "EPSG:3995"),
    "half the world": GeoBox((1000, 2000), Affine(3000, 0, -9e6, 0, -3000, 3e6), "EPSG:6933"),
}


@dataclass(frozen=True)
class Planned:
    """The parts of a plan that are looked at."""

    geobox: GeoBox
    tiles: TilePlan
    inputs: SimpleNamespace
    blocks: tuple
    aoi_px: object = None


def planned(geobox: GeoBox, n: int) -> Planned:
    """Items all over the grid, in random order, their footprints drawn by their corners in the grid's CRS."""
    rng = np.random.default_rng(0)
    items = []
    for i in range(n):
        col, row = rng.uniform(-500, geobox.shape.x), rng.uniform(-500, geobox.shape.y)
        width, height = rng.uniform(5, 900, 2)
        ground = degrees(geobox, (col, row, col + width, row + height))
        day = datetime(2024, 1, 1, tzinfo=UTC)
        items.append(pystac.Item(f"i{i}", shapely.geometry.mapping(ground), list(ground.bounds), day, {}))
    tiles = TilePlan(geobox, 64, 8)
    return Planned(geobox, tiles, SimpleNamespace(items=items), tuple(blocks_of(geobox, 700)))


def degrees(geobox: GeoBox, box: tuple[float, float, float, float]) -> shapely.Geometry:
    a, b, c, d, e, f = list(geobox.affine)[:6]
    plane = shapely.affinity.affine_transform(shapely.box(*box), (a, b, d, e, c, f))
    return to_degrees(Geometry(plane, crs=geobox.crs)).geom


@pytest.mark.parametrize("name", GRIDS)
def test_each_block_gets_its_items_and_none_from_far_away(name):
    plan = planned(GRIDS[name], 40)
    all_near = items_near(plan, plan.blocks)
    assert any(all_near)
    order = {item.id: n for n, item in enumerate(plan.inputs.items)}
    for block, near in zip(plan.blocks, all_near, strict=True):
        (top, bottom), (left, right) = block.window.toranges()
        inner = degrees(plan.geobox, (left, top, right, bottom))
        outer = degrees(plan.geobox, (left - 700, top - 700, right + 700, bottom + 700))
        found = {item.id for item in near}
        for item in plan.inputs.items:
            ground = shapely.geometry.shape(item.geometry)
            assert item.id in found or not ground.intersects(inner)
            assert item.id not in found or ground.intersects(outer)
        assert [order[item.id] for item in near] == sorted(order[item.id] for item in near)


@pytest.mark.parametrize("name", GRIDS)
def test_pixels_that_items_cover(name):
    """None where there are no items, all where one covers the Earth, and a part of them at a rim."""
    plan = planned(GRIDS[name], 40)
    n_read = np.array(
        [(window.width + 128) * (window.height + 128) for window in map(hull_of(plan), plan.blocks)]
    )
    assert (pixels_seen(plan, plan.blocks) <= n_read * (1 + 1e-6)).all()
    plan.inputs.items = [item_of(shapely.box(-180, -90, 180, 90))]
    assert pixels_seen(plan, plan.blocks) == pytest.approx(n_read, rel=0.002)
    plan.inputs.items = []
    assert not pixels_seen(plan, plan.blocks).any()


def hull_of(plan):
    return lambda block: snap_out(plan.geobox, plan.tiles.hull(block.window), CELL)


def test_items_that_cover_a_block_together_count_as_one_that_does():
    grid = GRIDS["utm"]
    plan = planned(grid, 0)
    west, south, east, north = degrees(grid, (-500, -500, 4500, 3500)).bounds
    middle = degrees(grid, (1700, 1200, 1701, 1201)).bounds[0]
    one = [item_of(shapely.box(west, south, east, north))]
    two = [item_of(shapely.box(west, south, middle, north)), item_of(shapely.box(middle, south, east, north))]
    seen = []
    for items in (one, two, two[:1]):
        plan.inputs.items = items
        seen.append(pixels_seen(plan, plan.blocks))
    assert seen[1] == pytest.approx(seen[0], rel=0.01)
    column = seen[2].reshape(-1, 6)[0] / seen[0].reshape(-1, 6)[0]
    assert column[[0, 5]] == pytest.approx([1, 0])
    assert 0.2 < column[2] < 0.9


def item_of(ground):
    day = datetime(2024, 1, 1, tzinfo=UTC)
    return pystac.Item("i", shapely.geometry.mapping(ground), list(ground.bounds), day, {})


def test_blocks_that_the_area_touches():
    grid = GRIDS["utm"]
    plan = planned(grid, 0)
    assert blocks_within(plan) == list(plan.blocks)
    area = shapely.Point(1500, 1000).buffer(300)
    inside = blocks_within(Planned(grid, plan.tiles, plan.inputs, plan.blocks, area))
    expected = [b for b in plan.blocks if area.intersects(shapely.box(*_bounds(b.window)))]
    assert inside == expected
    assert 0 < len(inside) < len(plan.blocks)


def _bounds(window):
    (top, bottom), (left, right) = window.toranges()
    return left, top, right, bottom
