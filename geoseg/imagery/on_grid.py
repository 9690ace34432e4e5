"""Local files whose pixels lie on the grid: whole rows of all bands at once, each block unpacked once."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import rasterio
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from rasterio.windows import Window

from geoseg.errors import ImageryError
from geoseg.imagery.gaps import Gaps
from geoseg.imagery.reading import read_patiently

ROWS = 512
"""Rows that are read at a time, at least; whole blocks of the file."""
_EXACT = 1e-6
"""How far from whole pixels a file may lie, in pixels, to be on the grid."""


def place_on_grid(asset: pystac.Asset, geobox: GeoBox) -> tuple[int, int] | None:
    """Row and column of the asset's first pixel on ``geobox``; None where it lies otherwise, or is no file.

    Only what the item states is looked at (``proj:transform``, ``proj:code``); nothing is opened.
    """
    stated, code = asset.extra_fields.get("proj:transform"), asset.extra_fields.get("proj:code")
    if not stated or not code or geobox.crs != code or not Path(asset.href).is_file():
        return None
    shift = ~geobox.affine @ Affine(*stated[:6])
    col, row = shift.c, shift.f
    off = (shift.a - 1, shift.b, shift.d, shift.e - 1, col - round(col), row - round(row))
    # A deviation of scale adds up over the width of the image.
    size = max(*geobox.shape, *asset.extra_fields.get("proj:shape", (1, 1)))
    if max(map(abs, off[:4])) * size > _EXACT or max(map(abs, off[4:])) > _EXACT:
        return None
    return round(row), round(col)


@dataclass(frozen=True)
class Stored:
    """How a band lies in its file."""

    index: int
    """Its number, from 1."""
    scale: np.float32
    """Reflectance = stored number * scale + offset."""
    offset: np.float32
    nodata: float | None
    """As the item states it; the file's own counts too."""


def read_on_grid(
    asset: pystac.Asset,
    bands: Mapping[str, Stored],
    *,
    at: tuple[int, int],
    geobox: GeoBox,
    dtype: str,
    gaps: Gaps | None = None,
) -> xr.DataArray:
    """Reflectance of some bands of a file, not yet read: (band, y, x) float32 on ``geobox``, NaN outside the
    file and where nodata.

    Args:
        asset: a local file.
        bands: by name.
        at: row and column of the file's first pixel, see :func:`place_on_grid`.
        geobox: the grid.
        dtype: that it is computed in, float32 or float64.
        gaps: told of what cannot be read, which is NaN then: squares of :data:`ROWS`, counted from the first
            column of the grid, of one block of the file in height; None: it raises.
    """
    import dask.array as da

    height, width = geobox.shape
    edges = _edges(asset.href, at[0], height, gaps)
    strips = [
        da.from_delayed(
            _delayed(
                gaps,
                asset.href,
                tuple(bands.values()),
                Window(-at[1], top - at[0], width, bottom - top),
                dtype,
            ),
            shape=(len(bands), bottom - top, width),
            dtype=np.float32,
        )
        for top, bottom in pairwise(edges)
    ]
    return xr.DataArray(
        da.concatenate(strips, axis=1),
        dims=("band", "y", "x"),
        coords={**xr_coords(geobox), "band": list(bands)},
        name="reflectance",
    )


def _delayed(*given: Any) -> Any:
    import dask

    return dask.delayed(_reflectance, pure=False)(*given)


def _reflectance(
    gaps: Gaps | None, path: str, bands: tuple[Stored, ...], window: Window, dtype: str
) -> NDArray[np.float32]:
    """(band, y, x) of a window; computed in place, since such arrays are the largest of a run."""
    result = _read_or_leave(gaps, path, bands, window, dtype)
    for layer, band in zip(result, bands, strict=True):
        if band.scale != 1:
            layer *= band.scale
        if band.offset != 0:
            layer += band.offset
    return result.astype(np.float32, copy=False)


def _edges(path: str, top: int, height: int, gaps: Gaps | None) -> list[int]:
    """Where strips begin and end: between blocks of the file, whose first row lies at ``top``."""
    try:
        step = read_patiently(path, _block_height)
    except ImageryError:
        if gaps is None:
            raise
        step = ROWS  # each strip will be noted
    step *= -(-ROWS // step)
    first = top + -(-(1 - top) // step) * step  # the first edge below row 0
    return [0, *range(first, height, step), height]


def _block_height(address: str) -> int:
    with rasterio.open(address) as source:
        return int(min(source.block_shapes[0][0], source.height))


def _read_or_leave(
    gaps: Gaps | None, path: str, bands: tuple[Stored, ...], window: Window, dtype: str
) -> NDArray[np.floating[Any]]:
    """As :func:`_read_rows`; where there may be gaps, what cannot be read is NaN."""
    try:
        return _read_rows(path, bands, window, dtype)
    except ImageryError as error:
        if gaps is None:
            raise
        gaps.note(path, error)
    result = np.full((len(bands), window.height, window.width), np.nan, dtype)
    with suppress(ImageryError):
        for part in _squares(window, read_patiently(path, _block_height)):
            top, left = part.row_off - window.row_off, part.col_off - window.col_off
            with suppress(ImageryError):
                pixels = _read_rows(path, bands, part, dtype)
                result[:, top : top + part.height, left : left + part.width] = pixels
    return result


def _squares(window: Window, step: int) -> Iterator[Window]:
    """The window in parts that are the same in any window: blocks of the file in height, cells in width."""
    (top, bottom), (left, right) = window.toranges()
    rows = [top, *range(top // step * step + step, bottom, step), bottom]
    cols = [*range(left, right, ROWS), right]
    for (first, last), (west, east) in product(pairwise(rows), pairwise(cols)):
        yield Window(west, first, east - west, last - first)


def _read_rows(path: str, bands: tuple[Stored, ...], window: Window, dtype: str) -> NDArray[np.floating[Any]]:
    """Stored numbers (band, y, x) of a window that may reach beyond the file, NaN there and where nodata."""
    indexes = [band.index for band in bands]

    def read(address: str) -> NDArray[np.floating[Any]]:
        shape = (len(bands), window.height, window.width)
        with rasterio.open(address) as source:
            inside = _overlap(window, source.height, source.width)
            if inside is None:
                return np.full(shape, np.nan, dtype)
            found: NDArray[np.floating[Any]] = source.read(indexes, window=inside, out_dtype=dtype)
            for layer, band in zip(found, bands, strict=True):
                for value in {band.nodata, source.nodatavals[band.index - 1]} - {None}:
                    layer[layer == layer.dtype.type(value)] = np.nan
        if found.shape == shape:
            return found
        result = np.full(shape, np.nan, dtype)
        top, left = inside.row_off - window.row_off, inside.col_off - window.col_off
        result[:, top : top + inside.height, left : left + inside.width] = found
        return result

    def where() -> str:
        rows = f"rows {max(window.row_off, 0)} to {window.row_off + window.height - 1}"
        return f"{rows} of band{'s' * (len(indexes) > 1)} {', '.join(map(str, indexes))}"

    return read_patiently(path, read, where=where)


def _overlap(window: Window, height: int, width: int) -> Window | None:
    """The part of a window that lies in a file of that size; None where there is none."""
    top, left = max(window.row_off, 0), max(window.col_off, 0)
    bottom = min(window.row_off + window.height, height)
    right = min(window.col_off + window.width, width)
    return Window(left, top, right - left, bottom - top) if top < bottom and left < right else None
