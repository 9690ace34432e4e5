"""Whether probabilities can be believed: calibration error, Brier score, likelihood; fed piece by piece."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict

from geoseg.errors import EvaluationError
from geoseg.legend import CLASS_NODATA, CONFIDENCE_NODATA, CONFIDENCE_SCALE

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Numbers = NDArray[np.floating]

N_BINS = 15
"""Bins of the reliability diagram, as in Guo et al. 2017 (table 1)."""
_VALUES_AT_A_TIME = 1 << 18
"""Probabilities that are worked on at once: they fit into a processor's cache."""
_SUM_TOLERANCE = 0.01
"""How far the probabilities of a pixel may be from adding up to 1: bfloat16 has three digits."""


class Bin(BaseModel):
    """One bar of the reliability diagram: pixels whose confidence is above ``low`` and at most ``high``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float
    high: float
    n: int
    """Pixels."""
    confidence: float | None
    """Their mean confidence, 0..1; None where there are none."""
    accuracy: float | None
    """The share of them whose class is right; None where there are none."""


class Reliability(BaseModel):
    """How far confidence is from accuracy. Values that cannot be told are None."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n: int
    """Pixels with a label and probabilities."""
    ece: float | None
    """Expected calibration error of the winning class, 0..1 (Guo et al. 2017, equation 3)."""
    classwise_ece: float | None
    """Mean of ``class_ece`` (Kull et al. 2019, Beyond temperature scaling, section 2)."""
    class_ece: tuple[float, ...] | None
    """Per class: its probability against how often it is the label, binned alike, 0..1."""
    brier: float | None
    """Mean squared distance of the probabilities from the label's, 0..2 (Brier 1950, equation 2)."""
    nll: float | None
    """Mean negative natural logarithm of the label's probability, 0 to 87.3; a probability of 0 counts as the
    smallest normal float32."""
    diagram: tuple[Bin, ...]
    """The bins from 0 to 1, of the winning class."""


