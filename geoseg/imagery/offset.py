"""Sentinel-2 processing baseline 04.00: is the offset of -1000 still in the pixels?

Since 2022-01-25 (and in older scenes processed again) level-2A digital numbers are reflectance * 10000 + 1000
(ESA, Sentinel-2 Processing Baseline 04.00 note). Some catalogs take the offset out, some do not, and some say
the contrary of what their pixels hold, so the decision is made from three witnesses and reported.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCALE = 1e-4
OFFSET_DN = -1000
_LOW_DN, _LOW_SHARE = 900, 0.001
"""With the offset in, a value below this is a reflectance under -0.01: atmospheric correction makes such, in
shadow and over water, but not often. A hint, where nothing else is known."""
_IMPOSSIBLE_DN, _IMPOSSIBLE_SHARE = 600, 0.01
"""This many reflectances under -0.04 it does not make: proof that the offset is out."""
_DARKEST_DN = (950, 1350)
"""With the offset in, the darkest pixels of every band lie here, where the area holds water or shadow; bright
bare ground without it has some band outside."""

_VARIED_DN = 1000
"""Where nothing is brighter than the darkest by this much, as over ash or wet peat, it need not be shadow."""


@dataclass(frozen=True)
class OffsetDecision:
    """What to add to the digital numbers, and why."""

    offset_dn: int
    """0 or -1000."""
    reason: str
    """One clause for the report."""
    is_conflict: bool
    """Whether the pixels contradict what the metadata says."""
    is_known: bool = True
    """Whether metadata or pixels said anything."""


def decide_offset(
    properties: dict[str, Any], declared_offset: float | None, samples: list[NDArray[np.float32]]
) -> OffsetDecision:
    """Decide from the item's flag and baseline, the asset's declared offset, and the pixels.

    Args:
        properties: of the item: ``earthsearch:boa_offset_applied``, ``s2:processing_baseline`` or
            ``processing:version``.
        declared_offset: offset of ``raster:bands`` in reflectance (-0.1 where the catalog wants it applied, 0
            where it wants none).
        samples: digital numbers of each band, nodata left out (0 is, here); empty where pixels could not be
            sampled.

    The metadata sets what to expect: a flag that says "applied" beats a declared offset, which beats the
    baseline. The pixels overrule it where they leave no doubt.
    """
    expected, said = _expected(properties, declared_offset)
    seen, witness, is_sure = _seen(samples)
    if expected is None:
        said = "no processing baseline is stated, and " if properties else ""
        if seen is None:
            return OffsetDecision(0, f"{said}the pixels do not tell", is_conflict=False, is_known=False)
        return OffsetDecision(seen, f"{said}{witness}", is_conflict=False)
    if seen == expected:
        return OffsetDecision(expected, f"{said}; the pixels agree", is_conflict=False)
    if seen is None or not is_sure:
        return OffsetDecision(expected, said, is_conflict=False)
    return OffsetDecision(seen, f"{said}, but {witness}: the pixels were believed", is_conflict=True)


def witnesses(properties: dict[str, Any]) -> tuple[object, object]:
    """What an item says of its offset: whether it is applied, and the processing baseline."""
    baseline = properties.get("s2:processing_baseline") or properties.get("processing:version")
    return properties.get("earthsearch:boa_offset_applied"), baseline


def _expected(properties: dict[str, Any], declared_offset: float | None) -> tuple[int | None, str]:
    if witnesses(properties)[0] is True:
        return 0, "the item says the offset is already applied (earthsearch:boa_offset_applied)"
    if declared_offset is not None:
        return OFFSET_DN if declared_offset else 0, f"the asset declares an offset of {declared_offset:g}"
    _, stated = witnesses(properties)
    baseline = _number(stated)
    if baseline is None:
        return None, ""
    if baseline >= 4:
        return OFFSET_DN, f"processing baseline {stated} has the offset in"
    return 0, f"processing baseline {stated} is older than 04.00"


def _number(baseline: object) -> float | None:
    """4.0 of ``04.00``, ``N0400`` or ``0400``."""
    try:
        number = float(str(baseline).lstrip("Nn"))
    except ValueError:
        return None
    return number / 100 if number >= 100 else number


def _seen(samples: list[NDArray[np.float32]]) -> tuple[int | None, str, bool]:
    """0 or -1000 where the pixels tell, else None; what they show; whether that leaves no doubt."""
    full = [kept for s in samples if (kept := s[s > 0]).size >= 100]
    if any(np.mean(s < _IMPOSSIBLE_DN) > _IMPOSSIBLE_SHARE for s in full):
        return 0, f"many pixels lie below {_IMPOSSIBLE_DN}", True
    if any(np.mean(s < _LOW_DN) > _LOW_SHARE for s in full):
        return 0, f"dark pixels lie below {_LOW_DN}", False
    low, high = _DARKEST_DN
    if len(full) >= 3 and all(low <= np.percentile(s, 0.1) <= high for s in full):
        is_varied = any(np.percentile(s, 99) - np.percentile(s, 0.1) >= _VARIED_DN for s in full)
        return OFFSET_DN, "the darkest pixels of every band lie near 1000", is_varied
    return None, "", False
