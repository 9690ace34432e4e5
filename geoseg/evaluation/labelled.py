"""Labelled images of one's own: a folder of images and label rasters, described in one TOML file.

What is described is a :class:`~geoseg.evaluation.benchmark.Benchmark` like the registered ones, so that
whatever takes those takes it too. ``docs/labelled.md`` is the guide.
"""

import csv
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from odc.geo.geom import Geometry, box
from pydantic import BaseModel, ValidationError
from pyproj.exceptions import CRSError

from geoseg.errors import EvaluationError, expected, one_line
from geoseg.evaluation.benchmark import BENCHMARKS, Benchmark, Sample
from geoseg.evaluation.label_files import Origin
from geoseg.evaluation.label_rasters import Pair, samples_of
from geoseg.evaluation.labelled_document import ALL, SKIP, IgnoreRule, LabelClass, LabelledImages
from geoseg.evaluation.labelled_pixels import read_labels, read_reflectance
from geoseg.evaluation.name_patterns import fill, found
from geoseg.evaluation.synthetic.scenes import SYNTHETIC
from geoseg.registry import did_you_mean
from geoseg.resources import find_resource, resource_folder

_SHIPPED = "pipelines/data"


def benchmark_of(name: str) -> Benchmark:
    """The benchmark of a name, or what a TOML file describes.

    Args:
        name: of a registered benchmark, of a description shipped in ``pipelines/data``, a path, or
            ``synthetic-landcover`` for scenes that are drawn.

    Raises:
        EvaluationError: there is none, or the file is no description.
    """
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    if name == SYNTHETIC.name:
        return SYNTHETIC
    path = find_resource(_SHIPPED, name, ".toml")
    if path is None:
        shipped = [p.stem for p in resource_folder(_SHIPPED).glob("*.toml")]
        if name.endswith(".toml") or "/" in name:
            raise EvaluationError(f"There is no file {name}. Check the path.")
        known = did_you_mean(name, sorted([*BENCHMARKS, SYNTHETIC.name, *shipped]))
        raise EvaluationError(
            f"No benchmark named {name!r}: {known} Or give the TOML file of your own images."
        )
    return read_labelled(path)


def read_labelled(path: Path) -> Benchmark:
    """The benchmark that a TOML file describes; its images are found when its samples are asked for.

    Images are read as reflectance, float32 with NaN for nodata, so the benchmark's ``scale`` is 1.

    Raises:
        EvaluationError: the file cannot be read, or a key of it cannot be used.
    """
    document = read_document(path)
    legend = document.legend
    origin = Origin(document.title or document.name, document.home or f"whoever wrote {path}")
    return Benchmark(
        name=document.name,
        title=origin.title,
        legend=legend,
        bands=tuple(band for band in document.bands if band != SKIP),
        splits=document.splits or (ALL,),
        home=origin.home,
        license=document.license,
        layout="\n".join(filter(None, (document.index, document.images, document.labels))),
        find=partial(_find, document=document, origin=origin, file=path),
        source=str(path),
        gsd_m=document.gsd_m,
        scale=1.0,
    )


def read_document(path: Path) -> LabelledImages:
    """What a TOML file says of labelled images.

    Raises:
        EvaluationError: the file cannot be read, or a key of it cannot be used.
    """
    try:
        document = LabelledImages(**tomllib.loads(path.read_text("utf-8")))
        _ = document.legend
    except ValidationError as error:
        raise EvaluationError(f"{path}: {_explain(error)}") from None
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{path} cannot be read as TOML: {one_line(error)}.") from None
    return document


def _find(root: Path, split: str, *, document: LabelledImages, origin: Origin, file: Path) -> list[Sample]:
    index = None if document.index is None else _index(root, document.index, file)
    rows = found(root, document.images) if index is None else read_rows(index)
    try:
        kept = [row for row in rows if document.split is None or _cell(row, document.split) == split]
        if rows and not kept:
            there = ", ".join(sorted({_cell(row, str(document.split)) for row in rows})[:8])
            raise ValueError(f"column {document.split!r} has no {split!r}; it has {there}")
        pairs = [_pair(root, row, document) for row in kept]
    except ValueError as error:
        raise EvaluationError(f"{index or file}: {_sentence(str(error))}") from None
    images = [pair.image for pair in pairs]
    for image in (image for image, n in Counter(images).items() if n > 1):
        raise EvaluationError(f"{index} names {image} {images.count(image)} times. Give each image one row.")
    return samples_of(
        root,
        origin,
        pairs,
        what=document.images if document.split is None else f"{document.images} of split {split}",
        read_labels=partial(read_labels, document=document),
        read_image=partial(read_reflectance, document=document),
    )


def _pair(root: Path, row: Mapping[str, str], document: LabelledImages) -> Pair:
    image = fill(document.images, row)
    name = Path(image).with_suffix("").as_posix()
    place = name if document.place is None else _cell(row, document.place)
    ground = None if document.ground is None else ground_of([_cell(row, name) for name in document.ground])
    return Pair(name, place, root / image, root / fill(document.labels, row), ground)


def ground_of(cells: Sequence[str]) -> Geometry:
    """The box that an image covers, from its CRS, west, south, east and north as they stand in an index.

    Raises:
        ValueError: the CRS is none, or an edge is no number.
    """
    crs, *edges = cells
    try:
        west, south, east, north = map(float, edges)
        return box(west, south, east, north, crs)
    except (ValueError, CRSError):
        raise ValueError(f"{', '.join(cells)} is not a CRS, west, south, east and north") from None


def _cell(row: Mapping[str, str], column: str) -> str:
    if column not in row:
        raise ValueError(f"no column {column!r}: {did_you_mean(column, list(row))}")
    return row[column]


def _index(root: Path, index: str, file: Path) -> Path:
    path = next((p for p in (file.parent / index, root / index) if p.is_file()), None)
    if path is None:
        raise EvaluationError(f"There is no {index}, neither beside {file} nor in {root}.")
    return path


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of an index, by column.

    Raises:
        EvaluationError: it cannot be read as CSV.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as source:
            header, *rows = [row for row in csv.reader(source, strict=True) if row] or [[]]
    except (OSError, ValueError, csv.Error) as error:
        raise EvaluationError(f"{path} cannot be read as CSV: {error}.") from None
    if len(set(header)) < len(header):
        raise EvaluationError(f"{path} has a column twice: {', '.join(header)}.")
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise EvaluationError(f"Row {number} of {path} has {len(row)} cells, its header {len(header)}.")
    return [dict(zip(header, row, strict=True)) for row in rows]


def _explain(error: ValidationError) -> str:
    errors = error.errors()
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    keys = [str(key) for key in first["loc"]]
    if first["type"] == "extra_forbidden":
        models: dict[str, type[BaseModel]] = {"classes": LabelClass, "ignore": IgnoreRule}
        model = models.get(keys[0], LabelledImages)
        return f"unknown key {'.'.join(keys)}: {did_you_mean(keys[-1], list(model.model_fields))}"
    message = _sentence(expected(first))
    return f"{'.'.join(keys)}: {message}" if keys else message


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?")) else f"{text}."
