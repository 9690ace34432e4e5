"""Items to pixels: lazy, on THE grid, as reflectance."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import odc.stac
import pystac
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.overlap import compute_reproject_roi
from odc.geo.xr import xr_coords
from odc.loader import RasterLoadParams, RasterSource, RioDriver, RioReader

from geoseg.errors import ImageryError
from geoseg.imagery.gaps import Gaps
from geoseg.imagery.on_grid import Stored, place_on_grid, read_on_grid
from geoseg.imagery.reading import read_patiently, server_options

CELL = 512
"""Side of the squares in which pixels are read. A resampled pixel may depend on the square it is read with
(GDAL warps by approximation), so all reads are of whole squares of one lattice."""

CLOUDS = "clouds"
"""Name of the asset and band that holds the cloud classes or bits of a prepared item."""

MASKED = "geoseg:is_masked"
"""Field of an asset whose file hides pixels by a mask or an alpha band."""

_WIDE = frozenset({"int32", "uint32", "int64", "uint64"})
_Sign = Callable[[str], str] | None


def load(
    items: pystac.ItemCollection,
    *,
    geobox: GeoBox,
    bands: tuple[str, ...],
    resampling: str = "bilinear",
    sign: Callable[[str], str] | None = None,
    gaps: Gaps | None = None,
) -> xr.DataArray:
    """Reflectance of prepared items on ``geobox``, not yet read.

    Args:
        items: items as :func:`geoseg.imagery.preflight.check_inputs` prepares them: their bands go by common
            name and carry the scale, offset and nodata that were decided.
        geobox: the grid. Pixels are read in squares of :data:`CELL`, counted from its first pixel; of local
            files that lie on the grid whole rows, see :mod:`geoseg.imagery.on_grid`.
        bands: STAC common names.
        resampling: for bands on another grid; pixels that lie on the grid are taken as they are.
        sign: turns an address into one that may be read; called for each read, since signatures expire.
        gaps: told of squares that cannot be read, which are nodata then; None: they raise.

    Returns:
        (time, band, y, x) float32, one time per item in the order given, NaN where an item has no value.
        Dask-backed. Compute it within :func:`geoseg.imagery.reading.gdal_env`; that raises ImageryError when
        pixels cannot be read, however patiently.
    """
    layers = [_load_item(item, geobox, bands, resampling, sign, gaps) for item in items]
    return xr.concat(layers, dim="time")


def load_clouds(
    items: pystac.ItemCollection,
    *,
    geobox: GeoBox,
    sign: Callable[[str], str] | None = None,
    gaps: Gaps | None = None,
) -> xr.DataArray | None:
    """Cloud classes or bits as the catalogs give them, nearest neighbour, lazily; None without any.

    (time, y, x) whole numbers as float32, exact up to 2**24, NaN where an item has none. The attribute
    ``rules`` holds for each time which values or bits mean cloud.
    """
    if not any(CLOUDS in item.assets for item in items):
        return None
    layers = [
        _load_item(item, geobox, (CLOUDS,), "nearest", sign, gaps).isel(band=0, drop=True) for item in items
    ]
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
    gaps: Gaps | None,
) -> xr.DataArray:
    missing = [b for b in bands if b not in band_metadata(item)]
    if missing == list(bands):
        return _nothing(geobox, bands)
    if missing:
        raise ImageryError(f"Item {item.id} lost its bands {', '.join(missing)}. Run geoseg check on it.")
    metadata = band_metadata(item)
    dtype = "float64" if any(_is_wide(metadata[band]) for band in bands) else "float32"
    stacked = None if sign else _read_local(item, geobox, bands, dtype, gaps)
    if stacked is None:
        data = _read(item, geobox, bands, resampling, sign, gaps, dtype=dtype)
        layers = [_calibrated(data[band], metadata[band]).astype("float32") for band in bands]
        stacked = xr.concat(layers, dim="band", combine_attrs="drop").assign_coords(band=list(bands))
    masks = _masks(item)
    if masks.assets:
        found = _read(masks, geobox, tuple(masks.assets), "nearest", sign, gaps, is_mask=True)
        shown = found.to_dataarray("band")
        stacked = stacked.where((shown > 0).all("band"))
    return stacked.transpose("time", "band", "y", "x").drop_vars("time", errors="ignore")


def _read_local(
    item: pystac.Item, geobox: GeoBox, bands: tuple[str, ...], dtype: str, gaps: Gaps | None
) -> xr.DataArray | None:
    """Reflectance of files that lie on the grid, faster than by :func:`_read`; None where one does not."""
    parts = dict[str, xr.DataArray]()
    for asset in item.assets.values():
        named = [_name(b) for b in asset.extra_fields["eo:bands"]]
        wanted = {b: named.index(b) for b in bands if b in named and b not in parts}
        if not wanted:
            continue
        at = place_on_grid(asset, geobox)
        if at is None:
            return None
        metadata = {b: asset.extra_fields["raster:bands"][n] for b, n in wanted.items()}
        stored = {
            b: Stored(n + 1, *_scaling(metadata[b]), metadata[b].get("nodata")) for b, n in wanted.items()
        }
        found = read_on_grid(asset, stored, at=at, geobox=geobox, dtype=dtype, gaps=gaps)
        parts |= dict.fromkeys(wanted, found)
    files = list({id(found): found for found in parts.values()}.values())
    stacked = files[0] if len(files) == 1 else xr.concat(files, dim="band", combine_attrs="drop")
    return (stacked if tuple(parts) == bands else stacked.sel(band=list(bands))).expand_dims("time")


def _read(
    item: pystac.Item,
    geobox: GeoBox,
    bands: tuple[str, ...],
    resampling: str,
    sign: Callable[[str], str] | None,
    gaps: Gaps | None,
    *,
    is_mask: bool = False,
    dtype: str = "float32",
) -> xr.Dataset:
    """Stored numbers, or those of the files' masks (0: hidden), as floats, lazily, a variable per band."""
    return odc.stac.load(
        [item],
        bands=list(bands),
        geobox=geobox,
        groupby="id",
        chunks={"y": CELL, "x": CELL},
        resampling=resampling,
        dtype=dtype,
        driver=_PatientDriver(sign, gaps, is_mask),
    )


