"""Parts to outputs: rasters, polygons, item, report, manifest; all or nothing."""

import json
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pystac
from odc.geo.geobox import GeoBox

from geoseg.aoi import to_degrees
from geoseg.grid.geobox import lattice_origin
from geoseg.imagery.local import COLLECTION
from geoseg.inference.uncertainty import layers_of, raster_names
from geoseg.jobs.plan import Plan
from geoseg.jobs.workspace import MANIFEST, write_manifest
from geoseg.legend import CONFIDENCE_SCALE
from geoseg.models.card import CARD_NAME
from geoseg.polygons.trace import stream_polygons
from geoseg.recipe import Recipe
from geoseg.redaction import redact
from geoseg.report.facts import AreaAsked, ItemFacts, ModelFacts, Report, RunFacts
from geoseg.report.html import render_html
from geoseg.report.preview import map_png_bytes, write_preview
from geoseg.report.summary import summarize
from geoseg.resources import path_exists
from geoseg.stac.items import SEARCH_KEY
from geoseg.writers.cog import mosaic_cog
from geoseg.writers.gpkg import write_gpkg_in_parts
from geoseg.writers.qml import write_qml
from geoseg.writers.stac_item import COUNTS, Lineage, SourceItem, SourceModel, outputs_of, write_item

_STAMPED = ("torch", "rasterio", "odc-stac", "dask", "numpy", "shapely", "pystac-client")


def write_rasters(plan: Plan, folder: Path, parts: list[Path]) -> None:
    """``class.tif`` with its style, ``confidence.tif``, and a raster for each layer of uncertainty."""
    legend, geobox = plan.card.legend, plan.geobox
    names = raster_names(plan.recipe.uncertainty)
    mosaic_cog(parts, folder / names[0], geobox=geobox, band=1, legend=legend, description="class")
    for band, name in enumerate(names[1:], start=2):
        layer = Path(name).stem
        mosaic_cog(
            parts,
            folder / name,
            geobox=geobox,
            band=band,
            description=layer,
            scale=None if layer in COUNTS else CONFIDENCE_SCALE,
        )
    write_qml(folder / "class.qml", legend)


def write_polygons(plan: Plan, folder: Path, *, title: str, created: datetime) -> int:
    """``classes.gpkg``, written while the map is read; returns the number of polygons."""
    parts = stream_polygons(
        folder / "class.tif",
        folder / "confidence.tif",
        legend=plan.card.legend,
        min_area_ha=plan.recipe.min_area_ha,
        simplify_m=plan.recipe.simplify_m,
    )
    return write_gpkg_in_parts(
        parts, folder / "classes.gpkg", legend=plan.card.legend, title=title, created=created
    )


def write_reports(plan: Plan, folder: Path, *, title: str, run: RunFacts) -> Report:
    """``report.json``, ``report.html``, ``preview.png``, ``item.json`` and, last, ``manifest.json``."""
    legend = plan.card.legend
    report = summarize(
        folder / "class.tif",
        legend,
        title=title,
        aoi=AreaAsked(source=_source(plan), area_km2=plan.selection.aoi_km2),
        covered_km2=plan.selection.covered_km2,
        items=tuple(_facts(plan, item) for item in plan.selection.items),
        model=_model_facts(plan),
        run=run,
    )
    (folder / "report.json").write_text(report.to_json(), "utf-8")
    write_preview(folder / "class.tif", folder / "preview.png", report=report)
    (folder / "report.html").write_text(
        render_html(report, map_png_bytes(folder / "class.tif", report=report)), "utf-8"
    )
    write_item(
        folder / "item.json",
        item_id=plan.out.name,
        geobox=plan.geobox,
        footprint=to_degrees(plan.aoi),
        legend=legend,
        lineage=_lineage(plan),
        created=run.created,
        assets=outputs_of(layers_of(plan.recipe.uncertainty)[2:]),
    )
    _write_manifest(plan, folder, run)
    return report


def _source(plan: Plan) -> str:
    recipe = plan.recipe
    if recipe.aoi is None:
        return "the extent of the images"
    if recipe.aoi == "-" or recipe.aoi.lstrip().startswith("{"):
        return "GeoJSON given"
    return recipe.aoi


def _facts(plan: Plan, item: pystac.Item) -> ItemFacts:
    is_dated = item.properties.get("geoseg:datetime_known", True)
    href = item.get_self_href() or next(iter(item.assets.values())).href
    return ItemFacts(
        id=item.id,
        collection=item.collection_id,
        datetime=item.datetime if is_dated else None,
        cloud_cover=item.properties.get("eo:cloud_cover"),
        href=redact(href),
        calibration=plan.inputs.calibrations.get(item.id, ""),
    )


