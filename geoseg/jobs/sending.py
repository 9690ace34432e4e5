"""What goes to workers: what all blocks of a run share, once; and of each block what is its own."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from geoseg.jobs.blocks import BlockDone, BlockTask

_OWN = ("block", "items", "leaves_gaps", "n_pieces", "fingerprint")
"""Fields of a task that differ from block to block."""


def shared_of(task: BlockTask) -> dict[str, Any]:
    """What the tasks of a run share: grid, area, catalog, model. An area may have very many corners."""
    return {f.name: getattr(task, f.name) for f in fields(task) if f.name not in _OWN}


def own_of(task: BlockTask) -> dict[str, Any]:
    """What is a task's own."""
    return {name: getattr(task, name) for name in _OWN}


def as_it_is(value: dict[str, Any]) -> dict[str, Any]:
    """The value. As the result of a task, Dask sends it to each worker once, and again where it is lost."""
    return value


def run_whole(
    run: Callable[[BlockTask], BlockDone], shared: dict[str, Any], own: dict[str, Any]
) -> BlockDone:
    """``run`` of the task that both are of: what a worker does."""
    return run(BlockTask(**shared, **own))
