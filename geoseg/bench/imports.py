"""How long geoseg takes to start, and what it waits for."""

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from geoseg.bench.processes import GEOSEG, Ran, Say, python_command, watch
from geoseg.bench.records import check_repeat

STARTS: dict[str, tuple[str, ...]] = {
    "python": ("pass",),
    "import geoseg": ("import geoseg",),
    "import geoseg.cli": ("import geoseg.cli.main",),
    "geoseg --help": (GEOSEG, "--help"),
    "geoseg models list": (GEOSEG, "models", "list"),
    "from geoseg import run": ("from geoseg import run",),
}
"""What is started: a line of Python and its arguments. ``python`` alone is what all of them share."""
HEAVIEST = "from geoseg import run"
"""The start whose imports are taken apart: all that a map needs, torch included."""
N_HEAVIEST = 10
_TIMED = re.compile(r"import time:\s*(\d+) \|\s*\d+ \|\s*(\S+)")


@dataclass(frozen=True)
class Start:
    """One start of Python with something to do."""

    name: str
    wall_s: float
    """The whole process."""
    cpu_s: float
    peak_memory_mb: float
    load: float
    """Load average of the machine at the end (1 min)."""


@dataclass(frozen=True)
class Import:
    """What one module costs when geoseg's ``run`` is imported."""

    module: str
    """A module that is not inside another; those inside it count with it."""
    wall_s: float
    """Its own lines, without what it imports from elsewhere."""
    n_modules: int


def benchmark(*, repeat: int, say: Say = lambda text: None) -> Iterator[Start]:
    """Start each ``repeat`` times, in turns.

    Args:
        repeat: rounds.
        say: told what is being done.

    Raises:
        RecipeError: ``repeat`` is too small.
        OutputError: a start failed.
    """
    check_repeat(repeat)
    with tempfile.TemporaryDirectory(prefix="geoseg-bench-") as temporary:
        log = Path(temporary) / "log.txt"
        for number in range(repeat):
            for name, program in STARTS.items():
                say(name + (f", {number + 1} of {repeat}" if repeat > 1 else ""))
                yield _start(name, watch(python_command(*program), log=log, what=name))


def _start(name: str, ran: Ran) -> Start:
    load = round(os.getloadavg()[0], 1)
    return Start(name, round(ran.wall_s, 3), round(ran.cpu_s, 3), round(ran.peak_memory_mb), load)


def heaviest_imports(*, program: str = HEAVIEST, n_heaviest: int = N_HEAVIEST) -> list[Import]:
    """The modules that take longest, from ``python -X importtime``, the heaviest first.

    Args:
        program: a line of Python that imports.
        n_heaviest: how many to give.

    Raises:
        OutputError: the program failed.
    """
    with tempfile.TemporaryDirectory(prefix="geoseg-bench-") as temporary:
        log = Path(temporary) / "log.txt"
        python, *rest = python_command(program)
        watch([python, "-X", "importtime", *rest], log=log, what=program)
        found = read_import_times(log.read_text("utf-8", "replace"))
    return sorted(found, key=lambda i: (-i.wall_s, i.module))[:n_heaviest]


def read_import_times(text: str) -> list[Import]:
    r"""Times by outermost module, of what ``python -X importtime`` says.

    Example:
        >>> read_import_times("import time:  300 |  300 | a.b\nimport time:  200 |  500 | a\n")
        [Import(module='a', wall_s=0.0005, n_modules=2)]
    """
    times: dict[str, list[int]] = {}
    for microseconds, module in _TIMED.findall(text):
        times.setdefault(module.partition(".")[0], []).append(int(microseconds))
    return [Import(module, sum(own) / 1e6, len(own)) for module, own in times.items()]
