"""Band names: what files and catalogs call a band, and the STAC common name geoseg calls it."""

import re

from geoseg.stac.metadata import COMMON_NAMES

_ALIASES = {
    "swir1": "swir16", "swir2": "swir22", "nir1": "nir", "near infrared": "nir", "nearinfrared": "nir",
    "rededge1": "rededge071", "rededge2": "rededge075", "rededge3": "rededge078", "coastal aerosol": "coastal",
    "nir narrow": "nir08", "narrow nir": "nir08", "dem": "elevation", "r": "red", "g": "green", "b": "blue",
    "n": "nir",
}  # fmt: skip

SENTINEL2 = {
    "B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge071", "B06": "rededge075",
    "B07": "rededge078", "B08": "nir", "B8A": "nir08", "B09": "nir09", "B10": "cirrus", "B11": "swir16",
    "B12": "swir22",
}  # fmt: skip
"""Sentinel-2 MSI band numbers (ESA, Sentinel-2 User Handbook)."""

SUBSTITUTES = {"nir": ("nir08",), "nir08": ("nir",)}
"""Bands that may stand in for another, with a word about it: the two near infrareds of Sentinel-2 and Landsat."""

_SENTINEL2_TOKEN = re.compile(r"(?:^|[_.\- ])(B0[1-9]|B8A|B1[0-2])(?:[_.\- ]|$)", re.IGNORECASE)


def common_name(text: str) -> str | None:
    """The STAC common name for a band's description, or None where it is not clear.

    Bare numbers such as ``B4`` are not clear: red for Sentinel-2 and Landsat 8, near infrared for Landsat 7.

    Example:
        >>> common_name("SWIR1"), common_name("B8A"), common_name("B4")
        ('swir16', 'nir08', None)
    """
    key = text.strip().lower()
    if key in COMMON_NAMES:
        return key
    if key in _ALIASES:
        return _ALIASES[key]
    token = _SENTINEL2_TOKEN.search(text)
    return SENTINEL2[token.group(1).upper()] if token else None


def common_names(descriptions: list[str]) -> list[str | None]:
    """Common names for all bands of one file; Sentinel-2 numbers without zeros are told by their company.

    A file that has B8A, B9, B11 or B12 beside B2 is Sentinel-2: no other sensor numbers so.

    Example:
        >>> common_names(["B2", "B8", "B8A", "B12"])
        ['blue', 'nir', 'nir08', 'swir22']
    """
    padded = [re.sub(r"^B(\d)$", r"B0\1", d.strip().upper()) for d in descriptions]
    if {"B8A", "B11", "B12"} & set(padded) and all(p in SENTINEL2 for p in padded):
        return [SENTINEL2[p] for p in padded]
    return [common_name(d) for d in descriptions]
