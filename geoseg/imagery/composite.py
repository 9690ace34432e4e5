"""Many dates to one: how the values of a pixel become a single value."""

from collections.abc import Callable

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geoseg.errors import RecipeError
from geoseg.registry import Registry

Pixels = NDArray[np.float32]

COMPOSITES: Registry[Callable[[Pixels], Pixels]] = Registry("composite", RecipeError)
"""Each takes (time, band, y, x) float32 with NaN for nodata, times in order of preference, and gives (band, y, x)."""

ORDER_BY_CLOUDS, ORDER_BY_DATE = "least-cloudy", "nearest-date"


@COMPOSITES.register("median")
def median(pixels: Pixels) -> Pixels:
    """Per band the middle of the valid values; the mean of the two middle ones where they are even in number."""
    ordered = np.sort(pixels, axis=0)  # NaN last
    count = np.sum(np.isfinite(ordered), axis=0, keepdims=True)
    low = np.take_along_axis(ordered, np.maximum((count - 1) // 2, 0), axis=0)
    high = np.take_along_axis(ordered, np.minimum(count // 2, len(ordered) - 1), axis=0)
    with np.errstate(invalid="ignore"):
        middle = np.where(count % 2 == 1, low, (low + high) * np.float32(0.5))
    return np.where(count > 0, middle, np.float32(np.nan))[0].astype(np.float32)


@COMPOSITES.register("first")
def first(pixels: Pixels) -> Pixels:
    """The first time at which all bands are valid, whole: the spectrum of a pixel is never mixed from dates."""
    result = np.full(pixels.shape[1:], np.nan, np.float32)
    missing = np.ones(pixels.shape[2:], bool)
    for layer in pixels:  # (band, y, x)
        take = missing & np.isfinite(layer).all(axis=0)
        result[:, take] = layer[:, take]
        missing &= ~take
    return result


COMPOSITES.register(ORDER_BY_CLOUDS)(first)
COMPOSITES.register(ORDER_BY_DATE)(first)


def composite(data: xr.DataArray, method: str = "median") -> xr.DataArray:
    """One value per pixel and band, lazily, chunk by chunk.

    Args:
        data: (time, band, y, x) float32 reflectance, NaN = nodata, times in order of preference.
        method: ``median``; ``first`` takes the first valid time in the order given; ``least-cloudy`` and
            ``nearest-date`` are ``first`` after the items were put into that order by ``select_items``.

    Returns:
        (band, y, x) float32, NaN where no time is valid. Memory: one chunk of all times per thread.

    Raises:
        RecipeError: unknown method.
    """
    reducer = COMPOSITES[method]
    data = data.transpose("time", "band", "y", "x")
    if data.chunks is None:
        pixels = reducer(data.to_numpy())
    else:
        whole = data.chunk({"time": -1, "band": -1})
        pixels = whole.data.map_blocks(reducer, drop_axis=0, dtype=np.float32)
    return data.isel(time=0, drop=True).copy(data=pixels)
