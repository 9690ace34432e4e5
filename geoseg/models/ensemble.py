"""Several networks as one: the mean of their probabilities, in one model folder."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from geoseg.errors import ModelError
from geoseg.models.card import ModelCard
from geoseg.models.context import ContextMLP
from geoseg.models.hyperparameters import Option
from geoseg.models.unet import WithIndices
from geoseg.models.zoo import FAMILIES, Model, prepare_model, register_family

FAMILY = "ensemble"
_OWN = ("members", "member_family")


class Ensemble(nn.Module):
    """Networks that take and give the same; its logits are the logarithm of their mean probabilities
    (Lakshminarayanan et al. 2017, arXiv:1612.01474, section 2.4).
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(n, band, y, x) to (n, class, y, x)."""
        return self.combined(self.member_logits(pixels))

    def member_logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """(member, n, class, y, x) what each says."""
        shared: torch.Tensor | None = None  # members know the same bands and norms: see joined_card
        logits = []
        for member in self.members:
            if isinstance(member, WithIndices) and isinstance(member.network, ContextMLP):
                if shared is None:
                    shared = member.network.features(member.with_indices(pixels))
                logits.append(member.network.answer(shared).float())
            else:
                logits.append(member(pixels).float())
        return torch.stack(logits)

    def combined(self, member_logits: torch.Tensor) -> torch.Tensor:
        """(n, class, y, x) of :meth:`member_logits`."""
        return member_logits.log_softmax(2).logsumexp(0)


@register_family(FAMILY)
def ensemble(card: ModelCard) -> nn.Module:
    """``members`` networks of ``member_family``, which all other hyperparameters are for.

    Where that is a list with commas, there is one network of each, and options are called ``family.option``.
    """
    given = card.hyperparameters
    try:
        n, named = int(given["members"]), str(given["member_family"])
    except (KeyError, ValueError):
        raise ModelError(
            f"{card.name}: an ensemble needs the hyperparameters members (a number) and member_family."
        ) from None
    families = named.split(",")
    if len(families) == 1:
        own = {k: v for k, v in given.items() if k not in _OWN}
        return Ensemble([_member(card, named, own) for _ in range(n)])
    return Ensemble([_member(card, family, _of_family(given, family)) for family in families])


def _of_family(given: dict[str, Option], family: str) -> dict[str, Option]:
    return {k.removeprefix(f"{family}."): v for k, v in given.items() if k.startswith(f"{family}.")}


def _member(card: ModelCard, family: str, options: dict[str, Option]) -> nn.Module:
    return FAMILIES[family](card.model_copy(update={"family": family, "hyperparameters": options}))


def ensemble_of(models: Sequence[Model], *, name: str) -> Model:
    """One model of several that were trained on the same data; they are shared, not copied.

    Raises:
        ModelError: see :func:`joined_card`.
    """
    card = joined_card([model.card for model in models], name=name)
    return prepare_model(Ensemble([model.module for model in models]), card)


def joined_card(cards: Sequence[ModelCard], *, name: str) -> ModelCard:
    """The card of an ensemble of models with these cards.

    Raises:
        ModelError: fewer than two, or they differ in bands, normalisation or classes, or, being of one
            family, in hyperparameters; or no tile fits all.
    """
    if len(cards) < 2:
        raise ModelError(f"An ensemble needs at least 2 models, got {len(cards)}.")
    by_family: dict[str, ModelCard] = {}
    for card in cards:
        if card.activation != "softmax" or card.family == FAMILY:
            raise ModelError(f"{card.name} cannot be a member: only plain networks with softmax can.")
        alike = by_family.setdefault(card.family, card)
        _refuse_other(card, alike, ("hyperparameters",))
        _refuse_other(card, cards[0], ("bands", "mean", "std", "legend"))
    multiple = math.lcm(*(card.tile_multiple for card in cards))
    if cards[0].tile_size % multiple:
        raise ModelError(
            f"{cards[0].name} has tiles of {cards[0].tile_size}, expected a multiple of {multiple}."
        )
    options, member_family = cards[0].hyperparameters, cards[0].family
    if len(by_family) > 1:
        options = {f"{f}.{k}": v for f, card in by_family.items() for k, v in card.hyperparameters.items()}
        member_family = ",".join(card.family for card in cards)
    return cards[0].model_copy(
        update={
            "name": name,
            "title": f"Ensemble of {len(cards)}: {cards[0].title}",
            "family": FAMILY,
            "hyperparameters": {**options, "members": len(cards), "member_family": member_family},
            "halo": max(card.halo for card in cards),
            "tile_multiple": multiple,
            "sha256": None,
        }
    )


def _refuse_other(card: ModelCard, first: ModelCard, keys: Sequence[str]) -> None:
    for key in keys:
        if getattr(card, key) != getattr(first, key):
            raise ModelError(
                f"{card.name} and {first.name} differ in {key}. Members of an ensemble must be trained on "
                "the same data, and those of one family be the same network with other weights."
            )
