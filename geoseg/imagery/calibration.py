"""How stored numbers become reflectance: as declared, as Sentinel-2 needs it, or as the values tell."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pystac
from numpy.typing import NDArray

from geoseg.errors import PreflightError
from geoseg.imagery import local, offset
from geoseg.imagery.loader import CLOUDS, band_metadata
from geoseg.stac.catalog import CollectionConfig

Sample = NDArray[np.float32]
"""(band, pixel) digital numbers of one item, NaN = nodata."""

_USUAL_NODATA = (0.0, -9999.0, -32768.0, 65535.0)
_FILL_SHARE = 0.001
"""Less than this part of the pixels may be of such a value by chance."""
_ON_ITS_OWN = 0.05
"""A value of this part of its pixels in some bands only is a measured one."""
_GUIDE = "Say what they mean with --scale and --offset, one value or one per band"
_LANDSAT_DARKEST, _LANDSAT_BRIGHTEST = 6900, 65455
"""Landsat Collection 2 level 2 stores reflectance 0 as 7273 (USGS, Science Product Guide: -0.2 to 1.6)."""


@dataclass(frozen=True)
class Calibration:
    """Reflectance = digital number * scale + offset, for every band of an item, and where that came from."""

    scale: float | None
    """None: as the item's assets declare, band by band."""
    offset: float
    reason: str
    nodata: float | None = None
    """A stored number that was found to mean no value; None: as declared."""
    doubt: str | None = None
    """What a person should know: metadata and pixels contradict each other, or neither tells."""


def is_bare(item: pystac.Item) -> bool:
    """Whether it is an image that states no scale, so that only its values tell what they mean."""
    return item.collection_id == local.COLLECTION and not any(
        "scale" in band for a in item.assets.values() for band in a.extra_fields.get("raster:bands", [])
    )


def kind_of(item: pystac.Item, prepared: pystac.Item) -> Hashable:
    """Items of one kind were made by one processing chain and are scaled alike; a bare image is like none."""
    if is_bare(item):
        return item.id
    declared = {str(v) for k, v in band_metadata(prepared).items() if k != CLOUDS}
    return (item.collection_id, offset.witnesses(item.properties), frozenset(declared))


def calibrate(
    item: pystac.Item, prepared: pystac.Item, config: CollectionConfig, pixels: Sample
) -> Calibration:
    """What to do with the numbers of an item, and of all of its kind.

    Args:
        item: as its catalog gives it.
        prepared: its small copy.
        config: how its collection is read.
        pixels: of items of its kind; of size 0 where none were taken.

    Raises:
        PreflightError: an image without a scale holds numbers that cannot be taken as reflectance.
    """
    declared = [v for k, v in band_metadata(prepared).items() if k != CLOUDS]
    nodata = undeclared_nodata(declared, pixels)
    valid = _valid(pixels, nodata)
    if config.boa_offset:
        return _sentinel2(item, declared, valid, nodata)
    if is_bare(item):
        return _from_values(item.id, valid, declared, nodata)
    doubt = _offset_forgotten(declared, valid) if item.collection_id == local.COLLECTION else None
    return Calibration(None, 0.0, _as_declared(declared), nodata, doubt=doubt)


def _valid(sample: Sample, nodata: float | None) -> list[Sample]:
    return [band[np.isfinite(band) & (band != nodata)] for band in sample]


def undeclared_nodata(declared: list[dict[str, Any]], sample: Sample) -> float | None:
    """The value that fills whole pixels, in all of at least three bands and hardly in any by itself.

    None where the bands declare their nodata, or there is no such value.
    """
    if any("nodata" in band for band in declared) or len(sample) < 3 or sample.size == 0:
        return None
    for value in _USUAL_NODATA:
        is_it = sample == value
        whole = float(is_it.all(axis=0).mean())
        if whole > _FILL_SHARE and float(is_it.any(axis=0).mean()) <= whole * (1 + _ON_ITS_OWN):
            return value
    return None


