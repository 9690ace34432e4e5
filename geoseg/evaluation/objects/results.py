"""Scores of objects as ``scores.json`` holds them: polygons, panoptic segments, instances.

Shares are 0..1, and None where there is nothing to be a share of.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from geoseg.evaluation.intervals import Range, interval_of, number
from geoseg.evaluation.objects.matching import PrecisionScores
from geoseg.evaluation.objects.panoptic import PanopticCounts, PanopticMean, panoptic_scores
from geoseg.evaluation.objects.polygons import ObjectCounts, object_scores

Floats = NDArray[np.float64]
_QUALITIES = ("pq", "sq", "rq")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Category(NamedTuple):
    """A class of objects."""

    class_id: int
    class_name: str
    color: str = "808080"
    is_thing: bool = True


class Found(_Frozen):
    """Objects at one IoU threshold."""

    iou: float
    true_positives: int
    false_positives: int
    """Predicted, and not in the reference."""
    false_negatives: int
    """In the reference, and not found."""
    precision: float | None
    recall: float | None
    f1: float | None
    intervals: dict[str, Range] = {}
    """95 % intervals of the shares, by resampling places."""


class ClassObjects(_Frozen):
    """Objects of one class."""

    class_id: int
    class_name: str
    color: str
    found: tuple[Found, ...]
    """One for each threshold."""
    ap: float | None
    """Average precision, mean over IoU 0.50 to 0.95; None without a confidence or without such objects."""


class PlaceObjects(_Frozen):
    """Objects of one place, all classes."""

    place: str
    found: tuple[Found, ...]


class Objects(_Frozen):
    """Polygons against polygons."""

    found: tuple[Found, ...]
    """All classes together, one for each threshold."""
    ap: float | None
    """Mean over classes and IoU 0.50 to 0.95; None without a confidence."""
    ap50: float | None
    ap75: float | None
    classes: tuple[ClassObjects, ...]
    places: tuple[PlaceObjects, ...] = ()


class ClassInstances(_Frozen):
    """Instances of one class."""

    class_id: int
    class_name: str
    color: str
    ap: float | None
    ap50: float | None
    ap75: float | None
    ar: float | None
    """Recall, mean over IoU 0.50 to 0.95."""
    support: int
    """Objects of the reference, crowds and ignored ones left out."""


class InstanceScores(_Frozen):
    """Masks with a confidence against masks, by COCO's rules."""

    ap: float | None
    """Mean over classes and IoU 0.50 to 0.95."""
    ap50: float | None
    ap75: float | None
    ar: float | None
    max_predictions: int
    """The most confident ones of each class and image that were looked at."""
    classes: tuple[ClassInstances, ...]


class PanopticMeans(_Frozen):
    """Means over the classes that are in the reference or predicted."""

    pq: float | None
    sq: float | None
    rq: float | None
    n_classes: int
    intervals: dict[str, Range] = {}
    """95 % intervals, by resampling images."""


class ClassPanoptic(_Frozen):
    """Segments of one class."""

    class_id: int
    class_name: str
    color: str
    is_thing: bool
    pq: float | None
    sq: float | None
    rq: float | None
    true_positives: int
    false_positives: int
    false_negatives: int


class Panoptic(_Frozen):
    """Panoptic, segmentation and recognition quality."""

    overall: PanopticMeans
    things: PanopticMeans
    stuff: PanopticMeans
    classes: tuple[ClassPanoptic, ...]


def objects_of(
    counts: Mapping[str, ObjectCounts],
    precision: PrecisionScores | None,
    categories: Sequence[Category],
    thresholds: Sequence[float],
    *,
    has_places: bool,
) -> Objects:
    """The scores of polygons.

    Args:
        counts: (class, threshold, 3) of each place.
        precision: None where the prediction has no confidence.
        categories: the classes, in the order of the counts.
        thresholds: IoUs, in the order of the counts.
        has_places: whether places are shown and resampled.
    """
    stacked = np.stack(list(counts.values()))  # (place, class, threshold, 3)
    intervals = _object_intervals(stacked) if has_places else [{} for _ in thresholds]
    total, shown = stacked.sum(axis=0), counts.items() if has_places else ()
    ap = np.full(len(categories), np.nan) if precision is None else _means(precision.average_precision)
    return Objects(
        found=_found(total.sum(axis=0), thresholds, intervals),
        ap=None if precision is None else number(precision.ap),
        ap50=None if precision is None else number(precision.ap50),
        ap75=None if precision is None else number(precision.ap75),
        classes=tuple(
            ClassObjects(
                class_id=c.class_id,
                class_name=c.class_name,
                color=c.color,
                found=_found(total[n], thresholds),
                ap=number(ap[n]),
            )
            for n, c in enumerate(categories)
        ),
        places=tuple(
            PlaceObjects(place=place, found=_found(there.sum(axis=0), thresholds)) for place, there in shown
        ),
    )


