"""Polygons against plain arithmetic on rectangles."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import EvaluationError
from geoseg.evaluation.objects.matching import average_precision
from geoseg.evaluation.objects.polygons import count_objects, match_polygons, object_scores

UTM = "EPSG:32633"
CLASSES = (4, 1, 8)
THRESHOLDS = (0.3, 0.5, 0.75)
SEEDS = st.integers(0, 2**32)


def rectangles(rng, n):
    """(n, 5) west, south, east, north, class; they overlap each other here and there."""
    corner = rng.uniform(0, 60, (n, 2))
    return np.column_stack([corner, corner + rng.uniform(4, 15, (n, 2)), rng.choice(CLASSES[:2], n)])


def moved(rng, boxes):
    """Each is found once, twice or not at all, somewhere near."""
    chosen = boxes[rng.integers(0, max(len(boxes), 1), int(1.5 * len(boxes)))]
    return chosen + np.column_stack([rng.normal(0, 1, (len(chosen), 4)), np.zeros(len(chosen))])


def table(boxes, crs=UTM, **columns):
    columns = {"class_id": boxes[:, 4].astype(int), **columns}
    return gpd.GeoDataFrame(columns, geometry=shapely.box(*boxes[:, :4].T), crs=crs)


def iou(a, b):
    across = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    return across / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - across)


def matrix(found, true, class_id):
    return np.array([[iou(a, b) * (a[4] == b[4] == class_id) for b in true] for a in found]).reshape(
        len(found), len(true)
    )


def counted(true, found, class_id, threshold):
    """The best pair of all, struck out with its row and column, until none is left."""
    left, right = matrix(found, true, class_id), 0
    while left.size and left.max() >= threshold:
        row, column = np.unravel_index(left.argmax(), left.shape)
        left[row], left[:, column] = 0, 0
        right += 1
    return [right, (found[:, 4] == class_id).sum() - right, (true[:, 4] == class_id).sum() - right]


def precision_by_hand(places, class_id, threshold):
    """Mean of the best precision at each of 101 recalls; nan without reference."""
    hits = []
    for true, found, confidence in places:
        free = matrix(found, true, class_id)
        for i in np.argsort(-confidence, kind="stable"):
            if found[i, 4] == class_id:
                hit = free.shape[1] > 0 and free[i].max() >= threshold
                if hit:
                    free[:, free[i].argmax()] = 0
                hits.append((confidence[i], hit))
    hits.sort(key=lambda entry: -entry[0])
    n_true = sum((true[:, 4] == class_id).sum() for true, _, _ in places)
    if not n_true:
        return float("nan")
    right = np.cumsum([hit for _, hit in hits])
    curve = [(r / n_true, r / (n + 1)) for n, r in enumerate(right)]
    return np.mean([max((p for r, p in curve if r >= at), default=0.0) for at in np.linspace(0, 1, 101)])


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, n=st.integers(0, 25))
def test_counts_are_those_of_rectangles(seed, n):
    rng = np.random.default_rng(seed)
    true = rectangles(rng, n)
    found = moved(rng, true)
    counts = count_objects(
        table(true), table(found), thresholds=THRESHOLDS, class_ids=CLASSES, class_column="class_id"
    )
    expected = [[counted(true, found, c, t) for t in THRESHOLDS] for c in CLASSES]
    assert counts.tolist() == expected


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, n=st.integers(1, 15))
def test_average_precision_is_that_of_rectangles(seed, n):
    rng = np.random.default_rng(seed)
    places = []
    for _ in range(2):
        true = rectangles(rng, n)
        found = moved(rng, true)
        places.append((true, found, rng.permutation(len(found)) / 7 + rng.random()))
    scores = average_precision(
        match_polygons(
            table(true),
            table(found, confidence=confidence),
            thresholds=THRESHOLDS,
            class_ids=CLASSES,
            class_column="class_id",
        )
        for true, found, confidence in places
    )
    expected = [[precision_by_hand(places, c, t) for t in THRESHOLDS] for c in CLASSES]
    np.testing.assert_allclose(scores.average_precision, expected, rtol=0, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_the_order_of_tables_and_classes_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    true = rectangles(rng, 12)
    found = moved(rng, true)
    kwargs = {"thresholds": THRESHOLDS, "class_column": "class_id"}
    counts = count_objects(table(true), table(found), class_ids=CLASSES, **kwargs)
    shuffled = table(rng.permutation(true)), table(rng.permutation(found))
    assert np.array_equal(count_objects(*shuffled, class_ids=CLASSES[::-1], **kwargs), counts[::-1])
    assert np.array_equal(count_objects(*shuffled, class_ids=CLASSES[:1], **kwargs), counts[:1])


def test_scores_of_counts():
    counts = np.array([[[3, 1, 2]], [[0, 0, 4]], [[0, 2, 0]], [[0, 0, 0]]])
    scores = object_scores(counts)
    np.testing.assert_array_equal(scores.precision[:, 0], [3 / 4, np.nan, 0, np.nan])
    np.testing.assert_array_equal(scores.recall[:, 0], [3 / 5, 0, np.nan, np.nan])
    np.testing.assert_array_equal(scores.f1[:, 0], [6 / 9, 0, 0, np.nan])
    assert scores.overall_precision.tolist() == [3 / 6]
    assert scores.overall_recall.tolist() == [3 / 9]
    assert scores.overall_f1.tolist() == [6 / 15]


def test_the_best_pair_goes_first_not_the_first_prediction():
    true = table(np.array([[0, 0, 10, 10, 1]]))
    found = table(np.array([[0, 0, 10, 6, 1], [0, 0, 10, 9, 1]]), confidence=[0.9, 0.1])
    assert count_objects(true, found, thresholds=[0.5, 0.8]).tolist() == [[[1, 1, 0], [1, 1, 0]]]
    matches = match_polygons(true, found, thresholds=[0.5, 0.8])
    assert matches.is_true.tolist() == [[True, False], [False, True]]


def test_one_polygon_over_two_is_one_hit():
    true = table(np.array([[0, 0, 10, 10, 1], [0, 10, 10, 18, 1]]))
    found = table(np.array([[0, 0, 10, 18, 1]]))
    assert count_objects(true, found, thresholds=[0.4, 0.6]).tolist() == [[[1, 0, 1], [0, 1, 2]]]


def test_no_polygons_at_all():
    none, some = table(np.empty((0, 5))), table(np.array([[0, 0, 10, 10, 1]]), confidence=[0.5])
    assert count_objects(none, some).tolist() == [[[0, 1, 0]]]
    assert count_objects(some, none).tolist() == [[[0, 0, 1]]]
    assert np.isnan(average_precision([match_polygons(none, some)]).ap)
    assert average_precision([match_polygons(some, none.assign(confidence=[]))]).ap == 0


def test_broken_and_empty_geometries():
    square = shapely.box(0, 0, 10, 10)
    true = gpd.GeoDataFrame(geometry=[square], crs=UTM)
    bow_tie = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    shapes = [square, None, shapely.Polygon(), shapely.Polygon([(0, 0), (1, 1), (2, 2)]), bow_tie]
    found = gpd.GeoDataFrame(geometry=shapes, crs=UTM)
    assert count_objects(true, found).tolist() == [[[1, 1, 0]]]
    # Two triangles of a quarter of the square each.
    assert count_objects(true, found[4:], thresholds=[0.5, 0.51]).tolist() == [[[1, 0, 0], [0, 1, 1]]]
    assert found.geometry.iloc[4] is not None
    assert not found.geometry.iloc[4].is_valid


def test_classes_that_are_not_asked_for_and_missing_ones_are_left_out():
    boxes = np.array([[0, 0, 10, 10, 4], [20, 0, 30, 10, 7]])
    partly = table(boxes, class_id=[4.0, np.nan])
    counts = count_objects(table(boxes), partly, class_ids=CLASSES, class_column="class_id")
    assert counts.tolist() == [[[1, 0, 0]], [[0, 0, 0]], [[0, 0, 0]]]


def test_what_cannot_be_compared_is_refused():
    boxes = np.array([[0, 0, 1, 1, 1]])
    with pytest.raises(EvaluationError, match="EPSG:32633, the prediction in EPSG:32634"):
        count_objects(table(boxes), table(boxes, crs="EPSG:32634"))
    with pytest.raises(EvaluationError, match="EPSG:32633, the prediction in no CRS"):
        count_objects(table(boxes), table(boxes, crs=None))
    with pytest.raises(EvaluationError, match="EPSG:4326, expected a projected CRS"):
        count_objects(table(boxes, crs="EPSG:4326"), table(boxes, crs="EPSG:4326"))
    with pytest.raises(EvaluationError, match="3 classes need a column"):
        count_objects(table(boxes), table(boxes), class_ids=CLASSES)
    with pytest.raises(EvaluationError, match=r"no column 'kind'.* class_id, geometry"):
        count_objects(table(boxes), table(boxes), class_column="kind")
    named = table(boxes, class_id=["roof"])
    with pytest.raises(EvaluationError, match="expected class numbers"):
        count_objects(named, named, class_column="class_id")
    with pytest.raises(EvaluationError, match="no polygons"):
        count_objects(table(boxes), gpd.GeoDataFrame(geometry=[shapely.Point(0, 0)], crs=UTM))
    with pytest.raises(EvaluationError, match="no column 'confidence'"):
        match_polygons(table(boxes), table(boxes))
    with pytest.raises(EvaluationError, match="have no confidence"):
        match_polygons(table(boxes), table(boxes, confidence=[np.nan]))


def test_polygons_of_a_plane_without_crs_compare():
    boxes = np.array([[0, 0, 10, 10, 1]])
    assert count_objects(table(boxes, crs=None), table(boxes, crs=None)).tolist() == [[[1, 0, 0]]]
