"""What a model's probabilities are worth, measured on labelled images: ``calibration.json`` of its folder."""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from geoseg.errors import ModelError, one_line
from geoseg.models.conformal import Conformal, Coverage

CALIBRATION_NAME = "calibration.json"
LOG_FLOOR = float(np.log(np.finfo(np.float32).tiny))
"""The log-probability, about -87.3, of the smallest normal float32, which a probability of 0 counts as."""
Method = Literal["temperature", "vector"]


class Calibration(BaseModel):
    """Scales and shifts of a model's log-probabilities, and what they were fitted on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Method
    """``temperature``: one scale for all classes, which keeps every winner (Guo et al. 2017, section 4.2).
    ``vector``: a scale and a bias for each class, which may change winners."""
    scale: Annotated[tuple[Annotated[float, Field(allow_inf_nan=False)], ...], Field(min_length=1)]
    """What the log-probability of each class is multiplied by, in the order of the output layers."""
    bias: tuple[Annotated[float, Field(allow_inf_nan=False)], ...]
    """What is then added."""
    n: Annotated[int, Field(gt=0)]
    """Labelled pixels that it was fitted on."""
    places: Annotated[tuple[str, ...], Field(min_length=1)]
    """The places that they are from. Measure what it is worth on other places."""
    nll_before: float
    """Mean negative log likelihood of those pixels as the model gave them, nats."""
    nll_after: float
    """The same after calibration."""
    ece_before: float
    """Expected calibration error of those pixels (15 bins) as the model gave them, 0..1."""
    ece_after: float
    """The same after calibration."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.scale) != len(self.bias):
            raise ValueError(f"scale has {len(self.scale)} values, bias {len(self.bias)}")
        if self.method == "temperature" and (
            len(set(self.scale)) > 1 or self.scale[0] <= 0 or any(self.bias)
        ):
            raise ValueError("a temperature is one scale above 0 for all classes, and no bias")
        return self

    @property
    def temperature(self) -> float | None:
        """What logits are divided by; above 1 the model was too sure. None for vector scaling."""
        return 1 / self.scale[0] if self.method == "temperature" else None

    def apply(self, logits: ArrayLike) -> NDArray[np.floating]:
        """Calibrated probabilities (n, class), in float32 if ``logits`` are, else in float64.

        Args:
            logits: (n, class) logits, or log-probabilities
                (:func:`geoseg.evaluation.confidence.reliability.log_probs`): the
                result is the same. Rows with NaN give NaN.

        Raises:
            ValueError: another number of classes (a mistake of the programmer's).
        """
        logits = np.asarray(logits)
        if logits.ndim != 2 or logits.shape[1] != len(self.scale):
            raise ValueError(f"Got logits {logits.shape}, expected (n, {len(self.scale)}).")
        kind = np.float32 if logits.dtype == np.float32 else np.float64
        logs = normalised(logits.astype(kind, copy=False))
        probs: NDArray[Any] = np.exp(
            log_softmax(logs * np.array(self.scale, kind) + np.array(self.bias, kind))
        )
        return probs


class ModelCalibration(BaseModel):
    """How a model's probabilities are mended, which classes else may be true, and how well that holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights_sha256: str | None
    """Of the weights that it was measured on; None for a model without weights."""
    measured_on: str
    """The labelled images, for people."""
    tta: str = "none"
    """The test-time augmentation with which it was measured."""
    scaling: Calibration
    """From the model's probabilities to calibrated ones."""
    conformal: Conformal
    """From calibrated probabilities to sets of classes."""
    coverage: Coverage | None
    """Of such sets on places that neither part was fitted on; None where there were too few places."""
    ece_before: float | None
    """Expected calibration error of the model's own probabilities on those places."""
    ece_after: float | None
    """The same after scaling."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.scaling.scale) != len(self.conformal.thresholds):
            raise ValueError(
                f"scaling is of {len(self.scaling.scale)} classes, "
                f"conformal of {len(self.conformal.thresholds)}"
            )
        return self

    @property
    def fingerprint(self) -> str:
        """Of all that it says: sha256."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def probs(self, probs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Calibrated probabilities (n, class) of the model's own; see :func:`calibrated`."""
        return calibrated(probs, self.scaling)

    def text(self) -> str:
        """One line for people."""
        if (temperature := self.scaling.temperature) is not None:
            how = f"temperature {temperature:.3g}"
        else:
            how = "vector scaling"
        promise = f"sets promise {1 - self.conformal.alpha:.0%}"
        if self.coverage is None or self.coverage.coverage is None:
            held = "not measured on other places"
        else:
            n = len(self.coverage.places)
            held = f"held {self.coverage.coverage:.1%} on {n} places they were not fitted on"
        return f"{how}, {promise}, {held} ({self.measured_on})"


def calibrated(probs: NDArray[np.float32], scaling: Calibration) -> NDArray[np.float32]:
    """Calibrated probabilities (n, class) of a model's own, to the bit the same wherever they are computed:
    what sets were fitted on must be what they are made from.
    """
    logs = np.log(np.maximum(np.ascontiguousarray(probs, np.float32), np.finfo(np.float32).tiny))
    return scaling.apply(logs).astype(np.float32, copy=False)


def write_calibration(calibration: ModelCalibration, folder: Path) -> Path:
    """Write ``calibration.json`` into a model folder; it appears when whole."""
    path = folder / CALIBRATION_NAME
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(calibration.model_dump_json(indent=2) + "\n", "utf-8")
    return temporary.replace(path)


def read_calibration(folder: Path, *, weights_sha256: str | None, n_classes: int) -> ModelCalibration | None:
    """The calibration of a model folder; None where it has none.

    Raises:
        ModelError: the file holds something else, or was measured on other weights or classes.
    """
    path = folder / CALIBRATION_NAME
    if not path.is_file():
        return None
    try:
        found = ModelCalibration.model_validate_json(path.read_text("utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise ModelError(
            f"{path}: {one_line(error)}. Make it again with geoseg calibrate, or remove it."
        ) from None
    if found.weights_sha256 != weights_sha256 or len(found.scaling.scale) != n_classes:
        raise ModelError(
            f"{path} was measured on weights {(found.weights_sha256 or 'none')[:12]}… of "
            f"{len(found.scaling.scale)} classes; those here are {(weights_sha256 or 'none')[:12]}… of "
            f"{n_classes}. Make it again with geoseg calibrate, or remove it."
        )
    return found


def normalised(logits: NDArray[Any]) -> NDArray[Any]:
    """(n, class) log-probabilities, at least :data:`LOG_FLOOR`."""
    logs = log_softmax(logits)
    np.maximum(logs, LOG_FLOOR, out=logs)
    return logs


def log_softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """(n, class) log-probabilities of logits."""
    logs: NDArray[Any] = logits - logits.max(axis=1, keepdims=True)
    logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
    return logs
