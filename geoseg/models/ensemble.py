"""Several networks as one: the mean of their probabilities, in one model folder."""

from collections.abc import Sequence

import torch
from torch import nn

from geoseg.errors import ModelError
from geoseg.models.card import ModelCard
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
        return torch.stack([member(pixels).float() for member in self.members])

    def combined(self, member_logits: torch.Tensor) -> torch.Tensor:
        """(n, class, y, x) of :meth:`member_logits`."""
        return member_logits.log_softmax(2).logsumexp(0)


@register_family(FAMILY)
def ensemble(card: ModelCard) -> nn.Module:
    """``members`` networks of ``member_family``, which all other hyperparameters are for."""
    options = {k: v for k, v in card.hyperparameters.items() if k not in _OWN}
    try:
        n, family = int(card.hyperparameters["members"]), str(card.hyperparameters["member_family"])
    except (KeyError, ValueError):
        raise ModelError(
            f"{card.name}: an ensemble needs the hyperparameters members (a number) and member_family."
        ) from None
    member = card.model_copy(update={"family": family, "hyperparameters": options})
    return Ensemble([FAMILIES[family](member) for _ in range(n)])


def ensemble_of(models: Sequence[Model], *, name: str) -> Model:
    """One model of several that were trained alike; they are shared, not copied.

    Raises:
        ModelError: fewer than two, or they differ in family, bands, normalisation or classes.
    """
    if len(models) < 2:
        raise ModelError(f"An ensemble needs at least 2 models, got {len(models)}.")
    first = models[0].card
    for model in models[1:]:
        for key in ("family", "hyperparameters", "bands", "mean", "std", "activation", "legend"):
            if getattr(model.card, key) != getattr(first, key):
                raise ModelError(
                    f"{model.card.name} and {first.name} differ in {key}. Members of an ensemble must be the "
                    "same network with other weights."
                )
    if first.activation != "softmax" or first.family == FAMILY:
        raise ModelError(f"{first.name} cannot be a member: only plain networks with softmax can.")
    members = {"members": len(models), "member_family": first.family}
    card = first.model_copy(
        update={
            "name": name,
            "title": f"Ensemble of {len(models)}: {first.title}",
            "family": FAMILY,
            "hyperparameters": {**first.hyperparameters, **members},
            "sha256": None,
        }
    )
    return prepare_model(Ensemble([model.module for model in models]), card)
