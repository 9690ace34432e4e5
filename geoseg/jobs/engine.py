"""Which backend runs the network of a job, and in which precision: settled once, before the first block."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.errors import ImageryError, ModelError, RecipeError
from geoseg.inference.backends import AUTO, BACKENDS, EAGER, PRECISIONS, Precision, Work, why_not
from geoseg.inference.backends.choosing import Choice, choose
from geoseg.inference.device import device_of, n_at_a_time, one_name_of, threads_kept, use_threads
from geoseg.inference.runner import Inference
from geoseg.inference.tta import sizes_of, times_of, views_of
from geoseg.jobs.blocks import BlockTask, model_of, read_window
from geoseg.jobs.cluster import device_on, threads_on
from geoseg.jobs.clusters import Cluster
from geoseg.jobs.plan import Plan
from geoseg.jobs.store import Store
from geoseg.jobs.workspace import MANIFEST
from geoseg.models.int8 import Int8, read_int8
from geoseg.models.int8_network import observe
from geoseg.models.zoo import card_of, folder_of
from geoseg.recipe import Recipe

ENGINE = "engine.json"
FEW_TILES = 256
"""With fewer, measuring takes longer than it saves, and torch alone leaves out the empty rims of tiles, of
which small areas have many."""
_N_SAMPLES = 2
_TRIAL_SIZE = 256
"""Side of the pieces of tiles that backends are tried on, pixels: several networks are in memory then, and
take a quarter of what they take on tiles of 512."""
_MIN_KNOWN = 0.5
"""Of a sample's pixels; tiles with less are taken only where there is no better one."""
_NEEDS_MODULE = {"mc-dropout", "ensemble"}
"""Kinds of uncertainty that look into the network, which only torch lets them."""


def settle(
    recipe: Recipe, how: Inference, tasks: Sequence[BlockTask], *, cluster: Cluster | None = None
) -> tuple[Inference, Choice | None]:
    """How the blocks are run: what was asked for, or what is fastest on some of their tiles.

    All workers are given the same answer, since last bits depend on it. Jobs of few tiles are run by torch in
    float32 unless something else is asked for; so is what looks into the network, as ensembles' uncertainty.

    Returns:
        What the tasks are to hold, and what was measured; None where nothing was.

    Raises:
        RecipeError: the backend or precision that was asked for cannot be had here, or says something else.
        ModelError: it cannot run this network, or int8 has no ranges and no tile to observe them on.
    """
    name = recipe.device if how.device == AUTO else how.device
    how = replace(how, device=one_name_of(name) if cluster is None else device_on(cluster, name))
    how = replace(how, threads=_threads(recipe, how.device, cluster))
    is_elsewhere = cluster is not None and how.device != "cpu"  # GPUs that are not at hand here
    if _NEEDS_MODULE & set(how.uncertainty):
        _refuse_others(recipe)
        return how, None
    int8 = _ranges(tasks[0].model)
    is_free = recipe.precision in (AUTO, "float32")
    if recipe.backend != AUTO or (is_elsewhere and is_free):
        return _as_asked(recipe, how, tasks, int8, is_elsewhere=is_elsewhere), None
    if is_elsewhere:
        raise RecipeError(
            f"--precision {recipe.precision} is compared with float32 on this machine, and the GPUs are "
            "those of the workers. Name what runs it: --backend torch-compiled."
        )
    n_tiles = sum(len(list(task.plan.tiles(task.block.window))) for task in tasks)
    tiles = [] if is_free and n_tiles < FEW_TILES else _samples(tasks)
    if not tiles:
        if is_free:
            return how, None
        raise RecipeError(
            f"--precision {recipe.precision} is compared with float32 on tiles of the area, and those that "
            "were looked at have no pixel. Give --precision float32."
        )
    return _fastest(recipe, how, tasks[0], tiles, n_tiles=n_tiles, int8=int8)


