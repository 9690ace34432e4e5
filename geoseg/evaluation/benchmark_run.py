"""Score a model on a benchmark, by the engine that makes the maps."""

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from geoseg.errors import EvaluationError
from geoseg.evaluation.benchmark import BENCHMARKS, IGNORE, Benchmark, Pixels, Sample
from geoseg.evaluation.confidence.reliability import MapReliability
from geoseg.evaluation.confusion import IGNORED, Counts, count, table_of
from geoseg.evaluation.maps import Crosswalk, renamed
from geoseg.evaluation.scores import Case, Efficiency, Evaluation, scores_of
from geoseg.inference.efficiency import flops_per_pixel, n_parameters
from geoseg.inference.predictor import predict
from geoseg.legend import CLASS_NODATA
from geoseg.models.zoo import Model, create_model

N_WORST = 6


@dataclass(frozen=True)
class Task:
    """Which model is scored on what."""

    benchmark: str
    root: Path
    model: str
    split: str | None = None
    """None for the one that is scored by default."""
    limit: int | None = None
    """At most so many images, spread evenly over the split; None for all."""
    crosswalk: Crosswalk = field(default_factory=Crosswalk)
    """``prediction``: from the model's classes to the benchmark's."""
    device: str = "auto"


def score_benchmark(
    task: Task, *, on_image: Callable[[int, int], None] = lambda done, of: None
) -> tuple[Evaluation, list[Case]]:
    """Scores of a model, and the images with the largest share of errors.

    Images are mapped by sliding tiles as maps are; each is its own place unless the data set says what it was
    cut from, and places are resampled for intervals.

    Args:
        task: what is asked for.
        on_image: told how many images are done, of how many.

    Raises:
        EvaluationError: the data set is incomplete, has no labels for that split, or the model's bands or
            classes do not fit it.
    """
    benchmark, model = BENCHMARKS[task.benchmark], create_model(task.model)
    samples = _chosen(benchmark.samples(task.root, task.split), task.limit)
    readers = [s.read_labels for s in samples if s.read_labels is not None]
    if len(readers) < len(samples) or not samples:
        raise EvaluationError(
            f"Split {task.split or benchmark.splits[0]} of {benchmark.title} has no class labels to score. "
            f"Splits: {', '.join(benchmark.splits)}."
        )
    take = _bands(benchmark, model)
    table = _classes(benchmark, model, task.crosswalk)
    numbers = table_of(benchmark.legend.values, {v: v for v in benchmark.legend.values})
    n_classes = len(benchmark.legend.classes)
    by_place: dict[str, Counts] = {}
    reliability, worst, seconds, n_pixels = (
        MapReliability(),
        list[tuple[float, int, Case]](),
        list[float](),
        0,
    )
    for number, sample in enumerate(samples):
        pixels, labels = sample.read_image(), sample.read_labels()  # type: ignore[misc]
        _refuse_apart(sample, pixels, labels)
        started = time.perf_counter()
        image = _image(pixels[take] * benchmark.scale, benchmark, model)
        mapped = predict(image, model=model, device=task.device)
        seconds.append(time.perf_counter() - started)
        n_pixels += labels.size
        found, expected = table[mapped.class_id.to_numpy()], numbers[labels]
        counts = count(expected, found, n_classes=n_classes)
        by_place[sample.place] = by_place.get(sample.place, 0) + counts
        known = (labels != IGNORE) & (mapped.class_id.to_numpy() != CLASS_NODATA)
        reliability.feed(mapped.confidence.to_numpy()[known], found[known], expected[known])
        share = 1 - np.trace(counts[:, :n_classes]) / max(counts.sum(), 1)
        shown = np.where(labels == IGNORE, IGNORED, expected)
        _keep_worst(worst, Case(sample.id, float(share), found, shown), number)
        on_image(number + 1, len(samples))
    scores = scores_of(
        np.stack(list(by_place.values())),
        benchmark.legend,
        title=f"{model.card.name} on {benchmark.title}, {task.split or benchmark.splits[0]}",
        places=list(by_place),
        notes=_notes(benchmark, samples, task),
        reliability=reliability.reliability(),
        efficiency=_efficiency(model, seconds, n_pixels),
    )
    ordered = sorted(worst, key=lambda entry: entry[:2], reverse=True)
    return Evaluation(scores, benchmark.legend), [case for _, _, case in ordered]


