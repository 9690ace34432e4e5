"""What every verb of the benchmark gives to machines, and the values that all of them refuse."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from geoseg.errors import RecipeError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

COMMON = ("wall_s", "network_s", "km2_per_s", "peak_memory_mb", "hardware_share")
"""Keys of every record, null where a verb has no such thing."""
MIN_SIZE = 64


def as_record(measured: "DataclassInstance") -> dict[str, Any]:
    """What was measured as a JSON record: the common keys first, then its own."""
    values = asdict(measured)
    return {**{key: values.get(key) for key in COMMON}, **values}


def check_sizes(sizes: Sequence[int]) -> None:
    """The sides make sense.

    Raises:
        RecipeError: one is too small, or there are none.
    """
    if not sizes or min(sizes) < MIN_SIZE:
        raise RecipeError(
            f"--sizes {','.join(map(str, sizes))}: expected sides of {MIN_SIZE} pixels or more, as 2048,4096."
        )


def check_repeat(repeat: int) -> None:
    """The number of runs makes sense.

    Raises:
        RecipeError: it is too small.
    """
    if repeat < 1:
        raise RecipeError(f"--repeat {repeat} is not a number of runs. Give 1 or more.")


def turn(number: int) -> tuple[bool, bool]:
    """The order of two that are compared: the one first in even turns, the other first in odd ones.

    A machine slows down while it is warm or shared, and files are cached by whoever reads them first.
    """
    return (True, False) if number % 2 == 0 else (False, True)
