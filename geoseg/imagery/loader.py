"""Items to pixels: lazy, on THE grid, as reflectance."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import odc.stac
import pystac
import rasterio
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from geoseg.errors import ImageryError

CELL = 512
"""Side of the squares in which pixels are read. A resampled pixel may depend on the square it is read with
(GDAL warps by approximation), so all reads are of whole squares of one lattice."""

CLOUDS = "clouds"
"""Name of the asset and band that holds the cloud classes or bits of a prepared item."""

GDAL_OPTIONS: dict[str, str] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MAX_RETRY": "6",
    "GDAL_HTTP_RETRY_DELAY": "0.25",
    "GDAL_HTTP_RETRY_CODES": "ALL",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_LOW_SPEED_TIME": "30",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "100",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "VSI_CACHE": "TRUE",
}
"""For COGs over HTTP (gdal.org/user/configoptions.html). GDAL waits 0.25 s, doubling, six times: 16 s."""


def gdal_env(options: Mapping[str, str] | None = None) -> rasterio.Env:
    """The GDAL settings in which assets are read; those the user has set in the environment win."""
    chosen = {**GDAL_OPTIONS, **(options or {})}
    return rasterio.Env(**{k: v for k, v in chosen.items() if k not in os.environ})


def load(
    items: pystac.ItemCollection,
    *,
    geobox: GeoBox,
    bands: tuple[str, ...],
    resampling: str = "bilinear",
    sign: Callable[[str], str] | None = None,
) -> xr.DataArray:
    """Reflectance of prepared items on ``geobox``, not yet read.

    Args:
        items: items as :func:`geoseg.imagery.preflight.check_inputs` prepares them: their bands go by common
            name and carry the scale, offset and nodata that were decided.
        geobox: the grid. Pixels are read in squares of :data:`CELL`, counted from its first pixel.
        bands: STAC common names.
        resampling: for bands on another grid; pixels that lie on the grid are taken as they are.
        sign: turns an address into one that may be read; called here, so call ``load`` where the pixels
            are read, not where the work is planned: signatures expire.

    Returns:
        (time, band, y, x) float32, one time per item in the order given, NaN where an item has no value.
        Dask-backed; reading happens on compute and raises what rasterio raises.
    """
    layers = [_load_item(item, geobox, bands, resampling, sign) for item in items]
    return xr.concat(layers, dim="time")


def load_clouds(
    items: pystac.ItemCollection, *, geobox: GeoBox, sign: Callable[[str], str] | None = None
) -> xr.DataArray | None:
    """Cloud classes or bits as the catalogs give them, (time, y, x) int, nearest neighbour; None without any.

    The attribute ``rules`` holds for each time which values or bits mean cloud.
    """
    if not any(CLOUDS in item.assets for item in items):
        return None
    layers = [_load_item(item, geobox, (CLOUDS,), "nearest", sign).isel(band=0, drop=True) for item in items]
    stacked = xr.concat(layers, dim="time", combine_attrs="drop")
    rules = [
        item.assets[CLOUDS].extra_fields["geoseg:clouds"] if CLOUDS in item.assets else {} for item in items
    ]
    return stacked.assign_attrs(rules=rules)


def _load_item(
    item: pystac.Item,
    geobox: GeoBox,
    bands: tuple[str, ...],
    resampling: str,
    sign: Callable[[str], str] | None,
) -> xr.DataArray:
    missing = [b for b in bands if b not in band_metadata(item)]
    if missing == list(bands):
        return _nothing(geobox, bands)
    if missing:
        raise ImageryError(f"Item {item.id} lost its bands {', '.join(missing)}. Run geoseg check on it.")
    data = odc.stac.load(
        [item],
        bands=list(bands),
        geobox=geobox,
        groupby="id",
        chunks={"y": CELL, "x": CELL},
        resampling=resampling,
        dtype="float32",
        patch_url=sign,
    )
    layers = [_calibrated(data[band], band_metadata(item)[band]) for band in bands]
    stacked = xr.concat(layers, dim="band", combine_attrs="drop").assign_coords(band=list(bands))
    return stacked.transpose("time", "band", "y", "x").drop_vars("time")


def _nothing(geobox: GeoBox, bands: tuple[str, ...]) -> xr.DataArray:
    import dask.array as da

    shape = (1, len(bands), *geobox.shape)
    empty = da.full(shape, np.nan, dtype=np.float32, chunks=(1, -1, CELL, CELL))
    coords = {**xr_coords(geobox), "band": list(bands)}
    return xr.DataArray(empty, dims=("time", "band", "y", "x"), coords=coords)


def band_metadata(item: pystac.Item) -> dict[str, dict[str, Any]]:
    """``raster:bands`` entries of a prepared item by common name."""
    found = {}
    for asset in item.assets.values():
        eo, raster = asset.extra_fields.get("eo:bands", []), asset.extra_fields.get("raster:bands", [])
        for names, values in zip(eo, raster, strict=False):
            if "common_name" in names or names.get("name") == CLOUDS:
                found[names.get("common_name", CLOUDS)] = values
    return found


def _calibrated(data: xr.DataArray, metadata: Mapping[str, Any]) -> xr.DataArray:
    nodata = metadata.get("nodata")
    if nodata is not None and not np.isnan(float(nodata)):
        data = data.where(data != np.float32(nodata))
    scale, offset = np.float32(metadata.get("scale", 1)), np.float32(metadata.get("offset", 0))
    return data if (scale, offset) == (1, 0) else data * scale + offset
