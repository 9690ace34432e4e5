"""PASCAL VOC 2012 segmentation: 20 kinds of objects and background, and the larger train set with SBD.

Taken from the development kit of VOC 2012: classes from ``VOCinit.m``, colours from ``VOClabelcolormap.m``,
folders, lists and 255 (void: borders and difficult objects, not scored) from ``devkit_doc``, scores from
``VOCevalseg.m``. The labels are palette PNGs whose indices are the classes.

``train_aug`` is the usual larger train set of 10,582 pictures: train, and all of SBD (Hariharan et al. 2011,
ICCV) that is not in val. Pictures of train keep their VOC labels; the others take ``SegmentationClassAug``,
or SBD's own MATLAB files, which mark no borders. The rule and the numbers are those of MMSegmentation 1.2.2
(``tools/dataset_converters/voc_aug.py``).
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import EvaluationError
from geoseg.evaluation.benchmark import IGNORE, Benchmark, Labels, Sample, missing, register_benchmark
from geoseg.evaluation.label_files import (
    RGB,
    Origin,
    base_of,
    classes_of,
    legend_of,
    lookup,
    pair,
    read_labels,
    read_names,
    voc_color,
)

_ORIGIN = Origin("PASCAL VOC 2012", "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/")
_SBD = Origin(
    "SBD, the Semantic Boundaries Dataset", "http://www.cs.berkeley.edu/~bharath2/codes/SBD/download.html"
)

_NAMES = """
    background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person
    pottedplant sheep sofa train tvmonitor
