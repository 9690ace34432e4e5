"""Overlapping tiles to one row of layers after another, with memory for a single row."""

import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.grid.taper import taper2d
from geoseg.grid.tiling import Tile


class RowBlender:
    """Sums of weighted probabilities for a strip of rows that moves down the window.

    Feed rows of tiles from top to bottom; after each, the rows on which no later tile has a say come out.
    Sums are made in the same order for every window, so that a pixel's sum does not depend on the window.
    """

    def __init__(self, window: Window, *, n_layers: int, size: int, halo: int) -> None:
        self._window = window
        self._weights = taper2d(size, halo)
        self._halo = halo
        self._top = window.row_off
        # Room for the rows of one row of tiles; those in use begin at the first. (layer, y, x)
        self._room = np.zeros((n_layers, min(size, window.height), window.width), np.float32)
        self._n_rows = 0  # in use
        self._n_done = 0  # of those, given out
        self.seconds = 0.0
        """Time spent on adding tiles so far."""

    def feed(
        self, tiles: list[Tile], probs: Iterator[NDArray[np.float32] | None]
    ) -> tuple[int, NDArray[np.float32]]:
        """Add one row of tiles; returns the first row (of the geobox) and the layers that are final.

        Args:
            tiles: neighbours from left to right.
            probs: for each tile (layer, size, size), or None where nothing was predicted.

        The layers are to be used before the next row of tiles is fed, which writes over them.
        """
        self._let_go()
        self._n_rows = max(self._n_rows, self._end(tiles) - self._top)
        for tile, values in zip(tiles, probs, strict=True):
            if values is not None:
                started = time.perf_counter()
                self._add(tile.window, values)
                self.seconds += time.perf_counter() - started
        self._n_done = max(self.final_row(tiles) - self._top, 0)
        return self._top, self._room[:, : self._n_done]

    def final_row(self, tiles: list[Tile]) -> int:
        """The row, of the geobox, above which all is final once this row of tiles is added."""
        # The next row of tiles reads from halo above its core, where this row's cores end.
        own = int(tiles[0].core.row_off + tiles[0].core.height)
        return min(own - self._halo, self._end(tiles))

    def _end(self, tiles: list[Tile]) -> int:
        own = tiles[0].window.row_off + tiles[0].window.height
        return int(min(own, self._window.row_off + self._window.height))

    def _let_go(self) -> None:
        """Move the rows that are not final to the top, and zero those below."""
        n_left = self._n_rows - self._n_done
        if self._n_done:
            for layer in self._room:
                layer[:n_left] = layer[self._n_done : self._n_rows]
                layer[n_left : self._n_rows] = 0
        self._top, self._n_rows, self._n_done = self._top + self._n_done, n_left, 0

    def _add(self, window: Window, values: NDArray[np.float32]) -> None:
        top = max(window.row_off, self._top)
        bottom = min(window.row_off + window.height, self._top + self._n_rows)
        left = max(window.col_off, self._window.col_off)
        right = min(window.col_off + window.width, self._window.col_off + self._window.width)
        if top >= bottom or left >= right:
            return
        rows = slice(top - window.row_off, bottom - window.row_off)
        cols = slice(left - window.col_off, right - window.col_off)
        strip = self._room[
            :,
            top - self._top : bottom - self._top,
            left - self._window.col_off : right - self._window.col_off,
        ]
        strip += values[:, rows, cols] * self._weights[rows, cols]
