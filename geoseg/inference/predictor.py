"""Pixels to classes: tile by tile on one lattice, row by row in memory."""

import copy
import time
from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from rasterio.windows import Window
from torch import nn

from geoseg.errors import ModelError, RecipeError
from geoseg.grid.geobox import window_geobox
from geoseg.grid.tiling import Tile, TilePlan
from geoseg.inference.blend import RowBlender
from geoseg.legend import CLASS_NODATA, CONFIDENCE_NODATA, CONFIDENCE_SCALE
from geoseg.models.zoo import Model, normalise

Pixels = NDArray[np.float32]
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
    batch_size: int = 1,
    device: str = "cpu",
    on_rows: Callable[[int], None] | None = None,
) -> xr.Dataset:
    """The class of every pixel, and how sure the model is.

    Tiles overlap by two halos; there their probabilities are blended by tapers that sum to 1, then the
    largest wins. A batch changes the last bits of what a network says of a tile, so where two classes are all
    but equally probable the size of batches may decide. On the CPU tiles are therefore run one at a time
    whatever ``batch_size`` says, which is as fast: results there are the same to the byte.

    Args:
        image: (band, y, x) float32 reflectance in the order of the card's bands, NaN = nodata; in memory or
            Dask-backed, in which case it is computed strip by strip, top to bottom.
        model: from :func:`geoseg.models.zoo.create_model`.
        plan: None for the card's tile size and halo on the image's own grid. Its geobox is the one
            that ``window`` counts pixels of; ``image`` must hold the pixels that the plan's tiles read
            (``plan.hull(window)``); what lies outside ``image`` counts as nodata.
        window: what to predict, in pixels of the plan's geobox; None for all of it.
        mask: (y, x) of the window, True where a prediction is wanted; None for everywhere. Tiles without a
            wanted pixel are not run.
        batch_size: tiles per step on a GPU.
        device: a torch device, such as ``cpu`` or ``cuda``; ``auto`` is a GPU where there is one. A network
            that lies elsewhere is copied there; the one in ``model`` stays as it is.
        on_rows: told the number of rows done after each row of tiles.

    Returns:
        ``class_id`` uint8 (y, x), 255 where any band is nodata or the mask is False; ``confidence`` uint8
        (y, x), probability of the class in steps of 1/254, 255 = nodata. The attribute ``read_s`` is the
        time that computing a lazy image took, seconds.

    Raises:
        ModelError: the image's bands are not the card's, or the network's output has the wrong shape.
    """
    card = model.card
    if list(image.band.values) != list(card.bands):
        raise ModelError(
            f"Model {card.name} takes bands {', '.join(card.bands)}; "
            f"the image has {', '.join(map(str, image.band.values))}."
        )
    plan = plan or TilePlan(image.odc.geobox, card.tile_size, card.halo)
    window = window or Window(0, 0, plan.geobox.shape.x, plan.geobox.shape.y)
    wanted = np.ones((window.height, window.width), bool) if mask is None else mask
    class_id = np.full((window.height, window.width), CLASS_NODATA, np.uint8)
    confidence = np.full((window.height, window.width), CONFIDENCE_NODATA, np.uint8)
    strips = _Strips(image, plan.geobox)
    blender = RowBlender(window, n_classes=len(card.legend.classes), size=plan.size, halo=plan.halo)
    values = np.array(card.legend.values, np.uint8)
    place = device_of(device)
    runner = _Runner(model, place, _n_at_a_time(place, batch_size))
    with torch.inference_mode():
        for tiles in plan.rows(window):
            inputs = (strips.take(t.window) if _is_wanted(t, window, wanted) else None for t in tiles)
            first, probs = blender.feed(tiles, runner.run(inputs))
            rows = slice(first - window.row_off, first - window.row_off + probs.shape[1])
            if wanted[rows].any():
                valid = wanted[rows] & strips.is_valid(first, probs.shape[1], window)
                class_id[rows][valid], confidence[rows][valid] = _decide(probs[:, valid], values)
            if on_rows:
                on_rows(probs.shape[1])
    grid = window_geobox(plan.geobox, window)
    coords = xr_coords(grid)
    return xr.Dataset(
        {"class_id": (("y", "x"), class_id), "confidence": (("y", "x"), confidence)},
        coords=coords,
        attrs={"read_s": strips.seconds},
    )