def _chosen(samples: list[Sample], limit: int | None) -> list[Sample]:
    if limit is None or limit >= len(samples):
        return samples
    return [samples[k] for k in np.linspace(0, len(samples) - 1, limit).round().astype(int)]


def _bands(benchmark: Benchmark, model: Model) -> list[int]:
    missing = [band for band in model.card.bands if band not in benchmark.bands]
    if missing:
        raise EvaluationError(
            f"Model {model.card.name} needs {', '.join(missing)}; {benchmark.title} has "
            f"{', '.join(benchmark.bands)}. Take a model for these bands."
        )
    return [benchmark.bands.index(band) for band in model.card.bands]


def _classes(benchmark: Benchmark, model: Model, crosswalk: Crosswalk) -> NDArray[np.int32]:
    """(256,) the benchmark's class index of each value the model gives."""
    own = {c.value: c.name for c in model.card.legend.classes}
    names = renamed(own, crosswalk.prediction, "prediction")
    by_name = {c.name: c.value for c in benchmark.legend.classes}
    unknown = sorted({name for name in names.values() if name not in by_name and name != "ignore"})
    if unknown:
        raise EvaluationError(
            f"Model {model.card.name} gives {', '.join(unknown[:5])}, which {benchmark.title} has not "
            f"({', '.join(list(by_name)[:8])}{' ...' if len(by_name) > 8 else ''}). Say it in a --crosswalk "
            f'file: [prediction] with "{unknown[0]}" = a class of the benchmark.'
        )
    return table_of(benchmark.legend.values, {v: by_name[n] for v, n in names.items() if n in by_name})


def _refuse_apart(sample: Sample, pixels: Pixels, labels: NDArray[np.uint8]) -> None:
    if pixels.shape[1:] != labels.shape:
        raise EvaluationError(
            f"Image {sample.id} has {pixels.shape[2]} x {pixels.shape[1]} pixels, its labels "
            f"{labels.shape[1]} x {labels.shape[0]}. The data set is damaged: get it again."
        )


def _image(pixels: Pixels, benchmark: Benchmark, model: Model) -> xr.DataArray:
    size = benchmark.gsd_m or 1.0
    plane = GeoBox(pixels.shape[1:], Affine.scale(size, -size), "EPSG:6933")
    coords = {**xr_coords(plane), "band": list(model.card.bands)}
    return xr.DataArray(pixels.astype(np.float32), dims=("band", "y", "x"), coords=coords)


def _keep_worst(worst: list[tuple[float, int, Case]], case: Case, number: int) -> None:
    heapq.heappush(worst, (case.share_wrong, -number, case))
    if len(worst) > N_WORST:
        heapq.heappop(worst)


def _notes(benchmark: Benchmark, samples: list[Sample], task: Task) -> list[str]:
    notes = [f"{len(samples):,} images{' (a part of the split: --limit)' if task.limit else ''}."]
    return notes + ([benchmark.scoring] if benchmark.scoring else [])


def _efficiency(model: Model, seconds: list[float], n_pixels: int) -> Efficiency:
    return Efficiency(
        parameters=n_parameters(model),
        flops_per_pixel=flops_per_pixel(model),
        latency_median_s=float(np.median(seconds)),
        latency_p95_s=float(np.percentile(seconds, 95)),
        pixels_per_s=n_pixels / sum(seconds),
        peak_memory_mb=_peak_mb(),
    )


def _peak_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
