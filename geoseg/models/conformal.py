"""Sets of classes that hold the true one with a stated probability, and how well they did."""

from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

Kind = Literal["lac", "aps"]
Unit = Literal["pixel", "place"]
Threshold = Annotated[float, Field(allow_inf_nan=False)] | None


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
        size: NDArray[np.int64] = self.sets(probs).sum(axis=1)
        return size.clip(max=254).astype(np.uint8)  # 255 is nodata


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
