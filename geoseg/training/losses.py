"""What training makes small: single losses by name, and weighted sums of them as a TOML file states them.

A loss is one class in a module of this room whose name ends in ``_losses``: a frozen value whose fields are
its options and which is called with logits and labels. ``pixel_losses`` has those that add up over pixels,
``region_losses`` those that compare the areas or the outlines of whole classes.
"""

import math
import pkgutil
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Annotated, Any, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, model_validator
from torch import nn

from geoseg import training
from geoseg.errors import TrainingError, expected
from geoseg.evaluation.benchmark import IGNORE
from geoseg.registry import Registry, did_you_mean


class Loss(BaseModel):
    """A loss with its options: called with logits and labels, it gives what is to be made small."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @abstractmethod
    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of a batch.

        Args:
            logits: (n, class, y, x); float16 and bfloat16 are computed in float32, float64 stays what it is.
            labels: (n, y, x) int64, 0 to class - 1, or 255 for pixels without a label.

        Returns:
            A scalar; 0 with a gradient of 0 where no pixel has a label.
        """

    def for_classes(self, n_classes: int, class_shares: Sequence[float] | None) -> Self:
        """This loss, made ready for so many classes that have these shares of the labelled pixels.

        Raises:
            TrainingError: options of another number of classes, or shares are needed and not known.
        """
        return self

    def at_epoch(self, epoch: float) -> Self:
        """This loss as it is after so many epochs; most stay the same."""
        return self


def _import_losses() -> None:
    for module in pkgutil.iter_modules(training.__path__):
        if module.name.endswith("_losses"):
            import_module(f"geoseg.training.{module.name}")


LOSSES: Registry[type[Loss]] = Registry("loss", TrainingError, fill=_import_losses)
"""Losses by the names that ``[[loss]]`` tables have."""


class LossTerm(BaseModel):
    """One ``[[loss]]`` table of a recipe; its other keys are the options of the loss that it names.

    Example:
        >>> LossTerm(name="tversky", weight=0.5, beta=0.6).loss.beta
        0.6
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False, use_attribute_docstrings=True)

    name: str
    """``cross-entropy``, ``dice``, ... (the names of ``LOSSES``)."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """How much it counts in the sum."""

    @property
    def loss(self) -> Loss:
        """The loss with its options."""
        return LOSSES[self.name](**(self.model_extra or {}))

    @model_validator(mode="wrap")
    @classmethod
    def _has_known_options(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        name = data.get("name") if isinstance(data, Mapping) else None
        try:
            term = handler(data)
            term.loss  # noqa: B018  (its options are checked)
        except ValidationError as error:
            raise TrainingError(_explain(error, name if isinstance(name, str) else None)) from None
        return term


def _explain(error: ValidationError, name: str | None) -> str:
    where, first = f"[[loss]] {name}" if name else "[[loss]]", error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden" and name is not None:
        known = [*LossTerm.model_fields, *LOSSES[name].model_fields]
        return f"{where}: unknown option {key!r}: {did_you_mean(key, known)}"
    if first["type"] == "missing":
        return f"{where}: give {key} = one of {', '.join(LOSSES)}."
    message = expected(first)
    return f"{where}: {key} = {first['input']!r}: {message}." if key else f"{where}: {message}."


def build_loss(
    terms: Sequence[LossTerm], *, n_classes: int, class_shares: Sequence[float] | None = None
) -> "LossSum":
    """The weighted sum of the terms, for classes as many and as frequent as these.

    Args:
        terms: at least one.
        n_classes: layers of the logits.
        class_shares: per class its part of the labelled pixels, or its number of pixels (only ratios
            matter); losses that weigh classes without being told how need them.

    Raises:
        TrainingError: no terms; weights or shares of another number of classes; shares that are needed.

    Example:
        >>> terms = [LossTerm(name="cross-entropy", label_smoothing=0.05), LossTerm(name="dice", weight=0.5)]
        >>> loss = build_loss(terms, n_classes=3)
        >>> float(loss(torch.zeros(1, 3, 2, 2), torch.full((1, 2, 2), 255)))
        0.0
    """
    if not terms:
        raise TrainingError("There is no loss: give at least one [[loss]] table, such as cross-entropy.")
    shares = None if class_shares is None else _normalised(class_shares, n_classes)
    losses: dict[str, tuple[float, Loss]] = {}
    for term in terms:
        count = sum(key.split("#")[0] == term.name for key in losses)
        key = f"{term.name}#{count + 1}" if count else term.name
        losses[key] = (term.weight, term.loss.for_classes(n_classes, shares))
    return LossSum(losses)


def _normalised(shares: Sequence[float], n_classes: int) -> tuple[float, ...]:
    check_one_per_class("Shares of classes", shares, n_classes)
    if not all(0 <= share < math.inf for share in shares) or sum(shares) == 0:
        raise TrainingError(f"Shares of classes must be 0 or more and not all 0, not {list(shares)}.")
    return tuple(share / sum(shares) for share in shares)


def check_one_per_class(what: str, values: Sequence[float], n_classes: int) -> None:
    """Refuse options that belong to another number of classes.

    Raises:
        TrainingError: there are not as many ``values`` as classes.
    """
    if len(values) != n_classes:
        raise TrainingError(f"{what}: {len(values)} values for {n_classes} classes; give one per class.")


class LossSum(nn.Module):
    """A weighted sum of losses, and the terms that the last batch gave."""

    def __init__(self, losses: Mapping[str, tuple[float, Loss]]) -> None:
        """``losses``: by the name that ``parts`` shall have, a weight and a loss ready for the classes."""
        super().__init__()
        self.losses = dict(losses)
        self.parts: dict[str, torch.Tensor] = {}
        """Of the last batch: each loss before it was weighted, a scalar without gradient."""
        self._now = self.losses

    def set_epoch(self, epoch: float) -> None:
        """Say how many epochs have passed, for losses that change with time; before it, all are at their end.

        It depends on nothing but ``epoch``: a resumed run sets it again and has no state to restore.
        """
        self._now = {name: (weight, loss.at_epoch(epoch)) for name, (weight, loss) in self.losses.items()}

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The sum, a scalar.

        Args:
            logits: (n, class, y, x) of any floating type.
            labels: (n, y, x) int64, 255 = no label.
        """
        values = {name: loss(logits, labels) for name, (_, loss) in self._now.items()}
        self.parts = {name: value.detach() for name, value in values.items()}
        return torch.stack([weight * values[name] for name, (weight, _) in self._now.items()]).sum()


