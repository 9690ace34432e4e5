"""Where models come from: built-in cards, families that build networks, and model folders."""

import hashlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from geoseg import models
from geoseg.errors import ModelError
from geoseg.files import sha256_of
from geoseg.models.calibration import ModelCalibration, read_calibration
from geoseg.models.card import CARD_NAME, WEIGHTS_NAME, ModelCard, read_card, write_card
from geoseg.recipe import Recipe
from geoseg.registry import Registry, did_you_mean

DEFAULT_MODEL: str = Recipe.model_fields["model"].default

Builder = Callable[[ModelCard], nn.Module]


def _import_families() -> None:
    for module in pkgutil.iter_modules(models.__path__):
        import_module(f"geoseg.models.{module.name}")


FAMILIES: Registry[Builder] = Registry("model family", ModelError, fill=_import_families)
"""Architectures: each builds an untrained network for the bands and classes of a card."""
CARDS: Registry[ModelCard] = Registry("model", ModelError, fill=_import_families)
"""Models that need no folder."""
_WEIGHTS: dict[str, Callable[[ModelCard], Path]] = {}
"""For those of them that have weights, what gives the folder that holds them."""

_FOLDERS: dict[str, Path] = {}
"""For those that geoseg ships, the model folder in the package."""

register_family = FAMILIES.register


def register_model(card: ModelCard, *, weights: Callable[[ModelCard], Path] | None = None) -> ModelCard:
    """File a built-in model under its card's name; its family must be registered too.

    Args:
        card: what it expects and gives.
        weights: gives the folder that holds its ``weights.safetensors``, and may fetch them; called when the
            model is created, never to list it. None for a model without weights.
    """
    if weights is not None:
        _WEIGHTS[card.name] = weights
    return CARDS.register(card.name)(card)


def register_folder(folder: Path) -> ModelCard:
    """File the model of a folder that geoseg ships under its card's name."""
    card = read_card(folder)
    _FOLDERS[card.name] = folder
    return CARDS.register(card.name)(card)


@dataclass(frozen=True)
class Model:
    """A network ready for inference, with its card."""

    module: nn.Module
    """Maps normalised reflectance (n, band, size, size) float32 to logits (n, class, size, size).

    Nobody changes it: threads share it."""
    card: ModelCard
    calibration: ModelCalibration | None = None
    """What its probabilities are worth; None where that was not measured."""

    @property
    def fingerprint(self) -> str:
        """Of all that decides what it says; see :func:`fingerprint_of`."""
        return fingerprint_of(self.card, self.calibration)


def create_model(name: str) -> Model:
    """The model called ``name``: a built-in one, or a folder with ``item.json`` and ``weights.safetensors``.

    Weights that others publish are fetched when they are first asked for, see :mod:`geoseg.models.weights`.
    Weights are read as safetensors only (no pickle is ever loaded) after their sha256 has been compared with
    the card's. The network is on the CPU, as :func:`prepare_model` leaves it.

    Raises:
        ModelError: unknown name, broken card, wrong checksum, weights that do not fit or cannot be fetched.

    Example:
        >>> create_model("spectral-rules").card.bands
        ('green', 'red', 'nir', 'swir16')
    """
    return replace(load_model(name), calibration=calibration_of(name))


def load_model(name: str) -> Model:
    """The model called ``name`` as :func:`create_model` gives it, but without its calibration.

    Raises:
        ModelError: see :func:`create_model`.
    """
    card = card_of(name)
    module, folder = FAMILIES[card.family](card), folder_of(name)
    if folder is not None:
        _load_weights(module, folder, card)
    elif card.name in _WEIGHTS:
        _load_weights(module, _WEIGHTS[card.name](card), card)
    return prepare_model(module, card)


def prepare_model(module: nn.Module, card: ModelCard) -> Model:
    """A network made ready for inference, once: evaluation mode, no gradients, weights in ``channels_last``.

    The module itself is changed, and is the model's from then on. That layout makes convolutions fast; in
    another one the same weights give results that differ in the last bits.
    """
    return Model(module.eval().requires_grad_(False).to(memory_format=torch.channels_last), card)


def card_of(name: str) -> ModelCard:
    """The card of the model called ``name``, without building it."""
    folder = Path(name)
    if folder.is_dir():
        card = read_card(folder)
        if card.sha256 is None and (folder / WEIGHTS_NAME).is_file():
            card = card.model_copy(update={"sha256": sha256_of(folder / WEIGHTS_NAME)})
        return card
    if name not in CARDS:
        raise ModelError(
            f"No model named {name!r}: {did_you_mean(name, list(CARDS))} "
            f"A model of your own is a folder with {CARD_NAME} and {WEIGHTS_NAME}."
        )
    return CARDS[name]


