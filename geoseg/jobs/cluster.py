"""Where blocks run: threads of this process, or the workers of a Dask scheduler."""

import math
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import dask
from dask.callbacks import Callback

from geoseg.errors import GeosegError, RecipeError
from geoseg.inference.device import devices_of, own_threads
from geoseg.jobs.blocks import BlockDone, BlockTask, run_block
from geoseg.jobs.clusters import Cluster
from geoseg.jobs.connecting import ask_workers
from geoseg.jobs.sending import own_of, run_whole, shared_by
from geoseg.jobs.stopping import is_asked
from geoseg.jobs.store import leave_probe, take_probe
from geoseg.jobs.tries import BlockFailed, Ended, concerns_all, let_go
from geoseg.resources import path_exists

_IN_FLIGHT_PER_WORKER = 3
_COUNTED_FOR_S = 1.0
_SYNCHRONOUS = ("sync", "synchronous", "single-threaded")
"""Dask's names for it."""
_LOST = "cancelled"
"""What futures are whose scheduler has gone; those whose worker has gone are computed again."""
_UNKNOWN = "A worker has lost what the blocks of a run share. The same command with --resume goes on."


def run_here(tasks: list[BlockTask], *, workers: int | None, on_end: Callable[[Ended], None]) -> list[Ended]:
    """Run blocks with Dask's threaded scheduler, ``workers`` at a time; one after the other in this thread
    where Dask's configuration says so (``scheduler: synchronous``).

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
            scheduler="synchronous" if dask.config.get("scheduler", None) in _SYNCHRONOUS else "threads",
            num_workers=workers or len(devices),
        )
    return ended


def run_on(cluster: Cluster, tasks: list[BlockTask], *, on_end: Callable[[Ended], None]) -> list[Ended]:
    """Run blocks on the workers of a cluster; a few per worker are in flight at a time.

    One that fails does not stop the others, unless they would all fail.

    Blocks for GPUs go only to workers with the resource ``GPU``, where any has it, and take one of it each.

    Those that have not begun when the run is asked to stop are left out. A block whose worker dies is run
    again elsewhere by Dask. Parts are files: the workers must be able to write to their store, or see the
    output folder under the same path as this process, which is checked first.

    Raises:
        RecipeError: the cluster is not there, has no workers, or they cannot leave parts; or it is lost
            meanwhile.
    """
    client = cluster.client
    _check_workers(client, tasks[0])
    has_gpus = tasks[0].how.device.startswith("cuda") and _n_gpus(client) > 0
    with shared_by(client, tasks[0]) as shared:
        submit = partial(
            client.submit,
            run_whole,
            run_block,
            shared,
            pure=False,
            resources={"GPU": 1} if has_gpus else None,
        )
        return _ended(cluster, tasks, submit=submit, slots=_Slots(client, has_gpus=has_gpus), on_end=on_end)


def _ended(
    cluster: Cluster,
    tasks: list[BlockTask],
    *,
    submit: Callable[..., Any],
    slots: "_Slots",
    on_end: Callable[[Ended], None],
) -> list[Ended]:
    """Tasks are submitted as others finish: a scheduler chokes on very large graphs."""
    from distributed import as_completed

    waiting: Iterator[BlockTask] = iter(tasks)
    indices = {submit(own_of(task)): task.block.index for task in islice(waiting, slots.now())}
    queue = as_completed(indices, loop=cluster.client.loop)
    ended: list[Ended] = []
    for future in queue:
        if future.status == _LOST:
            raise cluster.lost()
        index = indices.pop(future)
        try:
            done = future.result()
            if done is None and is_asked():
                continue
            done = done or BlockFailed(index, GeosegError(_UNKNOWN))
        except Exception as error:
            if concerns_all(error):
                raise
            done = BlockFailed(index, error)
        ended.append(done)
        on_end(done)
        future.release()
        n_more = 0 if is_asked() else slots.now() - len(indices)
        for task in islice(waiting, max(n_more, 0)):
            again = submit(own_of(task))
            indices[again] = task.block.index
            queue.add(again)
    return ended


def device_on(cluster: Cluster, device: str) -> str:
    """What ``auto`` is on a cluster's workers: ``cuda`` where any has the resource ``GPU``, else ``cpu``.

    One answer for all, since a GPU's last bits are not those of a CPU. Other devices are what they are.

    Raises:
        RecipeError: the cluster is not there.
    """
    if device != "auto":
        return device
    return "cuda" if _n_gpus(cluster.client) else "cpu"


def blocks_at_a_time_on(cluster: Cluster, device: str) -> int:
    """The most that one worker of a cluster has under way: a block for each of its threads, or GPUs.

    Raises:
        RecipeError: the cluster is not there.
    """
    client = cluster.client
    if device.startswith("cuda") and (gpus := ask_workers(client, _gpus_of_worker)) and max(gpus.values()):
        return int(max(gpus.values()))
    return max(client.nthreads().values(), default=1)


def threads_on(cluster: Cluster) -> int:
    """What torch has on every worker of a cluster: the least, so that blocks are alike wherever they run.

    Raises:
        RecipeError: the cluster is not there.
    """
    return int(min(ask_workers(cluster.client, own_threads).values(), default=1))


def workers_on(cluster: Cluster, device: str) -> int:
    """Blocks that a cluster's workers have under way at a time, all together; 1 where it has none yet.

    Raises:
        RecipeError: the cluster is not there.
    """
    client = cluster.client
    n_gpus = _n_gpus(client) if device.startswith("cuda") else 0
    return max(n_gpus or sum(client.nthreads().values()), 1)


class _Slots:
    """How many blocks may be in flight, counted again as workers come and go."""

    def __init__(self, client, *, has_gpus: bool) -> None:  # type: ignore[no-untyped-def]
        self._client, self._has_gpus = client, has_gpus
        self._n, self._counted = 1, -math.inf

    def now(self) -> int:
        if time.monotonic() - self._counted > _COUNTED_FOR_S:
            n = _n_gpus(self._client) if self._has_gpus else sum(self._client.nthreads().values())
            self._n, self._counted = max(n, 1) * _IN_FLIGHT_PER_WORKER, time.monotonic()
        return self._n


def _n_gpus(client) -> int:  # type: ignore[no-untyped-def]
    return int(sum(ask_workers(client, _gpus_of_worker).values()))


def _gpus_of_worker(dask_worker) -> float:  # type: ignore[no-untyped-def]
    """How many blocks for GPUs it takes at a time; Dask hands the worker in by this name."""
    return float(dask_worker.state.total_resources.get("GPU", 0))


def _check_workers(client, task: BlockTask) -> None:  # type: ignore[no-untyped-def]
    if task.store is not None:
        _check_writers(client, task.store)
    else:
        _check_readers(client, task.parts)


def _check_writers(client, store: str) -> None:  # type: ignore[no-untyped-def]
    """What each worker writes to the store arrives there."""
    probes = ask_workers(client, leave_probe, store)
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
        seen = ask_workers(client, path_exists, token)
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
