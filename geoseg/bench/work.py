"""How much a network had to compute for a map."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from odc.geo.geobox import GeoBox

from geoseg.grid.tiling import TilePlan, blocks_of
from geoseg.inference.efficiency import flops_per_pixel
from geoseg.models.zoo import create_model

_TURNS = {"none": 1, "flip": 4, "d4": 8}
"""Times that each tile is run, by test-time augmentation."""


def run_flops(model: str, *, grid: Mapping[str, Any], manifest: Mapping[str, Any]) -> float:
    """Floating-point operations of the network for all tiles of a map, halos and overlaps included.

    Args:
        model: what ``--model`` takes.
        grid: ``grid`` of the map's ``report.json``.
        manifest: its ``manifest.json``.
    """
    geobox = GeoBox.from_bbox(grid["bounds"], grid["crs"], shape=(grid["height"], grid["width"]))
    plan = TilePlan(geobox, **manifest["tiles"])
    n_turns = _TURNS[manifest["recipe"]["tta"]]
    return flops_of(model) * n_turns * pixels_run(plan, manifest["recipe"]["block_size"])


def pixels_run(plan: TilePlan, block_size: int) -> int:
    """Pixels that go through the network: those of each tile of each block, all of its window."""
    tiles = (len(list(plan.tiles(block.window))) for block in blocks_of(plan.geobox, block_size))
    return sum(tiles) * plan.size**2


@lru_cache(maxsize=4)
def flops_of(model: str) -> float:
    """Operations for a pixel of a tile; 0 for rules."""
    return flops_per_pixel(create_model(model))
