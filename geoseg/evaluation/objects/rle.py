"""Masks as run lengths: small in memory, exact, and the form in which COCO, SA-1B and others publish them.

COCO counts the pixels of a mask column by column (Fortran order) in runs of zeros and ones by turns, zeros
first. It writes the counts as a list ("uncompressed") or as a string of 6-bit characters (``maskApi.c``,
``rleToString``): each count as the difference to the one two before it, in groups of 5 bits, lowest first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import EvaluationError

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

_FIRST_CHARACTER = 48
_BITS = 5
_CONTINUED, _SIGN, _VALUE = 0x20, 0x10, 0x1F
_LONGEST = 12  # groups of 5 bits in 60 bits
_FINER = 5  # COCO draws outlines on a grid five times as fine as the pixels


@dataclass(frozen=True, eq=False)
class Rle:
    """One mask.

    Raises:
        EvaluationError: a count is negative, or the counts do not add up to height x width.
    """

    counts: Ints
    """(run,) pixels in each run, column by column: zeros, ones, zeros, ..."""
    height: int
    width: int

    def __post_init__(self) -> None:
        counts = np.asarray(self.counts, np.int64)
        if counts.ndim != 1 or (counts < 0).any() or counts.sum() != self.height * self.width:
            raise EvaluationError(
                f"The counts of a mask add up to {counts.sum()} pixels, the least {counts.min(initial=0)}; "
                f"expected {self.height} x {self.width} and none below 0. Check its 'size' and 'counts'."
            )
        object.__setattr__(self, "counts", counts)

    @property
    def area(self) -> int:
        """Pixels in the mask."""
        return int(self.counts[1::2].sum())


def encode_mask(mask: NDArray[Any]) -> Rle:
    """The runs of a mask (y, x); what is not 0 is in the mask.

    Example:
        >>> encode_mask(np.array([[0, 1], [1, 1]])).counts
        array([1, 3])
    """
    height, width = mask.shape
    flat = np.concatenate([[False], np.asarray(mask, bool).ravel(order="F")])
    starts = np.flatnonzero(flat[1:] != flat[:-1])
    return Rle(np.diff(np.concatenate([[0], starts, [height * width]])), height, width)


def encode_each(numbers: NDArray[np.integer]) -> dict[int, Rle]:
    """The mask of each number but 0 that a map of objects (y, x) has.

    Example:
        >>> {n: mask.counts.tolist() for n, mask in encode_each(np.array([[0, 7], [7, 5]])).items()}
        {5: [3, 1], 7: [1, 2, 1]}
    """
    height, width = numbers.shape
    flat = numbers.ravel(order="F")
    starts = np.flatnonzero(np.diff(flat, prepend=flat[:1] + 1))
    lengths = np.diff(np.append(starts, flat.size))
    order = np.argsort(flat[starts], kind="stable")
    owner = flat[starts][order]
    found = {}
    for runs in np.split(order, np.flatnonzero(np.diff(owner)) + 1) if len(order) else []:
        number = int(flat[starts[runs[0]]])
        if number == 0:
            continue
        ends = starts[runs] + lengths[runs]
        bounds = np.stack([starts[runs], ends], axis=1).ravel()
        counts = np.diff(np.concatenate([[0], bounds, [flat.size]]))
        found[number] = Rle(counts if counts[-1] else counts[:-1], height, width)
    return found


def read_coco(segmentation: Mapping[str, Any]) -> Rle:
    """A mask of COCO's JSON: ``{"size": [height, width], "counts": list, str or bytes}``.

    See :func:`burn_polygons` for masks that are given as polygons.

    Raises:
        EvaluationError: it is not of that form.

    Example:
        >>> read_coco({"size": [2, 2], "counts": "13"}).counts
        array([1, 3])
    """
    counts, size = segmentation.get("counts"), segmentation.get("size")
    if counts is None or size is None or len(size) != 2:
        raise EvaluationError(
            f"A mask has the keys {', '.join(sorted(segmentation)) or 'none'}, expected 'counts' and 'size' "
            "(two numbers). Polygons are not run lengths: burn them first."
        )
    if isinstance(counts, str | bytes):
        counts = _counts_of_text(counts)
    return Rle(np.asarray(counts, np.int64), int(size[0]), int(size[1]))


def burn_polygons(rings: Sequence[Sequence[float]], *, height: int, width: int) -> Rle:
    """The mask of an object of COCO's JSON that is given as polygons, pixel for pixel as COCO's tools burn it
    (``maskApi.c``, ``rleFrPoly``; parts are joined by ``rleMerge``).

    An outline is drawn on a grid five times as fine; where it steps from one column of that grid to the next
    in the middle of a column of pixels, the pixels from there downwards change sides.

    Args:
        rings: x, y, x, y ... in pixels, from the upper left corner, of each part.
        height: of the image.
        width: of the image.

    Raises:
        EvaluationError: a ring has fewer than three corners.

    Example:
        >>> burn_polygons([[1, 0, 3, 0, 3, 2, 1, 2]], height=3, width=4).counts
        array([3, 2, 1, 2, 4])
    """
    mask = np.zeros(height * width, bool)
    for ring in rings:
        corners = np.asarray(ring, np.float64)
        if corners.ndim != 1 or len(corners) < 6 or len(corners) % 2:
            raise EvaluationError(
                f"A ring of {corners.size} numbers is no polygon, expected x and y of three corners or more."
            )
        turns = _turns(corners.reshape(-1, 2), height, width)
        is_in = np.cumsum(np.bincount(turns, minlength=height * width + 1)[: height * width]) % 2 == 1
        mask |= is_in
    return encode_mask(mask.reshape((height, width), order="F"))


def _turns(corners: NDArray[np.float64], height: int, width: int) -> Ints:
    """Where, counted column by column, pixels change from outside of a ring to inside or back."""
    fine = (_FINER * corners + 0.5).astype(np.int64)  # towards zero, as in C
    x, y = np.concatenate([_line(a, b) for a, b in zip(fine, np.roll(fine, -1, axis=0), strict=True)]).T
    steps = np.flatnonzero(np.diff(x)) + 1
    column = (np.minimum(x[steps], x[steps - 1]) + 0.5) / _FINER - 0.5
    row = np.ceil(np.clip((np.minimum(y[steps], y[steps - 1]) + 0.5) / _FINER - 0.5, 0, height))
    is_turn = (column == np.floor(column)) & (column >= 0) & (column <= width - 1)
    turns: Ints = (column[is_turn] * height + row[is_turn]).astype(np.int64)
    return turns


def _line(start: Ints, end: Ints) -> Ints:
    """(point, 2) of the fine grid on the way from one corner to the next, one for each step of the longer
    axis.
    """
    length = np.abs(end - start)
    along = int(length[0] < length[1])
    n = int(length[along])
    if not n:
        return start[None]
    is_back = start[along] > end[along]
    low, high = (end, start) if is_back else (start, end)
    t = np.arange(n + 1)
    points = np.empty((n + 1, 2), np.int64)
    points[:, along] = low[along] + t
    slope = float(high[1 - along] - low[1 - along]) / n
    points[:, 1 - along] = (low[1 - along] + slope * t + 0.5).astype(np.int64)
    return points[::-1] if is_back else points


def intersections(rows: Sequence[Rle], columns: Sequence[Rle]) -> Ints:
    """(row, column) pixels that two masks share; all masks are of one image.

    Raises:
        EvaluationError: the masks differ in size.

    Example:
        >>> masks = [encode_mask(np.eye(3)), encode_mask(np.ones((3, 3)))]
        >>> intersections(masks, masks).tolist()
        [[3, 3], [3, 9]]
    """
    sizes = {(rle.height, rle.width) for rle in (*rows, *columns)}
    if len(sizes) > 1:
        raise EvaluationError(
            f"Masks of one image have sizes {', '.join(f'{h} x {w}' for h, w in sorted(sizes))}, expected "
            "one. Resample the predictions to the size of the reference."
        )
    shared = np.zeros((len(rows), len(columns)), np.int64)
    if not shared.size:
        return shared
    bounds = [np.cumsum(rle.counts) for rle in rows]
    starts = np.concatenate([b[: 2 * (len(b) // 2)][::2] for b in bounds])
    ends = np.concatenate([b[1::2] for b in bounds])
    owner = np.repeat(np.arange(len(rows)), [len(b) // 2 for b in bounds])
    for j, rle in enumerate(columns):
        last = np.cumsum(rle.counts)[: 2 * (len(rle.counts) // 2)][-1:].sum()
        is_near = (ends > rle.counts[:1].sum()) & (starts < last)
        within = _ones_before(rle, ends[is_near]) - _ones_before(rle, starts[is_near])
        np.add.at(shared[:, j], owner[is_near], within)
    return shared


def _ones_before(rle: Rle, positions: Ints) -> Ints:
    """How many of the first pixels, up to each position, are in the mask."""
    bounds = np.concatenate([[0], np.cumsum(rle.counts)])
    ones = np.concatenate([[0], np.cumsum(np.where(np.arange(len(rle.counts)) % 2, rle.counts, 0))])
    run = np.searchsorted(bounds, positions, side="right") - 1
    into = np.where(run % 2 == 1, positions - bounds[run], 0)
    before: Ints = ones[run] + into
    return before


def _counts_of_text(text: str | bytes) -> Ints:
    raw = np.frombuffer(text.encode() if isinstance(text, str) else text, np.uint8)
    codes = raw.astype(np.int64) - _FIRST_CHARACTER
    is_last = (codes & _CONTINUED) == 0
    if not len(codes) or (codes < 0).any() or (codes > 63).any() or not is_last[-1]:
        raise EvaluationError(
            f"The counts {text[:20]!r} are not COCO's compressed run lengths. Give its string or a list."
        )
    last = np.flatnonzero(is_last)
    first = np.concatenate([[0], last[:-1] + 1])
    place = np.arange(len(codes)) - np.repeat(first, last - first + 1)
    if place.max() >= _LONGEST:
        raise EvaluationError(f"A count in {text[:20]!r} is longer than 60 bits. The string is broken.")
    values = np.add.reduceat((codes & _VALUE) << (_BITS * place), first)
    is_negative = (codes[last] & _SIGN) != 0
    counts = np.where(is_negative, values - (np.int64(1) << (_BITS * (place[last] + 1))), values)
    counts[1::2] = np.cumsum(counts[1::2])
    counts[2::2] = np.cumsum(counts[2::2])
    return counts
