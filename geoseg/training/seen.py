"""What other models have learned from: places that are validated on must not be among it."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from geoseg.errors import GeosegError, GeosegWarning, TrainingError
from geoseg.evaluation.benchmark_images import Part
from geoseg.evaluation.labelled import benchmark_of
from geoseg.models.folds import folds_of
from geoseg.models.zoo import CARDS, FAMILIES, card_of, folder_of
from geoseg.training.data import read_splits
from geoseg.training.recipe import RECIPE, TrainRecipe

Place = tuple[str, str]
"""The name of a data set, and that of a place in it."""


@dataclass(frozen=True)
class Seen:
    """What a model is known to have learned from."""

    places: frozenset[Place] = frozenset()
    is_all: bool = False
    """Whether it says so itself, and names all of them."""


def models_of(recipe: TrainRecipe) -> Iterator[tuple[str, str]]:
    """The models that teach what a recipe asks for: the key that names each, and its name."""
    if recipe.start.model is not None:
        yield "start.model", recipe.start.model
    for teacher in recipe.distill.teachers if recipe.distill is not None else ():
        yield "distill.teachers", teacher
    if recipe.pseudo is not None:
        yield "pseudo.model", recipe.pseudo.model


def refuse_seen(recipe: TrainRecipe) -> None:
    """Refuse models that know the places that are validated on; warn of those of which nothing is known.

    Raises:
        TrainingError: one has learned from such a place, as its folder says.
    """
    models = [(key, name) for key, name in models_of(recipe) if _is_there(name)]
    if not models:
        return
    held = read_splits(recipe.data)[1]
    validated, silent = {(held.benchmark.name, place) for place in held.places}, []
    for key, name in models:
        seen = seen_by(name)
        if both := sorted(seen.places & validated):
            raise TrainingError(
                f"{key}: {name} has learned from {len(both)} of the {len(validated)} places that are "
                f"validated on (first: {both[0][1]} of {both[0][0]}), so scores would be too good. Take a "
                "model that has not, or validate on other places."
            )
        if not seen.is_all:
            silent.append(name)
    if silent:
        warnings.warn(
            f"Nothing says what {', '.join(silent)} learned from: if places that are validated on are among "
            "it, scores are too good.",
            GeosegWarning,
            stacklevel=2,
        )


def seen_by(name: str, *, before: frozenset[str] = frozenset()) -> Seen:
    """What a model has learned from, and those that it began with or was taught by: see its folder.

    Args:
        name: a folder, the name of a built-in model, or an ONNX file.
        before: models that were asked already.
    """
    if name in before or name.endswith(".onnx") or not _is_there(name):
        return Seen()
    card, folder = card_of(name), folder_of(name)
    if folder is None:  # rules have no weights, and so have learned from nothing
        return Seen(is_all=not FAMILIES[card.family](card).state_dict())
    folds = folds_of(name)
    own = frozenset() if folds is None else frozenset((folds.benchmark, place) for place in folds.member)
    if not (folder / RECIPE).is_file():
        return Seen(own, is_all=folds is not None)
    asked = _of_recipe(folder / RECIPE, before | {name})
    return Seen(own | asked.places, asked.is_all)


def _is_there(name: str) -> bool:
    return Path(name).exists() or name in CARDS


def _of_recipe(path: Path, before: frozenset[str]) -> Seen:
    try:
        recipe = TrainRecipe.model_validate_json(path.read_text("utf-8"))
        places = frozenset(_learned(recipe))
    except (OSError, UnicodeDecodeError, ValidationError, GeosegError):
        return Seen()  # of another version, or the data lie elsewhere by now
    others = [seen_by(name, before=before) for _, name in models_of(recipe)]
    return Seen(places.union(*(o.places for o in others)), all(o.is_all for o in others))


def _learned(recipe: TrainRecipe) -> Iterator[Place]:
    """Places of all data sets that a recipe learns from."""
    train = read_splits(recipe.data)[0]
    yield from ((train.benchmark.name, place) for place in train.places)
    for table in (recipe.pseudo, recipe.beside):
        if table is not None:
            benchmark = benchmark_of(table.benchmark)
            for split in Part(table.benchmark, Path(table.root), table.split).splits_of(benchmark):
                yield from ((benchmark.name, s.place) for s in benchmark.samples(Path(table.root), split))
