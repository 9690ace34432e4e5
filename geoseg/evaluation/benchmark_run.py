"""Score a model on a benchmark by the engine that makes the maps, or predictions that were made elsewhere."""

import heapq
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import EvaluationError
from geoseg.evaluation.benchmark import Benchmark, Labels, Sample
from geoseg.evaluation.benchmark_images import (
    Part,
    bands_for,
    classes_of,
    image_and_labels,
    labelled_samples,
    plan_for,
    spread,
)
from geoseg.evaluation.benchmark_predictions import Answer, ClassFiles, read_results
from geoseg.evaluation.boundary import BoundaryCounts, count_boundary, count_trimap
from geoseg.evaluation.boundary_width import BoundaryWidth
from geoseg.evaluation.confidence.reliability import ProbsReliability
from geoseg.evaluation.confusion import IGNORED, Counts, count, table_of
from geoseg.evaluation.labelled import benchmark_of
from geoseg.evaluation.maps import Crosswalk
from geoseg.evaluation.objects.coco_files import absent_from
from geoseg.evaluation.objects.instances import Instances, match_instances
from geoseg.evaluation.objects.matching import average_precision
from geoseg.evaluation.objects.results import Category, instances_of
from geoseg.evaluation.scores import Case, Efficiency, Evaluation, Outlines, Scores, scores_of
from geoseg.inference.efficiency import flops_per_pixel, n_parameters
from geoseg.inference.predictor import predict_probs
from geoseg.inference.runner import AUTO, Inference
from geoseg.legend import CLASS_NODATA
from geoseg.memory import peak_memory_mb
from geoseg.models.folds import Unseeing, folds_of
from geoseg.models.zoo import calibration_of, card_of, create_model

N_WORST = 6


@dataclass(frozen=True)
class Task:
    """What is scored on what."""

    part: Part
    model: str
    how: Inference = AUTO
    crosswalk: Crosswalk = field(default_factory=Crosswalk)
    """``prediction``: from the model's classes to the benchmark's."""
    prediction: Path | None = None
    """Instead of what the model says: a folder of class rasters, or COCO results (JSON)."""
    boundary: BoundaryWidth | None = None
    """How wide boundaries are for boundary IoU and trimap IoU; None to leave those out."""


def score_benchmark(
    task: Task,
    *,
    samples: Sequence[Sample] | None = None,
    on_image: Callable[[int, int], None] = lambda done, of: None,
) -> Evaluation:
    """Scores of a model, or of predictions, and the images with the largest share of errors.

    Images are mapped by sliding tiles as maps are; each is its own place unless the data set says what it was
    cut from, and places are resampled for intervals.

    Args:
        task: what is asked for.
        samples: those of its part that are scored; None for all.
        on_image: told how many images are done, of how many.

    Raises:
        EvaluationError: the data set is incomplete, has no labels for that split, or the bands or classes of
            the model or the predictions do not fit it.
    """
    benchmark = benchmark_of(task.part.benchmark)
    if task.prediction is not None and task.prediction.is_file():
        return _score_instances(task, benchmark, on_image)
    samples = labelled_samples(benchmark, task.part) if samples is None else samples
    source: ClassFiles | _Mapper
    if task.prediction is not None:
        source = ClassFiles(task.prediction, benchmark, samples, task.crosswalk)
    else:
        source = _Mapper(task, benchmark)
    tally = _Tally(benchmark, task.boundary)
    for number, sample in enumerate(samples):
        tally.feed(sample, *source(sample))
        on_image(number + 1, len(samples))
    scores = scores_of(
        np.stack(list(tally.counts.values())),
        benchmark.legend,
        title=_title(task, benchmark),
        places=list(tally.counts),
        left_out=tally.left_out,
        notes=[*_notes(task, benchmark, samples), *source.notes],
        outlines=tally.outlines(),
        unaveraged=benchmark.unaveraged,
        reliability=tally.reliability.reliability() if isinstance(source, _Mapper) else None,
        efficiency=source.efficiency() if isinstance(source, _Mapper) else None,
    )
    return Evaluation(scores, cases=tally.worst())