def seconds_per_tile(model: Model, size: int) -> float:
    """Time that one tile takes on the CPU here, seconds: the better of two tries on zeros."""
    zeros = np.zeros((len(model.card.bands), size, size), np.float32)
    runner, times = _Runner(model, torch.device("cpu"), 1), []
    with torch.inference_mode():
        for _ in range(2):
            started = time.perf_counter()
            list(runner.run(iter([zeros])))
            times.append(time.perf_counter() - started)
    return min(times)


def _decide(probs: Pixels, values: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Class ids and stored confidences of (class, n) probabilities."""
    winner = np.argmax(probs, axis=0)
    top = np.take_along_axis(probs, winner[None], axis=0)[0]
    return values[winner], np.rint(np.clip(top, 0, 1) / CONFIDENCE_SCALE).astype(np.uint8)


def _is_wanted(tile: Tile, window: Window, wanted: Mask) -> bool:
    top, left = tile.window.row_off - window.row_off, tile.window.col_off - window.col_off
    return bool(
        wanted[
            max(top, 0) : max(top + tile.window.height, 0), max(left, 0) : max(left + tile.window.width, 0)
        ].any()
    )


def device_of(name: str) -> torch.device:
    """The device called ``name``; ``auto`` is a GPU where there is one.

    Raises:
        RecipeError: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise RecipeError(f"--device {name} is not a device. Give cpu, cuda or auto.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RecipeError(f"--device {name}: torch finds no GPU here. Give cpu or auto.")
    return device


def _n_at_a_time(device: torch.device, batch_size: int) -> int:
    return 1 if device.type == "cpu" else batch_size


def _module_on(device: torch.device, module: nn.Module) -> nn.Module:
    """The network itself where it lies on that device, else a copy: ``Module.to`` would move the caller's."""
    if all(tensor.device == device for tensor in chain(module.parameters(), module.buffers())):
        return module
    return copy.deepcopy(module).to(device)


class _Runner:
    """Batches of tiles through the network."""

    def __init__(self, model: Model, device: torch.device, batch_size: int) -> None:
        self._model = model
        self._device = device
        self._module = _module_on(device, model.module)
        self._batch_size = batch_size

    def run(self, inputs: Iterator[Pixels | None]) -> Iterator[Pixels | None]:
        """Probabilities (class, size, size) for each input (band, size, size), None for None, in order."""
        queue: list[Pixels | None] = []
        for pixels in inputs:
            queue.append(pixels)
            if sum(p is not None for p in queue) == self._batch_size:
                yield from self._flush(queue)
                queue = []
        yield from self._flush(queue)

    def _flush(self, queue: list[Pixels | None]) -> Iterator[Pixels | None]:
        full = [p for p in queue if p is not None]
        probs = iter(self._forward(np.stack(full)) if full else [])
        for pixels in queue:
            yield None if pixels is None else next(probs)

    def _forward(self, pixels: Pixels) -> list[Pixels]:
        card = self._model.card
        batch = torch.from_numpy(pixels).to(self._device)  # (n, band, y, x)
        batch = normalise(batch, card).nan_to_num(0.0)  # nodata becomes the mean of the band
        logits = self._module(batch.contiguous(memory_format=torch.channels_last))  # (n, class, y, x)
        expected = (len(pixels), len(card.legend.classes), *pixels.shape[-2:])
        if tuple(logits.shape) != expected:
            raise ModelError(
                f"Model {card.name} gave logits of shape {tuple(logits.shape)}, its card promises {expected}."
            )
        return list(logits.float().softmax(1).cpu().numpy())


class _Strips:
    """The rows of an image from top to bottom: each chunk of a lazy one is computed once, then forgotten."""

    def __init__(self, image: xr.DataArray, geobox: GeoBox) -> None:
        self._image = image.transpose("band", "y", "x")
        left, top = ~geobox.affine * (image.odc.geobox.affine * (0, 0))
        self._col0, self._row0 = round(left), round(top)
        self._n_bands, self._height, self._width = self._image.shape
        self.seconds = 0.0
        """Time spent on computing chunks, seconds."""
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
        start = max(end, int(self._edges[np.searchsorted(self._edges, first, side="right") - 1]))
        stop = int(self._edges[np.searchsorted(self._edges, last)])
        started = time.perf_counter()
        more = self._image[:, start:stop].data.compute(scheduler="threads", num_workers=READ_THREADS)
        self.seconds += time.perf_counter() - started
        kept = self._rows[:, min(first, end) - self._top :] if start == end else self._rows[:, :0]
        self._rows = np.concatenate([kept, more.astype(np.float32, copy=False)], axis=1)
        self._top = start - kept.shape[1]
