"""What labelled images are like, in one value."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.errors import TrainingError
from geoseg.evaluation.benchmark import IGNORE, Benchmark, Sample
from geoseg.evaluation.benchmark_images import Part, labelled_samples, spread
from geoseg.evaluation.labelled import benchmark_of

_LOOKED_AT = 200
"""Images that are read, evenly over all."""


@dataclass(frozen=True)
class Fingerprint:
    """What labelled images are like."""

    n_images: int
    n_places: int
    largest_place: float
    """Part of all images that lie in one place."""
    side: int
    """Of the images: the median of the shorter sides, pixels."""
    n_pixels: int
    gsd_m: float | None
    bands: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    """Per band the percentiles 1 and 99, reflectance."""
    nodata: float
    """Part of the pixels without a value."""
    unlabelled: float
    """Part of the pixels without a label."""
    class_shares: dict[str, float]
    """Of the labelled pixels."""
    train_split: str
    """What is learned from."""
    has_val: bool
    """Whether the data have another split, val, to validate on."""
    is_even: bool
    """Whether all images are squares of that side."""

    @property
    def memory_mb(self) -> float:
        """What the images to learn from take, in megabytes: float32 for each band, a byte for the label."""
        return self.n_pixels * (4 * len(self.bands) + 1) / 1e6


def fingerprint_of(folder: Path) -> tuple[Fingerprint, Benchmark, Path]:
    """What the labelled images of a folder are like, and the file that describes them.

    Args:
        folder: holds one TOML file as in docs/labelled.md, beside or above the images.

    Raises:
        TrainingError: it holds none, or several.
        EvaluationError: the file or the data cannot be used.
    """
    if not folder.is_dir():
        raise TrainingError(f"There is no folder {folder}. Give the folder of labelled images.")
    found = [path for path in sorted(folder.glob("*.toml")) if _describes_images(path)]
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise TrainingError(
            f"{folder} must hold one TOML file that describes its images (docs/labelled.md); found: {names}."
        )
    benchmark = benchmark_of(str(found[0]))
    if benchmark.gsd_m is None:
        raise TrainingError(f"{found[0]} does not say how large pixels are. Add gsd_m = metres to it.")
    train, has_val = _train_split(benchmark)
    samples = labelled_samples(benchmark, Part(str(found[0]), folder, train))
    places = Counter(sample.place for sample in samples)
    some = spread(samples, _LOOKED_AT)
    shapes, values, counts, nodata, unlabelled = [], [], np.zeros(256, np.int64), 0, 0
    for sample in some:
        pixels, labels = _read(sample)
        shapes.append(labels.shape)
        counts += np.bincount(labels.ravel(), minlength=256)
        is_known = np.isfinite(pixels)
        nodata += int((~is_known.all(0)).sum())
        unlabelled += int((labels == IGNORE).sum())
        values.append(np.nanpercentile(np.where(is_known, pixels, np.nan), (1, 99), axis=(1, 2)))
    n_pixels = sum(height * width for height, width in shapes)
    side = int(np.median([min(shape) for shape in shapes]))
    labelled = max(int(counts[list(benchmark.legend.values)].sum()), 1)
    with np.errstate(invalid="ignore"):
        low, high = np.nanmedian(values, axis=0)
    return (
        Fingerprint(
            n_images=len(samples),
            n_places=len(places),
            largest_place=max(places.values()) / len(samples),
            side=side,
            n_pixels=round(n_pixels * len(samples) / len(some)),
            gsd_m=benchmark.gsd_m,
            bands=benchmark.bands,
            low=tuple(np.round(low, 4).tolist()),
            high=tuple(np.round(high, 4).tolist()),
            nodata=nodata / n_pixels,
            unlabelled=unlabelled / n_pixels,
            class_shares={c.name: float(counts[c.value]) / labelled for c in benchmark.legend.classes},
            train_split=train,
            has_val=has_val,
            is_even=set(shapes) == {(side, side)},
        ),
        benchmark,
        found[0],
    )


def _describes_images(path: Path) -> bool:
    text = path.read_text("utf-8", errors="replace")
    return "[[classes]]" in text and "images" in text


def _train_split(benchmark: Benchmark) -> tuple[str, bool]:
    if "train" in benchmark.splits:
        return "train", "val" in benchmark.splits
    return benchmark.splits[0], False


def _read(sample: Sample) -> tuple[np.ndarray[Any, np.dtype[Any]], np.ndarray[Any, np.dtype[Any]]]:
    return sample.read_image(), sample.read_labels()  # type: ignore[misc]
