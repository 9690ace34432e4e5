"""Score a class map against a reference, block by block: memory does not grow with the map."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import geopandas as gpd
import numpy as np
from odc.geo.geobox import GeoBox
from rasterio.io import DatasetReader
from rasterio.windows import Window

from geoseg.errors import EvaluationError
from geoseg.evaluation.boundary import core_of, with_halo
from geoseg.evaluation.boundary_width import BoundaryWidth
from geoseg.evaluation.confidence.reliability import MapReliability
from geoseg.evaluation.confusion import IGNORED
from geoseg.evaluation.features import VECTORS, PlacesOf
from geoseg.evaluation.maps import Crosswalk
from geoseg.evaluation.objects.polygons import SPACENET_IOU
from geoseg.evaluation.points import are_points, count_points, read_points
from geoseg.evaluation.products import is_product, product_reference
from geoseg.evaluation.reading import reading, windows_of
from geoseg.evaluation.references import Reference, raster_reference, vector_reference
from geoseg.evaluation.scored_map import ScoredMap, confidence_of, scored_map
from geoseg.evaluation.scores import Case, Evaluation, scores_of
from geoseg.evaluation.tally import CELL, MapTally, summed
from geoseg.legend import CLASS_NODATA

TILE = 256
"""Side of the tiles that are shown, pixels; a multiple of ``CELL``."""
_N_WORST = 6


@dataclass(frozen=True)
class Request:
    """What is compared with what."""

    prediction: Path
    """A class map: uint8, 255 = nodata. What else it may be, see :mod:`geoseg.evaluation.files`."""
    reference: Path
    """A class raster, polygons, or points (CSV or vector), in any CRS; or the name of a wall-to-wall product:
    see :mod:`geoseg.evaluation.products`."""
    reference_catalog: str | None = None
    """Where a wall-to-wall product is searched, instead of where its makers have it."""
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
    """Count pixels and points for which the map has no class as wrong, instead of leaving them out."""
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
    if request.place_field is not None and request.places is None:
        raise EvaluationError("--place-field names the polygons of --places. Give both, or leave it out.")
    with ExitStack() as stack:
        made = stack.enter_context(
            scored_map(
                request.prediction,
                legend=request.legend,
                crosswalk=request.crosswalk,
                nodata_is_wrong=request.nodata_is_wrong,
            )
        )
        features = _features(request)
        if features is not None and are_points(features):
            return _score_points(request, features, made)
        reference = stack.enter_context(_reference(request, features, made))
        evaluation = _score(request, made, reference, confidence_of(made, stack))
        return replace(evaluation, cases=_worst_tiles(evaluation, made, reference))


def _worst_tiles(evaluation: Evaluation, made: ScoredMap, reference: Reference) -> tuple[Case, ...]:
    """The tiles with the most errors, most first; none where there are no errors."""
    wrong = summed(evaluation.wrong, TILE // CELL)
    n_compared = summed(evaluation.compared, TILE // CELL)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_N_WORST]
    height, width = made.grid.shape
    cases = []
    for row, col in (map(int, np.unravel_index(k, wrong.shape)) for k in order):
        if not wrong[row, col]:
            break
        top, left = row * TILE, col * TILE
        window = Window(left, top, min(TILE, width - left), min(TILE, height - top))
        stored = made.read(window)
        expected = made.compared(stored, reference.read(window))
        share = float(wrong[row, col] / n_compared[row, col])
        cases.append(Case(f"row {top}, column {left}", share, made.table[stored], expected))
    return tuple(cases)


def _score(
    request: Request, made: ScoredMap, reference: Reference, confidence: DatasetReader | None
) -> Evaluation:
    places = _places(request, made.grid)
    tally = MapTally(made.grid, len(made.classes.legend.classes), places=places, boundary=request.boundary)
    left_out, n_bare, has_skipped, reliability = 0, 0, False, MapReliability()
    for window in windows_of(*made.grid.shape):
        tile = with_halo(window, made.source.shape, halo=tally.halo)
        around, core = made.read(tile.window), core_of(tile)
        stored = around[core]
        if made.is_left_out[stored].all():  # most blocks of a map that is cut to an area
            left_out += int((stored != CLASS_NODATA).sum())
            has_skipped = True
            continue
        truth = reference.read(tile.window)
        found, expected = made.table[around], made.compared(around, truth)
        n_bare += int(((stored == CLASS_NODATA) & (truth[core] != IGNORED)).sum())
        is_compared = tally.feed(tile, found, expected)
        found, expected = found[core], expected[core]
        is_known = stored != CLASS_NODATA
        left_out += int((is_known & (expected == IGNORED)).sum())
        if confidence is not None:
            is_scored = is_known & is_compared
            with reading(Path(confidence.name)):
                sure = confidence.read(1, window=window)[is_scored]
            reliability.feed(sure, found[is_scored], expected[is_scored])
    _refuse_nothing(tally, request, reference.unused())
    return Evaluation(
        scores_of(
            tally.counts,
            made.classes.legend,
            title=_title(request),
            places=places.names if places else (),
            left_out=left_out,
            notes=(
                *reference.notes,
                *reference.unused(),
                *_left(left_out, "" if request.nodata_is_wrong else _bare(n_bare, has_skipped)),
                *tally.notes,
            ),
            outlines=tally.outlines,
            reliability=reliability.reliability() if confidence is not None else None,
        ),
        tally.wrong,
        tally.compared,
    )


def _left(left_out: int, bare: str) -> list[str]:
    notes = [bare] if bare else []
    if left_out:
        notes.append(f"{left_out:,} pixels of the map have no reference, or one to be ignored: left out.")
    return notes


def _bare(n: int, has_skipped: bool) -> str:
    if not n:
        return ""
    number = f"At least {n:,}" if has_skipped else f"{n:,}"  # blocks without any class are not looked at
    return f"{number} pixels have a reference but no class in the map: left out (see --nodata-is-wrong)."


def _refuse_nothing(tally: MapTally, request: Request, unused: Sequence[str]) -> None:
    if not tally.counts.sum():
        where = "" if request.places is None else f" within {request.places.name}"
        raise EvaluationError(
            f"Not one pixel of {request.prediction.name}{where} has a reference in {request.reference.name}. "
            f"Check that they are of the same place, and what the crosswalk ignores. {' '.join(unused)}"
        )


def _score_points(request: Request, points: gpd.GeoDataFrame, made: ScoredMap) -> Evaluation:
    places = _places(request, made.grid)
    counted = count_points(
        points,
        made.grid,
        made.read,
        classes=made.classes,
        crosswalk=request.crosswalk,
        field=request.class_field,
        label=request.reference.name,
        places=places,
        nodata_is_wrong=request.nodata_is_wrong,
    )
    notes = list(counted.notes)
    if "stratum" in points.columns:
        notes.append(
            "These points were drawn by strata, which pixel scores do not weigh: geoseg area estimate does."
        )
    if request.boundary is not None:
        notes.append("Points have no boundaries: --boundary says nothing here.")
    scores = scores_of(
        counted.counts,
        made.classes.legend,
        title=_title(request),
        places=places.names if places else (),
        left_out=counted.left_out,
        notes=notes,
    )
    return Evaluation(scores, unit="points")


def _title(request: Request) -> str:
    return f"{request.prediction.name} against {request.reference.name}"


def _places(request: Request, grid: GeoBox) -> PlacesOf | None:
    if request.places is None:
        return None
    return PlacesOf(request.places, crs=str(grid.crs), field=request.place_field)


def _features(request: Request) -> gpd.GeoDataFrame | None:
    """A vector reference, read once; None for a raster."""
    path = request.reference
    if is_product(path):
        return None
    if not path.exists():
        raise EvaluationError(f"There is no file {path}. Check the path.")
    is_vector = path.suffix.lower() in (*VECTORS, ".csv")
    if request.class_field is not None and not is_vector:
        raise EvaluationError(f"--field is of features, and {path.name} is a raster. Leave it out.")
    if request.crs is not None and path.suffix.lower() != ".csv":
        raise EvaluationError(f"--crs is of x and y in a CSV; {path.name} says its own. Leave it out.")
    return read_points(path, crs=request.crs) if is_vector else None


def _reference(
    request: Request, features: gpd.GeoDataFrame | None, made: ScoredMap
) -> AbstractContextManager[Reference]:
    path, crosswalk, grid, classes = request.reference, request.crosswalk, made.grid, made.classes
    if is_product(path):
        return nullcontext(
            product_reference(
                str(path), grid=grid, classes=classes, crosswalk=crosswalk, catalog=request.reference_catalog
            )
        )
    if features is None:
        return raster_reference(path, grid=grid, classes=classes, crosswalk=crosswalk)
    field = request.class_field
    return nullcontext(
        vector_reference(
            features, label=path.name, grid=grid, classes=classes, crosswalk=crosswalk, field=field
        )
    )