def instances_of(
    scores: PrecisionScores, categories: Sequence[Category], *, max_predictions: int
) -> InstanceScores:
    """The scores of instances; categories in the order of the scores' classes."""
    at = [np.isclose(scores.thresholds, threshold) for threshold in (0.5, 0.75)]
    per_class = {
        "ap": _means(scores.average_precision),
        "ap50": _means(scores.average_precision[:, at[0]]),
        "ap75": _means(scores.average_precision[:, at[1]]),
        "ar": _means(scores.recall),
    }
    return InstanceScores(
        **{name: number(getattr(scores, name)) for name in per_class},
        max_predictions=max_predictions,
        classes=tuple(
            ClassInstances(
                class_id=c.class_id,
                class_name=c.class_name,
                color=c.color,
                **{name: number(values[n]) for name, values in per_class.items()},
                support=int(scores.n_reference[n]),
            )
            for n, c in enumerate(categories)
        ),
    )


def panoptic_of(counts: Sequence[PanopticCounts], categories: Sequence[Category]) -> Panoptic:
    """The scores of segments.

    Args:
        counts: (class, 4) of each image.
        categories: the classes, in the order of the counts.
    """
    stacked = np.stack(counts)  # (image, class, 4)
    total, is_thing = stacked.sum(axis=0), [c.is_thing for c in categories]
    scores = panoptic_scores(total, is_thing=is_thing)
    intervals = _panoptic_intervals(stacked)
    return Panoptic(
        overall=_panoptic_means(scores.overall, intervals),
        things=_panoptic_means(scores.things),
        stuff=_panoptic_means(scores.stuff),
        classes=tuple(
            ClassPanoptic(
                class_id=c.class_id,
                class_name=c.class_name,
                color=c.color,
                is_thing=c.is_thing,
                **{name: number(getattr(scores, name)[n]) for name in _QUALITIES},
                true_positives=int(total[n, 0]),
                false_positives=int(total[n, 1]),
                false_negatives=int(total[n, 2]),
            )
            for n, c in enumerate(categories)
        ),
    )


def _means(values: Floats) -> Floats:
    """(class,) of (class, threshold)."""
    return values.mean(axis=1) if values.shape[1] else np.full(len(values), np.nan)


def _found(
    counts: NDArray[np.int64], thresholds: Sequence[float], intervals: Sequence[dict[str, Range]] = ()
) -> tuple[Found, ...]:
    """Of (threshold, 3)."""
    scores = object_scores(counts[None])
    return tuple(
        Found(
            iou=float(threshold),
            true_positives=int(counts[t, 0]),
            false_positives=int(counts[t, 1]),
            false_negatives=int(counts[t, 2]),
            precision=number(scores.precision[0, t]),
            recall=number(scores.recall[0, t]),
            f1=number(scores.f1[0, t]),
            intervals=intervals[t] if intervals else {},
        )
        for t, threshold in enumerate(thresholds)
    )


def _object_intervals(stacked: ObjectCounts) -> list[dict[str, Range]]:
    per_place = stacked.sum(axis=1)  # (place, threshold, 3)
    seen = per_place[per_place.sum(axis=(1, 2)) > 0]
    found = []
    for t in range(seen.shape[1]):
        ranges = {
            name: interval_of(seen[:, t], lambda sums, name=name: getattr(object_scores(sums), name))  # type: ignore[misc]
            for name in ("precision", "recall", "f1")
        }
        found.append({name: limits for name, limits in ranges.items() if limits is not None})
    return found


def _panoptic_intervals(stacked: NDArray[np.float64]) -> dict[str, Range]:
    def mean_of(name: str) -> Callable[[Floats], Floats]:
        def score(sums: Floats) -> Floats:
            every = [True] * sums.shape[-2]
            return np.array([getattr(panoptic_scores(s, is_thing=every).overall, name) for s in sums])

        return score

    ranges = {name: interval_of(stacked, mean_of(name)) for name in _QUALITIES}
    return {name: limits for name, limits in ranges.items() if limits is not None}


def _panoptic_means(mean: PanopticMean, intervals: Mapping[str, Range] | None = None) -> PanopticMeans:
    means = {name: number(getattr(mean, name)) for name in _QUALITIES}
    return PanopticMeans(**means, n_classes=mean.n_classes, intervals=dict(intervals or {}))
