"""How much memory a run takes, and blocks that are small enough for what it may take."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pystac

from geoseg.errors import RecipeError
from geoseg.grid.geobox import snap_out, window_geobox
from geoseg.grid.tiling import blocks_of
from geoseg.imagery.gaps import Gaps
from geoseg.imagery.loader import CELL
from geoseg.inference.backends import EAGER
from geoseg.inference.device import Copies, device_of, devices_of, n_at_a_time
from geoseg.inference.predictor import run_a_tile
from geoseg.inference.runner import Inference
from geoseg.inference.strips import READ_THREADS
from geoseg.inference.uncertainty import layers_of
from geoseg.jobs.blocks import BlockTask, read_composite
from geoseg.jobs.cluster import blocks_at_a_time_on
from geoseg.jobs.near import blocks_within
from geoseg.jobs.plan import Plan
from geoseg.jobs.tasks import tasks_of
from geoseg.memory import GDAL_CACHE_MB, forget_peak, held_memory_mb, peak_memory_mb
from geoseg.models.zoo import create_model
from geoseg.recipe import memory_bytes

_MB = 2**20
_LEAST_BLOCK = 256
_N_LOOKED_AT = 64
"""Blocks whose items are counted, drawn from the whole area."""
_AROUND = 1.1
"""What the allocator keeps, and small things that nobody counts."""


def within_memory(plan: Plan, *, say: Callable[[str], None]) -> Plan:
    """The plan with blocks so small that no process takes more than ``max_memory``; as it is without one.

    Raises:
        RecipeError: not even with small blocks.
    """
    asked = plan.recipe.max_memory
    if asked is None:
        return plan
    limit, n = memory_bytes(asked) / _MB, blocks_at_a_time(plan)
    held, tile_mb, _ = tile_costs(plan)
    process, size = held + GDAL_CACHE_MB + n * tile_mb, plan.recipe.block_size
    while (total := process + n * block_mb(plan, size)) > limit and size > _LEAST_BLOCK:
        size = max(size // 2, _LEAST_BLOCK)
    if total > limit:
        raise RecipeError(
            f"--max-memory {asked}: this run takes {_gb(total):.2f} GB in its smallest blocks "
            f"({_gb(process):.2f} GB the program and its network on a tile of {plan.tiles.size} pixels; "
            f"{n} at a time in a process). Give --max-memory {1.05 * _gb(total):.2f}GB, or a smaller "
            f"--tile-size{', or fewer workers' if n > 1 else ''}."
        )
    if size == plan.recipe.block_size:
        return plan
    say(f"blocks of {size} pixels, to stay within --max-memory {asked}")
    recipe = plan.recipe.model_copy(update={"block_size": size})
    return replace(plan, recipe=recipe, blocks=tuple(blocks_of(plan.geobox, size)))


def _gb(mb: float) -> float:
    return mb * _MB / 1e9


def tile_costs(plan: Plan) -> tuple[float, float, float]:
    """What this process holds now, what a tile in its network takes, both MB of 2**20 bytes, and its seconds.

    Measured by running one, in a thread whose network goes with it. Of a cluster's GPUs nothing can be
    measured here: the CPU and torch stand in for them.
    """
    how, model = _to_measure(plan), plan.recipe.model
    seconds: list[float] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            seconds.append(run_a_tile(create_model(model), plan.tiles.size, how))
        except BaseException as error:
            errors.append(error)

    held = held_memory_mb()
    forget_peak()
    thread = threading.Thread(target=run, name="geoseg-measure")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return held, peak_memory_mb() - held, seconds[0]


def blocks_at_a_time(plan: Plan) -> int:
    """In one process; one where the cluster is not to be asked, in a dry run.

    Raises:
        RecipeError: the cluster is not there.
    """
    if plan.cluster is not None:
        return blocks_at_a_time_on(plan.cluster, plan.how.device)
    if plan.recipe.is_on_cluster:
        return 1
    return plan.recipe.workers or len(devices_of(plan.how.device))


def block_mb(plan: Plan, block_size: int) -> float:
    """What the pixels of a block take, MB of 2**20 bytes: of the one with most items of some that are drawn.

    Strips of the image under a row of tiles and those read ahead, what they are made from, the sums of
    probabilities over a row of tiles, the tiles under way, and the layers of the result.
    """
    task = _deepest(plan, block_size)
    if task is None:
        return 0.0
    size, window = plan.tiles.size, task.block.window
    n_bands, n_layers = len(task.bands), len(plan.card.legend.classes) + 1
    n_rows, strip, making = _read_bytes(task)
    held = strip * (-(-size // n_rows) + 1 + -(-plan.tiles.stride // n_rows))
    sums = 4 * n_layers * size * window.width
    tiles = 4 * (2 * n_bands + 2 * n_layers) * size**2 * _tiles_under_way(plan)
    results = (len(layers_of(plan.how.uncertainty)) + 3) * window.height * window.width
    return float(_AROUND * (held + making + sums + tiles + results) / _MB)


def _read_bytes(task: BlockTask) -> tuple[int, int, int]:
    """Rows of a strip of the image, its bytes, and the bytes that making one takes."""
    needed = snap_out(task.plan.geobox, task.plan.hull(task.block.window), CELL)
    items = pystac.ItemCollection([pystac.Item.from_dict(item) for item in task.items])
    image = read_composite(task, items, window_geobox(task.plan.geobox, needed), Gaps())  # nothing is read
    n_rows, n_cols = (int(max(sizes)) for sizes in image.data.chunks[1:])
    pixel = 4 * len(task.bands)
    strip = pixel * n_rows * needed.width
    at_a_time = min(READ_THREADS * n_cols, needed.width)
    return n_rows, strip, strip + 3 * len(task.items) * pixel * n_rows * at_a_time


def _deepest(plan: Plan, block_size: int) -> BlockTask | None:
    """Of some blocks of the area, the one with most items; None where no block has any."""
    blocks = blocks_within(replace(plan, blocks=tuple(blocks_of(plan.geobox, block_size))))
    drawn = np.random.default_rng(0).permutation(len(blocks))[:_N_LOOKED_AT]
    some = replace(plan, blocks=tuple(blocks[n] for n in drawn))
    return max(
        (task for task in tasks_of(some, Path()) if task.items), key=lambda t: len(t.items), default=None
    )


def _is_measured_here(plan: Plan) -> bool:
    return not plan.recipe.is_on_cluster or plan.how.device == "cpu"


def _to_measure(plan: Plan) -> Inference:
    if _is_measured_here(plan):
        return plan.how
    return replace(plan.how, device="cpu", backend=EAGER, precision="float32", int8=None)


def _tiles_under_way(plan: Plan) -> int:
    """Beside those in the network: a GPU has batches on their way to and from it, in memory of this side."""
    if not _is_measured_here(plan):
        return 2 * plan.how.batch_size
    device = device_of(plan.how.device)
    return n_at_a_time(device, plan.how.batch_size) * (1 + Copies(device).n_ahead)
