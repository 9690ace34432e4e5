"""Objects found, missed and made up: polygons against reference polygons, as SpaceNet scores buildings.

Matching needs the pairs that intersect only, so hundreds of thousands of polygons are no matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.errors import EvaluationError
from geoseg.evaluation.confusion import IGNORED, indices
from geoseg.evaluation.metrics import ratio
from geoseg.evaluation.objects.matching import (
    COCO_THRESHOLDS,
    UNMATCHED,
    Matches,
    Pairs,
    assign,
    at_least,
    match_by_confidence,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.integer]
ObjectCounts = NDArray[np.int64]
"""(class, threshold, 3): true positives, false positives, false negatives. Counts of places add up, and may
be stacked in front."""

SPACENET_IOU = 0.5
_ONE_CLASS = (1,)
_POLYGONS = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)


@dataclass(frozen=True, eq=False)
class ObjectScores:
    """Shares of objects, 0..1; NaN where there is nothing to be a share of."""

    precision: Floats
    """(class, threshold) share of the predicted objects that are right; NaN where none is predicted."""
    recall: Floats
    """(class, threshold) share of the reference objects that are found; NaN where there is none."""
    f1: Floats
    """(class, threshold) 2 TP / (2 TP + FP + FN); NaN where there is neither."""
    overall_precision: Floats
    """(threshold,) the same of all classes' objects together."""
    overall_recall: Floats
    """(threshold,)"""
    overall_f1: Floats
    """(threshold,)"""


@dataclass(frozen=True, eq=False)
class _Objects:
    geometry: NDArray[np.object_]
    """(object,) valid polygons with an area."""
    class_index: Ints
    row: Ints
    """(object,) position in the table."""


def count_objects(
    reference: gpd.GeoDataFrame,
    prediction: gpd.GeoDataFrame,
    *,
    thresholds: Sequence[float] = (SPACENET_IOU,),
    class_ids: Sequence[int] = _ONE_CLASS,
    class_column: str | None = None,
    place_column: str | None = None,
    n_places: int = 1,
) -> ObjectCounts:
    """How many objects are found, made up and missed, by IoU threshold (SpaceNet: Van Etten et al. 2018).

    The pair of one class with the highest IoU is matched first, then the next among what is left, down to the
    threshold: each object matches once at most, and the order of the tables does not matter. SpaceNet's own
    tool goes by the order of predictions, which gives the same above IoU 0.5 if the objects of neither table
    overlap each other.

    Args:
        reference: polygons in a projected CRS, or without one in any plane. Rows without area are left out,
            broken rings are repaired.
        prediction: polygons in the same CRS.
        thresholds: IoUs, above 0 to 1.
        class_ids: the classes scored, in the order of the counts; rows of others are left out.
        class_column: where both tables have the class; None for one class.
        place_column: where both have the number of the place that each polygon belongs to, 0 to
            ``n_places`` - 1; the counts are then (place, class, threshold, 3). What is matched belongs to
            the place of the reference, so places add up to the whole.
        n_places: how many there are.

    Raises:
        EvaluationError: CRSs that differ or are in degrees, no such column, or no polygons.

    Example:
        >>> squares = gpd.GeoSeries([shapely.box(0, 0, 10, 10), shapely.box(20, 0, 30, 10)], crs=32633)
        >>> reference = gpd.GeoDataFrame(geometry=squares)
        >>> prediction = gpd.GeoDataFrame(geometry=squares.translate(0, 2)[:1])
        >>> count_objects(reference, prediction, thresholds=[0.5, 0.75]).tolist()
        [[[1, 0, 1], [0, 1, 2]]]
    """
    true, found = _both(reference, prediction, class_ids, class_column)
    pairs = _pairs(true, found)
    order = np.lexsort((pairs.prediction, pairs.reference, -pairs.iou))
    pairs = Pairs(pairs.prediction[order], pairs.reference[order], pairs.iou[order])
    places = [_place(table, kept, place_column) for table, kept in ((prediction, found), (reference, true))]
    counts = np.zeros((n_places, len(class_ids), len(thresholds), 3), np.int64)
    for t, threshold in enumerate(thresholds):
        matched = assign(
            at_least(pairs, threshold),
            n_predictions=len(found.class_index),
            n_references=len(true.class_index),
        )
        is_wrong, is_missed = matched == UNMATCHED, np.ones(len(true.class_index), bool)
        hit = matched[~is_wrong]
        is_missed[hit] = False
        np.add.at(counts[:, :, t, 0], (places[1][hit], true.class_index[hit]), 1)
        np.add.at(counts[:, :, t, 1], (places[0][is_wrong], found.class_index[is_wrong]), 1)
        np.add.at(counts[:, :, t, 2], (places[1][is_missed], true.class_index[is_missed]), 1)
    return counts[0] if place_column is None else counts


def object_scores(counts: ObjectCounts) -> ObjectScores:
    """Precision, recall and F1 of counts, added over places.

    Example:
        >>> scores = object_scores(np.array([[[3, 1, 0]], [[0, 0, 0]]]))
        >>> scores.precision.tolist(), scores.overall_f1.round(3).tolist()
        ([[0.75], [nan]], [0.857])
    """
    overall = counts.sum(axis=0)
    return ObjectScores(*_shares(counts), *_shares(overall))


