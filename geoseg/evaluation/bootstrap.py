"""Intervals of scores by drawing whole places anew: pixels of one place are alike, places are the sample."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Statistics = NDArray[Any]
"""(place, ...) what is added up over places, such as confusion matrices (place, class, class + 1)."""

_NORMAL = NormalDist()
_VALUES_AT_A_TIME = 1 << 22
"""Numbers of resampled statistics that are held in memory at once."""


@dataclass(frozen=True)
class Interval:
    """Values with the range that holds the truth with the probability ``level``, all of one shape.

    NaN where there is none: the value itself is undefined, or there are fewer than two places.
    """

    value: Floats
    """Of all places together."""
    low: Floats
    high: Floats
    defined: Floats
    """The share of resamples in which the value is defined, 0..1; the interval is made of those."""
    level: float
    n_places: int


def bootstrap(
    statistics: Statistics,
    score: Callable[[Statistics], Floats],
    *,
    level: float = 0.95,
    method: Literal["bca", "percentile"] = "bca",
    n_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Bootstrap intervals of scores, with places as the unit that is drawn with replacement.

    ``percentile`` takes quantiles of the resampled scores (Efron and Tibshirani 1993, chapter 13). ``bca``
    corrects them for bias and for a spread that changes with the score (Efron 1987), with the acceleration
    from leaving out one place at a time (Efron and Tibshirani 1993, equations 14.10, 14.14 and 14.15).

    Few places give intervals that are too narrow: with fewer than about 20, say how many there are.

    Args:
        statistics: (place, ...) sums of each place; those of a resample are added up.
        score: takes (m, ...) sums and gives (m,) or (m, value) scores, such as
            :func:`geoseg.evaluation.metrics.miou`. May give NaN for what is undefined.
        level: the probability, between 0 and 1.
        method: ``bca`` or ``percentile``.
        n_resamples: how often places are drawn. Memory does not grow with it, but for its scores.
        seed: of the draws; the same seed gives the same interval.

    Raises:
        ValueError: no place, or a level that is no probability (a mistake of the programmer's).

    Example:
        >>> right_and_all = np.array([[8, 10], [9, 10], [4, 10], [7, 10], [10, 10]])
        >>> accuracy = bootstrap(right_and_all, lambda sums: sums[:, 0] / sums[:, 1])
        >>> [round(float(v), 2) for v in (accuracy.low, accuracy.value, accuracy.high)]
        [0.54, 0.76, 0.9]
    """
    n_places, shape = len(statistics), statistics.shape[1:]
    if not n_places or not 0 < level < 1:
        raise ValueError(f"Got {n_places} places and level {level}, expected some and between 0 and 1.")
    flat = statistics.reshape(n_places, -1).astype(np.float64)  # (place, statistic)

    def scored(sums: Floats) -> Floats:
        return np.asarray(score(sums.reshape(-1, *shape)), np.float64)

    total = flat.sum(axis=0)
    value = scored(total)[0]
    columns = value.reshape(-1)  # (value,)
    drawn = _resampled(flat, scored, n_resamples, seed).reshape(n_resamples, -1)
    tails = np.tile([[(1 - level) / 2], [(1 + level) / 2]], columns.size)  # (2, value)
    if method == "bca" and n_places > 1:
        without_one = scored(total - flat).reshape(n_places, -1)
        tails = _corrected(tails, columns, drawn, without_one)
    is_defined = np.isfinite(drawn)
    limits = np.full(tails.shape, np.nan)
    for n in np.flatnonzero(np.isfinite(columns) & is_defined.any(axis=0) & (n_places > 1)):
        limits[:, n] = np.quantile(drawn[is_defined[:, n], n], tails[:, n])
    low, high = limits.reshape(2, *value.shape)
    defined = is_defined.mean(axis=0).reshape(value.shape)
    return Interval(value, low, high, defined=defined, level=level, n_places=n_places)


def _resampled(flat: Floats, scored: Callable[[Floats], Floats], n_resamples: int, seed: int) -> Floats:
    """Scores (resample, ...) of the summed statistics of places drawn with replacement."""
    rng = np.random.default_rng(seed)
    n_places = len(flat)
    step = max(_VALUES_AT_A_TIME // max(flat.shape), 1)
    scores = []
    for start in range(0, n_resamples, step):
        m = min(step, n_resamples - start)
        places = rng.integers(0, n_places, (m, n_places)) + n_places * np.arange(m)[:, None]
        times = np.bincount(places.ravel(), minlength=m * n_places).reshape(m, n_places)
        scores.append(scored(times.astype(np.float64) @ flat))
    return np.concatenate(scores)


def _corrected(tails: Floats, value: Floats, drawn: Floats, without_one: Floats) -> Floats:
    """The quantiles (2, value) of the resampled scores that BCa takes in place of ``tails``."""
    n = np.maximum(np.isfinite(drawn).sum(axis=0), 1)
    below = ((drawn < value).sum(axis=0) + (drawn <= value).sum(axis=0)) / (2 * n)
    bias = _quantile_of_normal(np.clip(below, 0.5 / n, 1 - 0.5 / n))
    known = np.isfinite(without_one)
    mean = np.where(known, without_one, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    apart = np.where(known, mean - without_one, 0)
    cubes, squares = (apart**3).sum(axis=0), (apart**2).sum(axis=0)
    acceleration = np.divide(cubes, 6 * squares**1.5, out=np.zeros(len(n)), where=squares > 0)
    z = bias + _quantile_of_normal(tails)
    slope = 1 - acceleration * z
    moved = np.divide(z, slope, out=np.sign(z) * np.inf, where=slope > 0)  # beyond the pole: the extreme
    return _map(_NORMAL.cdf, bias + moved)


def _quantile_of_normal(probability: Floats) -> Floats:
    return _map(_NORMAL.inv_cdf, probability)


def _map(function: Callable[[float], float], values: Floats) -> Floats:
    return np.array([function(v) for v in values.ravel().tolist()]).reshape(values.shape)
