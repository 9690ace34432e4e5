"""Coverage on exchangeable pixels and on other places; sets by their definition; the file."""

import csv
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from rasterio.errors import NotGeoreferencedWarning
from sklearn.metrics import brier_score_loss, log_loss
from sklearn.naive_bayes import GaussianNB
from torchmetrics.functional import classification as tm

from geoseg.errors import EvaluationError
from geoseg.evaluation.confidence.calibration import fit_calibration
from geoseg.evaluation.confidence.conformal import CoverageCounter, fit_conformal, wilson
from geoseg.evaluation.confidence.reliability import ProbsReliability
from geoseg.models.conformal import Conformal

CHIPS = Path(__file__).parents[4] / "shared/data/train/hls30_worldcover_water"
SEEDS = st.integers(0, 2**32 - 1)
KINDS = pytest.mark.parametrize("kind", ["lac", "aps"])
LAW = settings(max_examples=40, deadline=None)


def drawn(seed, n=500, n_classes=5, trust=0.6):
    """Probabilities, and labels that follow them as far as ``trust`` goes; no score is an atom but APS's 0."""
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.linspace(0.3, 0.9, n_classes), n)
    labels = (np.cumsum(trust * probs + (1 - trust) / n_classes, axis=1) < rng.random((n, 1))).sum(axis=1)
    return probs, labels.clip(max=n_classes - 1)


def fitted(probs, labels, **given_):
    return fit_conformal(probs, labels, **{"alpha": 0.1, "places": ["valley"], **given_})


def covered(conformal, probs, labels):
    return conformal.sets(probs)[np.arange(len(labels)), labels]


def measured(conformal, *places):
    counted = CoverageCounter(alpha=conformal.alpha, n_classes=len(conformal.thresholds))
    for name, probs, labels in places:
        counted.feed(conformal.sets(probs), labels, place=name)
    return counted.coverage()


def score_by_hand(row, label, kind):
    return 1 - row[label] if kind == "lac" else sum(p for p in row if p > row[label])


@KINDS
@given(seed=SEEDS, n=st.integers(1, 60), alpha=st.sampled_from([0.01, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9]))
@LAW
def test_thresholds_and_sets_are_what_the_definition_says(kind, seed, n, alpha):
    probs, labels = drawn(seed, n)
    found = fitted(probs, labels, alpha=alpha, kind=kind)
    scores = sorted(score_by_hand(row, label, kind) for row, label in zip(probs, labels, strict=True))
    rank = next(k for k in range(1, n + 2) if k * 100 >= (n + 1) * round(100 - 100 * alpha))
    if rank > n:
        assert set(found.thresholds) == {None}
    else:
        assert found.thresholds == pytest.approx([scores[rank - 1]] * 5)
    limit = found.thresholds[0] if rank <= n else math.inf
    others = drawn(seed + 1, 20)[0]
    by_hand = [[score_by_hand(row, c, kind) <= limit for c in range(5)] for row in others]
    assert (found.sets(others) == by_hand).all()
    assert (found.set_size(others) == np.sum(by_hand, axis=1)).all()


@pytest.mark.parametrize("by_class", [False, True])
@KINDS
@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_exchangeable_pixels_are_covered_as_promised(kind, alpha, by_class):
    # Given the fit, coverage of continuous scores is Beta(k, n + 1 - k) (Vovk 2012), so that of m more pixels
    # is beta-binomial. Over all seeds few may lie outside of its 99 % interval.
    n, m, outside, shares = 400, 2000, 0, []
    rank = math.ceil((n + 1) * (1 - alpha) - 1e-9)
    low, high = scipy.stats.betabinom(m, rank, n + 1 - rank).ppf([0.005, 0.995])
    for seed in range(40):
        found = fitted(*drawn(seed, n), alpha=alpha, kind=kind, by_class=by_class)
        hits = covered(found, *drawn(seed + 1000, m)).sum()
        outside += not low <= hits <= high
        shares.append(hits / m)
    assert np.mean(shares) == pytest.approx(1 - alpha, abs=0.015)
    assert by_class or outside <= 3


