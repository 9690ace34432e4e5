"""The blocks of a run: those that are there from a run before, the others as they are made."""

import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from geoseg.errors import GeosegWarning, ImageryError, one_line
from geoseg.grid.geobox import window_geobox
from geoseg.grid.ground import row_areas_m2
from geoseg.jobs.arrivals import arrivals, left_in_store
from geoseg.jobs.blocks import ROW_LISTENERS, BlockDone, BlockTask
from geoseg.jobs.cluster import run_here, run_on
from geoseg.jobs.journal import Journal, Published
from geoseg.jobs.listener import BlockTally, Listener
from geoseg.jobs.plan import Plan
from geoseg.jobs.stopping import Stopped, is_asked, pause
from geoseg.jobs.tries import BlockFailed, Ended, failure_of, is_out_of_memory, is_remote, next_try
from geoseg.jobs.workspace import files_of_map
from geoseg.recipe import Recipe
from geoseg.redaction import redact

_M2_PER_KM2 = 1e6
_LONGEST_PAUSE_S = 60.0
_FEW = 20
_HOPELESS = 20
"""Blocks that fail, with none done, after which the others are not tried."""


def make_blocks(plan: Plan, tasks: list[BlockTask], journal: Journal, listener: Listener) -> list[BlockDone]:
    """All blocks: those that the journal or the map in the output folder has, the others as they are made."""
    kept = _kept(plan, tasks, journal)
    if plan.recipe.resume and (kept or len(journal) or files_of_map(plan.before)):
        n_others = journal.n_others(task.fingerprint for task in tasks)
        rest = f"; {n_others} were made from other items, settings or versions" if n_others else ""
        listener.say(f"{len(kept)} of {len(tasks)} blocks are there from a run before{rest}")
    by_index = {t.block.index: t for t in tasks}
    missing = [t for t in tasks if t.block.index not in kept]

    watched = _Watched(listener, by_index, BlockTally(len(tasks), len(kept)))
    hope = _Hope(plan.recipe, is_lost=not kept)

    def on_end(ended: Ended) -> None:
        if isinstance(ended, BlockDone):
            journal.note(by_index[ended.index].fingerprint, ended)
        watched.on_end(ended)
        hope.on_end(ended)

    made = _made(plan, missing, listener, on_end, n_blocks=len(tasks))
    _tell_gaps(made)
    found = [*made, *(replace(done, index=index) for index, done in kept.items())]
    journal.keep(task.fingerprint for task in tasks)
    return sorted(found, key=lambda done: done.index)


def _made(
    plan: Plan,
    tasks: list[BlockTask],
    listener: Listener,
    on_end: Callable[[Ended], None],
    *,
    n_blocks: int,
) -> list[BlockDone]:
    """Blocks as they are made; those that fail are tried again when the others are done.

    Raises:
        GeosegError: some cannot be made.
    """
    made, failed = list[BlockDone](), list[BlockFailed]()
    n_tried, n_pauses = Counter[int](), 0
    while tasks:
        by_index = {task.block.index: task for task in tasks}
        try:
            found = compute(plan, tasks, listener, "reading and predicting", on_end)
        except Stopped as stopped:
            raise Stopped((stopped.n_left or 0) + len(failed)) from None
        made += [done for done in found if isinstance(done, BlockDone)]
        tasks = []
        for failure in (f for f in found if isinstance(f, BlockFailed)):
            task = by_index[failure.index]
            n_tried[failure.index] += 1
            again = next_try(task, failure.error, n_tried=n_tried[failure.index], recipe=plan.recipe)
            if again:
                n_tried[failure.index] -= again.n_pieces > task.n_pieces  # it was not tried like this
                why = one_line(failure.error) or type(failure.error).__name__
                listener.say(f"block {failure.index} is tried again: {redact(why)}")
                tasks.append(again)
            else:
                failed.append(failure)
        if any(task is by_index[task.block.index] and is_remote(task) for task in tasks):
            n_pauses += 1
            pause(min(2.0**n_pauses, _LONGEST_PAUSE_S))
    if failed:
        raise failure_of(failed, n_blocks)
    return made


