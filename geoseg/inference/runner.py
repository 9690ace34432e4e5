"""Tiles through a network: batches, devices, test-time augmentation."""

import copy
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from rasterio.windows import Window
from torch import nn

from geoseg.errors import ModelError, RecipeError
from geoseg.inference.backends import EAGER, Network, Precision, Work, prepare
from geoseg.inference.tta import sizes_of, views_of
from geoseg.inference.uncertainty import check_uncertainty, epistemic_of
from geoseg.models.ensemble import Ensemble
from geoseg.models.int8 import Int8
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
    """Test-time augmentation, see :data:`geoseg.recipe.Tta`: the ways to see a tile whose probabilities are
    averaged."""
    uncertainty: tuple[str, ...] = ()
    """Keys of :data:`geoseg.inference.uncertainty.LAYER_OF`: the layers added to class and confidence."""
    dropout_passes: int = DROPOUT_PASSES
    """Answers that ``mc-dropout`` compares."""
    backend: str = EAGER
    """What runs the network, a name of :data:`geoseg.inference.backends.BACKENDS`."""
    precision: Precision = "float32"
    """Of its arithmetic."""
    int8: Int8 | None = None
    """Ranges of its layers, which precision ``int8`` needs."""


AUTO = Inference(device="auto")
"""On a GPU where there is one."""


class Runner:
    """Tiles through a network, in order."""

    def __init__(self, model: Model, how: Inference, *, size: int) -> None:
        """Ready to run tiles of ``size`` pixels square.

        Raises:
            ModelError: the model cannot say what was asked for.
            RecipeError: the backend cannot do it here, or the model takes no tiles of other sizes.
        """
        check_uncertainty(model, how.uncertainty)
        self._model = model
        self._device = device_of(how.device)
        self._batch_size = n_at_a_time(self._device, how.batch_size)
        self._views = views_of(how.tta, size=size, card=model.card)
        if {"mc-dropout", "ensemble"} & set(how.uncertainty):  # these look into the network
            self._module: nn.Module | None = _module_on(self._device, model.module)
            self._is_trimmed = True
        else:
            self._module = None
            work = Work(size, self._batch_size, self._device, how.precision, int8=how.int8)
            self._is_trimmed = how.backend == EAGER
            sizes = (size,) if self._is_trimmed else sizes_of(self._views, size)  # torch alone takes any
            self._networks = {n: _prepared(model, how.backend, replace(work, size=n)) for n in sizes}
            self._network = self._networks[size]
        self._epistemic = epistemic_of(
            self._module or model.module, model.card, how.uncertainty, passes=how.dropout_passes
        )
        self.n_layers = len(model.card.legend.classes) + (self._epistemic is not None)
        """Layers that come out of a tile: the probability of each class, and the epistemic part if asked."""
        self.seconds = 0.0
        """Time spent in the network so far, from normalised pixels to probabilities."""
        self.n_pixels = 0
        """Pixels that went through it so far, halos and views included."""

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
        """(layer, size, size) of each; tiles whose known parts have one shape run together."""
        if not self._is_trimmed:
            return self._layers_of(tiles)
        parts = [known_part(pixels, self._model.card.tile_multiple) for _, pixels in tiles]
        alike: dict[tuple[int, ...], list[int]] = {}
        for n, (part, (_, pixels)) in enumerate(zip(parts, tiles, strict=True)):
            alike.setdefault(pixels[:, *part].shape, []).append(n)
        found = [np.zeros((self.n_layers, *pixels.shape[1:]), np.float32) for _, pixels in tiles]
        for numbers in alike.values():
            cut = [(tiles[n][0], tiles[n][1][:, *parts[n]]) for n in numbers]
            for n, layers in zip(numbers, self._layers_of(cut), strict=True):
                found[n][:, *parts[n]] = layers
        return found

    def _layers_of(self, tiles: list[Placed]) -> list[Pixels]:
        """(layer, y, x) of each."""
        started = time.perf_counter()
        card = self._model.card
        reflectance = torch.from_numpy(np.stack([pixels for _, pixels in tiles])).to(self._device)
        batch = ready(reflectance, card)  # (n, band, y, x)
        answers = self._answers(batch)
        probs = probs_of(self._combined(answers), card)
        self.n_pixels += batch[:, 0].numel()
        for view in self._views[1:]:
            seen = ready(view.there(reflectance), card)
            probs = probs + view.back(probs_of(self._combined(self._answers(seen)), card), batch.shape[-2:])
            self.n_pixels += seen[:, 0].numel()
        if len(self._views) > 1:
            probs = probs / len(self._views)
        if self._epistemic is not None:
            parts = [
                self._epistemic(batch[n : n + 1], answers[:, n], window)
                for n, (window, _) in enumerate(tiles)
            ]
            probs = torch.cat([probs, torch.stack(parts)[:, None]], 1)
        found = probs.cpu().numpy()
        self.seconds += time.perf_counter() - started
        if not np.isfinite(found).all():
            raise ModelError(
                f"Model {card.name} gave values that are no numbers. Its weights or its card's mean and std "
                "are broken: get the model again, or train it again."
            )
        return list(found)

    def _answers(self, batch: torch.Tensor) -> torch.Tensor:
        """(answer, n, class, y, x) logits: of each member where those are compared, else one."""
        module, card = self._module, self._model.card
        if module is None:
            answers = self._networks.get(batch.shape[-1], self._network)(batch)[None]
        else:
            answers = module.member_logits(batch) if isinstance(module, Ensemble) else module(batch)[None]
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


def known_part(pixels: Pixels, multiple: int) -> tuple[slice, slice]:
    """Rows and columns of a tile (band, y, x) without the rims that have no pixel with all its bands.

    Begins and ends at whole multiples of ``multiple``, and holds at least one. It depends on nothing but the
    tile's pixels, and so does what the network says of them.
    """
    is_known = np.asarray(np.isfinite(pixels).all(axis=0))
    return _span(is_known, 1, multiple), _span(is_known, 0, multiple)


def _span(is_known: NDArray[np.bool_], across: int, multiple: int) -> slice:
    at = np.flatnonzero(is_known.any(axis=across))
    if not len(at):
        return slice(0, multiple)
    return slice(int(at[0]) // multiple * multiple, -(-(int(at[-1]) + 1) // multiple) * multiple)


class _Ready(threading.local):
    """The networks that this thread made ready last: each is for one thread at a time."""

    def __init__(self) -> None:
        self.last: list[tuple[nn.Module, str, Work, Network]] = []


_KEPT = 4
_ready = _Ready()


def _prepared(model: Model, backend: str, work: Work) -> Network:
    """Made ready once: the next block takes the same."""
    for module, name, done, network in _ready.last:
        if module is model.module and (name, done) == (backend, work):
            return network
    network = prepare(backend, model, work)
    _ready.last = [(model.module, backend, work, network), *_ready.last[: _KEPT - 1]]
    return network


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
