"""The blocks of a run: those that are there from a run before, the others as they are made."""

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from geoseg.errors import GeosegWarning, ImageryError, one_line
from geoseg.jobs.blocks import ROW_LISTENERS, BlockDone, BlockTask
from geoseg.jobs.cluster import run_here, run_on
from geoseg.jobs.journal import Journal, Published
from geoseg.jobs.listener import Listener
from geoseg.jobs.plan import Plan
from geoseg.jobs.stopping import Stopped, is_asked, pause
from geoseg.jobs.tries import BlockFailed, Ended, failure_of, is_out_of_memory, is_remote, next_try
from geoseg.recipe import Recipe
from geoseg.redaction import redact

_LONGEST_PAUSE_S = 60.0
_FEW = 20
_HOPELESS = 20
"""Blocks that fail, with none done, after which the others are not tried."""


def make_blocks(plan: Plan, tasks: list[BlockTask], journal: Journal, listener: Listener) -> list[BlockDone]:
    """All blocks: those that the journal or the map in the output folder has, the others as they are made."""
    kept = _kept(plan, tasks, journal)
    if plan.recipe.resume:
        listener.say(f"{len(kept)} of {len(tasks)} blocks are there from a run before")
    by_index = {t.block.index: t for t in tasks}
    missing = [t for t in tasks if t.block.index not in kept]

    def note(done: BlockDone) -> None:
        journal.note(by_index[done.index].fingerprint, done)

    made = _made(plan, missing, listener, _Hope(note, plan.recipe, is_lost=not kept), n_blocks=len(tasks))
    _tell_gaps(made)
    found = [*made, *(replace(done, index=index) for index, done in kept.items())]
    journal.keep(task.fingerprint for task in tasks)
    return sorted(found, key=lambda done: done.index)


def _made(
    plan: Plan, tasks: list[BlockTask], listener: Listener, hope: "_Hope", *, n_blocks: int
) -> list[BlockDone]:
    """Blocks as they are made; those that fail are tried again when the others are done.

    Raises:
        GeosegError: some cannot be made.
    """
    made, failed = list[BlockDone](), list[BlockFailed]()
    n_tried, n_pauses = Counter[int](), 0
    while tasks:
        by_index = {task.block.index: task for task in tasks}
        found = compute(plan, tasks, listener, "reading and predicting", hope.on_end)
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


class _Hope:
    """Notes blocks that are done, and ends a run in which none is, if nothing else can be tried."""

    def __init__(self, note: Callable[[BlockDone], None], recipe: Recipe, *, is_lost: bool) -> None:
        """``is_lost``: no block is there from a run before."""
        self._note, self._n_failed = note, 0
        self._may_end, self._may_skip = is_lost, recipe.on_missing == "skip"

    def on_end(self, ended: Ended) -> None:
        """Of a block that is done, or failed."""
        if isinstance(ended, BlockDone):
            self._note(ended)
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
    published = Published(plan.out) if plan.recipe.resume else None
    for task in tasks:
        done = journal.finished(task.fingerprint)
        if done is None and published is not None and (done := published.cut(task)) is not None:
            journal.note(task.fingerprint, done)
        if done is not None:
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
    listener.start(stage, sum(t.block.window.width * t.block.window.height for t in tasks))
    parts = tasks[0].parts
    if plan.recipe.scheduler is None:
        ROW_LISTENERS[str(parts)] = listener.advance
        try:
            done = run_here(tasks, workers=plan.recipe.workers, on_end=on_end)
        finally:
            del ROW_LISTENERS[str(parts)]
    else:
        sizes = {t.block.index: t.block.window.width * t.block.window.height for t in tasks}

        def advance(ended: Ended) -> None:
            on_end(ended)
            listener.advance(sizes[ended.index])

        done = run_on(plan.recipe.scheduler, tasks, on_end=advance)
    if len(done) < len(tasks) and is_asked():
        raise Stopped(len(tasks) - sum(isinstance(d, BlockDone) for d in done))
    if sorted(d.index for d in done) != [t.block.index for t in tasks]:
        raise RuntimeError(f"{len(tasks)} blocks were given out, {len(done)} came back.")
    return sorted(done, key=lambda d: d.index)
