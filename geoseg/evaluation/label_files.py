"""Pictures and their labels in files: class numbers in PNGs, listed and paired by name."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geoseg.errors import EvaluationError
from geoseg.evaluation.benchmark import IGNORE, Labels, Pixels, Sample, missing
from geoseg.evaluation.objects.instances import Instances
from geoseg.legend import Legend, LegendClass

Table = NDArray[np.uint8]
"""(256,) the class that a stored number means; :data:`IGNORE`, or 254 where the number must not occur."""

RGB = ("red", "green", "blue")
"""The bands of :func:`read_rgb`."""

_UNEXPECTED = 254


T = TypeVar("T")


class Origin(NamedTuple):
    """What a data set is called and where a person gets it."""

    title: str
    home: str


def legend_of(lines: str) -> Legend:
    """A legend with values 0, 1, 2 ... from lines ``RRGGBB name`` or ``RRGGBB name: description``.

    Example:
        >>> legend = legend_of('''
        ...     804080 road
        ...     787878 wall: as part of a building
        ... ''')
        >>> [(c.value, c.name, c.color_hint, c.description) for c in legend.classes]
        [(0, 'road', '804080', ''), (1, 'wall', '787878', 'as part of a building')]
    """
    classes = []
    for value, line in enumerate(filter(None, map(str.strip, lines.splitlines()))):
        color, _, rest = line.partition(" ")
        name, _, description = rest.partition(":")
        words = " ".join(description.split())
        classes.append(LegendClass(value=value, name=name, color_hint=color, description=words))
    return Legend(classes=tuple(classes))


def voc_color(number: int) -> str:
    """The colour ``RRGGBB`` of a number 0..255 in PASCAL VOC's colour map (devkit, ``VOClabelcolormap.m``):
    its bits go to red, green and blue by turns, the lowest to the highest.

    Example:
        >>> [voc_color(n) for n in (0, 1, 15, 255)]
        ['000000', '800000', 'C08080', 'E0E0C0']
    """
    channels = [
        sum((number >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3)) for channel in range(3)
    ]
    return "".join(f"{value:02X}" for value in channels)


def lookup(classes: Mapping[int, int], *, ignored: Iterable[int]) -> Table:
    """The table of a labelling: which class each number means, which numbers are not scored.

    Args:
        classes: the class, 0 to 253, by number.
        ignored: the numbers of pixels that are not scored. All other numbers are refused when met.
    """
    table = np.full(256, _UNEXPECTED, np.uint8)
    table[list(ignored)] = IGNORE
    table[list(classes)] = list(classes.values())
    return table


def read_rgb(path: Path) -> Pixels:
    """(3, y, x) uint8 red, green, blue of a picture; grey ones are repeated, transparency is dropped.

    Raises:
        EvaluationError: it cannot be read.
    """
    with _opened(path) as image:
        return np.moveaxis(np.asarray(image.convert("RGB")), -1, 0)


def read_numbers(path: Path) -> NDArray[np.uint8]:
    """(y, x) uint8 the numbers stored in a PNG of one channel; of a palette PNG the indices, not the colours.

    Raises:
        EvaluationError: it cannot be read, or holds colours or more than 8 bits.
    """
    with _opened(path) as image:
        if image.mode not in ("L", "P"):
            raise EvaluationError(
                f"{path} holds {image.mode} pixels, expected class numbers in one channel of 8 bits. "
                "Use the labels as the data set's makers distribute them."
            )
        return np.asarray(image)


def read_labels(path: Path, table: Table) -> Labels:
    """(y, x) classes of a PNG of class numbers.

    Raises:
        EvaluationError: it cannot be read, or holds a number that the table does not know.
    """
    return classes_of(read_numbers(path), table, path)


def classes_of(numbers: NDArray[np.uint8], table: Table, path: Path) -> Labels:
    """The classes that the numbers of a file mean.

    Raises:
        EvaluationError: a number that the table does not know.
    """
    labels: Labels = table[numbers]
    if (labels == _UNEXPECTED).any():
        strange = np.unique(numbers[labels == _UNEXPECTED])
        known = np.flatnonzero(table != _UNEXPECTED)
        raise EvaluationError(
            f"{path} holds {', '.join(map(str, strange[:5]))}, expected only {_ranges(known)}. "
            "Use the labels as the data set's makers distribute them, not converted ones."
        )
    return labels


def pair(
    root: Path,
    origin: Origin,
    *,
    images: str,
    labels: str | None,
    read: Callable[[Path], Labels] | None = None,
    read_instances: Callable[[Path], Instances] | None = None,
    ids: Sequence[str] | None = None,
    place: Callable[[str], str] = str,
) -> list[Sample]:
    """Samples from pictures and labels that share a name, sorted by it.

    Args:
        root: of the data set.
        origin: for messages.
        images: their path below the root, such as ``images/{id}.jpg``; ``{id}`` may span folders.
        labels: likewise, or None where they are held back.
        read: the classes of a label file.
        read_instances: the instances of a label file, for data sets that have no classes of pixels.
        ids: the names to take; by default all that are there.
        place: the place that a name belongs to; by default each is one of its own.

    Raises:
        EvaluationError: no pictures, no labels, or some without the other; says how many and the first.
    """
    pictures = names_of(root, images)
    labelled = pictures if labels is None else names_of(root, labels)
    wanted = sorted(pictures | labelled) if ids is None else sorted(ids)
    n_images = len(pictures.intersection(wanted))
    n_labels = len(labelled.intersection(wanted)) if labels else 0
    for pattern, there in ((images, pictures), (labels, labelled)):
        lacking = [name for name in wanted if name not in there]
        if pattern and (lacking or not wanted):
            what = _what(pattern, lacking, len(wanted)) if there else pattern.format(id="*")
            raise missing(root, what, *origin, n_images=n_images, n_labels=n_labels)
    return [
        Sample(
            id=name.rpartition("/")[2],
            place=place(name),
            read_image=partial(read_rgb, root / images.format(id=name)),
            read_labels=_of(root, labels, name, read),
            read_instances=_of(root, labels, name, read_instances),
        )
        for name in wanted
    ]


def names_of(root: Path, pattern: str) -> set[str]:
    """What ``{id}`` of a path stands for in the files below a root; hidden files are left out."""
    before, _, after = pattern.partition("{id}")
    folder = str(root / before)
    names: set[str] = set()
    for parent, _, files in os.walk(folder):
        inner = os.path.relpath(parent, folder)
        prefix = "" if inner == "." else f"{Path(inner).as_posix()}/"
        kept = (file for file in files if file.endswith(after) and not file.startswith("."))
        names.update(prefix + file.removesuffix(after) for file in kept)
    return names


def read_names(path: Path) -> list[str]:
    """The names listed in a file, the first word of each line."""
    return [line.split()[0] for line in path.read_text().splitlines() if line.strip()]


def base_of(root: Path, marker: str, *below: str) -> Path:
    """The folder that holds ``marker``: the root, or one of the folders below it that archives unpack to."""
    found = (folder for folder in (root, *(root / name for name in below)) if (folder / marker).exists())
    return next(found, root)


def _what(pattern: str, lacking: Sequence[str], n_wanted: int) -> str:
    first = pattern.format(id=lacking[0])
    return f"{len(lacking):,} of the {n_wanted:,} files {pattern.format(id='*')} (first: {first})"


def _of(
    root: Path, pattern: str | None, name: str, read: Callable[[Path], T] | None
) -> Callable[[], T] | None:
    return None if pattern is None or read is None else partial(read, root / pattern.format(id=name))


def _opened(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise EvaluationError(f"{path} cannot be read as a picture: {error}. Unpack it again.") from error
    return image


def _ranges(numbers: NDArray[np.integer]) -> str:
    """Sorted numbers in words: 0 to 20, 255."""
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
