"""How much a network computes for a map, and what the hardware could."""

from dataclasses import replace

import pytest
import torch
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geoseg.bench import work
from geoseg.bench.hardware import Limit, matrix_limit
from geoseg.bench.networks import make_network
from geoseg.bench.work import pixels_run, run_flops
from geoseg.grid.tiling import TilePlan
from geoseg.inference.efficiency import flops_per_pixel

GRID = {"width": 192, "height": 96, "bounds": [0, 0, 1920, 960], "crs": "EPSG:32633"}


def test_pixels_of_tiles_are_counted_with_their_halos_and_for_each_block() -> None:
    plan = TilePlan(GeoBox.from_bbox((0, 0, 1920, 960), "EPSG:32633", shape=(96, 192)), 64, 0)
    assert pixels_run(plan, 4096) == 6 * 64**2  # 2 rows, the second half outside, of 3
    assert pixels_run(plan, 96) == 2 * 4 * 64**2  # blocks of 96 cut a tile: both run it
    with_halo = TilePlan(plan.geobox, 96, 16)
    n_tiles = len(list(with_halo.tiles(Window(0, 0, 192, 96))))
    assert n_tiles > 6
    assert pixels_run(with_halo, 4096) == n_tiles * 96**2


@pytest.mark.parametrize(("tta", "turns"), [("none", 1), ("flip", 4), ("d4", 8)])
def test_operations_are_those_of_all_turns(tta: str, turns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "flops_of", lambda model: 10.0)
    manifest = {"tiles": {"size": 64, "halo": 0}, "recipe": {"tta": tta, "block_size": 4096}}
    assert run_flops("m", grid=GRID, manifest=manifest) == 10.0 * turns * 6 * 64**2


def test_operations_of_a_pixel_do_not_hang_on_the_tile() -> None:
    model = make_network("unet", "resnet18", n_steps=0)
    small, large = (
        flops_per_pixel(replace(model, card=model.card.model_copy(update={"tile_size": size})))
        for size in (32, 64)
    )
    assert small == pytest.approx(large)
    assert 1e4 < small < 1e7


def test_limit_is_that_of_the_faster_precision_and_leaves_random_numbers_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    limit = matrix_limit(sides=(64, 128))
    torch.testing.assert_close(torch.rand(2), expected)
    assert limit.bf16_tflops > 0
    assert 1e-6 < limit.tflops < 1e3
    assert Limit(0.5, 2.0).tflops == 2.0
    assert Limit(3.0, 2.0).tflops == 3.0