class ProbsReliability:
    """Adds up what :class:`Reliability` needs; memory grows with classes and bins, not with pixels.

    Args:
        n_classes: columns of the probabilities.
        n_bins: bins of equal width from 0 to 1.

    Example:
        >>> counted = ProbsReliability(2)
        >>> counted.feed([[0.9, 0.1], [0.4, 0.6]], [0, 0])
        >>> result = counted.reliability()
        >>> round(result.ece, 3), round(result.brier, 3), round(result.nll, 3)
        (0.35, 0.37, 0.511)
    """

    def __init__(self, n_classes: int, *, n_bins: int = N_BINS) -> None:
        self._n_classes, self._n_bins = n_classes, n_bins
        self._top = np.zeros((3, n_bins))  # pixels, sum of confidence, right ones
        self._by_class = np.zeros((3, n_classes, n_bins))  # pixels, sum of probability, labels
        self._squares = self._nll = 0.0

    def feed(self, probs: ArrayLike, labels: ArrayLike) -> None:
        """Take in some pixels. Needs little memory beside ``probs``.

        Args:
            probs: (n, class) probabilities that add up to 1; rows with NaN are left out.
            labels: (n,) class indices; rows with other values than 0 to ``n_classes`` - 1 are left out.

        Raises:
            EvaluationError: these are no probabilities.
            ValueError: shapes do not fit (a mistake of the programmer's).
        """
        probs, labels = np.asarray(probs), np.asarray(labels)
        _check_shapes(probs, labels, self._n_classes)
        step = max(_VALUES_AT_A_TIME // self._n_classes, 1)
        for start in range(0, len(probs), step):
            rows = slice(start, start + step)
            self._add(*labelled_rows(probs[rows], labels[rows], n_classes=self._n_classes))

    def reliability(self) -> Reliability:
        """The scores of all that was fed."""
        n = int(self._top[0].sum())
        class_ece = tuple(_ece(sums, n) for sums in self._by_class.swapaxes(0, 1)) if n else None
        return Reliability(
            n=n,
            ece=_ece(self._top, n) if n else None,
            classwise_ece=float(np.mean(class_ece)) if class_ece else None,
            class_ece=class_ece,
            brier=max(self._squares / n, 0.0) if n else None,
            nll=self._nll / n if n else None,
            diagram=_diagram(self._top),
        )

    def _add(self, probs: Floats, labels: Ints) -> None:
        check_probs(probs)
        of_label = np.take_along_axis(probs, labels[:, None], axis=1)[:, 0]
        winner = probs.argmax(axis=1)
        confidence = np.take_along_axis(probs, winner[:, None], axis=1)[:, 0]
        self._top += self._binned(confidence, winner == labels)
        self._by_class[:2] += self._class_sums(probs)
        flat = labels * self._n_bins + _bin_of(of_label, self._n_bins)
        self._by_class[2] += np.bincount(flat, minlength=self._by_class[2].size).reshape(
            self._n_classes, self._n_bins
        )
        self._squares += float((np.einsum("nc,nc->n", probs, probs) - 2 * of_label + 1).sum())
        self._nll -= float(log_probs(of_label).sum())

    def _binned(self, confidence: Floats, is_right: NDArray[np.bool_]) -> Floats:
        at = _bin_of(confidence, self._n_bins)
        weights: Iterable[Numbers | None] = (None, confidence, is_right.astype(np.float64))
        return np.stack([np.bincount(at, w, minlength=self._n_bins) for w in weights])

    def _class_sums(self, probs: Floats) -> Floats:
        """(2, class, bin) pixels and sums of probability. Most lie in the first bin: it takes the rest."""
        is_high = probs * self._n_bins > 1
        row, column = np.nonzero(is_high)
        high = probs[row, column]
        at, size = column * self._n_bins + _bin_of(high, self._n_bins), self._n_classes * self._n_bins
        sums = np.stack([np.bincount(at, w, minlength=size) for w in (None, high)]).astype(np.float64)
        sums = sums.reshape(2, self._n_classes, self._n_bins)
        sums[0, :, 0] += len(probs) - is_high.sum(axis=0)
        sums[1, :, 0] += np.maximum(probs.sum(axis=0) - sums[1].sum(axis=1), 0)
        return sums


class MapReliability:
    """The reliability of a stored map, of which only the winning class and its probability are known.

    Confidence is stored in steps of 1/254, so what is counted is exact: pixels and right pixels of each step.

    Example:
        >>> counted = MapReliability()
        >>> counted.feed(np.uint8([254, 127]), np.uint8([1, 1]), np.uint8([1, 2]))
        >>> result = counted.reliability()
        >>> result.ece, result.brier
        (0.25, None)
    """

    def __init__(self) -> None:
        self._counts = np.zeros((2, CONFIDENCE_NODATA), np.int64)  # wrong, right

    def feed(self, confidence: ArrayLike, class_id: ArrayLike, reference: ArrayLike) -> None:
        """Take in some pixels; where any of the three is 255 there is nothing to compare.

        Args:
            confidence: uint8 of any shape, as in ``confidence.tif``.
            class_id: of the same shape, as in ``class.tif``.
            reference: of the same shape, in the values of ``class_id``.

        Raises:
            ValueError: shapes differ, or the confidence is not uint8 (a mistake of the programmer's).
        """
        confidence, class_id, reference = map(np.asarray, (confidence, class_id, reference))
        if not confidence.shape == class_id.shape == reference.shape or confidence.dtype != np.uint8:
            raise ValueError(
                f"Got {confidence.dtype} {confidence.shape}, {class_id.shape}, {reference.shape}; expected "
                "uint8 confidence and three equal shapes."
            )
        known = (confidence != CONFIDENCE_NODATA) & (class_id != CLASS_NODATA) & (reference != CLASS_NODATA)
        is_right = (class_id == reference)[known]
        flat = confidence[known].astype(np.int64) + CONFIDENCE_NODATA * is_right
        self._counts += np.bincount(flat, minlength=self._counts.size).reshape(self._counts.shape)

    def reliability(self, *, n_bins: int = N_BINS) -> Reliability:
        """Calibration error and diagram; the scores that need the probabilities of all classes are None."""
        n = int(self._counts.sum())
        confidence: Floats = np.arange(CONFIDENCE_NODATA, dtype=np.float64) * CONFIDENCE_SCALE
        pixels, right = self._counts.sum(axis=0), self._counts[1]
        at = _bin_of(confidence, n_bins)
        weights = (pixels, pixels * confidence, right)
        bins = np.stack([np.bincount(at, w, minlength=n_bins) for w in weights]).astype(np.float64)
        return Reliability(
            n=n,
            ece=_ece(bins, n) if n else None,
            classwise_ece=None,
            class_ece=None,
            brier=None,
            nll=None,
            diagram=_diagram(bins),
        )


def labelled_rows(values: ArrayLike, labels: ArrayLike, *, n_classes: int) -> tuple[Floats, Ints]:
    """The rows that have a label and a value, as float64, and their labels.

    Args:
        values: (n, class) probabilities or logits. Rows with NaN or plus infinity are left out.
        labels: (n,) class indices; rows with other values than 0 to ``n_classes`` - 1 are left out.
        n_classes: columns that ``values`` must have.

    Raises:
        ValueError: shapes do not fit (a mistake of the programmer's).
    """
    values, labels = np.asarray(values, np.float64), np.asarray(labels)
    _check_shapes(values, labels, n_classes)
    kept = (labels >= 0) & (labels < n_classes) & np.isfinite(values.max(axis=1))
    return values[kept], labels[kept].astype(np.int64)


def check_probs(probs: Floats) -> None:
    """Refuse (n, class) values that are no probabilities.

    Raises:
        EvaluationError: a value is outside 0..1, or a row does not add up to 1.
    """
    total = probs.sum(axis=1)
    if not len(probs) or (
        probs.min() >= 0 and probs.max() <= 1 + _SUM_TOLERANCE and np.abs(total - 1).max() <= _SUM_TOLERANCE
    ):
        return
    worst = int(np.abs(total - 1).argmax())
    raise EvaluationError(
        f"Values go from {probs.min():.3g} to {probs.max():.3g} and a pixel's add up to {total[worst]:.3g}, "
        "expected probabilities that add up to 1. Give the softmax of the logits."
    )


def log_probs(probs: Numbers) -> Floats:
    """Natural logarithms of probabilities of any shape; 0 gives :data:`LOG_FLOOR`."""
    logs: Floats = np.log(np.maximum(probs, np.finfo(np.float32).tiny, dtype=np.float64))
    return logs


def _check_shapes(values: NDArray[Any], labels: NDArray[Any], n_classes: int) -> None:
    if values.ndim != 2 or values.shape[1] != n_classes or labels.shape != values.shape[:1]:
        raise ValueError(
            f"Got values {values.shape}, labels {labels.shape}; expected (n, {n_classes}) and (n,)."
        )


def _bin_of(confidence: Floats, n_bins: int) -> Ints:
    """The bin of each value: above its lower edge, at most at its upper one; 0 lies in the first."""
    return np.clip(np.ceil(confidence * n_bins).astype(np.int64) - 1, 0, n_bins - 1)


def _ece(bins: Floats, n: int) -> float:
    """The calibration error of (3, bin): pixels, their summed confidence, right ones."""
    return float(np.abs(bins[2] - bins[1]).sum() / n)


def _diagram(bins: Floats) -> tuple[Bin, ...]:
    edges = np.linspace(0, 1, bins.shape[1] + 1).tolist()
    return tuple(
        Bin(
            low=low,
            high=high,
            n=int(n),
            confidence=float(confidence / n) if n else None,
            accuracy=float(right / n) if n else None,
        )
        for low, high, (n, confidence, right) in zip(edges, edges[1:], bins.T, strict=False)
    )