def _score_instances(task: Task, benchmark: Benchmark, on_image: Callable[[int, int], None]) -> Evaluation:
    split = benchmark.samples(task.part.root, task.part.split)
    if task.prediction is None or not split or any(sample.read_instances is None for sample in split):
        raise EvaluationError(
            f"Split {task.part.split_of(benchmark)} of {benchmark.title} has no instances to score. Give "
            "--prediction a folder of class rasters."
        )
    if task.boundary is not None:
        raise EvaluationError("--boundary means nothing where instances are compared. Leave it out.")
    samples = spread(split, task.part.limit)
    found = read_results(task.prediction, benchmark, split, task.crosswalk)
    none = Instances([], np.empty(0, np.int64), confidence=np.empty(0))
    class_ids, matches = benchmark.legend.values, []
    for number, sample in enumerate(samples):
        true = sample.read_instances()  # type: ignore[misc]
        answer = found.get(sample.id, none)
        matches.append(
            match_instances(true, answer, class_ids=class_ids, max_predictions=benchmark.max_predictions)
        )
        on_image(number + 1, len(samples))
    categories = [Category(c.value, c.name, c.color_hint) for c in benchmark.legend.classes]
    scores = instances_of(average_precision(matches), categories, max_predictions=benchmark.max_predictions)
    n_found = sum(len(found[sample.id].masks) for sample in samples if sample.id in found)
    notes = _notes(task, benchmark, samples)
    notes.append(
        f"COCO results of {n_found:,} masks; at most {benchmark.max_predictions:,} of an image count."
    )
    if len(class_ids) == 1:
        notes.append("The set has no classes: masks are compared whatever their category_id.")
    notes += absent_from(scores)
    return Evaluation(
        Scores(
            title=_title(task, benchmark),
            compared=sum(c.support for c in scores.classes),
            instances=scores,
            notes=tuple(notes),
        ),
        unit="instances",
    )


class _Mapper:
    """A model, asked by the engine that makes the maps, and what that costs."""

    def __init__(self, task: Task, benchmark: Benchmark) -> None:
        self._benchmark, self._how = benchmark, task.how
        self._model = create_model(task.model)
        self._unseeing = Unseeing(self._model, folds_of(task.model), benchmark.name)
        bands = zip(self._model.card.bands, bands_for(self._model.card, benchmark), strict=True)
        self._table, self._is_ignored = classes_of(benchmark, self._model.card, task.crosswalk)
        self._values = np.array(self._model.card.legend.values, np.uint8)
        self._shares = np.zeros((len(self._values), len(benchmark.legend.values)), np.float32)
        for row, value in enumerate(self._values):
            if self._table[value] != IGNORED:
                self._shares[row, self._table[value]] = 1
        self._seconds, self._n_pixels, self._places = list[float](), 0, set[str]()
        self._notes = [f"{taken} is used as {band}." for band, taken in bands if band != taken]
        if task.how.tta != "none":
            self._notes.append(f"Probabilities are means over the views of --tta {task.how.tta}.")

    def __call__(self, sample: Sample) -> tuple[Labels, Answer]:
        """The labels of an image, and what the model says of it."""
        image, labels = image_and_labels(sample, self._benchmark, self._model.card)
        started = time.perf_counter()
        model = self._unseeing.of(sample.place)
        self._places.add(sample.place)
        probs = predict_probs(image, model=model, plan=plan_for(image, model.card), how=self._how)
        is_known = np.isfinite(probs).all(0)
        if self._model.calibration is not None:
            probs[:, is_known] = self._model.calibration.probs(probs[:, is_known].T).T
        self._seconds.append(time.perf_counter() - started)
        self._n_pixels += labels.size
        stored = np.where(is_known, self._values[np.nan_to_num(probs).argmax(0)], np.uint8(CLASS_NODATA))
        return labels, Answer(self._table[stored], self._in_the_sets_classes(probs), self._is_ignored[stored])

    def _in_the_sets_classes(self, probs: NDArray[np.float32]) -> NDArray[np.float32]:
        """(class, y, x) of the benchmark: those of the model's that mean one class are added up."""
        found = np.tensordot(self._shares, probs, axes=(0, 0))
        with np.errstate(invalid="ignore", divide="ignore"):
            shares: NDArray[np.float32] = found / found.sum(0)  # NaN where all is ignored
        return shares

    @property
    def notes(self) -> list[str]:
        """What people should know of the answers so far."""
        n_seen = self._unseeing.n_seen(self._places)
        if not n_seen:
            return self._notes
        return [
            *self._notes,
            f"The model learned from {n_seen:,} of the places: there only the one of its networks that has "
            "not seen the place is scored.",
        ]

    def efficiency(self) -> Efficiency | None:
        """Of the images so far; None where single networks of the model were asked."""
        if self._unseeing.n_seen(self._places):
            return None
        return Efficiency(
            parameters=n_parameters(self._model),
            flops_per_pixel=flops_per_pixel(self._model),
            latency_median_s=float(np.median(self._seconds)),
            latency_p95_s=float(np.percentile(self._seconds, 95)),
            pixels_per_s=self._n_pixels / sum(self._seconds),
            peak_memory_mb=peak_memory_mb(),
        )


