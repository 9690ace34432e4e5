"""What became of what: two class maps on one grid, as a transition matrix and as a map of transitions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from geoseg.errors import EvaluationError
from geoseg.evaluation.reading import BLOCK, windows_of
from geoseg.legend import CLASS_NODATA, Legend, LegendClass

Pixels = NDArray[np.int64]
Floats = NDArray[np.float64]
Codes = NDArray[np.uint8]

NO_CHANGE = 0
"""The value of a change map where both maps have one class."""
OTHER = 254
"""The value of all transitions that are too many to have one of their own."""

_NO_CHANGE_COLOR = "E4E4E4"
_OTHER_COLOR = "000000"


@dataclass(frozen=True)
class ValueCounts:
    """How often a value of one map lies on a value of another, on one grid."""

    pixels: Pixels
    """(256, 256), rows the earlier map's values, columns the later one's."""
    area_ha: Floats
    """(256, 256) hectares."""


@dataclass(frozen=True)
class Transitions:
    """The transition matrix: rows before, columns after."""

    names: tuple[str, ...]
    """Of the classes, in the order of rows and columns."""
    pixels: Pixels
    """(class + 1, class + 1): the last row has no class before, the last column none after."""
    area_ha: Floats
    """(class + 1, class + 1) hectares. Row sums are the earlier map's areas, column sums the later one's."""

    @property
    def unchanged_ha(self) -> Floats:
        """(class,) hectares that are the class in both maps."""
        unchanged: Floats = np.diagonal(self.area_ha)[:-1].copy()
        return unchanged

    @property
    def gain_ha(self) -> Floats:
        """(class,) hectares that became the class and were another."""
        gain: Floats = self._changed().sum(axis=0)
        return gain

    @property
    def loss_ha(self) -> Floats:
        """(class,) hectares that were the class and became another."""
        loss: Floats = self._changed().sum(axis=1)
        return loss

    @property
    def compared_ha(self) -> float:
        """Hectares that have a class in both maps."""
        return float(self.area_ha[:-1, :-1].sum())

    @property
    def changed_ha(self) -> float:
        """Hectares with a class in both maps, and not the same."""
        return float(self._changed().sum())

    def pairs(self) -> list[tuple[int, int]]:
        """(before, after) of every change that occurs, largest area first, then in the order of classes."""
        rows, columns = np.nonzero(self._changed())
        found = zip(rows.tolist(), columns.tolist(), strict=True)
        return sorted(found, key=lambda pair: (-self.area_ha[pair], pair))

    def _changed(self) -> Floats:
        among = self.area_ha[:-1, :-1].copy()
        np.fill_diagonal(among, 0)
        return among


@dataclass(frozen=True)
class ChangeCodes:
    """How transitions are written as the values of one uint8 map."""

    legend: Legend
    """``no change`` is 0; the transitions that occur are 1, 2, 3 ..., largest area first, named "a to b";
    ``other transitions`` is 254, where there are more than 253."""
    codes: Codes
    """(class + 1, class + 1) value of each cell of the matrix; 255 where a map has no class."""


def count_values(
    before: DatasetReader | WarpedVRT,
    after: DatasetReader | WarpedVRT,
    *,
    row_ha: Floats,
    block: int = BLOCK,
) -> ValueCounts:
    """How often each pair of values occurs, read block by block: memory does not grow with the rasters.

    Args:
        before: band 1 is uint8.
        after: the same, on the same grid.
        row_ha: (height,) hectares of a pixel in each row.
        block: side of what is read at a time, pixels; it does not change the result beyond rounding of areas.

    Raises:
        EvaluationError: a raster is damaged.
    """
    pixels, area_ha = np.zeros(1 << 16, np.int64), np.zeros(1 << 16)
    is_even = bool((row_ha == row_ha[0]).all())
    for window, pair in read_pairs(before, after, block=block):
        pixels += np.bincount(pair.ravel(), minlength=1 << 16)
        if not is_even:
            rows = row_ha[window.row_off : window.row_off + window.height]
            area_ha += np.bincount(pair.ravel(), np.repeat(rows, window.width), minlength=1 << 16)
    if is_even:
        area_ha = pixels * row_ha[0]
    return ValueCounts(pixels.reshape(256, 256), area_ha.reshape(256, 256))


def read_pairs(
    before: DatasetReader | WarpedVRT, after: DatasetReader | WarpedVRT, *, block: int = BLOCK
) -> Iterator[tuple[Window, NDArray[np.uint16]]]:
    """Windows that cover two rasters of one grid, and (y, x) 256 times the value before plus the value after.

    Raises:
        EvaluationError: a raster is damaged.
    """
    for window in windows_of(before.height, before.width, size=block):
        pair: NDArray[np.uint16] = _read(before, window).astype(np.uint16)
        pair <<= 8
        pair |= _read(after, window)
        yield window, pair


def _read(source: DatasetReader | WarpedVRT, window: Window) -> Codes:
    try:
        values: Codes = source.read(1, window=window)
    except RasterioError as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise EvaluationError(
            f"{source.name} cannot be read at row {window.row_off}: {reason}. Write it again."
        ) from error
    return values


def transitions_of(
    counts: ValueCounts,
    names: Sequence[str],
    *,
    before: NDArray[np.integer],
    after: NDArray[np.integer],
) -> Transitions:
    """The transition matrix of classes, from that of values.

    Args:
        counts: of the values of both maps.
        names: of the classes.
        before: (256,) the class index of each value of the earlier map; ``len(names)`` for no class.
        after: likewise of the later map.

    Example:
        >>> pixels = np.zeros((256, 256), np.int64)
        >>> pixels[0, 0], pixels[0, 7], pixels[255, 7] = 5, 2, 1
        >>> to_class = np.full(256, 2)
        >>> to_class[[0, 7]] = 0, 1
        >>> counts = ValueCounts(pixels, pixels / 100)
        >>> transitions_of(counts, ("water", "land"), before=to_class, after=to_class).pixels.tolist()
        [[5, 2, 0], [0, 0, 0], [0, 1, 0]]
    """
    n = len(names)
    cell = (before[:, None] * (n + 1) + after[None, :]).ravel()
    pixels = np.zeros((n + 1) ** 2, np.int64)
    np.add.at(pixels, cell, counts.pixels.ravel())
    area_ha = np.zeros((n + 1) ** 2)
    np.add.at(area_ha, cell, counts.area_ha.ravel())
    shape = (n + 1, n + 1)
    return Transitions(tuple(names), pixels.reshape(shape), area_ha.reshape(shape))


def code_transitions(transitions: Transitions, colors: Sequence[str]) -> ChangeCodes:
    """Values, names and colours of a map of transitions.

    A transition has the colour of the class that it leads to; where several lead to one class, the largest
    has its colour and the others darker and lighter shades of it.

    Args:
        transitions: the matrix; those that occur get a value.
        colors: ``RRGGBB`` of each class.

    Raises:
        EvaluationError: two transitions would have one name.
    """
    n = len(transitions.names)
    codes = np.full((n + 1, n + 1), CLASS_NODATA, np.uint8)
    codes[:n, :n] = OTHER
    np.fill_diagonal(codes[:n, :n], NO_CHANGE)
    classes = [LegendClass(value=NO_CHANGE, name="no change", color_hint=_NO_CHANGE_COLOR)]
    n_into = [0] * n
    pairs = transitions.pairs()
    for value, (start, end) in enumerate(pairs[: OTHER - 1], 1):
        codes[start, end] = value
        name = name_of(transitions, start, end)
        color = _shade(colors[end], n_into[end])
        classes.append(LegendClass(value=value, name=name, color_hint=color))
        n_into[end] += 1
    if len(pairs) >= OTHER:
        classes.append(LegendClass(value=OTHER, name="other transitions", color_hint=_OTHER_COLOR))
    try:
        return ChangeCodes(Legend(classes=tuple(classes)), codes)
    except ValidationError:
        raise EvaluationError(
            'Two transitions would have one name, because class names hold " to ". Rename them: --crosswalk.'
        ) from None


def name_of(transitions: Transitions, start: int, end: int) -> str:
    """What a transition is called in legends: ``water to built``."""
    return f"{transitions.names[start]} to {transitions.names[end]}"


def _shade(color: str, step: int) -> str:
    """The colour at step 0, then in turn a darker and a lighter one, each further away."""
    strength = 1 - 0.7 ** ((step + 1) // 2)
    goal = 0 if step % 2 else 255
    return bytes(round(c + (goal - c) * strength) for c in bytes.fromhex(color)).hex().upper()
