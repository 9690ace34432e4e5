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
import shapely.affinity
import shapely.geometry
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from shapely.geometry.base import BaseGeometry

from geoseg.errors import OutputError
from geoseg.legend import CLASS_NODATA, CONFIDENCE_NODATA, CONFIDENCE_SCALE, Legend
from geoseg.stac.signing import redact

_EXTENSIONS = [
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("projection/v2.0.0", "raster/v1.1.0", "classification/v2.0.0", "processing/v1.1.0")
]
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_DATETIME = "%Y-%m-%dT%H:%M:%SZ"
_DECIMALS = 7  # of degrees: a centimetre


@dataclass(frozen=True)
class OutputAsset:
    """One file that lies beside the item."""

    file_name: str
    title: str
    media_type: str
    roles: tuple[str, ...]


OUTPUTS: Mapping[str, OutputAsset] = {
    "class": OutputAsset("class.tif", "Class map", _COG, ("data",)),
    "confidence": OutputAsset(
        "confidence.tif", "Confidence of the class, 0..1", _COG, ("data", "confidence")
    ),
    "classes": OutputAsset("classes.gpkg", "Class polygons", "application/geopackage+sqlite3", ("data",)),
    "preview": OutputAsset("preview.png", "Preview", "image/png", ("overview",)),
    "style": OutputAsset("class.qml", "QGIS style of the class map", "application/xml", ("metadata",)),
    "report": OutputAsset("report.html", "Report for people", "text/html", ("metadata",)),
    "report_json": OutputAsset("report.json", "Report for programs", "application/json", ("metadata",)),
    "manifest": OutputAsset("manifest.json", "Recipe, versions, hashes", "application/json", ("metadata",)),
}
"""What a run writes, by asset key. ``class`` and ``confidence`` are the two that get raster metadata."""


@dataclass(frozen=True)
class Lineage:
    """What a map was made from, by what and when."""

    source_hrefs: tuple[str, ...]
    """Addresses of the source items; queries, users and passwords are cut off before they are written."""
    start: datetime
    """Earliest acquisition."""
    end: datetime
    """Latest acquisition."""
    text: str
    """One sentence for people: imagery, composite, model."""
    software: Mapping[str, str]
    """Name to version, such as ``{"geoseg": "0.1.0"}``."""
    model_href: str | None = None
    """The STAC MLM item of the model, where it has an address."""


