"""The rows of an image that tiles are cut from: read once, and beside computing."""

import time
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

    One chunk is read ahead in a thread.
    """

    def __init__(self, image: xr.DataArray, geobox: GeoBox) -> None:
        self._image = image.transpose("band", "y", "x")
        left, top = ~geobox.affine * (image.odc.geobox.affine * (0, 0))
        self._col0, self._row0 = round(left), round(top)
        self._n_bands, self._height, self._width = self._image.shape
        self.seconds = 0.0
        """Time spent on waiting for chunks, seconds."""
        self._reader = ThreadPoolExecutor(1, "geoseg-read")
        self._ahead: tuple[int, Future[Pixels]] | None = None
        self._top = 0
        self._rows = np.empty((self._n_bands, 0, self._width), np.float32)  # rows top to top + len
        self._edges = np.array([0, self._height])
        if self._image.chunks is None:
            self._rows = self._image.to_numpy()
        else:
            self._edges = np.cumsum((0, *self._image.chunks[1]))

    def take(self, window: Window) -> Pixels:
        """(band, height, width) of the window, NaN outside the image. Windows may only move down."""
        top, left = window.row_off - self._row0, window.col_off - self._col0
        result = np.full((self._n_bands, window.height, window.width), np.nan, np.float32)
        first, last = max(top, 0), min(top + window.height, self._height)
        west, east = max(left, 0), min(left + window.width, self._width)
        if first < last and west < east:
            self._hold(first, last)
            rows = self._rows[:, first - self._top : last - self._top, west:east]
            result[:, first - top : last - top, west - left : east - left] = rows
        return result

    def is_valid(self, first: int, n_rows: int, window: Window) -> Mask:
        """(n_rows, width of the window): whether all bands have a value."""
        pixels = self.take(Window(window.col_off, first, window.width, n_rows))
        return np.asarray(np.isfinite(pixels).all(axis=0))

    def _hold(self, first: int, last: int) -> None:
        """Have rows ``first`` to ``last`` in memory and let go of those above."""
        end = self._top + self._rows.shape[1]
        if last <= end:
            return
        pieces = [self._rows[:, min(first, end) - self._top :]]
        start = max(end, int(self._edges[np.searchsorted(self._edges, first, side="right") - 1]))
        if start > end:
            pieces = []
        self._top = start - sum(piece.shape[1] for piece in pieces)
        while start < last:
            piece = self._read_ahead(start)
            pieces.append(piece)
            start += piece.shape[1]
        self._rows = np.concatenate(pieces, axis=1)

    def _read_ahead(self, start: int) -> Pixels:
        """The chunk of rows that begins at ``start``; the one below is read while this one is worked on."""
        if self._ahead is None or self._ahead[0] != start:
            self._ahead = start, self._reader.submit(self._compute, start)
        started = time.perf_counter()
        piece = self._ahead[1].result()
        self.seconds += time.perf_counter() - started
        below = start + piece.shape[1]
        self._ahead = (below, self._reader.submit(self._compute, below)) if below < self._height else None
        return piece

    def _compute(self, start: int) -> Pixels:
        stop = int(self._edges[np.searchsorted(self._edges, start, side="right")])
        data = self._image[:, start:stop].data
        rows: Pixels = data.compute(scheduler="threads", num_workers=READ_THREADS)
        return rows.astype(np.float32, copy=False)

    def close(self) -> None:
        """Let go of the thread that reads."""
        self._reader.shutdown(cancel_futures=True)