@KINDS
def test_class_conditional_sets_cover_each_class(kind):
    probs, labels = drawn(1, 40_000)
    marginal, by_class = (fitted(probs, labels, kind=kind, by_class=b) for b in (False, True))
    others = drawn(2, 40_000)
    uneven, even = (measured(f, ("hill", *others)).class_coverage for f in (marginal, by_class))
    counts = np.bincount(others[1], minlength=5)
    for share, count in zip(even, counts, strict=True):
        assert share == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / count + 0.09 / 5000))
    assert np.ptp(uneven) > 2 * np.ptp(even)
    assert len(set(marginal.thresholds)) == 1 < len(set(by_class.thresholds)) == 5
    assert sum(by_class.class_n) == by_class.n == 40_000


@KINDS
@given(seed=SEEDS, alphas=st.tuples(st.floats(0.02, 0.98), st.floats(0.02, 0.98)), by_class=st.booleans())
@LAW
def test_to_miss_less_takes_larger_sets(kind, seed, alphas, by_class):
    probs, labels = drawn(seed, 100)
    strict, lax = (fitted(probs, labels, alpha=a, kind=kind, by_class=by_class) for a in sorted(alphas))
    others = drawn(seed + 1, 50)[0]
    assert (strict.sets(others) >= lax.sets(others)).all()


@KINDS
@given(seed=SEEDS, order=st.permutations(range(5)), by_class=st.booleans())
@LAW
def test_permuting_classes_permutes_sets(kind, seed, order, by_class):
    probs, labels = drawn(seed, 80)
    as_is = fitted(probs, labels, kind=kind, by_class=by_class)
    permuted = fitted(probs[:, order], np.argsort(order)[labels], kind=kind, by_class=by_class)
    assert (permuted.sets(probs[:, order]) == as_is.sets(probs)[:, order]).all()


@given(seed=SEEDS, alpha=st.floats(0.05, 0.95))
@LAW
def test_adaptive_sets_hold_the_winner_and_are_a_ranking(seed, alpha):
    probs, labels = drawn(seed, 100)
    sets = fitted(probs, labels, alpha=alpha, kind="aps").sets(probs)
    assert sets[np.arange(100), probs.argmax(axis=1)].all()
    ranked = np.take_along_axis(sets, np.argsort(-probs, axis=1), axis=1)
    assert (np.diff(ranked.astype(int), axis=1) <= 0).all()


def test_a_class_with_too_few_pixels_is_in_every_set():
    probs, labels = drawn(3, 300)
    labels[labels == 4] = 255
    labels[np.flatnonzero(labels == 3)[8:]] = 255  # 8 pixels: the 9th smallest score is beyond them
    found = fitted(probs, labels, by_class=True)
    assert found.thresholds[3:] == (None, None)
    assert found.class_n[3:] == (8, 0)
    assert found.sets(probs)[:, 3:].all()
    assert not found.sets(probs)[:, :3].all()


def test_nine_pixels_are_enough_for_one_in_ten():
    probs = np.stack([np.linspace(0.55, 0.95, 9), 1 - np.linspace(0.55, 0.95, 9)], axis=1)
    assert fitted(probs, np.zeros(9, int)).thresholds[0] == pytest.approx(0.45)  # the largest score
    assert fitted(probs[1:], np.zeros(8, int)).thresholds[0] is None


def test_ranks_are_exact():
    # In floating point 10 * (1 - 0.7) is above 3.
    probs = np.stack([np.linspace(0.55, 0.95, 9), 1 - np.linspace(0.55, 0.95, 9)], axis=1)
    assert fitted(probs, np.zeros(9, int), alpha=0.7).thresholds[0] == pytest.approx(
        0.15
    )  # the third smallest


