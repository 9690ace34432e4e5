"""Scores as JSON has them: None for what is not defined, and 95 % intervals over places."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.evaluation.bootstrap import bootstrap

Floats = NDArray[np.float64]
Range = tuple[float, float]

MIN_PLACES = 5
"""Fewer places give no interval that deserves the name."""
LEVEL = 0.95
"""Of all intervals."""


def number(value: float | np.floating | Floats) -> float | None:
    """One value as JSON has it: None for NaN."""
    return float(value) if np.isfinite(value) else None


def interval_of(statistics: NDArray[Any], score: Callable[[Any], Floats]) -> Range | None:
    """The 95 % interval of a score over places (place, ...); None where there are too few to tell."""
    if len(statistics) < MIN_PLACES:
        return None
    return intervals_of(statistics, lambda counts: np.asarray(score(counts))[..., None])[0]


def intervals_of(statistics: NDArray[Any], score: Callable[[Any], Floats]) -> list[Range | None]:
    """The same for a score with several values (..., value), such as one of each class."""
    if len(statistics) < MIN_PLACES:
        return [None] * np.asarray(score(statistics.sum(axis=0))).size
    found = bootstrap(statistics, score, level=LEVEL)
    limits = zip(found.low.ravel().tolist(), found.high.ravel().tolist(), strict=True)
    return [(low, high) if np.isfinite([low, high]).all() else None for low, high in limits]
