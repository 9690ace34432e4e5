"""Items from a STAC API: ask what it understands, page by page."""

import warnings
from collections.abc import Iterator
from typing import Any

import shapely
from pystac_client import Client
from pystac_client.exceptions import APIError
from pystac_client.warnings import PystacClientWarning
from shapely.geometry.base import BaseGeometry

from geoseg.errors import CatalogError
from geoseg.registry import did_you_mean
from geoseg.stac.faults import as_catalog_error, not_stac
from geoseg.stac.reading import Document, Query, Source, own_address, resolve, with_absolute_hrefs

PAGE_SIZE = 100
"""Items asked for per page; Earth Search fails above some megabytes per page."""
MAX_VERTICES = 500
"""A more detailed area is sent as its convex hulls: servers limit URLs and bodies."""


def from_api(source: Source, query: Query) -> Iterator[Document]:
    """The items that the server finds, in its order, at most ``max_results``."""
    client = source.io.stac_object_from_dict(source.document, href=source.href)
    if not isinstance(client, Client):
        raise not_stac(source.catalog, source.href, "its landing page is no catalog")
    _check_collection(source, query.collection)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PystacClientWarning)
            search = client.search(
                collections=[query.collection] if query.collection else None,
                intersects=shapely.geometry.mapping(lighter(query.aoi)),
                datetime=query.interval,
                limit=min(PAGE_SIZE, query.max_results),
                max_items=query.max_results,
                **_conditions(source, query),
            )
            for item in _until_stale(search.items_as_dicts()):
                yield with_absolute_hrefs(item, own_address(item, source.href))
    except NotImplementedError as error:
        raise not_stac(source.catalog, source.href, "it has no item search") from error
    except (APIError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise as_catalog_error(error, source.catalog, source.href) from error


def _until_stale(items: Iterator[Document]) -> Iterator[Document]:
    """The items, ended when a page's worth of them came before: some servers forget the page they were at."""
    seen: set[tuple[str, str]] = set()
    n_stale = 0
    for item in items:
        key = (str(item.get("collection")), str(item["id"]))
        n_stale = n_stale + 1 if key in seen else 0
        if n_stale >= PAGE_SIZE:
            return
        seen.add(key)
        yield item


def speaks(source: Source, language: str) -> bool:
    """Whether ``conformsTo`` names the ``query`` extension, or ``filter`` with CQL2 as JSON.

    Only then is a condition sent: servers answer conditions they do not know with everything or nothing.
    """
    document = source.document if isinstance(source.document, dict) else {}
    classes = [str(uri).lower() for uri in document.get("conformsTo") or []]
    if language == "query":
        return any(uri.endswith("item-search#query") for uri in classes)
    has_filter = any("item-search#filter" in uri for uri in classes)
    return has_filter and any("cql2-json" in uri for uri in classes)


def lighter(aoi: BaseGeometry) -> BaseGeometry:
    """``aoi``, or when it has very many vertices a plainer area around it, split at Greenwich.

    The split keeps an area on both sides of the antimeridian from becoming a band around the Earth.
    """
    if shapely.get_num_coordinates(aoi) <= MAX_VERTICES:
        return aoi
    halves = (shapely.box(-180, -90, 0, 90), shapely.box(0, -90, 180, 90))
    sides = [side for half in halves if (side := aoi.intersection(half)).area > 0]
    hulls = shapely.unary_union([side.convex_hull for side in sides])
    if shapely.get_num_coordinates(hulls) <= MAX_VERTICES:
        return hulls
    return shapely.unary_union([shapely.box(*side.bounds) for side in sides])


def _conditions(source: Source, query: Query) -> dict[str, Any]:
    """Always dicts with numbers: pystac-client's string form sends "20", which pgstac compares as text."""
    if not query.conditions:
        return {}
    if speaks(source, "query"):
        return {"query": query.conditions}
    if not speaks(source, "filter"):
        return {}
    signs = {"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">=", "in": "in"}
    tests = [
        {"op": signs[op], "args": [{"property": name}, value]}
        for name, condition in query.conditions.items()
        for op, value in condition.items()
    ]
    return {
        "filter": tests[0] if len(tests) == 1 else {"op": "and", "args": tests},
        "filter_lang": "cql2-json",
    }


def _check_collection(source: Source, collection: str | None) -> None:
    """An id that no TOML file vouches for is looked up, so that a slip is told from an empty answer."""
    if collection is not None and collection in source.catalog.collections:
        return
    links = source.document.get("links") or []
    listing = next((link["href"] for link in links if link.get("rel") == "data" and link.get("href")), None)
    if listing is None:
        return
    document = source.read(resolve(source.href, str(listing)))
    found = document.get("collections", []) if isinstance(document, dict) else []
    known = sorted(str(c.get("id")) for c in found if isinstance(c, dict))
    is_partial = isinstance(document, dict) and any(
        link.get("rel") == "next" for link in document.get("links") or []
    )
    if collection is None and len(known) > 1:
        shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 or is_partial else "")
        raise CatalogError(
            f"{source.catalog.title} has several collections; name one with --collection: {shown}."
        )
    if collection is not None and known and collection not in known and not is_partial:
        raise CatalogError(
            f"{source.catalog.title} has no collection {collection!r}: {did_you_mean(collection, known)}"
        )
