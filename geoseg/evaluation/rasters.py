"""Score a class map against a reference, block by block: memory does not grow with the map."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError
from rasterio.features import rasterize
from rasterio.io import DatasetReader
from rasterio.windows import Window

from geoseg.errors import EvaluationError
from geoseg.evaluation.confidence.reliability import MapReliability
from geoseg.evaluation.confusion import IGNORED, Counts, count, table_of
from geoseg.evaluation.maps import Crosswalk, legend_of, shared_legend
from geoseg.evaluation.points import count_points, read_points
from geoseg.evaluation.references import (
    VECTORS,
    Reference,
    raster_reference,
    read_features,
    vector_reference,
)
from geoseg.evaluation.scores import Case, Evaluation, scores_of
from geoseg.grid.geobox import window_geobox
from geoseg.legend import CLASS_NODATA, Legend

BLOCK = 2048
"""Side of what is compared at a time, pixels."""
_CACHE_MB = 128
"""For blocks of the files; GDAL's own limit, a share of all memory, fills up on large rasters."""
CELL = 32
"""Side of a cell of the map of errors, pixels; ``BLOCK`` is a multiple."""
TILE = 256
"""Side of the tiles that are shown, pixels; a multiple of ``CELL``."""


@dataclass(frozen=True)
class Request:
    """What is compared with what."""

    prediction: Path
    """A class map: uint8, 255 = nodata."""
    reference: Path
    """A class raster, polygons, or points (CSV or vector), in any CRS."""
    legend: Path | None = None
    """See :func:`geoseg.evaluation.maps.legend_of`."""
    crosswalk: Crosswalk = field(default_factory=Crosswalk)
    class_field: str | None = None
    """Attribute of a vector reference, or column of a CSV, that says the class."""
    crs: str | None = None
    """Of a CSV's x and y; None for degrees."""
    places: Path | None = None
    """Polygons whose scores are also given one by one, and resampled for intervals."""
    place_field: str | None = None
    """What the places are called; None for their numbers."""
    nodata_is_wrong: bool = False
    """Count pixels for which the map has no class as wrong, instead of leaving them out."""


def score(request: Request) -> Evaluation:
    """Compare a class map with its reference.

    A map is often cut to an area, so pixels where it has no class are left out unless the request counts
    them as wrong. A confidence.tif beside the map is checked as well: does it say how often the map is right?

    Raises:
        EvaluationError: the files cannot be read, lie apart, or their classes do not fit.
    """
    with _opened(request) as (source, legend, table), ExitStack() as stack:
        if _is_points(request.reference):
            return _score_points(request, source, legend, table)
        reference = stack.enter_context(_reference(request, GeoBox.from_rio(source), legend))
        confidence = _confidence(request.prediction, source, stack)
        return _score(request, source, reference, confidence, legend, table)


