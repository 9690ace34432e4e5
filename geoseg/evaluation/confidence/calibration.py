"""Probabilities that agree with how often a model is right: temperature and vector scaling."""

import warnings
from collections.abc import Iterable, Iterator
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoseg.errors import EvaluationError, GeosegWarning
from geoseg.evaluation.confidence.reliability import Floats, Ints, ProbsReliability, labelled_rows
from geoseg.models.calibration import Calibration, Method, log_softmax, normalised

TEMPERATURE_RANGE = (0.01, 100.0)
"""Where a temperature is looked for: a model that is always right wants 0, one that is lost infinity."""

_ROWS_AT_A_TIME = 1 << 14
_MAX_STEPS = 100
_ENOUGH = 1e-13
"""Newton's method stops where the next step would lower the mean loss by less than this, nats."""


def fit_calibration(
    logits: ArrayLike, labels: ArrayLike, *, places: Iterable[str], method: Method = "temperature"
) -> Calibration:
    """The calibration that makes labelled pixels most likely.

    Logits are first normalised to log-probabilities, never below -87.3 (the smallest normal float32), so that
    what is fitted on a network's logits is right for a map's blended probabilities too. For vector scaling
    that makes it the diagonal Dirichlet map of Kull et al. 2019.

    The temperature minimises the mean negative log likelihood within :data:`TEMPERATURE_RANGE`; the problem
    is convex in 1/temperature. Vector scaling starts there, and its parameters have a normal prior of
    variance 1 around that start: half their squared distance from it is added to the summed loss. Against
    many pixels that weighs nothing, a class with few stays near the temperature, and the optimum is finite
    and unique (biases that all grow alike change no probability). A class without labels stays at the start.

    Args:
        logits: (n, class) logits or log-probabilities of a validation set; rows with NaN are left out.
        labels: (n,) class indices; rows with other values than 0 to class - 1 are left out.
        places: names of the places that the pixels are from.
        method: ``temperature`` or ``vector``.

    Raises:
        EvaluationError: no row has a label.
        ValueError: shapes do not fit (a mistake of the programmer's).

    Example:
        >>> logits = np.array([[2.0, -2.0]] * 4 + [[-2.0, 2.0]] * 4)
        >>> fitted = fit_calibration(logits, [0, 0, 0, 1, 1, 1, 1, 0], places=["valley"])
        >>> round(fitted.temperature, 3), fitted.apply([[2.0, -2.0]]).round(3)
        (3.641, array([[0.75, 0.25]]))
    """
    logits = np.asarray(logits)
    n_classes = logits.shape[-1]
    rows, labels = labelled_rows(logits, labels, n_classes=n_classes)
    if not len(labels):
        raise EvaluationError(
            "No pixel has both a label of the model's classes and logits, expected some to calibrate with. "
            "Give labels as indices of the model's classes."
        )
    logs = normalised(rows)
    scale, bias = np.full(n_classes, _fit_scale(logs, labels)), np.zeros(n_classes)
    if method == "vector":
        scale, bias = _fit_vector(logs, labels, scale)
    before = _measured(logs, labels)
    after = _measured(log_softmax(logs * scale + bias), labels)
    return Calibration(
        method=method,
        scale=tuple(scale.tolist()),
        bias=tuple(bias.tolist()),
        n=len(labels),
        places=tuple(sorted(set(places))),
        nll_before=before[0],
        nll_after=after[0],
        ece_before=before[1],
        ece_after=after[1],
    )


def _fit_scale(logs: Floats, labels: Ints) -> float:
    """1/temperature by Newton's method between bounds: where a step leaves them, they are halved instead."""
    low, high = 1 / TEMPERATURE_RANGE[1], 1 / TEMPERATURE_RANGE[0]
    scale = 1.0
    slope, curvature = _slope(logs, labels, scale)
    if abs(slope) < _ENOUGH:
        return scale
    edge = high if slope < 0 else low
    if _slope(logs, labels, edge)[0] * slope >= 0:
        warnings.warn(
            f"No temperature from {TEMPERATURE_RANGE[0]:g} to {TEMPERATURE_RANGE[1]:g} fits these "
            f"{len(labels)} pixels best: took {1 / edge:g}. "
            + ("All are right" if edge == high else "The model knows nothing of them")
            + ": give pixels of more places.",
            GeosegWarning,
            stacklevel=3,
        )
        return edge
    for _ in range(_MAX_STEPS):
        low, high = (scale, high) if slope < 0 else (low, scale)
        step = slope / curvature if curvature > 0 else np.inf
        scale = scale - step if low < scale - step < high else (low * high) ** 0.5
        if abs(slope * step) < _ENOUGH or high / low - 1 < _ENOUGH:
            break
        slope, curvature = _slope(logs, labels, scale)
    return float(scale)


