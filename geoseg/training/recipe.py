"""What a training depends on, in one value: a TOML file."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from geoseg.errors import TrainingError, one_line
from geoseg.registry import did_you_mean
from geoseg.resources import find_resource, path_exists, resource_folder
from geoseg.training.losses import LossTerm
from geoseg.training.tables import Augment, Beside, Data, Distill, Fit, Network, Pseudo, Start, Table

RECIPE = "recipe.json"
"""Its file in the folder of a model."""

_SHIPPED = "pipelines"
_PATHS = {
    "data": ("benchmark", "root"),
    "start": ("model",),
    "distill": ("teachers",),
    "pseudo": ("model", "benchmark", "root"),
    "beside": ("benchmark", "root"),
}
_OF_A_MEMBER = ("network", "loss", "augment", "fit")


class TrainRecipe(Table):
    """Everything that a training depends on."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    """Of the model."""
    title: str
    description: str = ""
    license: str
    """SPDX identifier for the weights; think of the data's licences."""
    out: str | None = None
    """The model folder; None for ``geoseg-out/`` and the name."""
    data: Data
    network: Network = Network()
    start: Start = Start()
    distill: Distill | None = None
    pseudo: Pseudo | None = None
    beside: Beside | None = None
    loss: tuple[LossTerm, ...] = (LossTerm(name="cross-entropy"),)
    augment: Augment = Augment()
    fit: Fit = Fit()
    member: tuple[dict[str, Any], ...] = ()
    """For an ensemble in one folder, a table for each network: what it has of its own instead of the keys of
    the tables above."""

    @property
    def members(self) -> tuple[Self, ...]:
        """The recipe of each network of an ensemble; none where it is to be one network.

        With folds, the shares of places go round: each network holds back the next one.
        """
        shared = self.model_dump(exclude={"member", "out"}, exclude_unset=True)
        n_folds = self.data.folds if self.data.fold is None else None
        return tuple(
            type(self)(
                **shared
                | {k: shared.get(k, {}) | v if isinstance(v, dict) else v for k, v in own.items()}
                | {"name": f"{self.name}-{number + 1}"}
                | ({"data": shared["data"] | {"fold": number % n_folds}} if n_folds else {})
            )
            for number, own in enumerate(self.member or ({},) * (n_folds or 0))
        )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        crop = self.augment.crop
        if crop is not None and crop % self.network.tile_multiple:
            raise ValueError(f"augment.crop {crop} is not a multiple of {self.network.tile_multiple}")
        if (self.network.activation == "evidential") != any(t.name == "evidential" for t in self.loss):
            raise ValueError('activation "evidential" and the loss "evidential" go together')
        side, multiple = self.network.tile_size, self.network.tile_multiple
        if side % multiple:
            raise ValueError(f"network.tile_size {side} is not a multiple of {multiple}")
        if self.distill is not None and self.network.activation == "evidential":
            raise ValueError("[distill] compares softmax answers: it does not go with activation evidential")
        if self.fit.pixels_per_image and any(t.name == "boundary" for t in self.loss):
            raise ValueError("the loss boundary compares outlines: it does not go with fit.pixels_per_image")
        if self.fit.int8 and self.start.lora_rank is not None:
            raise ValueError("fit.int8 rounds whole weights: it does not go with start.lora_rank")
        if len(self.member) == 1:
            raise ValueError("one [[member]] is no ensemble: give two or more, or none")
        for own in self.member:
            if unknown := sorted(set(own) - set(_OF_A_MEMBER)):
                raise ValueError(f"member.{unknown[0]}: {did_you_mean(unknown[0], list(_OF_A_MEMBER))}")
            if not isinstance(own.get("loss", []), list):
                raise ValueError("member.loss must be a list of tables: loss = [{ name = ... }]")
        try:
            if len({member.fit.int8 for member in self.members}) > 1:
                raise ValueError("fit.int8 is for all members or none: they become one network")
        except ValidationError as error:
            raise ValueError(f"member: {one_line(error)}") from None
        return self

    @model_validator(mode="after")
    def _has_folds(self) -> Self:
        folds, fold = self.data.folds, self.data.fold
        if fold is not None and fold >= (folds or 0):
            raise ValueError(
                f"data.fold is {fold}: give a number below data.folds, {folds or 'which is missing'}"
            )
        if folds is not None and (
            self.data.val_share is not None or "val_split" in self.data.model_fields_set
        ):
            raise ValueError(
                "data.folds validates on places of train_split: leave out val_split and val_share"
            )
        if folds is not None and self.data.max_places is not None:
            raise ValueError("data.max_places is for one network: it does not go with data.folds")
        if folds is not None and fold is None and 0 < len(self.member) < folds:
            raise ValueError(
                f"{len(self.member)} [[member]] tables for {folds} folds: give one for each, or none"
            )
        return self

    @classmethod
    def read(cls, name: str) -> Self:
        """The recipe of a TOML file, or of the name of a shipped one.

        Data and models that lie beside the file are found there.

        Raises:
            TrainingError: no such file, not TOML, an unknown key or a value out of range.
        """
        path = find_resource(_SHIPPED, name, ".toml")
        if path is None:
            known = sorted(p.stem for p in resource_folder(_SHIPPED).glob("train-*.toml"))
            raise TrainingError(f"No recipe {name!r}: {did_you_mean(name, known)} Or give a TOML file.")
        try:
            return cls(**_found_beside(tomllib.loads(path.read_text("utf-8")), path.parent))
        except ValidationError as error:
            raise TrainingError(f"{path}: {_explain(error)}") from None
        except (OSError, ValueError) as error:
            raise TrainingError(f"{path} is not TOML: {one_line(error)}.") from None


def differences(path: Path, recipe: TrainRecipe) -> list[str]:
    """The keys, such as ``fit.seed``, in which a recipe differs from the one that was kept as JSON.

    But for ``out``, as folders may be moved; a key that the kept one lacks had its default.
    """
    text = path.read_text("utf-8")
    try:
        kept = TrainRecipe.model_validate_json(text).model_dump(mode="json")
    except (ValidationError, TrainingError):
        kept = _json_of(text)
    one, other = (dict(_flat(tables)) for tables in (kept, recipe.model_dump(mode="json")))
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key) and key != "out")


def _json_of(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {}


def _flat(tables: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tables.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _found_beside(given: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The tables with paths that exist below ``folder`` as such."""

    def found(value: Any) -> Any:
        if isinstance(value, list):
            return [found(entry) for entry in value]
        return str(folder / value) if isinstance(value, str) and path_exists(folder / value) else value

    tables = dict(given)
    for table, keys in _PATHS.items():
        if isinstance(own := tables.get(table), dict):
            tables[table] = own | {key: found(own[key]) for key in keys if key in own}
    return tables


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        parts: dict[str, type[BaseModel]] = {
            "data": Data, "network": Network, "start": Start, "distill": Distill, "pseudo": Pseudo,
            "beside": Beside, "augment": Augment, "fit": Fit,
        }  # fmt: skip
        table, _, key = where.rpartition(".")
        return f"unknown key {where}. {did_you_mean(key, list(parts.get(table, TrainRecipe).model_fields))}"
    return f"{one_line(error)}."
