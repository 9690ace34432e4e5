"""Panoptic and instance label files: COCO's PNG with JSON, BDD100K's bitmasks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from geoseg.errors import EvaluationError, one_line
from geoseg.evaluation.objects.panoptic import VOID, PanopticMap, Segments
from geoseg.evaluation.objects.results import Category

_BDD_IGNORED, _BDD_CROWD = 1, 2
_BDD_FIRST_THING = 31
_BDD_CLASSES = """
    6F4A00 dynamic
    000000 ego vehicle
    510051 ground
    000000 static
    FAAAA0 parking
    E6968C rail track
    804080 road
    F423E8 sidewalk
    966464 bridge
    464646 building
    BE9999 fence
    B464B4 garage
    B4A5B4 guard rail
    96785A tunnel
    66669C wall
    FAAA64 banner
    DCDCFA billboard
    FFA500 lane divider
    DC143C parking sign
    999999 pole
    999999 polegroup
    DCDC64 street light
    FF4600 traffic cone
    DCDCDC traffic device
    FAAA1E traffic light
    DCDC00 traffic sign
    FAAAFA traffic sign frame
    98FB98 terrain
    6B8E23 vegetation
    4682B4 sky
    DC143C person
    FF0000 rider
    770B20 bicycle
    003C64 bus
    00008E car
    00005A caravan
    0000E6 motorcycle
    00006E trailer
    005064 train
    000046 truck
"""
BDD_CATEGORIES = tuple(
    Category(number, line[7:], line[:6], is_thing=number >= _BDD_FIRST_THING)
    for number, line in enumerate(_BDD_CLASSES.replace("    ", "").split("\n")[1:-1], start=1)
)
"""The classes of BDD100K's panoptic bitmasks, which ``eval/pan_seg.py`` averages (``label/label.py``)."""
_BANDS = {"RGB": "red, green and blue", "RGBA": "red, green, blue and alpha"}


def read_coco_panoptic(path: Path, annotation: Mapping[str, Any]) -> PanopticMap:
    """One image in COCO's panoptic format (cocodataset.org/#format-data): segment number R + 256 G + 65536 B.

    Args:
        path: the PNG.
        annotation: the entry of the JSON's ``annotations`` with this ``file_name``.

    Raises:
        EvaluationError: the file cannot be read, or PNG and JSON name different segments.
    """
    bands = _read(path, "RGB")
    numbers = bands[..., 0] + (bands[..., 1] << 8) + (bands[..., 2] << 16)
    listed = annotation["segments_info"]
    segments = Segments(
        segment_id=np.array([s["id"] for s in listed], np.int64),
        class_id=np.array([s["category_id"] for s in listed], np.int64),
        is_crowd=np.array([s.get("iscrowd", 0) for s in listed], bool),
    )
    found = np.unique(numbers)
    differing = np.setxor1d(found[found != VOID], segments.segment_id)
    if len(differing):
        where = "its PNG only" if differing[0] in found else "the JSON only"
        raise EvaluationError(
            f"Segment {differing[0]} of {path.name} is in {where}. Give files of one version."
        )
    return PanopticMap(numbers, segments)


def read_bdd_panoptic(path: Path) -> PanopticMap:
    """One image as BDD100K's bitmask (doc.bdd100k.com/format.html): R class, G attributes, 256 B + A segment.

    Segments marked as crowd or ignored are crowds, as in ``bdd100k/eval/pan_seg.py``; score them by
    ``count_panoptic(..., rule="bdd100k")``.

    Raises:
        EvaluationError: the file cannot be read, or a segment has pixels of two classes.
    """
    numbers, segment_id, class_id, flags = read_bitmask(path)
    is_crowd = (flags & (_BDD_CROWD | _BDD_IGNORED)) != 0
    return PanopticMap(numbers, Segments(segment_id, class_id, is_crowd))


def read_bitmask(path: Path) -> tuple[NDArray[np.int64], ...]:
    """(y, x) segment numbers of a BDD100K bitmask, and (segment,) numbers, classes and attributes.

    Raises:
        EvaluationError: the file cannot be read, or a segment has pixels of two classes.
    """
    bands = _read(path, "RGBA")
    numbers = (bands[..., 2] << 8) + bands[..., 3]
    labels = bands[..., 0] + (bands[..., 1] << 8)
    label_of = np.zeros(1 << 16, np.int64)
    label_of[numbers] = labels
    is_mixed = (label_of[numbers] != labels) & (numbers != VOID)
    if is_mixed.any():
        raise EvaluationError(
            f"Segment {numbers[is_mixed][0]} of {path.name} has pixels of two classes, expected one. "
            "Is it a bitmask?"
        )
    segment_id = np.flatnonzero(np.bincount(numbers.ravel()))
    segment_id = segment_id[segment_id != VOID]
    return numbers, segment_id, label_of[segment_id] & 255, label_of[segment_id] >> 8


def _read(path: Path, mode: str) -> NDArray[np.int64]:
    try:
        with Image.open(path) as image:
            found, pixels = image.mode, np.asarray(image)
    except (OSError, UnidentifiedImageError) as error:
        raise EvaluationError(f"{path} cannot be read as an image: {one_line(error)}.") from None
    if found != mode:
        raise EvaluationError(f"{path.name} has the bands {found}, expected {mode}: {_BANDS[mode]}.")
    return pixels.astype(np.int64)
