"""What a run will cost: said by ``--dry-run``, before it is paid."""

from dataclasses import dataclass

from geoseg.grid.tiling import Tile
from geoseg.imagery.loader import band_metadata
from geoseg.inference.device import devices_of
from geoseg.inference.seams import n_spots_of
from geoseg.jobs.blocks import aoi_mask
from geoseg.jobs.memory import block_mb, tile_costs
from geoseg.jobs.near import blocks_within, items_near
from geoseg.jobs.plan import Plan
from geoseg.memory import GDAL_CACHE_MB

NETWORK_MB_PER_S = 10.0
"""Assumed for remote assets; local ones are not counted."""
_BYTES = {"uint8": 1, "int16": 2, "uint16": 2, "float32": 4}
_TILES_IN_ALL = 4096


@dataclass(frozen=True)
class Estimate:
    """Rough figures, each with what it stands on."""

    n_tiles: int
    """Tiles that touch the area, counted once per block that needs them."""
    read_mb: float
    """Uncompressed size of the pixels to be read; compressed COGs are about half."""
    memory_mb: float
    """Peak of a process, with a tile in its network and the pixels of a block for each of its workers; on a
    cluster, with one block."""
    predict_s: float
    """Tiles, those of the seam score included, times the time that one took just now on this machine in all
    views of ``tta``."""
    read_s: float
    """``read_mb`` at 10 MB/s for remote assets."""


def estimate(plan: Plan) -> Estimate:
    """Count tiles and pixels, time the model on one tile of zeros."""
    n_tiles, read_mb = 0, 0.0
    blocks = blocks_within(plan)
    for block, near in zip(blocks, items_near(plan, blocks), strict=True):
        n_tiles += _count(plan, list(plan.tiles.tiles(block.window)))
        hull = plan.tiles.hull(block.window)
        per_item = [
            sum(_BYTES.get(str(m.get("data_type")), 2) for m in band_metadata(i).values()) for i in near
        ]
        read_mb += sum(per_item) * hull.width * hull.height / 1e6
    is_remote = any(a.href.startswith("http") for i in plan.inputs.items for a in i.assets.values())
    held_mb, tile_mb, seconds = tile_costs(plan)
    n = (plan.recipe.workers or len(devices_of(plan.how.device))) if not plan.recipe.is_on_cluster else 1
    return Estimate(
        n_tiles=n_tiles,
        read_mb=read_mb,
        memory_mb=held_mb + GDAL_CACHE_MB + n * (tile_mb + block_mb(plan, plan.recipe.block_size)),
        predict_s=(n_tiles + (n_spots_of(n_tiles) if n_tiles > 1 else 0)) * seconds,
        read_s=read_mb / 2 / NETWORK_MB_PER_S if is_remote else 0.0,
    )


def _count(plan: Plan, tiles: list[Tile]) -> int:
    aoi_px = plan.aoi_px
    if aoi_px is None or len(tiles) > _TILES_IN_ALL:
        return len(tiles)
    return sum(bool(aoi_mask(aoi_px, t.window).any()) for t in tiles)
