"""The kinds of places items come from: a STAC API, a static catalog, JSON files, stac-geoparquet.

Each kind yields a superset of what was asked, as plain dicts with absolute hrefs; ``geoseg.stac.items``
filters them.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from pystac_client.exceptions import APIError
from shapely.geometry.base import BaseGeometry

from geoseg.stac.api import from_api, speaks
from geoseg.stac.catalog import Catalog
from geoseg.stac.faults import as_catalog_error, not_stac
from geoseg.stac.reading import (
    TIMEOUT_S,
    Document,
    Query,
    Source,
    box_parts,
    is_remote,
    is_table,
    own_address,
    patient_io,
    resolve,
    with_absolute_hrefs,
)

_READERS = 8


def open_source(catalog: Catalog) -> tuple[str, Source]:
    """The kind of the catalog's address and what was read there.

    Raises:
        CatalogUnreachable: when it does not answer.
        CatalogError: when it is nothing that holds items.
    """
    source = Source(catalog, catalog.url, None, patient_io())
    if is_table(catalog.url):
        return "table", source
    path = Path(catalog.url)
    if not is_remote(catalog.url) and path.is_dir():
        root = next((p for name in ("catalog", "collection") if (p := path / f"{name}.json").is_file()), None)
        if root is None:
            return "folder", source
        source = replace(source, href=str(root))
    source = replace(source, document=source.read(source.href))
    return _recognised(source)


def items_from(kind: str, source: Source, query: Query) -> Iterator[Document]:
    """At most ``max_results`` items, in no particular order.

    Raises:
        CatalogUnreachable: when the address does not answer, after retries.
        CatalogError: when it refuses the request, or what it says is not STAC.
    """
    return islice(_ITEMS_FROM[kind](source, query), query.max_results)


def takes_conditions(kind: str, source: Source) -> bool:
    """Whether the source filters by properties itself."""
    return kind == "api" and (speaks(source, "query") or speaks(source, "filter"))


def _recognised(source: Source) -> tuple[str, Source]:
    document = source.document
    if isinstance(document, list):
        return "json", source
    if isinstance(document, dict):
        type_ = document.get("type")
        rels = {link.get("rel"): link.get("href") for link in document.get("links") or []}
        if type_ in ("Feature", "FeatureCollection"):
            return "json", source
        if "conformsTo" in document or "search" in rels:
            return "api", source
        if type_ == "Collection" and rels.get("items") and rels.get("root"):
            return _root_of_collection(source, resolve(source.href, str(rels["root"])))
        if type_ in ("Catalog", "Collection") or "stac_version" in document:
            return "static", source
    raise not_stac(source.catalog, source.href, "no API, catalog, collection or item")


def _root_of_collection(source: Source, root: str) -> tuple[str, Source]:
    """The address of one collection: of an API when its root is one, else of a static catalog."""
    document = source.read(root)
    if not isinstance(document, dict) or "conformsTo" not in document:
        return "static", source
    catalog = source.catalog.model_copy(update={"default_collection": source.document.get("id")})
    return "api", replace(source, catalog=catalog, href=root, document=document)


# --- one function per kind of source ---------------------------------------------------------------


def _from_static(source: Source, query: Query) -> Iterator[Document]:
    """Level by level from the root; branches whose extent misses the area are not read."""
    level, seen = [(source.href, source.document)], {source.href}
    with ThreadPoolExecutor(_READERS) as pool:
        while level:
            hrefs: list[str] = []
            for href, document in level:
                if isinstance(document, dict) and "features" not in document and "geometry" not in document:
                    new = [branch for branch in _branches(document, href, query) if branch not in seen]
                    seen.update(new)
                    hrefs += new
                else:
                    yield from _from_json(replace(source, href=href, document=document), query)
            level = list(zip(hrefs, pool.map(source.read, hrefs), strict=True))


def _from_json(source: Source, query: Query) -> Iterator[Document]:
    document = source.document
    is_item = isinstance(document, dict) and document.get("type") == "Feature"
    items = document if isinstance(document, list) else [document] if is_item else document.get("features")
    for item in items or []:
        if not isinstance(item, dict) or item.get("type") != "Feature" or "id" not in item:
            raise not_stac(source.catalog, source.href, "it lists something that is no item")
        if is_item:
            others = [link for link in item.get("links") or [] if link.get("rel") != "self"]
            item = {**item, "links": [*others, {"rel": "self", "href": source.href}]}
        yield with_absolute_hrefs(item, own_address(item, source.href))


def _from_folder(source: Source, query: Query) -> Iterator[Document]:
    """Items, item collections and stac-geoparquet files lying in one folder."""
    paths = sorted(Path(source.href).iterdir())
    files = [p for p in paths if p.suffix.lower() in (".json", ".geojson") or is_table(p.name)]
    if not files:
        raise not_stac(source.catalog, source.href, "no catalog.json, item or stac-geoparquet in the folder")
    for file in files:
        inner = replace(source, href=str(file))
        if is_table(file.name):
            yield from _from_table(inner, query)
        else:
            yield from _from_json(replace(inner, document=source.read(str(file))), query)


def _from_table(source: Source, query: Query) -> Iterator[Document]:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from stac_geoparquet.arrow import stac_table_to_items

    try:
        where: Any = source.href
        if is_remote(where):
            response = source.io.session.get(where, timeout=TIMEOUT_S)
            if not response.ok:
                raise APIError.from_response(response)
            where = pa.BufferReader(response.content)
        with pq.ParquetFile(where) as file:
            has_bbox = "bbox" in file.schema_arrow.names
        items = list(
            stac_table_to_items(pq.read_table(where, filters=_reach(query.aoi) if has_bbox else None))
        )
    except (OSError, ValueError, KeyError, TypeError, APIError, pa.ArrowException) as error:
        raise as_catalog_error(error, source.catalog, source.href) from error
    for item in items:
        yield with_absolute_hrefs(item, own_address(item, source.href))


_ITEMS_FROM: dict[str, Callable[[Source, Query], Iterator[Document]]] = {
    "api": from_api,
    "static": _from_static,
    "json": _from_json,
    "folder": _from_folder,
    "table": _from_table,
}


def _branches(document: Document, href: str, query: Query) -> list[str]:
    boxes = ((document.get("extent") or {}).get("spatial") or {}).get("bbox") or []
    if boxes and not any(query.aoi.intersects(box) for box in box_parts(boxes[0])):
        return []
    is_other = document.get("type") == "Collection" and query.collection not in (None, document.get("id"))
    wanted = ("child",) if is_other else ("child", "item", "items")
    links = document.get("links") or []
    return [
        resolve(href, str(link["href"])) for link in links if link.get("rel") in wanted and link.get("href")
    ]


def _reach(aoi: BaseGeometry) -> Any:
    """The pyarrow filter on stac-geoparquet's ``bbox`` column (xmin > xmax across the antimeridian)."""
    import pyarrow.compute as pc

    west, south, east, north = aoi.bounds
    xmin, xmax = pc.field("bbox", "xmin"), pc.field("bbox", "xmax")
    beside = ((xmin <= east) & (xmax >= west)) | (xmin > xmax)
    return beside & (pc.field("bbox", "ymin") <= north) & (pc.field("bbox", "ymax") >= south)
