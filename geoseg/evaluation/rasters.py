"""Score a class map against a reference, block by block: memory does not grow with the map."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from geoseg.errors import EvaluationError
from geoseg.evaluation.boundary import core_of, with_halo
from geoseg.evaluation.boundary_width import BoundaryWidth
from geoseg.evaluation.confidence.reliability import MapReliability
from geoseg.evaluation.confusion import IGNORED, table_of
from geoseg.evaluation.maps import Crosswalk, legend_of, shared_legend
from geoseg.evaluation.objects.polygons import SPACENET_IOU
from geoseg.evaluation.points import count_points, read_points
from geoseg.evaluation.references import (
    VECTORS,
    PlacesOf,
    Reference,
    raster_reference,
    vector_reference,
)
from geoseg.evaluation.scores import Case, Evaluation, scores_of
from geoseg.evaluation.tally import CELL, MapTally, summed
from geoseg.legend import CLASS_NODATA, Legend

BLOCK = 2048
"""Side of what is compared at a time, pixels."""
_CACHE_MB = 128
"""For blocks of the files; GDAL's own limit, a share of all memory, fills up on large rasters."""
TILE = 256
"""Side of the tiles that are shown, pixels; a multiple of ``CELL``."""
_N_WORST = 6


@dataclass(frozen=True)
class Request:
    """What is compared with what."""

    prediction: Path
    """A class map: uint8, 255 = nodata. What else it may be, see :mod:`geoseg.evaluation.files`."""
    reference: Path
    """A class raster, polygons, or points (CSV or vector), in any CRS."""
    legend: Path | None = None
    """See :func:`geoseg.evaluation.maps.legend_of`."""
    crosswalk: Crosswalk = field(default_factory=Crosswalk)
    class_field: str | None = None
    """Attribute of a vector file, or column of a CSV, that says the class."""
    crs: str | None = None
    """Of a CSV's x and y; None for degrees."""
    places: Path | None = None
    """Polygons whose scores are also given one by one, and resampled for intervals."""
    place_field: str | None = None
    """What the places are called; None for their numbers."""
    nodata_is_wrong: bool = False
    """Count pixels for which the map has no class as wrong, instead of leaving them out."""
    boundary: BoundaryWidth | None = None
    """How wide boundaries are for boundary IoU and trimap IoU; None to leave those out."""
    iou: tuple[float, ...] = (SPACENET_IOU,)
    """Of polygons against polygons: from which IoU on an object is found."""


def score(request: Request) -> Evaluation:
    """Compare a class map with its reference, and keep the tiles with the most errors.

    A map is often cut to an area, so pixels where it has no class are left out unless the request counts
    them as wrong. A confidence.tif beside the map is checked as well: does it say how often the map is right?

    Raises:
        EvaluationError: the files cannot be read, lie apart, or their classes do not fit.
    """
    with _opened(request) as (source, legend, table), ExitStack() as stack:
        features = _features(request)
        if features is not None and features.geom_type.isin(["Point", "MultiPoint"]).all():
            return _score_points(request, features, source, legend, table)
        reference = stack.enter_context(_reference(request, features, GeoBox.from_rio(source), legend))
        confidence = _confidence(request.prediction, source, stack)
        evaluation = _score(request, source, reference, confidence, legend, table)
        return replace(evaluation, cases=_worst_tiles(request, evaluation, source, reference, table))