def test_of_equally_probable_classes_the_first_wins():
    probs = np.random.default_rng(14).integers(1, 4, (50, 60)).astype(float)
    probs /= probs.sum(axis=1, keepdims=True)
    found = fitted(*drawn(14), kind="aps").model_copy(update={"thresholds": (0.0,) * 60})
    assert (found.sets(probs) == (np.arange(60) == probs.argmax(axis=1)[:, None])).all()


def test_nodata_has_no_set_and_is_not_fitted():
    probs, labels = drawn(4)
    more = np.concatenate([probs, probs[:40], np.full((9, 5), np.nan)])
    found = fitted(more, np.concatenate([labels, np.full(40, -1), np.zeros(9, int)]))
    assert found == fitted(probs, labels)
    nodata = np.full((2, 5), np.nan)
    nodata[1, 1:] = 0.2
    for kind, thresholds in (("lac", (None,) * 5), ("aps", (0.5,) * 5)):
        same = found.model_copy(update={"kind": kind, "thresholds": thresholds})
        assert same.set_size(nodata).tolist() == [0, 0]
        assert same.set_size(probs).all()


def test_single_precision_gives_the_sets_of_its_own_values():
    probs, labels = drawn(5)
    single = probs.astype(np.float32)
    found = fitted(single, labels)
    assert (found.sets(single) == found.sets(single.astype(np.float64))).all()
    assert covered(found, single, labels).mean() >= 0.9  # the very score at the threshold is within


def test_coverage_is_measured_by_place():
    found = fitted(*drawn(6, 2000))
    places = {
        name: drawn(i, 300, trust=trust)
        for i, (name, trust) in enumerate([("c", 0.9), ("a", 0.6), ("b", 0.0)])
    }
    result = measured(found, *((name, *pixels) for name, pixels in places.items()))
    expected = {name: covered(found, *pixels).mean() for name, pixels in places.items()}
    assert {p.place: p.coverage for p in result.places} == pytest.approx(expected)
    assert [p.place for p in result.places] == ["a", "b", "c"]
    shares = list(expected.values())
    assert (result.place_mean, result.place_std) == pytest.approx((np.mean(shares), np.std(shares, ddof=1)))
    assert (result.place_min, result.place_max) == pytest.approx((min(shares), max(shares)))
    everything = np.concatenate([p for p, _ in places.values()])
    assert result.mean_set_size == pytest.approx(found.set_size(everything).mean())
    assert result.coverage == pytest.approx(np.mean(shares))  # the places are of one size
    assert result.n == 900
    assert result.low_by_place < result.low < result.coverage < result.high < result.high_by_place
    assert type(result).model_validate_json(result.model_dump_json()) == result


@given(seed=SEEDS, cut=st.integers(0, 200), first=st.booleans())
@LAW
def test_a_place_may_come_in_pieces_and_in_any_order(seed, cut, first):
    found, probs, labels = fitted(*drawn(seed)), *drawn(seed + 1, 200)
    pieces = [("hill", probs[:cut], labels[:cut]), ("hill", probs[cut:], labels[cut:])]
    shore = ("shore", *drawn(seed + 2, 50))
    whole = measured(found, ("hill", probs, labels), shore)
    assert measured(found, *([shore, *pieces] if first else [*reversed(pieces), shore])) == whole


def test_a_place_without_labels_is_no_place():
    found = fitted(*drawn(7))
    result = measured(found, ("hill", *drawn(8)), ("sea", drawn(9)[0], np.full(500, 255)))
    assert [p.place for p in result.places] == ["hill"]
    assert (result.low_by_place, result.high_by_place, result.place_std) == (None, None, None)
    assert result.place_mean == result.coverage
    nothing = measured(found)
    assert (nothing.n, nothing.coverage, nothing.low, nothing.place_min) == (0, None, None, None)
    assert nothing.class_coverage == (None,) * 5