def _slope(logs: Floats, labels: Ints, scale: float) -> tuple[float, float]:
    """First and second derivative of the mean negative log likelihood by the scale."""
    slope = curvature = 0.0
    for z, y in _pieces(logs, labels):
        p = np.exp(log_softmax(z * scale))  # (n, class)
        mean = (p * z).sum(axis=1)
        slope += (mean - z[np.arange(len(y)), y]).sum()
        curvature += (p * (z - mean[:, None]) ** 2).sum()
    return slope / len(labels), curvature / len(labels)


def _fit_vector(logs: Floats, labels: Ints, start: Floats) -> tuple[Floats, Floats]:
    """Scale and bias (class,) by damped Newton steps; the prior makes the problem strictly convex."""
    n_classes = logs.shape[1]
    is_free = np.tile(np.bincount(labels, minlength=n_classes) > 0, 2)
    origin = np.concatenate([start, np.zeros(n_classes)])  # scales, then biases
    theta, damping = origin, 1.0
    loss, step, gain = _newton(logs, labels, theta, origin, is_free)
    for _ in range(_MAX_STEPS):
        tried = theta - damping * step
        if gain < _ENOUGH:
            return tried[:n_classes], tried[n_classes:]
        tried_loss, tried_step, tried_gain = _newton(logs, labels, tried, origin, is_free)
        if tried_loss <= loss - 1e-4 * damping * gain:
            theta, loss, step, gain, damping = tried, tried_loss, tried_step, tried_gain, 1.0
        else:
            damping /= 2
    raise EvaluationError(
        f"Vector scaling did not settle on these {len(labels)} pixels. Use the method temperature."
    )


def _newton(
    logs: Floats, labels: Ints, theta: Floats, origin: Floats, is_free: NDArray[np.bool_]
) -> tuple[float, Floats, float]:
    """The mean loss with the prior, Newton's step (2 class,), and twice what the step should gain."""
    n, n_classes = logs.shape
    loss = 0.5 * float(((theta - origin) ** 2).sum())
    gradient, hessian = theta - origin, np.eye(len(theta))
    for z, y in _pieces(logs, labels):
        log_p = log_softmax(z * theta[:n_classes] + theta[n_classes:])
        p = np.exp(log_p)
        loss -= log_p[np.arange(len(y)), y].sum()
        hit = np.eye(n_classes)[y]
        gradient = gradient + np.concatenate([((p - hit) * z).sum(axis=0), (p - hit).sum(axis=0)])
        both = np.hstack([p * z, p])  # (n, 2 class)
        zz, zb, bb = (np.diag(term.sum(axis=0)) for term in (p * z * z, p * z, p))
        hessian += np.block([[zz, zb], [zb, bb]]) - both.T @ both
    step = np.zeros(len(theta))
    step[is_free] = np.linalg.solve(hessian[np.ix_(is_free, is_free)], gradient[is_free])
    return loss / n, step, float(gradient[is_free] @ step[is_free]) / n


def _pieces(logs: Floats, labels: Ints) -> Iterator[tuple[Floats, Ints]]:
    for start in range(0, len(labels), _ROWS_AT_A_TIME):
        rows = slice(start, start + _ROWS_AT_A_TIME)
        yield logs[rows], labels[rows]


def _measured(logs: Floats, labels: Ints) -> tuple[float, float]:
    """Mean negative log likelihood and expected calibration error of log-probabilities."""
    counted = ProbsReliability(logs.shape[1])
    counted.feed(np.exp(logs), labels)
    result = counted.reliability()
    return cast(float, result.nll), cast(float, result.ece)  # there are pixels
