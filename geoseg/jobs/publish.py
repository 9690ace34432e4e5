"""Parts to outputs: rasters, polygons, item, report, manifest; all or nothing."""

import hashlib
import json
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pystac
from odc.geo.geobox import GeoBox

from geoseg.aoi import to_degrees
from geoseg.errors import OutputError
from geoseg.grid.geobox import lattice_origin
from geoseg.imagery.local import COLLECTION
from geoseg.jobs.plan import Plan
from geoseg.legend import CONFIDENCE_SCALE
from geoseg.polygons.trace import polygonize_files
from geoseg.report.facts import AreaAsked, ItemFacts, ModelFacts, Report, RunFacts
from geoseg.report.html import render_html
from geoseg.report.preview import map_png_bytes, write_preview
from geoseg.report.summary import summarize
from geoseg.stac.signing import redact
from geoseg.writers.cog import mosaic_cog
from geoseg.writers.gpkg import write_gpkg
from geoseg.writers.qml import write_qml
from geoseg.writers.stac_item import Lineage, write_item

_STAMPED = ("torch", "rasterio", "odc-stac", "dask", "numpy", "shapely", "pystac-client")


@contextmanager
def workspace(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """A hidden folder beside ``out`` that becomes ``out`` when the block ends well, and is removed when not.

    Raises:
        OutputError: ``out`` exists and ``overwrite`` is not set, is a file, or cannot be made.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file, not a folder. Give another --out.")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise OutputError(f"{out} exists already. Give --overwrite to replace it, or another --out.")
    if out.is_dir() and any(out.iterdir()) and not (out / "manifest.json").exists():
        raise OutputError(
            f"{out} holds files that are not a geoseg map: it is not replaced. Give another --out."
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent.resolve()))
    except OSError as error:
        raise OutputError(f"{out} cannot be made: {error.strerror}. Give another --out.") from None
    try:
        folder.chmod(0o755)
        yield folder
        _move(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move(folder: Path, out: Path) -> None:
    if out.exists():
        old = folder.with_suffix(".old")
        out.rename(old)
        folder.rename(out)
        shutil.rmtree(old)
    else:
        folder.rename(out)


def write_rasters(plan: Plan, folder: Path, parts: list[Path]) -> None:
    """``class.tif`` with its style and ``confidence.tif``, from the parts."""
    legend, geobox = plan.card.legend, plan.geobox
    mosaic_cog(parts, folder / "class.tif", geobox=geobox, band=1, legend=legend, description="class")
    mosaic_cog(
        parts,
        folder / "confidence.tif",
        geobox=geobox,
        band=2,
        description="confidence",
        scale=CONFIDENCE_SCALE,
    )
    write_qml(folder / "class.qml", legend)


def write_polygons(plan: Plan, folder: Path, *, title: str, created: datetime) -> int:
    """``classes.gpkg``; returns the number of polygons."""
    frame = polygonize_files(
        folder / "class.tif",
        folder / "confidence.tif",
        legend=plan.card.legend,
        min_area_ha=plan.recipe.min_area_ha,
        simplify_m=plan.recipe.simplify_m,
    )
    write_gpkg(frame, folder / "classes.gpkg", legend=plan.card.legend, title=title, created=created)
    return len(frame)


def remove_parts(folder: Path) -> None:
    """The parts are in the mosaics now."""
    shutil.rmtree(folder / "parts")


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
        name=card.name, title=card.title, licence=card.license, sha256=card.sha256, bands=card.bands
    )


def _lineage(plan: Plan) -> Lineage:
    dated = [i.datetime for i in plan.selection.items if i.datetime]
    source = "images" if plan.catalog.name == COLLECTION else plan.catalog.title
    hrefs = [h for i in plan.selection.items if (h := i.get_self_href())]
    made_of = f"{plan.recipe.composite} of {len(plan.selection.items)} items of {source}"
    return Lineage(
        source_hrefs=tuple(redact(h) for h in hrefs),
        start=min(dated, default=datetime(1970, 1, 1, tzinfo=UTC)),
        end=max(dated, default=datetime(1970, 1, 1, tzinfo=UTC)),
        text=f"{made_of}, model {plan.card.name}",
        software={"geoseg": version("geoseg")},
    )


def _write_manifest(plan: Plan, folder: Path, run: RunFacts) -> None:
    manifest = {
        "geoseg": run.geoseg_version,
        "created": run.created.isoformat(),
        "recipe": _clean(plan.recipe.model_dump(mode="json")),
        "catalog": {"name": plan.catalog.name, "url": redact(plan.catalog.url)},
        "items": [{"id": i.id, "collection": i.collection_id} for i in plan.selection.items],
        "model": {"name": plan.card.name, "sha256": plan.card.sha256},
        "grid": _grid(plan.geobox),
        "tiles": {"size": plan.tiles.size, "halo": plan.tiles.halo},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _STAMPED}},
        "files": {
            p.name: {"sha256": _sha256(p), "bytes": p.stat().st_size}
            for p in sorted(folder.iterdir())
            if p.is_file()
        },
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")


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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
