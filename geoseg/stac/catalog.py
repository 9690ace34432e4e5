"""Where items come from: one TOML file per catalog, or any address that speaks STAC."""

import re
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from geoseg.errors import CatalogError
from geoseg.redaction import redact
from geoseg.registry import did_you_mean
from geoseg.resources import resource_folder
from geoseg.stac.metadata import ItemLike, describe_item

_INHERITED = ("scale", "offset", "nodata", "dtype", "gsd_m")


class BandConfig(BaseModel):
    """Where one band lies in an item, and how its stored numbers become values.

    value = stored number * ``scale`` + ``offset``; stored ``nodata`` is no value. What is None here is taken
    from the item's own metadata, and else from the file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    asset: str
    """Key of the asset in the item."""
    index: Annotated[int, Field(ge=1)] = 1
    """Layer of a multi-band asset, counted from 1 as GDAL does."""
    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None
    """The stored number that means no value."""
    dtype: str | None = None
    """The type as stored, such as ``uint16``."""
    gsd_m: float | None = None
    """Ground sample distance in metres."""


class CloudRule(BaseModel):
    """Which pixels of a quality asset are cloud, shadow or fill: class ``values`` or ``bits``, not both."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    asset: str
    values: tuple[int, ...] = ()
    """Classes to mask, of a classified asset such as Sentinel-2's SCL."""
    bits: tuple[Annotated[int, Field(ge=0, le=31)], ...] = ()
    """A pixel is masked when any of these bits is set (0 is the lowest), as in Landsat's QA_PIXEL."""
    nodata: float | None = None
    """The stored number that means the quality is not known; such pixels are masked too."""

    @model_validator(mode="after")
    def _is_one_kind(self) -> "CloudRule":
        if bool(self.values) == bool(self.bits):
            raise ValueError(
                "a cloud rule needs values (of a class map) or bits (of a bit field), one of them"
            )
        return self


class CollectionConfig(BaseModel):
    """How to read one collection. ``scale`` to ``gsd_m`` are defaults for its bands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = ""
    sensor: Literal["optical", "sar", "dem"] = "optical"
    """Elevation models (``dem``) are searched without regard to date; clouds count for ``optical`` only."""
    bands: Annotated[dict[str, BandConfig], Field(min_length=1)]
    """By STAC common name (``red``, ``nir08``), ``vv``, ``vh``, ``elevation``; a string is an asset key."""
    gsd_m: float | None = None
    """Finest ground sample distance of the collection, metres."""
    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None
    dtype: str | None = None
    boa_offset: bool = False
    """Sentinel-2 L2A: from baseline 04.00 pixels may hold 1000 too much; ``imagery.preflight`` decides."""
    clouds: CloudRule | None = None
    max_cloud_cover: Annotated[float, Field(ge=0, le=100)] | None = None
    """Default of ``--max-cloud-cover``, percent. None: the items carry no ``eo:cloud_cover``."""
    query: dict[str, dict[str, Any]] = {}
    """Further conditions on properties, in the words of the STAC query extension."""
    read_options: dict[str, str] = {}
    """GDAL options for reading the assets; never credentials."""
    caution: str = ""
    """One line that is said when this collection is used."""

    @model_validator(mode="before")
    @classmethod
    def _fill_bands(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or not isinstance(data.get("bands"), Mapping):
            return data
        defaults = {key: data[key] for key in _INHERITED if key in data}
        bands = {
            name: {**defaults, **({"asset": band} if isinstance(band, str) else band)}
            if isinstance(band, str | Mapping)
            else band
            for name, band in data["bands"].items()
        }
        return {**data, "bands": bands}


class Catalog(BaseModel):
    """A place that is searched for items, and how to read what it holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    url: str
    """Address of a STAC API, static catalog, item collection or stac-geoparquet: URL or absolute path."""
    default_collection: str | None = None
    collections: dict[str, CollectionConfig] = {}
    """By collection id."""
    signing: Literal["planetary-computer", "earthdata", "cdse"] | None = None
    """How reads are authorised; see ``geoseg.stac.signing``."""
    attribution: str = ""
    license: str = ""
    description: str = ""

    @model_validator(mode="after")
    def _has_default(self) -> "Catalog":
        default = self.default_collection
        if default is not None and self.collections and default not in self.collections:
            raise ValueError(
                f"default_collection {default!r}: {did_you_mean(default, list(self.collections))}"
            )
        return self


def load_catalog(address: str) -> Catalog:
    """The catalog that a name, TOML file or address stands for. Nothing is read from the network.

    Args:
        address: the name of a shipped catalog; a ``.toml`` file; or the URL, file or folder of a STAC
            API, static catalog, item, item collection or stac-geoparquet.

    Raises:
        CatalogError: when it is none of these, or the TOML file is malformed.

    Example:
        >>> load_catalog("earth-search").default_collection
        'sentinel-2-l2a'
    """
    shipped = resource_folder("catalogs") / f"{address}.toml"
    if re.fullmatch(r"[\w-]+", address) and shipped.is_file():
        return _from_toml(shipped)
    if urlsplit(address).scheme in ("http", "https"):
        shown = redact(address)
        return Catalog(name=urlsplit(shown).hostname or shown, title=shown, url=address)
    path = Path(address)
    if path.suffix == ".toml" and path.is_file():
        return _from_toml(path)
    if not path.exists():
        raise CatalogError(
            f"No catalog {address!r}: {did_you_mean(address, _shipped())} "
            "Give a name, a TOML file, or the URL, file or folder of a STAC catalog."
        )
    return Catalog(name=path.stem, title=path.name, url=str(path.resolve()))


def list_catalogs() -> list[Catalog]:
    """The shipped catalogs, by name."""
    return [load_catalog(name) for name in _shipped()]


def collection_config(catalog: Catalog, item: ItemLike) -> CollectionConfig:
    """How to read ``item``: what its catalog says, else what a shipped one says, else the item itself.

    A shipped catalog is taken when it knows the item's collection id, and the item has its quality asset
    and at least three quarters of its bands (Landsat 7 has no coastal band); bands it lacks are left out.

    Raises:
        CatalogError: when neither any catalog nor the item says what its bands are.
    """
    collection = item.collection_id or ""
    if collection in catalog.collections:
        return catalog.collections[collection]
    for other in _shipped_catalogs(resource_folder("catalogs")):
        config = other.collections.get(collection)
        if config is None or (config.clouds and config.clouds.asset not in item.assets):
            continue
        bands = {name: band for name, band in config.bands.items() if band.asset in item.assets}
        if 4 * len(bands) >= 3 * len(config.bands):
            return config.model_copy(update={"bands": bands})
    return CollectionConfig.model_validate(describe_item(item))


@lru_cache(maxsize=4)
def _shipped_catalogs(folder: Path) -> list[Catalog]:
    return [_from_toml(path) for path in sorted(folder.glob("*.toml"))]


def _shipped() -> list[str]:
    return sorted(path.stem for path in resource_folder("catalogs").glob("*.toml"))


def _from_toml(path: Path) -> Catalog:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogError(f"{path.name} is not TOML: {error}. See catalogs/README.md.") from error
    url = str(data.get("url", ""))
    if url and not urlsplit(url).scheme:
        data["url"] = str((path.parent / url).resolve())
    try:
        return Catalog.model_validate({"name": path.stem, **data})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise CatalogError(f"{path.name}: {where}: {first['msg']}. See catalogs/README.md.") from error
