"""What goes to workers: what all blocks of a run share, once; and of each block what is its own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from functools import partial
from hashlib import sha256
from threading import Lock
from typing import Any

from geoseg.jobs.blocks import BlockDone, BlockTask
from geoseg.jobs.connecting import give_to_workers
from geoseg.jobs.stopping import when_asked

_OWN = ("block", "items", "leaves_gaps", "n_pieces", "fingerprint")
"""Fields of a task that differ from block to block."""


@contextmanager
def shared_by(client, task: BlockTask) -> Iterator[str]:  # type: ignore[no-untyped-def]
    """The name by which workers find what the tasks of a run share: grid, area, catalog, model.

    An area may have very many corners. Each worker gets them once, also one that comes later. As the result
    of a task, which is Dask's other way, it would draw all blocks to the worker that holds it.

    It is taken back when the run ends, or is asked to: blocks that have begun have it, others end at once.
    """
    # By its folder: what a run that was killed has left there is replaced by the next one.
    name = f"geoseg-{sha256(str(task.parts).encode()).hexdigest()[:16]}"
    give_to_workers(client, _plugin(partial(type(task), **_fields(task, are_own=False))), name)
    once = Lock()

    def take_back() -> None:
        if client.status == "running" and once.acquire(blocking=False):  # else the scheduler is lost
            with suppress(OSError, TimeoutError):
                client.unregister_worker_plugin(name)

    try:
        with when_asked(take_back):
            yield name
    finally:
        take_back()


@dataclass(frozen=True)
class Own:
    """What is a task's own. Dask would walk through all items of a plain dict, in search of work in them."""

    values: dict[str, Any]


def own_of(task: BlockTask) -> Own:
    """What is a task's own."""
    return Own(_fields(task, are_own=True))


def run_whole(run: Callable[[BlockTask], BlockDone], name: str, own: Own) -> BlockDone | None:
    """``run`` of the task that both are of: what a worker does.

    None where the run has ended, or was asked to, while the block waited for its turn.
    """
    from distributed import get_worker

    plugin = get_worker().plugins.get(name)
    return run(plugin.shared(**own.values)) if plugin is not None else None


def _fields(task: BlockTask, *, are_own: bool) -> dict[str, Any]:
    return {f.name: getattr(task, f.name) for f in fields(task) if (f.name in _OWN) == are_own}


def _plugin(shared: Callable[..., BlockTask]):  # type: ignore[no-untyped-def]
    from distributed import WorkerPlugin

    class Shared(WorkerPlugin):  # type: ignore[misc]
        def __init__(self) -> None:
            self.shared = shared

    return Shared()