"""
_LEGEND = legend_of("\n".join(f"{voc_color(value)} {name}" for value, name in enumerate(_NAMES.split())))
_TABLE = lookup({value: value for value in _LEGEND.values}, ignored=[IGNORE])
_read_png: Callable[[Path], Labels] = partial(read_labels, table=_TABLE)

_LISTS = "ImageSets/Segmentation"
_IMAGES = "JPEGImages/{id}.jpg"
_AUGMENTED = "train_aug"


def _find(root: Path, split: str) -> list[Sample]:
    base = base_of(root, _LISTS, "VOC2012", "VOCdevkit/VOC2012")
    if split == _AUGMENTED:
        return _find_augmented(root, base)
    labels = None if split == "test" else "SegmentationClass/{id}.png"
    return pair(base, _ORIGIN, images=_IMAGES, labels=labels, read=_read_png, ids=_listed(base, split))


def _find_augmented(root: Path, base: Path) -> list[Sample]:
    train = _listed(base, "train")
    sbd = base_of(root, "benchmark_RELEASE", "VOC2012", "VOCdevkit/VOC2012") / "benchmark_RELEASE/dataset"
    more = sorted(_augmented_names(root, base, sbd) - set(train))
    found = pair(
        base, _ORIGIN, images=_IMAGES, labels="SegmentationClass/{id}.png", read=_read_png, ids=train
    )
    pictures = pair(base, _ORIGIN, images=_IMAGES, labels=None, ids=more)
    if (base / "SegmentationClassAug").is_dir():
        folder, files, read = base, "SegmentationClassAug/{id}.png", _read_png
    else:
        folder, files, read = sbd, "cls/{id}.mat", _read_sbd
    labelled = pair(folder, _SBD, images=files, labels=files, read=read, ids=more)
    found += [replace(p, read_labels=lab.read_labels) for p, lab in zip(pictures, labelled, strict=True)]
    return sorted(found, key=lambda sample: sample.id)


def _augmented_names(root: Path, base: Path, sbd: Path) -> set[str]:
    if (base / _LISTS / "trainaug.txt").exists():
        return set(_listed(base, "trainaug"))
    lists = [sbd / "train.txt", sbd / "val.txt"]
    if not all(path.exists() for path in lists):
        what = f"benchmark_RELEASE/dataset/{{train,val}}.txt (or {_LISTS}/trainaug.txt)"
        raise missing(root, what, *_SBD)
    return {name for path in lists for name in read_names(path)} - set(_listed(base, "val"))


def _listed(base: Path, split: str) -> list[str]:
    path = base / _LISTS / f"{split}.txt"
    if not path.exists():
        raise missing(base, f"{_LISTS}/{split}.txt", *_ORIGIN)
    return read_names(path)


def _read_sbd(path: Path) -> Labels:
    """(y, x) of the field ``Segmentation`` of the structure ``GTcls``."""
    try:
        numbers = _matlab_field(path.read_bytes()[_HEADER:], "Segmentation")
    except (struct.error, zlib.error, ValueError, IndexError) as error:
        raise EvaluationError(f"{path} is not a MATLAB 5 file of SBD ({error}). Unpack it again.") from error
    return classes_of(numbers, _TABLE, path)


_HEADER = 128
_UINT8, _MATRIX, _COMPRESSED = 2, 14, 15
_STRUCTURE, _UINT8_ARRAY = 2, 9


def _matlab_field(content: bytes, field: str) -> NDArray[np.uint8]:
    """A uint8 matrix (row, col) that is a field of the structure in a MATLAB 5 file ("MAT-File Format",
    MathWorks 2019, chapter 1), little-endian as SBD's are.
    """
    for kind, data in _elements(content):
        if kind == _COMPRESSED:
            return _matlab_field(zlib.decompress(data), field)
        # Flags, dimensions, name, length of a field's name, the names on end, then the fields.
        parts = [part for _, part in _elements(data)] if kind == _MATRIX else []
        if not parts or parts[0][0] != _STRUCTURE:
            continue
        (length,) = struct.unpack("<i", parts[3])
        names = [
            parts[4][at : at + length].split(b"\0")[0].decode() for at in range(0, len(parts[4]), length)
        ]
        (_, flags), (_, shape), _, (stored_as, values) = _elements(parts[5 + names.index(field)])
        if flags[0] != _UINT8_ARRAY or stored_as != _UINT8:
            raise ValueError(f"{field} is not of uint8")
        return np.frombuffer(values, np.uint8).reshape(struct.unpack("<2i", shape), order="F")
    raise ValueError(f"no structure with the field {field}")


def _elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and bytes of the data elements, one after the other."""
    at = 0
    while at < len(content):
        kind, size = struct.unpack_from("<II", content, at)
        if kind >> 16:  # a small element, of up to four bytes beside its tag
            kind, size, start, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        else:
            start = at + 8
            end = start + size + (-size % 8 if kind != _COMPRESSED else 0)
        yield kind, content[start : start + size]
        at = end


register_benchmark(
    Benchmark(
        name="pascal-voc-2012",
        title=_ORIGIN.title,
        legend=_LEGEND,
        bands=RGB,
        splits=("val", "train", "trainval", _AUGMENTED, "test"),
        home=_ORIGIN.home,
        license="pictures: Flickr terms of use",
        layout=(
            "[VOCdevkit/VOC2012/]ImageSets/Segmentation/{train,val,trainval,test}.txt\n"
            "[VOCdevkit/VOC2012/]JPEGImages/{image}.jpg\n"
            "[VOCdevkit/VOC2012/]SegmentationClass/{image}.png\n"
            "for train_aug: benchmark_RELEASE/dataset/{train,val}.txt and .../cls/{image}.mat, or\n"
            "[VOCdevkit/VOC2012/]ImageSets/Segmentation/trainaug.txt and SegmentationClassAug/{image}.png"
        ),
        find=_find,
        source=(
            "VOC 2012 devkit: VOCinit.m, VOClabelcolormap.m, VOCevalseg.m, devkit_doc; "
            "MMSegmentation 1.2.2: tools/dataset_converters/voc_aug.py"
        ),
        n_samples={"val": 1449, "train": 1464, "trainval": 2913, _AUGMENTED: 10582, "test": 1456},
    )
)
