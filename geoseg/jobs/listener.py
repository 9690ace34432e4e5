"""Who is told how a run goes."""

from typing import Protocol


class Listener(Protocol):
    """Who is told how a run goes. All methods may be called from several threads."""

    def say(self, text: str) -> None:
        """A line about what was assumed, adapted or found."""

    def start(self, stage: str, total: int) -> None:
        """A stage begins; ``total`` is its amount of work, in pixels or files."""

    def advance(self, amount: int) -> None:
        """Some of the stage's work is done."""


class Silence:
    """A listener that does not listen."""

    def say(self, text: str) -> None:
        """Ignored."""

    def start(self, stage: str, total: int) -> None:
        """Ignored."""

    def advance(self, amount: int) -> None:
        """Ignored."""
