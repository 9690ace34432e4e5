"""Intervals by place against SciPy's; laws; how often they hold the truth."""

import time

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.evaluation import bootstrap as module
from geoseg.evaluation.bootstrap import bootstrap
from geoseg.evaluation.metrics import iou, miou, pixel_accuracy

SEEDS = st.integers(0, 2**32 - 1)
LAW = settings(max_examples=25, deadline=None)


def matrices(seed, n_places=30, n_classes=4):
    """Confusion matrices of places that differ in size and in how good they are."""
    rng = np.random.default_rng(seed)
    right = rng.uniform(0.3, 0.95, (n_places, 1, 1))
    share = right * np.eye(n_classes, n_classes + 1) + (1 - right) / (n_classes + 1)
    return rng.poisson(share * rng.integers(20, 500, (n_places, 1, 1)))


@pytest.mark.parametrize("method", ["bca", "percentile"])
@pytest.mark.parametrize("score", [miou, pixel_accuracy])
@pytest.mark.parametrize("level", [0.95, 0.8])
@pytest.mark.parametrize("n_distinct", [30, 3])
def test_intervals_are_those_of_scipy(method, score, level, n_distinct):
    counts = np.tile(
        matrices(1, n_distinct), (30 // n_distinct, 1, 1)
    )  # of few distinct places many draws tie

    def statistic(places, axis):
        assert axis == -1
        return score(counts[places].sum(axis=-3))

    expected = scipy.stats.bootstrap(
        (np.arange(len(counts)),),
        statistic,
        n_resamples=999,
        method={"bca": "BCa"}.get(method, method),
        confidence_level=level,
        rng=np.random.default_rng(7),
    ).confidence_interval
    found = bootstrap(counts, score, level=level, method=method, n_resamples=999, seed=7)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert found.value == pytest.approx(score(counts.sum(axis=0)))
    assert found.low < found.value < found.high
    assert (found.level, found.n_places, found.defined) == (level, 30, 1)


def test_several_values_are_each_as_alone():
    counts = matrices(2)
    found = bootstrap(counts, iou)
    assert found.low.shape == found.high.shape == found.value.shape == found.defined.shape == (4,)
    for c in range(4):
        alone = bootstrap(counts, lambda sums, c=c: iou(sums)[:, c])
        assert (found.low[c], found.high[c]) == pytest.approx((alone.low, alone.high), rel=1e-12)


@given(
    seed=SEEDS,
    times=st.floats(0.1, 50),
    plus=st.floats(-10, 10),
    method=st.sampled_from(["bca", "percentile"]),
)
@LAW
def test_what_is_stretched_has_a_stretched_interval(seed, times, plus, method):
    counts = matrices(seed, 12)
    plain = bootstrap(counts, miou, method=method, n_resamples=200)
    stretched = bootstrap(counts, lambda sums: times * miou(sums) + plus, method=method, n_resamples=200)
    assert stretched.low == pytest.approx(times * plain.low + plus, rel=1e-6, abs=1e-6)
    assert stretched.high == pytest.approx(times * plain.high + plus, rel=1e-6, abs=1e-6)


@given(seed=SEEDS)
@LAW
def test_a_higher_level_gives_a_wider_interval(seed):
    low, high = (bootstrap(matrices(seed, 12), miou, level=level, n_resamples=300) for level in (0.6, 0.95))
    assert high.low <= low.low <= low.high <= high.high


@given(seed=SEEDS, n_places=st.integers(2, 30))
@LAW
def test_places_all_alike_leave_no_doubt(seed, n_places):
    found = bootstrap(np.repeat(matrices(seed, 1), n_places, axis=0), miou, n_resamples=50)
    assert found.low == found.value == found.high


def test_memory_is_bounded_and_changes_nothing(monkeypatch):
    counts = matrices(3)
    at_once = bootstrap(counts, iou)
    monkeypatch.setattr(module, "_VALUES_AT_A_TIME", 1000)
    in_pieces = bootstrap(counts, iou)
    assert (at_once.low == in_pieces.low).all()
    assert (at_once.high == in_pieces.high).all()


def test_the_seed_decides():
    counts = matrices(4)
    assert bootstrap(counts, miou, seed=1).low == bootstrap(counts, miou, seed=1).low
    assert bootstrap(counts, miou, seed=1).low != bootstrap(counts, miou, seed=2).low


def test_a_class_that_is_in_one_place_only_is_undefined_in_some_resamples():
    counts = matrices(5, 20, 3)
    counts[1:, 2] = counts[1:, :, 2] = 0
    found = bootstrap(counts, iou)
    assert found.defined[:2] == pytest.approx([1, 1])
    assert found.defined[2] == pytest.approx(1 - (19 / 20) ** 20, abs=0.05)  # drawn at least once
    assert np.isfinite([found.low, found.high]).all()


def test_a_class_that_is_nowhere_has_no_interval():
    counts = matrices(6, 20, 3)
    counts[:, 2] = counts[:, :, 2] = 0
    found = bootstrap(counts, iou)
    assert np.isnan([found.value[2], found.low[2], found.high[2]]).all()
    assert found.defined[2] == 0
    assert np.isfinite(found.low[:2]).all()


def test_a_value_that_is_undefined_by_itself_has_no_interval():
    sums = np.arange(10.0)[:, None]
    found = bootstrap(sums, lambda drawn: np.where(drawn == 45, np.nan, drawn)[:, 0])  # 45 is the sum of all
    assert np.isnan([found.value, found.low, found.high]).all()
    assert 0.9 < found.defined < 1


def test_one_place_says_nothing_of_others():
    found = bootstrap(matrices(7, 1), miou)
    assert np.isfinite(found.value)
    assert np.isnan([found.low, found.high]).all()


def test_a_value_below_all_resamples_still_has_an_interval():
    with_one_outlier = np.array([[1.0, 1]] * 3 + [[0, 1]])
    found = bootstrap(with_one_outlier, lambda sums: -np.abs(sums[:, 0] / sums[:, 1] - 0.75), n_resamples=99)
    assert found.value == 0  # the largest that there can be
    assert found.low <= found.high <= 0


def test_nonsense_is_a_mistake():
    with pytest.raises(ValueError, match="places"):
        bootstrap(np.zeros((0, 2, 3)), miou)
    with pytest.raises(ValueError, match="level"):
        bootstrap(matrices(8), miou, level=95)


def test_intervals_hold_the_truth_as_often_as_they_say():
    # Shares right of places are Beta(4, 2): the truth is 2/3. Pixels of one place are alike.
    rng, n_trials, held, by_pixels = np.random.default_rng(9), 300, 0, 0
    for trial in range(n_trials):
        right = rng.binomial(400, rng.beta(4, 2, 40))
        sums = np.stack([right, np.full(40, 400)], axis=1)
        found = bootstrap(sums, lambda s: s[:, 0] / s[:, 1], n_resamples=400, seed=trial)
        held += bool(found.low <= 2 / 3 <= found.high)
        by_pixels += abs(right.sum() / 16_000 - 2 / 3) < 1.96 * np.sqrt(2 / 9 / 16_000)
    assert 0.90 < held / n_trials < 0.98
    assert by_pixels / n_trials < 0.5  # what counting pixels as independent would promise at 0.95


def test_two_thousand_resamples_of_500_places_take_less_than_a_second():
    counts = matrices(10, 500, 10)
    started = time.process_time()
    bootstrap(counts, iou, n_resamples=2000)
    assert time.process_time() - started < 2  # of two cores
