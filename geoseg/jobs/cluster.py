"""Where blocks run: threads of this process, or the workers of a Dask scheduler."""

import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from uuid import uuid4

import dask
from dask.callbacks import Callback

from geoseg.errors import RecipeError
from geoseg.inference.device import devices_of
from geoseg.jobs.blocks import BlockDone, BlockTask, run_block
from geoseg.jobs.stopping import is_asked
from geoseg.jobs.store import leave_probe, take_probe
from geoseg.jobs.tries import BlockFailed, Ended, concerns_all, let_go
from geoseg.resources import path_exists

_IN_FLIGHT_PER_WORKER = 3
_CONNECT_TIMEOUT_S = 15
_LOST = "cancelled"
"""What futures are whose scheduler has gone; those whose worker has gone are computed again."""


def run_here(tasks: list[BlockTask], *, workers: int | None, on_end: Callable[[Ended], None]) -> list[Ended]:
    """Run blocks with Dask's threaded scheduler, ``workers`` at a time.

    One that fails does not stop the others, unless they would all fail.

    Those that have not begun when the run is asked to stop are left out.

    Threads take the GPUs in turn, and keep them: a network is made ready for one device and thread. Without
    ``workers`` there is a thread for each GPU, or one on the CPU.
    """
    ended: list[Ended] = []
    devices = devices_of(tasks[0].how.device)
    turns, own = cycle(devices), threading.local()

    def run(task: BlockTask) -> Ended | None:
        if is_asked():
            return None
        if not hasattr(own, "device"):
            own.device = next(turns)
        try:
            return run_block(replace(task, how=replace(task.how, device=own.device)))
        except Exception as error:
            if concerns_all(error):
                raise
            let_go(error)
            return BlockFailed(task.block.index, error)

    def note(_key: object, value: object, *_: object) -> None:
        if isinstance(value, BlockDone | BlockFailed):
            ended.append(value)
            on_end(value)

    # Threads that read may leave the warning filters changed (see imagery.preflight).
    with Callback(posttask=note), warnings.catch_warnings():
        dask.compute(
            *[dask.delayed(run, pure=False)(_opaque(task)) for task in tasks],
            scheduler="threads",
            num_workers=workers or len(devices),
        )
    return ended


def run_on(address: str, tasks: list[BlockTask], *, on_end: Callable[[Ended], None]) -> list[Ended]:
    """Run blocks on the workers of a Dask scheduler; a few per worker are in flight at a time.

    One that fails does not stop the others, unless they would all fail.

    Blocks for GPUs go only to workers with the resource ``GPU``, where any has it, and take one of it each.

    Those that have not been sent when the run is asked to stop are left out. A block whose worker dies is run
    again elsewhere by Dask. Parts are files: the workers must be able to write to their store, or see the
    output folder under the same path as this process, which is checked first.

    Raises:
        RecipeError: the scheduler does not answer, has no workers, or they cannot leave parts; or it is lost
            meanwhile.
    """
    from distributed import as_completed

    with _client(address) as client:
        _check_workers(client, address, tasks[0])
        n_gpus = _n_gpus(client) if tasks[0].how.device.startswith("cuda") else 0
        n_slots = (n_gpus or sum(client.nthreads().values())) * _IN_FLIGHT_PER_WORKER
        submit = partial(client.submit, run_block, pure=False, resources={"GPU": 1} if n_gpus else None)
        waiting: Iterator[BlockTask] = iter(tasks)
        # Tasks are submitted as others finish: a scheduler chokes on very large graphs.
        indices = {submit(task): task.block.index for task in islice(waiting, n_slots)}
        queue = as_completed(indices, loop=client.loop)
        ended: list[Ended] = []
        for future in queue:
            if future.status == _LOST:
                raise RecipeError(f"The Dask scheduler at {address} is lost. Start it and its workers again.")
            index = indices.pop(future)
            try:
                ended.append(future.result())
            except Exception as error:
                if concerns_all(error):
                    raise
                ended.append(BlockFailed(index, error))
            on_end(ended[-1])
            future.release()
            for task in () if is_asked() else waiting:
                again = submit(task)
                indices[again] = task.block.index
                queue.add(again)
                break
        return ended


def device_on(address: str, device: str) -> str:
    """What ``auto`` is on a scheduler's workers: ``cuda`` where any has the resource ``GPU``, else ``cpu``.

    One answer for all, since a GPU's last bits are not those of a CPU. Other devices are what they are.

    Raises:
        RecipeError: the scheduler does not answer.
    """
    if device != "auto":
        return device
    with _client(address) as client:
        return "cuda" if _n_gpus(client) else "cpu"


def blocks_at_a_time_on(address: str, device: str) -> int:
    """The most that one worker of a scheduler has under way: a block for each of its threads, or GPUs.

    Raises:
        RecipeError: the scheduler does not answer.
    """
    with _client(address) as client:
        if device.startswith("cuda") and (gpus := client.run(_gpus_of_worker)) and max(gpus.values()):
            return int(max(gpus.values()))
        return max(client.nthreads().values(), default=1)


def _client(address: str):  # type: ignore[no-untyped-def]
    from distributed import Client

    try:
        return Client(address, timeout=_CONNECT_TIMEOUT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise RecipeError(
            f"No Dask scheduler answers at {address} ({type(error).__name__}). Start one with "
            "'dask scheduler' and workers with 'dask worker ADDRESS', or leave --scheduler out."
        ) from None


def _n_gpus(client) -> int:  # type: ignore[no-untyped-def]
    return int(sum(client.run(_gpus_of_worker).values()))


def _gpus_of_worker(dask_worker) -> float:  # type: ignore[no-untyped-def]
    """How many blocks for GPUs it takes at a time; Dask hands the worker in by this name."""
    return float(dask_worker.state.total_resources.get("GPU", 0))


def _check_workers(client, address: str, task: BlockTask) -> None:  # type: ignore[no-untyped-def]
    try:
        client.wait_for_workers(1, timeout=_CONNECT_TIMEOUT_S)  # a nanny may be starting one
    except TimeoutError:
        raise RecipeError(
            f"The Dask scheduler at {address} has no workers. Start some: dask worker {address}."
        ) from None
    if task.store is not None:
        _check_writers(client, task.store)
    else:
        _check_readers(client, task.parts)


def _check_writers(client, store: str) -> None:  # type: ignore[no-untyped-def]
    """What each worker writes to the store arrives there."""
    probes = client.run(leave_probe, store)
    wrong = {worker: why for worker, left in sorted(probes.items()) if (why := take_probe(store, left))}
    if wrong:
        worker, why = next(iter(wrong.items()))
        raise RecipeError(
            f"{len(wrong)} of {len(probes)} workers cannot leave parts in the store (first {worker}): "
            f"{why.rstrip('.')}. What the environment must hold, it must hold where the workers run."
        )


def _check_readers(client, folder: Path) -> None:  # type: ignore[no-untyped-def]
    """Each worker sees the folder of the parts."""
    token = folder / f".{uuid4().hex}"
    token.touch()
    try:
        seen = client.run(path_exists, token)
    finally:
        token.unlink()
    blind = sorted(worker for worker, is_seen in seen.items() if not is_seen)
    if blind:
        raise RecipeError(
            f"{len(blind)} of {len(seen)} workers (first {blind[0]}) do not see {folder.parent}. "
            "Give --out on a file system that all workers share, or --store s3://bucket/folder."
        )


def _opaque(task: BlockTask) -> object:
    """Keeps dask from walking into the task's lists and geometries."""
    return dask.delayed(task, traverse=False, pure=False)
