"""Sets of classes that hold the true one with a stated probability: split conformal prediction of pixels."""

import math
from fractions import Fraction
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoseg.errors import EvaluationError
from geoseg.evaluation.bootstrap import bootstrap
from geoseg.evaluation.confidence.reliability import Floats, Ints, check_probs, labelled_rows
from geoseg.models.conformal import (
    Conformal,
    Coverage,
    Kind,
    PlaceCoverage,
    Threshold,
    Unit,
    conformity,
)

_ROUNDING = 1e-9
"""Of sums of shares."""
LEVEL = 0.95
"""The probability of the intervals of :class:`Coverage`."""


def fit_conformal(
    probs: ArrayLike,
    labels: ArrayLike,
    *,
    alpha: float,
    places: ArrayLike,
    kind: Kind = "lac",
    unit: Unit = "pixel",
    by_class: bool = False,
) -> Conformal:
    """The thresholds with which sets miss the true class with a probability of at most ``alpha``.

    For pixels, a threshold is the ceil((n + 1)(1 - alpha))-th smallest score of the labels (Vovk et al. 2005;
    Romano et al. 2020, algorithm 1), of all pixels or of those of its class. For places it is the 1 - alpha
    quantile when each of the K places weighs 1 / (K + 1), shared equally by its pixels, and what is left
    lies at infinity (Lee, Barber and Willett 2023, Distribution-free inference with hierarchical data,
    arXiv:2306.06342, section 3.1). Use other pixels than for a calibration of ``probs``.

    Args:
        probs: (n, class) probabilities; rows with NaN are left out.
        labels: (n,) class indices; rows with other values than 0 to class - 1 are left out.
        alpha: how often the true class may be missing, between 0 and 1, such as 0.1.
        places: (n,) names of the places that the pixels are from; a single one stands for all rows.
        kind: the score, ``lac`` or ``aps``.
        unit: what is exchangeable: ``pixel``, or ``place``, whose promise holds for a pixel of a new place
            and which needs at least 1 / alpha - 1 places.
        by_class: a threshold for each class.

    Raises:
        EvaluationError: no row has a label, these are no probabilities, or alpha is not between 0 and 1.
        ValueError: shapes do not fit (a mistake of the programmer's).

    Example:
        >>> probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.4, 0.6]])
        >>> fitted = fit_conformal(probs, [0, 0, 0, 0], alpha=0.4, places=["valley"])
        >>> fitted.sets([[0.75, 0.25], [0.5, 0.5]])
        array([[ True, False],
               [False, False]])
    """
    if not 0 < alpha < 1:
        raise EvaluationError(f"alpha is {alpha:g}, expected between 0 and 1, such as 0.1 for 90 % coverage.")
    probs, labels = np.asarray(probs), np.asarray(labels)
    n_classes, named = probs.shape[-1], np.broadcast_to(np.asarray(places, str), labels.shape)
    is_known = (labels >= 0) & (labels < n_classes) & np.isfinite(probs.max(axis=-1))
    rows, labels = labelled_rows(probs, labels, n_classes=n_classes)
    check_probs(rows)
    if not len(labels):
        raise EvaluationError(
            "No pixel has both a label of the model's classes and probabilities, expected some to calibrate "
            "with. Give labels as indices of the model's classes."
        )
    scores = np.take_along_axis(conformity(rows, kind), labels[:, None], axis=1)[:, 0]
    names, number = np.unique(named[is_known], return_inverse=True)

    def threshold(chosen: NDArray[np.bool_]) -> Threshold:
        if unit == "place":
            return _place_threshold(scores[chosen], number[chosen], alpha)
        return _threshold(scores[chosen], alpha)

    if by_class:
        thresholds = tuple(threshold(labels == c) for c in range(n_classes))
    else:
        thresholds = (threshold(labels >= 0),) * n_classes
    return Conformal(
        alpha=alpha,
        kind=kind,
        unit=unit,
        by_class=by_class,
        thresholds=thresholds,
        n=len(labels),
        class_n=tuple(np.bincount(labels, minlength=n_classes).tolist()),
        places=tuple(names.tolist()),
    )


