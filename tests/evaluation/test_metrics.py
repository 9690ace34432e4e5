"""Scores against scikit-learn, torchmetrics and BDD100K's own figures; laws of the matrix."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from sklearn import metrics as sk
from torchmetrics.functional import classification as tm

from geoseg.errors import EvaluationError
from geoseg.evaluation.confusion import IGNORED, count, indices, table_of
from geoseg.evaluation.metrics import OVERALL, PER_CLASS

CASES = Path(__file__).parents[3] / "shared/data/reference/bdd100k/tests/eval/testcases/seg"
CLASSES = st.integers(2, 6)


@st.composite
def pairs(draw):
    """(n classes, reference, prediction): with values to ignore in both."""
    n = draw(CLASSES)
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=2, min_side=1, max_side=40))
    values = st.one_of(st.integers(0, n - 1), st.sampled_from([255]))
    return n, *(draw(hnp.arrays(np.uint8, shape, elements=values)) for _ in range(2))


def brute(n, reference, prediction):
    matrix = np.zeros((n, n + 1), int)
    for r, p in zip(reference.ravel(), prediction.ravel(), strict=True):
        if r < n:
            matrix[r, p if p < n else n] += 1
    return matrix


@given(pairs())
@settings(max_examples=60, deadline=None)
def test_the_matrix_counts_every_pixel_once(pair):
    n, reference, prediction = pair
    assert (count(reference, prediction, n_classes=n) == brute(*pair)).all()


@given(pairs(), st.data())
@settings(max_examples=60, deadline=None)
def test_cut_in_any_way_the_matrices_add_up(pair, data):
    n, reference, prediction = (pair[0], *(a.ravel() for a in pair[1:]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(reference)), max_size=5)))
    parts = zip(np.split(reference, cuts), np.split(prediction, cuts), strict=True)
    total = sum(count(r, p, n_classes=n) for r, p in parts)
    assert (total == count(reference, prediction, n_classes=n)).all()


@given(pairs(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_permuting_classes_permutes_scores(pair, random):
    n, reference, prediction = pair
    order = list(range(n))
    random.shuffle(order)
    swap = np.append(order, np.full(256 - n, 255)).astype(np.uint8)
    before, after = count(*pair[1:], n_classes=n), count(swap[reference], swap[prediction], n_classes=n)
    for name in PER_CLASS:
        np.testing.assert_allclose(PER_CLASS[name](after)[order], PER_CLASS[name](before), rtol=1e-12)
    for name in OVERALL:
        np.testing.assert_allclose(OVERALL[name](after), OVERALL[name](before), rtol=1e-12)


@given(hnp.arrays(np.uint8, st.integers(1, 50), elements=st.integers(0, 3)))
def test_a_perfect_prediction_scores_one_and_absent_classes_nothing(labels):
    counts = count(labels, labels, n_classes=4)
    is_there = np.isin(range(4), labels)
    for name in PER_CLASS:
        values = PER_CLASS[name](counts)
        assert (values[is_there] == 1).all()
        assert np.isnan(values[~is_there]).all()
    for name in set(OVERALL) - {"kappa"}:
        assert OVERALL[name](counts) == 1
    kappa = OVERALL["kappa"](counts)
    assert np.isnan(kappa) if is_there.sum() == 1 else kappa == pytest.approx(1)


@given(st.integers(0, 2**32 - 1), CLASSES)
@settings(max_examples=20, deadline=None)
def test_scores_are_those_of_scikit_learn_and_torchmetrics(seed, n):
    rng = np.random.default_rng(seed)
    reference = rng.integers(0, n, 500)
    prediction = np.where(rng.random(500) < 0.6, reference, rng.integers(0, n, 500))
    reference[:n] = prediction[:n] = np.arange(
        n
    )  # all classes are there: the others have no rule for absent ones
    counts = count(reference, prediction, n_classes=n)
    assert (counts[:, :n] == sk.confusion_matrix(reference, prediction)).all()
    expected = {
        "iou": sk.jaccard_score(reference, prediction, average=None),
        "dice": sk.f1_score(reference, prediction, average=None),
        "precision": sk.precision_score(reference, prediction, average=None),
        "recall": sk.recall_score(reference, prediction, average=None),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(PER_CLASS[name](counts), values, rtol=0, atol=1e-9)
    overall = {
        "pixel_accuracy": sk.accuracy_score(reference, prediction),
        "mean_accuracy": sk.balanced_accuracy_score(reference, prediction),
        "miou": sk.jaccard_score(reference, prediction, average="macro"),
        "fwiou": sk.jaccard_score(reference, prediction, average="weighted"),
        "dice": sk.f1_score(reference, prediction, average="macro"),
        "kappa": sk.cohen_kappa_score(reference, prediction),
    }
    assert set(overall) == set(OVERALL)
    for name, value in overall.items():
        assert OVERALL[name](counts) == pytest.approx(value, abs=1e-9)
    tensors = torch.from_numpy(prediction), torch.from_numpy(reference)
    iou = tm.multiclass_jaccard_index(*tensors, num_classes=n, average=None).double().numpy()
    np.testing.assert_allclose(PER_CLASS["iou"](counts), iou, atol=1e-6)  # it computes in float32


@given(st.integers(0, 2**32 - 1), st.integers(3, 8))
@settings(max_examples=40, deadline=None)
def test_absent_and_ignored_classes_and_no_prediction_are_those_of_scikit_learn(seed, n):
    """Classes in neither, in one only, pixels to ignore, and pixels without a class: all in float64."""
    rng = np.random.default_rng(seed)
    of_reference, of_prediction = (rng.choice(n, rng.integers(1, n), replace=False) for _ in range(2))
    reference, prediction = rng.choice(of_reference, 400), rng.choice(of_prediction, 400)
    agrees = rng.random(400) < 0.5
    prediction[agrees] = reference[agrees]
    reference[rng.random(400) < 0.1] = 255
    prediction[rng.random(400) < 0.1] = 255
    counts = count(reference, prediction, n_classes=n)
    true, found = (a[reference != 255] for a in (reference, np.where(prediction == 255, n, prediction)))
    present = sorted({*true, *found} - {n})
    absent = sorted(set(range(n)) - set(present))
    given = {"labels": present, "average": None}
    expected = {
        "iou": sk.jaccard_score(true, found, **given),
        "dice": sk.f1_score(true, found, **given),
        "precision": sk.precision_score(true, found, **given, zero_division=np.nan),
        "recall": sk.recall_score(true, found, **given, zero_division=np.nan),
    }
    assert set(expected) == set(PER_CLASS)
    for name, values in expected.items():
        np.testing.assert_allclose(PER_CLASS[name](counts)[present], values, rtol=0, atol=1e-9)
        assert np.isnan(PER_CLASS[name](counts)[absent]).all()
    overall = {
        "pixel_accuracy": sk.accuracy_score(true, found),
        "mean_accuracy": np.nanmean(expected["recall"]),
        "miou": sk.jaccard_score(true, found, labels=present, average="macro"),
        "fwiou": sk.jaccard_score(true, found, labels=present, average="weighted"),
        "dice": sk.f1_score(true, found, labels=present, average="macro"),
        "kappa": sk.cohen_kappa_score(true, found),
    }
    for name, value in overall.items():
        np.testing.assert_allclose(OVERALL[name](counts), value, rtol=0, atol=1e-9)
    tensors = torch.from_numpy(found), torch.from_numpy(true)
    matrix = tm.multiclass_confusion_matrix(*tensors, num_classes=n + 1).numpy()
    assert (counts == matrix[:n]).all()


def test_many_places_are_scored_at_once():
    rng = np.random.default_rng(1)
    places = np.stack([count(rng.integers(0, 4, 90), rng.integers(0, 5, 90), n_classes=4) for _ in range(6)])
    for registry in (PER_CLASS, OVERALL):
        for name in registry:
            alone = np.stack([registry[name](place) for place in places])
            np.testing.assert_array_equal(registry[name](places), alone)


def test_nothing_to_compare_has_no_score():
    counts = count(np.array([255]), np.array([0]), n_classes=2)
    assert all(np.isnan(OVERALL[name](counts)) for name in OVERALL)


@pytest.mark.skipif(not CASES.is_dir(), reason="shared/data is not here")
@pytest.mark.parametrize(
    ("gt", "accuracy", "miou", "fwiou"),
    [("gt", 95.0, 61.7346939, 90.9183673), ("gt+", 47.5, 31.9110577, 46.4543273)],
)
def test_bdd100k_cases(gt, accuracy, miou, fwiou):
    """To the digits printed, which are those of float32. Their "mean accuracy" (81.2714776 in both cases) divides by what was predicted: it is mean precision."""
    counts = 0
    for path in sorted((CASES / gt).glob("*.png")):
        reference = np.asarray(Image.open(path))
        predicted = CASES / "pred" / path.name
        missing = np.full_like(reference, 255)
        counts += count(
            reference, np.asarray(Image.open(predicted)) if predicted.exists() else missing, n_classes=3
        )
    assert 100 * OVERALL["pixel_accuracy"](counts) == pytest.approx(accuracy, abs=1e-9)
    assert 100 * OVERALL["miou"](counts) == pytest.approx(miou, abs=5e-7)
    assert 100 * OVERALL["fwiou"](counts) == pytest.approx(fwiou, abs=5e-7)
    assert 100 * np.nanmean(PER_CLASS["precision"](counts)) == pytest.approx(81.2714776, abs=5e-7)


@given(hnp.arrays(np.int64, 30, elements=st.integers(-5, 30)), st.permutations(range(0, 24, 3)))
def test_indices_are_places_in_the_list(values, ids):
    found = indices(values, ids)
    assert [IGNORED if v not in ids else ids.index(v) for v in values] == found.tolist()


def test_tables_refuse_what_cannot_be():
    table = table_of([10, 20], {1: 20, 7: 10, 8: 10})
    assert (table[1], table[7], table[8], table[0]) == (1, 0, 0, IGNORED)
    with pytest.raises(EvaluationError, match="is to mean class 30, but the classes are 10, 20"):
        table_of([10, 20], {1: 30})
    with pytest.raises(EvaluationError, match="Value 300 cannot be stored"):
        table_of([10, 20], {300: 10})
