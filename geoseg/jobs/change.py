"""Two class maps to a folder that says what became of what: matrix, map and polygons; all or nothing."""

import csv
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT

from geoseg.errors import EvaluationError, OutputError, one_line
from geoseg.evaluation.areas.labels import read_labels, refuse_unlabelled
from geoseg.evaluation.areas.report import AreaRequest, report_areas
from geoseg.evaluation.change import (
    NO_CHANGE,
    Codes,
    Floats,
    Transitions,
    ValueCounts,
    code_transitions,
    count_values,
    read_pairs,
    transitions_of,
)
from geoseg.evaluation.change_maps import (
    ChangeCrosswalk,
    ClassMap,
    CommonClasses,
    on_grid_of,
    open_map,
    refuse_unnamed,
    unite,
)
from geoseg.files import sha256_of
from geoseg.grid.ground import row_areas_m2
from geoseg.jobs.workspace import workspace, write_manifest
from geoseg.legend import CLASS_NODATA, Legend
from geoseg.memory import gdal_cache
from geoseg.polygons.trace import stream_polygons
from geoseg.report.change import ChangeMatrix, ChangeReport, change_report
from geoseg.writers.cog import mosaic_cog
from geoseg.writers.gpkg import write_gpkg_in_parts
from geoseg.writers.qml import write_qml
from geoseg.writers.vrt import digest_of, files_of_raster

_M2_PER_HA = 10_000.0
_CACHE_MB = 64
"""GDAL's own cache of blocks; its default is 5 % of the machine's memory."""


def compare(
    before: Path,
    after: Path,
    *,
    out: Path,
    overwrite: bool = False,
    crosswalk: ChangeCrosswalk | None = None,
    sample: Path | None = None,
    allow_missing: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> ChangeReport:
    """What changed between two class maps, in a folder that appears when all of it is written.

    It holds ``change.json`` (what is returned), ``transition.csv``, ``change.tif`` with its style
    ``change.qml``, ``change.gpkg`` and ``manifest.json``. Maps are read block by block; memory grows with the
    polygons only.

    Args:
        before: the earlier class map, uint8; all is compared on its grid.
        after: the later one, in any CRS and grid.
        out: the folder.
        overwrite: replace what geoseg has written there.
        crosswalk: common names for classes that are called differently.
        sample: points of an earlier comparison of these maps, drawn from its ``change.tif`` and labelled:
            for areas of change with intervals.
        allow_missing: leave points of it without a label out, instead of refusing them.
        say: told each stage, and what was done to make the maps comparable.

    Raises:
        EvaluationError: the maps cannot be compared, or the sample does not fit them.
        OutputError: the folder cannot be written, or is not to be replaced.
    """
    crosswalk = crosswalk or ChangeCrosswalk()
    if sample is not None:
        refuse_unlabelled(read_labels(sample), allow=allow_missing)  # rather than after an hour
    _refuse_own_inputs(out, before, after, *([sample] if sample else []))
    created = datetime.now(UTC).replace(microsecond=0)
    with (
        gdal_cache(_CACHE_MB),
        open_map(before, crosswalk.before, table="before") as first,
        open_map(after, crosswalk.after, table="after") as second,
        on_grid_of(first, second) as (fitted, fit),
    ):
        row_ha, classes = _row_ha(first), unite(first, second)
        for note in (notes := (*classes.notes, fit)):
            say(note)
        with workspace(out, overwrite=overwrite) as folder:
            say("counting transitions")
            counts = count_values(first.source, fitted, row_ha=row_ha)
            transitions = _transitions(counts, first, second, classes)
            codes = code_transitions(transitions, classes.colors)
            say("writing the change map")
            of_values = codes.codes[np.ix_(classes.before, classes.after)]
            _write_raster(folder, first, fitted, of_values, codes.legend)
            say("tracing polygons")
            _write_polygons(folder, codes.legend, title=f"Change from {before} to {after}", created=created)
            areas = None
            if sample is not None:
                say("estimating areas")
                areas = report_areas(
                    AreaRequest(sample, map=folder / "change.tif", allow_missing=allow_missing)
                )
            report = change_report(
                transitions,
                codes,
                classes,
                grid=first.grid,
                maps=(str(before), str(after)),
                crosswalk=crosswalk,
                notes=notes,
                areas=areas,
                created=created,
            )
            (folder / "change.json").write_text(report.to_json(), "utf-8")
            _write_csv(folder / "transition.csv", report.matrix)
            _write_manifest(folder, report, sample)
    return report


def _refuse_own_inputs(out: Path, *inputs: Path) -> None:
    for path in inputs:
        if out.resolve() in path.resolve().parents:
            raise OutputError(f"{path} lies in {out}, which is to be written. Give another --out.")


def _row_ha(class_map: ClassMap) -> Floats:
    """(height,) hectares of a pixel."""
    grid = class_map.grid
    if grid.crs is not None and grid.crs.geographic and (grid.transform.b or grid.transform.d):
        raise EvaluationError(
            f"{class_map.label} lies rotated on a grid in degrees, expected north up. Warp it: gdalwarp."
        )
    return row_areas_m2(grid) / _M2_PER_HA


def _transitions(
    counts: ValueCounts, first: ClassMap, second: ClassMap, classes: CommonClasses
) -> Transitions:
    refuse_unnamed(set(np.flatnonzero(counts.pixels.any(axis=1)).tolist()), first, table="before")
    refuse_unnamed(set(np.flatnonzero(counts.pixels.any(axis=0)).tolist()), second, table="after")
    transitions = transitions_of(counts, classes.names, before=classes.before, after=classes.after)
    if not transitions.pixels[:-1, :-1].any():
        raise EvaluationError(
            f"Not one pixel has a class in both {first.label} and {second.label}. Give two maps of one place."
        )
    return transitions


def _write_raster(
    folder: Path, first: ClassMap, fitted: DatasetReader | WarpedVRT, of_values: Codes, legend: Legend
) -> None:
    """``change.tif`` and ``change.qml``, from the value of each pair of values, (256, 256)."""
    part = folder / "change.part.tif"
    height, width = first.grid.shape
    place = {"height": height, "width": width, "transform": first.grid.affine}
    kind = {"count": 1, "dtype": "uint8", "nodata": CLASS_NODATA, "bigtiff": "if_safer"}
    layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "zlevel": 1}
    table = of_values.ravel()
    try:
        with rasterio.open(part, "w", driver="GTiff", sparse_ok=True, **place, **kind, **layout) as sink:
            for window, pair in read_pairs(first.source, fitted):
                sink.write(table[pair], 1, window=window)
    except RasterioError as error:
        reason = one_line(error)
        raise OutputError(f"Cannot write {part}: {reason}. Check the folder and the space left.") from error
    path = folder / "change.tif"
    mosaic_cog([part], path, geobox=first.grid, band=1, legend=legend, description="change")
    part.unlink()
    write_qml(folder / "change.qml", legend)


