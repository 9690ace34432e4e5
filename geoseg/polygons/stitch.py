"""Blocks of a class map to one partition of it: regions, and the lattice points that bound them.

A block is labelled by its runs (stretches of one class in a row) and joined to the blocks above and to the
left of it along the common border. What is kept of a pixel is its share in the sums of its region; what is
kept of an outline is its *nodes*: the corners of pixels where an outline turns or where three or more
regions meet. A node depends on the 2 x 2 pixels around it only, so no seam can show where blocks end.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from geoseg.legend import CLASS_NODATA

Array = npt.NDArray[np.generic]
Value = TypeVar("Value", bound=np.generic)
Bools = npt.NDArray[np.bool_]
Classes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int32]
Links = tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]
"""Pairs of things that belong together: ``links[0][i]`` and ``links[1][i]``."""
Read = Callable[[slice, slice], tuple[Classes, Labels | None]]
"""Rows and columns to ``class_id`` (nodata 255) and integer confidence >= 0 (nodata -1), or None."""

NO_REGION = -1
"""The label of nodata."""


@dataclass(frozen=True)
class Regions:
    """The 4-connected regions of a class map, one class each; every array is (region,)."""

    class_id: Classes
    """0..254."""
    first: Ints
    """The first pixel in row-major order, as row * width + col."""
    pixels: Ints
    """Number of pixels."""
    confidence: Ints
    """Sum of the known confidences."""
    known: Ints
    """Number of pixels whose confidence is known."""


@dataclass(frozen=True)
class Nodes:
    """Lattice points, in row-major order, where outlines turn or where three or more regions meet."""

    row: Labels
    """(node,) 0..height."""
    col: Labels
    """(node,) 0..width."""
    label: Labels
    """(node, 4) region of the pixel to the NE, NW, SW, SE (counter-clockwise); nodata -1."""


@dataclass(frozen=True)
class Partition:
    """A class map without its pixels: what polygons are made of."""

    regions: Regions
    nodes: Nodes

    def grouped(self, root: Ints) -> "Partition":
        """The partition with every region ``i`` made part of region ``root[i]``, whose class it takes.

        Regions come in the order of class, then first pixel. Points that are no nodes any more are dropped.
        """
        old, kept, group = self.regions, *np.unique(root, return_inverse=True)
        first = np.full(len(kept), np.iinfo(np.int64).max)
        np.minimum.at(first, group, old.first)
        order = np.lexsort((first, old.class_id[kept]))
        place = np.argsort(order)[group]  # (old region,) -> new region
        regions = Regions(
            class_id=old.class_id[kept][order],
            first=first[order],
            pixels=_sums(place, old.pixels, len(kept)),
            confidence=_sums(place, old.confidence, len(kept)),
            known=_sums(place, old.known, len(kept)),
        )
        label = np.append(place, NO_REGION).astype(np.int32)[self.nodes.label]  # -1 finds the last entry
        is_node = _is_node(*label.T)
        return Partition(regions, Nodes(self.nodes.row[is_node], self.nodes.col[is_node], label[is_node]))


def read_partition(read: Read, shape: tuple[int, int], *, block_size: int) -> Partition:
    """The regions and nodes of a class map of ``shape`` (height, width), read in blocks.

    The result is the same for any block size. Memory: one block, a few rows of the map, and the regions and
    nodes themselves. Beyond its last row and column the map is continued by nodata, which closes outlines.
    """
    class_seam = _Seam(shape[1], np.uint8(CLASS_NODATA))
    label_seam = _Seam(shape[1], np.int32(NO_REGION))
    regions: list[Regions] = []
    nodes: list[Nodes] = []
    links: list[Links] = []
    n_regions = 0
    for rows, cols in _windows(shape, block_size):
        inner, confidence = read(rows, cols)
        beyond = ((0, int(rows.stop == shape[0])), (0, int(cols.stop == shape[1])))
        classes = class_seam.surround(np.pad(inner, beyond, constant_values=CLASS_NODATA), cols.start)
        if confidence is not None:
            confidence = np.pad(confidence, beyond, constant_values=-1)
        local, found = _label(classes, confidence, first=rows.start * shape[1] + cols.start, width=shape[1])
        local[local != NO_REGION] += n_regions
        label = label_seam.surround(local, cols.start)
        links += _links_to_neighbours(classes, label)
        nodes.append(_find_nodes(classes, label, rows.start, cols.start))
        regions.append(found)
        n_regions += len(found.pixels)
    root = connect(n_regions, np.concatenate([a for a, _ in links]), np.concatenate([b for _, b in links]))
    return Partition(_all_regions(regions), _all_nodes(nodes, shape[1])).grouped(root)


def connect(n: int, a: npt.NDArray[np.integer], b: npt.NDArray[np.integer]) -> Ints:
    """The least member of each thing's connected component, (n,), where ``a[i]`` is linked to ``b[i]``.

    Every round hooks roots to lesser neighbouring roots and flattens the trees (Shiloach and Vishkin 1982).
    """
    root = np.arange(n)
    while True:
        a, b = root[a], root[b]
        is_open = a != b
        if not is_open.any():
            return root
        a, b = a[is_open], b[is_open]
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(above := root[root], root):
            root = above


class _Seam(Generic[Value]):
    """The last row and column of the blocks before this one, in row-major order of blocks."""

    def __init__(self, width: int, nodata: Value) -> None:
        self._nodata = nodata
        self._left = self._above = self._below = np.full(width + 2, nodata)  # index = column + 1

    def surround(self, block: npt.NDArray[Value], col: int) -> npt.NDArray[Value]:
        """``block`` (h, w) that begins at column ``col`` with the row above and the column to the left."""
        height, width = block.shape
        out = np.full((height + 1, width + 1), self._nodata, block.dtype)
        out[1:, 1:] = block
        if col == 0:
            self._above, self._below = self._below, np.full_like(self._below, self._nodata)
        else:
            out[1:, 0] = self._left
        out[0] = self._above[col : col + width + 1]
        self._left = block[:, -1].copy()
        self._below[col + 1 : col + 1 + width] = block[-1]
        return out


def _windows(shape: tuple[int, int], size: int) -> Iterator[tuple[slice, slice]]:
    for row in range(0, shape[0], size):
        for col in range(0, shape[1], size):
            yield slice(row, min(row + size, shape[0])), slice(col, min(col + size, shape[1]))


def _label(around: Classes, confidence: Labels | None, *, first: int, width: int) -> tuple[Labels, Regions]:
    """Labels 0, 1, ... of one block (without its surround), nodata -1, and the regions they stand for.

    Args:
        around: (h + 1, w + 1) the block's classes with the row above and the column to the left.
        confidence: (h, w), or None.
        first: the map's row-major index of the block's first pixel.
        width: of the map.
    """
    classes = around[1:, 1:]
    starts = np.ones(classes.shape, bool)  # (h, w) does a run start here
    np.not_equal(classes[:, 1:], classes[:, :-1], out=starts[:, 1:])
    run = np.cumsum(starts, dtype=np.int32).reshape(classes.shape) - np.int32(1)
    # Two runs of one class that lie over each other do so first where one of them starts.
    is_link = (classes[1:] == classes[:-1]) & (starts[1:] | starts[:-1])
    begin = np.flatnonzero(starts)
    root = connect(len(begin), run[:-1][is_link], run[1:][is_link])
    run_class = classes.ravel()[begin]
    is_region = (root == np.arange(len(root))) & (run_class != CLASS_NODATA)
    number = np.where(run_class == CLASS_NODATA, NO_REGION, (np.cumsum(is_region) - 1)[root]).astype(np.int32)
    head = begin[is_region]
    regions = Regions(
        class_id=run_class[is_region],
        first=first + head // classes.shape[1] * width + head % classes.shape[1],
        pixels=_region_sums(number, np.diff(begin, append=classes.size), len(head)),
        confidence=_region_sums(number, _run_sums(confidence, begin, is_count=False), len(head)),
        known=_region_sums(number, _run_sums(confidence, begin, is_count=True), len(head)),
    )
    return number[run], regions


def _run_sums(confidence: Labels | None, begin: Ints, *, is_count: bool) -> Ints:
    """(run,) the sum of the known confidences of each run, or how many are known."""
    if confidence is None:
        return np.zeros(len(begin), np.int64)
    values = (confidence >= 0) if is_count else np.maximum(confidence, 0)
    return np.add.reduceat(values.ravel(), begin, dtype=np.int64)


def _region_sums(number: Labels, values: Ints, n: int) -> Ints:
    """(n,) the sums of the runs' values by region; nodata runs, numbered -1, are left out."""
    return _sums(number, values, n + 1)[:n]  # index -1 is the last entry


