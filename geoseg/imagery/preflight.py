"""Does the imagery fit the model? Asked before anything long runs; adapted where that is safe, refused where not."""

import warnings
from dataclasses import dataclass

import numpy as np
import pystac
from numpy.typing import NDArray
from odc.geo.geom import Geometry

from geoseg.errors import GeosegWarning, PreflightError
from geoseg.grid.geobox import geobox_for
from geoseg.imagery import local, native, offset
from geoseg.imagery.harmonise import available_bands, choose_bands, prepare
from geoseg.imagery.loader import CLOUDS, band_metadata, load
from geoseg.imagery.reading import gdal_env
from geoseg.models.card import ModelCard
from geoseg.stac.catalog import Catalog, collection_config
from geoseg.stac.signing import read_environment, signer

_SAMPLE_PX = 256
_SAMPLE_ITEMS = 8
_OUTSIDE_SHARE = 0.05


@dataclass(frozen=True)
class Calibration:
    """Reflectance = digital number * scale + offset, for every band of an item, and where that came from."""

    scale: float | None
    """None: as the item's assets declare, band by band."""
    offset: float
    reason: str


@dataclass(frozen=True)
class Preflight:
    """Imagery that fits the model, and what was done to make it fit."""

    items: pystac.ItemCollection
    """Prepared: bands by common name with the nodata, scale and offset that were decided; small enough to send."""
    bands: tuple[str, ...]
    """What to load, in the order of the model's inputs."""
    gsd_m: float
    crs: str
    anchor: tuple[float, float]
    """The grid to map on; see :func:`geoseg.grid.geobox.geobox_for`."""
    has_clouds: bool
    """Whether the items carry cloud masks."""
    calibrations: dict[str, str]
    """Per item id, how its digital numbers become reflectance."""
    adapted: tuple[str, ...]
    """One line for each thing that was not as the model's card says and was made to fit."""


def with_bands(items: pystac.ItemCollection, card: ModelCard, *, catalog: Catalog) -> pystac.ItemCollection:
    """The items that have all bands the model needs.

    Raises:
        PreflightError: none has.

    Warns:
        GeosegWarning: when some had to be left out.
    """
    kept, missing, seen = [], set(), set()
    for item in items:
        found = set(available_bands(item, collection_config(catalog, item)))
        lacking = choose_bands(card.bands, found)[1]
        seen |= found
        missing |= set(lacking)
        if not lacking:
            kept.append(item)
    if not kept:
        raise PreflightError(
            f"Model {card.name} needs {', '.join(card.bands)}; the imagery has "
            f"{', '.join(sorted(seen)) or 'no band with a known name'}, so {', '.join(sorted(missing))} "
            f"is missing. Take other imagery or another --model (geoseg models list shows their bands)."
        )
    if len(kept) < len(items):
        text = f"{len(items) - len(kept)} of {len(items)} items lack {', '.join(sorted(missing))}, left out."
        warnings.warn(text, GeosegWarning, stacklevel=2)
    return pystac.ItemCollection(kept, extra_fields=dict(items.extra_fields))


def check_inputs(
    items: pystac.ItemCollection,
    card: ModelCard,
    *,
    aoi: Geometry,
    catalog: Catalog,
    gsd_m: float | None = None,
    crs: str | None = None,
) -> Preflight:
    """Compare bands, GSD, CRS, scaling, offset and values of ``items`` with what ``card`` expects.

    Pixels of at most eight items are sampled (256 pixels across the area, from overviews where there are any).

    Args:
        items: as ``search`` and ``select_items`` or ``items_from_images`` give them.
        card: the model's card.
        aoi: the area to map.
        catalog: says how the collections' assets are named and scaled.
        gsd_m: pixel size of the map; None for the finest that the needed bands have.
        crs: of the map; None for the items' own where they share a metric one, else UTM.

    Raises:
        PreflightError: a reason why the model's map would be wrong, and what to change.
        ImageryError: pixels cannot be read.
    """
    items = with_bands(items, card, catalog=catalog)
    prepared, bands, adapted = _prepare_all(items, card, catalog)
    grid = native.grid_of(prepared, aoi, gsd_m=gsd_m, crs=crs)
    adapted += grid.adapted + _check_gsd(grid.gsd_m, card)
    samples = _sample(prepared, bands, aoi, grid, catalog)
    decided = _calibrate(items, prepared, samples, catalog)
    calibrated = pystac.ItemCollection([_apply(p, decided[p.id]) for p in prepared])
    adapted += _check_values(calibrated, samples, bands, card)
    return Preflight(
        items=calibrated,
        bands=bands,
        gsd_m=grid.gsd_m,
        crs=grid.crs,
        anchor=grid.anchor,
        has_clouds=any(CLOUDS in item.assets for item in calibrated),
        calibrations={item_id: c.reason for item_id, c in decided.items()},
        adapted=tuple(dict.fromkeys(adapted)),
    )