def _write_polygons(folder: Path, legend: Legend, *, title: str, created: datetime) -> None:
    """``change.gpkg``: what changed; where nothing did there is no polygon."""
    parts = stream_polygons(folder / "change.tif", legend=legend)
    shown = tuple(c for c in legend.classes if c.value != NO_CHANGE)
    write_gpkg_in_parts(
        (part[part.class_id != NO_CHANGE] for part in parts),
        folder / "change.gpkg",
        legend=Legend(classes=shown) if shown else legend,
        title=title,
        created=created,
    )


def _write_csv(path: Path, matrix: ChangeMatrix) -> None:
    """Rows before, columns after, with sums: first in hectares, then in pixels."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["before", "unit", *matrix.names, "total"])
        for unit, values, text in (("ha", matrix.area_ha, "{:.6f}"), ("pixels", matrix.pixels, "{}")):
            totals = tuple(sum(column) for column in zip(*values, strict=True))
            for name, row in zip((*matrix.names, "total"), (*values, totals), strict=True):
                writer.writerow([name, unit, *map(text.format, (*row, sum(row)))])


def _sha256(path: Path) -> str:
    return digest_of([sha256_of(one) for one in files_of_raster(path)])


def _write_manifest(folder: Path, report: ChangeReport, sample: Path | None) -> None:
    """What made the folder; it is also what lets ``--overwrite`` know the files as geoseg's."""
    inputs = [Path(report.before), Path(report.after), *([sample] if sample else [])]
    manifest = {
        "geoseg": report.geoseg_version,
        "command": "change",
        "created": report.created.isoformat(),
        "inputs": [{"path": str(path), "sha256": _sha256(path)} for path in inputs],
        "crosswalk": report.crosswalk.model_dump(),
    }
    write_manifest(folder, manifest)
