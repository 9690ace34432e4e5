"""Labelled images as a model takes them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from geoseg.errors import EvaluationError
from geoseg.evaluation.benchmark import Benchmark, Labels, Sample
from geoseg.evaluation.confusion import table_of
from geoseg.evaluation.maps import IGNORE, Crosswalk, renamed
from geoseg.grid.tiling import TilePlan
from geoseg.imagery.bands import SUBSTITUTES
from geoseg.models.card import ModelCard

_PLANE = "EPSG:6933"
"""Images of benchmarks often lie nowhere; any CRS in metres gives their pixels a size."""


@dataclass(frozen=True)
class Part:
    """Which labelled images."""

    benchmark: str
    """See :func:`geoseg.evaluation.labelled.benchmark_of`."""
    root: Path
    """The folder of the data set."""
    split: str | None = None
    """None for the one that is scored by default; several with commas, such as ``train,val``."""
    limit: int | None = None
    """At most so many images, spread evenly over the split; None for all."""

    def title(self, benchmark: Benchmark) -> str:
        """Of the data set and the split."""
        return f"{benchmark.title}, {self.split_of(benchmark)}"

    def split_of(self, benchmark: Benchmark) -> str:
        """Which split it is."""
        return self.split or benchmark.splits[0]

    def splits_of(self, benchmark: Benchmark) -> list[str]:
        """Each of the splits that it names.

        Raises:
            EvaluationError: one is named twice, or not at all.
        """
        names = [name.strip() for name in self.split_of(benchmark).split(",")]
        if "" in names or len(set(names)) < len(names):
            raise EvaluationError(
                f"Split {self.split!r}: name each once, with commas, of {', '.join(benchmark.splits)}."
            )
        return names


def labelled_samples(benchmark: Benchmark, part: Part) -> list[Sample]:
    """The samples of a part of a data set, all with class labels.

    Raises:
        EvaluationError: the data set is incomplete, or has no class labels for that split.
    """
    samples = [
        sample for split in part.splits_of(benchmark) for sample in benchmark.samples(part.root, split)
    ]
    if not samples or any(s.read_labels is None for s in samples):
        raise EvaluationError(
            f"Split {part.split_of(benchmark)} of {benchmark.title} has no class labels to score. "
            f"Splits: {', '.join(benchmark.splits)}."
        )
    return spread(samples, part.limit)


def plan_for(image: xr.DataArray, card: ModelCard) -> TilePlan | None:
    """One tile for an image that fits into one, no larger than it must be; None for the card's own tiles.

    Images of data sets are often much smaller than the tiles that maps are made with.
    """
    side = max(image.shape[1:])
    if side > card.tile_size:
        return None
    return TilePlan(image.odc.geobox, -(-side // card.tile_multiple) * card.tile_multiple, 0)


def spread(samples: list[Sample], limit: int | None) -> list[Sample]:
    """At most ``limit`` samples, evenly over the list; None for all."""
    if limit is None or limit >= len(samples):
        return samples
    return [samples[k] for k in np.linspace(0, len(samples) - 1, limit).round().astype(int)]


def bands_for(card: ModelCard, benchmark: Benchmark) -> tuple[str, ...]:
    """Which band of a data set stands for each band of a model: itself, or the other near infrared.

    Raises:
        EvaluationError: the data set lacks one.
    """
    found = [
        next((name for name in (band, *SUBSTITUTES.get(band, ())) if name in benchmark.bands), None)
        for band in card.bands
    ]
    if None in found:
        missing = [band for band, name in zip(card.bands, found, strict=True) if name is None]
        raise EvaluationError(
            f"Model {card.name} needs {', '.join(missing)}; {benchmark.title} has "
            f"{', '.join(benchmark.bands)}. Take a model for these bands."
        )
    return tuple(name for name in found if name is not None)


def image_and_labels(sample: Sample, benchmark: Benchmark, card: ModelCard) -> tuple[xr.DataArray, Labels]:
    """The model's bands of an image, (band, y, x) float32 with a geobox, and its labels (y, x).

    Raises:
        EvaluationError: the data set lacks a band, or image and labels differ in size.
    """
    values, labels = pixels_and_labels(sample, benchmark, card)
    size = benchmark.gsd_m or 1.0
    plane = GeoBox(labels.shape, Affine.scale(size, -size), _PLANE)
    coords = {**xr_coords(plane), "band": list(card.bands)}
    return xr.DataArray(values, dims=("band", "y", "x"), coords=coords), labels


def pixels_and_labels(
    sample: Sample, benchmark: Benchmark, card: ModelCard
) -> tuple[NDArray[np.float32], Labels]:
    """The model's bands of an image, (band, y, x) as brightness or reflectance, and its labels (y, x).

    Raises:
        EvaluationError: the data set lacks a band, or image and labels differ in size.
    """
    if sample.read_labels is None:
        raise EvaluationError(f"Image {sample.id} of {benchmark.title} has no class labels.")
    take = [benchmark.bands.index(band) for band in bands_for(card, benchmark)]
    pixels, labels = sample.read_image(), sample.read_labels()
    if pixels.shape[1:] != labels.shape:
        raise EvaluationError(
            f"Image {sample.id} has {pixels.shape[2]} x {pixels.shape[1]} pixels, its labels "
            f"{labels.shape[1]} x {labels.shape[0]}. The data set is damaged: get it again."
        )
    return pixels[take].astype(np.float32) * np.float32(benchmark.scale), labels


def classes_of(
    benchmark: Benchmark, card: ModelCard, crosswalk: Crosswalk
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """(256,) the benchmark's class index of each value the model gives, and which values are not compared.

    Raises:
        EvaluationError: the model gives a class that the benchmark has not.
    """
    own = {c.value: c.name for c in card.legend.classes}
    names = renamed(own, crosswalk.prediction, "prediction")
    by_name = {c.name: c.value for c in benchmark.legend.classes}
    unknown = sorted({name for name in names.values() if name not in by_name and name != IGNORE})
    if unknown:
        raise EvaluationError(
            f"Model {card.name} gives {', '.join(unknown[:5])}, which {benchmark.title} has not "
            f"({', '.join(list(by_name)[:8])}{' ...' if len(by_name) > 8 else ''}). Say it in a --crosswalk "
            f'file: [prediction] with "{unknown[0]}" = a class of the benchmark.'
        )
    is_ignored = np.zeros(256, bool)
    is_ignored[[value for value, name in names.items() if name == IGNORE]] = True
    table = table_of(benchmark.legend.values, {v: by_name[n] for v, n in names.items() if n in by_name})
    return table, is_ignored
