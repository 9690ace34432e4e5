"""What a run will cost: counted as a run counts, also for areas of ten thousand blocks."""

import time
from types import SimpleNamespace

import numpy as np
import pystac
import pytest
import shapely
from affine import Affine
from builders import geobox_at, smooth, write_image
from commands import geoseg
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from test_near import planned

from geoseg.grid.tiling import TilePlan, blocks_of
from geoseg.jobs import estimate as estimate_module
from geoseg.jobs.blocks import aoi_mask
from geoseg.jobs.estimate import estimate
from geoseg.recipe import Recipe

TILE_S = 2.0


@pytest.fixture
def no_model(monkeypatch):
    monkeypatch.setattr(estimate_module, "tile_costs", lambda plan: (500.0, 10.0, TILE_S))
    monkeypatch.setattr(estimate_module, "block_mb", lambda plan, size: 7.0)
    monkeypatch.setattr(estimate_module.os, "cpu_count", lambda: 1)


def plan_of(n_items, *, side=700, area=None, **recipe):
    """Of random items on a grid of 3000 x 4000 pixels."""
    found = planned(GeoBox((3000, 4000), Affine(10, 0, 290_000, 0, -10, 9_110_000), "EPSG:32725"), n_items)
    for item in found.inputs.items:
        for name, kind, gsd in (("red", "uint8", 10), ("swir16", "float32", 20)):
            bands = {"eo:bands": [{"name": name, "common_name": name}], "raster:bands": [{"data_type": kind}]}
            asset = pystac.Asset(f"/data/{item.id}/{name}.tif", extra_fields=bands | {"gsd": gsd})
            item.add_asset(name, asset)
    found.inputs.gsd_m = 10
    return SimpleNamespace(
        **{name: getattr(found, name) for name in ("geobox", "tiles", "inputs")},
        blocks=tuple(blocks_of(found.geobox, side)),
        aoi_px=area,
        recipe=Recipe(image=("x.tif",), **recipe),
        how=SimpleNamespace(device="cpu"),
    )


def px_of(item):
    to_plane = Transformer.from_crs("EPSG:4326", "EPSG:32725", always_xy=True)
    plane = shapely.transform(shapely.geometry.shape(item.geometry), to_plane.transform, interleaved=False)
    return shapely.affinity.affine_transform(plane, (0.1, 0, 0, -0.1, -29_000, 911_000))


def wiggly(n):
    angles = np.linspace(0, 2 * np.pi, n, endpoint=False)
    radius = 1300 * (1 - 0.2 * np.abs(np.sin(5 * angles)))
    return shapely.Polygon(np.c_[2000 + radius * np.cos(angles), 1500 + radius * np.sin(angles)])


def test_tiles_are_counted_as_a_run_runs_them(no_model):
    plan = plan_of(5, area=wiggly(500))
    imagery = shapely.union_all([px_of(item) for item in plan.inputs.items])
    wanted, seen = 0, 0.0
    for block in plan.blocks:
        mask = aoi_mask(plan.aoi_px, block.window)
        top, left = block.window.row_off, block.window.col_off
        for tile in plan.tiles.tiles(block.window):
            row, col = tile.window.row_off - top, tile.window.col_off - left
            if mask[max(row, 0) : row + 64, max(col, 0) : col + 64].any():
                row, col = tile.window.row_off, tile.window.col_off
                wanted += 1
                seen += shapely.box(col, row, col + 64, row + 64).intersection(imagery).area / 64**2
    assert wanted > 1000
    assert seen < 0.6 * wanted
    found = estimate(plan)
    assert found.n_tiles == pytest.approx(wanted, abs=wanted // 200)  # slivers without a centre
    assert 0.7 * seen < found.predict_s / TILE_S - 8 < 0.75 * wanted


def test_bytes_are_those_under_items_in_the_pixels_that_files_have(no_model):
    plan = plan_of(40, side=500)
    whole = shapely.box(0, 0, 4000, 3000)
    pixels = 0.0
    for item in plan.inputs.items:
        pixels += px_of(item).intersection(whole).area
    found = estimate(plan).read_mb * 1e6
    # A byte in red, four in each 20 m pixel of swir16; cells and halos are read more than once.
    assert 2 * pixels < found < 2 * pixels * 4
    assert estimate(plan_of(40, side=4000)).read_mb < found / 1e6


@pytest.mark.parametrize(("n_cores", "elapsed"), [(1, 1.0), (4, 0.25)])
def test_hours_are_shared_by_those_who_work_side_by_side(no_model, monkeypatch, n_cores, elapsed):
    monkeypatch.setattr(estimate_module.os, "cpu_count", lambda: n_cores)
    found = estimate(plan_of(3, workers=4, threads=1, price_per_hour=0.5))
    assert found.n_workers == 4
    assert found.elapsed_s == pytest.approx(found.predict_s * elapsed)
    assert found.worker_hours == pytest.approx(found.elapsed_s * 4 / 3600)
    assert found.cost == pytest.approx(found.worker_hours / 2)


def test_workers_of_a_scheduler_each_have_a_machine(no_model, monkeypatch):
    monkeypatch.setattr(estimate_module, "workers_on", lambda cluster, device: 10)
    monkeypatch.setattr(estimate_module, "device_on", lambda cluster, device: "cpu")
    plan = plan_of(3, scheduler="tcp://127.0.0.1:1")
    found = estimate(plan)
    assert 8 * TILE_S < found.predict_s < (found.n_tiles + 8) * TILE_S
    assert found.elapsed_s == pytest.approx(found.predict_s / 10)
    assert found.worker_hours == pytest.approx(found.predict_s / 3600)
    assert found.cost is None
    assert estimate(plan_of(3, side=4000, scheduler="tcp://127.0.0.1:1")).n_workers == 1, "there is one block"


@pytest.mark.lane
def test_ten_thousand_blocks_take_seconds(no_model):
    plan = plan_of(600, side=35, area=wiggly(5000))
    plan.tiles = TilePlan(plan.geobox, 16, 2)
    assert len(plan.blocks) > 9_500
    started = time.perf_counter()
    assert estimate(plan).n_tiles > 10_000
    assert time.perf_counter() - started < 30


def test_a_plan_says_its_cost_and_not_all_of_its_items(tmp_path):
    images = []
    for n in range(13):
        path = tmp_path / f"scene{n:02}.tif"
        write_image(path, smooth(n, (40, 40)), geobox_at(col=40 * n, height=40, width=40))
        images += ["--image", path]
    recipe = tmp_path / "job.toml"
    recipe.write_text('model = "spectral-rules"\nprice_per_hour = 3600\ncurrency = "shells"\n')
    shown = geoseg("plan", recipe, *images)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("│ item ") == 12
    assert "and 1 more; all of them: --json" in shown.stdout
    (cost,) = [line for line in shown.stdout.splitlines() if "│ cost" in line]
    assert "shells" in cost
    assert "worker hours at 3600 shells" in cost
