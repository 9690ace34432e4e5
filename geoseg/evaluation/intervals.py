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
    interval = bootstrap(statistics, score, level=LEVEL)
    low, high = float(interval.low), float(interval.high)
    return (low, high) if np.isfinite([low, high]).all() else None
