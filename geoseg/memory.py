"""What a process holds of memory, and what it gives back."""

import ctypes
import os
import platform
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import rasterio

_ONE_HEAP = (  # parameter (malloc.h), value, environment variable
    (-8, 1, "MALLOC_ARENA_MAX"),
    (-3, 1 << 25, "MALLOC_MMAP_THRESHOLD_"),  # as large as it may be
    (-1, 1 << 17, "MALLOC_TRIM_THRESHOLD_"),
)
_MB = 2**20
_KB_PER_MB = 1024


@cache
def one_heap() -> None:
    """From now on new threads share one heap, and its end goes back to the system when it is free.

    Left to itself, glibc gives each thread that reads a heap of its own, which keeps what the thread once
    needed: 400 MB of 2,200 with U-Net/ResNet34 on tiles of 512 pixels (mallopt(3)). Arrays of up to 32 MB
    are kept for the next one, as glibc does by itself after a while: giving them all back (a low
    M_MMAP_THRESHOLD) saves another 150 MB, but then each array is made of new pages, and networks take up
    to a fifth more time, mosaics nearly three times as much. What the environment sets (``MALLOC_ARENA_MAX``)
    stays; other C libraries are left alone. Threads that have a heap keep it, and beyond eight heaps glibc
    does not listen any more: start a process of many threads with ``MALLOC_ARENA_MAX=1``.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value, name in _ONE_HEAP:
            if name not in os.environ:
                mallopt(parameter, value)


def give_back() -> None:
    """Pages of the heap that nothing uses go back to the system, also those between others (malloc_trim(3)).

    For after work that needs much more than what comes next: making a network ready by way of its graph
    leaves 220 to 290 MB.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


GDAL_CACHE_MB = 128
"""Enough for the rows of blocks that are read in several goes."""


@cache
def bound_gdal_cache() -> None:
    """From now on GDAL keeps blocks of files in at most :data:`GDAL_CACHE_MB`, in the whole process.

    By itself it takes 5 % of the machine's memory, which large images fill. No ``rasterio.Env``: the first of
    several threads that leaves one would put the old bound back for all. What the environment sets
    (``GDAL_CACHEMAX``) stays.
    """
    if "GDAL_CACHEMAX" not in os.environ:
        from rasterio.env import set_gdal_config

        set_gdal_config("GDAL_CACHEMAX", GDAL_CACHE_MB * _MB)


def gdal_cache(mb: int) -> "rasterio.Env":
    """Within it GDAL keeps blocks of files in at most ``mb`` MB, in all threads.

    rasterio wants bytes where GDAL's own option wants MB.
    """
    import rasterio

    return rasterio.Env(GDAL_CACHEMAX=mb * _MB)


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, MB of 2**20 bytes.

    VmHWM of proc_pid_status(5). Where there is no /proc, getrusage says it, which begins with the peak of the
    process that started this one.
    """
    return peak_memory_of("self") or _max_rss() / (_MB if sys.platform == "darwin" else _KB_PER_MB)


def held_memory_mb() -> float:
    """Resident memory of this process now, MB of 2**20 bytes; the peak where there is no /proc."""
    return resident_memory_of("self") or peak_memory_mb()


def forget_peak() -> None:
    """The peak begins anew from what is held now (clear_refs of proc(5)); nothing where there is no /proc."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_of(pid: int | str) -> float:
    """That of a process; 0 for one that has ended, or where there is no /proc."""
    return _said_by_proc(pid, "VmHWM")


def resident_memory_of(pid: int | str) -> float:
    """What a process holds now; 0 for one that has ended, or where there is no /proc."""
    return _said_by_proc(pid, "VmRSS")


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
