"""What a family can be told, checked."""

from collections.abc import Mapping

from geoseg.errors import ModelError
from geoseg.models.card import ModelCard
from geoseg.registry import did_you_mean

Option = str | int | float | bool


def options_of(card: ModelCard, defaults: Mapping[str, Option]) -> dict[str, Option]:
    """The card's hyperparameters over the defaults of its family.

    Raises:
        ModelError: the family has no such option.
    """
    for name in card.hyperparameters:
        if name not in defaults:
            raise ModelError(
                f"{card.name}: {card.family} has no {name!r}: {did_you_mean(name, list(defaults))}"
            )
    return {**defaults, **card.hyperparameters}
