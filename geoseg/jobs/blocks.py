"""One block from items to a part file: what a Dask worker runs."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import shapely
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from geoseg.errors import ModelError
from geoseg.grid.geobox import snap_out, window_geobox
from geoseg.grid.tiling import Block, TilePlan
from geoseg.imagery.clouds import mask_clouds
from geoseg.imagery.composite import composite
from geoseg.imagery.gaps import Gaps
from geoseg.imagery.loader import CELL, load, load_clouds
from geoseg.imagery.reading import gdal_env
from geoseg.inference.predictor import predict, strips_of
from geoseg.inference.runner import Inference
from geoseg.inference.uncertainty import layers_of
from geoseg.jobs.parts import leave_part, write_part
from geoseg.jobs.store import Store
from geoseg.legend import CLASS_NODATA
from geoseg.memory import bound_gdal_cache, one_heap, peak_memory_mb
from geoseg.models.zoo import Model, create_model
from geoseg.stac.catalog import Catalog
from geoseg.stac.signing import read_environment, signer

ROW_LISTENERS: dict[str, Callable[[int], None]] = {}
"""Who in this process wants to hear of pixels done, by part folder; a worker elsewhere finds none."""


@dataclass(frozen=True)
class BlockTask:
    """All that a worker needs for one block; small, and free of secrets and signed addresses."""

    block: Block
    items: list[dict[str, object]]
    """Prepared items that may have pixels here, in order of preference."""
    plan: TilePlan
    aoi_px: BaseGeometry | None
    """The area in pixels (col, row) of the plan's geobox; None: all of it."""
    bands: tuple[str, ...]
    composite: str
    has_clouds: bool
    catalog: Catalog
    model: str
    """Name of a built-in one, or the absolute path of a folder."""
    model_fingerprint: str
    """Of the weights, card and calibration that the run was planned with."""
    how: Inference
    parts: Path
    """Folder of the client, which the workers see alike if there is no ``store``."""
    store: str | None = None
    """Address that workers leave parts at, for the client to take from there into ``parts``."""
    leaves_gaps: bool = False
    """Pixels that cannot be read are nodata, or those of other items; else they are an error."""
    n_pieces: int = 1
    """It is predicted in so many pieces a side, one after the other: for want of memory."""
    fingerprint: str = ""
    """Of all that its part is made from; see :func:`geoseg.jobs.journal.with_fingerprints`."""

    @property
    def part(self) -> str:
        """Name of the file that it writes: another one for whatever is made from something else."""
        return f"{self.block.index:06d}{self.fingerprint and '-'}{self.fingerprint[:16]}.tif"


@dataclass(frozen=True)
class BlockDone:
    """What a worker says of a block."""

    index: int
    part: str
    n_pixels: int
    """Pixels of the area in it."""
    n_valid: int
    """Those that have a class."""
    read_s: float
    """Waiting for pixels: they are read while the network runs."""
    predict_s: float
    """From pixels to classes, what follows included."""
    network_s: float
    blend_s: float
    n_pixels_run: int
    """Pixels that went through the network, halos and views of ``tta`` included."""
    peak_memory_mb: float
    gaps: tuple[tuple[str, str], ...] = ()
    """Files with pixels that could not be read and were left out, each with the reason."""


def run_block(task: BlockTask) -> BlockDone:
    """Load, mask clouds, composite, predict, and write the part, which appears in its place when it is whole.

    Raises:
        ImageryError: pixels cannot be read.
        ModelError: the model cannot be run.
        OutputError: the part cannot be written.
    """
    one_heap()
    bound_gdal_cache()
    window = task.block.window
    mask = aoi_mask(task.aoi_px, window)
    started = time.perf_counter()
    gaps = Gaps() if task.leaves_gaps else None
    layers, costs = _layers(task, mask, gaps)
    total_s = time.perf_counter() - started
    done = BlockDone(
        index=task.block.index,
        part=task.part,
        n_pixels=int(mask.sum()),
        n_valid=int((layers[0] != CLASS_NODATA).sum()),
        predict_s=total_s - costs["read_s"],
        **costs,
        peak_memory_mb=peak_memory_mb(),
        gaps=gaps.reasons if gaps else (),
    )
    with _place(task) as folder:
        path = folder / task.part
        write_part(path, layers, window_geobox(task.plan.geobox, window))
        if task.store is not None:
            leave_part(Store(task.store), path, fingerprint=task.fingerprint, done=asdict(done))
    return done


@contextmanager
def _place(task: BlockTask) -> Iterator[Path]:
    """Where a worker writes a part: its own temporary folder, if it goes to a store."""
    if task.store is None:
        yield task.parts
        return
    with tempfile.TemporaryDirectory(prefix="geoseg-") as folder:
        yield Path(folder)


def _layers(
    task: BlockTask, mask: NDArray[np.bool_], gaps: Gaps | None
) -> tuple[list[NDArray[np.uint8]], dict[str, Any]]:
    """The layers of a block, and what they cost as :func:`geoseg.inference.predictor.predict` says it."""
    if not mask.any():
        return _nothing(task), _NO_COSTS
    if task.n_pieces == 1:
        return _predict(task, mask, gaps)
    layers, costs = _nothing(task), _NO_COSTS
    for window in pieces_of(task.block.window, task.n_pieces):
        rows, cols = _inside(window, task.block.window)
        piece = replace(task, n_pieces=1, block=replace(task.block, window=window))
        found, more = _layers(piece, mask[rows, cols], gaps)
        for layer, pixels in zip(layers, found, strict=True):
            layer[rows, cols] = pixels
        costs = {name: costs[name] + more[name] for name in costs}
    return layers, costs


