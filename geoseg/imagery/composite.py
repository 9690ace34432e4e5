"""Many dates to one: how the values of a pixel become a single value."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geoseg.errors import RecipeError
from geoseg.registry import Registry

Pixels = NDArray[np.float32]

COMPOSITES: Registry[Callable[[Pixels], Pixels]] = Registry("composite", RecipeError)
"""Each takes (time, band, y, x) float32, NaN for nodata, times in order of preference; gives (band, y, x)."""

ORDER_BY_CLOUDS, ORDER_BY_DATE = "least-cloudy", "nearest-date"
_STRIP = 32_768
"""Values sorted at once, so that all their times stay in the processor's cache."""


@COMPOSITES.register("median")
def median(pixels: Pixels) -> Pixels:
    """Per band the middle of the valid values; the mean of the two middle ones where they are even in number.

    Sorted by a network of comparisons between whole layers, which takes half the time of ``np.sort`` and a
    fifth of that of ``np.nanmedian``.
    """
    if len(pixels) == 1:  # as most local images: not even a copy, unless some value is infinite
        (only,) = pixels
        return np.where(np.isinf(only), np.float32(np.nan), only) if np.isinf(only).any() else only
    flat = pixels.reshape(len(pixels), -1)  # (time, value)
    result = np.empty(flat.shape[1], np.float32)
    for start in range(0, flat.shape[1], _STRIP):
        result[start : start + _STRIP] = _median_of_strip(flat[:, start : start + _STRIP])
    return result.reshape(pixels.shape[1:])


def _median_of_strip(strip: Pixels) -> Pixels:
    is_valid = np.isfinite(strip)
    layers = np.where(is_valid, strip, np.float32(np.inf))  # (time, value), invalid ones sort last
    lower = np.empty_like(layers[0])
    for i, j in _comparisons(len(layers)):
        np.minimum(layers[i], layers[j], out=lower)
        np.maximum(layers[i], layers[j], out=layers[j])
        layers[i] = lower
    count = is_valid.sum(axis=0)
    at = np.arange(len(count))
    low = layers[np.maximum(count - 1, 0) // 2, at]
    high = layers[np.minimum(count // 2, len(layers) - 1), at]
    return np.where(count > 0, low * np.float32(0.5) + high * np.float32(0.5), np.float32(np.nan))


@lru_cache
def _comparisons(n: int) -> tuple[tuple[int, int], ...]:
    """Pairs that, compared and swapped in this order, sort ``n`` values (Batcher 1968, odd-even merging)."""
    pairs, p = [], 1
    while p < n:
        k = p
        while k >= 1:
            for j in range(k % p, n - k, 2 * k):
                for i in range(j, min(j + k, n - k)):
                    if i // (2 * p) == (i + k) // (2 * p):
                        pairs.append((i, i + k))
            k //= 2
        p *= 2
    return tuple(pairs)


@COMPOSITES.register("first")
def first(pixels: Pixels) -> Pixels:
    """The first time at which all bands are valid, whole: a pixel's spectrum is never mixed from dates."""
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
        data: (time, band, y, x) float32 reflectance, NaN = nodata (infinite counts as nodata too), times in
            order of preference.
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
