"""Predicted objects paired with reference objects, and average precision: the same for masks and polygons.

Average precision follows COCO (``cocoeval.py`` of pycocotools): precision made monotone and read at 101
recalls. Pixels, polygons and files are the callers' matter.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import EvaluationError
from geoseg.evaluation.metrics import mean_of_defined

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.integer]

COCO_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
"""IoU 0.50, 0.55, ... 0.95."""
_RECALLS = np.linspace(0.0, 1.0, 101)
_ALMOST_ONE = 1 - 1e-10
UNMATCHED = -1


@dataclass(frozen=True, eq=False)
class Pairs:
    """Predictions and references of the same class that overlap; every array is (pair,)."""

    prediction: Ints
    """Index of the prediction."""
    reference: Ints
    """Index of the reference."""
    iou: Floats
    """0..1; a crowd's IoU has the prediction's own area below the line."""


@dataclass(frozen=True, eq=False)
class Matches:
    """What became of each prediction, at each IoU threshold."""

    class_ids: Ints
    """(class,) the classes scored."""
    thresholds: Floats
    """(threshold,) least IoU of a true positive."""
    class_index: Ints
    """(prediction,) into ``class_ids``."""
    confidence: Floats
    """(prediction,)"""
    is_true: Bools
    """(threshold, prediction) paired with a reference object that counts."""
    is_ignored: Bools
    """(threshold, prediction) neither right nor wrong: paired with a crowd or with an ignored object."""
    n_reference: Ints
    """(class,) reference objects that count."""


@dataclass(frozen=True, eq=False)
class PrecisionScores:
    """Average precision; NaN for a class of which the reference has no object."""

    class_ids: Ints
    """(class,)"""
    thresholds: Floats
    """(threshold,) IoU."""
    average_precision: Floats
    """(class, threshold) 0..1."""
    recall: Floats
    """(class, threshold) share of the reference objects that any prediction finds, 0..1."""
    n_reference: Ints
    """(class,) reference objects that count."""

    @property
    def ap(self) -> float:
        """Mean over classes and thresholds."""
        return _mean(self.average_precision)

    @property
    def ap50(self) -> float:
        """Mean over classes at IoU 0.50; NaN where that was not among the thresholds."""
        return self._at(0.5)

    @property
    def ap75(self) -> float:
        """Mean over classes at IoU 0.75; NaN where that was not among the thresholds."""
        return self._at(0.75)

    @property
    def ar(self) -> float:
        """Recall, mean over classes and thresholds."""
        return _mean(self.recall)

    def _at(self, threshold: float) -> float:
        return _mean(self.average_precision[:, np.isclose(self.thresholds, threshold)])


def assign(pairs: Pairs, *, n_predictions: int, n_references: int, is_shared: Bools | None = None) -> Ints:
    """(prediction,) the reference that each prediction gets, -1 for none: in the order of the pairs, the
    first pair whose prediction and reference are both free.

    Args:
        pairs: the best first.
        n_predictions: how many there are.
        n_references: how many there are.
        is_shared: (reference,) never used up: crowds.

    Example:
        >>> pairs = Pairs(np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([0.9, 0.8, 0.6]))
        >>> assign(pairs, n_predictions=2, n_references=2)
        array([0, 1])
    """
    reference = [UNMATCHED] * n_predictions
    is_free = [True] * n_references
    shared = [False] * n_references if is_shared is None else is_shared.tolist()
    for p, r in zip(pairs.prediction.tolist(), pairs.reference.tolist(), strict=True):
        if reference[p] == UNMATCHED and is_free[r]:
            reference[p] = r
            is_free[r] = shared[r]
    return np.asarray(reference, np.int64)


def at_least(pairs: Pairs, iou: float) -> Pairs:
    """The pairs that overlap that much, in their order."""
    keep = pairs.iou >= min(iou, _ALMOST_ONE)
    return Pairs(pairs.prediction[keep], pairs.reference[keep], pairs.iou[keep])


def match_by_confidence(
    pairs: Pairs,
    confidence: Floats,
    class_index: Ints,
    reference_class: Ints,
    *,
    class_ids: Sequence[int],
    thresholds: Sequence[float],
    is_crowd: Bools,
    is_ignored: Bools,
) -> Matches:
    """COCO's matching: predictions by falling confidence, each to the free reference with the highest IoU.

    A reference that counts goes before one that is ignored, whatever its IoU; of equal IoUs the later one is
    taken, of equal confidences the earlier prediction.

    Args:
        pairs: in any order.
        confidence: (prediction,)
        class_index: (prediction,) into ``class_ids``.
        reference_class: (reference,) into ``class_ids``.
        class_ids: the classes scored.
        thresholds: IoUs.
        is_crowd: (reference,) may be paired any number of times; ignored, too.
        is_ignored: (reference,) does not count.

    Raises:
        EvaluationError: a confidence is NaN.
    """
    if np.isnan(confidence).any():
        raise EvaluationError(
            "Some predictions have no confidence, by which average precision ranks them. Give one for each."
        )
    left_out = is_ignored | is_crowd
    rank = np.empty(len(confidence), np.int64)
    rank[np.argsort(-confidence, kind="stable")] = np.arange(len(confidence))
    order = np.lexsort((-pairs.reference, -pairs.iou, left_out[pairs.reference], rank[pairs.prediction]))
    pairs = Pairs(pairs.prediction[order], pairs.reference[order], pairs.iou[order])
    paired = np.array(
        [
            assign(
                at_least(pairs, threshold),
                n_predictions=len(confidence),
                n_references=len(reference_class),
                is_shared=is_crowd,
            )
            for threshold in thresholds
        ]
    ).reshape(len(thresholds), len(confidence))
    is_paired = paired != UNMATCHED
    # A last entry stands for "no reference", which index -1 finds.
    hits_left_out = np.append(left_out, False)[paired]
    return Matches(
        class_ids=np.asarray(class_ids, np.int64),
        thresholds=np.asarray(thresholds, np.float64),
        class_index=class_index,
        confidence=confidence,
        is_true=is_paired & ~hits_left_out,
        is_ignored=is_paired & hits_left_out,
        n_reference=np.bincount(reference_class[~left_out], minlength=len(class_ids)),
    )


def average_precision(matches: Iterable[Matches]) -> PrecisionScores:
    """Average precision over the matches of any number of images (Everingham 2010; Lin 2014, COCO).

    Args:
        matches: one or more, of the same classes and thresholds.

    Raises:
        EvaluationError: there are none, or they differ in classes or thresholds.

    Example:
        >>> image = Matches(
        ...     class_ids=np.array([1]), thresholds=np.array([0.5]), class_index=np.array([0, 0]),
        ...     confidence=np.array([0.9, 0.8]), is_true=np.array([[False, True]]),
        ...     is_ignored=np.array([[False, False]]), n_reference=np.array([1]),
        ... )
        >>> average_precision([image]).ap50
        0.5
    """
    parts = list(matches)
    if not parts:
        raise EvaluationError("There are no matches to score. Give those of one image or more.")
    first = parts[0]
    for part in parts:
        if not (
            np.array_equal(part.class_ids, first.class_ids)
            and np.array_equal(part.thresholds, first.thresholds)
        ):
            raise EvaluationError(
                "Matches of different classes or thresholds cannot be pooled. Match all images with the same."
            )
    confidence = np.concatenate([part.confidence for part in parts])
    order = np.argsort(-confidence, kind="stable")
    class_index = np.concatenate([part.class_index for part in parts])[order]
    is_true = np.concatenate([part.is_true for part in parts], axis=1)[:, order]
    is_counted = ~np.concatenate([part.is_ignored for part in parts], axis=1)[:, order]
    n_reference = np.sum([part.n_reference for part in parts], axis=0)
    shape = (len(first.class_ids), len(first.thresholds))
    precision, recall = np.full(shape, np.nan), np.full(shape, np.nan)
    for c in np.flatnonzero(n_reference):
        of_class = class_index == c
        for t in range(shape[1]):
            hits = is_true[t, of_class & is_counted[t]]
            precision[c, t], recall[c, t] = _area_under(hits, int(n_reference[c]))
    return PrecisionScores(first.class_ids, first.thresholds, precision, recall, n_reference)


def _mean(values: Floats) -> float:
    return float(mean_of_defined(values.ravel()))


def _area_under(hits: Bools, n_reference: int) -> tuple[float, float]:
    """Average precision and final recall of predictions by falling confidence."""
    if not len(hits):
        return 0.0, 0.0
    n_true = np.cumsum(hits)
    recall = n_true / n_reference
    precision = n_true / np.arange(1, len(hits) + 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    first = np.searchsorted(recall, _RECALLS, side="left")
    return float(np.append(best_from_here, 0.0)[first].mean()), float(recall[-1])
