"""Panoptic quality against a count by sets of pixels, and against the scores of bdd100k."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from geoseg.errors import EvaluationError
from geoseg.evaluation.objects.panoptic import (
    NO_SEGMENTS,
    PanopticMap,
    Segments,
    count_panoptic,
    overlaps,
    panoptic_scores,
)
from geoseg.evaluation.objects.panoptic_files import read_bdd_panoptic, read_coco_panoptic

REFERENCE = Path(__file__).parents[3] / "../shared/data/reference"
BDD = REFERENCE / "bdd100k/tests/eval/testcases/pan_seg"
BDD_CLASSES = range(1, 41)
BDD_THINGS = [class_id > 30 for class_id in BDD_CLASSES]
CLASSES = (2, 5, 9)


def random_map(rng, like=None):
    """Rectangles of segments, with void between; near to those of another map if one is given."""
    numbers = np.zeros((30, 40), np.int64) if like is None else like.numbers.copy()
    for number in range(10, 10 + int(rng.integers(1, 9))):
        row, col = rng.integers(0, 25, 2)
        height, width = rng.integers(2, 20 if like is None else 7, 2)
        numbers[row : row + height, col : col + width] = number if like is None else rng.integers(0, 20)
    found = np.unique(numbers[numbers > 0])
    if like is None:
        class_id = rng.choice(CLASSES, len(found))
    else:
        known = dict(zip(like.segments.segment_id, like.segments.class_id, strict=True))
        class_id = np.array([known.get(n, CLASSES[0]) for n in found], int)
    is_crowd = np.zeros(len(found), bool)
    if like is None and len(found) > 2:
        is_crowd[0] = True
    if like is not None:
        found, numbers = found + 300, np.where(numbers > 0, numbers + 300, 0)
    return PanopticMap(numbers, Segments(found, class_id, is_crowd))


def pixel_sets(panoptic):
    return [
        (set(np.flatnonzero(panoptic.numbers.ravel() == n).tolist()), c, crowd)
        for n, c, crowd in zip(*vars(panoptic.segments).values(), strict=True)
    ]


def counted_by_sets(reference, prediction, rule):
    """(class, 4) with one Python set of pixels for each segment."""
    counts = np.zeros((len(CLASSES), 4))
    void = set(np.flatnonzero(reference.numbers.ravel() == 0).tolist())
    true, found = pixel_sets(reference), pixel_sets(prediction)
    hit, excused_by = set(), {}
    for pixels, class_id, crowd in true:
        matches = []
        for i, (other, other_class, _) in enumerate(found):
            if class_id == other_class or rule == "bdd100k":
                excused_by.setdefault(i, set(void)).update(pixels if crowd else ())
            union = (pixels | other) - ((void & other) if rule == "coco" else set())
            if class_id == other_class and not crowd and len(pixels & other) > len(union) / 2:
                matches.append((i, len(pixels & other) / len(union)))
        if crowd:
            continue
        assert len(matches) < 2
        of_class = counts[CLASSES.index(class_id)]
        if matches:
            hit.add(matches[0][0])
            of_class += (1, 0, 0, matches[0][1])
        else:
            of_class += (0, 0, 1, 0)
    for i, (pixels, class_id, _) in enumerate(found):
        if i not in hit and len(pixels & excused_by.get(i, void)) <= len(pixels) / 2:
            counts[CLASSES.index(class_id)] += (0, 1, 0, 0)
    return counts


def count_maps(reference, prediction, class_ids=CLASSES, rule="coco"):
    return count_panoptic(
        overlaps(reference.numbers, prediction.numbers),
        reference.segments,
        prediction.segments,
        class_ids=class_ids,
        rule=rule,
    )


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), rule=st.sampled_from(["coco", "bdd100k"]))
def test_counts_are_those_of_sets_of_pixels(seed, rule):
    rng = np.random.default_rng(seed)
    reference = random_map(rng)
    prediction = random_map(rng, like=reference)
    expected = counted_by_sets(reference, prediction, rule)
    np.testing.assert_allclose(count_maps(reference, prediction, rule=rule), expected, rtol=0, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), height=st.integers(5, 30), width=st.integers(5, 40))
def test_any_tiling_gives_the_same_overlaps(seed, height, width):
    rng = np.random.default_rng(seed)
    reference = random_map(rng)
    prediction = random_map(rng, like=reference)
    whole = overlaps(reference.numbers, prediction.numbers)
    parts = overlaps(np.empty((0, 0), int), np.empty((0, 0), int))
    for row in range(0, 30, height):
        for col in range(0, 40, width):
            window = slice(row, row + height), slice(col, col + width)
            parts = parts + overlaps(reference.numbers[window], prediction.numbers[window])
    for name, values in vars(whole).items():
        assert np.array_equal(getattr(parts, name), values)


def test_permuting_classes_permutes_counts():
    rng = np.random.default_rng(4)
    reference = random_map(rng)
    prediction = random_map(rng, like=reference)
    counts = count_maps(reference, prediction)
    assert np.array_equal(count_maps(reference, prediction, class_ids=CLASSES[::-1]), counts[::-1])
    assert len(np.unique(counts, axis=0)) > 1


def test_the_reference_itself_is_perfect_and_absent_classes_have_no_score():
    numbers = np.repeat([[1, 2, 3, 0]], 3, axis=0)
    segments = Segments(np.array([1, 2, 3]), np.array([2, 2, 5]), np.array([False, False, False]))
    same = PanopticMap(numbers, segments)
    scores = panoptic_scores(count_maps(same, same), is_thing=[True, False, True])
    for score in (scores.pq, scores.sq, scores.rq):
        np.testing.assert_array_equal(score, [1, 1, np.nan])
    assert (scores.overall.pq, scores.overall.n_classes) == (1, 2)
    assert (scores.things.n_classes, scores.stuff.n_classes) == (1, 1)


def test_the_paper_and_bdd100k_differ_where_void_is_predicted():
    reference = PanopticMap(
        np.array([[1, 1, 0, 0]]), Segments(np.array([1]), np.array([2]), np.array([False]))
    )
    prediction = PanopticMap(
        np.array([[7, 7, 7, 0]]), Segments(np.array([7]), np.array([2]), np.array([False]))
    )
    assert count_maps(reference, prediction)[0].tolist() == [1, 0, 0, 1]
    assert count_maps(reference, prediction, rule="bdd100k")[0].tolist() == [1, 0, 0, 2 / 3]


@pytest.mark.parametrize(
    ("folder", "overall", "things", "stuff"),
    [
        (
            "gt",
            (66.46278879162743, 68.35183709387516, 85.29411764705883),
            (82.03852616117427, 82.03852616117427, 100.0),
            (64.38602380902118, 66.52694521823528, 83.33333333333333),
        ),
        (
            "gt+",
            (49.385236103572474, 68.35183709387516, 62.35294117647057),
            (54.69235077411619, 82.03852616117427, 66.66666666666666),
            (48.677620814166644, 66.52694521823528, 61.77777777777776),
        ),
    ],
)
def test_the_cases_of_bdd100k(folder, overall, things, stuff):
    """Those of its pan_seg_test.py, with and without an image that lacks a prediction."""
    if not BDD.is_dir():
        pytest.skip("the reference data is not on this machine")
    total = np.zeros((len(BDD_CLASSES), 4))
    for path in sorted((BDD / folder).glob("*.png")):
        reference = read_bdd_panoptic(path)
        predicted = BDD / "pred" / path.name
        prediction = (
            read_bdd_panoptic(predicted)
            if predicted.is_file()
            else PanopticMap(np.zeros_like(reference.numbers), NO_SEGMENTS)
        )
        total += count_maps(reference, prediction, class_ids=BDD_CLASSES, rule="bdd100k")
    scores = panoptic_scores(total, is_thing=BDD_THINGS)
    for mean, expected in zip(
        (scores.overall, scores.things, scores.stuff), (overall, things, stuff), strict=True
    ):
        assert (mean.pq * 100, mean.sq * 100, mean.rq * 100) == pytest.approx(expected, abs=1e-10)
    assert (scores.overall.n_classes, scores.things.n_classes, scores.stuff.n_classes) == (17, 2, 15)


def published():
    folder = REFERENCE / "panopticapi/sample_data"
    if not folder.is_dir():
        pytest.skip("the reference data is not on this machine")
    entries = json.loads((folder / "panoptic_examples.json").read_text())["annotations"]
    return [(folder / "panoptic_examples" / entry["file_name"], entry) for entry in entries]


def test_the_sample_of_panopticapi_is_read_and_scored():
    samples = published()
    categories = json.loads((REFERENCE / "panopticapi/panoptic_coco_categories.json").read_text())
    classes = [category["id"] for category in categories]
    for path, entry in samples:
        sample = read_coco_panoptic(path, entry)
        areas = [int((sample.numbers == s["id"]).sum()) for s in entry["segments_info"]]
        assert areas == [s["area"] for s in entry["segments_info"]]
        assert sample.segments.is_crowd.any()
        counts = count_maps(sample, sample, class_ids=classes)
        assert np.array_equal(counts[:, 0], counts[:, 3])
        assert counts[:, 0].sum() == sum(not s["iscrowd"] for s in entry["segments_info"])
        assert not counts[:, 1:3].any()


def test_the_sample_of_panopticapi_moved_aside_is_counted_like_sets():
    path, entry = published()[0]
    sample = read_coco_panoptic(path, entry)
    present = tuple(np.unique(sample.segments.class_id).tolist())
    reference = PanopticMap(
        sample.numbers,
        Segments(
            sample.segments.segment_id,
            np.array(CLASSES)[np.searchsorted(present, sample.segments.class_id) % 3],
            sample.segments.is_crowd,
        ),
    )
    moved = np.roll(sample.numbers, (3, 9), axis=(0, 1))
    segments = reference.segments
    prediction = PanopticMap(
        moved, Segments(segments.segment_id, segments.class_id, np.zeros(len(segments.segment_id), bool))
    )
    counts = count_maps(reference, prediction)
    np.testing.assert_allclose(counts, counted_by_sets(reference, prediction, "coco"), rtol=0, atol=1e-9)
    assert counts[:, :3].all(axis=1).any()


def test_png_and_json_must_name_the_same_segments(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[[1, 1, 0], [0, 0, 1], [0, 0, 0]]], np.uint8)).save(path)
    listed = [{"id": 257, "category_id": 2}, {"id": 65536, "category_id": 5}]
    read = read_coco_panoptic(path, {"segments_info": listed})
    assert read.numbers.tolist() == [[257, 65536, 0]]
    with pytest.raises(EvaluationError, match=r"Segment 65536 of a\.png is in its PNG only"):
        read_coco_panoptic(path, {"segments_info": listed[:1]})
    with pytest.raises(EvaluationError, match=r"Segment 9 of a\.png is in the JSON only"):
        read_coco_panoptic(path, {"segments_info": [*listed, {"id": 9, "category_id": 5}]})
    with pytest.raises(EvaluationError, match="expected RGBA"):
        read_bdd_panoptic(path)
    with pytest.raises(EvaluationError, match="cannot be read"):
        read_coco_panoptic(tmp_path / "none.png", {"segments_info": listed})


def test_bitmasks_carry_attributes_and_two_bytes_of_segment(tmp_path):
    path = tmp_path / "a.png"
    pixels = [[31, 0, 1, 2], [31, 2, 0, 5], [7, 1, 0, 6], [0, 0, 0, 0], [32, 12, 0, 7]]
    Image.fromarray(np.array([pixels], np.uint8)).save(path)
    read = read_bdd_panoptic(path)
    assert read.numbers.tolist() == [[258, 5, 6, 0, 7]]
    assert read.segments.segment_id.tolist() == [5, 6, 7, 258]
    assert read.segments.class_id.tolist() == [31, 7, 32, 31]
    assert read.segments.is_crowd.tolist() == [True, True, False, False]
    Image.fromarray(np.array([[[1, 0, 0, 1], [2, 0, 0, 1]]], np.uint8)).save(path)
    with pytest.raises(EvaluationError, match=r"Segment 1 of a\.png has pixels of two classes"):
        read_bdd_panoptic(path)


def test_what_cannot_be_scored_is_refused():
    numbers = np.array([[1, 2]])
    both = Segments(np.array([1, 2]), np.array([2, 5]), np.array([False, False]))
    one = Segments(np.array([1]), np.array([2]), np.array([False]))
    with pytest.raises(EvaluationError, match="Segment 2 has pixels in the prediction"):
        count_panoptic(overlaps(numbers, numbers), both, one, class_ids=CLASSES)
    with pytest.raises(EvaluationError, match="Segment 2 of the reference has no pixels"):
        count_panoptic(overlaps(numbers * 0 + 1, numbers), both, both, class_ids=CLASSES)
    with pytest.raises(EvaluationError, match="Segment 2 of the reference is of class 5"):
        count_panoptic(overlaps(numbers, numbers), both, both, class_ids=[2])
    with pytest.raises(EvaluationError, match="listed 2 times"):
        Segments(np.array([3, 3]), np.array([2, 5]), np.array([False, False]))
    with pytest.raises(EvaluationError, match="numbered -1 to 1"):
        overlaps(numbers, np.array([[1, -1]]))
    with pytest.raises(EvaluationError, match="Bring them to one grid"):
        overlaps(numbers, numbers.T)
