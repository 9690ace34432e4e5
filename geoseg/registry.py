"""One table for every extension point: models, composites, and whatever comes next."""

import threading
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from geoseg.errors import GeosegError

T = TypeVar("T")


def did_you_mean(name: str, known: list[str]) -> str:
    """The half-sentence that ends a "not found" message: the nearest names, or all of them.

    Example:
        >>> did_you_mean("medain", ["first", "median"])
        'did you mean median?'
    """
    near = get_close_matches(name, known, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known) or 'none'}."


def group_of(kind: str) -> str:
    """The entry point group of a kind of things: ``geoseg.`` and its plural.

    Example:
        >>> group_of("model family"), group_of("loss"), group_of("composite")
        ('geoseg.model_families', 'geoseg.losses', 'geoseg.composites')
    """
    word = kind.replace(" ", "_")
    if word.endswith("y"):
        return f"geoseg.{word[:-1]}ies"
    return f"geoseg.{word}{'es' if word.endswith('s') else 's'}"


class Registry(Generic[T]):
    """Names to things, with lookups that help.

    Other distributions add to it through the entry point group of its kind: see :func:`group_of`.

    Example:
        >>> composites = Registry[str]("composite", GeosegError)
        >>> composites.register("median")("the middle value")
        'the middle value'
        >>> composites["median"]
        'the middle value'
    """

    def __init__(
        self, kind: str, error: type[GeosegError], *, fill: Callable[[], None] = lambda: None
    ) -> None:
        """An empty table; ``fill`` is called before the first lookup, to import what registers itself."""
        self._kind = kind
        self._error = error
        self._fill = fill
        self._things: dict[str, T] = {}
        self._is_filled = self._is_being_filled = False
        self._filling = threading.RLock()

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that files its subject under ``name``.

        Raises:
            ValueError: when the name is taken (a mistake of the programmer's).
        """

        def add(thing: T) -> T:
            if name in self._things:
                raise ValueError(f"The {self._kind} {name!r} is registered twice.")
            self._things[name] = thing
            return thing

        return add

    def __getitem__(self, name: str) -> T:
        self._complete()
        if name not in self._things:
            raise self._error(f"No {self._kind} named {name!r}: {did_you_mean(name, list(self))}")
        return self._things[name]

    def __contains__(self, name: str) -> bool:
        self._complete()
        return name in self._things

    def __iter__(self) -> Iterator[str]:
        self._complete()
        return iter(sorted(self._things))

    def _complete(self) -> None:
        if self._is_filled:
            return
        with self._filling:  # other threads wait; the thread that fills may look things up meanwhile
            if self._is_filled or self._is_being_filled:
                return
            self._is_being_filled = True
            try:
                self._fill()
                for point in entry_points(group=group_of(self._kind)):
                    self._things.setdefault(point.name, point.load())
                self._is_filled = True
            finally:
                self._is_being_filled = False
