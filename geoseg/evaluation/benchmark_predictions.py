"""Predictions of a benchmark that were made elsewhere: class rasters named as the images, or COCO results."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import EvaluationError
from geoseg.evaluation.benchmark import IGNORE, Benchmark, Labels, Sample
from geoseg.evaluation.confusion import IGNORED
from geoseg.evaluation.files import Kind, recognise
from geoseg.evaluation.label_files import read_numbers
from geoseg.evaluation.label_rasters import read_bands
from geoseg.evaluation.maps import IGNORE as NOT_COMPARED
from geoseg.evaluation.maps import Crosswalk, renamed
from geoseg.evaluation.objects.coco_entries import NamedResult, refuse_malformed
from geoseg.evaluation.objects.coco_files import mask_of
from geoseg.evaluation.objects.instances import Instances

_RASTERS = (".png", ".tif", ".tiff")
_PICTURES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
_STRANGE = IGNORED - 1
"""The index of values that mean no class of the benchmark."""


class Answer(NamedTuple):
    """What is predicted of one image."""

    found: NDArray[np.int32]
    """(y, x) class indices; other numbers mean no class."""
    probs: NDArray[np.float32] | None = None
    """(class, y, x) probabilities, NaN where there are none; None where nothing says them."""
    is_ignored: NDArray[np.bool_] | None = None
    """(y, x) where a class was predicted that is not compared; None for nowhere."""


class ClassFiles:
    """A folder of class rasters named by the ids of images: values are the benchmark's, 255 is no class.

    The name of a file is its path in the folder without the suffix, or the last part of that where one image
    and one file only have it.
    """

    def __init__(
        self, folder: Path, benchmark: Benchmark, samples: Sequence[Sample], crosswalk: Crosswalk
    ) -> None:
        """Find the files.

        Raises:
            EvaluationError: files are missing and the benchmark's own tool does not count them as wrong.
        """
        if not folder.is_dir():
            raise EvaluationError(
                f"{folder} is no folder. Give one of class rasters ({', '.join(_RASTERS)}), named by "
                "the ids of the images."
            )
        self._benchmark = benchmark
        self._table = _table(benchmark, crosswalk)
        self._is_ignored = np.zeros(256, bool)
        names = _names(benchmark, crosswalk)
        self._is_ignored[[value for value, name in names.items() if name == NOT_COMPARED]] = True
        self._paths = _files_of(folder, samples)
        lacking = [sample.id for sample in samples if sample.id not in self._paths]
        if lacking and (len(lacking) == len(samples) or not benchmark.is_missing_wrong):
            raise EvaluationError(
                f"{folder} lacks {len(lacking):,} of {len(samples):,} predictions (first: {lacking[0]}.png). "
                "Name each by the id of its image, as that one."
            )
        self.notes = [f"Predictions are the class rasters in {folder}."]
        if lacking:
            self.notes.append(
                f"Images without a prediction: {len(lacking):,}. All their pixels are wrong, as in the set's "
                "own tool."
            )

    def __call__(self, sample: Sample) -> tuple[Labels, Answer]:
        """The labels of an image, and what the folder says of it.

        Raises:
            EvaluationError: the raster has another size, or holds a value that means no class.
        """
        if sample.read_labels is None:
            raise EvaluationError(f"Image {sample.id} of {self._benchmark.title} has no class labels.")
        labels, path = sample.read_labels(), self._paths.get(sample.id)
        if path is None:
            return labels, Answer(np.full(labels.shape, IGNORED, np.int32))
        values = _read(path)
        if values.shape != labels.shape:
            raise EvaluationError(
                f"{path} has {values.shape[1]} x {values.shape[0]} pixels, its labels "
                f"{labels.shape[1]} x {labels.shape[0]}. Resample it by the nearest pixel."
            )
        found = self._table[values]
        if (found == _STRANGE).any():
            raise EvaluationError(
                f"{path} holds {values[found == _STRANGE][0]}, which is no class of {self._benchmark.title}. "
                f"Values are those of geoseg benchmarks show {self._benchmark.address}; else say them in a "
                "--crosswalk: [prediction]."
            )
        return labels, Answer(found, is_ignored=self._is_ignored[values])


def _files_of(folder: Path, samples: Sequence[Sample]) -> dict[str, Path]:
    """The prediction of each image that has one, by its id.

    Raises:
        EvaluationError: two files have one name.
    """
    files: dict[str, Path] = {}
    by_stem: defaultdict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in _RASTERS:
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in files:
                raise EvaluationError(f"{folder} holds {name} twice: {files[name]}, {path}.")
            files[name] = path
            by_stem[path.stem].append(path)
    n_images = Counter(PurePosixPath(sample.id).name for sample in samples)
    found = {}
    for sample in samples:
        stem = PurePosixPath(sample.id).name
        if sample.id in files:
            found[sample.id] = files[sample.id]
        elif n_images[stem] == 1 and len(by_stem[stem]) > 1:
            raise EvaluationError(
                f"{folder} holds {stem} twice: {by_stem[stem][0]}, {by_stem[stem][1]}. Keep the one of image "
                f"{sample.id}."
            )
        elif n_images[stem] == 1 and by_stem[stem]:
            found[sample.id] = by_stem[stem][0]
    return found


def read_results(
    path: Path, benchmark: Benchmark, samples: Sequence[Sample], crosswalk: Crosswalk
) -> dict[str, Instances]:
    """COCO results by the id of their image; images without any are not in it.

    ``image_id`` (or ``file_name``) is the name of the image or the number that its name ends with;
    ``category_id`` a class value of the benchmark, and of no matter where it has one class.

    Raises:
        EvaluationError: it is not of that form, or of images or classes that the benchmark has not.
    """
    opened = recognise(path)
    if opened.kind is not Kind.RESULTS:
        raise EvaluationError(f"{path.name} is {opened.kind}, expected {Kind.RESULTS}: a list of masks.")
    refuse_malformed(opened.content, NamedResult, "results")
    known = _image_names(samples)
    class_of = _category_values(benchmark, crosswalk)
    by_image: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for entry in opened.content:
        name = entry.get("file_name", entry.get("image_id"))
        if (image := known.get(_key(name))) is None:
            raise EvaluationError(
                f"{path.name} has a mask of image {name!r}, which the split of {benchmark.title} has not: "
                f"its names are such as {samples[0].id}."
            )
        by_image[image].append(entry)
    return {image: _instances(entries, class_of, path) for image, entries in by_image.items()}


def _instances(
    entries: Sequence[Mapping[str, Any]], class_of: Mapping[int, int] | None, path: Path
) -> Instances:
    classes = []
    for entry in entries:
        category = entry.get("category_id")
        if class_of is not None and category not in class_of:
            raise EvaluationError(
                f"{path.name} has category_id {category!r}, which is no class value of the benchmark. Say it "
                f'in a --crosswalk: [prediction] with "{category}" = a class.'
            )
        classes.append(0 if class_of is None else class_of[int(entry["category_id"])])
    return Instances(
        [mask_of(entry) for entry in entries],
        np.array(classes, np.int64),
        confidence=np.array([entry["score"] for entry in entries], np.float64),
    )


def _category_values(benchmark: Benchmark, crosswalk: Crosswalk) -> dict[int, int] | None:
    """The class value that each category_id means, -1 for none; None where there is one class only."""
    if len(benchmark.legend.classes) == 1:
        return None
    by_name = {c.name: c.value for c in benchmark.legend.classes} | {NOT_COMPARED: -1}
    return {value: by_name[name] for value, name in _names(benchmark, crosswalk).items() if name in by_name}


def _names(benchmark: Benchmark, crosswalk: Crosswalk) -> dict[int, str]:
    """The class name that each value of a prediction means; the number itself where it means none."""
    names = {c.value: c.name for c in benchmark.legend.classes}
    own = {value: names.get(value, str(value)) for value in range(IGNORE)}
    return renamed(own, crosswalk.prediction, "prediction")


def _table(benchmark: Benchmark, crosswalk: Crosswalk) -> NDArray[np.int32]:
    """(256,) class index of each value."""
    index = {c.name: n for n, c in enumerate(benchmark.legend.classes)} | {NOT_COMPARED: int(IGNORED)}
    table = np.full(256, IGNORED, np.int32)
    for value, name in _names(benchmark, crosswalk).items():
        table[value] = index.get(name, _STRANGE)
    return table


def _read(path: Path) -> NDArray[np.uint8]:
    if path.suffix.lower() == ".png":
        return read_numbers(path)
    bands = read_bands(path)
    if len(bands) != 1 or bands.dtype != np.uint8:
        raise EvaluationError(
            f"{path} holds {len(bands)} bands of {bands.dtype}, expected one of uint8: class values."
        )
    return np.asarray(bands[0])


def _image_names(samples: Sequence[Sample]) -> dict[str, str]:
    """The image that a name or a number means; numbers that several names end with mean none."""
    names = {sample.id: sample.id for sample in samples}
    numbers: dict[str, str] = {}
    doubled = set()
    for sample in samples:
        ending = re.search(r"(\d+)$", sample.id)
        if ending is not None:
            key = str(int(ending[1]))
            doubled |= {key} & numbers.keys()
            numbers[key] = sample.id
    return {key: name for key, name in numbers.items() if key not in doubled} | names


def _key(name: object) -> str:
    text = str(name).rpartition("/")[2]
    return text.removesuffix(Path(text).suffix) if text.lower().endswith(_PICTURES) else text
