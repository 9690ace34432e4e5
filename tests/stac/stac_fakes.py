"""Items made to order, and a STAC API on the loopback that can be made to misbehave."""

import datetime as dt
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pystac
import shapely
from odc.geo.geom import Geometry

from geoseg.stac.catalog import Catalog

SHARED = Path(__file__).parents[2] / "../shared/data/stac"
CORE = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]
QUERY = "https://api.stacspec.org/v1.0.0/item-search#query"
FILTER = [
    "https://api.stacspec.org/v1.0.0/item-search#filter",
    "http://www.opengis.net/spec/cql2/1.0/conf/cql2-json",
]


def make_item(
    name: str,
    bounds: tuple[float, float, float, float] = (10, 45, 11, 46),
    *,
    clouds: float | None = 10.0,
    date: str = "2024-06-15",
    geometry: dict[str, Any] | str | None = "box",
    collection: str | None = "made",
    **properties: Any,
) -> pystac.Item:
    """An item with one red asset beside it."""
    if clouds is not None:
        properties["eo:cloud_cover"] = clouds
    item = pystac.Item(
        id=name,
        geometry=shapely.geometry.mapping(shapely.box(*bounds)) if geometry == "box" else geometry,
        bbox=list(bounds),
        datetime=dt.datetime.fromisoformat(date).replace(tzinfo=dt.UTC),
        properties=properties,
        collection=collection,
    )
    item.add_asset("red", pystac.Asset(f"./{name}.tif", media_type="image/tiff; application=geotiff"))
    return item


def area(*bounds: float) -> Geometry:
    """An area of interest in degrees."""
    return Geometry(shapely.box(*bounds), "EPSG:4326")


@dataclass
class FakeApi:
    """What the server holds, how it behaves, and what it was asked."""

    items: list[dict[str, Any]] = field(default_factory=list)
    conforms: list[str] = field(default_factory=lambda: [*CORE, QUERY])
    page: int = 10
    failures: list[int] = field(default_factory=list)
    """Statuses given, one each, before anything is answered."""
    search_failures: list[int] = field(default_factory=list)
    """The same, for searches only."""
    always: tuple[int, str] | None = None
    """A status and body given to every search."""
    filters: bool = True
    loses_unknown: bool = True
    """Like most servers: a condition on a property drops the items without it."""
    url: str = ""
    searches: list[dict[str, Any]] = field(default_factory=list)
    n_requests: int = 0

    def landing(self) -> dict[str, Any]:
        links = [
            {"rel": "self", "href": self.url},
            {"rel": "root", "href": self.url},
            {"rel": "data", "href": f"{self.url}/collections"},
            {"rel": "search", "href": f"{self.url}/search", "method": "POST", "type": "application/geo+json"},
        ]
        return {
            "type": "Catalog", "id": "fake", "description": "fake", "stac_version": "1.0.0",
            "conformsTo": self.conforms, "links": links,
        }  # fmt: skip

    def collection(self, name: str) -> dict[str, Any]:
        links = [
            {"rel": "root", "href": self.url},
            {"rel": "items", "href": f"{self.url}/collections/{name}/items"},
        ]
        extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}}
        return {
            "type": "Collection", "id": name, "description": name, "stac_version": "1.0.0",
            "license": "other", "extent": extent, "links": links,
        }  # fmt: skip

    def search(self, body: dict[str, Any]) -> dict[str, Any]:
        self.searches.append(body)
        found = [item for item in self.items if not self.filters or self._meets(item, body)]
        start = int(body.get("token", 0))
        features = found[start : start + min(self.page, body.get("limit", self.page))]
        links = []
        if start + len(features) < len(found):
            follow = {**body, "token": start + len(features)}
            links.append({"rel": "next", "method": "POST", "href": f"{self.url}/search", "body": follow})
        return {"type": "FeatureCollection", "features": features, "links": links}

    def _meets(self, item: dict[str, Any], body: dict[str, Any]) -> bool:
        if body.get("collections") and item["collection"] not in body["collections"]:
            return False
        if not shapely.geometry.shape(item["geometry"]).intersects(
            shapely.geometry.shape(body["intersects"])
        ):
            return False
        for name, condition in self._conditions(body).items():
            value = item["properties"].get(name)
            if value is None:
                return not self.loses_unknown
            limit = condition["lte"]
            # pgstac without queryables compares as text what comes as text
            if not (str(value) <= limit if isinstance(limit, str) else value <= limit):
                return False
        return True

    def _conditions(self, body: dict[str, Any]) -> dict[str, Any]:
        if "filter" in body:
            assert body["filter"]["op"] == "<="
            return {body["filter"]["args"][0]["property"]: {"lte": body["filter"]["args"][1]}}
        return body.get("query", {})

    def answer(self, path: str, body: dict[str, Any] | None) -> tuple[int, str]:
        self.n_requests += 1
        if self.failures:
            return self.failures.pop(0), "come back later"
        if path.endswith("/search") and self.search_failures:
            return self.search_failures.pop(0), "come back later"
        if path.endswith("/search"):
            return self.always or (200, json.dumps(self.search(body or {})))
        if path.endswith("/collections"):
            names = sorted({item["collection"] for item in self.items})
            return 200, json.dumps({"collections": [self.collection(name) for name in names], "links": []})
        if "/collections/" in path:
            return 200, json.dumps(self.collection(path.rsplit("/", 1)[1]))
        return 200, json.dumps(self.landing())


def serve(answer: Callable[[str, dict[str, Any] | None], tuple[int, str]]) -> ThreadingHTTPServer:
    """A server on a free port of the loopback."""

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, text = answer(self.path.split("?")[0], body)
            data = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _reply  # noqa: N815

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


def catalog_at(url: str, **config: Any) -> Catalog:
    """A catalog without, or with one, described collection."""
    collections = {"made": {"bands": {"red": "red"}, "max_cloud_cover": 100, **config}} if config else {}
    return Catalog.model_validate({"name": "fake", "title": "Fake", "url": url, "collections": collections})