class CoverageCounter:
    """Adds up the coverage of sets, place by place.

    Example:
        >>> fitted = Conformal(alpha=0.1, kind="lac", by_class=False, thresholds=(0.6, 0.6), n=9,
        ...     class_n=(4, 5), places=("valley",))
        >>> counted = CoverageCounter(alpha=0.1, n_classes=2)
        >>> counted.feed(fitted.sets([[0.9, 0.1], [0.5, 0.5], [0.8, 0.2]]), [0, 1, 1], place="hill")
        >>> result = counted.coverage()
        >>> round(result.coverage, 3), round(result.mean_set_size, 3), round(result.low, 3)
        (0.667, 1.333, 0.208)
    """

    def __init__(self, *, alpha: float, n_classes: int) -> None:
        self._alpha, self._n_classes = alpha, n_classes
        self._places: dict[str, Ints] = {}  # (3, class) by label: pixels, covered ones, sum of set sizes

    def feed(self, sets: NDArray[np.bool_], labels: ArrayLike, *, place: str) -> None:
        """Take in some pixels of a place.

        Args:
            sets: (n, class) of :meth:`geoseg.models.calibration.Conformal.sets`.
            labels: (n,) class indices; rows with other values than 0 to class - 1 are left out.
            place: its name; a place may come in pieces.

        Raises:
            ValueError: shapes do not fit (a mistake of the programmer's).
        """
        n_classes, labels = self._n_classes, np.asarray(labels)
        if sets.shape != (len(labels), n_classes):
            raise ValueError(
                f"Got sets {sets.shape}, labels {labels.shape}; expected (n, {n_classes}) of both."
            )
        is_known = (labels >= 0) & (labels < n_classes)
        sets, labels = sets[is_known], labels[is_known].astype(np.int64)
        covered = np.take_along_axis(sets, labels[:, None], axis=1)[:, 0]
        counts = [np.bincount(labels, w, minlength=n_classes) for w in (None, covered, sets.sum(axis=1))]
        known = self._places.get(place, np.zeros((3, n_classes), np.int64))
        self._places[place] = known + np.array(counts, np.int64)

    def coverage(self) -> Coverage:
        """What was measured; places without a labelled pixel are left out."""
        places = {name: counts for name, counts in sorted(self._places.items()) if counts[0].any()}
        by_place = np.array([c.sum(axis=1) for c in places.values()]).reshape(-1, 3)  # pixels, covered, sizes
        n, covered, sizes = by_place.sum(axis=0).tolist()
        by_class = sum(places.values(), np.zeros((3, self._n_classes), np.int64))
        shares = by_place[:, 1] / by_place[:, 0]
        low, high = wilson(covered, n) if n else (None, None)
        drawn = bootstrap(by_place, _share, level=LEVEL) if len(places) > 1 else None
        return Coverage(
            alpha=self._alpha,
            n=n,
            coverage=covered / n if n else None,
            low=low,
            high=high,
            low_by_place=float(drawn.low) if drawn else None,
            high_by_place=float(drawn.high) if drawn else None,
            mean_set_size=sizes / n if n else None,
            class_coverage=tuple(float(c / m) if m else None for m, c in by_class[:2].T),
            places=tuple(
                PlaceCoverage(place=name, n=m, coverage=c / m, mean_set_size=s / m)
                for name, (m, c, s) in zip(places, by_place.tolist(), strict=True)
            ),
            place_mean=float(shares.mean()) if n else None,
            place_std=float(shares.std(ddof=1)) if len(places) > 1 else None,
            place_min=float(shares.min()) if n else None,
            place_max=float(shares.max()) if n else None,
        )


def wilson(successes: int, n: int, *, level: float = LEVEL) -> tuple[float, float]:
    """The interval of a share by Wilson 1927: shares that ``successes`` of ``n`` (> 0) do not contradict."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = successes / n
    middle = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max((middle - half) / (1 + z * z / n), 0.0), min((middle + half) / (1 + z * z / n), 1.0)


def _share(sums: NDArray[np.floating]) -> Floats:
    """(m,) covered of all pixels, of (m, 3) sums."""
    return np.asarray(sums[:, 1] / sums[:, 0])


def _threshold(scores: Floats, alpha: float) -> float | None:
    """The finite-sample quantile; None where that is infinite. Exact, as 0.1 times 10 must be 1."""
    rank = math.ceil((len(scores) + 1) * (1 - Fraction(str(float(alpha)))))
    return float(np.partition(scores, rank - 1)[rank - 1]) if rank <= len(scores) else None


def _place_threshold(scores: Floats, place: Ints, alpha: float) -> float | None:
    """The quantile by places; None where it is infinite."""
    if not len(scores):
        return None
    _, place, sizes = np.unique(place, return_inverse=True, return_counts=True)
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(1 / sizes[place[order]])  # in units of 1 / (K + 1)
    needed = float((len(sizes) + 1) * (1 - Fraction(str(float(alpha)))))
    at = int(np.searchsorted(reached, needed - _ROUNDING))
    return float(scores[order[at]]) if at < len(scores) else None
