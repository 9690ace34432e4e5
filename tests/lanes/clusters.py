"""Dask schedulers and workers as processes of their own, which tests may kill."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from distributed import Client

from lanes.services import stop, wait_until

Process = subprocess.Popen[bytes]


@contextmanager
def dask(log: Path, *args: str) -> Iterator[Process]:
    """A ``dask scheduler`` or ``dask worker`` that runs within the block."""
    with log.open("wb") as file:
        # As Dask's nannies do: workers that each take all cores for one network wait for each other.
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen([sys.executable, "-m", "dask", *args], stdout=file, stderr=file, env=env)
    try:
        yield process
    finally:
        stop(process)


@contextmanager
def scheduler_in(folder: Path, *more: str) -> Iterator[tuple[str, Process]]:
    """The address of a scheduler that has no workers yet, and its process."""
    file = folder / "scheduler.json"
    args = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file), *more]
    with dask(folder / "scheduler.log", "scheduler", *args) as process:
        wait_until(file.exists, "the scheduler starts")
        yield json.loads(file.read_text())["address"], process


@contextmanager
def workers(scheduler: str, folder: Path, *, n: int = 2) -> Iterator[list[Process]]:
    """Workers of one thread each, without nannies: who is killed stays dead."""
    args = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
    with ExitStack() as stack:
        own = [
            stack.enter_context(
                dask(
                    folder / f"log{i}", "worker", scheduler, *args, "--local-directory", str(folder / str(i))
                )
            )
            for i in range(n)
        ]
        with Client(scheduler, set_as_default=False) as client:
            client.wait_for_workers(n, timeout=60)
        yield own


@dataclass(frozen=True)
class Cluster:
    """A scheduler with two workers."""

    address: str
    scheduler: Process
    workers: list[Process]


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """A scheduler and two workers, with logs and such in ``folder``."""
    folder.mkdir()
    with scheduler_in(folder) as (address, process), workers(address, folder) as own:
        yield Cluster(address, process, own)