def _fastest(
    recipe: Recipe,
    how: Inference,
    task: BlockTask,
    tiles: Sequence[NDArray[np.float32]],
    *,
    n_tiles: int,
    int8: Int8 | None,
) -> tuple[Inference, Choice]:
    """What is done first with ``n_tiles`` like these, in the precision that the recipe leaves open."""
    device = device_of(how.device)
    model = model_of(task.model, task.model_fingerprint)
    size = task.plan.size
    trial = min(_TRIAL_SIZE // model.card.tile_multiple * model.card.tile_multiple or size, size)
    work = Work(trial, n_at_a_time(device, how.batch_size), device, threads=how.threads, int8=int8)
    use_threads(how.threads)
    precisions: Sequence[Precision] = (
        [p for p in PRECISIONS if p != "int8" or int8 is not None]
        if recipe.precision == AUTO
        else [recipe.precision]
    )
    views = views_of(how.tta, size=size, card=model.card)
    n_times = n_tiles * times_of(views) / len(sizes_of(views, size))  # each size is made ready by itself
    n_times *= (size / trial) ** 2
    choice = choose(model, _pieces(tiles, trial), work, n_tiles=round(n_times), precisions=precisions)
    if choice.work.precision not in precisions:
        others = "; ".join(m.text() for m in choice.measured if m.precision == recipe.precision)
        raise RecipeError(f"--precision {recipe.precision} cannot be had: {others}. Give auto or float32.")
    return replace(how, backend=choice.name, precision=choice.work.precision, int8=choice.work.int8), choice


def _threads(recipe: Recipe, device: str, cluster: Cluster | None) -> int | None:
    """The same for all workers; None on a GPU, where it means nothing."""
    if cluster is None:
        with threads_kept() as n:
            return (recipe.threads or n) if device_of(device).type == "cpu" else None
    if device != "cpu":
        return None
    return recipe.threads or threads_on(cluster)


def note_engine(plan: Plan, how: Inference, parts: Path) -> None:
    """Write down beside the parts what runs the network: measured again, another backend might win."""
    ran = {"backend": how.backend, "precision": how.precision, "threads": how.threads, "device": how.device}
    facts = {**_tiles_run(plan), **ran}
    (parts / ENGINE).write_text(json.dumps(facts), "utf-8")
    if plan.store is not None:
        Store(plan.store).put(stored_engine(plan), parts / ENGINE)


def stored_engine(plan: Plan) -> str:
    """What that note is called in a store, which other maps may use too."""
    return f"engine-{(plan.card.sha256 or plan.card.name)[:16]}-{plan.tiles.size}.json"


def as_before(plan: Plan, parts: Path) -> Recipe:
    """The recipe of a run that goes on, with what ran the network before, whose blocks it takes over."""
    recipe = plan.recipe
    if not recipe.resume:
        return recipe
    if plan.store is not None and not (parts / ENGINE).exists():
        Store(plan.store).fetch(stored_engine(plan), parts / ENGINE)
    with suppress(OSError, ValueError, KeyError, TypeError):
        facts = json.loads((parts / ENGINE).read_text("utf-8"))
        return _with_engine(recipe, facts) if _tiles_run(plan).items() <= facts.items() else recipe
    with suppress(OSError, ValueError, KeyError, TypeError):
        manifest = json.loads((plan.before / MANIFEST).read_text("utf-8"))
        found = {"model": manifest["model"]["sha256"], "size": manifest["tiles"]["size"]}
        facts = {**manifest["recipe"], "device": manifest["device"]}
        return _with_engine(recipe, facts) if found == _tiles_run(plan) else recipe
    return recipe


def _tiles_run(plan: Plan) -> dict[str, object]:
    return {"model": plan.card.sha256, "size": plan.tiles.size}


def _with_engine(recipe: Recipe, facts: dict[str, Any]) -> Recipe:
    """What is left open in the recipe as it was."""
    before = {key: facts[key] for key in ("backend", "precision")} if recipe.backend == AUTO else {}
    threads = facts["threads"] if recipe.threads is None else recipe.threads
    is_known = recipe.device == AUTO and facts["device"] == "cpu"  # no cluster has to be asked
    device = facts["device"] if is_known else recipe.device
    return recipe.model_copy(update={**before, "threads": threads, "device": device})


def _as_asked(
    recipe: Recipe, how: Inference, tasks: Sequence[BlockTask], int8: Int8 | None, *, is_elsewhere: bool
) -> Inference:
    precision: Precision = "float32" if recipe.precision == AUTO else recipe.precision
    backend = EAGER if recipe.backend == AUTO else recipe.backend
    if precision == "int8" and int8 is None and "int8" in BACKENDS[backend].precisions:
        int8 = _observed(tasks)
    if not is_elsewhere:  # else each worker says so itself
        device = device_of(how.device)
        n = n_at_a_time(device, how.batch_size)
        work = Work(tasks[0].plan.size, n, device, precision, how.threads, int8)
        reason = why_not(backend, work)
        if reason is not None:
            raise RecipeError(f"--backend {backend} {reason}.")
    return replace(how, backend=backend, precision=precision, int8=int8)


def _refuse_others(recipe: Recipe) -> None:
    if recipe.backend not in (AUTO, EAGER) or recipe.precision not in (AUTO, "float32"):
        raise RecipeError(
            f"--uncertainty {','.join(recipe.uncertainty)} looks into the network: only --backend {EAGER} "
            "--precision float32 lets it."
        )


def _ranges(model: str) -> Int8 | None:
    """The ranges that a model brings; None where it was not trained for int8."""
    folder = folder_of(model)
    return None if folder is None else read_int8(folder, weights_sha256=card_of(model).sha256)


def _observed(tasks: Sequence[BlockTask]) -> Int8:
    tiles = _samples(tasks)
    if not tiles:
        raise ModelError(
            "--precision int8 needs the ranges of the layers, and no tile has pixels to observe them on. "
            "Give a model that was trained with fit.int8."
        )
    return observe(model_of(tasks[0].model, tasks[0].model_fingerprint), tiles)


def _samples(tasks: Sequence[BlockTask]) -> list[NDArray[np.float32]]:
    """Tiles (band, size, size) from inside blocks all over the area: mostly known, or the best there is."""
    found: list[tuple[float, NDArray[np.float32]]] = []
    for task in tasks[:: max(len(tasks) // 4, 1)]:
        tiles = list(task.plan.tiles(task.block.window))
        tiles = [tile for tile in tiles if _holds(task.block.window, tile.window)] or tiles
        for tile in dict.fromkeys(tiles[len(tiles) * n // 4] for n in (1, 2, 3, 0)):
            try:
                pixels = read_window(task, tile.window)
            except ImageryError:  # its block will say so; others of a dead server would be waited for as long
                return [pixels for known, pixels in found if known]
            found.append((float(np.isfinite(pixels).all(axis=0).mean()), pixels))
            good = [pixels for known, pixels in found if known >= _MIN_KNOWN]
            if len(good) == _N_SAMPLES:
                return good
    best = sorted(found, key=lambda sample: -sample[0])[:_N_SAMPLES]
    return [pixels for known, pixels in best if known]


def _pieces(tiles: Sequence[NDArray[np.float32]], size: int) -> list[NDArray[np.float32]]:
    """Two opposite corners (band, size, size) of each tile, or the tiles where they are no larger."""
    if tiles[0].shape[-1] == size:
        return list(tiles)
    corners = [part for tile in tiles for part in (tile[:, :size, :size], tile[:, -size:, -size:])]
    return [part for part in corners if np.isfinite(part).all(axis=0).any()] or corners


def _holds(whole: Window, part: Window) -> bool:
    (top, bottom), (left, right) = whole.toranges()
    (first, last), (west, east) = part.toranges()
    return bool(top <= first and last <= bottom and left <= west and east <= right)
