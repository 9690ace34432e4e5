"""Small GeoTIFFs, items over them, and the way from files to pixels that the tests of this room share."""

from collections.abc import Sequence
from datetime import UTC as UTC_TIME
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import rasterio
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry

from geoseg.grid.geobox import geobox_for
from geoseg.imagery.loader import load
from geoseg.imagery.local import COLLECTION, items_from_images
from geoseg.imagery.preflight import Preflight, check_inputs
from geoseg.imagery.reading import gdal_env
from geoseg.legend import Legend
from geoseg.models.card import ModelCard
from geoseg.stac.catalog import Catalog

IMAGES = Catalog(name=COLLECTION, title="the images given", url="")
DAY = datetime(2024, 6, 1, tzinfo=UTC_TIME)
UTM = "EPSG:32725"
NORTH_UP = Affine(10, 0, 500_000, 0, -10, 9_000_000)
IMAGERY = Path(__file__).parents[2] / "../shared/data/imagery"
Pixels = NDArray[Any]


def card(*bands: str, **given: Any) -> ModelCard:
    """A model's card with those bands."""
    values: dict[str, Any] = {
        "name": "test-model", "title": "", "family": "none", "bands": bands, "gsd_m": 10, "gsd_range_m": (1, 120),
        "license": "Apache-2.0", "legend": Legend.of(water="1F78B4", land="B2DF8A"),
    }  # fmt: skip
    return ModelCard(**{**values, **given})


def write(
    path: Path,
    pixels: Pixels,
    *,
    names: Sequence[str | None] = (),
    transform: Affine = NORTH_UP,
    crs: Any = UTM,
    nodata: float | None = None,
    scales: Sequence[float] | None = None,
    offsets: Sequence[float] | None = None,
    **profile: Any,
) -> str:
    """A GeoTIFF of (band, y, x) pixels; its path."""
    count, height, width = pixels.shape
    profile = {"driver": "GTiff", "dtype": pixels.dtype, "nodata": nodata, **profile}
    placed = {"crs": crs, "transform": transform}
    with rasterio.open(path, "w", count=count, height=height, width=width, **placed, **profile) as file:
        file.write(pixels)
        for number, name in enumerate(names, 1):
            if name:
                file.set_band_description(number, name)
        if scales:
            file.scales = scales
        if offsets:
            file.offsets = offsets
    return str(path)


def dn(
    n_bands: int, height: int = 40, width: int = 50, *, low: int = 100, high: int = 5000, seed: int = 0
) -> Pixels:
    """Random reflectance x 10000, uint16, dark enough to show that no Sentinel-2 offset is in."""
    return np.random.default_rng(seed).integers(low, high, (n_bands, height, width)).astype(np.uint16)


def area_of(items: pystac.ItemCollection) -> Geometry:
    """What the first file of the first item covers, in its own CRS."""
    fields = next(iter(items[0].assets.values())).extra_fields
    crs = fields["proj:code"] or fields["proj:wkt2"]
    return GeoBox(fields["proj:shape"], Affine(*fields["proj:transform"]), crs).extent


def checked(*paths: str, model: ModelCard | None = None, **given: Any) -> Preflight:
    """Files through the preflight of a model, by default one that takes green, red and nir."""
    given_card = model or card("green", "red", "nir")
    grid = {key: given.pop(key) for key in ("gsd_m", "crs") if key in given}
    items = items_from_images(list(paths), **given)
    return check_inputs(items, given_card, aoi=area_of(items), catalog=IMAGES, **grid)


def read(inputs: Preflight, aoi: Geometry, **given: Any) -> xr.DataArray:
    """The pixels of checked items on the map's grid, (time, band, y, x)."""
    geobox = geobox_for(aoi, gsd_m=inputs.gsd_m, crs=inputs.crs, anchor=inputs.anchor)
    return read_on(inputs.items, geobox, inputs.bands, **given)


def read_on(
    items: pystac.ItemCollection, geobox: GeoBox, bands: tuple[str, ...], **given: Any
) -> xr.DataArray:
    """The pixels of prepared items on any grid."""
    with gdal_env():
        return load(items, geobox=geobox, bands=bands, **given).compute(scheduler="threads")


def item_of(
    *assets: tuple[str, dict[str, Any]],
    name: str = "item",
    collection: str = "somewhere",
    **properties: Any,
) -> pystac.Item:
    """A STAC item over (path, extra fields) assets named a, b, c ..., placed by what the files say."""
    item = pystac.Item(name, None, None, DAY, properties={**properties})
    item.collection_id = collection
    footprint = None
    for key, (path, fields) in zip("abcdefgh", assets, strict=False):
        with rasterio.open(path) as file:
            geobox = GeoBox(file.shape, file.transform, str(file.crs))
            proj = {
                "proj:code": str(file.crs),
                "proj:shape": list(file.shape),
                "proj:transform": list(file.transform)[:6],
            }
        footprint = footprint or geobox.extent.to_crs("EPSG:4326")
        item.add_asset(
            key,
            pystac.Asset(path, media_type="image/tiff; application=geotiff", extra_fields={**proj, **fields}),
        )
    assert footprint is not None
    item.geometry, item.bbox = footprint.json, list(footprint.boundingbox.bbox)
    return item
