"""Sets of classes that hold the true one with a stated probability: split conformal prediction of pixels."""

import math
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from geoseg.errors import EvaluationError
from geoseg.evaluation.bootstrap import bootstrap
from geoseg.evaluation.confidence.calibration import read_stored, write_stored
from geoseg.evaluation.confidence.reliability import Floats, Ints, check_probs, labelled_rows

CONFORMAL_NAME = "conformal.json"
LEVEL = 0.95
"""The probability of the intervals of :class:`Coverage`."""
Kind = Literal["lac", "aps"]
Threshold = Annotated[float, Field(allow_inf_nan=False)] | None


class Conformal(BaseModel):
    """What a class's score may be at most to belong to a pixel's set, and what that was fitted on.

    Sets of pixels that are exchangeable with those of the fit hold the true class with a probability of at
    least 1 - ``alpha``. Pixels of another place are not exchangeable with them: :class:`CoverageCounter`
    measures what the promise is worth there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: Annotated[float, Field(gt=0, lt=1)]
    """How often the true class may be missing."""
    kind: Kind
    """The score. ``lac``: 1 - probability of the class (Sadinle et al. 2019), which gives the smallest sets
    on average, some of them empty. ``aps``: probability of all classes ranked before it (Romano et al. 2020,
    without their randomisation), which gives hard pixels larger sets; each holds the winning class, so where
    more than 1 - ``alpha`` of the winners are right, more than 1 - ``alpha`` is covered."""
    by_class: bool
    """Whether the promise holds for pixels of each class (Mondrian), not only for all of them together."""
    thresholds: Annotated[tuple[Threshold, ...], Field(min_length=1)]
    """Per class, 0..1, all alike unless ``by_class``; None where there were too few pixels for ``alpha``: the
    class is then in every set."""
    n: Annotated[int, Field(gt=0)]
    """Labelled pixels that it was fitted on."""
    class_n: tuple[int, ...]
    """Those of each class."""
    places: Annotated[tuple[str, ...], Field(min_length=1)]
    """The places that they are from."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.class_n) != len(self.thresholds):
            raise ValueError(f"class_n has {len(self.class_n)} values, thresholds {len(self.thresholds)}")
        return self

    def sets(self, probs: ArrayLike) -> NDArray[np.bool_]:
        """(n, class) whether each class belongs to the pixel's set.

        Args:
            probs: (n, class) probabilities, made as those of the fit (calibrated or not). A pixel with NaN
                has an empty set.

        Raises:
            ValueError: another number of classes (a mistake of the programmer's).
        """
        probs = np.asarray(probs, np.float64)
        if probs.ndim != 2 or probs.shape[1] != len(self.thresholds):
            raise ValueError(f"Got probabilities {probs.shape}, expected (n, {len(self.thresholds)}).")
        limits = np.array([np.inf if t is None else t for t in self.thresholds])
        return np.asarray(_scores(probs, self.kind) <= limits)

    def set_size(self, probs: ArrayLike) -> NDArray[np.uint8]:
        """(n,) how many classes belong to each pixel's set."""
        size: NDArray[np.uint8] = self.sets(probs).sum(axis=1, dtype=np.uint8)
        return size


def fit_conformal(
    probs: ArrayLike,
    labels: ArrayLike,
    *,
    alpha: float,
    places: Iterable[str],
    kind: Kind = "lac",
    by_class: bool = False,
) -> Conformal:
    """The thresholds with which sets miss the true class with a probability of at most ``alpha``.

    A threshold is the ceil((n + 1)(1 - alpha))-th smallest score of the labels (Vovk et al. 2005; Romano et
    al. 2020, algorithm 1), of all pixels or of those of its class. Use other pixels than for a calibration of
    ``probs``.

    Args:
        probs: (n, class) probabilities; rows with NaN are left out.
        labels: (n,) class indices; rows with other values than 0 to class - 1 are left out.
        alpha: how often the true class may be missing, between 0 and 1, such as 0.1.
        places: names of the places that the pixels are from.
        kind: the score, ``lac`` or ``aps``.
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
    probs = np.asarray(probs)
    n_classes = probs.shape[-1]
    rows, labels = labelled_rows(probs, labels, n_classes=n_classes)
    check_probs(rows)
    if not len(labels):
        raise EvaluationError(
            "No pixel has both a label of the model's classes and probabilities, expected some to calibrate "
            "with. Give labels as indices of the model's classes."
        )
    scores = np.take_along_axis(_scores(rows, kind), labels[:, None], axis=1)[:, 0]
    if by_class:
        thresholds = tuple(_threshold(scores[labels == c], alpha) for c in range(n_classes))
    else:
        thresholds = (_threshold(scores, alpha),) * n_classes
    return Conformal(
        alpha=alpha,
        kind=kind,
        by_class=by_class,
        thresholds=thresholds,
        n=len(labels),
        class_n=tuple(np.bincount(labels, minlength=n_classes).tolist()),
        places=tuple(sorted(set(places))),
    )


def write_conformal(conformal: Conformal, folder: Path) -> Path:
    """Write ``conformal.json`` into a model folder."""
    return write_stored(conformal, folder / CONFORMAL_NAME)


def read_conformal(folder: Path) -> Conformal:
    """The conformal thresholds of a model folder.

    Raises:
        ModelError: ``conformal.json`` is missing, or is not what :func:`write_conformal` writes.
    """
    return read_stored(folder / CONFORMAL_NAME, Conformal)


class PlaceCoverage(BaseModel):
    """How the sets of one place did."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    place: str
    n: int
    """Labelled pixels."""
    coverage: float
    """The share of them whose set holds the label."""
    mean_set_size: float


