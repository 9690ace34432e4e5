"""Tiles through a network: batches, devices, test-time augmentation."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from rasterio.windows import Window
from torch import nn

from geoseg.errors import ModelError, RecipeError
from geoseg.inference.uncertainty import check_uncertainty, epistemic_of
from geoseg.models.ensemble import Ensemble
from geoseg.models.zoo import Model, probs_of, ready

Pixels = NDArray[np.float32]
Placed = tuple[Window, Pixels]
"""Where a tile lies, in pixels of the lattice, and its reflectance (band, size, size)."""
DROPOUT_PASSES = 10


@dataclass(frozen=True)
class Inference:
    """How tiles are run."""

    batch_size: int = 1
    """Tiles per step on a GPU. A batch changes the last bits of what a network says of a tile, so on the CPU,
    where it is no faster, tiles are run one at a time."""
    device: str = "cpu"
    """A torch device, or ``auto``: a GPU where there is one."""
    tta: str = "none"
    """Test-time augmentation: ``none``, ``flip`` (4 reflections) or ``d4`` (8 rotations and reflections),
    whose probabilities are averaged."""
    uncertainty: tuple[str, ...] = ()
    """Keys of :data:`geoseg.inference.uncertainty.LAYER_OF`: the layers added to class and confidence."""
    dropout_passes: int = DROPOUT_PASSES
    """Answers that ``mc-dropout`` compares."""


AUTO = Inference(device="auto")
"""On a GPU where there is one."""


class Runner:
    """Tiles through a network, in order."""

    def __init__(self, model: Model, how: Inference) -> None:
        check_uncertainty(model, how.uncertainty)
        self._model = model
        self._device = device_of(how.device)
        self._module = _module_on(self._device, model.module)
        self._batch_size = n_at_a_time(self._device, how.batch_size)
        self._turns = TURNS[how.tta]
        self._epistemic = epistemic_of(self._module, model.card, how.uncertainty, passes=how.dropout_passes)
        self.n_layers = len(model.card.legend.classes) + (self._epistemic is not None)
        """Layers that come out of a tile: the probability of each class, and the epistemic part if asked."""

    def run(self, inputs: Iterator[Placed | None]) -> Iterator[Pixels | None]:
        """(layer, size, size) for each tile, None for None."""
        queue: list[Placed | None] = []
        for placed in inputs:
            queue.append(placed)
            if sum(p is not None for p in queue) == self._batch_size:
                yield from self._flush(queue)
                queue = []
        yield from self._flush(queue)

    def _flush(self, queue: list[Placed | None]) -> Iterator[Pixels | None]:
        full = [placed for placed in queue if placed is not None]
        layers = iter(self._forward(full) if full else [])
        for placed in queue:
            yield None if placed is None else next(layers)

    def _forward(self, tiles: list[Placed]) -> list[Pixels]:
        card = self._model.card
        batch = torch.from_numpy(np.stack([pixels for _, pixels in tiles])).to(self._device)
        batch = ready(batch, card)  # (n, band, y, x)
        answers = self._answers(batch)
        probs = probs_of(self._combined(answers), card)
        for turn, back in self._turns[1:]:
            turned = turn(batch).contiguous(memory_format=torch.channels_last)
            probs = probs + back(probs_of(self._combined(self._answers(turned)), card))
        probs = probs / len(self._turns)
        if self._epistemic is not None:
            parts = [
                self._epistemic(batch[n : n + 1], answers[:, n], window)
                for n, (window, _) in enumerate(tiles)
            ]
            probs = torch.cat([probs, torch.stack(parts)[:, None]], 1)
        found = probs.cpu().numpy()
        if not np.isfinite(found).all():
            raise ModelError(
                f"Model {card.name} gave values that are no numbers. Its weights or its card's mean and std "
                "are broken: get the model again, or train it again."
            )
        return list(found)

    def _answers(self, batch: torch.Tensor) -> torch.Tensor:
        """(answer, n, class, y, x) logits: of each member of an ensemble, else one."""
        module, card = self._module, self._model.card
        answers: torch.Tensor = (
            module.member_logits(batch) if isinstance(module, Ensemble) else module(batch)[None]
        )
        expected = (len(batch), len(card.legend.classes), *batch.shape[-2:])
        if tuple(answers.shape[1:]) != expected:
            raise ModelError(
                f"Model {card.name} gave logits of shape {tuple(answers.shape[1:])}, "
                f"its card promises {expected}."
            )
        return answers

    def _combined(self, answers: torch.Tensor) -> torch.Tensor:
        """(n, class, y, x)"""
        return self._module.combined(answers) if isinstance(self._module, Ensemble) else answers[0]


Turn = Callable[[torch.Tensor], torch.Tensor]


def _turn(quarters: int, is_mirrored: bool) -> tuple[Turn, Turn]:
    """A symmetry of the square and the one that undoes it."""

    def there(x: torch.Tensor) -> torch.Tensor:
        return torch.rot90(x.flip(-1) if is_mirrored else x, quarters, (-2, -1))

    def back(x: torch.Tensor) -> torch.Tensor:
        x = torch.rot90(x, -quarters, (-2, -1))
        return x.flip(-1) if is_mirrored else x

    return there, back


_D4 = [_turn(quarters, is_mirrored) for is_mirrored in (False, True) for quarters in range(4)]
TURNS = {"none": _D4[:1], "flip": [_D4[0], _D4[2], _D4[4], _D4[6]], "d4": _D4}
"""By name of the test-time augmentation; the first leaves the tile as it is."""


def device_of(name: str) -> torch.device:
    """The device called ``name``; ``auto`` is a GPU where there is one.

    Raises:
        RecipeError: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise RecipeError(f"--device {name} is not a device. Give cpu, cuda or auto.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RecipeError(f"--device {name}: torch finds no GPU here. Give cpu or auto.")
    return device


def n_at_a_time(device: torch.device, batch_size: int) -> int:
    """Tiles in a batch on that device."""
    return 1 if device.type == "cpu" else batch_size


def _module_on(device: torch.device, module: nn.Module) -> nn.Module:
    """The network itself where it lies on that device, else a copy: ``Module.to`` would move the caller's."""
    if all(tensor.device == device for tensor in chain(module.parameters(), module.buffers())):
        return module
    return copy.deepcopy(module).to(device)
