"""Reading rasters: one line when it fails, and squares of one lattice, so that no window shows in a pixel."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from odc.geo.types import Shape2d
from rasterio.errors import RasterioError
from rasterio.windows import Window

from geoseg.errors import EvaluationError, one_line

Reader = Callable[[Window], NDArray[np.int32]]

BLOCK = 2048
"""Side of what is read at a time, pixels."""
SIDE = 512
"""Of a square, pixels, counted from the first pixel of the grid."""
_KEPT = 64
"""Squares that are remembered, a megabyte each: blocks with a halo share them."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say on one line which file it was that could not be read.

    Raises:
        EvaluationError: GDAL failed.
    """
    try:
        yield
    except RasterioError as error:
        raise EvaluationError(f"{path} cannot be read: {one_line(error)}.") from None


def by_cells(read: Reader, shape: tuple[int, int] | Shape2d) -> Reader:
    """``read``, asked for whole squares only and put together for any window within (height, width).

    GDAL warps by approximation and burns with rounding, and both depend on what is read at once.
    """
    height, width = shape

    @lru_cache(maxsize=_KEPT)
    def cell(i: int, j: int) -> NDArray[np.int32]:
        top, left = i * SIDE, j * SIDE
        return read(Window(left, top, min(SIDE, width - left), min(SIDE, height - top)))

    def read_window(window: Window) -> NDArray[np.int32]:
        found = np.empty((window.height, window.width), np.int32)
        bottom, right = window.row_off + window.height, window.col_off + window.width
        for i in range(window.row_off // SIDE, -(-bottom // SIDE)):
            for j in range(window.col_off // SIDE, -(-right // SIDE)):
                top, left = max(i * SIDE, window.row_off), max(j * SIDE, window.col_off)
                low, far = min((i + 1) * SIDE, bottom), min((j + 1) * SIDE, right)
                part = cell(i, j)[top - i * SIDE : low - i * SIDE, left - j * SIDE : far - j * SIDE]
                found[
                    top - window.row_off : low - window.row_off, left - window.col_off : far - window.col_off
                ] = part
        return found

    return read_window


def windows_of(height: int, width: int, *, size: int = BLOCK) -> Iterator[Window]:
    """Squares that cover a raster, row by row; the last ones are what is left."""
    for row in range(0, height, size):
        for col in range(0, width, size):
            yield Window(col, row, min(size, width - col), min(size, height - row))
