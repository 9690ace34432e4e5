"""How much memory another process takes."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

from geoseg.memory import peak_memory_of

_SAMPLE_EVERY_S = 0.05


class MemoryWatch(threading.Thread):
    """Watches how much memory a process and its descendants have ever held, until it is gone.

    ``ru_maxrss`` of wait4(2) would do, but a process that starts another hands its own peak down to it. The
    peaks of several processes are added up, though they need not have been at the same time.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._highest: dict[int, float] = {}
        self.peaks: list[tuple[float, float]] = []
        """``time.time()`` and largest resident memory up to then, MB of 2**20 bytes; empty without /proc."""
        self.start()

    def run(self) -> None:
        """Look every 50 ms; the kernel keeps the peak in between (VmHWM, proc_pid_status(5))."""
        while (mb := peak_memory_of(self._pid)) > 0:
            self._note(self._pid, mb)
            for pid in _descendants(self._pid):
                self._note(pid, peak_memory_of(pid))
            self.peaks.append((time.time(), sum(self._highest.values())))
            time.sleep(_SAMPLE_EVERY_S)

    def _note(self, pid: int, mb: float) -> None:
        # VmHWM is exact to some hundred kB only and may even go down by that.
        self._highest[pid] = max(mb, self._highest.get(pid, 0.0))


def _descendants(pid: int) -> Iterator[int]:
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found = children.read_text().split()
        except OSError:
            continue
        for child in found:
            yield int(child)
            yield from _descendants(int(child))
