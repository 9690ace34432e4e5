"""Temperature and vector scaling against torch's optimisers; laws; the file in a model's folder."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from geoseg.errors import EvaluationError, GeosegWarning
from geoseg.evaluation.confidence.calibration import (
    Calibration,
    fit_calibration,
)
from geoseg.evaluation.confidence.reliability import ProbsReliability, log_probs

SEEDS = st.integers(0, 2**32 - 1)
METHODS = pytest.mark.parametrize("method", ["temperature", "vector"])
LAW = settings(max_examples=25, deadline=None)


def softmax(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def drawn(seed, n=800, n_classes=4, temperature=2.5):
    """Logits, and labels drawn from them at a temperature, with classes that the model is biased on."""
    rng = np.random.default_rng(seed)
    logits = 3 * rng.normal(size=(n, n_classes))
    truth = softmax(logits / temperature + np.linspace(-0.5, 0.5, n_classes))
    labels = (np.cumsum(truth, axis=1) < rng.random((n, 1))).sum(axis=1)
    return logits, labels.clip(max=n_classes - 1)


def fitted(logits, labels, **given_):
    return fit_calibration(logits, labels, places=["valley"], **given_)


def minimum(parameters, loss):
    """The parameters at which torch's L-BFGS finds the loss smallest."""
    optimiser = torch.optim.LBFGS(
        [parameters],
        max_iter=100,
        tolerance_grad=1e-11,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimiser.zero_grad()
        value = loss(parameters)
        value.backward()
        return value

    optimiser.step(closure)
    return parameters.detach().numpy()


@given(seed=SEEDS, n_classes=st.integers(2, 8), temperature=st.floats(0.5, 5))
@settings(max_examples=10, deadline=None)
def test_the_temperature_is_where_torch_finds_the_loss_smallest(seed, n_classes, temperature):
    logits, labels = drawn(seed, n_classes=n_classes, temperature=temperature)
    z, y = torch.from_numpy(logits), torch.from_numpy(labels)
    scale = minimum(
        torch.ones(1, dtype=torch.float64, requires_grad=True),
        lambda s: torch.nn.functional.cross_entropy(z * s, y),
    )
    found = fitted(logits, labels)
    assert found.temperature == pytest.approx(1 / scale[0], rel=1e-6)
    expected = torch.nn.functional.cross_entropy(z * float(scale[0]), y).item()
    assert found.nll_after == pytest.approx(expected, abs=1e-12)


@given(seed=SEEDS, n_classes=st.integers(2, 6))
@settings(max_examples=5, deadline=None)
def test_vector_scaling_is_where_torch_finds_the_loss_smallest(seed, n_classes):
    logits, labels = drawn(seed, 600, n_classes)
    start = 1 / fitted(logits, labels).temperature
    logs, y = torch.from_numpy(logits).log_softmax(1), torch.from_numpy(labels)

    def loss(theta):
        z = logs * (start + theta[0]) + theta[1]
        return torch.nn.functional.cross_entropy(z, y) + (theta**2).sum() / 2 / len(y)

    scale, bias = minimum(torch.zeros(2, n_classes, dtype=torch.float64, requires_grad=True), loss)
    found = fitted(logits, labels, method="vector")
    assert found.scale == pytest.approx(start + scale, abs=1e-5)
    assert found.bias == pytest.approx(bias, abs=1e-5)
    assert found.nll_after < fitted(logits, labels).nll_after < found.nll_before


def test_what_the_labels_were_drawn_with_is_found():
    logits, labels = drawn(0, n=60_000)
    vector = fitted(logits, labels, method="vector")
    assert fitted(logits, labels).temperature == pytest.approx(2.5, rel=0.05)
    assert np.diff(vector.bias) == pytest.approx(1 / 3, abs=0.05)
    assert vector.ece_after < 0.01 < 0.1 < vector.ece_before


@METHODS
def test_what_was_fitted_is_calibrated_on_other_pixels(method):
    found = fitted(*drawn(1, n=30_000), method=method)
    logits, labels = drawn(2, n=30_000)
    before, after = ProbsReliability(4), ProbsReliability(4)
    before.feed(softmax(logits), labels)
    after.feed(found.apply(logits), labels)
    assert after.reliability().ece < before.reliability().ece / 3
    assert after.reliability().nll < before.reliability().nll


@METHODS
def test_the_figures_are_those_of_the_pixels_before_and_after(method):
    logits, labels = drawn(3)
    found = fitted(logits, labels, method=method)
    for probs, nll, ece in (
        (softmax(logits), found.nll_before, found.ece_before),
        (found.apply(logits), found.nll_after, found.ece_after),
    ):
        counted = ProbsReliability(4)
        counted.feed(probs, labels)
        assert (nll, ece) == pytest.approx((counted.reliability().nll, counted.reliability().ece), abs=1e-9)


@METHODS
@given(seed=SEEDS, shift=st.floats(-50, 50))
@LAW
def test_logits_shifted_logits_and_log_probabilities_are_one(method, seed, shift):
    logits, labels = drawn(seed, 200)
    found = fitted(logits, labels, method=method)
    for other in (logits + shift, log_probs(softmax(logits))):
        assert fitted(other, labels, method=method).scale == pytest.approx(found.scale, rel=1e-6)
        assert found.apply(other) == pytest.approx(found.apply(logits), abs=1e-9)


@given(seed=SEEDS, times=st.floats(0.2, 5))
@LAW
def test_louder_logits_need_a_higher_temperature(seed, times):
    logits, labels = drawn(seed, 300)
    found = fitted(logits, labels)
    assert fitted(times * logits, labels).temperature == pytest.approx(times * found.temperature, rel=1e-4)


@METHODS
@given(seed=SEEDS, order=st.permutations(range(4)))
@LAW
def test_permuting_classes_permutes_the_calibration(method, seed, order):
    logits, labels = drawn(seed, 200)
    found = fitted(logits, labels, method=method)
    permuted = fitted(logits[:, order], np.argsort(order)[labels], method=method)
    assert permuted.scale == pytest.approx([found.scale[c] for c in order], abs=1e-6)
    assert permuted.bias == pytest.approx([found.bias[c] for c in order], abs=1e-6)


@given(seed=SEEDS)
@LAW
def test_a_temperature_keeps_every_winner(seed):
    logits, labels = drawn(seed, 200)
    probs = fitted(logits, labels).apply(logits)
    assert probs.sum(axis=1) == pytest.approx(1)
    assert (probs.argmax(axis=1) == logits.argmax(axis=1)).all()


@METHODS
def test_pixels_without_label_or_logits_are_left_out(method):
    logits, labels = drawn(4)
    more = np.concatenate([logits, logits[:50], np.full((9, 4), np.nan)])
    found = fitted(more, np.concatenate([labels, np.full(50, 255), np.zeros(9, int)]), method=method)
    assert found == fitted(logits, labels, method=method)
    assert found.n == 800


def test_a_class_without_labels_stays_at_the_temperature():
    logits, labels = drawn(5)
    labels[labels == 2] = 255
    found = fitted(logits, labels, method="vector")
    assert found.scale[2] == fitted(logits, labels).scale[2]
    assert found.bias[2] == 0
    assert 0 not in (found.bias[0], found.bias[1], found.bias[3])


def test_a_class_with_few_labels_stays_near_the_temperature():
    logits, labels = drawn(6)
    few = np.flatnonzero(labels == 2)[3:]
    labels[few] = 255
    logits[labels == 2, 2] += 30  # always right by far: without a prior its scale had no end
    found = fitted(logits, labels, method="vector")
    assert np.isfinite([*found.scale, *found.bias]).all()
    assert np.abs(found.scale[2] - fitted(logits, labels).scale[2]) < 2


def test_a_model_that_is_always_right_is_told_to_need_more_places():
    logits = 4 * np.eye(3)[[0, 1, 2, 0]]
    with pytest.warns(GeosegWarning, match=r"took 0\.01\. All are right: give pixels of more places"):
        found = fitted(logits, [0, 1, 2, 0])
    assert found.temperature == pytest.approx(0.01)


def test_a_model_that_is_always_wrong_is_given_no_confidence():
    logits = 4 * np.eye(3)[[0, 1, 2, 0]]
    with pytest.warns(GeosegWarning, match=r"took 100\. The model knows nothing"):
        found = fitted(logits, [1, 2, 0, 1])
    assert found.apply(logits) == pytest.approx(1 / 3, abs=0.01)


def test_logits_that_say_nothing_are_left_alone():
    assert fitted(np.zeros((5, 3)), [0, 1, 2, 0, 1]).temperature == 1


def test_impossible_classes_are_only_very_unlikely():
    logits, labels = drawn(7)
    logits[:, 0] = -np.inf
    labels[labels == 0] = 1
    logits[0], labels[0] = [0, -np.inf, -np.inf, -np.inf], 3
    found = fitted(logits, labels)
    assert np.isfinite(found.nll_before)
    assert found == fitted(np.maximum(logits, -200), labels)  # beyond the floor all are alike
    assert found.apply(logits).sum(axis=1) == pytest.approx(1)


def test_single_precision_stays_single_and_nodata_stays_nodata():
    logits, labels = drawn(8)
    found = fitted(logits, labels, method="vector")
    single = found.apply(logits.astype(np.float32))
    assert single.dtype == np.float32
    assert single == pytest.approx(found.apply(logits), abs=1e-5)
    assert np.isnan(found.apply(np.full((2, 4), np.nan))).all()
    assert found.apply(np.zeros((0, 4))).shape == (0, 4)


@METHODS
def test_places_are_named_once(method):
    assert fit_calibration(*drawn(9), places=["b", "a", "b"], method=method).places == ("a", "b")


def test_a_calibration_that_contradicts_itself_is_refused():
    good = fitted(*drawn(10)).model_dump()
    for wrong in (
        {"bias": (0.0,) * 3},
        {"scale": (1.0, 1.0, 1.0, 2.0)},
        {"scale": (-1.0,) * 4},
        {"bias": (1.0,) * 4},
        {"scale": (float("nan"),) * 4},
        {"n": 0},
        {"places": ()},
        {"sharpness": 1},
    ):
        with pytest.raises(ValidationError):
            Calibration(**{**good, **wrong})
    assert Calibration(**good).temperature is not None
    assert Calibration(**{**good, "method": "vector"}).temperature is None


def test_nothing_to_calibrate_with_is_said():
    with pytest.raises(EvaluationError, match="No pixel has both"):
        fitted(np.ones((3, 2)), [255, 255, 255])
    with pytest.raises(ValueError, match="expected"):
        fitted(np.ones((3, 2)), [0, 1])
    with pytest.raises(ValueError, match="expected"):
        fitted(*drawn(11)).apply(np.ones((3, 5)))
