"""Strips of a class map to the lattice points that bound its regions.

What is kept of an outline is its *nodes*: the corners of pixels where an outline turns or where three or more
regions meet. A node depends on the 2 x 2 pixels around it only, so no seam can show where strips end.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geoseg.legend import CLASS_NODATA

Bools = npt.NDArray[np.bool_]
Classes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int32]
Read = Callable[[slice], tuple[Classes, Labels | None]]
"""Rows to ``class_id`` (h, width; nodata 255) and integer confidence >= 0 (nodata -1), or None."""

NE, NW, SW, SE = range(4)
"""The pixels around a lattice point, and the columns of ``Strip.classes``."""
SIZE, CONFIDENCE, KNOWN = range(3)
"""The columns of ``Strip.sums``."""
NO_WALL = -1
BAND = 512
"""No strip reaches over a lattice row that is a multiple of this."""


@dataclass(frozen=True)
class Strip:
    """The nodes on some rows of the lattice, in row-major order, and what crosses their lower end."""

    start: int
    """Its first lattice row, 0..height."""
    stop: int
    """The first lattice row after it; height in the last strip, which holds that row too."""
    row: Labels
    """(node,) 0..height."""
    col: Labels
    """(node,) 0..width."""
    classes: Classes
    """(node, 4) class of the pixel to the NE, NW, SW, SE (counter-clockwise); nodata 255."""
    wall: Labels
    """(node,) where only the SE pixel differs, the node may be the upper left corner of a hole: the column
    in which
    the region to its left begins, in the row of pixels below the node. Elsewhere -1."""
    sums: Ints
    """(node, 1 or 3) sums over all pixels above and to the left of the node: of their sizes, of the known
    confidences,
    of 1 where the confidence is known."""
    crossing: Labels
    """(crossing,) columns in which outlines run on to the next strip."""
    sides: Classes
    """(crossing, 2) class of the pixel to the west and to the east of it."""
    is_kept: Bools | None = None
    """(node,) False where simplification took the node out; None where it took none."""


def read_strips(read: Read, width: int, column_sizes: Ints, *, n_rows: int) -> Iterator[Strip]:
    """The nodes of a class map, read in strips of ``n_rows`` rows, or to the next multiple of ``BAND``.

    Beyond its borders the map is continued by nodata, which closes outlines. Memory: some 20 bytes for each
    pixel of a strip, 40 with confidence, and its nodes.

    Args:
        read: gives rows of the map.
        width: of the map.
        column_sizes: (height + 1,) as ``areas.column_sizes``.
        n_rows: 1 or more.
    """
    height = len(column_sizes) - 1
    above = np.full(width + 2, CLASS_NODATA, np.uint8)
    integral = _Integral(width)
    start = 0
    while start < height:
        rows = slice(start, min(start + n_rows, start - start % BAND + BAND, height))
        inner, confidence = read(rows)
        is_last = rows.stop == height
        around = np.full((len(inner) + 1 + is_last, width + 2), CLASS_NODATA, np.uint8)
        around[0] = above
        around[1 : len(inner) + 1, 1:-1] = inner
        above = around[-1]
        yield _find_nodes(around, rows, column_sizes, integral.below(inner, confidence))
        start = rows.stop


def _find_nodes(around: Classes, rows: slice, column_sizes: Ints, integral: Ints | None) -> Strip:
    """The nodes at the corners between the rows of ``around`` (h + 1, width + 2), from ``rows.start`` on."""
    start, stop = rows.start, rows.stop
    width = around.shape[1] - 1  # of the lattice
    is_wall = (
        around[:, 1:] != around[:, :-1]
    )  # (h + 1, width) is there an outline between two pixels of a row
    is_floor = around[1:] != around[:-1]  # (h, width + 1) ... between two pixels of a column
    is_node = (is_wall[1:] | is_wall[:-1]) & (is_floor[:, 1:] | is_floor[:, :-1])
    at = np.flatnonzero(is_node)
    row = np.repeat(np.arange(len(is_node), dtype=np.int32), np.count_nonzero(is_node, axis=1))
    col = (at - row * np.int64(width)).astype(np.int32)
    nw = at + row  # in ``around``, whose rows are longer by one
    flat = around.ravel()
    classes = np.empty((len(at), 4), np.uint8)
    for corner, shift in ((NE, 1), (NW, 0), (SW, width + 1), (SE, width + 2)):
        classes[:, corner] = flat[nw + shift]
    crossing = np.flatnonzero(is_wall[-1]).astype(np.int32)
    sums = (column_sizes[row + start] * col)[:, None]
    if integral is not None:
        known = (row + np.int64(start)) * col - integral[row, col, 1]
        sums = np.column_stack([sums, integral[row, col, 0], known])
    return Strip(
        start=start,
        stop=stop,
        row=row + np.int32(start),
        col=col,
        classes=classes,
        wall=_find_walls(is_wall[1:], classes, row, col),
        sums=sums,
        crossing=crossing,
        sides=np.stack([around[-1, crossing], around[-1, crossing + 1]], axis=1),
    )


def _find_walls(is_wall: Bools, classes: Classes, row: Labels, col: Labels) -> Labels:
    """``Strip.wall``; ``is_wall`` (h, width) are those in the rows of pixels below the nodes."""
    wall = np.full(len(row), NO_WALL, np.int32)
    ne, nw, sw, se = classes.T
    corner = np.flatnonzero((ne == nw) & (nw == sw) & (sw != se) & (sw != CLASS_NODATA))
    if len(corner):
        width = is_wall.shape[1]
        walls = np.flatnonzero(is_wall)
        first = row[corner] * np.int64(width)
        wall[corner] = walls[np.searchsorted(walls, first + col[corner]) - 1] - first
    return wall


class _Integral:
    """Sums of the confidence over all pixels above and to the left of lattice points, strip by strip.

    They are whole numbers modulo 2**64, so differences of them are exact.
    """

    def __init__(self, width: int) -> None:
        self._last = np.zeros((width + 1, 2), np.int64)

    def below(self, classes: Classes, confidence: Labels | None) -> Ints | None:
        """(h + 1, width + 1, 2) from the corners above the strip to those below: known sum, unknown count."""
        if confidence is None:
            return None
        height, width = confidence.shape
        sums = np.zeros((height + 1, width + 1, 2), np.int64)
        sums[0] = self._last
        np.cumsum(np.maximum(confidence, 0), axis=1, dtype=np.int64, out=sums[1:, 1:, 0])
        is_unknown = (confidence < 0) & (classes != CLASS_NODATA)
        if is_unknown.any():
            np.cumsum(is_unknown, axis=1, dtype=np.int64, out=sums[1:, 1:, 1])
        np.cumsum(sums, axis=0, out=sums)
        self._last = sums[-1].copy()
        return sums
