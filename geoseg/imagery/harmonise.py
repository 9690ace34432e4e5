"""Items of any catalog in one form: bands by common name, with nodata, scale and offset beside them."""

from typing import Any

import pystac
import shapely

from geoseg.imagery.bands import SUBSTITUTES
from geoseg.imagery.changes import FILES
from geoseg.imagery.loader import CLOUDS, MASKED
from geoseg.stac.catalog import BandConfig, CollectionConfig
from geoseg.stac.coverage import footprint
from geoseg.stac.metadata import declared_scaling

_KEPT = (
    *("datetime", "start_datetime", "end_datetime", "platform", "constellation", "eo:cloud_cover", "gsd"),
    "updated",  # one that was processed anew is another one
)
_KEPT_OF_ASSETS = (MASKED, FILES, "gsd", "file:checksum", "file:size")
_TIFF = "image/tiff; application=geotiff"


def available_bands(item: pystac.Item, config: CollectionConfig) -> dict[str, BandConfig]:
    """The bands that an item really has, by common name."""
    return {name: band for name, band in config.bands.items() if band.asset in item.assets}


def choose_bands(wanted: tuple[str, ...], available: set[str]) -> tuple[dict[str, str], list[str]]:
    """Which available band serves each wanted one, and which wanted ones nothing serves; none serves two."""
    chosen = {}
    for name in wanted:
        substitutes = [s for s in SUBSTITUTES.get(name, ()) if s not in wanted]
        for candidate in (name, *substitutes):
            if candidate in available:
                chosen[name] = candidate
                break
    return chosen, [name for name in wanted if name not in chosen]


def prepare(
    item: pystac.Item, *, config: CollectionConfig, bands: dict[str, BandConfig], has_clouds: bool
) -> pystac.Item:
    """A small copy of ``item`` that holds just the assets needed, bands by common name, metadata beside them.

    What the item declares of scale, offset and nodata wins over the catalog's file. No links, thumbnails or
    signed addresses travel with it.
    """
    ground = footprint(item)
    small = pystac.Item(
        id=item.id,
        geometry=shapely.geometry.mapping(ground),
        bbox=list(ground.bounds),
        datetime=item.datetime,
        properties={k: v for k, v in item.properties.items() if k in _KEPT or k.startswith("proj:")},
        collection=f"{item.collection_id}/{item.id}",
    )
    by_asset: dict[str, dict[int, tuple[str, dict[str, Any]]]] = {}
    for name, band in bands.items():
        by_asset.setdefault(band.asset, {})[band.index] = (name, _metadata(item, band))
    for key, named in by_asset.items():
        small.assets[key] = _small_asset(item.assets[key], named)
        sizes = [band.gsd_m for band in bands.values() if band.asset == key and band.gsd_m]
        if sizes:
            small.assets[key].extra_fields.setdefault("gsd", min(sizes))
    if has_clouds and config.clouds and config.clouds.asset in item.assets:
        rule = (
            {"values": list(config.clouds.values)}
            if config.clouds.values
            else {"bits": list(config.clouds.bits)}
        )
        source = item.assets[config.clouds.asset]
        values = {"nodata": config.clouds.nodata} if config.clouds.nodata is not None else {}
        small.assets[CLOUDS] = _small_asset(source, {1: (CLOUDS, values)})
        small.assets[CLOUDS].extra_fields["geoseg:clouds"] = rule
    small.stac_extensions = [
        "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
        "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
        "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
    ]
    return small


def _metadata(item: pystac.Item, band: BandConfig) -> dict[str, Any]:
    """``raster:bands`` entry of one band: what the item declares, else what the catalog's file says."""
    declared = declared_scaling(item, band.asset, band.index)
    values = {
        "nodata": declared.get("nodata", band.nodata),
        "scale": declared.get("scale", band.scale),
        "offset": declared.get("offset", band.offset),
        "data_type": declared.get("dtype", band.dtype),
    }
    return {key: value for key, value in values.items() if value is not None}


def _small_asset(source: pystac.Asset, named: dict[int, tuple[str, dict[str, Any]]]) -> pystac.Asset:
    eo: list[dict[str, Any]] = []
    raster: list[dict[str, Any]] = []
    for index in range(1, max(named) + 1):
        name, values = named.get(index, (f"unused{index}", {}))
        eo.append(
            {"name": name} if name == CLOUDS or index not in named else {"name": name, "common_name": name}
        )
        raster.append(values)
    kept = {
        k: v
        for k, v in source.extra_fields.items()
        if (k.startswith("proj:") or k in _KEPT_OF_ASSETS) and v is not None
    }
    return pystac.Asset(
        href=source.get_absolute_href() or source.href,
        media_type=_TIFF,
        roles=["data"],
        extra_fields={"eo:bands": eo, "raster:bands": raster, **kept},
    )
