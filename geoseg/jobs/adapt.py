"""The imagery of an area to a model that is used to it."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from rasterio.windows import Window

from geoseg.imagery.changes import unchanged
from geoseg.inference.known import Pixels
from geoseg.jobs.blocks import BlockTask, aoi_mask, read_window
from geoseg.jobs.plan import plan_run
from geoseg.jobs.tasks import tasks_of
from geoseg.models.folders import make_folder, refuse_existing
from geoseg.models.folds import folds_of, write_folds
from geoseg.models.zoo import load_model, save_model
from geoseg.recipe import Recipe
from geoseg.training.norms import adapted

_MOST_TILES = 200
"""So many are enough for means and deviations."""
_SIDE = 256
"""Of a tile at most, pixels."""
_KNOWN_SHARE = 0.8
"""Of a tile's pixels must have values."""


def adapt(recipe: Recipe, out: Path, *, say: Callable[[str], None] = lambda text: None) -> None:
    """A copy of the recipe's model whose norms know the imagery of its area: see :func:`adapted`.

    Raises:
        ModelError: the model has no batch norms; no tile has enough pixels; the folder exists.
        GeosegError: see :func:`geoseg.jobs.plan.plan_run`.
    """
    refuse_existing(out)
    plan = plan_run(recipe, say=say)
    tiles = islice(_tiles(tasks_of(plan, Path()), min(plan.tiles.size, _SIDE)), _MOST_TILES)
    with unchanged(plan.selection.items):
        model, folds = adapted(load_model(recipe.model), tiles), folds_of(recipe.model)

    def fill(folder: Path) -> None:
        card = save_model(model, folder)
        if folds is not None:
            write_folds(folds, folder, weights_sha256=card.sha256)

    make_folder(out, fill)


def _tiles(tasks: list[BlockTask], size: int) -> Iterator[Pixels]:
    """(band, size, size) pieces of the imagery of the area, drawn from all of it; NaN = nodata."""
    windows = [
        (task, Window(col, row, size, size))
        for task in tasks
        for row in range(task.block.window.row_off, _end(task.block.window)[0], size)
        for col in range(task.block.window.col_off, _end(task.block.window)[1], size)
        if aoi_mask(task.aoi_px, Window(col, row, size, size)).any()
    ]
    for n in np.random.default_rng(0).permutation(len(windows)):
        task, window = windows[n]
        pixels = read_window(task, window)
        if np.isfinite(pixels).all(0).mean() >= _KNOWN_SHARE:
            yield pixels


def _end(window: Window) -> tuple[int, int]:
    return window.row_off + window.height, window.col_off + window.width
