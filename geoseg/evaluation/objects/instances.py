"""Instance average precision, COCO style: masks with a class and a confidence against masks with a class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import EvaluationError
from geoseg.evaluation.confusion import IGNORED, indices
from geoseg.evaluation.objects.matching import COCO_THRESHOLDS, Matches, Pairs, match_by_confidence
from geoseg.evaluation.objects.rle import Rle, intersections

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.integer]

MAX_PREDICTIONS = 100
"""Of each class and image that COCO looks at, the most confident."""


@dataclass(frozen=True, eq=False)
class Instances:
    """The objects of one image.

    Raises:
        EvaluationError: an array has not one entry for each mask.
    """

    masks: Sequence[Rle]
    """May overlap."""
    class_id: Ints
    """(instance,)"""
    confidence: Floats | None = None
    """(instance,) any scale; predictions need it."""
    is_crowd: Bools | None = None
    """(instance,) of the reference: a group of objects that were not told apart; None for no crowds."""
    is_ignored: Bools | None = None
    """(instance,) of the reference: objects whose finding is neither right nor wrong; None for none."""

    def __post_init__(self) -> None:
        for name in ("class_id", "confidence", "is_crowd", "is_ignored"):
            values = getattr(self, name)
            if values is not None and np.shape(values) != (len(self.masks),):
                raise EvaluationError(
                    f"The {name} of instances has the shape {np.shape(values)}, expected one entry for each "
                    f"of {len(self.masks)} masks."
                )


def match_instances(
    reference: Instances,
    prediction: Instances,
    *,
    class_ids: Sequence[int],
    thresholds: Sequence[float] = COCO_THRESHOLDS,
    max_predictions: int | None = MAX_PREDICTIONS,
) -> Matches:
    """Which predictions of one image are right.

    :func:`~geoseg.evaluation.objects.matching.average_precision` pools images and scores them.

    Instances of other classes are left out. The rules are those of pycocotools (``cocoeval.py``,
    ``evaluateImg``): a prediction pairs with a reference object of its class only; what pairs with a crowd or
    an ignored object does not count; the IoU with a crowd has the area of the prediction below the line.

    Args:
        reference: the objects of the image.
        prediction: with confidences.
        class_ids: the classes scored, in the order of the scores.
        thresholds: IoUs; COCO's ten by default.
        max_predictions: the most confident ones per image and class that are looked at, 100 in COCO; None
            for all.

    Raises:
        EvaluationError: predictions without confidence, or masks of different sizes.

    Example:
        >>> from geoseg.evaluation.objects.matching import average_precision
        >>> from geoseg.evaluation.objects.rle import encode_mask
        >>> field, found = encode_mask(np.ones((3, 10))), encode_mask(np.arange(30).reshape(3, 10) < 20)
        >>> reference = Instances([field], np.array([7]))
        >>> prediction = Instances([found], np.array([7]), confidence=np.array([0.9]))
        >>> scores = average_precision([match_instances(reference, prediction, class_ids=[7])])
        >>> scores.ap50, scores.ap75, round(scores.ap, 6)
        (1.0, 0.0, 0.4)
    """
    if prediction.confidence is None:
        raise EvaluationError(
            "Predicted instances carry no confidence, by which average precision ranks them. Give one each."
        )
    class_of_prediction = indices(prediction.class_id, class_ids)
    kept = _most_confident(class_of_prediction, prediction.confidence, len(class_ids), max_predictions)
    class_of_reference = indices(reference.class_id, class_ids)
    scored = np.flatnonzero(class_of_reference != IGNORED)
    is_crowd = _flags(reference.is_crowd, scored)
    return match_by_confidence(
        _pairs(
            [prediction.masks[i] for i in kept.tolist()],
            [reference.masks[i] for i in scored.tolist()],
            class_of_prediction[kept],
            class_of_reference[scored],
            is_crowd=is_crowd,
        ),
        prediction.confidence[kept],
        class_of_prediction[kept],
        class_of_reference[scored],
        class_ids=class_ids,
        thresholds=thresholds,
        is_crowd=is_crowd,
        is_ignored=_flags(reference.is_ignored, scored),
    )


def _most_confident(class_index: Ints, confidence: Floats, n_classes: int, limit: int | None) -> Ints:
    """Indices of the most confident predictions of each class, the most confident first."""
    order = np.argsort(-confidence, kind="stable")
    kept = [order[class_index[order] == c][:limit] for c in range(n_classes)]
    return np.concatenate([*kept, np.empty(0, np.int64)])


def _flags(flags: Bools | None, kept: Ints) -> Bools:
    return np.zeros(len(kept), bool) if flags is None else np.asarray(flags, bool)[kept]


def _pairs(
    predicted: Sequence[Rle],
    referred: Sequence[Rle],
    class_of_prediction: Ints,
    class_of_reference: Ints,
    *,
    is_crowd: Bools,
) -> Pairs:
    """The pairs of one class whose masks overlap."""
    found = [Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    for c in np.intersect1d(class_of_prediction, class_of_reference):
        rows, columns = np.flatnonzero(class_of_prediction == c), np.flatnonzero(class_of_reference == c)
        masks, others = [predicted[i] for i in rows.tolist()], [referred[i] for i in columns.tolist()]
        shared = intersections(masks, others)
        area = np.array([mask.area for mask in masks])[:, None]
        other = np.array([mask.area for mask in others])[None, :]
        below = np.where(is_crowd[columns], area, area + other - shared)
        i, j = np.nonzero(shared)
        found.append(Pairs(rows[i], columns[j], shared[i, j] / below[i, j]))
    return Pairs(
        np.concatenate([pairs.prediction for pairs in found]),
        np.concatenate([pairs.reference for pairs in found]),
        np.concatenate([pairs.iou for pairs in found]),
    )
