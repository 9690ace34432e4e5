"""Parts to outputs: rasters, polygons, item, report, manifest; all or nothing."""

import json
import platform
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pystac
from odc.geo.geobox import GeoBox

from geoseg.grid.geobox import lattice_origin
from geoseg.inference.uncertainty import raster_names
from geoseg.jobs.plan import Plan
from geoseg.jobs.records import sheets_of_map, write_records
from geoseg.jobs.workspace import MANIFEST, write_manifest
from geoseg.legend import CONFIDENCE_SCALE
from geoseg.polygons.trace import stream_polygons
from geoseg.recipe import Recipe
from geoseg.redaction import redact
from geoseg.report.facts import AreaAsked, ItemFacts, ModelFacts, Report, RunFacts
from geoseg.report.html import render_html
from geoseg.report.preview import map_png_bytes, write_preview
from geoseg.report.summary import summarize
from geoseg.stac.items import SEARCH_KEY
from geoseg.writers.cog import mosaic_cog
from geoseg.writers.geoparquet import write_geoparquet
from geoseg.writers.gpkg import write_gpkg_in_parts
from geoseg.writers.qml import write_qml
from geoseg.writers.stac_assets import COUNTS
from geoseg.writers.vrt import raster_of

_STAMPED = ("torch", "rasterio", "odc-stac", "dask", "numpy", "shapely", "pystac-client")


def write_rasters(plan: Plan, folder: Path, parts: list[Path]) -> None:
    """``class.tif`` with its style, ``confidence.tif``, and a raster for each layer of uncertainty.

    Or ``class.vrt`` and so on, each with the sheets that it is cut into.
    """
    legend, sheets = plan.card.legend, sheets_of_map(plan)
    for band, name in enumerate(raster_names(plan.recipe.uncertainty), start=1):
        layer, is_class = Path(name).stem, band == 1
        mosaic_cog(
            parts,
            folder / name,
            geobox=plan.geobox,
            band=band,
            sheets=sheets,
            legend=legend if is_class else None,
            description=layer,
            scale=None if is_class or layer in COUNTS else CONFIDENCE_SCALE,
        )
    write_qml(folder / "class.qml", legend)


def write_polygons(plan: Plan, folder: Path, *, title: str, created: datetime) -> None:
    """``classes.gpkg`` or ``classes-0000.parquet`` and so on, written while the map is read; or nothing."""
    if plan.recipe.polygons == "none":
        return
    parts = stream_polygons(
        raster_of(folder, "class"),
        raster_of(folder, "confidence"),
        legend=plan.card.legend,
        min_area_ha=plan.recipe.min_area_ha,
        simplify_m=plan.recipe.simplify_m,
    )
    if plan.recipe.polygons == "geoparquet":
        write_geoparquet(parts, folder, name="classes")
    else:
        write_gpkg_in_parts(
            parts, folder / "classes.gpkg", legend=plan.card.legend, title=title, created=created
        )


def write_reports(plan: Plan, folder: Path, *, title: str, run: RunFacts) -> Report:
    """``report.json``, ``report.html``, ``preview.png``, STAC and, last, ``manifest.json``."""
    classes = raster_of(folder, "class")
    report = summarize(
        classes,
        plan.card.legend,
        title=title,
        aoi=AreaAsked(source=_source(plan), area_km2=plan.selection.aoi_km2),
        covered_km2=plan.selection.covered_km2,
        items=tuple(_facts(plan, item) for item in plan.selection.items),
        model=_model_facts(plan),
        run=run,
    )
    (folder / "report.json").write_text(report.to_json(), "utf-8")
    write_preview(classes, folder / "preview.png", report=report)
    html = render_html(report, map_png_bytes(classes, report=report))
    (folder / "report.html").write_text(html, "utf-8")
    polygons = sorted(path.name for kind in ("gpkg", "parquet") for path in folder.glob(f"classes*.{kind}"))
    write_records(plan, folder, title=title, created=run.created, polygons=polygons)
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
        "device": plan.how.device,
        "tiles": {"size": plan.tiles.size, "halo": plan.tiles.halo},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _STAMPED}},
    }
    write_manifest(folder, manifest)


_OF_THE_RUN = (
    *("out", "store", "change_from", "overwrite", "resume", "workers", "cluster", "cluster_options"),
    *("scheduler", "max_memory", "tries", "on_missing", "price_per_hour", "currency"),
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
        "cluster": None,  # its options may hold keys, and the map does not depend on them
        "cluster_options": {},
        "threads": plan.how.threads,
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
