"""The result of an evaluation: what ``scores.json`` holds."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from geoseg.evaluation.bootstrap import bootstrap
from geoseg.evaluation.confidence.reliability import Reliability
from geoseg.evaluation.confusion import Counts
from geoseg.evaluation.metrics import OVERALL, PER_CLASS
from geoseg.legend import Legend

ORDER = ("pixel_accuracy", "mean_accuracy", "miou", "fwiou", "dice", "kappa")
"""In which overall scores are shown; others that were registered come after."""
LEVEL = 0.95
"""Of all intervals."""
_MIN_PLACES = 5
"""Fewer places give no interval that deserves the name."""


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
    latency_median_s: float
    """Of an image, from pixels to classes."""
    latency_p95_s: float
    pixels_per_s: float
    peak_memory_mb: float
    """Of the process."""


class Scores(_Frozen):
    """Scores of a prediction, and the counts they come from."""

    title: str
    overall: dict[str, float | None]
    """pixel_accuracy, mean_accuracy, miou, fwiou, dice, kappa."""
    intervals: dict[str, tuple[float, float]] = {}
    """95 % intervals of ``overall``, by resampling places; empty where there are too few."""
    classes: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]
    """Rows the reference, columns the prediction, in the order of ``classes``."""
    unpredicted: tuple[int, ...]
    """Per class of the reference, what the prediction has no class for: counted as wrong."""
    compared: int
    left_out: int
    """Pixels without a reference, or whose reference is to be ignored."""
    undefined: tuple[str, ...]
    """Classes absent from both, which no mean counts."""
    places: tuple[PlaceScores, ...] = ()
    reliability: Reliability | None = None
    """Whether the confidence stored beside the map says how often it is right; None without one."""
    efficiency: Efficiency | None = None
    """None where a finished map was scored."""
    notes: tuple[str, ...] = ()
    """What was done to bring prediction and reference together."""

    def to_json(self) -> str:
        """Indented JSON with a final newline."""
        return self.model_dump_json(indent=2) + "\n"


@dataclass(frozen=True)
class Evaluation:
    """Scores, and where the errors are."""

    scores: Scores
    legend: Legend
    """The classes that were compared."""
    wrong: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    """(cell row, cell column) pixels of a map that are wrong."""
    compared: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    """(cell row, cell column) pixels of a map that were compared."""
    unit: str = "pixels"
    """What is counted."""


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


def scores_of(
    counts: Counts,
    legend: Legend,
    *,
    title: str,
    places: Sequence[str] = (),
    left_out: int = 0,
    notes: Sequence[str] = (),
    reliability: Reliability | None = None,
    efficiency: Efficiency | None = None,
    seed: int = 0,
) -> Scores:
    """Scores of the matrices of one or many places.

    Args:
        counts: (place, class, class + 1) or (class, class + 1).
        legend: the classes, in the matrix's order.
        title: for people.
        places: what each place is called; empty for a single matrix.
        left_out: pixels that were not compared.
        notes: what was done to bring prediction and reference together.
        reliability: of the confidence.
        efficiency: of the model that was run.
        seed: of the resampling.
    """
    stacked = counts if counts.ndim == 3 else counts[None]
    total = stacked.sum(axis=0)
    per_class = {name: PER_CLASS[name](total) for name in PER_CLASS}
    classes = tuple(
        ClassScores(
            class_id=c.value,
            class_name=c.name,
            color=c.color_hint,
            iou=_number(per_class["iou"][n]),
            dice=_number(per_class["dice"][n]),
            precision=_number(per_class["precision"][n]),
            recall=_number(per_class["recall"][n]),
            support=int(total[n].sum()),
            predicted=int(total[:, n].sum()),
        )
        for n, c in enumerate(legend.classes)
    )
    return Scores(
        title=title,
        overall={name: _number(OVERALL[name](total)) for name in sorted(OVERALL, key=_rank)},
        intervals=_intervals(stacked, seed),
        classes=classes,
        confusion=tuple(tuple(map(int, row[:-1])) for row in total),
        unpredicted=tuple(map(int, total[:, -1])),
        compared=int(total.sum()),
        left_out=left_out,
        undefined=tuple(c.class_name for c in classes if c.support == c.predicted == 0),
        places=_places(stacked, places),
        reliability=reliability,
        efficiency=efficiency,
        notes=tuple(notes),
    )


def _places(stacked: Counts, names: Sequence[str]) -> tuple[PlaceScores, ...]:
    accuracy, miou = OVERALL["pixel_accuracy"](stacked), OVERALL["miou"](stacked)
    return tuple(
        PlaceScores(
            place=name,
            compared=int(stacked[n].sum()),
            pixel_accuracy=_number(accuracy[n]),
            miou=_number(miou[n]),
        )
        for n, name in enumerate(names)
    )


def _intervals(stacked: Counts, seed: int) -> dict[str, tuple[float, float]]:
    seen = stacked[stacked.sum(axis=(1, 2)) > 0]
    if len(seen) < _MIN_PLACES:
        return {}
    found = {}
    for name in OVERALL:
        interval = bootstrap(seen, OVERALL[name], level=LEVEL, seed=seed)
        if np.isfinite([interval.low, interval.high]).all():
            found[name] = (float(interval.low), float(interval.high))
    return found


def _rank(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


def _number(value: NDArray[np.float64] | np.float64) -> float | None:
    return float(value) if np.isfinite(value) else None