class _Watched:
    """Tells the listener of each block."""

    def __init__(self, listener: Listener, tasks: dict[int, BlockTask], tally: BlockTally) -> None:
        self._listener, self._tasks, self._tally = listener, tasks, tally
        self._started = time.perf_counter()
        listener.block(tally)

    def on_end(self, ended: Ended) -> None:
        """Of a block that is done, or failed."""
        now = replace(self._tally, seconds=time.perf_counter() - self._started, error="")
        if isinstance(ended, BlockDone):
            task = self._tasks[ended.index]
            pixel_m2 = row_areas_m2(window_geobox(task.plan.geobox, task.block.window)).mean()
            km2 = float(ended.n_pixels * pixel_m2 / _M2_PER_KM2)
            now = replace(now, n_made=now.n_made + 1, km2_made=now.km2_made + km2)
        else:
            now = replace(now, n_failed=now.n_failed + 1, error=redact(one_line(ended.error)))
        self._tally = now
        self._listener.block(now)


class _Hope:
    """Ends a run in which no block is done, if nothing else can be tried."""

    def __init__(self, recipe: Recipe, *, is_lost: bool) -> None:
        """``is_lost``: no block is there from a run before."""
        self._n_failed = 0
        self._may_end, self._may_skip = is_lost, recipe.on_missing == "skip"

    def on_end(self, ended: Ended) -> None:
        """Of a block that is done, or failed."""
        if isinstance(ended, BlockDone):
            self._may_end = False
            return
        is_skipped = self._may_skip and isinstance(ended.error, ImageryError)
        self._n_failed += not is_skipped and not is_out_of_memory(ended.error)
        if self._may_end and self._n_failed == _HOPELESS:
            raise ended.error


def _tell_gaps(made: list[BlockDone]) -> None:
    """What was left out, a warning for each file."""
    n_blocks = Counter(file for done in made for file, _ in done.gaps)
    reasons = dict(gap for done in made for gap in done.gaps)
    for file in sorted(n_blocks)[:_FEW]:
        where = "1 block" if n_blocks[file] == 1 else f"{n_blocks[file]} blocks"
        _warn(f"Left out in {where}, so that other items or nodata are there: {reasons[file]}")
    if len(n_blocks) > _FEW:
        _warn(f"{len(n_blocks) - _FEW} more files could not be read and were left out.")


def _warn(text: str) -> None:
    with warnings.catch_warnings():
        # Reads that were under way when another failed may have left "ignore" behind (see imagery.preflight).
        warnings.simplefilter("always", GeosegWarning)
        warnings.warn(redact(text), GeosegWarning, stacklevel=3)


def _kept(plan: Plan, tasks: list[BlockTask], journal: Journal) -> dict[int, BlockDone]:
    """Blocks that need not be made, by index."""
    kept = {}
    published = Published(plan.before) if plan.recipe.resume else None
    for task in tasks:
        done = journal.finished(task.fingerprint)
        if done is None and published is not None and (done := published.cut(task)) is not None:
            journal.note(task.fingerprint, done)
        if done is not None:
            kept[task.block.index] = done
    missing = [t for t in tasks if t.block.index not in kept] if plan.recipe.resume else []
    for task, done in left_in_store(missing):
        journal.note(task.fingerprint, done)
        kept[task.block.index] = done
    return kept


def compute(
    plan: Plan,
    tasks: list[BlockTask],
    listener: Listener,
    stage: str,
    on_end: Callable[[Ended], None] = lambda ended: None,
) -> list[Ended]:
    """Run tasks once, here or on the cluster; ``on_end`` hears of each; in the order of their blocks."""
    sizes = {t.block.index: t.block.window.width * t.block.window.height for t in tasks}
    listener.start(stage, sum(sizes.values()))
    parts, ended = tasks[0].parts, list[Ended]()

    def note(one: Ended) -> None:
        ended.append(one)
        on_end(one)
        if plan.cluster is not None:
            listener.advance(sizes[one.index])

    with arrivals(tasks, note) as arrive:
        if plan.cluster is None:
            ROW_LISTENERS[str(parts)] = listener.advance
            try:
                run_here(tasks, workers=plan.recipe.workers, on_end=arrive)
            finally:
                del ROW_LISTENERS[str(parts)]
        else:
            run_on(plan.cluster, tasks, on_end=arrive)
    if len(ended) < len(tasks) and is_asked():
        raise Stopped(len(tasks) - sum(isinstance(d, BlockDone) for d in ended))
    if sorted(d.index for d in ended) != [t.block.index for t in tasks]:
        raise RuntimeError(f"{len(tasks)} blocks were given out, {len(ended)} came back.")
    return sorted(ended, key=lambda d: d.index)