def worst_tiles(request: Request, evaluation: Evaluation, *, n: int = 6) -> list[Case]:
    """The tiles with the most errors, most first; none where there are no errors, or points were compared."""
    wrong = summed(evaluation.wrong, TILE // CELL)
    compared = summed(evaluation.compared, TILE // CELL)
    order = [np.unravel_index(k, wrong.shape) for k in np.argsort(-wrong, axis=None, kind="stable")[:n]]
    chosen = [(int(row), int(col)) for row, col in order if wrong[row, col]]
    if not chosen:
        return []
    cases = []
    with _opened(request) as (source, legend, table), ExitStack() as stack:
        reference = stack.enter_context(_reference(request, GeoBox.from_rio(source), legend))
        for row, col in chosen:
            top, left = row * TILE, col * TILE
            window = Window(left, top, min(TILE, source.width - left), min(TILE, source.height - top))
            stored, expected = source.read(1, window=window), reference.read(window)
            share = float(wrong[row, col] / compared[row, col])
            shown = _compared(request, stored, expected)
            cases.append(Case(f"row {top}, column {left}", share, table[stored], shown))
    return cases


def summed(cells: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Sums over squares of ``n`` cells."""
    if not cells.size:
        return cells
    rows, cols = (np.arange(0, size, n) for size in cells.shape)
    sums: NDArray[np.int64] = np.add.reduceat(np.add.reduceat(cells, rows, axis=0), cols, axis=1)
    return sums


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
    place_of = _Places(request, grid)
    n_classes = len(legend.classes)
    counts: Counts = np.zeros((len(place_of.names), n_classes, n_classes + 1), np.int64)
    cells = (-(-source.height // CELL), -(-source.width // CELL))
    wrong, compared = np.zeros(cells, np.int64), np.zeros(cells, np.int64)
    left_out, reliability = 0, MapReliability()
    for window in windows_of(source.height, source.width):
        stored = source.read(1, window=window)
        if not request.nodata_is_wrong and (stored == CLASS_NODATA).all():
            continue
        found = table[stored]
        expected = _compared(request, stored, reference.read(window))
        places = place_of.read(window)
        for place in np.unique(places[places >= 0]) if places is not None else (0,):
            there = expected if places is None else np.where(places == place, expected, IGNORED)
            counts[place] += count(there, found, n_classes=n_classes)
        is_compared = expected != IGNORED
        left_out += int((~is_compared & (stored != CLASS_NODATA)).sum())
        at = (slice(window.row_off // CELL, None), slice(window.col_off // CELL, None))
        _add_cells(wrong[at], is_compared & (found != expected))
        _add_cells(compared[at], is_compared)
        if confidence is not None:
            is_scored = is_compared & (stored != CLASS_NODATA)
            sure = confidence.read(1, window=window)[is_scored]
            reliability.feed(sure, found[is_scored], expected[is_scored])
    if not counts.sum():
        raise EvaluationError(
            f"Not one pixel of {request.prediction.name} has a reference in {request.reference.name}. "
            "Check that they are of the same place, and what the crosswalk ignores."
        )
    scores = scores_of(
        counts,
        legend,
        title=f"{request.prediction.name} against {request.reference.name}",
        places=place_of.names if request.places else (),
        left_out=left_out,
        notes=reference.notes,
        reliability=reliability.reliability() if confidence is not None else None,
    )
    return Evaluation(scores, legend, wrong, compared)


def _score_points(
    request: Request, source: DatasetReader, legend: Legend, table: NDArray[np.int32]
) -> Evaluation:
    counts, left_out, notes = count_points(
        read_points(request.reference, crs=request.crs),
        source,
        legend=legend,
        table=table,
        crosswalk=request.crosswalk,
        field=request.class_field,
        label=request.reference.name,
    )
    title = f"{request.prediction.name} against {request.reference.name}"
    scores = scores_of(counts, legend, title=title, left_out=left_out, notes=notes)
    return Evaluation(scores, legend, unit="points")


def windows_of(height: int, width: int, *, size: int = BLOCK) -> Iterator[Window]:
    """Squares that cover a raster, row by row; the last ones are what is left."""
    for row in range(0, height, size):
        for col in range(0, width, size):
            yield Window(col, row, min(size, width - col), min(size, height - row))


def _add_cells(cells: NDArray[np.int64], pixels: NDArray[np.bool_]) -> None:
    """Count the True pixels of a block in the cells that it begins with."""
    sums = summed(pixels.astype(np.int64), CELL)
    cells[: sums.shape[0], : sums.shape[1]] += sums


class _Places:
    """Which place a pixel belongs to: one for all, or polygons by pixel centre."""

    def __init__(self, request: Request, grid: GeoBox) -> None:
        self._grid = grid
        self._frame: gpd.GeoDataFrame | None = None
        self.names = [request.prediction.name]
        if request.places is not None:
            self._frame = read_features(request.places).to_crs(str(grid.crs)).reset_index(drop=True)
            field = request.place_field
            if field is not None and field not in self._frame.columns:
                columns = ", ".join(str(c) for c in self._frame.columns if c != self._frame.geometry.name)
                raise EvaluationError(f"{request.places.name} has no field {field!r}. It has: {columns}.")
            self.names = [str(v) for v in (self._frame[field] if field else self._frame.index)]

    def read(self, window: Window) -> NDArray[np.int32] | None:
        """(y, x) number of the place, -1 for none; None where there is one place for all."""
        if self._frame is None:
            return None
        there = window_geobox(self._grid, window)
        hits = self._frame.sindex.query(there.extent.geom)
        if not len(hits):
            return np.full((window.height, window.width), -1, np.int32)
        shapes = zip(self._frame.geometry.to_numpy()[hits], hits.tolist(), strict=True)
        burned: NDArray[np.int32] = rasterize(
            shapes, out_shape=(window.height, window.width), transform=there.affine, fill=-1, dtype="int32"
        )
        return burned


def _is_points(path: Path) -> bool:
    if path.suffix.lower() == ".csv":
        return True
    if path.suffix.lower() not in VECTORS:
        return False
    return bool(read_features(path).geom_type.isin(["Point", "MultiPoint"]).all())


def _reference(request: Request, grid: GeoBox, legend: Legend) -> AbstractContextManager[Reference]:
    path, crosswalk = request.reference, request.crosswalk
    if not path.exists():
        raise EvaluationError(f"There is no file {path}. Check the path.")
    if path.suffix.lower() in VECTORS:
        return nullcontext(
            vector_reference(path, grid=grid, legend=legend, crosswalk=crosswalk, field=request.class_field)
        )
    return raster_reference(path, grid=grid, legend=legend, crosswalk=crosswalk)


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
