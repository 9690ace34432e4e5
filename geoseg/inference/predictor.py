"""Pixels to classes: tile by tile on one lattice, row by row in memory."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import islice

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from odc.geo.xr import xr_coords
from rasterio.windows import Window

from geoseg.errors import ModelError
from geoseg.grid.geobox import lattice_origin, window_geobox
from geoseg.grid.tiling import Tile, TilePlan
from geoseg.inference.blend import RowBlender
from geoseg.inference.known import Pixels
from geoseg.inference.runner import Inference, Placed, Runner
from geoseg.inference.strips import Mask, Strips
from geoseg.inference.uncertainty import layers_of, stored_layers
from geoseg.legend import CONFIDENCE_NODATA
from geoseg.memory import give_back
from geoseg.models.zoo import Model

_FEW_PX = 1 << 16
"""Pixels whose probabilities become classes at a time."""
_GIVE_BACK_S = 2.0
"""How often what is free goes back to the system, at most: where a row of tiles takes long, after each."""


def strips_of(image: xr.DataArray, *, plan: TilePlan, window: Window, mask: Mask) -> Strips:
    """The rows of an image for :func:`predict`, with those that it needs first under way: what is done before
    it, as loading the model, is done beside reading. To be closed.

    Args:
        image: see :func:`predict`, like the others.
        plan: the tiles.
        window: what is to be predicted.
        mask: where in the window.
    """
    strips = Strips(image, plan.geobox, ahead=plan.stride)
    for tile in plan.tiles(window):
        if _is_wanted(tile, window, mask):
            strips.begin(tile.window)
            break
    return strips


def predict(
    image: xr.DataArray | Strips,
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
            Dask-backed, in which case it is computed strip by strip, top to bottom. Or :func:`strips_of` one,
            for the same ``plan``, ``window`` and ``mask``.
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
    shape = (rows.window.height, rows.window.width)
    layers = {name: np.full(shape, CONFIDENCE_NODATA, np.uint8) for name in layers_of(how.uncertainty)}
    for at, found, valid in rows.run():
        for few in _few_rows(*valid.shape):
            for name, stored in _classified(found[:, few], valid[few], model, list(layers)).items():
                layers[name][at][few] = stored
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


def run_a_tile(model: Model, size: int, how: Inference = Inference()) -> float:
    """Seconds that a tile of zeros takes; once without counting, as the first takes longer."""
    zeros = np.zeros((len(model.card.bands), size, size), np.float32)
    runner, seconds = Runner(model, how, size=size), 0.0
    with torch.inference_mode():
        for _ in range(2):
            started = time.perf_counter()
            list(runner.run(iter([(Window(0, 0, size, size), zeros)])))
            seconds = time.perf_counter() - started
    return seconds


def _few_rows(height: int, width: int) -> Iterator[slice]:
    """Cuts rows into pieces whose copies are small."""
    step = max(_FEW_PX // width, 1)
    return (slice(top, min(top + step, height)) for top in range(0, height, step))


def _classified(found: Pixels, valid: Mask, model: Model, names: list[str]) -> dict[str, NDArray[np.uint8]]:
    """Layers as stored, (y, x) each, of those that come out of tiles, (layer, y, x)."""
    stored = {name: np.full(valid.shape, CONFIDENCE_NODATA, np.uint8) for name in names}
    if valid.any():
        n_classes = len(model.card.legend.classes)
        known = ... if valid.all() else valid  # views in place of copies where nothing is left out
        # In one order, as fancy indexing gives another, in which sums over classes have other last bits.
        probs = np.ascontiguousarray(found[:n_classes, known].reshape(n_classes, -1))  # (class, n)
        if model.calibration is not None:
            probs = model.calibration.probs(probs.T).T
        epistemic = found[n_classes, known].reshape(-1) if len(found) > n_classes else None
        values = np.array(model.card.legend.values, np.uint8)
        shares = {"class_id": values[_largest(probs)]}
        shares |= stored_layers(probs, epistemic, layers=names, calibration=model.calibration)
        for name, share in shares.items():
            stored[name][known] = share.reshape(stored[name][known].shape)
    return stored


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
        image: xr.DataArray | Strips,
        model: Model,
        plan: TilePlan | None,
        window: Window | None,
        mask: Mask | None,
        how: Inference,
    ) -> None:
        card = model.card
        bands = image.bands if isinstance(image, Strips) else tuple(map(str, image.band.values))
        if bands != tuple(card.bands):
            raise ModelError(
                f"Model {card.name} takes bands {', '.join(card.bands)}; the image has {', '.join(bands)}."
            )
        if isinstance(image, Strips) and plan is None:
            raise ValueError("Strips are made for a plan: give it here too.")
        self.plan = plan or TilePlan(image.odc.geobox, card.tile_size, card.halo)  # type: ignore[union-attr]
        self.window = window or Window(0, 0, self.plan.geobox.shape.x, self.plan.geobox.shape.y)
        self._wanted = np.ones((self.window.height, self.window.width), bool) if mask is None else mask
        self._strips = (
            image
            if isinstance(image, Strips)
            else strips_of(image, plan=self.plan, window=self.window, mask=self._wanted)
        )
        self._origin = lattice_origin(self.plan.geobox)
        try:
            self._runner = Runner(model, how, size=self.plan.size)
        except BaseException:
            self._strips.close()
            raise
        self._valid: deque[Mask] = deque()  # of rows of tiles that were read and are not yet finished
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
        with closing(self._strips), torch.inference_mode():
            found = self._runner.run(self._inputs())
            gave_back = time.perf_counter()
            for tiles in self.plan.rows(self.window):
                first, layers = self._blender.feed(tiles, islice(found, len(tiles)))
                at = slice(first - self.window.row_off, first - self.window.row_off + layers.shape[1])
                yield at, layers, self._valid.popleft()
                if time.perf_counter() - gave_back > _GIVE_BACK_S:
                    give_back()  # 100 MB of 1,700, in 10 ms
                    gave_back = time.perf_counter()

    def _inputs(self) -> Iterator[Placed | None]:
        """All tiles in order, None for those that nobody wants.

        Where the rows that a row of tiles finishes are known is noted as soon as its pixels are held: a GPU's
        runner takes tiles of the next row ahead, and the strips only move down.
        """
        window, first = self.window, self.window.row_off
        for tiles in self.plan.rows(window):
            final = max(self._blender.final_row(tiles), first)
            valid = self._wanted[first - window.row_off : final - window.row_off]
            self._valid.append(valid)
            is_noted = not valid.any()
            for tile in tiles:
                if not _is_wanted(tile, window, self._wanted):
                    yield None
                    continue
                pixels = self._strips.take(tile.window)
                if not is_noted:
                    self._valid[-1] = valid & self._strips.is_valid(first, final - first, window)
                    is_noted = True
                yield self._on_lattice(tile.window), pixels
            first = final

    def _on_lattice(self, window: Window) -> Window:
        row, col = self._origin
        return Window(col + window.col_off, row + window.row_off, window.width, window.height)
