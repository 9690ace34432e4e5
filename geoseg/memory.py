"""What a process holds of memory, and what it gives back."""

import ctypes
import platform
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

_M_MMAP_THRESHOLD = -3  # malloc.h
_LARGE_BYTES = 1 << 18
_MB = 2**20
_KB_PER_MB = 1024


@cache
def give_back_memory() -> None:
    """From now on, arrays of 256 kB and more go back to the system as soon as they are freed.

    Left to itself, glibc raises that bound to 32 MB once such an array was freed (mallopt(3),
    M_MMAP_THRESHOLD), and each thread that reads keeps what it once needed: 700 MB of 2,600 with
    U-Net/ResNet34 and tiles of 1024 pixels. Other C libraries are left alone.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, MB of 2**20 bytes.

    VmHWM of proc_pid_status(5). Where there is no /proc, getrusage says it, which begins with the peak of the
    process that started this one.
    """
    return peak_memory_of("self") or _max_rss() / (_MB if sys.platform == "darwin" else _KB_PER_MB)


def held_memory_mb() -> float:
    """Resident memory of this process now, MB of 2**20 bytes; the peak where there is no /proc."""
    return _said_by_proc("self", "VmRSS") or peak_memory_mb()


def forget_peak() -> None:
    """The peak begins anew from what is held now (clear_refs of proc(5)); nothing where there is no /proc."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_of(pid: int | str) -> float:
    """That of a process; 0 for one that has ended, or where there is no /proc."""
    return _said_by_proc(pid, "VmHWM")


def _said_by_proc(pid: int | str, what: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / _KB_PER_MB for line in lines if line.startswith(what)), 0.0)


def _max_rss() -> int:
    """In bytes on macOS, in kilobytes elsewhere."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
