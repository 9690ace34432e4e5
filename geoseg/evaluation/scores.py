"""The result of an evaluation: what ``scores.json`` holds."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from geoseg.evaluation.boundary import BoundaryCounts, boundary_iou
from geoseg.evaluation.confidence.reliability import Reliability
from geoseg.evaluation.confusion import Counts
from geoseg.evaluation.intervals import Range, interval_of, intervals_of, number
from geoseg.evaluation.metrics import OVERALL, PER_CLASS, Metric, iou, mean_of_defined
from geoseg.evaluation.objects.results import InstanceScores, Objects, Panoptic
from geoseg.legend import Legend

ORDER = ("pixel_accuracy", "mean_accuracy", "miou", "fwiou", "dice", "kappa")
"""In which overall scores are shown; others that were registered come after."""
BOUNDARY_ORDER = ("boundary_miou", "trimap_miou")
"""Overall scores of outlines, None where they were not asked for."""
_MEANS = {"mean_accuracy": "recall", "miou": "iou", "dice": "dice"}
"""Overall scores that are means of a score of classes, and so leave out classes that are not averaged."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClassScores(_Frozen):
    """Of one class; None where it is neither in the reference nor predicted."""

    class_id: int
    class_name: str
    color: str
    iou: float | None
    dice: float | None
    precision: float | None
    recall: float | None
    support: int
    """Pixels (or points) of the reference."""
    predicted: int
    iou_interval: Range | None = None
    """95 % interval of ``iou``, by resampling places; None where there are too few."""
    boundary_iou: float | None = None
    """None where it was not asked for, too; so below."""
    trimap_iou: float | None = None


class PlaceScores(_Frozen):
    """Of one place, image or region."""

    place: str
    compared: int
    pixel_accuracy: float | None
    miou: float | None


class Efficiency(_Frozen):
    """What the scores cost, on the machine that made them."""

    parameters: int
    flops_per_pixel: float
    """Of one pass of a tile: overlaps of tiles and views of ``--tta`` come on top."""
    latency_median_s: float
    """Of an image, from pixels to classes."""
    latency_p95_s: float
    pixels_per_s: float
    peak_memory_mb: float
    """Of the process."""