def _prepare_all(
    items: pystac.ItemCollection, card: ModelCard, catalog: Catalog
) -> tuple[pystac.ItemCollection, tuple[str, ...], list[str]]:
    prepared, adapted = [], []
    for item in items:
        config = collection_config(catalog, item)
        available = available_bands(item, config)
        chosen, _ = choose_bands(card.bands, set(available))
        adapted += [f"{used} is used as {wanted}" for wanted, used in chosen.items() if used != wanted]
        # A substitute goes by the name of the band it stands in for, so that all items have the same names.
        bands = {wanted: available[used] for wanted, used in chosen.items()}
        prepared.append(prepare(item, config=config, bands=bands, has_clouds=True))
    return pystac.ItemCollection(prepared), card.bands, adapted


def _check_gsd(gsd_m: float, card: ModelCard) -> list[str]:
    low, high = card.gsd_range_m
    if not low <= gsd_m <= high:
        raise PreflightError(
            f"Pixels of {gsd_m:g} m do not fit model {card.name}, made for {low:g} to {high:g} m. "
            f"Give --gsd {card.gsd_m:g} or take another model."
        )
    if not 0.5 <= gsd_m / card.gsd_m <= 2 and card.halo:
        return [f"pixels of {gsd_m:g} m are mapped with a model made for {card.gsd_m:g} m"]
    return []


# --- pixels --------------------------------------------------------------------------------------


def _sample(
    prepared: pystac.ItemCollection,
    bands: tuple[str, ...],
    aoi: Geometry,
    grid: native.NativeGrid,
    catalog: Catalog,
) -> dict[str, list[NDArray[np.float32]]]:
    """Digital numbers of the first items, a flat array per band without nodata, by item id."""
    chosen = pystac.ItemCollection([_raw(item) for item in list(prepared)[:_SAMPLE_ITEMS]])
    fine = geobox_for(aoi, gsd_m=grid.gsd_m, crs=grid.crs, anchor=grid.anchor)
    coarse = fine.zoom_to(_SAMPLE_PX) if max(fine.shape) > _SAMPLE_PX else fine
    sign = signer(catalog.signing)
    with gdal_env(read_environment(catalog)):
        lazy = load(chosen, geobox=coarse, bands=bands, resampling="nearest", sign=sign)
        pixels: NDArray[np.float32] = lazy.data.compute(scheduler="threads")  # (time, band, y, x)
    return {
        item.id: [layer[np.isfinite(layer)] for layer in one]
        for item, one in zip(chosen, pixels, strict=True)
    }


def _raw(item: pystac.Item) -> pystac.Item:
    """The item without scale and offset: it loads as digital numbers."""
    raw = item.clone()
    for values in band_metadata(raw).values():
        values.pop("scale", None)
        values.pop("offset", None)
    return raw


def _calibrate(
    items: pystac.ItemCollection,
    prepared: pystac.ItemCollection,
    samples: dict[str, list[NDArray[np.float32]]],
    catalog: Catalog,
) -> dict[str, Calibration]:
    decided: dict[str, Calibration] = {}
    for item, small in zip(items, prepared, strict=True):
        sample = samples.get(item.id, [])
        config = collection_config(catalog, item)
        declared = [v for k, v in band_metadata(small).items() if k != CLOUDS]
        is_bare = item.collection_id == local.COLLECTION and not _states_scale(item)
        if config.boa_offset:
            decided[item.id] = _sentinel2(item, declared, sample)
        elif is_bare:
            decided[item.id] = _from_values(sample, declared)
        else:
            decided[item.id] = Calibration(None, 0.0, _declared(declared))
    return decided