@given(n=st.integers(1, 3000), share=st.floats(0, 1), level=st.sampled_from([0.8, 0.95, 0.99]))
@LAW
def test_the_interval_is_scipys_wilson_interval(n, share, level):
    k = round(n * share)
    expected = scipy.stats.binomtest(k, n).proportion_ci(level, method="wilson")
    assert wilson(k, n, level=level) == pytest.approx((expected.low, expected.high), abs=1e-9)


def hierarchical(seed, n_places, n_pixels=40):
    """Pixels of places that are each right to a degree of their own: not exchangeable with another place's."""
    rng = np.random.default_rng(seed)
    parts = [drawn(int(rng.integers(2**31)), n_pixels, trust=t) for t in rng.beta(0.5, 0.5, n_places)]
    probs, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
    return probs, labels, np.repeat([f"p{n}" for n in range(n_places)], n_pixels)


@given(seed=SEEDS, n_places=st.integers(1, 12), alpha=st.sampled_from([0.1, 0.2, 0.5]))
@LAW
def test_a_threshold_of_places_is_what_the_definition_says(seed, n_places, alpha):
    probs, labels, places = hierarchical(seed, n_places, 6)
    kept = np.random.default_rng(seed).random(len(labels)) < 0.6
    probs, labels, places = probs[kept], labels[kept], places[kept]
    if not kept.any():
        return
    found = fitted(probs, labels, alpha=alpha, places=places, unit="place")
    scores, names = 1 - probs[np.arange(len(labels)), labels], sorted(set(places))
    weight = {name: 1 / (len(names) + 1) / (places == name).sum() for name in names}
    reached = [
        (t, sum(weight[p] for p, s in zip(places, scores, strict=True) if s <= t)) for t in sorted(scores)
    ]
    expected = next((t for t, share in reached if share >= 1 - alpha - 1e-9), None)
    assert found.thresholds[0] == (None if expected is None else pytest.approx(expected))
    assert found.places == tuple(names)


def test_sets_of_places_cover_new_places_and_sets_of_pixels_do_not():
    """The promise of Lee, Barber and Willett 2023 over many draws of places, where pixels of a place go together."""
    held = {"pixel": [], "place": []}
    for seed in range(150):
        probs, labels, places = hierarchical(seed, 20)
        new = hierarchical(10_000 + seed, 1, 200)
        for unit, shares in held.items():
            found = fitted(probs, labels, places=places, unit=unit, alpha=0.2)
            shares.append(covered(found, *new[:2]).mean())
    error = np.std(held["place"]) / np.sqrt(150)
    assert np.mean(held["place"]) >= 0.8 - 2 * error
    assert np.mean(held["place"]) > np.mean(held["pixel"])


def test_what_cannot_be_is_refused():
    good = fitted(*drawn(12)).model_dump()
    for wrong in (
        {"class_n": (1, 2)},
        {"alpha": 1.0},
        {"kind": "raps"},
        {"more": 1},
        {"thresholds": (float("inf"),) * 5},
    ):
        with pytest.raises(ValidationError):
            Conformal(**{**good, **wrong})
    probs, labels = drawn(13)
    for alpha in (0, 1, 90):
        with pytest.raises(EvaluationError, match="between 0 and 1"):
            fitted(probs, labels, alpha=alpha)
    with pytest.raises(EvaluationError, match="softmax"):
        fitted(10 * probs, labels)
    with pytest.raises(EvaluationError, match="No pixel has both"):
        fitted(probs, np.full(500, 255))
    with pytest.raises(ValueError, match="expected"):
        CoverageCounter(alpha=0.1, n_classes=4).feed(probs > 0.5, labels, place="hill")
    with pytest.raises(ValueError, match="expected"):
        fitted(probs, labels).sets(probs[:, 1:])