class Scores(_Frozen):
    """Scores of a prediction, and the counts they come from: of pixels, or of objects.

    What belongs to pixels is empty where objects were compared.
    """

    title: str
    overall: dict[str, float | None] = {}
    """pixel_accuracy, mean_accuracy, miou, fwiou, dice, kappa, boundary_miou, trimap_miou."""
    intervals: dict[str, tuple[float, float]] = {}
    """95 % intervals of ``overall``, by resampling places; empty where there are too few."""
    classes: tuple[ClassScores, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    """Rows the reference, columns the prediction, in the order of ``classes``."""
    unpredicted: tuple[int, ...] = ()
    """Per class of the reference, what the prediction has no class for: counted as wrong."""
    compared: int
    """Pixels, points, or objects of the reference."""
    left_out: int = 0
    """Pixels without a reference, or whose reference is to be ignored; objects that were not compared."""
    undefined: tuple[str, ...] = ()
    """Classes absent from both, which no mean counts."""
    unaveraged: tuple[str, ...] = ()
    """Classes that no mean counts because the data set's own tool leaves them out."""
    places: tuple[PlaceScores, ...] = ()
    reliability: Reliability | None = None
    """Whether the confidence stored beside the map says how often it is right; None without one."""
    efficiency: Efficiency | None = None
    """None where a finished map was scored."""
    objects: Objects | None = None
    """Polygons against polygons."""
    panoptic: Panoptic | None = None
    """Segments against segments."""
    instances: InstanceScores | None = None
    """Masks with a confidence against masks."""
    notes: tuple[str, ...] = ()
    """What was done to bring prediction and reference together."""

    def to_json(self) -> str:
        """Indented JSON with a final newline."""
        return self.model_dump_json(indent=2) + "\n"


@dataclass(frozen=True)
class Case:
    """A piece that was scored, to be shown: an image, or a tile of a map."""

    name: str
    share_wrong: float
    """0..1 of what was compared."""
    prediction: NDArray[np.int32]
    """(y, x) class indices; other numbers have no class."""
    reference: NDArray[np.int32]
    """(y, x) class indices; other numbers are not compared."""


@dataclass(frozen=True)
class Evaluation:
    """Scores, and where the errors are."""

    scores: Scores
    wrong: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    """(cell row, cell column) pixels of a map that are wrong."""
    compared: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    """(cell row, cell column) pixels of a map that were compared."""
    cases: tuple[Case, ...] = ()
    """Where most is wrong, the worst first."""
    unit: str = "pixels"
    """What is counted."""


@dataclass(frozen=True)
class Outlines:
    """Counts of boundary IoU and of trimap IoU."""

    boundary: BoundaryCounts
    """(place, class, 3)"""
    trimap: Counts
    """(place, class, class + 1)"""


def scores_of(
    counts: Counts,
    legend: Legend,
    *,
    title: str,
    places: Sequence[str] = (),
    left_out: int = 0,
    notes: Sequence[str] = (),
    outlines: Outlines | None = None,
    unaveraged: Sequence[str] = (),
    reliability: Reliability | None = None,
    efficiency: Efficiency | None = None,
) -> Scores:
    """Scores of the matrices of one or many places.

    Args:
        counts: (place, class, class + 1) or (class, class + 1).
        legend: the classes, in the matrix's order.
        title: for people.
        places: what each place is called; empty for a single matrix.
        left_out: pixels that were not compared.
        notes: what was done to bring prediction and reference together.
        outlines: of the same places; None where they were not asked for.
        unaveraged: names of classes that count in the matrix and in no mean over classes.
        reliability: of the confidence.
        efficiency: of the model that was run.
    """
    stacked = counts if counts.ndim == 3 else counts[None]
    is_averaged = np.array([c.name not in unaveraged for c in legend.classes])
    classes = _classes(stacked, legend, outlines)
    overall, intervals = {}, {}
    for name, (statistics, score) in _overall(stacked, outlines, is_averaged).items():
        overall[name] = number(score(statistics.sum(axis=0)))
        interval = interval_of(statistics[stacked.sum(axis=(1, 2)) > 0], score)
        if interval is not None:
            intervals[name] = interval
    return Scores(
        title=title,
        overall=overall | {name: overall.get(name) for name in BOUNDARY_ORDER},
        intervals=intervals,
        classes=classes,
        confusion=tuple(tuple(map(int, row[:-1])) for row in stacked.sum(axis=0)),
        unpredicted=tuple(map(int, stacked.sum(axis=0)[:, -1])),
        compared=int(stacked.sum()),
        left_out=left_out,
        undefined=tuple(c.class_name for c in classes if c.support == c.predicted == 0),
        unaveraged=tuple(c.name for c in legend.classes if c.name in unaveraged),
        places=_places(stacked, places, is_averaged),
        reliability=reliability,
        efficiency=efficiency,
        notes=tuple(notes),
    )


def _classes(stacked: Counts, legend: Legend, outlines: Outlines | None) -> tuple[ClassScores, ...]:
    total = stacked.sum(axis=0)
    ranges = intervals_of(stacked[stacked.sum(axis=(1, 2)) > 0], iou)
    per_class = {name: PER_CLASS[name](total) for name in ("iou", "dice", "precision", "recall")}
    if outlines is not None:
        per_class["boundary_iou"] = boundary_iou(outlines.boundary.sum(axis=0))
        per_class["trimap_iou"] = iou(outlines.trimap.sum(axis=0))
    return tuple(
        ClassScores(
            class_id=c.value,
            class_name=c.name,
            color=c.color_hint,
            support=int(total[n].sum()),
            predicted=int(total[:, n].sum()),
            iou_interval=ranges[n],
            **{name: number(values[n]) for name, values in per_class.items()},
        )
        for n, c in enumerate(legend.classes)
    )


def _overall(
    stacked: Counts, outlines: Outlines | None, is_averaged: NDArray[np.bool_]
) -> dict[str, tuple[NDArray[np.int64], Metric]]:
    """What each overall score is made of, (place, ...), and how."""
    found = {name: (stacked, _metric(name, is_averaged)) for name in sorted(OVERALL, key=_rank)}
    if outlines is not None:
        found["boundary_miou"] = (outlines.boundary, _mean(boundary_iou, is_averaged))
        found["trimap_miou"] = (outlines.trimap, _mean(iou, is_averaged))
    return found


def _metric(name: str, is_averaged: NDArray[np.bool_]) -> Metric:
    return _mean(PER_CLASS[_MEANS[name]], is_averaged) if name in _MEANS else OVERALL[name]


def _mean(per_class: Metric, is_averaged: NDArray[np.bool_]) -> Metric:
    return lambda counts: mean_of_defined(per_class(counts)[..., is_averaged])


def _places(stacked: Counts, names: Sequence[str], is_averaged: NDArray[np.bool_]) -> tuple[PlaceScores, ...]:
    accuracy, miou = (_metric(name, is_averaged)(stacked) for name in ("pixel_accuracy", "miou"))
    return tuple(
        PlaceScores(
            place=name,
            compared=int(stacked[n].sum()),
            pixel_accuracy=number(accuracy[n]),
            miou=number(miou[n]),
        )
        for n, name in enumerate(names)
    )


def _rank(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)
