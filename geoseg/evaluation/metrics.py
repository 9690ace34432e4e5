"""Scores of a confusion matrix, per class and overall.

All take ``Counts``: (..., class, class + 1), rows the reference, and give arrays of the same leading shape,
so that the matrices of many places or resamples are scored at once. A class that is neither in the reference
nor predicted has no score: NaN, left out of means. Definitions as in Long et al. 2015 (FCN, section 5),
Everingham et al. 2015 (PASCAL VOC), Cohen 1960.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import EvaluationError
from geoseg.evaluation.confusion import Counts
from geoseg.registry import Registry

Floats = NDArray[np.float64]
Numbers = NDArray[np.floating] | NDArray[np.integer]
Metric = Callable[[Counts], Floats]

PER_CLASS: Registry[Metric] = Registry("class_metric", EvaluationError)
"""Each gives (..., class)."""
OVERALL: Registry[Metric] = Registry("metric", EvaluationError)
"""Each gives (...)."""


@PER_CLASS.register("iou")
def iou(counts: Counts) -> Floats:
    """(..., class) intersection over union, 0..1: right / (reference + predicted - right)."""
    right, reference, predicted = _sums(counts)
    return ratio(right, reference + predicted - right)


@PER_CLASS.register("dice")
def dice_per_class(counts: Counts) -> Floats:
    """(..., class) Dice coefficient, which is F1, 0..1: 2 right / (reference + predicted)."""
    right, reference, predicted = _sums(counts)
    return ratio(2 * right, reference + predicted)


@PER_CLASS.register("precision")
def precision(counts: Counts) -> Floats:
    """(..., class) share of what was predicted that is right (user's accuracy of a simple random sample)."""
    right, _, predicted = _sums(counts)
    return ratio(right, predicted)


@PER_CLASS.register("recall")
def recall(counts: Counts) -> Floats:
    """(..., class) share of the reference that was found (producer's accuracy)."""
    right, reference, _ = _sums(counts)
    return ratio(right, reference)


@OVERALL.register("pixel_accuracy")
def pixel_accuracy(counts: Counts) -> Floats:
    """Share of pixels that are right, 0..1."""
    right, reference, _ = _sums(counts)
    return ratio(right.sum(-1), reference.sum(-1))


@OVERALL.register("mean_accuracy")
def mean_accuracy(counts: Counts) -> Floats:
    """Mean recall over the classes of the reference."""
    return mean_of_defined(recall(counts))


@OVERALL.register("miou")
def miou(counts: Counts) -> Floats:
    """Mean IoU over the classes that are in the reference or predicted."""
    return mean_of_defined(iou(counts))


@OVERALL.register("fwiou")
def fwiou(counts: Counts) -> Floats:
    """IoU weighted by how frequent classes are in the reference."""
    _, reference, _ = _sums(counts)
    return ratio(np.nansum(reference * iou(counts), axis=-1), reference.sum(-1))


@OVERALL.register("dice")
def dice(counts: Counts) -> Floats:
    """Mean Dice (F1) over the classes that are in the reference or predicted."""
    return mean_of_defined(dice_per_class(counts))


@OVERALL.register("kappa")
def kappa(counts: Counts) -> Floats:
    """Cohen's kappa, -1..1: agreement beyond that of two independent maps with the same class shares.

    NaN where chance alone agrees everywhere. Kept because tables ask for it; see Foody 2020 (Remote Sensing
    of Environment 239, 111630) for why it says little.
    """
    right, reference, predicted = _sums(counts)
    n = reference.sum(-1)
    by_chance = ratio((reference * predicted).sum(-1), n**2)
    return ratio(ratio(right.sum(-1), n) - by_chance, 1 - by_chance)


def mean_of_defined(values: Floats) -> Floats:
    """The mean over the last axis of what is not NaN; NaN where nothing is."""
    return ratio(np.nansum(values, axis=-1), np.isfinite(values).sum(-1))


def _sums(counts: Counts) -> tuple[Floats, Floats, Floats]:
    """Right, reference and predicted pixels of each class, (..., class)."""
    n_classes = counts.shape[-2]
    right = np.diagonal(counts, axis1=-2, axis2=-1).astype(np.float64)
    return right, counts.sum(-1).astype(np.float64), counts[..., :n_classes].sum(-2).astype(np.float64)


def ratio(part: Numbers, whole: Numbers) -> Floats:
    """``part / whole``; NaN where whole is 0.

    Example:
        >>> ratio(np.array([1, 0]), np.array([2, 0])).tolist()
        [0.5, nan]
    """
    shape = np.broadcast_shapes(part.shape, whole.shape)
    shares: Floats = np.divide(part, whole, out=np.full(shape, np.nan), where=whole != 0)
    return shares
