"""Pixels to classes: tile by tile on one lattice, row by row in memory."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from rasterio.windows import Window

from geoseg.errors import ModelError
from geoseg.grid.geobox import lattice_origin, window_geobox
from geoseg.grid.tiling import Tile, TilePlan
from geoseg.inference.blend import RowBlender
from geoseg.inference.runner import Inference, Pixels, Runner
from geoseg.inference.uncertainty import layers_of, stored_layers
from geoseg.legend import CONFIDENCE_NODATA
from geoseg.models.zoo import Model

Mask = NDArray[np.bool_]
READ_THREADS = 4
"""Chunks of a lazy image that are read at a time."""


def predict(
    image: xr.DataArray,
    *,
    model: Model,
    plan: TilePlan | None = None,
    window: Window | None = None,
    mask: Mask | None = None,
    how: Inference = Inference(),
    on_rows: Callable[[int], None] | None = None,
) -> xr.Dataset:
    """The class of every pixel, and how sure the model is.

    Tiles overlap by two halos; there their probabilities are blended by tapers that sum to 1, then the
    largest wins. Results on the CPU are the same to the byte whatever the batch, and however the area is cut.

    Args:
        image: (band, y, x) float32 reflectance in the order of the card's bands, NaN = nodata; in memory or
            Dask-backed, in which case it is computed strip by strip, top to bottom.
        model: from :func:`geoseg.models.zoo.create_model`. Where it has a calibration, probabilities are
            calibrated before the largest is taken.
        plan: None for the card's tile size and halo on the image's own grid. Its geobox is the one
            that ``window`` counts pixels of; ``image`` must hold the pixels that the plan's tiles read
            (``plan.hull(window)``); what lies outside ``image`` counts as nodata.
        window: what to predict, in pixels of the plan's geobox; None for all of it.
        mask: (y, x) of the window, True where a prediction is wanted; None for everywhere. Tiles without a
            wanted pixel are not run.
        how: batches, device, test-time augmentation, and which layers are added. A network that lies on
            another device is copied there; the one in ``model`` stays as it is.
        on_rows: told the number of rows done after each row of tiles.

    Returns:
        ``class_id`` uint8 (y, x), 255 where any band is nodata or the mask is False; ``confidence`` uint8
        (y, x), probability of the class in steps of 1/254, 255 = nodata. With ``how.uncertainty`` also
        ``entropy`` and ``epistemic``, 0..1 in the same steps, 1 being the most that the number of classes
        allows; ``set_size``, the number of classes in the conformal set. Attributes say what it took:
        ``read_s``, waiting for the pixels of a lazy image, which are read beside computing; ``network_s``;
        ``blend_s``; and ``n_pixels_run``, pixels that went through the network, halos and views included.

    Raises:
        ModelError: the image's bands are not the card's, the network's output has the wrong shape, or the
            model cannot say what was asked for.
    """
    rows = _Rows(image, model, plan, window, mask, how)
    shape, n_classes = (rows.window.height, rows.window.width), len(model.card.legend.classes)
    layers = {name: np.full(shape, CONFIDENCE_NODATA, np.uint8) for name in layers_of(how.uncertainty)}
    values = np.array(model.card.legend.values, np.uint8)
    for at, found, valid in rows.run():
        if valid.any():
            known = ... if valid.all() else valid  # views in place of copies where nothing is left out
            probs = found[:n_classes, known].reshape(n_classes, -1)  # (class, n)
            if model.calibration is not None:
                probs = model.calibration.probs(probs.T).T
            epistemic = found[n_classes, known].reshape(-1) if len(found) > n_classes else None
            stored = {"class_id": values[_largest(probs)]}
            stored |= stored_layers(probs, epistemic, layers=list(layers), calibration=model.calibration)
            for name, share in stored.items():
                rows_of = layers[name][at]
                rows_of[known] = share.reshape(rows_of[known].shape)
        if on_rows:
            on_rows(found.shape[1])
    grid = window_geobox(rows.plan.geobox, rows.window)
    return xr.Dataset(
        {name: (("y", "x"), layer) for name, layer in layers.items()},
        coords=xr_coords(grid),
        attrs=rows.costs(),
    )


def predict_probs(
    image: xr.DataArray, *, model: Model, plan: TilePlan | None = None, how: Inference = Inference()
) -> Pixels:
    """(class, y, x) probabilities as the model gives them, before any calibration; NaN where nodata.

    Args:
        image: see :func:`predict`.
        model: see :func:`predict`.
        plan: see :func:`predict`.
        how: see :func:`predict`; layers of uncertainty are not computed.

    Raises:
        ModelError: see :func:`predict`.
    """
    rows = _Rows(image, model, plan, None, None, replace(how, uncertainty=()))
    probs = np.full((len(model.card.legend.classes), *image.shape[1:]), np.nan, np.float32)
    for at, found, valid in rows.run():
        probs[:, at][:, valid] = found[:, valid]
    return probs


def seconds_per_tile(model: Model, size: int, how: Inference = Inference()) -> float:
    """Time that one tile takes on the CPU here, seconds: the better of two tries on zeros."""
    zeros = np.zeros((len(model.card.bands), size, size), np.float32)
    runner, times = Runner(model, replace(how, device="cpu"), size=size), []
    with torch.inference_mode():
        for _ in range(2):
            started = time.perf_counter()
            list(runner.run(iter([(Window(0, 0, size, size), zeros)])))
            times.append(time.perf_counter() - started)
    return min(times)


def _largest(probs: Pixels) -> NDArray[np.uint8]:
    """(n,) which has the largest of (class, n), of equals the first: ``argmax`` in a third of its time."""
    best, at = probs[0].copy(), np.zeros(probs.shape[1], np.uint8)
    for n in range(1, len(probs)):
        at[probs[n] > best] = n
        np.maximum(best, probs[n], out=best)
    return at


def _is_wanted(tile: Tile, window: Window, wanted: Mask) -> bool:
    top, left = tile.window.row_off - window.row_off, tile.window.col_off - window.col_off
    return bool(
        wanted[
            max(top, 0) : max(top + tile.window.height, 0), max(left, 0) : max(left + tile.window.width, 0)
        ].any()
    )


class _Rows:
    """The rows of a window from top to bottom, as their blended probabilities become final."""

    def __init__(
        self,
        image: xr.DataArray,
        model: Model,
        plan: TilePlan | None,
        window: Window | None,
        mask: Mask | None,
        how: Inference,
    ) -> None:
        card = model.card
        if list(image.band.values) != list(card.bands):
            raise ModelError(
                f"Model {card.name} takes bands {', '.join(card.bands)}; "
                f"the image has {', '.join(map(str, image.band.values))}."
            )
        self.plan = plan or TilePlan(image.odc.geobox, card.tile_size, card.halo)
        self.window = window or Window(0, 0, self.plan.geobox.shape.x, self.plan.geobox.shape.y)
        self._wanted = np.ones((self.window.height, self.window.width), bool) if mask is None else mask
        self._strips = _Strips(image, self.plan.geobox)
        self._origin = lattice_origin(self.plan.geobox)
        self._runner = Runner(model, how, size=self.plan.size)
        self._blender = RowBlender(
            self.window, n_layers=self._runner.n_layers, size=self.plan.size, halo=self.plan.halo
        )

    def costs(self) -> dict[str, float]:
        """What it took so far; see :func:`predict`."""
        return {
            "read_s": self._strips.seconds,
            "network_s": self._runner.seconds,
            "blend_s": self._blender.seconds,
            "n_pixels_run": self._runner.n_pixels,
        }

    def run(self) -> Iterator[tuple[slice, Pixels, Mask]]:
        """Rows of the window, their layers (layer, n_rows, width), and where those are wanted and known."""
        window, strips, plan, blender = self.window, self._strips, self.plan, self._blender
        with closing(strips), torch.inference_mode():
            for tiles in plan.rows(window):
                inputs = (
                    (self._on_lattice(t.window), strips.take(t.window))
                    if _is_wanted(t, window, self._wanted)
                    else None
                    for t in tiles
                )
                first, layers = blender.feed(tiles, self._runner.run(inputs))
                at = slice(first - window.row_off, first - window.row_off + layers.shape[1])
                valid = self._wanted[at]
                if valid.any():
                    valid = valid & strips.is_valid(first, layers.shape[1], window)
                yield at, layers, valid

    def _on_lattice(self, window: Window) -> Window:
        row, col = self._origin
        return Window(col + window.col_off, row + window.row_off, window.width, window.height)


class _Strips:
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