def write_item(
    path: Path,
    *,
    item_id: str,
    geobox: GeoBox,
    footprint: Geometry | BaseGeometry,
    legend: Legend,
    lineage: Lineage,
    created: datetime,
    assets: Mapping[str, OutputAsset] = OUTPUTS,
) -> Path:
    """A STAC item of a map, with relative links to the files beside it.

    Args:
        path: The file to write, such as ``item.json``; appears when whole.
        item_id: Unique where the item will be published.
        geobox: Grid of ``class.tif`` and ``confidence.tif``.
        footprint: Polygon of the map; a shapely geometry must be in EPSG:4326 (longitude, latitude).
        legend: Written as ``classification:classes``, nodata included.
        lineage: Becomes dates, ``processing:*`` and ``derived_from`` links.
        created: When the map was made, with time zone.
        assets: Key to file; the files need not exist yet.

    Raises:
        OutputError: when the file cannot be written.

    Example:
        >>> import tempfile
        >>> box = GeoBox.from_bbox((500000, 0, 500100, 100), "EPSG:32633", resolution=10)
        >>> day = datetime(2024, 6, 1, tzinfo=UTC)
        >>> lineage = Lineage((), day, day, "one scene", {"geoseg": "0.1.0"})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = write_item(Path(folder, "item.json"), item_id="a", geobox=box, footprint=box.extent,
        ...                       legend=Legend.of(water="1F78B4"), lineage=lineage, created=day)
        ...     json.loads(path.read_text())["properties"]["proj:code"]
        'EPSG:32633'
    """
    geometry = _in_degrees(footprint)
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": _EXTENSIONS,
        "id": item_id,
        "geometry": shapely.geometry.mapping(geometry),
        "bbox": _bbox(geometry),
        "properties": _properties(geobox, lineage, created),
        "links": _links(lineage),
        "assets": {key: _asset(key, asset, geobox, legend) for key, asset in assets.items()},
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(item, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise OutputError(
            f"Cannot write {path}: {error.strerror}. Check the folder and its rights."
        ) from error
    return path


def _properties(geobox: GeoBox, lineage: Lineage, created: datetime) -> dict[str, Any]:
    height, width = geobox.shape
    crs = geobox.crs
    times: dict[str, Any] = {"datetime": _stamp(lineage.start)}
    if lineage.start != lineage.end:
        times = {
            "datetime": None,
            "start_datetime": _stamp(lineage.start),
            "end_datetime": _stamp(lineage.end),
        }
    code = crs.epsg if crs else None
    left, bottom, right, top = geobox.boundingbox.bbox
    return {
        **times,
        "created": _stamp(created),
        "proj:code": f"EPSG:{code}" if code else None,
        **({"proj:wkt2": crs.to_wkt()} if crs and not code else {}),
        "proj:shape": [height, width],
        "proj:transform": list(geobox.affine)[:6],
        "proj:bbox": [left, bottom, right, top],
        "processing:level": "L4",
        "processing:lineage": redact(lineage.text),
        "processing:software": dict(lineage.software),
    }


def _links(lineage: Lineage) -> list[dict[str, str]]:
    """``derived_from`` once for each source item, then the model's own item."""
    sources = sorted({redact(href) for href in lineage.source_hrefs})
    links = [{"rel": "derived_from", "href": href, "type": "application/geo+json"} for href in sources]
    if lineage.model_href:
        model = {"href": redact(lineage.model_href), "type": "application/geo+json", "title": "Model"}
        links.append({"rel": "derived_from", **model})
    return links


def _asset(key: str, asset: OutputAsset, geobox: GeoBox, legend: Legend) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "href": f"./{asset.file_name}",
        "title": asset.title,
        "type": asset.media_type,
        "roles": list(asset.roles),
    }
    band: dict[str, Any] = {"data_type": "uint8", "sampling": "area"}
    if geobox.crs and not geobox.crs.geographic:
        band["spatial_resolution"] = abs(geobox.resolution.x)
    if key == "class":
        fields["raster:bands"] = [{"nodata": CLASS_NODATA, **band}]
        fields["classification:classes"] = legend.to_stac()
    elif key == "confidence":
        fields["raster:bands"] = [
            {"nodata": CONFIDENCE_NODATA, **band, "scale": CONFIDENCE_SCALE, "offset": 0}
        ]
    return fields


def _in_degrees(footprint: Geometry | BaseGeometry) -> BaseGeometry:
    """The footprint in EPSG:4326, cut at the antimeridian (RFC 7946, section 3.1.9)."""
    if isinstance(footprint, Geometry):
        footprint = footprint.to_crs("EPSG:4326", resolution="auto", wrapdateline=True).geom
    worlds = [
        shapely.affinity.translate(
            shapely.intersection(footprint, shapely.box(west, -90, west + 360, 90)), -shift
        )
        for west, shift in ((-540, -360), (-180, 0), (180, 360))
    ]
    parts = [p for world in worlds for p in shapely.get_parts(world) if p.area > 0]
    if not parts:
        raise OutputError(
            "The footprint of the map is empty in longitude and latitude; give a polygon with an area."
        )
    whole = (
        parts[0]
        if len(parts) == 1
        else shapely.MultiPolygon([q for p in parts for q in shapely.get_parts(p)])
    )
    rounded = shapely.set_precision(whole, 10**-_DECIMALS, mode="pointwise")
    oriented: BaseGeometry = shapely.orient_polygons(rounded if rounded.is_valid else whole)
    return oriented


def _bbox(geometry: BaseGeometry) -> list[float]:
    """(west, south, east, north); west > east where the geometry lies on both sides of the antimeridian."""
    west, south, east, north = geometry.bounds
    if west == -180 and east == 180:
        bounds = [p.bounds for p in shapely.get_parts(geometry)]
        is_split = all(b[0] >= 0 or b[2] <= 0 for b in bounds)
        if is_split:
            west = min(b[0] for b in bounds if b[0] >= 0)
            east = max(b[2] for b in bounds if b[2] <= 0)
    return [west, south, east, north]


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime(_DATETIME)
