"""Clouds, shadows and other pixels that show no ground: masked by what the catalog's file says."""

import numpy as np
import xarray as xr


def mask_clouds(data: xr.DataArray, clouds: xr.DataArray | None) -> xr.DataArray:
    """``data`` with NaN where its item is cloudy; lazy if ``data`` is.

    Args:
        data: (time, band, y, x) float32.
        clouds: (time, y, x) from :func:`geoseg.imagery.loader.load_clouds`: the classes of Sentinel-2's SCL,
            or the bits of Landsat's QA_PIXEL and HLS' Fmask. Its attribute ``rules`` lists per time
            either ``values`` (classes masked) or ``bits`` (masked if any is set); an empty rule masks
            nothing at that time. None: nothing is masked.

    Pixels whose cloud value is itself nodata are masked as well: nothing vouches for them.
    """
    if clouds is None:
        return data
    clear = [_is_clear(clouds.isel(time=i), rule) for i, rule in enumerate(clouds.attrs["rules"])]
    return data.where(xr.concat(clear, dim="time", combine_attrs="drop", join="exact"))


def _is_clear(layer: xr.DataArray, rule: dict[str, list[int]]) -> xr.DataArray:
    if not rule:
        return xr.ones_like(layer, dtype=bool)
    known = layer.notnull()
    if "bits" in rule:
        flags = layer.fillna(0).astype(np.uint32)
        mask = sum({1 << bit for bit in rule["bits"]})
        return known & ((flags & np.uint32(mask)) == 0)
    return known & ~layer.isin(rule["values"])
