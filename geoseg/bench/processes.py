"""A program in a process of its own, with a clock and a scale beside it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from geoseg.bench.memory import MemoryWatch
from geoseg.errors import OutputError

Say = Callable[[str], None]
GEOSEG = "from geoseg.cli.main import run; run()"
"""What the console script runs."""
_KB_PER_MB = 1024


@dataclass(frozen=True)
class Ran:
    """A process that has ended well."""

    wall_s: float
    """From before it was started until it had ended."""
    cpu_s: float
    """Of all its threads, user and system."""
    peaks: list[tuple[float, float]]
    """``time.time()`` and the largest resident memory up to then, MB of 2**20 bytes; at least one."""

    @property
    def peak_memory_mb(self) -> float:
        """Of the process and its descendants together."""
        return self.peaks[-1][1]

    def peak_until_mb(self, at: float) -> float:
        """The same as it was at ``time.time() == at``."""
        return max((mb for when, mb in self.peaks if when <= at), default=self.peaks[0][1])


def python_command(program: str, *arguments: str) -> list[str]:
    """This interpreter on a line of Python."""
    return [sys.executable, "-P", "-c", program, *arguments]


def watch(command: Sequence[str], *, log: Path, what: str) -> Ran:
    """Run a command to its end and measure it.

    Args:
        command: the program and its arguments.
        log: file that takes all it says.
        what: what to call it where it fails.

    Raises:
        OutputError: it failed; the message ends with what it said last.
    """
    started = time.perf_counter()
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink)
    memory = MemoryWatch(process.pid)
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        raise
    wall_s = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)  # wait4 took it from under Popen
    if process.returncode:
        said = log.read_text("utf-8", "replace").strip().splitlines() or ["nothing"]
        raise OutputError(f"{what} ended with exit code {process.returncode}: {said[-1]}")
    peaks = memory.peaks or [(0.0, usage.ru_maxrss / _KB_PER_MB)]
    return Ran(wall_s, usage.ru_utime + usage.ru_stime, list(peaks))


def call(module: str, function: str, *arguments: str, log: Path) -> tuple[Ran, dict[str, float]]:
    """A function of geoseg in a process of its own, so that its memory is its own too.

    Args:
        module: where it is.
        function: takes strings and returns numbers by name.
        arguments: what it is given.
        log: see :func:`watch`.

    Raises:
        OutputError: it failed.
    """
    program = (
        f"import json, sys; from {module} import {function}; "
        f"sys.stdout.write('\\n' + json.dumps({function}(*sys.argv[1:])) + '\\n')"
    )
    ran = watch(python_command(program, *arguments), log=log, what=function.replace("_", " "))
    found: dict[str, float] = json.loads(log.read_text("utf-8").strip().splitlines()[-1])
    return ran, found
