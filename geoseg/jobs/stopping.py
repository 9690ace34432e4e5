"""SIGTERM, as schedulers send it: blocks at hand are finished, the others are left for the next run."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from geoseg.errors import some

_asked = threading.Event()
_LOOK_S = 0.2


class Stopped(Exception):
    """A run ended because it was asked to, with blocks left; what is done is kept."""

    def __init__(self, n_left: int | None = None, *, areas: Sequence[str] = ()) -> None:
        """``n_left`` blocks of the map at hand, None where they were not begun; ``areas`` not begun."""
        self.n_left = n_left
        if n_left is None:
            left = ["no block was begun"]
        else:
            left = ["1 block is left" if n_left == 1 else f"{n_left} blocks are left"]
        if areas:
            left = [*left[: n_left != 0], f"the maps of {some(areas, 'area')} are not begun"]
        super().__init__(f"Stopped as asked: {', '.join(left)}.")


def is_asked() -> bool:
    """Whether the run is to end with the blocks at hand."""
    return _asked.is_set()


def pause(seconds: float) -> None:
    """Wait, or as long as the run is not asked to stop."""
    _asked.wait(seconds)


@contextmanager
def when_asked(act: Callable[[], None]) -> Iterator[None]:
    """Within it ``act`` is called, in a thread of its own, as soon as the run is asked to stop."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            if _asked.wait(_LOOK_S):
                act()
                return

    thread = threading.Thread(target=watch, name="geoseg-when-asked", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def stoppable() -> Iterator[None]:
    """Within it, SIGTERM asks runs to end in good order instead of ending the process.

    Only the main thread can hear signals; elsewhere nothing changes.
    """
    _asked.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(*_: Any) -> None:
        _asked.set()

    before = signal.signal(signal.SIGTERM, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)  # None: one of C's own
        _asked.clear()
