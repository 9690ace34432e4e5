"""What a benchmark is: a folder that the user downloaded, read as images and labels with one legend."""

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geom import Geometry

from geoseg.errors import EvaluationError
from geoseg.evaluation.objects.instances import MAX_PREDICTIONS, Instances
from geoseg.legend import Legend
from geoseg.registry import Registry

IGNORE = 255
"""The label of pixels that are not scored, whatever number the data set itself has for them."""

Labels = NDArray[np.uint8]
"""(y, x) class values of the benchmark's legend; :data:`IGNORE` where nothing is scored."""
Pixels = NDArray[Any]
"""(band, y, x) as stored, in the order of the benchmark's bands."""


@dataclass(frozen=True)
class Sample:
    """One image with its labels. Nothing is read before it is asked for."""

    id: str
    place: str
    """What is drawn as a whole when intervals are made: the image, or the city or scene it was cut from."""
    read_image: Callable[[], Pixels]
    read_labels: Callable[[], Labels] | None
    """None where the split's labels are held back by the data set's makers, or are instances only."""
    read_instances: Callable[[], Instances] | None = None
    """For data sets of masks that may overlap and leave pixels out, instead of labels."""
    ground: Geometry | None = None
    """What it covers, a box in its CRS; None where the data set does not say."""


@dataclass(frozen=True)
class Benchmark:
    """A data set as its own tools score it."""

    name: str
    title: str
    legend: Legend
    """Class values 0, 1, 2 ... in the order in which the data set's own tools report them."""
    bands: tuple[str, ...]
    """STAC common names of the image's bands."""
    splits: tuple[str, ...]
    """The first is scored by default."""
    home: str
    """Where a person gets it."""
    license: str
    layout: str
    """The files expected below the root, a line each, with ``{placeholders}``."""
    find: Callable[[Path, str], list[Sample]]
    """The samples of a split below a root; raises EvaluationError that names what is missing."""
    source: str
    """What label rules, splits and colours were taken from."""
    gsd_m: float | None = None
    scale: float = 1 / 255
    """What stored numbers are multiplied by to give brightness or reflectance, 0..1."""
    n_samples: Mapping[str, int] = field(default_factory=dict)
    """How many samples a split has as published; splits of which any part may be used are left out."""
    scoring: str = ""
    """Where the data set's own tool scores in another way than geoseg; empty where they agree."""
    is_missing_wrong: bool = False
    """Whether its tool counts an image without a prediction as wrong in every pixel, instead of refusing."""
    unaveraged: tuple[str, ...] = ()
    """Names of classes that its tool counts in the matrix and in accuracy, and leaves out of means."""
    max_predictions: int = MAX_PREDICTIONS
    """Predicted instances of each class and image that its tool looks at, the most confident."""

    @property
    def address(self) -> str:
        """What ``--benchmark`` takes for it: its name, or the file that describes it."""
        return self.name if self.name in BENCHMARKS else self.source

    def samples(self, root: Path, split: str | None = None) -> list[Sample]:
        """The samples of a split, in a fixed order.

        Raises:
            EvaluationError: no such split, or a part of the data set is missing.
        """
        chosen = split or self.splits[0]
        if chosen not in self.splits:
            raise EvaluationError(f"{self.title} has no split {chosen!r}: give {', '.join(self.splits)}.")
        if not root.is_dir():
            raise EvaluationError(f"There is no folder {root}. Get {self.title} from {self.home}.")
        return self.find(root, chosen)


@dataclass(frozen=True)
class SplitFound:
    """What a folder holds of a split."""

    split: str
    n_images: int
    n_labels: int
    """Images with labels, or with instances."""
    n_expected: int | None
    """As published; None where any part of the split may be used."""
    missing: str
    """What is not there and where to get it; empty when the split is complete."""

    @property
    def is_complete(self) -> bool:
        """Whether the split can be scored and its scores compared with published ones."""
        return not self.missing


def check(benchmark: Benchmark, root: Path) -> tuple[SplitFound, ...]:
    """What a folder holds of each split of a benchmark; lists files, reads none of the pixels."""
    return tuple(_check_split(benchmark, root, split) for split in benchmark.splits)


def _check_split(benchmark: Benchmark, root: Path, split: str) -> SplitFound:
    expected = benchmark.n_samples.get(split)
    try:
        found = benchmark.samples(root, split)
    except PartMissing as error:
        return SplitFound(split, error.n_images, error.n_labels, expected, str(error))
    except EvaluationError as error:
        return SplitFound(split, 0, 0, expected, str(error))
    n_labels = sum(s.read_labels is not None or s.read_instances is not None for s in found)
    lacking = ""
    if expected is not None and len(found) != expected:
        of_all = f"{len(found):,} of the {expected:,} images that split {split} of {benchmark.title} has"
        lacking = f"{root} holds {of_all}. Get it from {benchmark.home}."
    return SplitFound(split, len(found), n_labels, expected, lacking)


def _fill() -> None:
    package = import_module("geoseg.evaluation.benchmarks")
    for module in pkgutil.iter_modules(package.__path__):
        import_module(f"{package.__name__}.{module.name}")


BENCHMARKS: Registry[Benchmark] = Registry("benchmark", EvaluationError, fill=_fill)
"""By name. A file in ``benchmarks/`` that registers one is all that is needed to add it."""


def register_benchmark(benchmark: Benchmark) -> Benchmark:
    """File a benchmark under its name."""
    return BENCHMARKS.register(benchmark.name)(benchmark)


class PartMissing(EvaluationError):
    """A part of a split is not where it should be."""

    n_images = 0
    """Images that are there."""
    n_labels = 0
    """Labels that are there."""


def missing(
    root: Path, what: str, benchmark_title: str, home: str, *, n_images: int = 0, n_labels: int = 0
) -> PartMissing:
    """The error for a part of a data set that is not where it should be, and how much of the split is."""
    error = PartMissing(f"{root} lacks {what} of {benchmark_title}. Get it from {home}.")
    error.n_images, error.n_labels = n_images, n_labels
    return error