class Coverage(BaseModel):
    """How often sets hold the label, on pixels not fitted on. Values that cannot be told are None."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float
    """What was promised: a coverage of at least 1 - alpha."""
    n: int
    """Labelled pixels."""
    coverage: float | None
    """The share of them whose set holds the label."""
    low: float | None
    """Lower end of its 95 % Wilson interval, true of independent pixels only."""
    high: float | None
    low_by_place: float | None
    """Lower end of its 95 % interval by drawing whole places anew (BCa bootstrap); None below two."""
    high_by_place: float | None
    mean_set_size: float | None
    class_coverage: tuple[float | None, ...]
    """Per class, of the pixels with that label."""
    places: tuple[PlaceCoverage, ...]
    """By name."""
    place_mean: float | None
    """Mean coverage of the places, each counted once."""
    place_std: float | None
    """Standard deviation of the places' coverage; None below two places."""
    place_min: float | None
    place_max: float | None


class CoverageCounter:
    """Adds up the coverage of conformal sets, place by place.

    Example:
        >>> fitted = Conformal(alpha=0.1, kind="lac", by_class=False, thresholds=(0.6, 0.6), n=9,
        ...     class_n=(4, 5), places=("valley",))
        >>> counted = CoverageCounter(fitted)
        >>> counted.feed([[0.9, 0.1], [0.5, 0.5], [0.8, 0.2]], [0, 1, 1], place="hill")
        >>> result = counted.coverage()
        >>> round(result.coverage, 3), round(result.mean_set_size, 3), round(result.low, 3)
        (0.667, 1.333, 0.208)
    """

    def __init__(self, conformal: Conformal) -> None:
        self._conformal = conformal
        self._places: dict[str, Ints] = {}  # (3, class) by label: pixels, covered ones, sum of set sizes

    def feed(self, probs: ArrayLike, labels: ArrayLike, *, place: str) -> None:
        """Take in some pixels of a place.

        Args:
            probs: (n, class) probabilities, made as those of the fit; rows with NaN are left out.
            labels: (n,) class indices; rows with other values than 0 to class - 1 are left out.
            place: its name; a place may come in pieces.

        Raises:
            EvaluationError: these are no probabilities.
            ValueError: shapes do not fit (a mistake of the programmer's).
        """
        n_classes = len(self._conformal.thresholds)
        rows, labels = labelled_rows(probs, labels, n_classes=n_classes)
        check_probs(rows)
        sets = self._conformal.sets(rows)
        covered = np.take_along_axis(sets, labels[:, None], axis=1)[:, 0]
        counts = [np.bincount(labels, w, minlength=n_classes) for w in (None, covered, sets.sum(axis=1))]
        known = self._places.get(place, np.zeros((3, n_classes), np.int64))
        self._places[place] = known + np.array(counts, np.int64)

    def coverage(self) -> Coverage:
        """What was measured; places without a labelled pixel are left out."""
        places = {name: counts for name, counts in sorted(self._places.items()) if counts[0].any()}
        by_place = np.array([c.sum(axis=1) for c in places.values()]).reshape(-1, 3)  # pixels, covered, sizes
        n, covered, sizes = by_place.sum(axis=0).tolist()
        by_class = sum(places.values(), np.zeros((3, len(self._conformal.thresholds)), np.int64))
        shares = by_place[:, 1] / by_place[:, 0]
        low, high = wilson(covered, n) if n else (None, None)
        drawn = bootstrap(by_place, _share, level=LEVEL) if len(places) > 1 else None
        return Coverage(
            alpha=self._conformal.alpha,
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


def _scores(probs: Floats, kind: Kind) -> Floats:
    """(n, class) how little each class conforms, 0..1; NaN in rows with NaN."""
    if kind == "lac":
        scores = 1 - probs
    else:
        order = np.argsort(-probs, axis=1, kind="stable")
        ranked = np.take_along_axis(probs, order, axis=1)
        before, scores = np.zeros_like(probs), np.empty_like(probs)
        np.cumsum(ranked[:, :-1], axis=1, out=before[:, 1:])
        np.put_along_axis(scores, order, before, axis=1)
    scores[np.isnan(probs).any(axis=1)] = np.nan
    return scores


def _threshold(scores: Floats, alpha: float) -> float | None:
    """The finite-sample quantile; None where that is infinite. Exact, as 0.1 times 10 must be 1."""
    rank = math.ceil((len(scores) + 1) * (1 - Fraction(str(float(alpha)))))
    return float(np.partition(scores, rank - 1)[rank - 1]) if rank <= len(scores) else None