class DeepSupervision(nn.Module):
    """The same loss at several scales, each counting half as much as the next finer one.

    Weights are 1, 1/2, 1/4, ... divided by their sum, as in nnU-Net (Isensee et al. 2021, Nature Methods 18;
    its code gives the coarsest output no weight, here every output that is given counts).
    """

    def __init__(self, loss: LossSum) -> None:
        super().__init__()
        self.loss = loss
        self.parts: dict[str, torch.Tensor] = {}
        """See ``LossSum.parts``; of the finest scale."""

    def set_epoch(self, epoch: float) -> None:
        """See ``LossSum.set_epoch``."""
        self.loss.set_epoch(epoch)

    def forward(self, logits: torch.Tensor | Sequence[torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        """The weighted mean over scales, a scalar.

        Args:
            logits: (n, class, y, x), or such tensors from fine to coarse, (n, class, y / 2^k, x / 2^k).
            labels: (n, y, x) int64 of the finest scale, 255 = no label; coarser ones take the label at the
                centre of each of their pixels.
        """
        scales = [logits] if isinstance(logits, torch.Tensor) else list(logits)
        weights = [0.5**k for k in range(len(scales))]
        total = torch.zeros((), device=labels.device)
        for k, (weight, scale) in enumerate(zip(weights, scales, strict=True)):
            total = total + weight / sum(weights) * self.loss(scale, nearest_labels(labels, scale.shape[-2:]))
            if k == 0:
                self.parts = self.loss.parts
        return total


def nearest_labels(labels: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Labels (n, y, x) at another ``shape`` (y, x): of each new pixel, the label at its centre."""
    rows, cols = (
        torch.div((2 * torch.arange(new, device=labels.device) + 1) * old, 2 * new, rounding_mode="floor")
        for old, new in zip(labels.shape[-2:], shape, strict=True)
    )
    return labels[:, rows[:, None], cols]


def in_full(logits: torch.Tensor) -> torch.Tensor:
    """Logits in float32, or in float64 if they are that already."""
    return logits if logits.dtype == torch.float64 else logits.float()


def labelled(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The pixels that have a label, in one row: their logits (pixel, class) in full, their labels (pixel)."""
    has_label = labels != IGNORE
    return in_full(logits).movedim(1, -1)[has_label], labels[has_label]
