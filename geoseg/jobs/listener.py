"""Who is told how a run goes."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from geoseg.errors import GeosegWarning


@dataclass(frozen=True)
class BlockTally:
    """How far the blocks of a run are."""

    n_blocks: int = 0
    """All of the map."""
    n_kept: int = 0
    """There from a run before."""
    n_made: int = 0
    n_failed: int = 0
    """Failures; a block that is tried three times may have three."""
    km2_made: float = 0.0
    """Of the area, in the blocks that this run has made; square kilometres."""
    seconds: float = 0.0
    """Since the first block was begun."""
    error: str = ""
    """Of the block that failed just now."""

    @property
    def n_done(self) -> int:
        """Blocks that are there."""
        return self.n_kept + self.n_made

    @property
    def km2_per_s(self) -> float:
        """Of this run; 0 before its first block is done."""
        return self.km2_made / self.seconds if self.seconds else 0.0


class Listener(Protocol):
    """Who is told how a run goes. All methods may be called from several threads."""

    def say(self, text: str) -> None:
        """A line about what was assumed, adapted or found."""

    def start(self, stage: str, total: int) -> None:
        """A stage begins; ``total`` is its amount of work, in pixels or files."""

    def advance(self, amount: int) -> None:
        """Some of the stage's work is done."""

    def block(self, tally: BlockTally) -> None:
        """The blocks begin, or one of them is done or has failed."""


class Silence:
    """A listener that does not listen."""

    def say(self, text: str) -> None:
        """Ignored."""

    def start(self, stage: str, total: int) -> None:
        """Ignored."""

    def advance(self, amount: int) -> None:
        """Ignored."""

    def block(self, tally: BlockTally) -> None:
        """Ignored."""


@contextmanager
def warnings_said(listener: Listener) -> Iterator[list[str]]:
    """Warnings that geoseg gives on purpose, said at once and kept for the report."""
    texts: list[str] = []
    show = warnings.showwarning

    def note(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if issubclass(category, GeosegWarning):
            texts.append(str(message))
            listener.say(f"warning: {message}")
        else:
            show(message, category, *rest, **more)

    with warnings.catch_warnings():
        warnings.simplefilter("always", GeosegWarning)
        warnings.showwarning = note
        yield texts