def _sums(group: npt.NDArray[np.integer], values: Ints, n: int) -> Ints:
    sums = np.zeros(n, np.int64)
    np.add.at(sums, group, values)
    return sums


def _links_to_neighbours(classes: Classes, label: Labels) -> list[Links]:
    """The regions of a block that go on above it and to the left of it."""
    above = (classes[0, 1:] == classes[1, 1:]) & (classes[1, 1:] != CLASS_NODATA)
    left = (classes[1:, 0] == classes[1:, 1]) & (classes[1:, 1] != CLASS_NODATA)
    return [(label[0, 1:][above], label[1, 1:][above]), (label[1:, 0][left], label[1:, 1][left])]


def _find_nodes(classes: Classes, label: Labels, row: int, col: int) -> Nodes:
    """The nodes at the upper left corners of a block's pixels; the block begins at (row, col)."""
    corners = (classes[:-1, 1:], classes[:-1, :-1], classes[1:, :-1], classes[1:, 1:])
    y, x = np.nonzero(_is_node(*corners))
    labels = np.stack([label[y, x + 1], label[y, x], label[y + 1, x], label[y + 1, x + 1]], axis=1)
    return Nodes((y + row).astype(np.int32), (x + col).astype(np.int32), labels)


def _is_node(ne: Array, nw: Array, sw: Array, se: Array) -> Bools:
    """Whether the four pixels around a point are other than all one, or two halves side by side."""
    is_plain: Bools = ((nw == ne) & (sw == se)) | ((nw == sw) & (ne == se))
    return ~is_plain


def _all_regions(parts: list[Regions]) -> Regions:
    return Regions(*(np.concatenate([getattr(p, name) for p in parts]) for name in Regions.__annotations__))


def _all_nodes(parts: list[Nodes], width: int) -> Nodes:
    row, col, label = (np.concatenate([getattr(p, name) for p in parts]) for name in Nodes.__annotations__)
    order = np.argsort(row.astype(np.int64) * (width + 1) + col, kind="stable")
    return Nodes(row[order], col[order], label[order])