def match_polygons(
    reference: gpd.GeoDataFrame,
    prediction: gpd.GeoDataFrame,
    *,
    thresholds: Sequence[float] = COCO_THRESHOLDS,
    class_ids: Sequence[int] = _ONE_CLASS,
    class_column: str | None = None,
    confidence_column: str = "confidence",
) -> Matches:
    """Which polygons are right, the most confident first; for
    :func:`~geoseg.evaluation.objects.matching.average_precision`, which pools places and scores them.

    Args:
        reference: see :func:`count_objects`.
        prediction: see :func:`count_objects`; with a confidence, on any scale.
        thresholds: IoUs; COCO's ten by default.
        class_ids: see :func:`count_objects`.
        class_column: see :func:`count_objects`.
        confidence_column: of the prediction.

    Raises:
        EvaluationError: see :func:`count_objects`; or a polygon without confidence.

    Example:
        >>> from geoseg.evaluation.objects.matching import average_precision
        >>> squares = [shapely.box(0, 0, 10, 10), shapely.box(20, 0, 30, 10)]
        >>> reference = gpd.GeoDataFrame(geometry=squares[:1], crs=32633)
        >>> prediction = gpd.GeoDataFrame({"confidence": [0.6, 0.9]}, geometry=squares, crs=32633)
        >>> average_precision([match_polygons(reference, prediction)]).ap
        0.5
    """
    true, found = _both(reference, prediction, class_ids, class_column)
    confidence = _column(prediction, confidence_column, "prediction")[found.row].astype(np.float64)
    none = np.zeros(len(true.class_index), bool)
    return match_by_confidence(
        _pairs(true, found),
        confidence,
        found.class_index,
        true.class_index,
        class_ids=class_ids,
        thresholds=thresholds,
        is_crowd=none,
        is_ignored=none,
    )


def _shares(counts: ObjectCounts) -> tuple[Floats, Floats, Floats]:
    right, wrong, missed = np.moveaxis(counts, -1, 0)
    return (
        ratio(right, right + wrong),
        ratio(right, right + missed),
        ratio(2 * right, 2 * right + wrong + missed),
    )


def _both(
    reference: gpd.GeoDataFrame, prediction: gpd.GeoDataFrame, class_ids: Sequence[int], column: str | None
) -> tuple[_Objects, _Objects]:
    if reference.crs != prediction.crs:
        raise EvaluationError(
            f"The reference is in {_name(reference)}, the prediction in {_name(prediction)}, expected one. "
            "Reproject: reference.to_crs(prediction.crs)."
        )
    if reference.crs is not None and reference.crs.is_geographic:
        raise EvaluationError(
            f"The polygons are in {_name(reference)}, expected a projected CRS to measure areas in. "
            "Reproject both: to_crs(reference.estimate_utm_crs())."
        )
    if column is None and len(class_ids) != 1:
        raise EvaluationError(f"{len(class_ids)} classes need a column that tells them. Give class_column.")
    true = _objects(reference, class_ids, column, "reference")
    return true, _objects(prediction, class_ids, column, "prediction")


def _objects(table: gpd.GeoDataFrame, class_ids: Sequence[int], column: str | None, what: str) -> _Objects:
    geometry = np.array(table.geometry.array)
    is_known = ~(shapely.is_missing(geometry) | shapely.is_empty(geometry))
    if not np.isin(shapely.get_type_id(geometry[is_known]), _POLYGONS).all():
        raise EvaluationError(f"The {what} has geometries that are no polygons. Leave out points and lines.")
    is_broken = is_known & ~shapely.is_valid(geometry)
    geometry[is_broken] = shapely.make_valid(geometry[is_broken], method="structure", keep_collapsed=False)
    if column is None:
        class_index: Ints = np.zeros(len(table), np.int32)
    else:
        class_id = _column(table, column, what)
        if class_id.dtype.kind not in "iuf":
            raise EvaluationError(
                f"The column {column!r} of the {what} holds {class_id.dtype}, expected class numbers."
            )
        class_index = indices(class_id, class_ids)
    row = np.flatnonzero((class_index != IGNORED) & (shapely.area(geometry) > 0))
    return _Objects(geometry[row], class_index[row], row)


def _place(table: gpd.GeoDataFrame, kept: _Objects, column: str | None) -> Ints:
    if column is None:
        return np.zeros(len(kept.row), np.int64)
    return np.asarray(table[column])[kept.row]


def _column(table: gpd.GeoDataFrame, name: str, what: str) -> NDArray[Any]:
    if name not in table.columns:
        raise EvaluationError(
            f"The {what} has no column {name!r}. It has: {', '.join(map(str, table.columns)) or 'none'}."
        )
    return np.asarray(table[name])


def _name(table: gpd.GeoDataFrame) -> str:
    return "no CRS" if table.crs is None else str(table.crs.to_string())


def _pairs(true: _Objects, found: _Objects) -> Pairs:
    """The pairs of one class that share some area."""
    i, j = shapely.STRtree(true.geometry).query(found.geometry, predicate="intersects")
    is_same = found.class_index[i] == true.class_index[j]
    i, j = i[is_same], j[is_same]
    shared = shapely.area(shapely.intersection(found.geometry[i], true.geometry[j]))
    iou = shared / (shapely.area(found.geometry[i]) + shapely.area(true.geometry[j]) - shared)
    return Pairs(i[shared > 0], j[shared > 0], iou[shared > 0])
