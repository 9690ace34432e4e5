"""What a model's probabilities are worth, measured on labelled images: ``calibration.json`` of its folder."""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from geoseg.errors import ModelError

CALIBRATION_NAME = "calibration.json"
LOG_FLOOR = float(np.log(np.finfo(np.float32).tiny))
"""The log-probability, about -87.3, of the smallest normal float32, which a probability of 0 counts as."""
Method = Literal["temperature", "vector"]
Kind = Literal["lac", "aps"]
Unit = Literal["pixel", "place"]
Threshold = Annotated[float, Field(allow_inf_nan=False)] | None


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


class Conformal(BaseModel):
    """What a class's score may be at most to belong to a pixel's set, and what that was fitted on.

    Sets of pixels that are exchangeable with those of the fit hold the true class with a probability of at
    least 1 - ``alpha``. Pixels of another place are not exchangeable with them, unless the ``unit`` is the
    place and that place is one like those; :class:`Coverage` is what was measured there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: Annotated[float, Field(gt=0, lt=1)]
    """How often the true class may be missing."""
    kind: Kind
    """The score. ``lac``: 1 - probability of the class (Sadinle et al. 2019), which gives the smallest sets
    on average, some of them empty. ``aps``: probability of all classes ranked before it (Romano et al. 2020,
    without their randomisation), which gives hard pixels larger sets; each holds the winning class, so where
    more than 1 - ``alpha`` of the winners are right, more than 1 - ``alpha`` is covered."""
    unit: Unit = "pixel"
    """What was taken as exchangeable: pixels, or places, in which case the promise is for a pixel of a place
    like those, however few or many pixels each of them had."""
    by_class: bool
    """Whether the promise holds for pixels of each class (Mondrian), not only for all of them together."""
    thresholds: Annotated[tuple[Threshold, ...], Field(min_length=1)]
    """Per class, 0..1, all alike unless ``by_class``; None where there were too few pixels for ``alpha``: the
    class is then in every set."""
    n: Annotated[int, Field(gt=0)]
    """Labelled pixels that it was fitted on."""
    class_n: tuple[int, ...]
    """Those of each class."""
    places: Annotated[tuple[str, ...], Field(min_length=1)]
    """The places that they are from."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.class_n) != len(self.thresholds):
            raise ValueError(f"class_n has {len(self.class_n)} values, thresholds {len(self.thresholds)}")
        return self

    def sets(self, probs: ArrayLike) -> NDArray[np.bool_]:
        """(n, class) whether each class belongs to the pixel's set.

        Args:
            probs: (n, class) probabilities, made as those of the fit (calibrated or not). A pixel with NaN
                has an empty set.

        Raises:
            ValueError: another number of classes (a mistake of the programmer's).
        """
        probs = np.asarray(probs, np.float64)
        if probs.ndim != 2 or probs.shape[1] != len(self.thresholds):
            raise ValueError(f"Got probabilities {probs.shape}, expected (n, {len(self.thresholds)}).")
        limits = np.array([np.inf if t is None else t for t in self.thresholds])
        return np.asarray(conformity(probs, self.kind) <= limits)

    def set_size(self, probs: ArrayLike) -> NDArray[np.uint8]:
        """(n,) how many classes belong to each pixel's set."""
        size: NDArray[np.uint8] = self.sets(probs).sum(axis=1, dtype=np.uint8)
        return size


class PlaceCoverage(BaseModel):
    """How the sets of one place did."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    place: str
    n: int
    """Labelled pixels."""
    coverage: float
    """The share of them whose set holds the label."""
    mean_set_size: float


class Coverage(BaseModel):
    """How often sets hold the label, on pixels not fitted on. Values that cannot be told are None."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float
    """What was promised: a coverage of at least 1 - alpha."""
    n: int
    """Labelled pixels."""
    coverage: float | None
    """The share of them whose set holds the label."""
    low: float | None
    """Lower end of its 95 % Wilson interval, true of independent pixels only."""
    high: float | None
    low_by_place: float | None
    """Lower end of its 95 % interval by drawing whole places anew (BCa bootstrap); None below two."""
    high_by_place: float | None
    mean_set_size: float | None
    class_coverage: tuple[float | None, ...]
    """Per class, of the pixels with that label."""
    places: tuple[PlaceCoverage, ...]
    """By name."""
    place_mean: float | None
    """Mean coverage of the places, each counted once."""
    place_std: float | None
    """Standard deviation of the places' coverage; None below two places."""
    place_min: float | None
    place_max: float | None


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
        """Calibrated probabilities (n, class) of the model's own."""
        logs = np.log(np.maximum(probs, np.finfo(np.float32).tiny))
        return self.scaling.apply(logs).astype(np.float32, copy=False)

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
        reason = str(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}"
        raise ModelError(f"{path}: {reason}. Make it again with geoseg calibrate, or remove it.") from None
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


def conformity(probs: NDArray[np.float64], kind: Kind) -> NDArray[np.float64]:
    """(n, class) how little each class conforms, 0..1; NaN in rows with NaN."""
    if kind == "lac":
        scores = 1 - probs
    else:
        order = np.argsort(-probs, axis=1, kind="stable")
        ranked = np.take_along_axis(probs, order, axis=1)
        before, scores = np.zeros_like(probs), np.empty_like(probs)
        np.cumsum(ranked[:, :-1], axis=1, out=before[:, 1:])
        np.put_along_axis(scores, order, before, axis=1)
    scores[np.isnan(probs).any(axis=1)] = np.nan
    return scores
