"""How many points each stratum gets."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import EvaluationError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Allocation = Literal["proportional", "equal", "neyman"]
"""Points in proportion to area; as many in each stratum; in proportion to area times standard deviation."""


def sample_size(weights: Floats, accuracy: Floats, target_se: float) -> int:
    """Points for a standard error of overall accuracy, when they are allocated best (``neyman``).

    n = (sum of W S)² / SE², with S = sqrt(U (1 - U)): Cochran 1977 (Sampling Techniques, 3rd edition),
    equation 5.25 without the correction for finite populations; Olofsson et al. 2014, equation 13.

    Args:
        weights: (stratum,) W, shares of the area, which sum to 1.
        accuracy: (stratum,) U, the accuracy expected in each, 0..1.
        target_se: the standard error wanted.

    Example:
        >>> sample_size(np.array([0.02, 0.015, 0.32, 0.645]), np.array([0.7, 0.6, 0.9, 0.95]), 0.01)
        641
    """
    return int(np.ceil((weights @ _deviation(accuracy) / target_se) ** 2 - 1e-9))


def expected_se(weights: Floats, accuracy: Floats, points: Ints) -> float:
    """The standard error of overall accuracy that ``points`` in each stratum give: Cochran 1977, eq. 5.7."""
    return float(np.sqrt(np.sum((weights * _deviation(accuracy)) ** 2 / points)))


def allocate(
    weights: Floats,
    capacity: Ints,
    *,
    size: int,
    allocation: Allocation,
    minimum: int,
    accuracy: Floats,
) -> Ints:
    """(stratum,) points of each stratum; they sum to ``size``.

    A stratum whose share is below the minimum gets the minimum, one whose share exceeds its capacity gets
    that; the others share the rest. Proportional is Cochran 1977, equation 5.8; Neyman is equation 5.26.

    Args:
        weights: (stratum,) shares of the area.
        capacity: (stratum,) most points that each can give.
        size: points in all.
        allocation: the rule.
        minimum: fewest points of a stratum that has as many pixels.
        accuracy: (stratum,) expected accuracy, 0..1; only ``neyman`` looks at it.

    Raises:
        EvaluationError: ``size`` is too small for the minimum, or larger than the capacity.

    Example:
        >>> shares, enough = np.array([0.02, 0.015, 0.32, 0.645]), np.full(4, 10_000)
        >>> allocate(shares, enough, size=641, allocation="proportional", minimum=75, accuracy=shares)
        array([ 75,  75, 163, 328])
    """
    lowest = np.minimum(minimum, capacity)
    if size < lowest.sum():
        raise EvaluationError(
            f"{size:,} points cannot give {len(lowest)} strata {minimum} each: {lowest.sum():,} are needed. "
            f"Give --size {lowest.sum()} or more, or a smaller --min-per-stratum (at least 2)."
        )
    if size > capacity.sum():
        raise EvaluationError(
            f"{size:,} points were asked for, but the map can give {capacity.sum():,}. Give a smaller --size."
        )
    shares = {
        "proportional": weights,
        "equal": np.ones_like(weights),
        "neyman": weights * _deviation(accuracy),
    }[allocation]
    shares = np.maximum(shares / max(shares.max(), 1e-300), 1e-9)  # what is left over must go somewhere
    ideal = _bounded_shares(shares, lowest, capacity, size)
    return _round(ideal, size)


def _deviation(accuracy: Floats) -> Floats:
    """Standard deviation of right or wrong."""
    return np.asarray(np.sqrt(accuracy * (1 - accuracy)))


def _bounded_shares(shares: Floats, lowest: Ints, highest: Ints, size: int) -> Floats:
    """``size`` divided in proportion to ``shares``, each within its bounds: bisection on the factor."""
    low, high = 0.0, float((highest / shares).max())
    for _ in range(200):
        middle = (low + high) / 2
        if np.clip(middle * shares, lowest, highest).sum() < size:
            low = middle
        else:
            high = middle
    return np.asarray(np.clip(high * shares, lowest, highest))


def _round(ideal: Floats, size: int) -> Ints:
    """Whole numbers that keep the sum: the largest remainders are rounded up."""
    points: Ints = np.floor(ideal + 1e-9).astype(np.int64)
    order = np.argsort(points - ideal, kind="stable")
    points[order[: size - points.sum()]] += 1
    return points
