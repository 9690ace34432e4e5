"""The facts of a finished map, counted from the map itself."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from geoseg.errors import OutputError, one_line
from geoseg.grid.ground import row_areas_m2
from geoseg.legend import CLASS_NODATA, Legend
from geoseg.report.facts import (
    AreaAsked,
    ClassArea,
    Coverage,
    GridFacts,
    ItemFacts,
    ModelFacts,
    Report,
    RunFacts,
)

_M2_PER_HA = 10_000.0
_HA_PER_KM2 = 100.0


def summarize(
    class_tif: Path,
    legend: Legend,
    *,
    title: str,
    aoi: AreaAsked,
    covered_km2: float,
    items: tuple[ItemFacts, ...],
    model: ModelFacts,
    run: RunFacts,
) -> Report:
    """The report of a class map. Reads the map block by block; memory does not grow with it.

    Args:
        class_tif: uint8 class ids, 255 where nothing is known.
        legend: Every value of the map but 255 must be in it.
        title: Heading for people.
        aoi: The area asked for.
        covered_km2: The part of it under an item's footprint.
        items: The source images.
        model: What made the classes.
        run: What happened on the way.

    Raises:
        OutputError: when the map cannot be read or holds a value that the legend does not know.
    """
    try:
        with rasterio.open(class_tif) as dataset:
            pixels, area_ha = _count(dataset)
            grid = _grid(dataset, float(area_ha.sum()))
    except RasterioError as error:
        raise OutputError(f"Cannot read {class_tif}: {one_line(error)}. Run the job again.") from error
    unknown = sorted(set(np.flatnonzero(pixels)) - {*legend.values, CLASS_NODATA})
    if unknown:
        raise OutputError(
            f"{class_tif.name} holds the values {', '.join(map(str, unknown))}, which its legend "
            f"({', '.join(map(str, legend.values))}) does not know. Give the legend of that map."
        )
    valid = list(legend.values)
    valid_km2 = float(area_ha[valid].sum()) / _HA_PER_KM2
    total_s = run.elapsed_s or sum(run.timings_s.values())
    return Report(
        title=title,
        aoi=aoi,
        assumptions=run.assumptions,
        grid=grid,
        classes=_classes(legend, pixels, area_ha),
        nodata_pixels=int(pixels[CLASS_NODATA]),
        coverage=Coverage(
            aoi_km2=aoi.area_km2,
            covered_km2=covered_km2,
            share=min(covered_km2 / aoi.area_km2, 1.0),
            valid_share=min(valid_km2 / aoi.area_km2, 1.0),
        ),
        items=items,
        adapted=run.adapted,
        model=model,
        attribution=run.attribution,
        timings_s={**run.timings_s, "total": total_s},
        km2_per_s=valid_km2 / total_s if total_s else 0.0,
        peak_memory_mb=run.peak_memory_mb,
        pixels_run=run.pixels_run,
        seams=run.seams,
        warnings=run.warnings,
        geoseg_version=run.geoseg_version,
        created=run.created,
    )


def _classes(legend: Legend, pixels: npt.NDArray[Any], area_ha: npt.NDArray[Any]) -> tuple[ClassArea, ...]:
    n_valid = int(pixels[list(legend.values)].sum())
    return tuple(
        ClassArea(
            class_id=c.value,
            class_name=c.name,
            color=c.color_hint,
            pixels=int(pixels[c.value]),
            area_ha=float(area_ha[c.value]),
            share=float(pixels[c.value] / n_valid) if n_valid else 0.0,
        )
        for c in legend.classes
    )


def _count(dataset: DatasetReader) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Pixels and hectares of each value, both (256,)."""
    pixels, area_ha = np.zeros(256, np.int64), np.zeros(256)
    row_ha = row_areas_m2(GeoBox.from_rio(dataset)) / _M2_PER_HA
    all_alike = bool((row_ha == row_ha[0]).all())
    for _, window in dataset.block_windows(1):
        values = dataset.read(1, window=window)  # (y, x)
        counted = np.bincount(values.ravel(), minlength=256)
        pixels += counted
        if not all_alike:
            rows = row_ha[window.row_off : window.row_off + window.height]
            area_ha += np.bincount(values.ravel(), np.repeat(rows, window.width), minlength=256)
    return pixels, pixels * row_ha[0] if all_alike else area_ha


def _grid(dataset: DatasetReader, total_ha: float) -> GridFacts:
    return GridFacts(
        crs=dataset.crs.to_string() if dataset.crs else "",
        gsd_m=round(math.sqrt(total_ha * _M2_PER_HA / (dataset.width * dataset.height)), 6),
        width=dataset.width,
        height=dataset.height,
        bounds=tuple(dataset.bounds),
    )
