"""The rows of an image that tiles are cut from: read once, and beside computing."""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geoseg.inference.known import Pixels

Mask = NDArray[np.bool_]
READ_THREADS = 4
"""Chunks of a lazy image that are read at a time."""


class Strips:
    """The rows of an image from top to bottom: each chunk of a lazy one is computed once, then forgotten.

    Chunks are read ahead in a thread: as many as a row of tiles takes anew, or the network would wait for the
    last of them.
    """

    def __init__(self, image: xr.DataArray, geobox: GeoBox, *, ahead: int) -> None:
        """``ahead``: rows to read ahead, one at least; whole chunks are read."""
        self._image = image.transpose("band", "y", "x")
        self.bands = tuple(map(str, image.band.values))
        """Their names, in order."""
        left, top = ~geobox.affine * (image.odc.geobox.affine * (0, 0))
        self._col0, self._row0 = round(left), round(top)
        self._n_bands, self._height, self._width = self._image.shape
        self.seconds = 0.0
        """Time spent on waiting for chunks, seconds."""
        self._reader = ThreadPoolExecutor(1, "geoseg-read")
        self._rows_ahead = ahead
        self._ahead: deque[tuple[int, Future[Pixels]]] = deque()  # first row of each chunk under way
        self._held: deque[tuple[int, Pixels]] = deque()  # first row and (band, y, x) of each chunk
        self._next = 0  # the first row that was not read
        self._edges = np.array([0, self._height])
        if self._image.chunks is None:
            self._held.append((0, self._image.to_numpy()))
            self._next = self._height
        else:
            self._edges = np.cumsum((0, *self._image.chunks[1]))

    def begin(self, window: Window) -> None:
        """Start to read what :meth:`take` of the window needs first, and wait for nothing."""
        first = max(window.row_off - self._row0, 0)
        if not self._held and first < self._height:
            self._next = self._top_of(first)
            self._submit(self._next)

    def take(self, window: Window) -> Pixels:
        """(band, height, width) of the window, NaN outside the image. Windows may only move down: what
        lies above them is forgotten.
        """
        while self._held and self._held[0][0] + self._held[0][1].shape[1] <= window.row_off - self._row0:
            self._held.popleft()
        result = np.full((self._n_bands, window.height, window.width), np.nan, np.float32)
        for rows, cols, pixels in self._pieces(window):
            result[:, rows, cols] = pixels
        return result

    def is_valid(self, first: int, n_rows: int, window: Window) -> Mask:
        """(n_rows, width of the window): whether all bands have a value."""
        result = np.zeros((n_rows, window.width), bool)
        for rows, cols, pixels in self._pieces(Window(window.col_off, first, window.width, n_rows)):
            result[rows, cols] = True
            for band in pixels:
                result[rows, cols] &= np.isfinite(band)
        return result

    def _pieces(self, window: Window) -> Iterator[tuple[slice, slice, Pixels]]:
        """Rows and columns of the window, and the (band, y, x) there, chunk by chunk."""
        top, left = window.row_off - self._row0, window.col_off - self._col0
        west, east = max(left, 0), min(left + window.width, self._width)
        if west >= east:
            return
        for first, pixels in self._chunks(max(top, 0), min(top + window.height, self._height)):
            rows = slice(first - top, first - top + pixels.shape[1])
            yield rows, slice(west - left, east - left), pixels[:, :, west:east]

    def _chunks(self, first: int, last: int) -> Iterator[tuple[int, Pixels]]:
        """What chunks hold of rows ``first`` to ``last``."""
        if first >= last:
            return
        if not self._held:
            self._next = max(self._next, self._top_of(first))
        while self._next < last:
            self._held.append((self._next, self._read_ahead(self._next)))
            self._next += self._held[-1][1].shape[1]
        for top, pixels in self._held:
            start, stop = max(first, top), min(last, top + pixels.shape[1])
            if start < stop:
                yield start, pixels[:, start - top : stop - top]

    def _read_ahead(self, start: int) -> Pixels:
        """The chunk of rows that begins at ``start``; those below are read while this one is worked on."""
        self._submit(start)
        started = time.perf_counter()
        piece = self._ahead.popleft()[1].result()
        self.seconds += time.perf_counter() - started
        below = start + piece.shape[1]
        self._submit(below)
        return piece

    def _submit(self, start: int) -> None:
        """Have the chunk at ``start`` under way, and those below it that are to be read ahead."""
        while self._ahead and self._ahead[0][0] < start:  # nobody wanted it
            self._ahead.popleft()[1].cancel()
        at = self._stop_of(self._ahead[-1][0]) if self._ahead else start
        while at < min(self._height, start + self._rows_ahead):
            self._ahead.append((at, self._reader.submit(self._compute, at)))
            at = self._stop_of(at)

    def _top_of(self, row: int) -> int:
        """The first row of the chunk that holds ``row``."""
        return int(self._edges[np.searchsorted(self._edges, row, side="right") - 1])

    def _stop_of(self, start: int) -> int:
        """The first row below the chunk that begins at ``start``."""
        return int(self._edges[np.searchsorted(self._edges, start, side="right")])

    def _compute(self, start: int) -> Pixels:
        data = self._image[:, start : self._stop_of(start)].data
        rows: Pixels = data.compute(scheduler="threads", num_workers=READ_THREADS)
        return rows.astype(np.float32, copy=False)

    def close(self) -> None:
        """Let go of the thread that reads."""
        self._reader.shutdown(cancel_futures=True)
