"""Run lengths against pycocotools and against plain masks."""

import json
from pathlib import Path

import numpy as np
import pytest
from coco_masks import decode_mask, write_coco
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geoseg.errors import EvaluationError
from geoseg.evaluation.objects.rle import (
    Rle,
    burn_polygons,
    encode_each,
    encode_mask,
    intersections,
    read_coco,
)

REFERENCE = Path(__file__).parents[3] / "../shared/data/reference"
MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40))


@given(mask=MASKS)
@example(mask=np.zeros((3, 4), bool))
@example(mask=np.ones((3, 4), bool))
def test_a_mask_comes_back_from_both_forms(mask):
    rle = encode_mask(mask)
    assert rle.area == mask.sum()
    for compressed in (True, False):
        stored = json.loads(json.dumps(write_coco(rle, compressed=compressed)))
        assert np.array_equal(decode_mask(read_coco(stored)), mask)


@given(mask=MASKS)
@example(mask=np.ones((1, 1), bool))
def test_strings_are_those_of_pycocotools(mask):
    theirs = pytest.importorskip("pycocotools.mask")
    expected = theirs.encode(np.asfortranarray(mask, np.uint8))
    assert write_coco(encode_mask(mask)) == {"size": list(mask.shape), "counts": expected["counts"].decode()}
    assert np.array_equal(decode_mask(read_coco(expected)), mask)


def test_long_runs_and_falling_counts():
    theirs = pytest.importorskip("pycocotools.mask")
    mask = np.zeros((2000, 1500), np.uint8)
    mask[300:1700, 200:1400] = 1
    mask[::97, ::89] ^= 1
    expected = theirs.encode(np.asfortranarray(mask))
    assert write_coco(encode_mask(mask))["counts"] == expected["counts"].decode()
    assert np.array_equal(decode_mask(read_coco(expected)), mask)


@given(
    masks=hnp.arrays(bool, st.tuples(st.integers(2, 6), st.integers(1, 9), st.integers(1, 9))),
    n_rows=st.integers(0, 6),
)
def test_intersections_are_those_of_the_pixels(masks, n_rows):
    rles = [encode_mask(mask) for mask in masks]
    rows = masks[:n_rows]
    expected = (rows[:, None] & masks[None]).sum(axis=(2, 3))
    assert np.array_equal(intersections(rles[:n_rows], rles), expected)


def test_masks_of_a_published_file_are_read():
    folder = REFERENCE / "panopticapi/sample_data"
    if not folder.is_dir():
        pytest.skip("the reference data is not on this machine")
    theirs = pytest.importorskip("pycocotools.mask")
    published = json.loads((folder / "panoptic_coco_detection_format.json").read_text())["annotations"]
    assert len(published) > 20
    for annotation in published:
        rle = read_coco(annotation["segmentation"])
        assert rle.area == annotation["area"] == theirs.area(annotation["segmentation"])
        assert write_coco(rle) == annotation["segmentation"]


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [2, 2], "counts": [1, 2]}, "add up to 3"),
        ({"size": [2, 2], "counts": [5, -1]}, "the least -1"),
        ({"size": [2, 2], "counts": "1\x20"}, "compressed run lengths"),
        ({"size": [2, 2], "counts": "1o"}, "compressed run lengths"),
        ({"size": [2, 2], "counts": ""}, "compressed run lengths"),
        ({"size": [2, 2], "counts": "o" * 20 + "0"}, "longer than 60 bits"),
        ({"polygon": []}, "the keys polygon"),
    ],
)
def test_broken_masks_are_refused(segmentation, message):
    with pytest.raises(EvaluationError, match=message):
        read_coco(segmentation)


def test_masks_of_different_sizes_do_not_compare():
    with pytest.raises(EvaluationError, match="1 x 2, 2 x 1"):
        intersections([Rle(np.array([2]), 1, 2)], [Rle(np.array([2]), 2, 1)])


@settings(max_examples=150, deadline=None)
@given(
    rings=st.lists(
        st.lists(st.tuples(st.floats(-5, 40), st.integers(-5, 40)), min_size=3, max_size=8),
        min_size=1,
        max_size=3,
    ),
    height=st.integers(1, 35),
    width=st.integers(1, 35),
)
def test_polygons_are_burned_as_pycocotools_does(rings, height, width):
    mask = pytest.importorskip("pycocotools.mask")
    flat = [[float(v) for corner in ring for v in corner] for ring in rings]
    expected = mask.decode(mask.merge(mask.frPyObjects(flat, height, width))).astype(bool)
    assert np.array_equal(decode_mask(burn_polygons(flat, height=height, width=width)), expected)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_each_number_has_the_mask_of_its_pixels(seed):
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, 4, rng.integers(1, 9, 2)) * 1000
    masks = encode_each(numbers)
    assert sorted(masks) == np.unique(numbers[numbers > 0]).tolist()
    for number, mask in masks.items():
        assert np.array_equal(decode_mask(mask), numbers == number)
