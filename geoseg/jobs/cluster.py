"""Where blocks run: threads of this process, or the workers of a Dask scheduler."""

import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from uuid import uuid4

import dask
from dask.callbacks import Callback

from geoseg.errors import RecipeError
from geoseg.jobs.blocks import BlockDone, BlockTask, run_block

_IN_FLIGHT_PER_WORKER = 3
_CONNECT_TIMEOUT_S = 15


def run_here(
    tasks: list[BlockTask], *, workers: int, on_done: Callable[[BlockDone], None]
) -> list[BlockDone]:
    """Run blocks with Dask's threaded scheduler, ``workers`` at a time; the first error ends the run."""
    finished: list[BlockDone] = []

    def note(_key: object, value: object, *_: object) -> None:
        if isinstance(value, BlockDone):
            finished.append(value)
            on_done(value)

    # Threads that read may leave the warning filters changed (see imagery.preflight).
    with Callback(posttask=note), warnings.catch_warnings():
        dask.compute(
            *[dask.delayed(run_block, pure=False)(_opaque(task)) for task in tasks],
            scheduler="threads",
            num_workers=workers,
        )
    return finished


def run_on(address: str, tasks: list[BlockTask], *, on_done: Callable[[BlockDone], None]) -> list[BlockDone]:
    """Run blocks on the workers of a Dask scheduler; a few per worker are in flight at a time.

    A block whose worker dies is run again elsewhere by Dask. Parts are files: the workers must see the
    output folder under the same path as this process, which is checked first.

    Raises:
        RecipeError: the scheduler does not answer, has no workers, or they do not see the output folder.
    """
    from distributed import Client, as_completed

    try:
        client = Client(address, timeout=_CONNECT_TIMEOUT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise RecipeError(
            f"No Dask scheduler answers at {address} ({type(error).__name__}). Start one with "
            "'dask scheduler' and workers with 'dask worker ADDRESS', or leave --scheduler out."
        ) from None
    with client:
        _check_workers(client, address, tasks[0].parts)
        n_slots = sum(client.nthreads().values()) * _IN_FLIGHT_PER_WORKER
        waiting: Iterator[BlockTask] = iter(tasks)
        # Tasks are submitted as others finish: a scheduler chokes on very large graphs.
        futures = [client.submit(run_block, task, pure=False) for task in islice(waiting, n_slots)]
        queue = as_completed(futures, loop=client.loop)
        finished: list[BlockDone] = []
        for future in queue:
            done: BlockDone = future.result()
            finished.append(done)
            on_done(done)
            future.release()
            for task in waiting:
                queue.add(client.submit(run_block, task, pure=False))
                break
        return finished


def _check_workers(client, address: str, folder: Path) -> None:  # type: ignore[no-untyped-def]
    if not client.nthreads():
        raise RecipeError(
            f"The Dask scheduler at {address} has no workers. Start some: dask worker {address}."
        )
    token = folder / f".{uuid4().hex}"
    token.touch()
    try:
        seen = client.run(_exists, str(token))
    finally:
        token.unlink()
    blind = sorted(worker for worker, is_seen in seen.items() if not is_seen)
    if blind:
        raise RecipeError(
            f"{len(blind)} of {len(seen)} workers (first {blind[0]}) do not see {folder.parent}. "
            "Give --out on a file system that all workers share."
        )


def _exists(path: str) -> bool:
    return Path(path).exists()


def _opaque(task: BlockTask) -> object:
    """Keeps dask from walking into the task's lists and geometries."""
    return dask.delayed(task, traverse=False, pure=False)