def _as_declared(bands: list[dict[str, Any]]) -> str:
    pairs = sorted({(b.get("scale", 1.0), b.get("offset", 0.0)) for b in bands})
    if pairs == [(1.0, 0.0)]:
        return "values as they are: no scale is declared"
    if len(pairs) == 1:
        return f"scale {pairs[0][0]:g}, offset {pairs[0][1]:g} as declared"
    return "scale and offset of each band as declared"


def _offset_forgotten(declared: list[dict[str, Any]], valid: list[Sample]) -> str | None:
    """What to say of an image in Sentinel-2's scale whose pixels hold the offset that nobody took out."""
    if any(b.get("scale") != offset.SCALE or b.get("offset", 0.0) for b in declared):
        return None
    choice = offset.decide_offset({}, 0.0, valid)
    if not choice.is_conflict:
        return None
    return "its pixels seem to hold Sentinel-2's offset of -1000, but none is taken out: give --offset -0.1."


def _sentinel2(
    item: pystac.Item, declared: list[dict[str, Any]], valid: list[Sample], nodata: float | None
) -> Calibration:
    stated = [band["offset"] for band in declared if "offset" in band]
    choice = offset.decide_offset(item.properties, min(stated, default=None), valid)
    return Calibration(
        offset.SCALE,
        choice.offset_dn * offset.SCALE,
        f"offset {choice.offset_dn}: {choice.reason}",
        nodata,
        doubt=f"{choice.reason}." if choice.is_conflict else None,
    )


def _from_values(
    item_id: str, valid: list[Sample], declared: list[dict[str, Any]], nodata: float | None
) -> Calibration:
    """Reflectance as it is or times 10000 is told by the values; bytes and all else are refused."""
    values = np.concatenate(valid) if valid else np.empty(0, np.float32)
    if values.size == 0:
        raise PreflightError(
            "The images have no valid pixel in the area: all is nodata. "
            "Check the area, and the nodata value of the files."
        )
    high = float(np.percentile(values, 99))
    dtypes = {str(band.get("data_type")) for band in declared}
    if dtypes <= {"uint8", "int8"}:
        raise PreflightError(
            f"{item_id} holds 8-bit numbers (99 % are below {high:.0f}) and states no scale, but the model "
            f"expects reflectance. {_GUIDE}, from the scene's metadata: bytes are scaled by band."
        )
    if high <= 2 and not all(d.startswith(("int", "uint")) for d in dtypes):
        return Calibration(1.0, 0.0, f"values up to {high:.2g} were taken as reflectance", nodata)
    darkest = min(float(np.percentile(band, 1)) for band in valid if band.size)
    if darkest > _LANDSAT_DARKEST and high <= _LANDSAT_BRIGHTEST:
        raise PreflightError(
            f"{item_id} holds values from {darkest:,.0f} to {high:,.0f} and states no scale. "
            "If it is Landsat Collection 2 level 2, give --scale 0.0000275 --offset -0.2."
        )
    if not 200 < high <= 30_000:
        raise PreflightError(
            f"{item_id} holds values up to {high:,.{0 if high > 10 else 2}f} and states no scale; "
            f"reflectance is 0..1, or 0..10000 as integers. {_GUIDE}."
        )
    choice = offset.decide_offset({}, None, valid)
    doubt = (
        "its pixels do not tell whether Sentinel-2's offset of -1000 is in them; it was taken as not. "
        "For baseline 04.00 and later give --scale 0.0001 --offset -0.1."
    )
    reason = (
        f"values up to {high:,.0f} were taken as reflectance x 10000; Sentinel-2 offset {choice.offset_dn}"
    )
    return Calibration(
        offset.SCALE,
        choice.offset_dn * offset.SCALE,
        f"{reason}: {choice.reason}",
        nodata,
        doubt=None if choice.is_known else doubt,
    )
