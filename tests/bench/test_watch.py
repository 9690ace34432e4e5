"""What another process holds is seen from outside."""

import subprocess
import sys

import pytest

from geoseg.bench.memory import MemoryWatch

_HOLD = "import time; a = bytearray(%d << 20); time.sleep(0.3); del a; time.sleep(0.3)"


@pytest.mark.parametrize("n_mb", [50, 300])
def test_memory_that_was_given_back_is_remembered(n_mb: int) -> None:
    process = subprocess.Popen([sys.executable, "-S", "-c", _HOLD % n_mb])
    watch = MemoryWatch(process.pid)
    process.wait()
    watch.join(5)
    assert not watch.is_alive()
    assert n_mb < watch.peaks[-1][1] < n_mb + 40
    assert [mb for _, mb in watch.peaks] == sorted(mb for _, mb in watch.peaks)


def test_memory_of_children_counts() -> None:
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {_HOLD % 200!r}])"
    process = subprocess.Popen([sys.executable, "-S", "-c", child])
    watch = MemoryWatch(process.pid)
    process.wait()
    watch.join(5)
    assert 200 < watch.peaks[-1][1] < 280


def test_memory_of_the_starting_process_does_not_count() -> None:
    ballast = bytearray(b"x") * (600 << 20)
    process = subprocess.Popen([sys.executable, "-S", "-c", _HOLD % 1])
    watch = MemoryWatch(process.pid)
    process.wait()
    watch.join(5)
    assert watch.peaks[-1][1] < 100
    del ballast


def test_children_one_after_another_do_not_add_up() -> None:
    """Compilers, say: each is gone before the next, and shows its parent's memory before it is itself."""
    child = _HOLD % 60
    parent = (
        "import os, sys\na = bytearray(b'x') * (300 << 20)\nfor _ in range(4):\n    pid = os.fork()\n"
        f"    pid or os.execv(sys.executable, [sys.executable, '-S', '-c', {child!r}])\n    os.waitpid(pid, 0)"
    )
    process = subprocess.Popen([sys.executable, "-S", "-c", parent])
    watch = MemoryWatch(process.pid)
    process.wait()
    watch.join(5)
    assert 360 < watch.peaks[-1][1] < 420
