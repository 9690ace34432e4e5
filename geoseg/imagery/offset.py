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
_REMOVED_BELOW_DN = 900
"""With the offset in, a value below this would be a reflectance under -0.01: rare, whatever the ground."""
_REMOVED_SHARE = 0.001
_DARKEST_DN = (940, 1350)
"""With the offset in, the darkest pixels of every band lie here; bare bright ground without it has some band,
blue or short-wave infrared, far outside."""


@dataclass(frozen=True)
class OffsetDecision:
    """What to add to the digital numbers, and why."""

    offset_dn: int
    """0 or -1000."""
    reason: str
    """One clause for the report."""
    is_conflict: bool
    """Whether the pixels contradict what the metadata says."""


def decide_offset(
    properties: dict[str, Any], declared_offset: float | None, samples: list[NDArray[np.float32]]
) -> OffsetDecision:
    """Decide from the item's flag and baseline, the asset's declared offset, and the pixels.

    Args:
        properties: of the item: ``earthsearch:boa_offset_applied``, ``s2:processing_baseline`` or
            ``processing:version``.
        declared_offset: offset of ``raster:bands`` in reflectance (-0.1 where the catalog wants it applied).
        samples: digital numbers of each band, nodata left out; empty where pixels could not be sampled.

    The metadata sets what to expect: a flag that says "applied" beats a declared offset, which beats the
    baseline. The pixels overrule it where they leave no doubt.
    """
    expected, said = _expected(properties, declared_offset)
    seen = _seen(samples)
    if seen is None or seen == expected:
        agree = "; the pixels agree" if seen == expected else ""
        return OffsetDecision(expected, f"{said}{agree}", is_conflict=False)
    witness = "dark pixels lie below 900" if seen == 0 else "the darkest pixels of every band lie near 1000"
    return OffsetDecision(seen, f"{said}, but {witness}: the pixels were believed", is_conflict=True)


def _expected(properties: dict[str, Any], declared_offset: float | None) -> tuple[int, str]:
    baseline = properties.get("s2:processing_baseline") or properties.get("processing:version") or ""
    flag = properties.get("earthsearch:boa_offset_applied")
    if flag is True:
        return 0, "the item says the offset is already applied (earthsearch:boa_offset_applied)"
    if declared_offset:
        return OFFSET_DN, f"the asset declares an offset of {declared_offset:g}"
    try:
        number = float(str(baseline).lstrip("Nn") or "nan")
    except ValueError:
        number = float("nan")
    number = number / 100 if number >= 100 else number
    if number >= 4:
        return OFFSET_DN, f"processing baseline {baseline} has the offset in"
    if number < 4:
        return 0, f"processing baseline {baseline} is older than 04.00"
    return 0, "no processing baseline is stated"


def _seen(samples: list[NDArray[np.float32]]) -> int | None:
    """0 or -1000 where the pixels leave no doubt, else None."""
    full = [s for s in samples if s.size >= 100]
    if not full:
        return None
    if any(np.mean(s < _REMOVED_BELOW_DN) > _REMOVED_SHARE for s in full):
        return 0
    low, high = _DARKEST_DN
    darkest = [float(np.percentile(s, 0.1)) for s in full]
    if len(full) >= 3 and all(low <= d <= high for d in darkest):
        return OFFSET_DN
    return None