def _masks(item: pystac.Item) -> pystac.Item:
    """An item of the files that hide pixels by a mask or an alpha band.

    GDAL's warper heeds masks by itself, but pixels that are on the grid already are read without it.
    """
    masks = item.full_copy()
    masks.assets = {}
    for key, asset in item.assets.items():
        if asset.extra_fields.get(MASKED):
            proj = {k: v for k, v in asset.extra_fields.items() if k.startswith("proj:")}
            fields = {**proj, "raster:bands": [{"data_type": "uint8"}]}
            masks.assets[f"mask of {key}"] = pystac.Asset(
                asset.href, media_type=asset.media_type, roles=["data"], extra_fields=fields
            )
    return masks


class _PatientDriver(RioDriver):
    """odc-stac's reader of files, for servers that fail now and then."""

    def __init__(self, sign: _Sign, gaps: Gaps | None, is_mask: bool) -> None:
        super().__init__()
        self._sign = sign
        self._gaps = gaps
        self._is_mask = is_mask

    def capture_env(self) -> dict[str, Any]:
        """GDAL's settings for the threads that read."""
        return super().capture_env() | server_options()

    def open(self, src: RasterSource, ctx: Any) -> RioReader:
        """The reader of one band of one file, or of its mask."""
        return _PatientReader(src, ctx, self._sign, self._gaps, self._is_mask)


class _PatientReader(RioReader):
    def __init__(self, src: RasterSource, ctx: Any, sign: _Sign, gaps: Gaps | None, is_mask: bool) -> None:
        super().__init__(src, ctx)
        self._sign = sign
        self._gaps = gaps
        self._is_mask = is_mask

    def read(
        self, cfg: RasterLoadParams, dst_geobox: GeoBox, *, dst: Any = None, selection: Any = None
    ) -> Any:
        """The pixels on ``dst_geobox``; the item's nodata is the file's too where that states none.

        What cannot be read is nodata where there may be gaps; else it raises.
        """
        cfg = replace(cfg, src_nodata_fallback=cfg.fill_value)

        def once(address: str) -> Any:
            uri = _mask_of(address) if self._is_mask else address
            reader = RioReader(replace(self._src, uri=uri), self._ctx)
            return reader.read(cfg, dst_geobox, dst=dst, selection=selection)

        address, gaps = self._src.uri, self._gaps
        patience_s = 0.0 if gaps is not None and address in gaps else None  # it was waited for
        try:
            return read_patiently(
                address,
                once,
                sign=self._sign,
                where=lambda: _where(self._src, dst_geobox),
                patience_s=patience_s,
            )
        except ImageryError as error:
            if gaps is None:
                raise
            gaps.note(address, error)
            return np.s_[0:0, 0:0], np.empty((0, 0), cfg.dtype)


def _where(source: RasterSource, geobox: GeoBox) -> str:
    """Which pixels of a file, counted from 0, are those of ``geobox``."""
    if source.geobox is None:
        return f"band {source.band}"
    rows, cols = compute_reproject_roi(source.geobox, geobox).roi_src
    return (
        f"rows {rows.start} to {rows.stop - 1}, columns {cols.start} to {cols.stop - 1} of band {source.band}"
    )


def _mask_of(address: str) -> str:
    """What GDAL opens as a file's mask (gdal.org/drivers/raster/vrt.html, ``vrt://``)."""
    scheme, found, rest = address.partition("://")
    if found:
        address = f"/vsicurl/{address}" if scheme in ("http", "https") else f"/vsi{scheme}/{rest}"
    return f"vrt://{address}?bands=mask"


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
            name = _name(names)
            if name is not None:
                found[name] = values
    return found


def _name(band: Mapping[str, Any]) -> str | None:
    """What an ``eo:bands`` entry of a prepared item is called here; None for a band that is not used."""
    name: str | None = band.get("common_name")
    return CLOUDS if name is None and band.get("name") == CLOUDS else name


def _is_wide(metadata: Mapping[str, Any]) -> bool:
    """Whether float32 would round measured whole numbers to the nodata value."""
    return metadata.get("data_type") in _WIDE and abs(metadata.get("nodata", 0)) >= 2**24


def _scaling(metadata: Mapping[str, Any]) -> tuple[np.float32, np.float32]:
    return np.float32(metadata.get("scale", 1)), np.float32(metadata.get("offset", 0))


def _calibrated(data: xr.DataArray, metadata: Mapping[str, Any]) -> xr.DataArray:
    nodata = metadata.get("nodata")
    if nodata is not None and not np.isnan(float(nodata)):
        data = data.where(data != data.dtype.type(nodata))
    scale, offset = _scaling(metadata)
    return data if scale == 1 and offset == 0 else data * scale + offset
