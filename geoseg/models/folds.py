"""Which network of an ensemble has not learned from which place, so that it can be scored there."""

from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from geoseg.errors import ModelError, one_line
from geoseg.models.ensemble import Ensemble
from geoseg.models.zoo import Model, folder_of

FOLDS_NAME = "folds.json"


class Folds(BaseModel):
    """What ``folds.json`` of a model folder says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: str
    """The data set that was learned from."""
    member: dict[str, int]
    """For each of its places, the number of the network that has not learned from it, from 0."""


def write_folds(folds: Folds, folder: Path) -> None:
    """Write ``folds.json`` into a model folder."""
    (folder / FOLDS_NAME).write_text(folds.model_dump_json(indent=2) + "\n", "utf-8")


def folds_of(name: str) -> Folds | None:
    """Of the model called ``name``; None where all its networks learned from the same places.

    Raises:
        ModelError: the file is damaged.
    """
    folder = folder_of(name)
    path = None if folder is None else folder / FOLDS_NAME
    if path is None or not path.is_file():
        return None
    try:
        return Folds.model_validate_json(path.read_text("utf-8"))
    except ValidationError as error:
        raise ModelError(f"{path}: {one_line(error)}.") from None


class Unseeing:
    """A model that answers for each place by networks that have not learned from it."""

    def __init__(self, model: Model, folds: Folds | None, benchmark: str) -> None:
        self._model = model
        self._member = folds.member if folds is not None and folds.benchmark == benchmark else {}

    def of(self, place: str) -> Model:
        """The one network that has not seen the place; all of them for a place that none has seen."""
        member, module = self._member.get(place), self._model.module
        if member is None or not isinstance(module, Ensemble):
            return self._model
        return replace(self._model, module=module.members[member])

    def n_seen(self, places: set[str]) -> int:
        """How many of the places most of its networks have learned from."""
        return len(places & self._member.keys())
