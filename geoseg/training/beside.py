"""Labelled images of another data set that are learned from too, such as drawn scenes beside real chips."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from geoseg.errors import TrainingError
from geoseg.evaluation.benchmark import IGNORE, Benchmark, Labels, Pixels, Sample
from geoseg.evaluation.benchmark_images import Part, labelled_samples
from geoseg.evaluation.labelled import benchmark_of
from geoseg.imagery.bands import SUBSTITUTES
from geoseg.legend import Legend
from geoseg.training.tables import Beside


def beside_samples(beside: Beside, benchmark: Benchmark, bands: tuple[str, ...]) -> tuple[Sample, ...]:
    """The images that ``beside`` names, as the main data set would store them.

    Classes are told by their names; bands that the main data set has beyond ``bands`` are NaN where the
    other has none.

    Args:
        beside: which images.
        benchmark: the data set that they are learned with.
        bands: those that the model takes.

    Raises:
        TrainingError: a class is unknown, or see :func:`refuse_unlike`.
        EvaluationError: the images are not there.
    """
    others = benchmark_of(beside.benchmark)
    refuse_unlike(others, benchmark, bands, table="beside")
    values = values_by_name(others.legend, benchmark, whose=f"[beside] {others.title}")
    part = Part(beside.benchmark, Path(beside.root), beside.split, beside.limit)
    return tuple(
        replace(own, read_labels=partial(_labels, sample, values))
        for sample, own in adopted(labelled_samples(others, part), others, benchmark, table="beside")
    )


def refuse_unlike(others: Benchmark, benchmark: Benchmark, bands: Sequence[str], *, table: str) -> None:
    """Raises TrainingError where images lack a band that the model takes, or have pixels of another size.

    Args:
        others: the data set of a ``table`` of the recipe.
        benchmark: the main one.
        bands: those that the model takes.
        table: its name.
    """
    if lacking := [b for b in bands if _band_of(b, others) is None]:
        raise TrainingError(
            f"[{table}] {others.title} has no {', '.join(lacking)}: it has {', '.join(others.bands)}. Give "
            "data.bands without."
        )
    if others.gsd_m and benchmark.gsd_m and not 0.5 <= others.gsd_m / benchmark.gsd_m <= 2:
        raise TrainingError(
            f"[{table}] {others.title} has pixels of {others.gsd_m:g} m, {benchmark.title} of "
            f"{benchmark.gsd_m:g} m: what is learned of one would be wrong for the other. Resample one."
        )


def adopted(
    samples: Sequence[Sample], others: Benchmark, benchmark: Benchmark, *, table: str
) -> list[tuple[Sample, Sample]]:
    """Each sample of another data set, and the same with its image as the main data set would store it.

    Args:
        samples: of ``others``.
        others: the other data set.
        benchmark: the main one, whose order of bands and scale the images get.
        table: of the recipe, which names of images and places begin with; places of the same data set keep
            theirs, so that it is seen where they validate.
    """
    found = [_band_of(band, others) for band in benchmark.bands]
    scale = others.scale / benchmark.scale
    is_same = Path(others.source).resolve() == Path(benchmark.source).resolve()
    return [
        (
            sample,
            replace(
                sample,
                id=f"{table}/{sample.id}",
                place=sample.place if is_same else f"{table}/{sample.place}",
                read_image=partial(_image, sample, found, scale),
            ),
        )
        for sample in samples
    ]


def values_by_name(legend: Legend, benchmark: Benchmark, *, whose: str) -> Labels:
    """(256,) the value that a data set gives each class of another legend; IGNORE for values of no class.

    Raises:
        TrainingError: it lacks one of the classes.
    """
    by_name = {c.name: c.value for c in benchmark.legend.classes}
    if unknown := [c.name for c in legend.classes if c.name not in by_name]:
        raise TrainingError(
            f"{whose} has {', '.join(unknown)}, which {benchmark.title} has not: it has {', '.join(by_name)}."
        )
    values = np.full(256, IGNORE, np.uint8)
    for c in legend.classes:
        values[c.value] = by_name[c.name]
    return values


def _band_of(band: str, others: Benchmark) -> int | None:
    there = (name for name in (band, *SUBSTITUTES.get(band, ())) if name in others.bands)
    return next((others.bands.index(name) for name in there), None)


def _image(sample: Sample, found: list[int | None], scale: float) -> Pixels:
    stored = sample.read_image()
    pixels = np.full((len(found), *stored.shape[1:]), np.nan, np.float32)
    for n, k in enumerate(found):
        if k is not None:
            pixels[n] = stored[k] * np.float32(scale)
    return pixels


def _labels(sample: Sample, values: Labels) -> Labels:
    labels: Labels = values[sample.read_labels()]  # type: ignore[misc]
    return labels
