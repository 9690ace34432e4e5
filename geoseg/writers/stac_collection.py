"""The STAC collection of a map: what a catalog is told of it, and what another run can search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from shapely.geometry.base import BaseGeometry

from geoseg.legend import Legend
from geoseg.redaction import redact
from geoseg.writers.stac_assets import LAYERS, OutputAsset, asset_of
from geoseg.writers.stac_item import (
    COLLECTION_NAME,
    EXTENSIONS,
    Lineage,
    bbox_of,
    in_degrees,
    stamp,
    write_json,
)


@dataclass(frozen=True)
class About:
    """What people are told of a map."""

    title: str
    attribution: str = ""
    """Whose images it is made from."""
    source: str = ""
    """The catalog of the images; empty for files."""


def write_collection(
    folder: Path,
    *,
    collection_id: str,
    about: About,
    geobox: GeoBox,
    footprint: Geometry | BaseGeometry,
    legend: Legend,
    lineage: Lineage,
    created: datetime,
    items: Sequence[str],
    outputs: Mapping[str, OutputAsset],
    assets: Mapping[str, OutputAsset],
) -> Path:
    """``collection.json``, with links to the items beside it.

    Its license is ``other``: what may be done with a map follows from its images and its model, which the
    items name.

    Args:
        folder: of the map.
        collection_id: unique where it will be published.
        about: for people.
        geobox: grid of the whole map.
        footprint: polygon of the map; a shapely geometry must be in EPSG:4326.
        legend: the summary of its classes.
        lineage: dates, and how it was made.
        created: when the map was made, with time zone; its date where no image has one.
        items: file names of the items.
        outputs: what the items have, by asset key.
        assets: what belongs to no item but the map, by asset key.

    Raises:
        OutputError: it cannot be written.
    """
    crs = geobox.crs
    is_metric = crs is not None and not crs.geographic
    rasters = {key: asset for key, asset in outputs.items() if key in LAYERS}
    document = {
        "type": "Collection",
        "stac_version": "1.1.0",
        "stac_extensions": [EXTENSIONS[name] for name in ("projection", "raster", "classification")],
        "id": collection_id,
        "title": about.title,
        "description": f"{about.title}: {redact(lineage.text)}.",
        "license": "other",
        "providers": _providers(about, lineage),
        "extent": {
            "spatial": {"bbox": [bbox_of(in_degrees(footprint))]},
            "temporal": {"interval": [_interval(lineage, created)]},
        },
        "summaries": {
            **({"gsd": [abs(geobox.resolution.x)]} if is_metric else {}),
            **({"proj:code": [f"EPSG:{crs.epsg}"]} if crs and crs.epsg else {}),
            "classification:classes": legend.to_stac(),
        },
        "item_assets": {key: _without_href(asset_of(key, a, geobox, legend)) for key, a in rasters.items()},
        "links": [
            {"rel": "root", "href": f"./{COLLECTION_NAME}", "type": "application/json"},
            *({"rel": "item", "href": f"./{name}", "type": "application/geo+json"} for name in items),
        ],
        **({"assets": {k: asset_of(k, a, geobox, legend) for k, a in assets.items()}} if assets else {}),
    }
    return write_json(folder / COLLECTION_NAME, document)


def _providers(about: About, lineage: Lineage) -> list[dict[str, Any]]:
    software = " ".join(f"{name} {version}" for name, version in lineage.software.items())
    made_by = {"name": "geoseg", "description": f"Made by {software}.", "roles": ["processor"]}
    if not about.source:
        return [made_by]
    return [made_by, {"name": about.source, "description": about.attribution or "Source of the images."}]


def _interval(lineage: Lineage, created: datetime) -> list[str]:
    starts = [s.start for s in lineage.sources if s.start]
    ends = [s.end for s in lineage.sources if s.end]
    if not starts or not ends:
        return [stamp(created)] * 2
    return [stamp(min(starts)), stamp(max(ends))]


def _without_href(asset: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in asset.items() if key != "href"}
