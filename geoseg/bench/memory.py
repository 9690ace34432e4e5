"""How much memory another process takes."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

from geoseg.memory import peak_memory_of, resident_memory_of

_SAMPLE_EVERY_S = 0.05


class MemoryWatch(threading.Thread):
    """Watches how much memory a process and its descendants have held together.

    ``ru_maxrss`` of wait4(2) would do for one process, but whoever starts it hands its own peak down to it.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self.peaks: list[tuple[float, float]] = []
        """``time.time()`` and largest resident memory up to then, MB of 2**20 bytes; empty without /proc."""
        self.start()

    def run(self) -> None:
        """Look every 50 ms. The kernel keeps the peak of the process in between (VmHWM, proc_pid_status(5));
        its descendants count with what they hold when looked at.
        """
        highest = 0.0
        while (alone := peak_memory_of(self._pid)) > 0:
            others = sum(resident_memory_of(pid) for pid in _descendants(self._pid))
            together = resident_memory_of(self._pid) + others if others else alone
            highest = max(highest, alone, together)
            self.peaks.append((time.time(), highest))
            time.sleep(_SAMPLE_EVERY_S)


def _descendants(pid: int) -> Iterator[int]:
    """Without those that run the same program as ``pid``: between fork and exec they show its memory, and
    forked workers share most of it.
    """
    own = _command(pid)
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found = children.read_text().split()
        except OSError:
            continue
        for child in map(int, found):
            if _command(child) != own:
                yield child
            yield from _descendants(child)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