def pieces_of(window: Window, n: int) -> list[Window]:
    """The window in ``n`` by ``n`` pieces, as far as its pixels go."""
    height, width = -(-window.height // n), -(-window.width // n)
    (top, bottom), (left, right) = window.toranges()
    return [
        Window(col, row, min(width, right - col), min(height, bottom - row))
        for row in range(top, bottom, height)
        for col in range(left, right, width)
    ]


def _inside(part: Window, whole: Window) -> tuple[slice, slice]:
    """Rows and columns of ``part``, counted from the first of ``whole``."""
    top, left = part.row_off - whole.row_off, part.col_off - whole.col_off
    return slice(top, top + part.height), slice(left, left + part.width)


def aoi_mask(aoi_px: BaseGeometry | None, window: Window) -> NDArray[np.bool_]:
    """(y, x) True where a pixel's centre lies in the area.

    A centre on the border falls on the same side in every window: see :attr:`geoseg.jobs.plan.Plan.aoi_px`.
    """
    shape = (window.height, window.width)
    if aoi_px is None:
        return np.ones(shape, bool)
    parts = shapely.get_parts(aoi_px)  # of a country most are far away
    near = parts[shapely.intersects(parts, shapely.box(*bounds_of(window)))]
    if not near.size:
        return np.zeros(shape, bool)
    moved = Affine.translation(window.col_off, window.row_off)
    burned = rasterize(near, out_shape=shape, transform=moved, dtype="uint8")
    return np.asarray(burned, bool)


def bounds_of(window: Window) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) in pixels."""
    left, top = window.col_off, window.row_off
    return left, top, left + window.width, top + window.height


_NO_COSTS: dict[str, Any] = {"read_s": 0.0, "network_s": 0.0, "blend_s": 0.0, "n_pixels_run": 0}


def _predict(
    task: BlockTask, mask: NDArray[np.bool_], gaps: Gaps | None
) -> tuple[list[NDArray[np.uint8]], dict[str, Any]]:
    items = pystac.ItemCollection([pystac.Item.from_dict(i) for i in task.items])
    if not items.items:
        return _nothing(task), _NO_COSTS
    window = task.block.window
    needed = snap_out(task.plan.geobox, task.plan.hull(window), CELL)

    with gdal_env(read_environment(task.catalog)):
        image = read_composite(task, items, window_geobox(task.plan.geobox, needed), gaps)
        with closing(strips_of(image, plan=task.plan, window=window, mask=mask)) as strips:
            done = predict(
                strips,
                model=model_of(task.model, task.model_fingerprint),  # loaded while the first rows are read
                plan=task.plan,
                window=window,
                mask=mask,
                how=task.how,
                on_rows=_row_listener(task),
            )
    return [done[name].to_numpy() for name in layers_of(task.how.uncertainty)], dict(done.attrs)


def read_composite(
    task: BlockTask, items: pystac.ItemCollection, geobox: GeoBox, gaps: Gaps | None = None
) -> xr.DataArray:
    """The lazy image of a block: signed here, in the worker, when its pixels are about to be read."""
    sign = signer(task.catalog.signing)
    data = load(items, geobox=geobox, bands=task.bands, sign=sign, gaps=gaps)
    clouds = load_clouds(items, geobox=geobox, sign=sign, gaps=gaps) if task.has_clouds else None
    return composite(mask_clouds(data, clouds), task.composite)


def read_window(task: BlockTask, window: Window) -> NDArray[np.float32]:
    """(band, y, x) reflectance of a pixel rectangle of the plan's geobox, NaN = nodata.

    Whole cells are read, so a pixel is the same whatever window it is read with.
    """
    items = pystac.ItemCollection([pystac.Item.from_dict(i) for i in task.items])
    if not items.items:
        return np.full((len(task.bands), window.height, window.width), np.nan, np.float32)
    needed = snap_out(task.plan.geobox, window, CELL)
    with gdal_env(read_environment(task.catalog)):
        image = read_composite(task, items, window_geobox(task.plan.geobox, needed)).compute()
    top, left = window.row_off - needed.row_off, window.col_off - needed.col_off
    pixels: NDArray[np.float32] = image.to_numpy()[:, top : top + window.height, left : left + window.width]
    return pixels


def _row_listener(task: BlockTask) -> Callable[[int], None] | None:
    listener = ROW_LISTENERS.get(str(task.parts))
    if listener is None:
        return None
    return lambda n_rows: listener(n_rows * task.block.window.width)


@lru_cache(maxsize=2)
def model_of(name: str, fingerprint: str) -> Model:
    """The model of a task: loaded once in a process, and again when it is another one under the same name."""
    model = create_model(name)
    if model.fingerprint != fingerprint:
        raise ModelError(
            f"{name} is another model on this worker (fingerprint {model.fingerprint[:12]}…) than the one "
            f"that the run was planned with ({fingerprint[:12]}…). Give all workers the same model folder."
        )
    return model


def _nothing(task: BlockTask) -> list[NDArray[np.uint8]]:
    shape = (task.block.window.height, task.block.window.width)
    return [np.full(shape, CLASS_NODATA, np.uint8) for _ in layers_of(task.how.uncertainty)]