def chip_pixels():
    """{place: (bands, labels)} of some pixels of HLS chips with WorldCover classes; 255 is cloud or another class."""
    rng, places, classes = np.random.default_rng(0), {}, np.array([10, 30, 40, 50, 60, 80])
    for row in csv.DictReader((CHIPS / "index.csv").open()):
        known = places.setdefault(row["location_group"], [])
        if len(known) == 2:
            continue
        name, at = f"{int(row['chip']):03d}.tif", rng.integers(0, 128 * 128, 400)
        with rasterio.open(CHIPS / "chips" / name) as chip, rasterio.open(CHIPS / "labels" / name) as truth:
            bands = chip.read().reshape(7, -1)[:, at].T / 10_000
            codes, _, fmask, _ = truth.read().reshape(4, -1)[:, at]
        labels = np.searchsorted(classes, codes).clip(max=5)
        labels[(classes[labels] != codes) | (fmask & 0b1110 > 0)] = 255
        known.append((bands, labels))
    return {place: tuple(map(np.concatenate, zip(*known, strict=True))) for place, known in places.items()}


@pytest.mark.skipif(not CHIPS.is_dir(), reason="needs ../shared/data/train")
def test_real_pixels_of_other_places():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        pixels = chip_pixels()
    taught, used, held_out = ({p: pixels[p] for p in sorted(pixels)[i::3]} for i in range(3))
    bands, labels = map(np.concatenate, zip(*taught.values(), strict=True))
    model = GaussianNB().fit(bands[labels < 255], labels[labels < 255])  # known to be too sure
    assert set(model.classes_) == set(range(6))

    bands, labels = map(np.concatenate, zip(*used.values(), strict=True))
    calibration = fit_calibration(model.predict_joint_log_proba(bands), labels, places=used)
    names = np.repeat(list(used), [len(truth) for _, truth in used.values()])
    probs = model.predict_proba(bands)
    conformal = fit_conformal(probs, labels, alpha=0.1, places=names, unit="place")
    by_pixel = fit_conformal(probs, labels, alpha=0.1, places=names)
    assert conformal.thresholds[0] > by_pixel.thresholds[0]  # pixels of a place say less than they are many
    before, after = ProbsReliability(6), ProbsReliability(6)
    counted = CoverageCounter(alpha=0.1, n_classes=6)
    for place, (bands, labels) in held_out.items():
        before.feed(model.predict_proba(bands), labels)
        after.feed(calibration.apply(model.predict_joint_log_proba(bands)), labels)
        counted.feed(conformal.sets(model.predict_proba(bands)), labels, place=place)

    bands, labels = map(np.concatenate, zip(*held_out.values(), strict=True))
    probs, labels = model.predict_proba(bands)[labels < 255], labels[labels < 255]
    confidence, is_right = (
        torch.from_numpy(probs.max(axis=1)),
        torch.from_numpy(probs.argmax(axis=1) == labels),
    )
    certain = confidence == 1  # torchmetrics has a bin of its own for them
    confidence[certain] = 1 - 1e-13
    found, names = before.reliability(), np.arange(6)
    ece = tm.binary_calibration_error(confidence, is_right.long(), n_bins=15).item()
    assert found.ece == pytest.approx(ece, abs=1e-9)
    assert found.brier == pytest.approx(
        brier_score_loss(labels, probs, labels=names, scale_by_half=False), abs=1e-9
    )
    held = np.maximum(probs, 1e-15)  # scikit-learn's floor lies above ours
    held /= held.sum(axis=1, keepdims=True)
    again = ProbsReliability(6)
    again.feed(held, labels)
    assert again.reliability().nll == pytest.approx(log_loss(labels, held, labels=names), abs=1e-9)

    assert after.reliability().ece < found.ece / 2
    assert after.reliability().nll < found.nll
    coverage = counted.coverage()
    assert coverage.n == len(labels)
    assert coverage.low_by_place < coverage.low < coverage.high < coverage.high_by_place
    assert coverage.place_min < 0.9 <= coverage.place_mean
