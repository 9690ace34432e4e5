"""Calibration error against torchmetrics, Brier and likelihood against scikit-learn; laws of the sums."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from torchmetrics.functional import classification as tm

from geoseg.errors import EvaluationError
from geoseg.evaluation.confidence.reliability import MapReliability, ProbsReliability, log_probs
from geoseg.models.calibration import LOG_FLOOR

EXACT = {"rel": 1e-9, "abs": 1e-9}
SEEDS = st.integers(0, 2**32 - 1)
LAW = settings(max_examples=40, deadline=None)


def drawn(seed, n=500, n_classes=5, sharpness=0.5):
    """Random probabilities, and labels drawn from flatter ones."""
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(n_classes, sharpness), n)
    labels = (np.cumsum(0.6 * probs + 0.4 / n_classes, axis=1) < rng.random((n, 1))).sum(axis=1)
    return probs, labels.clip(max=n_classes - 1)


def reference_ece(confidence, is_right, n_bins):
    """By torchmetrics in float64; its multi-class function works in float32."""
    tensors = torch.from_numpy(np.ascontiguousarray(confidence)), torch.from_numpy(is_right.astype(np.int64))
    return tm.binary_calibration_error(*tensors, n_bins=n_bins).item()


def scored(probs, labels, **given_):
    counted = ProbsReliability(np.shape(probs)[1], **given_)
    counted.feed(probs, labels)
    return counted.reliability()


@given(seed=SEEDS, n=st.integers(5, 400), n_classes=st.integers(2, 9), n_bins=st.integers(1, 30))
@LAW
def test_scores_are_those_of_torchmetrics_and_scikit_learn(seed, n, n_classes, n_bins):
    probs, labels = drawn(seed, n, n_classes)
    result = scored(probs, labels, n_bins=n_bins)
    winner_right = probs.argmax(axis=1) == labels
    assert result.ece == pytest.approx(reference_ece(probs.max(axis=1), winner_right, n_bins), **EXACT)
    for c, value in enumerate(result.class_ece):
        assert value == pytest.approx(reference_ece(probs[:, c], labels == c, n_bins), **EXACT)
    tensors = torch.from_numpy(probs), torch.from_numpy(labels)
    in_float32 = tm.multiclass_calibration_error(*tensors, num_classes=n_classes, n_bins=n_bins)
    assert result.ece == pytest.approx(in_float32.item(), abs=1e-6)
    assert result.classwise_ece == pytest.approx(np.mean(result.class_ece), **EXACT)
    names = np.arange(n_classes)
    brier = sk.brier_score_loss(labels, probs, labels=names, scale_by_half=False)
    assert result.brier == pytest.approx(brier, **EXACT)
    assert result.nll == pytest.approx(sk.log_loss(labels, probs, labels=names), **EXACT)


def test_many_classes_and_pixels_are_worked_on_in_pieces():
    probs, labels = drawn(3, n=9000, n_classes=40, sharpness=0.05)  # more than are worked on at once
    result = scored(probs.astype(np.float32), labels)
    single = probs.astype(np.float32).astype(np.float64)
    assert result.ece == pytest.approx(
        reference_ece(single.max(axis=1), single.argmax(axis=1) == labels, 15), **EXACT
    )
    assert result.n == 9000 == sum(b.n for b in result.diagram)
    brier = ((single - np.eye(40)[labels]) ** 2).sum(axis=1).mean()
    assert result.brier == pytest.approx(brier, **EXACT)


@given(seed=SEEDS, n_bins=st.integers(1, 20))
@LAW
def test_the_diagram_is_what_a_loop_over_bins_finds(seed, n_bins):
    probs, labels = drawn(seed, 80)
    probs[::7] = 0.2  # ties, and a confidence that may lie on an edge
    confidence, is_right = probs.max(axis=1), probs.argmax(axis=1) == labels
    for i, found in enumerate(scored(probs, labels, n_bins=n_bins).diagram):
        inside = np.ceil(confidence * n_bins) == i + 1
        assert (found.low, found.high) == pytest.approx((i / n_bins, (i + 1) / n_bins))
        assert found.n == inside.sum()
        if found.n:
            assert found.confidence == pytest.approx(confidence[inside].mean(), **EXACT)
            assert found.accuracy == pytest.approx(is_right[inside].mean(), **EXACT)
        else:
            assert found.confidence is None
            assert found.accuracy is None


def test_an_edge_belongs_to_the_bin_below_it():
    diagram = scored([[0.5, 0.5], [1.0, 0.0], [0.75, 0.25]], [0, 0, 0], n_bins=4).diagram
    assert [b.n for b in diagram] == [0, 1, 1, 1]


@given(seed=SEEDS, cuts=st.lists(st.integers(0, 300), max_size=5))
@LAW
def test_parts_fed_one_by_one_are_the_whole(seed, cuts):
    probs, labels = drawn(seed, 300)
    whole, fed = scored(probs, labels), ProbsReliability(5)
    for p, y in zip(np.split(probs, sorted(cuts)), np.split(labels, sorted(cuts)), strict=True):
        fed.feed(p, y)
    found = fed.reliability()
    assert (found.n, [b.n for b in found.diagram]) == (whole.n, [b.n for b in whole.diagram])
    for key in ("ece", "classwise_ece", "class_ece", "brier", "nll"):
        assert getattr(found, key) == pytest.approx(getattr(whole, key), rel=1e-12, abs=1e-13)


@given(seed=SEEDS, order=st.permutations(range(5)))
@LAW
def test_permuting_classes_permutes_class_scores_only(seed, order):
    probs, labels = drawn(seed)
    as_is, permuted = scored(probs, labels), scored(probs[:, order], np.argsort(order)[labels])
    for key in ("ece", "brier", "nll", "classwise_ece"):
        assert getattr(permuted, key) == pytest.approx(getattr(as_is, key), **EXACT)
    assert permuted.class_ece == pytest.approx([as_is.class_ece[c] for c in order], **EXACT)


@given(seed=SEEDS, ignored=st.sampled_from([255, -1, -100, 5, np.iinfo(np.int32).max]))
@LAW
def test_pixels_without_label_or_probabilities_count_for_nothing(seed, ignored):
    probs, labels = drawn(seed, 60)
    extended = np.concatenate([probs, probs[:20], np.full((7, 5), np.nan)])
    with_ignored = np.concatenate([labels, np.full(20, ignored), np.zeros(7, int)])
    order = np.random.default_rng(seed).permutation(len(extended))
    few, more = scored(probs, labels), scored(extended[order], with_ignored[order])
    assert more.n == few.n == 60
    assert (more.ece, more.brier, more.nll) == pytest.approx((few.ece, few.brier, few.nll), **EXACT)


def test_certain_and_right_is_perfect_and_certain_and_wrong_the_worst():
    right = scored(np.eye(3), [0, 1, 2])
    assert (right.ece, right.classwise_ece, right.brier, right.nll) == (0, 0, 0, 0)
    wrong = scored(np.eye(3), [1, 2, 0])
    assert (wrong.ece, wrong.brier) == (1, 2)
    assert wrong.nll == pytest.approx(-LOG_FLOOR)


def test_shares_of_classes_as_probabilities_are_calibrated():
    labels = np.repeat([0, 1, 2], [70, 20, 10])
    result = scored(np.tile([0.7, 0.2, 0.1], (100, 1)), labels)
    assert result.ece == pytest.approx(0, abs=1e-12)
    assert result.class_ece == pytest.approx((0, 0, 0), abs=1e-12)


@pytest.mark.parametrize("counted", [ProbsReliability(3), MapReliability()])
def test_of_nothing_nothing_is_said(counted):
    result = counted.reliability()
    assert result.n == 0
    assert {result.ece, result.brier, result.nll, result.class_ece, result.classwise_ece} == {None}
    assert {(b.n, b.confidence, b.accuracy) for b in result.diagram} == {(0, None, None)}
    assert type(result).model_validate_json(result.model_dump_json()) == result


@pytest.mark.parametrize("bad", [[[2.0, -1.0]], [[0.3, 0.3]], [[3.0, 4.0]], [[1.2, -0.2]], [[0.999, -0.004]]])
def test_logits_are_refused(bad):
    with pytest.raises(EvaluationError, match="softmax"):
        scored(bad, [0])


def test_shapes_that_do_not_fit_are_mistakes():
    with pytest.raises(ValueError, match="expected"):
        ProbsReliability(3).feed(np.ones((4, 2)) / 2, np.zeros(4, int))
    with pytest.raises(ValueError, match="expected"):
        ProbsReliability(2).feed(np.ones((4, 2)) / 2, np.zeros(5, int))
    with pytest.raises(ValueError, match="uint8"):
        MapReliability().feed([0.5], [1], [1])
    with pytest.raises(ValueError, match="shapes"):
        MapReliability().feed(np.uint8([1, 2]), [1, 2], [1])


def test_logarithms_of_zero_have_a_floor():
    assert log_probs(np.array([1.0, np.exp(-3), 0.0], np.float32)) == pytest.approx([0, -3, LOG_FLOOR])


def stored(seed, shape=(40, 30)):
    """A map's confidence, classes and reference, each with some nodata."""
    rng = np.random.default_rng(seed)
    confidence = rng.integers(80, 254, shape).astype(np.uint8)
    class_id, reference = rng.integers(1, 4, (2, *shape)).astype(np.uint8)
    reference = np.where(rng.random(shape) < confidence / 300, class_id, reference)
    for values in (confidence, class_id, reference):
        values[rng.random(shape) < 0.1] = 255
    return confidence, class_id, reference


