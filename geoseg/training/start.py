"""Weights to begin with: those of another model, for other bands if need be, and which of them may change."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils import parametrize

from geoseg.errors import TrainingError
from geoseg.imagery.bands import SUBSTITUTES
from geoseg.models.card import WEIGHTS_NAME, ModelCard
from geoseg.models.zoo import card_of, read_weights
from geoseg.registry import did_you_mean
from geoseg.training.tables import Start, Stem


def begin(network: nn.Module, card: ModelCard, start: Start) -> tuple[nn.Module, tuple[str, ...]]:
    """The network with another model's weights, frozen and adapted as ``start`` says, and what was left new.

    Layers of another shape, such as those of other classes, keep their fresh weights; the first convolution
    is fitted to the bands.

    Raises:
        TrainingError: no weights there, none that fit, or parts to freeze that the network has not.
    """
    fresh: tuple[str, ...] = ()
    if start.model is not None:
        fresh = _load(network, card, Path(start.model), start.stem)
    _freeze(network, start.freeze)
    if start.lora_rank is not None and (start.model is None or start.freeze or start.stem == "projection"):
        raise TrainingError(
            "start.lora_rank needs start.model, whose layers it goes beside, and goes neither with freeze "
            'nor with stem = "projection".'
        )
    if start.lora_rank is not None:
        network = _with_lora(network, start.lora_rank, fresh)
    return network, fresh


def settle(network: nn.Module) -> nn.Module:
    """The trained network as its family builds it: what was added for the training becomes plain weights."""
    if callable(unload := getattr(network, "merge_and_unload", None)):
        network = unload()
    for module in network.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
    return network


def fit_stem(weight: torch.Tensor, given: Sequence[str], wanted: Sequence[str], stem: Stem) -> torch.Tensor:
    """A first convolution's weights (out, band, y, x) for other bands; all ways keep the size of its output.

    Args:
        weight: for the bands ``given``.
        given: the bands that it was trained on.
        wanted: the bands that it shall take.
        stem: ``mean`` gives each band the mean of all; ``cycle`` takes them in turn, as timm does; ``zero``
            gives bands that both have their own and others nothing.
    """
    n_given, n_wanted = len(given), len(wanted)
    if stem == "zero":
        found = [_like(band, given) for band in wanted]
        if all(k is None for k in found):
            raise TrainingError(
                f"None of {', '.join(wanted)} is a band of the model to begin with ({', '.join(given)}), so "
                'stem = "zero" would leave nothing. Give "mean".'
            )
        return torch.stack([weight[:, k] if k is not None else 0 * weight[:, 0] for k in found], 1)
    if stem == "cycle":
        return weight[:, [k % n_given for k in range(n_wanted)]] * (n_given / n_wanted)
    return weight.mean(1, keepdim=True).repeat(1, n_wanted, 1, 1) * (n_given / n_wanted)


class _Projection(nn.Module):
    """A first convolution for the bands given, behind a learned mix of the bands wanted.

    A mix of bands followed by a convolution is a convolution, so nothing of it is left after the training.
    """

    def __init__(self, given: Sequence[str], wanted: Sequence[str]) -> None:
        super().__init__()
        mix = torch.full((len(given), len(wanted)), 0.0)
        for n, band in enumerate(given):
            k = _like(band, wanted)
            mix[n] = 1 / len(wanted) if k is None else nn.functional.one_hot(torch.tensor(k), len(wanted))
        self.mix = nn.Parameter(mix)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """(out, given, y, x) to (out, wanted, y, x)."""
        return torch.einsum("ogyx,gw->owyx", weight, self.mix)


def _like(band: str, bands: Sequence[str]) -> int | None:
    names = (band, *SUBSTITUTES.get(band, ()))
    return next((bands.index(name) for name in names if name in bands), None)


def _load(network: nn.Module, card: ModelCard, folder: Path, stem: Stem) -> tuple[str, ...]:
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        raise TrainingError(f"start.model: {folder} has no {WEIGHTS_NAME}. Give a model folder.")
    old = card_of(str(folder))
    if old.family != card.family:
        raise TrainingError(
            f"start.model: {folder} is a {old.family}, this network a {card.family}. Give one of its family."
        )
    there, own = read_weights(folder, old), network.state_dict()
    first = next((n for n, m in network.named_modules() if isinstance(m, nn.Conv2d)), None)
    key = f"{first}.weight"
    of_classes = _heads(network, len(card.legend.classes)) if _names(old) != _names(card) else ()
    fits = {
        k: v
        for k, v in there.items()
        if k in own and own[k].shape == v.shape and not k.startswith(of_classes)
        and not (k == key and old.bands != card.bands)
    }  # fmt: skip
    has_other_stem = key in own and key in there and key not in fits
    is_mixed = False
    if has_other_stem and own[key].shape[1] == len(card.bands) and there[key].shape[1] == len(old.bands):
        is_mixed = stem == "projection"
        if is_mixed:
            convolution = network.get_submodule(str(first))
            convolution.register_parameter("weight", nn.Parameter(there[key]))
            parametrize.register_parametrization(
                convolution, "weight", _Projection(old.bands, card.bands), unsafe=True
            )
        else:
            fits[key] = fit_stem(there[key], old.bands, card.bands, stem)
    if not fits:
        raise TrainingError(
            f"Not one layer of {folder} ({old.family}) fits this network ({card.family}). Give the same "
            "family and hyperparameters."
        )
    network.load_state_dict(fits, strict=False)
    loaded = {*fits, *([key] if is_mixed else [])}
    return tuple(sorted({k.rpartition(".")[0] for k in own if k not in loaded}))


def _names(card: ModelCard) -> list[str]:
    return [c.name for c in card.legend.classes]


def _heads(network: nn.Module, n_classes: int) -> tuple[str, ...]:
    """The layers that give the classes: those that the network names, or its last with as many outputs."""
    named = [
        f"{path}.{head}.".lstrip(".")
        for path, module in network.named_modules()
        for head in getattr(module, "HEADS", ())
    ]
    if named:
        return tuple(named)
    found = [
        n for n, m in network.named_modules() if isinstance(m, nn.Conv2d) and m.out_channels == n_classes
    ]
    return tuple(f"{name}." for name in found[-1:])


def _freeze(network: nn.Module, parts: Sequence[str]) -> None:
    names = [name for name, _ in network.named_modules() if name]
    for part in parts:
        if part not in names:
            raise TrainingError(f"start.freeze: no part {part!r}: {did_you_mean(part, names)}")
        network.get_submodule(part).requires_grad_(False)
    if parts and not any(p.requires_grad for p in network.parameters()):
        raise TrainingError("start.freeze leaves nothing to train. Freeze fewer parts.")


def keep_frozen_still(network: nn.Module) -> None:
    """Norms whose weights stay keep their statistics too; others learn, and so do norms without weights."""
    for module in network.modules():
        own = list(module.parameters(recurse=False))
        if own and not any(p.requires_grad for p in own) and hasattr(module, "running_mean"):
            module.eval()


def _with_lora(network: nn.Module, rank: int, fresh: Sequence[str]) -> nn.Module:
    """Low-rank steps beside the convolutions and linear layers (Hu et al. 2021, arXiv:2106.09685)."""
    try:
        from peft import LoraConfig, LoraModel
    except ModuleNotFoundError:
        raise TrainingError("start.lora_rank needs peft: pip install 'geoseg[lora]'.") from None
    targets = [
        name
        for name, module in network.named_modules()
        if isinstance(module, (nn.Conv2d, nn.Linear)) and getattr(module, "groups", 1) == 1
        and name not in fresh
    ]  # fmt: skip
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    adapted = LoraModel(network, config, "default")
    for name, module in network.named_modules():
        if any(name == part or name.startswith(f"{part}.") for part in fresh):
            module.requires_grad_(True)
    return adapted
