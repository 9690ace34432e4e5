"""Class maps to polygons: exact, valid, without seams, whatever the size of the blocks."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from odc.geo.geobox import GeoBox

from geoseg.errors import OutputError
from geoseg.legend import Legend
from geoseg.polygons.areas import column_sizes, crs_of, pixel_aspect
from geoseg.polygons.merge import merge_small, read_graph, recoloured
from geoseg.polygons.nodes import CONFIDENCE, KNOWN, SIZE, Classes, Ints, Labels, Read, read_strips
from geoseg.polygons.outlines import Regions, trace
from geoseg.polygons.rings import build_polygons, with_simple_rings
from geoseg.polygons.simplify import check_tolerance, simplified
from geoseg.polygons.sources import Source, from_arrays, from_files

M2_PER_HA = 10_000.0
BLOCK_SIZE = 2048


def polygonize(
    class_id: xr.DataArray,
    *,
    legend: Legend,
    confidence: xr.DataArray | None = None,
    block_size: int = BLOCK_SIZE,
    min_area_ha: float = 0.0,
    simplify_m: float = 0.0,
) -> gpd.GeoDataFrame:
    """One polygon for each 4-connected region of one class; burnt back they give ``class_id`` again.

    The polygons are valid and a coverage: neighbours share their edges vertex by vertex, without gaps or
    overlaps (``shapely.coverage_is_valid``). Vertices are where an outline turns and where three or more
    regions meet, nowhere else. Pixels that touch at a corner only are separate polygons. The result is the
    same for any ``block_size``.

    Args:
        class_id: (y, x) uint8 with odc-geo georeferencing, 255 where there is no value; may be lazy.
        legend: names every class in it.
        confidence: (y, x) on the same grid: uint8 0..254 in steps of ``CONFIDENCE_SCALE``, nodata 255; or
            float 0..1, nodata NaN.
        block_size: rows of a lazy map that are computed at a time; as many pixels as its square are worked
            on at a time.
        min_area_ha: smaller polygons are merged into the neighbour with which they share the longest border,
            the smallest first; see ``merge_small``. Without a neighbour they stay.
        simplify_m: tolerance of ``simplified`` in metres: the square root of the area of the triangles
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
    source = from_arrays(class_id, confidence, n_rows=block_size)
    options = _Options(block_size, min_area_ha, simplify_m)
    return _whole_table(_batches(source, legend, options), source, legend)


def polygonize_files(
    class_tif: Path,
    confidence_tif: Path | None = None,
    *,
    legend: Legend,
    block_size: int = BLOCK_SIZE,
    min_area_ha: float = 0.0,
    simplify_m: float = 0.0,
) -> gpd.GeoDataFrame:
    """What ``polygonize`` gives, from band 1 of files.

    Memory grows with the polygons, not with the raster. A nodata value that a file declares counts as
    nodata, beside 255 (and NaN in a confidence in floats).

    Args:
        class_tif: uint8 classes.
        confidence_tif: on the same grid, or None.
        legend: as in ``polygonize``.
        block_size: as many pixels as its square are read at a time, in whole rows.
        min_area_ha: as in ``polygonize``.
        simplify_m: as in ``polygonize``.

    Raises:
        ImageryError: a file cannot be read.
        OutputError: as in ``polygonize``.
    """
    with from_files(class_tif, confidence_tif) as source:
        options = _Options(block_size, min_area_ha, simplify_m)
        return _whole_table(_batches(source, legend, options), source, legend)


def stream_polygons(
    class_tif: Path,
    confidence_tif: Path | None = None,
    *,
    legend: Legend,
    block_size: int = BLOCK_SIZE,
    min_area_ha: float = 0.0,
    simplify_m: float = 0.0,
) -> Iterator[gpd.GeoDataFrame]:
    """The polygons of ``polygonize_files``, some at a time, while the map is read from top to bottom.

    They come in the order of the lowest rows of pixels that their regions reach, then of their first pixels
    in row-major order: the same for any ``block_size``. There is one table at least; tables may be empty.

    Memory is bound by the block: what was read, the polygons that end in it, 8 bytes a vertex for regions
    that are cut by its lower end, and two bands of 512 rows of nodes (100 bytes each) with ``simplify_m``.
    With ``min_area_ha`` the file is read three times, and regions and borders are kept: see
    ``merge.read_graph``.

    Args:
        class_tif: as in ``polygonize_files``, and so are the others.
        confidence_tif: on the same grid, or None.
        legend: names every class.
        block_size: as many pixels as its square are read at a time, in whole rows.
        min_area_ha: as in ``polygonize``.
        simplify_m: as in ``polygonize``.

    Raises:
        ImageryError: a file cannot be read.
        OutputError: as in ``polygonize``.
    """
    with from_files(class_tif, confidence_tif) as source:
        options = _Options(block_size, min_area_ha, simplify_m)
        for batch in _batches(source, legend, options):
            yield _table(batch, source, legend)


