"""Class maps to polygons: exact, valid, without seams, whatever the size of the blocks."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import odc.geo.xr  # noqa: F401  registers DataArray.odc
import pandas as pd
import rasterio
import xarray as xr
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError
from rasterio.windows import Window

from geoseg.errors import ImageryError, OutputError, one_line
from geoseg.legend import CLASS_NODATA, CONFIDENCE_NODATA, CONFIDENCE_SCALE, Legend
from geoseg.polygons.areas import crs_of, pixel_aspect, sizes
from geoseg.polygons.rings import build_polygons, find_edges, to_map
from geoseg.polygons.simplify import check_tolerance, merge_small, simplify_coverage
from geoseg.polygons.stitch import Classes, Labels, Read, read_partition

M2_PER_HA = 10_000.0
CACHE_MB = 128

FLOAT_UNIT = 2.0**-24
"""Confidences in floats are summed in whole multiples of this, so that no order of adding shows."""

ROUNDING = 1e-5
"""How far above 1 a float probability may lie by rounding."""


def polygonize(
    class_id: xr.DataArray,
    *,
    legend: Legend,
    confidence: xr.DataArray | None = None,
    block_size: int = 2048,
    min_area_ha: float = 0.0,
    simplify_m: float = 0.0,
) -> gpd.GeoDataFrame:
    """One polygon for each 4-connected region of one class; burnt back they give ``class_id`` again.

    The polygons are valid and a coverage: neighbours share their edges vertex by vertex, without gaps or
    overlaps (``shapely.coverage_is_valid``). Vertices are where an outline turns and where three or more
    regions meet, nowhere else. Pixels that touch at a corner only are separate polygons. The result is the
    same for any ``block_size``; memory is one block plus some 150 bytes a vertex while polygons are made.

    Args:
        class_id: (y, x) uint8 with odc-geo georeferencing, 255 where there is no value; may be lazy.
        legend: names every class in it.
        confidence: (y, x) on the same grid: uint8 0..254 in steps of ``CONFIDENCE_SCALE``, nodata 255; or
            float 0..1, nodata NaN.
        block_size: side of what is read at a time, in pixels.
        min_area_ha: smaller polygons are merged into the neighbour with which they share the longest border,
            the smallest first; see ``merge_small``. Without a neighbour they stay.
        simplify_m: tolerance of ``simplify_coverage`` in metres: the square root of the area of the triangles
            that are cut off. 0 keeps the outlines of the pixels.

    Returns:
        Columns ``class_id`` (int32), ``class_name``, ``area_ha``, ``confidence`` (0..1, mean over the pixels
        where it is known, NaN where none is) and ``geometry`` in the CRS of the map, ordered by class, then
        first pixel in row-major order. ``area_ha`` is that of the pixels, also after ``simplify_m``: on the
        map's own grid in a projected CRS (which Web Mercator inflates), on the ellipsoid in one of degrees.

    Raises:
        OutputError: no georeference, a class without a name in the legend, a confidence that does not fit, or
            an option out of range.

    Example:
        >>> import numpy as np
        >>> from odc.geo.geobox import GeoBox
        >>> from odc.geo.xr import wrap_xr
        >>> geobox = GeoBox.from_bbox((500000, 0, 500030, 20), "EPSG:32633", resolution=10)
        >>> pixels = np.array([[0, 0, 1], [0, 255, 1]], dtype="uint8")
        >>> table = polygonize(wrap_xr(pixels, geobox), legend=Legend.of(water="1F78B4", land="B2DF8A"))
        >>> table[["class_name", "area_ha"]].values.tolist()
        [['water', 0.03], ['land', 0.02]]
    """
    geobox = _geobox_of(class_id, "class map")
    _check_classes(class_id.dtype)
    if confidence is not None:
        _check_confidence(confidence.dtype)
        _check_same_grid(geobox, _geobox_of(confidence, "confidence"))

    def read(rows: slice, cols: slice) -> tuple[Classes, Labels | None]:
        classes = np.asarray(class_id[rows, cols])
        return classes, None if confidence is None else _whole(np.asarray(confidence[rows, cols]))

    return _polygons(
        read,
        geobox,
        unit=1.0 if confidence is None else _unit(confidence.dtype),
        legend=legend,
        block_size=block_size,
        min_area_ha=min_area_ha,
        simplify_m=simplify_m,
    )


def polygonize_files(
    class_tif: Path,
    confidence_tif: Path | None = None,
    *,
    legend: Legend,
    block_size: int = 2048,
    min_area_ha: float = 0.0,
    simplify_m: float = 0.0,
) -> gpd.GeoDataFrame:
    """What ``polygonize`` gives, from band 1 of files that are read window by window.

    Memory grows with the polygons, not with the raster. A nodata value that a file declares counts as
    nodata, beside 255 (and NaN in a confidence in floats).

    Args:
        class_tif: uint8 classes.
        confidence_tif: on the same grid, or None.
        legend: as in ``polygonize``.
        block_size: as in ``polygonize``; a multiple of the file's own blocks reads each of them once.
        min_area_ha: as in ``polygonize``.
        simplify_m: as in ``polygonize``.

    Raises:
        ImageryError: a file cannot be read.
        OutputError: as in ``polygonize``.
    """
    with ExitStack() as stack:
        # GDAL keeps blocks in up to 5 % of the machine's memory, and none is read twice here.
        stack.enter_context(rasterio.Env(GDAL_CACHEMAX=CACHE_MB))
        source = _open(class_tif, stack)
        _check_classes(source.dtypes[0])
        geobox = _georeferenced(GeoBox.from_rio(source), f"class map {class_tif.name}")
        sure = None if confidence_tif is None else _open(confidence_tif, stack)
        if sure is not None:
            _check_confidence(sure.dtypes[0])
            _check_same_grid(geobox, GeoBox.from_rio(sure))

        def read(rows: slice, cols: slice) -> tuple[Classes, Labels | None]:
            classes = _read_window(source, rows, cols, CLASS_NODATA)
            if sure is None:
                return classes, None
            nodata = CONFIDENCE_NODATA if sure.dtypes[0] == "uint8" else np.nan
            return classes, _whole(_read_window(sure, rows, cols, nodata))

        return _polygons(
            read,
            geobox,
            unit=1.0 if sure is None else _unit(sure.dtypes[0]),
            legend=legend,
            block_size=block_size,
            min_area_ha=min_area_ha,
            simplify_m=simplify_m,
        )


def _polygons(
    read: Read,
    geobox: GeoBox,
    *,
    unit: float,
    legend: Legend,
    block_size: int,
    min_area_ha: float,
    simplify_m: float,
) -> gpd.GeoDataFrame:
    """The engine of both: pixels to regions and nodes, nodes to edges, edges to polygons."""
    _check_options(block_size, min_area_ha, simplify_m, geobox)
    partition = read_partition(read, (geobox.shape[0], geobox.shape[1]), block_size=block_size)
    _check_named(partition.regions.class_id, legend)
    edges = find_edges(partition.nodes)
    size, unit_m2 = sizes(partition.regions, partition.nodes, edges, geobox)
    if min_area_ha > 0:
        min_size = min_area_ha * M2_PER_HA / unit_m2 * (1 - 1e-9)  # so that 0.07 ha are 7 pixels of 0.01 ha
        root = merge_small(partition, edges, size=size, min_size=min_size, aspect=pixel_aspect(geobox))
        partition = partition.grouped(root)
        edges = find_edges(partition.nodes)
        size, unit_m2 = sizes(partition.regions, partition.nodes, edges, geobox)
    regions = partition.regions
    names = {c.value: c.name for c in legend.classes}
    known = np.where(regions.known > 0, regions.known, np.nan)
    table = gpd.GeoDataFrame(
        {
            "class_id": regions.class_id.astype(np.int32),
            "class_name": pd.Series([names[value] for value in regions.class_id.tolist()], dtype="str"),
            "area_ha": size * unit_m2 / M2_PER_HA,
            "confidence": regions.confidence / known * unit,
        },
        geometry=build_polygons(partition.nodes, edges, geobox.transform, len(regions.pixels)),
        crs=crs_of(geobox),
    )
    return simplify_coverage(table, tolerance_m=simplify_m) if simplify_m > 0 else table


def _whole(confidence: npt.NDArray[Any]) -> Labels:
    """Confidence in whole units, so that sums are exact in any order; nodata -1."""
    if confidence.dtype == np.uint8:
        return np.where(confidence == CONFIDENCE_NODATA, -1, confidence.astype(np.int32))
    if ((confidence < 0) | (confidence > 1 + ROUNDING)).any():
        worst = float(confidence.flat[np.nanargmax(np.abs(confidence - 0.5))])
        raise OutputError(
            f"The confidence holds {worst:g}, expected 0 to 1 (or uint8 0..254). Divide it by its scale."
        )
    units = np.rint(np.minimum(np.nan_to_num(confidence.astype(np.float64)), 1) / FLOAT_UNIT)
    return np.where(np.isnan(confidence), -1, units).astype(np.int32)


def _unit(dtype: npt.DTypeLike) -> float:
    return CONFIDENCE_SCALE if np.dtype(dtype) == np.uint8 else FLOAT_UNIT


def _open(path: Path, stack: ExitStack) -> rasterio.DatasetReader:
    try:
        return stack.enter_context(rasterio.open(path))
    except RasterioError as error:
        raise ImageryError(
            f"{path.name} cannot be read as a raster ({error}), expected a GeoTIFF. Check the path."
        ) from error


def _read_window(source: rasterio.DatasetReader, rows: slice, cols: slice, nodata: float) -> npt.NDArray[Any]:
    try:
        values: npt.NDArray[Any] = source.read(1, window=Window.from_slices(rows, cols))
    except RasterioError as error:
        raise ImageryError(
            f"{source.name} is damaged at row {rows.start}: {one_line(error)}. Write it again."
        ) from error
    if source.nodata is not None:
        values[values == source.nodata] = nodata
    return values


def _geobox_of(array: xr.DataArray, what: str) -> GeoBox:
    if array.ndim != 2:
        raise OutputError(
            f"The {what} has dimensions {array.dims}, expected (y, x). Select one band and time."
        )
    return _georeferenced(array.odc.geobox, what)


def _georeferenced(geobox: object, what: str) -> GeoBox:
    if not isinstance(geobox, GeoBox) or geobox.crs is None:
        raise OutputError(
            f"The {what} has no CRS or no transform, expected both. Assign them: gdal_edit.py -a_srs EPSG:..."
        )
    return geobox


def _check_classes(dtype: npt.DTypeLike) -> None:
    if np.dtype(dtype) != np.uint8:
        raise OutputError(
            f"The class map is {np.dtype(dtype)}, expected uint8 classes 0..254 with nodata 255."
        )


def _check_confidence(dtype: npt.DTypeLike) -> None:
    if np.dtype(dtype) != np.uint8 and np.dtype(dtype).kind != "f":
        raise OutputError(f"The confidence is {np.dtype(dtype)}, expected uint8 0..254 or floats 0..1.")


def _check_same_grid(classes: GeoBox, confidence: GeoBox) -> None:
    height, width = classes.shape
    pixel = np.hypot(classes.transform.a, classes.transform.d)
    here, there = (to_map(g.transform, [0, width, 0], [0, 0, height]) for g in (classes, confidence))
    is_same = np.allclose(here, there, rtol=0, atol=0.01 * pixel)
    if classes.shape != confidence.shape or classes.crs != confidence.crs or not is_same:
        raise OutputError(
            f"The confidence is {_grid_text(confidence)}, expected the class map's {_grid_text(classes)}. "
            "Take both from one run."
        )


def _grid_text(geobox: GeoBox) -> str:
    a, _, c, _, e, f = geobox.transform[:6]
    size = f"{geobox.shape[1]} x {geobox.shape[0]} pixels of {a:g} x {e:g}"
    return f"{size} from ({c:.10g}, {f:.10g}) in {crs_of(geobox).name}"


def _check_options(block_size: int, min_area_ha: float, simplify_m: float, geobox: GeoBox) -> None:
    if block_size < 1:
        raise OutputError(f"block_size is {block_size}, expected 1 or more pixels. Leave it out for 2048.")
    if not min_area_ha >= 0:
        raise OutputError(
            f"min_area_ha is {min_area_ha:g}, expected 0 or more. Leave it out to keep all polygons."
        )
    check_tolerance(simplify_m, crs_of(geobox))


def _check_named(found: Classes, legend: Legend) -> None:
    if unnamed := sorted(set(found.tolist()) - set(legend.values)):
        raise OutputError(
            f"The class map holds {unnamed}, expected only the legend's {list(legend.values)}. "
            "Pass the legend of the model that made it."
        )
