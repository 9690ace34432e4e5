"""The STAC item that lets a catalog, odc-stac or QGIS find a map and know what its pixels mean.

STAC 1.1.0 with the extensions projection 2.0, raster 1.1, classification 2.0 and processing 1.1.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import shapely
import shapely.geometry
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from shapely.geometry.base import BaseGeometry

from geoseg.aoi import to_degrees
from geoseg.errors import OutputError
from geoseg.legend import Legend
from geoseg.lonlat import WGS84, join, wrap
from geoseg.redaction import redact
from geoseg.writers.stac_assets import OutputAsset, asset_of

EXTENSIONS = {
    name: f"https://stac-extensions.github.io/{name}/{version}/schema.json"
    for name, version in {
        "projection": "v2.0.0",
        "raster": "v1.1.0",
        "classification": "v2.0.0",
        "processing": "v1.1.0",
    }.items()
}
"""Name to the address of the schema."""
COLLECTION_NAME = "collection.json"
"""The file of a map's STAC collection."""
_DATETIME = "%Y-%m-%dT%H:%M:%SZ"
_DECIMALS = 7  # of degrees: a centimetre


@dataclass(frozen=True)
class SourceItem:
    """An item whose pixels are in the map."""

    id: str
    collection: str | None = None
    href: str | None = None
    """Address of the STAC item itself, where it has one; users, passwords and queries are cut off."""
    files: tuple[str, ...] = ()
    """Addresses of its files that were read, cut likewise."""
    start: datetime | None = None
    """Earliest acquisition; None where the item states no date."""
    end: datetime | None = None
    """Latest acquisition."""


@dataclass(frozen=True)
class SourceModel:
    """The model that made the classes."""

    name: str
    sha256: str | None = None
    """Of its weights; None for a model without any."""
    href: str | None = None
    """Its STAC MLM item, where that has an address."""


@dataclass(frozen=True)
class Lineage:
    """What a map was made from and by what."""

    sources: tuple[SourceItem, ...]
    model: SourceModel
    text: str
    """One sentence for people: imagery, composite, model."""
    software: Mapping[str, str]
    """Name to version, such as ``{"geoseg": "0.1.0"}``."""


def write_item(
    path: Path,
    *,
    item_id: str,
    geobox: GeoBox,
    footprint: Geometry | BaseGeometry,
    legend: Legend,
    lineage: Lineage,
    created: datetime,
    assets: Mapping[str, OutputAsset],
    collection: str | None = None,
) -> Path:
    """A STAC item of a map, or of a sheet of one, with relative links to the files beside it.

    Args:
        path: The file to write, such as ``item.json``; appears when whole.
        item_id: Unique where the item will be published.
        geobox: Grid of the rasters.
        footprint: Polygon of the map; a shapely geometry must be in EPSG:4326 (longitude, latitude).
        legend: Written as ``classification:classes``, nodata included.
        lineage: Becomes dates, ``processing:*``, ``geoseg:source_items``, ``geoseg:model`` and, for items
            and models that have an address, ``derived_from`` links.
        created: When the map was made, with time zone.
        assets: Key to file, as ``stac_assets.outputs_of`` gives them; the files need not exist yet.
        collection: Id of the collection that ``collection.json`` beside it is; None without one.

    Raises:
        OutputError: when the file cannot be written.

    Example:
        >>> import tempfile
        >>> from geoseg.writers.stac_assets import outputs_of
        >>> box = GeoBox.from_bbox((500000, 0, 500100, 100), "EPSG:32633", resolution=10)
        >>> day = datetime(2024, 6, 1, tzinfo=UTC)
        >>> scene = SourceItem("scene", files=("/data/scene.tif",), start=day, end=day)
        >>> lineage = Lineage((scene,), SourceModel("rules"), "one scene", {"geoseg": "0.1.0"})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = write_item(Path(folder, "item.json"), item_id="a", geobox=box, footprint=box.extent,
        ...                       legend=Legend.of(water="1F78B4"), lineage=lineage, created=day,
        ...                       assets=outputs_of())
        ...     json.loads(path.read_text())["properties"]["proj:code"]
        'EPSG:32633'
    """
    geometry = in_degrees(footprint)
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(EXTENSIONS.values()),
        "id": item_id,
        "geometry": shapely.geometry.mapping(geometry),
        "bbox": bbox_of(geometry),
        "properties": _properties(geobox, lineage, created),
        **({"collection": collection} if collection else {}),
        "links": [*(_links_to_collection() if collection else ()), *_links(lineage)],
        "assets": {key: asset_of(key, asset, geobox, legend) for key, asset in assets.items()},
    }
    return write_json(path, item)