def calibration_of(name: str) -> ModelCalibration | None:
    """What was measured of the probabilities of the model called ``name``; None where nothing was.

    Raises:
        ModelError: its ``calibration.json`` cannot be used.
    """
    card, folder = card_of(name), folder_of(name)
    if folder is None:
        return None
    return read_calibration(folder, weights_sha256=card.sha256, n_classes=len(card.legend.classes))


def folder_of(name: str) -> Path | None:
    """Where the weights lie; None for a model without any, or whose weights are fetched."""
    return Path(name) if Path(name).is_dir() else _FOLDERS.get(name)


def fingerprint_of(card: ModelCard, calibration: ModelCalibration | None) -> str:
    """sha256 of the card, which holds the weights', and of the calibration."""
    parts = card.model_dump_json(), calibration.fingerprint if calibration else ""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def model_names() -> list[str]:
    """The built-in models, the default first."""
    return sorted(CARDS, key=lambda name: (name != DEFAULT_MODEL, name))


def save_model(model: Model, folder: Path) -> ModelCard:
    """Write the model folder that :func:`create_model` reads; returns the card with the weights' sha256.

    A network without weights gets no weights file. The calibration is not written: it belongs to the folder
    that it was measured on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights, sha256 = model.module.state_dict(), None
    if weights:
        path = folder / WEIGHTS_NAME
        save_file({k: v.contiguous() for k, v in weights.items()}, path)
        path.chmod(0o644)  # safetensors makes it readable by its owner alone
        sha256 = sha256_of(path)
    card = model.card.model_copy(update={"sha256": sha256})
    write_card(card, folder)
    return card


def read_weights(folder: Path, card: ModelCard) -> dict[str, torch.Tensor]:
    """The weights of a model folder by their names, after their sha256 has been compared with the card's.

    Raises:
        ModelError: they are others, or no safetensors.
    """
    path = folder / WEIGHTS_NAME
    found = sha256_of(path)
    if card.sha256 and found != card.sha256:
        raise ModelError(
            f"{path} has sha256 {found[:12]}…, its card says {card.sha256[:12]}…: "
            "the file is not the one that was published. Fetch the folder again."
        )
    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise ModelError(f"{path} is not a safetensors file: {error}.") from None


def _load_weights(module: nn.Module, folder: Path, card: ModelCard) -> None:
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        if module.state_dict():
            raise ModelError(f"{folder} has no {WEIGHTS_NAME}. Put the weights beside {CARD_NAME}.")
        return
    try:
        module.load_state_dict(read_weights(folder, card))
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:300]
        raise ModelError(f"{path} does not fit the {card.family} of its card: {detail}") from None


def probs_of(logits: torch.Tensor, card: ModelCard) -> torch.Tensor:
    """Probabilities (n, class, y, x) float32 of a network's logits."""
    logits = logits.float()
    if card.activation == "evidential":
        alpha = nn.functional.softplus(logits) + 1
        return alpha / alpha.sum(1, keepdim=True)
    return logits.softmax(1)


def normalise(pixels: torch.Tensor, card: ModelCard) -> torch.Tensor:
    """Reflectance (n, band, y, x) as the network wants it: (x - mean) / std per band."""
    if card.mean is not None:
        pixels = pixels - _per_band(card.mean, pixels)
    if card.std is not None:
        pixels = pixels / _per_band(card.std, pixels)
    return pixels


def _per_band(values: tuple[float, ...], pixels: torch.Tensor) -> torch.Tensor:
    """(band, 1, 1) where the pixels are."""
    if not pixels.is_cuda:
        return pixels.new_tensor(values)[:, None, None]
    pinned = torch.tensor(values, dtype=pixels.dtype, pin_memory=True)  # else the copy waits for the GPU
    return pinned.to(pixels.device, non_blocking=True)[:, None, None]


def ready(pixels: torch.Tensor, card: ModelCard) -> torch.Tensor:
    """Normalised reflectance (n, band, y, x) without nodata, in ``channels_last``, as a network takes it.

    A pixel that lacks a value in any band has none: all its bands become their means, which is 0. Half a
    pixel would be a colour that no place has, and would be in the means around its neighbours.
    """
    is_known = pixels.isfinite().all(1, keepdim=True)
    filled = torch.where(is_known, normalise(pixels, card), 0.0)
    return filled.contiguous(memory_format=torch.channels_last)


def logits_of(network: nn.Module, pixels: torch.Tensor, card: ModelCard) -> torch.Tensor:
    """(n, class, y, x) for reflectance (n, band, y, x) of any size: what it lacks of a tile is nodata."""
    height, width = pixels.shape[-2:]
    lack = (0, -width % card.tile_multiple, 0, -height % card.tile_multiple)
    filled = nn.functional.pad(pixels, lack, value=float("nan"))
    logits: torch.Tensor = network(ready(filled, card))
    return logits[..., :height, :width]
