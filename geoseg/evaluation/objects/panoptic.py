"""Panoptic quality (Kirillov et al. 2019, CVPR): each pixel is of one segment at most, segments are objects.

Maps of segments are counted window by window (:func:`overlaps`, which add up), matched once for the whole
image (:func:`count_panoptic`), and scored over any number of images (:func:`panoptic_scores` of the sum).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import EvaluationError
from geoseg.evaluation.confusion import IGNORED, indices
from geoseg.evaluation.metrics import mean_of_defined, ratio

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.integer]
PanopticCounts = Floats
"""(class, 4): true positives, false positives, false negatives, and the sum of the IoUs of true positives.
Counts of images add up."""
Rule = Literal["coco", "bdd100k"]

VOID = 0
"""The segment number of pixels that belong to no segment."""
_LARGEST = 2**31 - 1
_LEAST_IOU = 0.5
_NONE = -1


@dataclass(frozen=True, eq=False)
class Segments:
    """The segments of one image; every array is (segment,).

    Raises:
        EvaluationError: two segments have the same number, or one has that of void pixels.
    """

    segment_id: Ints
    """1 to 2147483647, each once."""
    class_id: Ints
    is_crowd: Bools
    """A group that was not told apart, or an area to be ignored: neither found nor missed."""

    def __post_init__(self) -> None:
        numbers, times = np.unique(self.segment_id, return_counts=True)
        if (times > 1).any() or (numbers <= VOID).any() or (numbers > _LARGEST).any():
            wrong = numbers[(times > 1) | (numbers <= VOID) | (numbers > _LARGEST)][0]
            raise EvaluationError(
                f"Segment {wrong} is listed {times[numbers == wrong][0]} times, expected numbers of 1 to "
                f"{_LARGEST}, each once. Renumber the segments."
            )


NO_SEGMENTS = Segments(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, bool))
"""Those of an image without prediction."""


@dataclass(frozen=True, eq=False)
class PanopticMap:
    """The panoptic segmentation of one image."""

    numbers: Ints
    """(y, x) segment number of each pixel; 0 is void."""
    segments: Segments


@dataclass(frozen=True, eq=False)
class Overlaps:
    """How many pixels segments of two maps share; every array is (pair,). Those of windows add up."""

    reference: Ints
    """Segment number, 0 for void."""
    prediction: Ints
    """Segment number, 0 for void."""
    pixels: Ints

    def __add__(self, other: "Overlaps") -> "Overlaps":
        reference = np.concatenate([self.reference, other.reference])
        prediction = np.concatenate([self.prediction, other.prediction])
        return _summed(reference, prediction, np.concatenate([self.pixels, other.pixels]))


@dataclass(frozen=True)
class PanopticMean:
    """Means over classes that are in the reference or predicted; NaN where there is none."""

    pq: float
    sq: float
    rq: float
    n_classes: int


@dataclass(frozen=True, eq=False)
class PanopticScores:
    """Scores of each class, (class,), NaN where it is neither in the reference nor predicted; their means."""

    pq: Floats
    """Panoptic quality, 0..1: sq x rq."""
    sq: Floats
    """Segmentation quality, 0..1: mean IoU of true positives, 0 where there is none."""
    rq: Floats
    """Recognition quality, 0..1: F1 of segments."""
    overall: PanopticMean
    things: PanopticMean
    stuff: PanopticMean


def overlaps(reference: Ints, prediction: Ints) -> Overlaps:
    """The overlaps of two maps of segments, of an image or of a window of it.

    Args:
        reference: (y, x) segment numbers, 0 for void.
        prediction: of the same shape.

    Raises:
        EvaluationError: the shapes differ, or a number is negative or above 2147483647.

    Example:
        >>> parts = overlaps(np.array([1, 1, 2]), np.array([5, 0, 5]))
        >>> parts.reference, parts.prediction, parts.pixels
        (array([1, 1, 2]), array([0, 5, 5]), array([1, 1, 1]))
    """
    if reference.shape != prediction.shape:
        raise EvaluationError(
            f"The reference has the shape {reference.shape}, the prediction {prediction.shape}, expected the "
            "same. Bring them to one grid."
        )
    for name, numbers in (("reference", reference), ("prediction", prediction)):
        if numbers.size and (numbers.min() < VOID or numbers.max() > _LARGEST):
            raise EvaluationError(
                f"Segments of the {name} are numbered {numbers.min()} to {numbers.max()}, expected 0 to "
                f"{_LARGEST}. Renumber them."
            )
    return _summed(reference.ravel(), prediction.ravel(), None)


def count_panoptic(
    pixels: Overlaps,
    reference: Segments,
    prediction: Segments,
    *,
    class_ids: Sequence[int],
    rule: Rule = "coco",
) -> PanopticCounts:
    """Which segments of one image are found.

    Segments of one class match where their IoU is above 0.5, so that none matches twice. Void pixels and
    crowds are neither right nor wrong; what that means is a matter of the rule:

    - ``coco`` (panopticapi, ``evaluation.py``): the void part of a predicted segment is left out of the
      union, and one that lies by more than half in void and in crowds of its class does not count as wrong.
      (panopticapi looks at one crowd of a class in an image, and COCO has no more.)
    - ``bdd100k`` (``bdd100k/eval/pan_seg.py``): the union is of all pixels, and a predicted segment that lies
      by more than half in void and in crowds of any class does not count as wrong.

    Args:
        pixels: of the whole image.
        reference: its segments.
        prediction: its segments; crowds among them are left out.
        class_ids: the classes scored, in the order of the counts.
        rule: of void and crowds.

    Raises:
        EvaluationError: a segment has no pixels, is not listed, or is of another class.

    Example:
        >>> segments = Segments(np.array([1]), np.array([7]), np.array([False]))
        >>> pixels = overlaps(np.array([1, 1, 1, 0]), np.array([1, 1, 0, 0]))
        >>> count_panoptic(pixels, segments, segments, class_ids=[7]).round(3)
        array([[1.   , 0.   , 0.   , 0.667]])
    """
    row = _positions(pixels.reference, reference, "reference")
    column = _positions(pixels.prediction, prediction, "prediction")
    row_class = _class_index(reference, "reference", class_ids)
    column_class = _class_index(prediction, "prediction", class_ids)
    n = pixels.pixels
    row_area, column_area = _total(row, n, len(row_class)), _total(column, n, len(column_class))
    _check_areas(row_area, reference, "reference")
    _check_areas(column_area, prediction, "prediction")

    is_void, is_inside = row == _NONE, (row != _NONE) & (column != _NONE)
    void = _total(column[is_void], n[is_void], len(column_class))
    is_same = is_inside.copy()
    is_same[is_inside] = row_class[row[is_inside]] == column_class[column[is_inside]]
    is_crowd = is_inside & (is_same | (rule == "bdd100k"))
    is_crowd[is_crowd] = reference.is_crowd[row[is_crowd]]
    excused = void + _total(column[is_crowd], n[is_crowd], len(column_class))

    is_pair = is_same
    is_pair[is_pair] = ~(reference.is_crowd[row[is_pair]] | prediction.is_crowd[column[is_pair]])
    row, column, n = row[is_pair], column[is_pair], n[is_pair]
    iou = n / (row_area[row] + column_area[column] - n - (void[column] if rule == "coco" else 0))
    is_match = iou > _LEAST_IOU
    is_missed, is_wrong = ~reference.is_crowd, ~prediction.is_crowd & (2 * excused <= column_area)
    is_missed[row[is_match]] = False
    is_wrong[column[is_match]] = False
    found = row_class[row[is_match]]
    columns = [found, column_class[is_wrong], row_class[is_missed]]
    counts = [np.bincount(classes, minlength=len(class_ids)) for classes in columns]
    return np.stack([*counts, np.bincount(found, iou[is_match], len(class_ids))], axis=1)


def panoptic_scores(counts: PanopticCounts, *, is_thing: Sequence[bool]) -> PanopticScores:
    """Scores of each class and their means over all classes, over things and over stuff.

    Args:
        counts: (class, 4), added over images.
        is_thing: (class,) countable objects; the others are stuff.

    Example:
        >>> scores = panoptic_scores(np.array([[1, 1, 0, 0.8], [0, 0, 0, 0]]), is_thing=[True, False])
        >>> scores.pq.round(3), scores.overall.pq == scores.things.pq, scores.stuff.n_classes
        (array([0.533,   nan]), True, 0)
    """
    true, wrong, missed, iou = np.moveaxis(counts, -1, 0)
    below = true + wrong / 2 + missed / 2
    pq, rq = ratio(iou, below), ratio(true, below)
    sq = np.where((true == 0) & (below > 0), 0.0, ratio(iou, true))
    things = np.asarray(is_thing, bool)

    def mean(chosen: Bools) -> PanopticMean:
        means = [float(mean_of_defined(score[chosen])) for score in (pq, sq, rq)]
        return PanopticMean(means[0], means[1], means[2], int((below[chosen] > 0).sum()))

    return PanopticScores(
        pq=pq, sq=sq, rq=rq, overall=mean(things | True), things=mean(things), stuff=mean(~things)
    )


def _summed(reference: Ints, prediction: Ints, pixels: Ints | None) -> Overlaps:
    keys = reference.astype(np.int64) * (_LARGEST + 1) + prediction.astype(np.int64)
    times: Ints
    if pixels is None:
        found, times = np.unique(keys, return_counts=True)
    else:
        found, inverse = np.unique(keys, return_inverse=True)
        times = _total(inverse, pixels, len(found))
    return Overlaps(found // (_LARGEST + 1), found % (_LARGEST + 1), times)


def _positions(numbers: Ints, segments: Segments, name: str) -> Ints:
    """The place in the list of segments of each number; -1 for void."""
    if not len(numbers) or not len(segments.segment_id):
        position = np.full(numbers.shape, IGNORED)
    else:
        position = indices(numbers, segments.segment_id.tolist())
    is_unknown = (position == IGNORED) & (numbers != VOID)
    if is_unknown.any():
        raise EvaluationError(
            f"Segment {numbers[is_unknown][0]} has pixels in the {name} and is not among its segments. List "
            "it with its class, or number its pixels 0."
        )
    return np.where(numbers == VOID, _NONE, position)


def _class_index(segments: Segments, name: str, class_ids: Sequence[int]) -> Ints:
    index = indices(segments.class_id, class_ids)
    is_unknown = index == IGNORED
    if is_unknown.any():
        raise EvaluationError(
            f"Segment {segments.segment_id[is_unknown][0]} of the {name} is of class "
            f"{segments.class_id[is_unknown][0]}, expected one of {', '.join(map(str, class_ids))}."
        )
    return index


def _check_areas(areas: Ints, segments: Segments, name: str) -> None:
    if not areas.all():
        raise EvaluationError(
            f"Segment {segments.segment_id[areas == 0][0]} of the {name} has no pixels. Leave it out of the "
            "list, or count all windows of the image."
        )


def _total(index: Ints, pixels: Ints, length: int) -> Ints:
    """Sums of pixels by index; those of -1 are left out."""
    totals = np.zeros(length, np.int64)
    np.add.at(totals, index[index != _NONE], pixels[index != _NONE])
    return totals
