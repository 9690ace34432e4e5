"""Average precision against pycocotools."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from coco_masks import write_coco
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import EvaluationError
from geoseg.evaluation.objects.instances import Instances, match_instances
from geoseg.evaluation.objects.matching import average_precision
from geoseg.evaluation.objects.panoptic_files import read_bitmask
from geoseg.evaluation.objects.rle import encode_mask

REFERENCE = Path(__file__).parents[3] / "../shared/data/reference"
CLASSES = (3, 7, 12)
SIDE = 24
TOO_LARGE = 1e6


def scene(rng, n_reference=8, n_more=3):
    """Random boxes, and a prediction of them that is off here and there."""

    def boxes(corners):
        masks = np.zeros((len(corners), SIDE, SIDE), bool)
        for mask, (row, col, height, width) in zip(masks, corners, strict=True):
            mask[max(row, 0) : row + height, max(col, 0) : col + width] = True
        return [encode_mask(mask) for mask in masks]

    corners = np.concatenate(
        [rng.integers(0, SIDE - 8, (n_reference, 2)), rng.integers(3, 9, (n_reference, 2))], axis=1
    )
    class_id = rng.choice(CLASSES[:2], n_reference)
    reference = Instances(
        boxes(corners),
        class_id,
        is_crowd=rng.random(n_reference) < 0.2,
        is_ignored=rng.random(n_reference) < 0.2,
    )
    sources = rng.integers(0, n_reference, 2 * n_reference + n_more)
    moved = corners[sources] + rng.integers(-1, 2, (len(sources), 4))
    confidence = rng.choice([0.1, 0.5, 0.5, 0.7, 0.9], len(sources))
    wrong = rng.random(len(sources)) < 0.1
    return reference, Instances(
        boxes(moved), np.where(wrong, CLASSES[1], class_id[sources]), confidence=confidence
    )


def coco_scores(scenes, class_ids, max_predictions):
    """Precision and recall (class, threshold) of pycocotools; NaN for its -1."""
    coco, cocoeval = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    truth = {"images": [], "annotations": [], "categories": [{"id": c} for c in class_ids]}
    found = []
    for n, (reference, prediction) in enumerate(scenes):
        truth["images"].append({"id": n, "height": SIDE, "width": SIDE})
        for i, mask in enumerate(reference.masks):
            crowd = int(reference.is_crowd[i])
            # cocoeval ignores what is outside the range of areas: its only way to ignore what is no crowd.
            area = TOO_LARGE if reference.is_ignored[i] else mask.area
            entry = {"id": len(truth["annotations"]) + 1, "image_id": n, "iscrowd": crowd, "area": area}
            truth["annotations"].append(
                {**entry, "category_id": int(reference.class_id[i]), "segmentation": write_coco(mask)}
            )
        for i, mask in enumerate(prediction.masks):
            entry = {
                "image_id": n,
                "category_id": int(prediction.class_id[i]),
                "segmentation": write_coco(mask),
            }
            found.append({**entry, "score": float(prediction.confidence[i])})
    with contextlib.redirect_stdout(io.StringIO()):
        api = coco.COCO()
        api.dataset = truth
        api.createIndex()
        evaluation = cocoeval.COCOeval(api, api.loadRes(found), "segm")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, TOO_LARGE / 2]], ["all"]
        evaluation.params.maxDets = [max_predictions]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0, 0].mean(axis=1).T
    recall = evaluation.eval["recall"][..., 0, 0].T
    return np.where(precision < 0, np.nan, precision), np.where(recall < 0, np.nan, recall)


def scores_of(scenes, **given):
    return average_precision([match_instances(*pair, class_ids=CLASSES, **given) for pair in scenes])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), limit=st.sampled_from([2, 100]))
def test_scores_are_those_of_pycocotools(seed, limit):
    rng = np.random.default_rng(seed)
    scenes = [scene(rng, int(rng.integers(1, 10))) for _ in range(3)]
    precision, recall = coco_scores(scenes, CLASSES, limit)
    scores = scores_of(scenes, max_predictions=limit)
    np.testing.assert_allclose(scores.average_precision, precision, rtol=0, atol=1e-9)
    np.testing.assert_allclose(scores.recall, recall, rtol=0, atol=1e-9)
    assert np.isnan(scores.average_precision[2]).all()
    if not np.isnan(precision).all():
        assert scores.ap == pytest.approx(np.nanmean(precision), abs=1e-9)
        assert scores.ap50 == pytest.approx(np.nanmean(precision[:, 0]), abs=1e-9)
        assert scores.ap75 == pytest.approx(np.nanmean(precision[:, 5]), abs=1e-9)
        assert scores.ar == pytest.approx(np.nanmean(recall), abs=1e-9)


@pytest.mark.parametrize("columns", [(0, 2), (2, 0)])
def test_of_equal_overlaps_the_later_reference_is_taken(columns):
    def strip(first):
        mask = np.zeros((SIDE, SIDE), bool)
        mask[:, first : first + 10] = True
        return encode_mask(mask)

    none = np.zeros(2, bool)
    reference = Instances([strip(c) for c in columns], np.array([3, 3]), is_crowd=none, is_ignored=none)
    prediction = Instances([strip(1), strip(3)], np.array([3, 3]), confidence=np.array([0.9, 0.8]))
    precision, _ = coco_scores([(reference, prediction)], CLASSES, 100)
    scores = scores_of([(reference, prediction)])
    np.testing.assert_allclose(scores.average_precision, precision, rtol=0, atol=1e-9)
    # At IoU 0.75 the second one hits only if the first left it the reference at column 2.
    assert precision[0, 5] == pytest.approx(1.0 if columns == (2, 0) else 51 / 101)


def test_more_than_a_hundred_predictions_of_a_class():
    rng = np.random.default_rng(3)
    scenes = [scene(rng, 9, n_more=300)]
    precision, _ = coco_scores(scenes, CLASSES, 100)
    np.testing.assert_allclose(scores_of(scenes).average_precision, precision, rtol=0, atol=1e-9)
    unlimited, _ = coco_scores(scenes, CLASSES, 1000)
    np.testing.assert_allclose(
        scores_of(scenes, max_predictions=None).average_precision, unlimited, rtol=0, atol=1e-9
    )


def read_bdd_instances(path, confidence=None):
    """The instances of a bitmask; of a prediction those whose number has a confidence."""
    numbers, segment_id, class_id, flags = read_bitmask(path)
    is_named = np.isin(segment_id, list(confidence or segment_id))
    segment_id, class_id, flags = segment_id[is_named], class_id[is_named], flags[is_named]
    return Instances(
        masks=[encode_mask(numbers == number) for number in segment_id],
        class_id=class_id,
        confidence=None if confidence is None else np.array([confidence[n] for n in segment_id.tolist()]),
        is_crowd=(flags & 2) != 0,
        is_ignored=(flags & 1) != 0,
    )


def test_the_case_of_bdd100k():
    folder = REFERENCE / "bdd100k/tests/eval/testcases/ins_seg"
    if not folder.is_dir():
        pytest.skip("the reference data is not on this machine")
    labels = json.loads((folder / "pred.json").read_text())[0]["labels"]
    reference = read_bdd_instances(folder / "gt/a.png")
    prediction = read_bdd_instances(
        folder / "pred/a.png", {label["index"]: label["score"] for label in labels}
    )
    scores = average_precision([match_instances(reference, prediction, class_ids=range(1, 9))])
    # What bdd100k/eval/ins_seg_test.py expects.
    assert scores.ap == pytest.approx(0.686056105610561, abs=1e-12)
    assert scores.ap50 == pytest.approx(0.8968646864686468, abs=1e-12)
    assert scores.ap75 == pytest.approx(0.6666666666666666, abs=1e-12)
    assert scores.ar == pytest.approx(0.7083333333333334, abs=1e-12)


def test_permuting_classes_permutes_scores():
    scenes = [scene(np.random.default_rng(5))]
    scores = scores_of(scenes)
    turned = average_precision([match_instances(*scenes[0], class_ids=CLASSES[::-1])])
    np.testing.assert_array_equal(turned.average_precision, scores.average_precision[::-1])
    assert scores.average_precision[:2].any()


def test_the_reference_itself_is_perfect_and_nothing_finds_nothing():
    reference, _ = scene(np.random.default_rng(1))
    reference = Instances(reference.masks, reference.class_id)
    copy = Instances(reference.masks, reference.class_id, confidence=np.ones(len(reference.masks)))
    assert scores_of([(reference, copy)]).ap == 1.0
    nothing = Instances([], np.empty(0, int), confidence=np.empty(0))
    assert scores_of([(reference, nothing)]).ap == 0.0
    assert np.isnan(scores_of([(Instances([], np.empty(0, int)), copy)]).ap)


def test_what_cannot_be_scored_is_refused():
    reference, prediction = scene(np.random.default_rng(1))
    with pytest.raises(EvaluationError, match="carry no confidence"):
        match_instances(reference, reference, class_ids=CLASSES)
    with pytest.raises(EvaluationError, match="class_id of instances"):
        Instances(reference.masks, np.array([1]))
    with pytest.raises(EvaluationError, match="cannot be pooled"):
        average_precision(
            [match_instances(reference, prediction, class_ids=ids) for ids in (CLASSES, CLASSES[:2])]
        )
    with pytest.raises(EvaluationError, match="no matches"):
        average_precision([])
