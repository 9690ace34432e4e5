"""Which network of an ensemble has not learned from which place, so that it can be scored there."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geoseg.errors import ModelError, one_line
from geoseg.models.ensemble import Ensemble
from geoseg.models.zoo import Model, card_of, folder_of

FOLDS_NAME = "folds.json"


class Folds(BaseModel):
    """What ``folds.json`` of a model folder says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights_sha256: str | None
    """Of the weights that this is about."""
    benchmark: str
    """The data set that was learned from."""
    member: dict[str, Annotated[int, Field(ge=0)]]
    """For each of its places, the number of the network that has not learned from it, from 0."""


def write_folds(folds: Folds, folder: Path, *, weights_sha256: str | None) -> None:
    """Write ``folds.json`` into a model folder, for the weights that lie there."""
    own = folds.model_copy(update={"weights_sha256": weights_sha256})
    (folder / FOLDS_NAME).write_text(own.model_dump_json(indent=2) + "\n", "utf-8")


def folds_of(name: str) -> Folds | None:
    """Of the model called ``name``; None where all its networks learned from the same places.

    Raises:
        ModelError: the file is damaged, or of other weights.
    """
    folder = folder_of(name)
    path = None if folder is None else folder / FOLDS_NAME
    if path is None or not path.is_file():
        return None
    try:
        found = Folds.model_validate_json(path.read_text("utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: {one_line(error)}. Get the model folder again.") from None
    if found.weights_sha256 != card_of(name).sha256:
        raise ModelError(f"{path} is about other weights than those beside it. Get the model folder again.")
    return found


class Unseeing:
    """A model that answers for each place by networks that have not learned from it."""

    def __init__(self, model: Model, folds: Folds | None, benchmark: str) -> None:
        self._model = model
        self._member = folds.member if folds is not None and folds.benchmark == benchmark else {}
        members = model.module.members if isinstance(model.module, Ensemble) else ()
        if self._member and max(self._member.values()) >= len(members):
            raise ModelError(
                f"{FOLDS_NAME} of {model.card.name} names network {max(self._member.values())}, but it has "
                f"{len(members)}, from 0. Get the model folder again."
            )

    def of(self, place: str) -> Model:
        """The one network that has not seen the place; all of them for a place that none has seen."""
        member, module = self._member.get(place), self._model.module
        if member is None or not isinstance(module, Ensemble):
            return self._model
        return replace(self._model, module=module.members[member])

    def n_seen(self, places: set[str]) -> int:
        """How many of the places most of its networks have learned from."""
        return len(places & self._member.keys())