def write_json(path: Path, document: Mapping[str, Any]) -> Path:
    """A JSON file, which appears when whole.

    Raises:
        OutputError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise OutputError(
            f"Cannot write {path}: {error.strerror}. Check the folder and its rights."
        ) from error
    return path


def _properties(geobox: GeoBox, lineage: Lineage, created: datetime) -> dict[str, Any]:
    height, width = geobox.shape
    crs = geobox.crs
    code = crs.epsg if crs else None
    left, bottom, right, top = geobox.boundingbox.bbox
    model = lineage.model
    # The model's item by its address, as MLM's best practices want it (github.com/stac-extensions/mlm).
    expression = {"format": "stac-mlm", "expression": redact(model.href)} if model.href else None
    return {
        **_times(lineage.sources, created),
        "created": stamp(created),
        **({"gsd": abs(geobox.resolution.x)} if crs and not crs.geographic else {}),
        "proj:code": f"EPSG:{code}" if code else None,
        **({"proj:wkt2": crs.to_wkt()} if crs and not code else {}),
        "proj:shape": [height, width],
        "proj:transform": list(geobox.affine)[:6],
        "proj:bbox": [left, bottom, right, top],
        "processing:level": "L4",
        "processing:lineage": redact(lineage.text),
        **({"processing:expression": expression} if expression else {}),
        "processing:software": dict(lineage.software),
        "geoseg:source_items": [_source(source) for source in lineage.sources],
        "geoseg:model": {"name": model.name, **({"sha256": model.sha256} if model.sha256 else {})},
    }


def _times(sources: tuple[SourceItem, ...], created: datetime) -> dict[str, Any]:
    """From the first to the last acquisition; STAC wants a date even where no image states one."""
    starts, ends = [s.start for s in sources if s.start], [s.end for s in sources if s.end]
    if not starts or not ends:
        words = "The images state no date: datetime is when this map was made."
        return {"datetime": stamp(created), "description": words, "geoseg:datetime_known": False}
    start, end = stamp(min(starts)), stamp(max(ends))
    times: dict[str, Any] = {"datetime": start}
    if start != end:
        times = {"datetime": None, "start_datetime": start, "end_datetime": end}
    if len(starts) < len(sources):
        n_undated = len(sources) - len(starts)
        times["description"] = f"{n_undated} of {len(sources)} images state no date: dates are the others'."
    return times


def _source(source: SourceItem) -> dict[str, Any]:
    return {
        "id": source.id,
        **({"collection": source.collection} if source.collection else {}),
        **({"href": redact(source.href)} if source.href else {}),
        **({"files": [redact(file) for file in source.files]} if source.files else {}),
    }


def _links(lineage: Lineage) -> list[dict[str, str]]:
    """``derived_from`` once for each source item that has an address, then the model's own item.

    Never a link to an image: clients such as pystac read what ``derived_from`` names as a STAC item.
    """
    titles = {redact(source.href): source.id for source in lineage.sources if source.href}
    links = [_derived_from(href, title) for href, title in sorted(titles.items())]
    if lineage.model.href:
        links.append(_derived_from(redact(lineage.model.href), f"Model {lineage.model.name}"))
    return links


def _links_to_collection() -> list[dict[str, str]]:
    rels = ("root", "parent", "collection")
    return [{"rel": rel, "href": f"./{COLLECTION_NAME}", "type": "application/json"} for rel in rels]


def _derived_from(href: str, title: str) -> dict[str, str]:
    return {"rel": "derived_from", "href": href, "type": "application/geo+json", "title": title}


def in_degrees(footprint: Geometry | BaseGeometry) -> BaseGeometry:
    """The footprint in EPSG:4326, cut at the antimeridian (RFC 7946, section 3.1.9)."""
    geometry = footprint if isinstance(footprint, Geometry) else Geometry(footprint, crs=WGS84)
    whole = wrap(shapely.get_parts(to_degrees(geometry).geom))
    if whole.is_empty:
        raise OutputError(
            "The footprint of the map is empty in longitude and latitude; give a polygon with an area."
        )
    rounded = shapely.set_precision(whole, 10**-_DECIMALS, mode="pointwise")
    oriented: BaseGeometry = shapely.orient_polygons(rounded if rounded.is_valid else whole)
    return oriented


def bbox_of(geometry: BaseGeometry) -> list[float]:
    """The STAC bbox: (west, south, east, north); west > east where it is narrower across the antimeridian."""
    west, south, east, north = join(geometry).bounds
    return [west, south, round(east - 360, _DECIMALS) if east > 180 else east, north]


def stamp(moment: datetime) -> str:
    """The moment in UTC, RFC 3339."""
    return moment.astimezone(UTC).strftime(_DATETIME)