@dataclass(frozen=True)
class _Options:
    """What the three verbs have in common."""

    block_size: int
    min_area_ha: float
    simplify_m: float


def _batches(source: Source, legend: Legend, options: _Options) -> Iterator[Regions]:
    """The engine of all: pixels to nodes, nodes to outlines, outlines to regions."""
    geobox = source.geobox
    _check_options(options, geobox)
    width = geobox.shape[1]
    n_rows = max(1, min(options.block_size, options.block_size**2 // width))
    columns, unit_m2 = column_sizes(geobox)
    read = source.read
    if options.min_area_ha > 0:
        min_size = (
            options.min_area_ha * M2_PER_HA / unit_m2 * (1 - 1e-9)
        )  # so that 0.07 ha are 7 pixels of 0.01 ha
        read = _merged(source, legend, columns, n_rows=n_rows, min_size=min_size)
    strips = read_strips(read, width, columns, n_rows=n_rows)
    if options.simplify_m > 0:
        tolerance = options.simplify_m / crs_of(geobox).axis_info[0].unit_conversion_factor
        strips = simplified(strips, width, max_area_px=tolerance**2 / abs(geobox.transform.determinant))
    for regions in trace(strips):
        _check_named(regions.class_id, legend)
        yield with_simple_rings(regions)


def _merged(source: Source, legend: Legend, columns: Ints, *, n_rows: int, min_size: float) -> Read:
    """The map with its small regions merged away; to be read from top to bottom, ``n_rows`` at a time."""
    width = source.geobox.shape[1]

    def read_classes(rows: slice) -> tuple[Classes, None]:
        return source.read(rows)[0], None

    graph = read_graph(
        read_strips(read_classes, width, columns, n_rows=n_rows), aspect=pixel_aspect(source.geobox)
    )
    _check_named(graph.class_id, legend)
    root = merge_small(graph, min_size=min_size)
    painted = recoloured(
        read_strips(read_classes, width, columns, n_rows=n_rows),
        width,
        graph.class_id[root][graph.region_of],
    )

    def read(rows: slice) -> tuple[Classes, Labels | None]:
        return next(painted), source.read(rows)[1] if source.has_confidence else None

    return read


def _table(regions: Regions, source: Source, legend: Legend) -> gpd.GeoDataFrame:
    polygons = build_polygons(regions, source.geobox.transform)
    return _with_columns(regions.class_id, regions.sums, polygons, source, legend)


def _whole_table(batches: Iterator[Regions], source: Source, legend: Legend) -> gpd.GeoDataFrame:
    """All polygons, in the order of classes, then first pixels."""
    parts = [
        (batch.class_id, batch.first, batch.sums, build_polygons(batch, source.geobox.transform))
        for batch in batches
    ]
    class_id, first, sums, polygons = (np.concatenate(values) for values in zip(*parts, strict=True))
    order = np.lexsort((first, class_id))
    return _with_columns(class_id[order], sums[order], polygons[order], source, legend)


def _with_columns(
    class_id: Classes, sums: Ints, polygons: npt.NDArray[np.object_], source: Source, legend: Legend
) -> gpd.GeoDataFrame:
    names = np.full(256, "", object)
    names[list(legend.values)] = [c.name for c in legend.classes]
    confidence = np.full(len(class_id), np.nan)
    if sums.shape[1] > KNOWN:
        known = np.where(sums[:, KNOWN] > 0, sums[:, KNOWN], np.nan)
        confidence = sums[:, CONFIDENCE] / known * source.unit
    unit_m2 = column_sizes(source.geobox)[1]
    return gpd.GeoDataFrame(
        {
            "class_id": class_id.astype(np.int32),
            "class_name": pd.Series(names[class_id], dtype="str"),
            "area_ha": sums[:, SIZE] * unit_m2 / M2_PER_HA,
            "confidence": confidence,
        },
        geometry=polygons,
        crs=crs_of(source.geobox),
    )


def _check_options(options: _Options, geobox: GeoBox) -> None:
    if options.block_size < 1:
        raise OutputError(
            f"block_size is {options.block_size}, expected 1 or more pixels. Leave it out for {BLOCK_SIZE}."
        )
    if not options.min_area_ha >= 0:
        raise OutputError(
            f"min_area_ha is {options.min_area_ha:g}, expected 0 or more. Leave it out to keep all polygons."
        )
    check_tolerance(options.simplify_m, crs_of(geobox))


def _check_named(found: Classes, legend: Legend) -> None:
    if unnamed := sorted(set(found.tolist()) - set(legend.values)):
        raise OutputError(
            f"The class map holds {unnamed}, expected only the legend's {list(legend.values)}. "
            "Pass the legend of the model that made it."
        )
