"""The STAC item that lets a catalog, odc-stac or QGIS find a map and know what its pixels mean.

STAC 1.1.0 with the extensions projection 2.0, raster 1.1, classification 2.0 and processing 1.1.
"""

import json
import os
from collections.abc import Mapping, Sequence
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
from geoseg.legend import CLASS_NODATA, CONFIDENCE_NODATA, CONFIDENCE_SCALE, Legend
from geoseg.lonlat import WGS84, join, wrap
from geoseg.redaction import redact

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
    "entropy": OutputAsset(
        "entropy.tif", "Entropy of the class probabilities, 0..1 of its largest value", _COG, ("data",)
    ),
    "set_size": OutputAsset(
        "set_size.tif", "Classes that may be true, by conformal prediction", _COG, ("data",)
    ),
    "epistemic": OutputAsset(
        "epistemic.tif", "Uncertainty that more training would take away, 0..1", _COG, ("data",)
    ),
    "classes": OutputAsset("classes.gpkg", "Class polygons", "application/geopackage+sqlite3", ("data",)),
    "preview": OutputAsset("preview.png", "Preview", "image/png", ("overview",)),
    "style": OutputAsset("class.qml", "QGIS style of the class map", "application/xml", ("metadata",)),
    "report": OutputAsset("report.html", "Report for people", "text/html", ("metadata",)),
    "report_json": OutputAsset("report.json", "Report for programs", "application/json", ("metadata",)),
    "manifest": OutputAsset("manifest.json", "Recipe, versions, hashes", "application/json", ("metadata",)),
}
"""What a run may write, by asset key."""
COUNTS = ("set_size",)
"""Rasters of whole numbers. The others but ``class`` hold shares in steps of 1/254."""
_OPTIONAL = ("entropy", "set_size", "epistemic")


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


def outputs_of(layers: Sequence[str] = ()) -> dict[str, OutputAsset]:
    """The files of a map with these layers of uncertainty, by asset key."""
    return {key: asset for key, asset in OUTPUTS.items() if key not in _OPTIONAL or key in layers}


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
) -> Path:
    """A STAC item of a map, with relative links to the files beside it.

    Args:
        path: The file to write, such as ``item.json``; appears when whole.
        item_id: Unique where the item will be published.
        geobox: Grid of ``class.tif`` and ``confidence.tif``.
        footprint: Polygon of the map; a shapely geometry must be in EPSG:4326 (longitude, latitude).
        legend: Written as ``classification:classes``, nodata included.
        lineage: Becomes dates, ``processing:*``, ``geoseg:source_items``, ``geoseg:model`` and, for items
            and models that have an address, ``derived_from`` links.
        created: When the map was made, with time zone.
        assets: Key to file, as :func:`outputs_of` gives them; the files need not exist yet.

    Raises:
        OutputError: when the file cannot be written.

    Example:
        >>> import tempfile
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
    code = crs.epsg if crs else None
    left, bottom, right, top = geobox.boundingbox.bbox
    model = lineage.model
    # The model's item by its address, as MLM's best practices want it (github.com/stac-extensions/mlm).
    expression = {"format": "stac-mlm", "expression": redact(model.href)} if model.href else None
    return {
        **_times(lineage.sources, created),
        "created": _stamp(created),
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
        return {"datetime": _stamp(created), "description": words, "geoseg:datetime_known": False}
    start, end = _stamp(min(starts)), _stamp(max(ends))
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


def _derived_from(href: str, title: str) -> dict[str, str]:
    return {"rel": "derived_from", "href": href, "type": "application/geo+json", "title": title}


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
    elif asset.media_type == _COG:
        scaled = {} if key in COUNTS else {"scale": CONFIDENCE_SCALE, "offset": 0}
        fields["raster:bands"] = [{"nodata": CONFIDENCE_NODATA, **band, **scaled}]
    return fields


def _in_degrees(footprint: Geometry | BaseGeometry) -> BaseGeometry:
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


def _bbox(geometry: BaseGeometry) -> list[float]:
    """(west, south, east, north); west > east where it is narrower across the antimeridian."""
    west, south, east, north = join(geometry).bounds
    return [west, south, round(east - 360, _DECIMALS) if east > 180 else east, north]


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime(_DATETIME)
