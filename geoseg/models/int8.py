"""What a runtime must know to run a model in int8: ``int8.json`` of its folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from geoseg.errors import ModelError, one_line
from geoseg.models.rounding import Rounding, steps

INT8_NAME = "int8.json"
_Finite = Annotated[float, Field(allow_inf_nan=False)]


class Span(BaseModel):
    """What values lie between; 0 is in it, and on a step."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: Annotated[_Finite, Field(le=0)]
    high: Annotated[_Finite, Field(ge=0)]

    def steps(self) -> tuple[float, int]:
        """Width of a step, and the number of the one that is 0, of 0 to 255."""
        scale, zero = steps(torch.tensor(self.low), torch.tensor(self.high))
        return float(scale), int(zero)


class LayerRanges(BaseModel):
    """Of one layer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    takes: Span
    """What goes in."""
    gives: Span | None
    """What comes out, behind its norm; None where that is not rounded."""


class Int8(BaseModel):
    """What a runtime must know besides the weights to run a model in int8."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights_sha256: str | None
    """Of the weights that the ranges were seen with; None for a network that is in no folder yet."""
    how: Literal["trained", "observed"]
    """``trained`` to bear the rounding; or ranges ``observed`` on tiles afterwards."""
    layers: dict[str, LayerRanges]
    """By the layer's name in the network."""

    @model_validator(mode="after")
    def _is_some(self) -> Self:
        if not self.layers:
            raise ValueError("no layers")
        return self


def write_int8(int8: Int8, folder: Path) -> Path:
    """Write ``int8.json`` into a model folder; it appears when whole."""
    path = folder / INT8_NAME
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(int8.model_dump_json(indent=2) + "\n", "utf-8")
    return temporary.replace(path)


def read_int8(folder: Path, *, weights_sha256: str | None) -> Int8 | None:
    """The ranges of a model folder; None where it has none.

    Raises:
        ModelError: the file holds something else, or ranges of other weights.
    """
    path = folder / INT8_NAME
    if not path.is_file():
        return None
    try:
        found = Int8.model_validate_json(path.read_text("utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: {one_line(error)}. Train with fit.int8 again, or remove it.") from None
    if found.weights_sha256 != weights_sha256:
        raise ModelError(
            f"{path} holds ranges of weights {(found.weights_sha256 or 'none')[:12]}…, those here are "
            f"{(weights_sha256 or 'none')[:12]}…. Train with fit.int8 again, or remove it."
        )
    return found


def int8_of(rounding: Rounding, *, prefix: str = "") -> Int8:
    """What was seen while a network was held to int8."""
    return Int8(
        weights_sha256=None,
        how="trained",
        layers={prefix + layer.name: _ranges(takes, gives) for layer, takes, gives in rounding.ranges()},
    )


def joined_int8(members: Sequence[Int8]) -> Int8:
    """That of an ensemble of models with these."""
    layers = {f"members.{n}.{k}": v for n, member in enumerate(members) for k, v in member.layers.items()}
    return Int8(weights_sha256=None, how=members[0].how, layers=layers)


def _ranges(takes: tuple[float, float], gives: tuple[float, float] | None) -> LayerRanges:
    return LayerRanges(
        takes=Span(low=takes[0], high=takes[1]), gives=Span(low=gives[0], high=gives[1]) if gives else None
    )