def _worst_tiles(
    request: Request,
    evaluation: Evaluation,
    source: DatasetReader,
    reference: Reference,
    table: NDArray[np.int32],
) -> tuple[Case, ...]:
    """The tiles with the most errors, most first; none where there are no errors."""
    wrong = summed(evaluation.wrong, TILE // CELL)
    compared = summed(evaluation.compared, TILE // CELL)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_N_WORST]
    cases = []
    for row, col in (map(int, np.unravel_index(k, wrong.shape)) for k in order):
        if not wrong[row, col]:
            break
        top, left = row * TILE, col * TILE
        window = Window(left, top, min(TILE, source.width - left), min(TILE, source.height - top))
        stored, expected = source.read(1, window=window), reference.read(window)
        share = float(wrong[row, col] / compared[row, col])
        shown = _compared(request, stored, expected)
        cases.append(Case(f"row {top}, column {left}", share, table[stored], shown))
    return tuple(cases)


def _compared(request: Request, stored: NDArray[np.uint8], expected: NDArray[np.int32]) -> NDArray[np.int32]:
    if request.nodata_is_wrong:
        return expected
    return np.where(stored == CLASS_NODATA, np.int32(IGNORED), expected)


@contextmanager
def _opened(request: Request) -> Iterator[tuple[DatasetReader, Legend, NDArray[np.int32]]]:
    """The map, the classes that are compared, and the class index of each of its values."""
    if not request.prediction.exists():
        raise EvaluationError(f"There is no file {request.prediction}. Check the path.")
    legend, names = shared_legend(legend_of(request.prediction, request.legend), request.crosswalk)
    by_name = {c.name: c.value for c in legend.classes}
    table = table_of(legend.values, {v: by_name[n] for v, n in names.items() if n in by_name})
    try:
        with rasterio.Env(GDAL_CACHEMAX=_CACHE_MB), rasterio.open(request.prediction) as source:
            _refuse_no_map(source, request.prediction)
            yield source, legend, table
    except RasterioError as error:
        raise EvaluationError(
            f"{request.prediction} cannot be read: {' '.join(str(error).split())}."
        ) from None


def _score(
    request: Request,
    source: DatasetReader,
    reference: Reference,
    confidence: DatasetReader | None,
    legend: Legend,
    table: NDArray[np.int32],
) -> Evaluation:
    grid = GeoBox.from_rio(source)
    places = None
    if request.places is not None:
        places = PlacesOf(request.places, crs=str(grid.crs), field=request.place_field)
    tally = MapTally(grid, len(legend.classes), places=places, boundary=request.boundary)
    left_out, reliability = 0, MapReliability()
    for window in windows_of(source.height, source.width):
        tile = with_halo(window, source.shape, halo=tally.halo)
        around, core = source.read(1, window=tile.window), core_of(tile)
        stored = around[core]
        if not request.nodata_is_wrong and (stored == CLASS_NODATA).all():
            continue
        found = table[around]
        expected = _compared(request, around, reference.read(tile.window))
        tally.feed(tile, found, expected)
        found, expected = found[core], expected[core]
        is_compared = expected != IGNORED
        left_out += int((~is_compared & (stored != CLASS_NODATA)).sum())
        if confidence is not None:
            is_scored = is_compared & (stored != CLASS_NODATA)
            sure = confidence.read(1, window=window)[is_scored]
            reliability.feed(sure, found[is_scored], expected[is_scored])
    if not tally.counts.sum():
        raise EvaluationError(
            f"Not one pixel of {request.prediction.name} has a reference in {request.reference.name}. "
            "Check that they are of the same place, and what the crosswalk ignores."
        )
    scores = scores_of(
        tally.counts,
        legend,
        title=f"{request.prediction.name} against {request.reference.name}",
        places=places.names if places else (),
        left_out=left_out,
        notes=(*reference.notes, *tally.notes),
        outlines=tally.outlines,
        reliability=reliability.reliability() if confidence is not None else None,
    )
    return Evaluation(scores, tally.wrong, tally.compared)


def _score_points(
    request: Request,
    points: gpd.GeoDataFrame,
    source: DatasetReader,
    legend: Legend,
    table: NDArray[np.int32],
) -> Evaluation:
    counts, left_out, notes = count_points(
        points,
        source,
        legend=legend,
        table=table,
        crosswalk=request.crosswalk,
        field=request.class_field,
        label=request.reference.name,
    )
    if request.boundary is not None:
        notes = (*notes, "Points have no boundaries: --boundary says nothing here.")
    title = f"{request.prediction.name} against {request.reference.name}"
    scores = scores_of(counts, legend, title=title, left_out=left_out, notes=notes)
    return Evaluation(scores, unit="points")


def windows_of(height: int, width: int, *, size: int = BLOCK) -> Iterator[Window]:
    """Squares that cover a raster, row by row; the last ones are what is left."""
    for row in range(0, height, size):
        for col in range(0, width, size):
            yield Window(col, row, min(size, width - col), min(size, height - row))


def _features(request: Request) -> gpd.GeoDataFrame | None:
    """A vector reference, read once; None for a raster."""
    path = request.reference
    if not path.exists():
        raise EvaluationError(f"There is no file {path}. Check the path.")
    is_vector = path.suffix.lower() in (*VECTORS, ".csv")
    return read_points(path, crs=request.crs) if is_vector else None


def _reference(
    request: Request, features: gpd.GeoDataFrame | None, grid: GeoBox, legend: Legend
) -> AbstractContextManager[Reference]:
    path, crosswalk, field = request.reference, request.crosswalk, request.class_field
    if features is None:
        return raster_reference(path, grid=grid, legend=legend, crosswalk=crosswalk)
    return nullcontext(
        vector_reference(
            features, label=path.name, grid=grid, legend=legend, crosswalk=crosswalk, field=field
        )
    )


def _refuse_no_map(source: DatasetReader, path: Path) -> None:
    if source.dtypes[0] != "uint8":
        raise EvaluationError(
            f"{path} holds {source.dtypes[0]}, expected a class map of uint8, 255 = nodata."
        )
    if source.crs is None:
        raise EvaluationError(
            f"{path} has no CRS, so nothing says where it lies. Assign one: gdal_edit -a_srs."
        )


def _confidence(path: Path, source: DatasetReader, stack: ExitStack) -> DatasetReader | None:
    beside = path.with_name("confidence.tif")
    if not beside.is_file():
        return None
    confidence: DatasetReader = stack.enter_context(rasterio.open(beside))
    fits = confidence.shape == source.shape and confidence.transform == source.transform
    return confidence if fits and confidence.dtypes[0] == "uint8" else None