class _Tally:
    """What is counted of images: by place, near boundaries, and which are worst."""

    def __init__(self, benchmark: Benchmark, boundary: BoundaryWidth | None) -> None:
        self._benchmark, self._boundary = benchmark, boundary
        values = benchmark.legend.values
        self._n_classes, self._index = len(values), table_of(values, {v: v for v in values})
        self._near_boundaries: dict[str, tuple[BoundaryCounts, Counts]] = {}
        self._worst: list[tuple[float, int, Case]] = []
        self._n = 0
        self.counts: dict[str, Counts] = {}
        self.reliability = ProbsReliability(self._n_classes)
        self.left_out = 0

    def feed(self, sample: Sample, labels: Labels, answer: Answer) -> None:
        """Count an image."""
        expected, found = self._index[labels], answer.found
        if answer.is_ignored is not None:
            expected = np.where(answer.is_ignored, np.int32(IGNORED), expected)
        self.left_out += int((expected == IGNORED).sum())
        counts = count(expected, found, n_classes=self._n_classes)
        self.counts[sample.place] = self.counts.get(sample.place, 0) + counts
        if self._boundary is not None:
            self._feed_boundary(sample.place, expected, found, self._boundary)
        if answer.probs is not None:
            known = expected != IGNORED
            self.reliability.feed(answer.probs[:, known].T, expected[known])
        share = 1 - np.trace(counts[:, : self._n_classes]) / max(counts.sum(), 1)
        heapq.heappush(self._worst, (float(share), -self._n, Case(sample.id, float(share), found, expected)))
        self._n += 1
        if len(self._worst) > N_WORST:
            heapq.heappop(self._worst)

    def _feed_boundary(
        self, place: str, expected: NDArray[np.int32], found: NDArray[np.int32], width: BoundaryWidth
    ) -> None:
        height, across = expected.shape
        distance = width.pixels((height, across), gsd_m=self._benchmark.gsd_m)
        near = count_boundary(expected, found, n_classes=self._n_classes, distance=distance)
        band = count_trimap(expected, found, n_classes=self._n_classes, distance=distance)
        old = self._near_boundaries.get(place, (0, 0))
        self._near_boundaries[place] = (old[0] + near, old[1] + band)

    def outlines(self) -> Outlines | None:
        """Of the places in the order of ``counts``; None where they were not asked for."""
        if self._boundary is None:
            return None
        boundary, trimap = zip(*self._near_boundaries.values(), strict=True)
        return Outlines(np.stack(boundary), np.stack(trimap))

    def worst(self) -> tuple[Case, ...]:
        """The images with the largest share of errors, the worst first."""
        return tuple(case for *_, case in sorted(self._worst, key=lambda entry: entry[:2], reverse=True))


def _title(task: Task, benchmark: Benchmark) -> str:
    if task.prediction is not None:
        what = task.prediction.name
    else:
        what = card_of(task.model).name + (", calibrated," if calibration_of(task.model) else "")
    return f"{what} on {task.part.title(benchmark)}"


def _notes(task: Task, benchmark: Benchmark, samples: Sequence[Sample]) -> list[str]:
    notes = [f"{len(samples):,} images{' (a part of the split: --limit)' if task.part.limit else ''}."]
    if benchmark.scoring:
        notes.append(benchmark.scoring)
    if task.crosswalk.reference:
        notes.append("[reference] of the crosswalk is for maps and for calibrate: not used here.")
    if task.boundary is not None:
        of = "" if task.boundary.unit != "%" else " of an image's diagonal"
        notes.append(f"Boundary IoU and trimap IoU reach {task.boundary}{of} from boundaries.")
    return notes
