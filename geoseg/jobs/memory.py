"""How much memory a run takes, and blocks that are small enough for what it may take."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from geoseg.errors import RecipeError
from geoseg.grid.tiling import Block, blocks_of
from geoseg.imagery.loader import CELL
from geoseg.inference.device import devices_of
from geoseg.inference.predictor import run_a_tile
from geoseg.inference.strips import READ_THREADS
from geoseg.inference.uncertainty import layers_of
from geoseg.jobs.plan import Plan, items_near
from geoseg.memory import peak_memory_mb
from geoseg.models.zoo import create_model
from geoseg.recipe import memory_bytes

_MB = 2**20
_LEAST_BLOCK = 256
_N_LOOKED_AT = 64
"""Blocks whose items are counted, evenly over the area."""
_AROUND = 1.1
"""What the allocator keeps, and small things that nobody counts."""


def within_memory(plan: Plan, *, say: Callable[[str], None]) -> Plan:
    """The plan with blocks so small that no process takes more than ``max_memory``; as it is without one.

    What the network takes is measured: one tile is run here, by the backend that was settled on.

    Raises:
        RecipeError: not even with small blocks.
    """
    asked = plan.recipe.max_memory
    if asked is None:
        return plan
    limit = memory_bytes(asked) / _MB
    process = with_a_tile_mb(plan)
    size = plan.recipe.block_size
    while (total := process + blocks_mb(plan, size)) > limit and size > _LEAST_BLOCK:
        size = max(size // 2, _LEAST_BLOCK)
    if total > limit:
        raise RecipeError(
            f"--max-memory {asked}: this run takes {total:,.0f} MiB in its smallest blocks "
            f"({process:,.0f} MiB the program and its network on a tile of {plan.tiles.size} pixels, "
            f"{_n_at_a_time(plan)} at a time). Give --max-memory {1.05 * total:.0f}MiB, or a smaller "
            "--tile-size."
        )
    if size == plan.recipe.block_size:
        return plan
    say(f"blocks of {size} pixels, to stay within --max-memory {asked}")
    return replace(plan, blocks=tuple(blocks_of(plan.geobox, size)))


def with_a_tile_mb(plan: Plan) -> float:
    """The most that this process takes once each of its workers has run a tile, MB of 2**20 bytes."""
    before = peak_memory_mb()
    run_a_tile(create_model(plan.recipe.model), plan.tiles.size, plan.how)
    peak = peak_memory_mb()
    return peak + (_n_at_a_time(plan) - 1) * (peak - before)


def blocks_mb(plan: Plan, block_size: int) -> float:
    """What the pixels of blocks take, for all workers of a process, MB of 2**20 bytes."""
    size, n_bands = plan.tiles.size, len(plan.inputs.bands)
    height, width = (min(block_size, side) for side in plan.geobox.shape)
    read_width = width + 2 * size
    deepest = _most_items(plan, blocks_of(plan.geobox, block_size))
    row = 4 * n_bands * read_width * CELL  # of chunks
    held = row * (size // CELL + 3)  # under one row of tiles, and what is read ahead
    made = 3 * row * deepest if deepest > 1 else 2 * row
    made = min(made, 3 * READ_THREADS * 4 * n_bands * CELL**2 * deepest + 2 * row)
    n_layers = len(plan.card.legend.classes) + 1
    sums = 4 * n_layers * size * width
    tiles = 4 * (n_bands + 2 * n_layers) * size**2
    results = (len(layers_of(plan.how.uncertainty)) + 3) * height * width
    return _AROUND * _n_at_a_time(plan) * (held + made + sums + tiles + results) / _MB


def _n_at_a_time(plan: Plan) -> int:
    """Blocks at a time in one process."""
    if plan.recipe.scheduler is not None:
        return 1
    return plan.recipe.workers or len(devices_of(plan.how.device))


def _most_items(plan: Plan, blocks: Sequence[Block]) -> int:
    looked_at = blocks[:: max(len(blocks) // _N_LOOKED_AT, 1)]
    return max(map(len, map(partial(items_near, plan), looked_at)))