def _model_facts(plan: Plan) -> ModelFacts:
    card = plan.card
    return ModelFacts(
        name=card.name,
        title=card.title,
        license=card.license,
        sha256=card.sha256,
        bands=card.bands,
        calibration=plan.calibration.text() if plan.calibration else "",
        run_by=f"{plan.how.backend}, {plan.how.precision}",
    )


def _lineage(plan: Plan) -> Lineage:
    source = "images" if plan.catalog.name == COLLECTION else plan.catalog.title
    made_of = f"{plan.recipe.composite} of {len(plan.selection.items)} items of {source}"
    read = {item.id: item for item in plan.inputs.items}
    card = Path(plan.recipe.model, CARD_NAME)
    return Lineage(
        sources=tuple(_source_item(item, read[item.id]) for item in plan.selection.items),
        model=SourceModel(plan.card.name, plan.card.sha256, str(card.resolve()) if card.is_file() else None),
        text=f"{made_of}, model {plan.card.name}",
        software={"geoseg": version("geoseg")},
    )


def _source_item(item: pystac.Item, prepared: pystac.Item) -> SourceItem:
    is_dated = item.properties.get("geoseg:datetime_known", True)
    common, href = item.common_metadata, item.get_self_href()
    files = dict.fromkeys(_address(asset.href) for asset in prepared.assets.values())
    return SourceItem(
        id=item.id,
        collection=item.collection_id if item.collection_id != COLLECTION else None,
        href=href,
        files=() if href else tuple(files),
        start=_in_utc(common.start_datetime or item.datetime) if is_dated else None,
        end=_in_utc(common.end_datetime or item.datetime or common.start_datetime) if is_dated else None,
    )


def _address(href: str) -> str:
    """Paths in full: the item lies elsewhere than where the run was started."""
    return str(Path(href).resolve()) if path_exists(Path(href)) else href


def _in_utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


def _write_manifest(plan: Plan, folder: Path, run: RunFacts) -> None:
    manifest = {
        "geoseg": run.geoseg_version,
        "created": run.created.isoformat(),
        "recipe": _clean(_resolved(plan).model_dump(mode="json")),
        "catalog": {"name": plan.catalog.name, "url": redact(plan.catalog.url)},
        "items": [{"id": i.id, "collection": i.collection_id} for i in plan.selection.items],
        "model": {
            "name": plan.card.name,
            "sha256": plan.card.sha256,
            "calibration_sha256": plan.calibration.fingerprint if plan.calibration else None,
        },
        "grid": _grid(plan.geobox),
        "tiles": {"size": plan.tiles.size, "halo": plan.tiles.halo},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _STAMPED}},
    }
    write_manifest(folder, manifest)


_OF_THE_RUN = (
    "out",
    "store",
    "overwrite",
    "resume",
    "workers",
    "scheduler",
    "max_memory",
    "tries",
    "on_missing",
)
"""Keys of a recipe that change nothing in its map."""


def says_the_same(plan: Plan, folder: Path) -> bool:
    """Whether ``folder`` holds the manifest of a recipe that says the same.

    Blocks are not looked at: items may be others.
    """
    try:
        before = json.loads((folder / MANIFEST).read_text("utf-8"))["recipe"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    now = json.loads(json.dumps(_clean(_resolved(plan).model_dump(mode="json"))))
    same = {k: v for k, v in now.items() if k not in _OF_THE_RUN}
    return same == {k: v for k, v in before.items() if k not in _OF_THE_RUN}


def _resolved(plan: Plan) -> Recipe:
    """The recipe with what was decided in place of what was left open; it makes the same map again."""
    recipe = plan.recipe
    decided: dict[str, Any] = {
        "gsd": plan.inputs.gsd_m,
        "crs": plan.inputs.crs,
        "tile_size": plan.tiles.size,
        "halo": plan.tiles.halo,
        "backend": plan.how.backend,
        "precision": plan.how.precision,
    }
    if recipe.aoi == "-" and plan.aoi.crs == "EPSG:4326":
        decided["aoi"] = json.dumps(plan.aoi.json)
    if not recipe.image:
        asked = plan.selection.items.extra_fields[SEARCH_KEY]
        if recipe.max_cloud_cover is None:
            decided["max_cloud_cover"] = asked["max_cloud_cover"]
        # A collection that was found, not asked for, was searched without the conditions of its own file.
        if recipe.collection is None and asked["collection"] not in plan.catalog.collections:
            decided["collection"] = asked["collection"]
    return recipe.model_copy(update=decided)


def _clean(recipe: dict[str, Any]) -> dict[str, Any]:
    return {k: redact(v) if isinstance(v, str) else v for k, v in recipe.items()} | {
        "image": [redact(i) for i in recipe["image"]]
    }


def _grid(geobox: GeoBox) -> dict[str, Any]:
    row, col = lattice_origin(geobox)
    return {
        "crs": str(geobox.crs),
        "transform": list(geobox.affine)[:6],
        "shape": list(geobox.shape),
        "lattice_origin": [row, col],
    }
