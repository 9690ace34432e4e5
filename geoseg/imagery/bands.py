"""Band names: what files and catalogs call a band, and the STAC common name geoseg calls it."""

import re
from collections.abc import Sequence

from geoseg.stac.metadata import COMMON_NAMES, SENTINEL2

_ALIASES = {
    "swir1": "swir16", "swir2": "swir22", "nir1": "nir", "nearinfrared": "nir", "nirnarrow": "nir08",
    "narrownir": "nir08", "rededge1": "rededge071", "rededge2": "rededge075", "rededge3": "rededge078",
    "coastalaerosol": "coastal", "panchromatic": "pan", "dem": "elevation", "r": "red", "g": "green",
    "b": "blue", "n": "nir",
}  # fmt: skip
"""In lower case, without blanks, hyphens and underscores."""

_OLI = {
    1: "coastal",
    2: "blue",
    3: "green",
    4: "red",
    5: "nir08",
    6: "swir16",
    7: "swir22",
    8: "pan",
    9: "cirrus",
}
_TM = {1: "blue", 2: "green", 3: "red", 4: "nir08", 5: "swir16", 7: "swir22", 8: "pan"}
"""Landsat 8 and 9, Landsat 4 to 7 (USGS, "What are the band designations for the Landsat satellites?")."""

SUBSTITUTES = {"nir": ("nir08",), "nir08": ("nir",)}
"""Bands that may stand in for another, with a word about it: the near infrareds of Sentinel-2 and Landsat."""

_SENTINEL2_TOKEN = re.compile(r"(?:^|[_.\- ])(B0[1-9]|B8A|B1[0-2])(?:[_.\- ]|$)", re.IGNORECASE)
_LANDSAT = re.compile(r"(?:^|[_.\- ])(?:(LC0[89]|L30)|L[TE]0[457])[_.]")
_LANDSAT_TOKEN = re.compile(r"[_.]B0?(\d{1,2})(?:[_.\- ]|$)")


def common_name(text: str) -> str | None:
    """The STAC common name for a band's description or a file's name, or None where it is not clear.

    Bare numbers such as ``B4`` are not clear: red for Sentinel-2 and Landsat 8, near infrared for Landsat 7.
    Names of Landsat and HLS files say which it is.

    Example:
        >>> common_name("SWIR1"), common_name("B8A"), common_name("B4")
        ('swir16', 'nir08', None)
        >>> common_name("LC08_L2SP_214066_20200114_20200824_02_T1_SR_B5")
        'nir08'
    """
    if (word := _word(text)) is not None:
        return word
    if sensor := _LANDSAT.search(text):
        token = _LANDSAT_TOKEN.search(text)
        return (_OLI if sensor.group(1) else _TM).get(int(token.group(1))) if token else None
    token = _SENTINEL2_TOKEN.search(text)
    return SENTINEL2[token.group(1).upper()] if token else None


def common_names(descriptions: Sequence[str]) -> list[str | None]:
    """Common names for all bands of one file; Sentinel-2 numbers without zeros are told by their company.

    Numbers among which are B8A or B12 are Sentinel-2's. B11 proves nothing: Landsat 8 has one too, thermal.

    Example:
        >>> common_names(["B2", "B8", "B8A", "B12"])
        ['blue', 'nir', 'nir08', 'swir22']
    """
    padded = [re.sub(r"^B(\d)$", r"B0\1", d.strip().upper()) for d in descriptions]
    if {"B8A", "B12"} & set(padded) and all(p in SENTINEL2 for p in padded):
        return [SENTINEL2[p] for p in padded]
    return [common_name(d) for d in descriptions]


def name_of_file(stem: str, description: str) -> str | None:
    """The common name of a file's only band: a plain word in its description, else what its name says."""
    return _word(description) or common_name(stem) or common_name(description)


def _word(text: str) -> str | None:
    key = re.sub(r"[\s_\-]+", "", text.lower())
    return key if key in COMMON_NAMES else _ALIASES.get(key)
