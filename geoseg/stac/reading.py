"""A catalog's address, opened: what every kind of source shares."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import shapely
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from shapely.geometry.base import BaseGeometry
from urllib3 import Retry

from geoseg.stac.catalog import Catalog
from geoseg.stac.faults import as_catalog_error

BACKOFF_S = 0.5
"""First pause before a request is repeated; it doubles up to 10 s."""
TIMEOUT_S = (10.0, 60.0)
"""To connect, and between two bytes."""

Document = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """What is asked of a source; it may answer with more, never with less."""

    aoi: BaseGeometry
    """Degrees, longitudes in -180..180."""
    collection: str | None
    interval: str | None
    """RFC 3339 ``start/end``, ``..`` for open; None: any date."""
    conditions: dict[str, dict[str, Any]]
    """In the words of the STAC query extension; sent only where the server knows them."""
    max_results: int


@dataclass(frozen=True)
class Source:
    """The catalog, the address of what was read of it, and the means to read on."""

    catalog: Catalog
    href: str
    document: Any
    """What lies at ``href``; None for a folder or a table."""
    io: StacApiIO

    def read(self, href: str) -> Any:
        """The JSON document at ``href``, a URL or a local path; repeated on 429, 5xx and broken connections.

        Raises:
            CatalogUnreachable: when it does not answer.
            CatalogError: when it is refused, missing or no JSON.
        """
        try:
            text = self.io.read_text(href) if is_remote(href) else Path(href).read_text(encoding="utf-8")
            return json.loads(text)
        except (APIError, OSError, ValueError) as error:
            raise as_catalog_error(error, self.catalog, href) from error


def patient_io() -> StacApiIO:
    """Requests with timeouts, repeated a few times; a POST too, since a search changes nothing."""
    retry = Retry(
        total=5,
        connect=2,
        backoff_factor=BACKOFF_S,
        backoff_max=10,
        retry_after_max=30,
        status_forcelist=(429, 500, 502, 503, 504),
        allowed_methods=None,
        raise_on_status=False,
    )
    return StacApiIO(timeout=TIMEOUT_S, max_retries=retry)


def is_remote(href: str) -> bool:
    """Whether ``href`` is a URL to be fetched, not a local path."""
    return urlsplit(href).scheme in ("http", "https")


def is_table(href: str) -> bool:
    """Whether ``href`` names a stac-geoparquet file."""
    return urlsplit(href).path.lower().endswith((".parquet", ".geoparquet"))


def resolve(base: str, href: str) -> str:
    """``href`` as seen from ``base``: absolute addresses stay, relative ones are joined.

    Example:
        >>> resolve("https://host/a/item.json", "../b.tif")
        'https://host/b.tif'
    """
    if urlsplit(href).scheme or href.startswith("/vsi"):
        return href
    return urljoin(base, href) if is_remote(base) else str((Path(base).parent / href).resolve())


def with_absolute_hrefs(item: Document, base: str) -> Document:
    """The item with hrefs that are relative to ``base``, its own address, made absolute.

    Links to the catalog's own objects go: an item must pickle without the client that found it.
    """
    assets = {
        key: {**asset, "href": resolve(base, str(asset["href"]))}
        for key, asset in (item.get("assets") or {}).items()
        if asset and asset.get("href")
    }
    links = [
        {**link, "href": resolve(base, str(link["href"]))}
        for link in item.get("links") or []
        if link.get("href") and link.get("rel") not in ("root", "parent")
    ]
    return {**item, "assets": assets, "links": links}


def own_address(item: Document, base: str) -> str:
    """Where an item of a list lies: its self link where that is absolute, else the list's own address."""
    for link in item.get("links") or []:
        href = str(link.get("href", ""))
        if link.get("rel") == "self" and (is_remote(href) or Path(href).is_absolute()):
            return href
    return base


def box_parts(bbox: list[float]) -> list[BaseGeometry]:
    """The polygons of a STAC bbox (4 or 6 numbers); one that crosses the antimeridian has west > east."""
    west, south, east, north = bbox[0], bbox[1], bbox[len(bbox) // 2], bbox[len(bbox) // 2 + 1]
    if west <= east:
        return [shapely.box(west, south, east, north)]
    return [shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)]
