"""What an item says about its own bands, for catalogs that nobody described in a TOML file.

Read are ``eo:bands`` and ``raster:bands`` (STAC 1.0), ``bands`` (STAC 1.1) and, where there is neither,
the keys of the assets. Sources: the STAC EO v2 and raster v2 extensions, STAC 1.1 "bands".
"""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from geoseg.errors import CatalogError

COMMON_NAMES = frozenset((
    "pan", "coastal", "blue", "green", "green05", "yellow", "red", "rededge", "rededge071", "rededge075",
    "rededge078", "nir", "nir08", "nir09", "cirrus", "swir16", "swir22", "lwir", "lwir11", "lwir12",
    "vv", "vh", "hh", "hv", "elevation",
))  # fmt: skip
"""The EO extension's common names, SAR polarisations and ``elevation``."""

_SYNONYMS = {"rededge1": "rededge071", "rededge2": "rededge075", "rededge3": "rededge078", "dem": "elevation"}
# Centre wavelength in micrometres where ``rededge`` alone does not say which one it is (EO v2, common names).
_RED_EDGES = ((0.69, 0.72, "rededge071"), (0.73, 0.76, "rededge075"), (0.77, 0.80, "rededge078"))
_B8A = (0.85, 0.88, "nir08")  # Planetary Computer calls Sentinel-2's B8A "rededge" too
SENTINEL2 = {
    "B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge071", "B06": "rededge075",
    "B07": "rededge078", "B08": "nir", "B8A": "nir08", "B09": "nir09", "B10": "cirrus", "B11": "swir16",
    "B12": "swir22",
}  # fmt: skip
"""Band numbers of Sentinel-2's MSI (ESA, Sentinel-2 User Handbook), as its products name their files."""
_NOT_DATA = frozenset({"thumbnail", "overview", "visual", "metadata"})


class AssetLike(Protocol):
    """What is used of a ``pystac.Asset``."""

    href: str
    media_type: str | None
    roles: list[str] | None
    extra_fields: dict[str, Any]


class ItemLike(Protocol):
    """What is used of a ``pystac.Item``."""

    id: str
    collection_id: str | None
    properties: dict[str, Any]

    @property
    def assets(self) -> Mapping[str, Any]:
        """Assets by key."""


def describe_item(item: ItemLike) -> dict[str, Any]:
    """A collection's table, as it would stand in a TOML file, from the metadata of one of its items.

    Where two assets hold the same band, the one with fewer layers wins, then GeoTIFF over JPEG 2000,
    then the finer GSD, then the shorter key.

    Raises:
        CatalogError: when no asset says which band it holds.
    """
    candidates: dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {}
    for key, asset in item.assets.items():
        for name, order, band in _bands_of(item, key, asset):
            candidates.setdefault(name, []).append((order, band))
    if not candidates:
        raise CatalogError(
            f"Item {item.id} of collection {item.collection_id or '(none)'} does not say what its bands are "
            f"(assets: {', '.join(list(item.assets)[:8])}). Write a TOML file for it: see catalogs/README.md."
        )
    bands = {name: min(found, key=lambda pair: pair[0])[1] for name, found in candidates.items()}
    finest = [band["gsd_m"] for band in bands.values() if band.get("gsd_m")]
    sensor = _sensor(item, bands)
    return {
        "title": item.collection_id or item.id,
        "sensor": sensor,
        "gsd_m": min(finest, default=item.properties.get("gsd")),
        "bands": bands,
        "max_cloud_cover": 80.0 if sensor == "optical" and "eo:cloud_cover" in item.properties else None,
    }


def declared_scaling(item: ItemLike, asset: str, index: int = 1) -> dict[str, Any]:
    """``scale``, ``offset``, ``nodata``, ``dtype`` and ``gsd_m`` that the item declares for one layer.

    Only what is declared is there: an empty dict means that the item is silent.
    """
    found = item.assets[asset]
    layers = _layers(item, found)
    layer = layers[index - 1] if index <= len(layers) else {}
    return _scaling(layer, found.extra_fields)


def _bands_of(
    item: ItemLike, key: str, asset: AssetLike
) -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    if _NOT_DATA & set(asset.roles or ()) or not _is_raster(asset):
        return
    layers = _layers(item, asset)
    named = [(index, _name(layer)) for index, layer in enumerate(layers, start=1)]
    if not any(name for _, name in named) and len(layers) <= 1:
        named = [(1, _known(key) or (SENTINEL2.get(key[:3].upper()) if _is_sentinel2(item) else None))]
    for index, name in named:
        if name is None:
            continue
        layer = layers[index - 1] if layers else {}
        band = {"asset": key, "index": index, **_scaling(layer, asset.extra_fields)}
        is_jp2 = "jp2" in (asset.media_type or "") or asset.href.lower().endswith(".jp2")
        yield name, (len(layers), is_jp2, band.get("gsd_m") or 0.0, len(key), key), band


def _is_raster(asset: AssetLike) -> bool:
    media = asset.media_type or ""
    plain = asset.href.lower().split("?")[0]
    return "tiff" in media or "jp2" in media or plain.endswith((".tif", ".tiff", ".jp2", ".vrt"))


def _is_sentinel2(item: ItemLike) -> bool:
    said = (item.properties.get(key) for key in ("constellation", "platform"))
    return any(str(text).lower().startswith("sentinel-2") for text in said)


def _layers(item: ItemLike, asset: AssetLike) -> list[dict[str, Any]]:
    """One dict per layer of the asset, EO and raster fields together."""
    fields = asset.extra_fields
    if "bands" in fields:
        return [dict(band) for band in fields["bands"] if isinstance(band, Mapping)]
    shared = item.properties.get("eo:bands") or []
    eo = [shared[b] if isinstance(b, int) and b < len(shared) else b for b in fields.get("eo:bands", [])]
    raster = fields.get("raster:bands", [])
    layers = []
    for i in range(max(len(eo), len(raster))):
        parts = [source[i] for source in (eo, raster) if i < len(source) and isinstance(source[i], Mapping)]
        layers.append({key: value for part in parts for key, value in part.items()})
    return layers


def _name(layer: Mapping[str, Any]) -> str | None:
    common = layer.get("eo:common_name", layer.get("common_name"))
    if common == "rededge":
        centre = layer.get("eo:center_wavelength", layer.get("center_wavelength"))
        for low, high, name in (*_RED_EDGES, _B8A):
            if centre is not None and low <= centre <= high:
                return name
    return _known(str(common)) if common else _known(str(layer.get("name", "")))


def _known(name: str) -> str | None:
    lower = name.lower()
    lower = _SYNONYMS.get(lower, lower)
    return lower if lower in COMMON_NAMES else None


def _scaling(layer: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """STAC 1.0 writes ``scale``, STAC 1.1 ``raster:scale``; both may stand on the band or on the asset."""
    found: dict[str, Any] = {}
    for name, keys in {
        "scale": ("raster:scale", "scale"),
        "offset": ("raster:offset", "offset"),
        "nodata": ("nodata",),
        "dtype": ("data_type",),
        "gsd_m": ("gsd", "raster:spatial_resolution", "spatial_resolution"),
    }.items():
        values = [source[key] for source in (layer, fields) for key in keys if source.get(key) is not None]
        if values:
            found[name] = values[0] if name == "dtype" else float(values[0])
    return found


def _sensor(item: ItemLike, bands: Mapping[str, Any]) -> str:
    if any(key.startswith("sar:") for key in item.properties) or {"vv", "vh", "hh", "hv"} & bands.keys():
        return "sar"
    return "dem" if set(bands) == {"elevation"} else "optical"
