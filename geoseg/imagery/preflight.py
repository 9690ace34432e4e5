"""Does the imagery fit the model? Asked before anything long runs; adapted where safe, refused where not."""

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import pystac
from numpy.typing import NDArray
from odc.geo.geom import Geometry

from geoseg.errors import GeosegWarning, ImageryError, PreflightError
from geoseg.grid.geobox import geobox_for
from geoseg.imagery import local, native
from geoseg.imagery.calibration import Calibration, Sample, calibrate, kind_of
from geoseg.imagery.gaps import Gaps
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
class Preflight:
    """Imagery that fits the model, and what was done to make it fit."""

    items: pystac.ItemCollection
    """Prepared: bands by common name with the nodata, scale and offset decided; small enough to send."""
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


def with_bands(
    items: pystac.ItemCollection, card: ModelCard, *, catalog: Catalog, others: Sequence[ModelCard] = ()
) -> pystac.ItemCollection:
    """The items that have all bands the model needs.

    Args:
        items: as they were found.
        card: the model's card.
        catalog: says how the collections' assets are named.
        others: models to name where none fits.

    Raises:
        PreflightError: none has; it names those of the ``others`` that could be run instead.

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
            f"{', '.join(sorted(seen)) or 'no band with a known name'}. Missing: "
            f"{', '.join(sorted(missing))}. Take other imagery, or {_another(others, seen)}."
        )
    if len(kept) < len(items):
        text = f"{len(items) - len(kept)} of {len(items)} items lack {', '.join(sorted(missing))}, left out."
        warnings.warn(text, GeosegWarning, stacklevel=2)
    return pystac.ItemCollection(kept, extra_fields=dict(items.extra_fields))


def _another(others: Sequence[ModelCard], seen: set[str]) -> str:
    fitting = [other.name for other in others if not choose_bands(other.bands, seen)[1]]
    return f"--model {' or '.join(fitting)}" if fitting else "another --model (geoseg models list)"


def check_inputs(
    items: pystac.ItemCollection,
    card: ModelCard,
    *,
    aoi: Geometry,
    catalog: Catalog,
    gsd_m: float | None = None,
    crs: str | None = None,
    gaps: Gaps | None = None,
) -> Preflight:
    """Compare bands, GSD, CRS, scaling, offset and values of ``items`` with what ``card`` expects.

    Pixels of eight items, and of every image that states no scale, are sampled: 256 across the area, from
    overviews where there are any. Items that one processing chain made are scaled alike.

    Args:
        items: as ``search`` and ``select_items`` or ``items_from_images`` give them.
        card: the model's card.
        aoi: the area to map.
        catalog: says how the collections' assets are named and scaled.
        gsd_m: pixel size of the map; None for the finest that the needed bands have.
        crs: of the map; None for the items' own where they share a metric one, else UTM.
        gaps: told of files whose pixels cannot be sampled, which tell nothing then; None: they raise.

    Raises:
        PreflightError: a reason why the model's map would be wrong, and what to change.
        ImageryError: pixels cannot be read.
    """
    items = with_bands(items, card, catalog=catalog)
    prepared, bands, adapted = _prepare_all(items, card, catalog)
    grid = native.grid_of(prepared, aoi, gsd_m=gsd_m, crs=crs)
    adapted += grid.adapted + _check_gsd(grid.gsd_m, card)
    kinds = [kind_of(item, small) for item, small in zip(items, prepared, strict=True)]
    samples = _samples(prepared, kinds, bands, aoi, grid, catalog, gaps)
    decided = _calibrate(items, prepared, kinds, samples, catalog)
    adapted += [
        f"{name}: pixels of {c.nodata:g} in all bands were taken as nodata, as none is declared"
        for name, c in decided.items()
        if c.nodata is not None
    ]
    calibrated = pystac.ItemCollection([_apply(p, decided[p.id]) for p in prepared])
    _check_values(calibrated, samples, bands, card)
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


def _samples(
    prepared: pystac.ItemCollection,
    kinds: list[Hashable],
    bands: tuple[str, ...],
    aoi: Geometry,
    grid: native.NativeGrid,
    catalog: Catalog,
    gaps: Gaps | None,
) -> dict[str, Sample]:
    """Digital numbers of the first items of each kind, eight at least, and more until all bands have some."""
    of_kind: dict[Hashable, list[pystac.Item]] = {}
    for kind, item in zip(kinds, prepared, strict=True):
        of_kind.setdefault(kind, []).append(item)
    waiting = [item for turn in zip_longest(*of_kind.values()) for item in turn if item is not None]
    samples: dict[str, Sample] = {}
    n_next = max(_SAMPLE_ITEMS, len(of_kind))
    while waiting:
        samples |= _sample(pystac.ItemCollection(waiting[:n_next]), bands, aoi, grid, catalog, gaps)
        if np.any([np.isfinite(s).any(axis=1) for s in samples.values()], axis=0).all():
            break
        waiting, n_next = waiting[n_next:], _SAMPLE_ITEMS
    if gaps and gaps.reasons and not any(np.isfinite(s).any() for s in samples.values()):
        raise ImageryError(gaps.reasons[0][1])
    return samples


def _sample(
    prepared: pystac.ItemCollection,
    bands: tuple[str, ...],
    aoi: Geometry,
    grid: native.NativeGrid,
    catalog: Catalog,
    gaps: Gaps | None,
) -> dict[str, Sample]:
    """Digital numbers by item id, (band, pixel), NaN = nodata."""
    raw = pystac.ItemCollection([_raw(item) for item in prepared])
    fine = geobox_for(aoi, gsd_m=grid.gsd_m, crs=grid.crs, anchor=grid.anchor)
    coarse = fine.zoom_to(_SAMPLE_PX) if max(fine.shape) > _SAMPLE_PX else fine
    sign = signer(catalog.signing)
    options: dict[str, str] = {}
    for collection in sorted({item.collection_id.rpartition("/")[0] for item in prepared}):  # type: ignore[union-attr]
        options |= read_environment(catalog, collection)
    # rasterio changes the warning filters in each thread; two at a time leave "ignore" behind for good.
    with gdal_env(options), warnings.catch_warnings():
        lazy = load(raw, geobox=coarse, bands=bands, resampling="nearest", sign=sign, gaps=gaps)
        pixels: NDArray[np.float32] = lazy.data.compute(scheduler="threads")  # (time, band, y, x)
    return {item.id: one.reshape(len(bands), -1) for item, one in zip(raw, pixels, strict=True)}


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
    kinds: list[Hashable],
    samples: dict[str, Sample],
    catalog: Catalog,
) -> dict[str, Calibration]:
    """By item id; decided once for each kind, from all its pixels."""
    by_kind: dict[Hashable, Calibration] = {}
    for kind in dict.fromkeys(kinds):
        alike = [(i, p) for i, p, k in zip(items, prepared, kinds, strict=True) if k == kind]
        item, small = alike[0]
        pixels = _pooled([i for i, _ in alike], samples)
        if not np.isfinite(pixels).any():
            pixels = _pooled([i for i in items if i.collection_id == item.collection_id], samples)
        by_kind[kind] = calibrate(item, small, collection_config(catalog, item), pixels)
        if by_kind[kind].doubt:
            name = item.id if len(alike) == 1 else f"{item.id} and {len(alike) - 1} like it"
            warnings.warn(f"{name}: {by_kind[kind].doubt}", GeosegWarning, stacklevel=2)
    return {item.id: by_kind[kind] for item, kind in zip(items, kinds, strict=True)}


def _pooled(items: list[pystac.Item], samples: dict[str, Sample]) -> Sample:
    parts = [samples[item.id] for item in items if item.id in samples]
    return np.concatenate(parts, axis=1) if parts else np.empty((0, 0), np.float32)


def _apply(item: pystac.Item, calibration: Calibration) -> pystac.Item:
    done = item.clone()
    for name, values in band_metadata(done).items():
        if name == CLOUDS:
            continue
        if calibration.scale is not None:
            values.update(scale=calibration.scale, offset=calibration.offset)
        if calibration.nodata is not None:
            values["nodata"] = calibration.nodata
    return done


def _check_values(
    items: pystac.ItemCollection, samples: dict[str, Sample], bands: tuple[str, ...], card: ModelCard
) -> None:
    low, high = card.value_range
    for number, band in enumerate(bands):
        parts = []
        for item in (i for i in items if i.id in samples):
            metadata = band_metadata(item)[band]
            sample = samples[item.id][number]
            valid = sample[np.isfinite(sample) & (sample != metadata.get("nodata"))]
            parts.append(valid * metadata.get("scale", 1) + metadata.get("offset", 0))
        values = np.concatenate(parts)
        if values.size == 0:
            raise PreflightError(
                f"Band {band} has no valid pixel in the area: all is nodata. "
                "Check the area and the dates asked for."
            )
        if np.mean((values < low) | (values > high)) > _OUTSIDE_SHARE:
            p1, p99 = np.percentile(values, [1, 99])
            how = (
                "Give --scale and --offset so that values become reflectance."
                if items[0].collection_id.startswith(f"{local.COLLECTION}/")  # type: ignore[union-attr]
                else "Say scale and offset of its collection in a catalog file: see catalogs/README.md."
            )
            raise PreflightError(
                f"Band {band} lies between {p1:.3g} and {p99:.3g} after scaling; model {card.name} expects "
                f"{low:g} to {high:g}. {how}"
            )