def _states_scale(item: pystac.Item) -> bool:
    return any("scale" in b for a in item.assets.values() for b in a.extra_fields.get("raster:bands", []))


def _declared(bands: list[dict[str, float]]) -> str:
    pairs = sorted({(b.get("scale", 1.0), b.get("offset", 0.0)) for b in bands})
    if pairs == [(1.0, 0.0)]:
        return "values as they are: neither item nor catalog declares a scale"
    if len(pairs) == 1:
        return f"scale {pairs[0][0]:g}, offset {pairs[0][1]:g} as declared"
    return "scale and offset of each band as declared"


def _sentinel2(
    item: pystac.Item, declared: list[dict[str, float]], sample: list[NDArray[np.float32]]
) -> Calibration:
    stated = next((v["offset"] for v in declared if v.get("offset")), None)
    choice = offset.decide_offset(item.properties, stated, sample)
    if choice.is_conflict:
        warnings.warn(f"{item.id}: {choice.reason}.", GeosegWarning, stacklevel=2)
    return Calibration(
        offset.SCALE, choice.offset_dn * offset.SCALE, f"offset {choice.offset_dn}: {choice.reason}"
    )


def _from_values(sample: list[NDArray[np.float32]], declared: list[dict[str, object]]) -> Calibration:
    """Files that state no scale: reflectance as it is or times 10000 is told by the values; bytes are refused."""
    values = np.concatenate(sample) if sample else np.empty(0, np.float32)
    if values.size == 0:
        raise PreflightError(
            "The imagery has no valid pixel in the area: all is nodata. Check the area, and the files' nodata value."
        )
    high = float(np.percentile(values, 99))
    if all(v.get("data_type") == "uint8" for v in declared):
        raise PreflightError(
            f"The image holds 8-bit digital numbers (99 % are below {high:.0f}) and says no scale, but the model "
            "expects reflectance. Calibrate it with --scale and --offset, one value or one per band; --scale 0.004 takes 0..250 as 0..1, roughly."
        )
    if high <= 2:
        return Calibration(1.0, 0.0, f"values up to {high:.2g} were taken as reflectance")
    if high > 30_000:
        raise PreflightError(
            f"The image holds values up to {high:,.0f} and says no scale; reflectance is 0..1, or 0..10000 as integers. "
            "Say what they mean with --scale and --offset."
        )
    choice = offset.decide_offset({}, None, sample)
    text = (
        "the darkest pixels lie near 1000 (Sentinel-2 baseline 04.00)"
        if choice.offset_dn
        else "no offset seen"
    )
    return Calibration(
        offset.SCALE,
        choice.offset_dn * offset.SCALE,
        f"values up to {high:,.0f} were taken as reflectance x 10000, offset {choice.offset_dn}: {text}",
    )


def _apply(item: pystac.Item, calibration: Calibration) -> pystac.Item:
    done = item.clone()
    for name, values in band_metadata(done).items():
        if name != CLOUDS and calibration.scale is not None:
            values.update(scale=calibration.scale, offset=calibration.offset)
    return done


def _check_values(
    items: pystac.ItemCollection,
    samples: dict[str, list[NDArray[np.float32]]],
    bands: tuple[str, ...],
    card: ModelCard,
) -> list[str]:
    low, high = card.value_range
    pooled: dict[str, list[NDArray[np.float32]]] = {band: [] for band in bands}
    for item in items:
        metadata = band_metadata(item)
        for band, values in zip(bands, samples.get(item.id, []), strict=False):
            pooled[band].append(values * metadata[band].get("scale", 1) + metadata[band].get("offset", 0))
    for band, parts in pooled.items():
        values = np.concatenate(parts)
        if values.size == 0:
            raise PreflightError(
                f"Band {band} has no valid pixel in the area: all is nodata. Check the area and the dates asked for."
            )
        outside = float(np.mean((values < low) | (values > high)))
        if outside > _OUTSIDE_SHARE:
            p1, p99 = np.percentile(values, [1, 99])
            raise PreflightError(
                f"Band {band} lies between {p1:.3g} and {p99:.3g} after scaling; model {card.name} expects "
                f"{low:g} to {high:g}. Give --scale and --offset so that values become reflectance."
            )
    return []