@given(seed=SEEDS, n_bins=st.integers(1, 30))
@LAW
def test_a_stored_map_is_scored_as_torchmetrics_scores_its_confidence(seed, n_bins):
    arrays = stored(seed)
    counted = MapReliability()
    counted.feed(*arrays)
    known = np.all([a != 255 for a in arrays], axis=0)
    confidence, class_id, reference = (a[known] for a in arrays)
    result = counted.reliability(n_bins=n_bins)
    level = confidence / 254
    level[confidence.astype(int) * n_bins % 254 == 0] -= 1e-12  # torchmetrics counts edges to the bin above
    assert result.n == known.sum()
    assert result.ece == pytest.approx(reference_ece(level, class_id == reference, n_bins), **EXACT)
    assert (result.brier, result.nll, result.class_ece, result.classwise_ece) == (None,) * 4


@given(seed=SEEDS, cut=st.integers(0, 40))
@LAW
def test_parts_of_a_map_fed_one_by_one_are_the_whole(seed, cut):
    arrays = stored(seed)
    parts, whole = MapReliability(), MapReliability()
    whole.feed(*arrays)
    parts.feed(*(a[:cut] for a in arrays))
    parts.feed(*(a[cut:] for a in arrays))
    assert parts.reliability() == whole.reliability()


def test_a_map_says_nearly_what_its_probabilities_say():
    probs, labels = drawn(5, n=20_000)
    counted = MapReliability()
    confidence = np.rint(probs.max(axis=1) * 254).astype(np.uint8)
    counted.feed(confidence, probs.argmax(axis=1).astype(np.uint8), labels.astype(np.uint8))
    assert counted.reliability().ece == pytest.approx(scored(probs, labels).ece, abs=2e-3)


def test_certainty_lies_in_the_last_bin():
    counted = MapReliability()
    counted.feed(np.full(4, 254, np.uint8), np.ones(4, np.uint8), np.uint8([1, 1, 1, 2]))
    last = counted.reliability().diagram[-1]
    assert (last.n, last.confidence, last.accuracy) == (4, 1.0, 0.75)
