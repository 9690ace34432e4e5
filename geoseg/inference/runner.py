"""Tiles through a network: batches, devices, test-time augmentation."""

import copy
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any, TypeVar

import numpy as np
import torch
from rasterio.windows import Window
from torch import nn

from geoseg.errors import ModelError
from geoseg.inference.backends import EAGER, Network, Precision, Work, prepare
from geoseg.inference.device import Copies, ahead, at_most, device_of, halved, n_at_a_time, on, use_threads
from geoseg.inference.known import Pixels, known_part
from geoseg.inference.tta import sizes_of, views_of
from geoseg.inference.uncertainty import check_uncertainty, epistemic_of
from geoseg.models.ensemble import Ensemble
from geoseg.models.int8 import Int8
from geoseg.models.zoo import Model, probs_of, ready

Placed = tuple[Window, Pixels]
"""Where a tile lies, in pixels of the lattice, and its reflectance (band, size, size)."""
Waiting = Callable[[], list[Pixels]]
"""Waits for a batch that is under way, and gives (layer, y, x) of each of its tiles."""
T = TypeVar("T")
DROPOUT_PASSES = 10


@dataclass(frozen=True)
class Inference:
    """How tiles are run."""

    batch_size: int = 1
    """Tiles per step on a GPU. A batch changes the last bits of what a network says of a tile, so on the CPU,
    where it is no faster, tiles are run one at a time."""
    device: str = "cpu"
    """A torch device, as ``cuda:1``, or ``auto``: a GPU where there is one."""
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
    threads: int | None = None
    """On the CPU, of the whole process; None for as many as torch has now."""


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
        use_threads(how.threads)
        self._copies = Copies(self._device)
        self._what: dict[str, Any] = {"model": model.card.name, "size": size, "device": self._device}
        self._batch_size = at_most(n_at_a_time(self._device, how.batch_size), **self._what)
        self._views = views_of(how.tta, size=size, card=model.card)
        looks_inside = bool({"mc-dropout", "ensemble"} & set(how.uncertainty))
        inside = _module_on(self._device, model.module) if looks_inside else model.module
        if "ensemble" in how.uncertainty:  # its members are asked one by one
            self._module: nn.Module | None = inside
            self._is_trimmed = True
        else:
            self._module = None
            self._backend = how.backend
            self._work = Work(size, self._batch_size, self._device, how.precision, how.threads, how.int8)
            self._is_trimmed = how.backend == EAGER
            # torch alone takes tiles of any size.
            self._sizes = (size,) if self._is_trimmed else sizes_of(self._views, size)
            for side in self._sizes:
                self._fitting(partial(self._network, side))
        self._epistemic = epistemic_of(inside, model.card, how.uncertainty, passes=how.dropout_passes)
        self.n_layers = len(model.card.legend.classes) + (self._epistemic is not None)
        """Layers that come out of a tile: the probability of each class, and the epistemic part if asked."""
        self.seconds = 0.0
        """Time spent in the network so far, from normalised pixels to probabilities."""
        self.n_pixels = 0
        """Pixels that went through it so far, halos and views included."""

    def run(self, inputs: Iterator[Placed | None]) -> Iterator[Pixels | None]:
        """(layer, size, size) for each tile, None for None.

        On a GPU a batch is read and sent while the one before is in the network: inputs are taken ahead.
        """
        for layers in ahead(self._under_way(inputs), self._copies.n_ahead):
            yield from layers()

    def _under_way(self, inputs: Iterator[Placed | None]) -> Iterator[Callable[[], list[Pixels | None]]]:
        """Batches that have been sent to the network, each as what waits for its layers."""
        queue: list[Placed | None] = []
        for placed in inputs:
            queue.append(placed)
            if sum(p is not None for p in queue) >= self._batch_size:
                yield self._send(queue)
                queue = []
        yield self._send(queue)

    def _send(self, queue: list[Placed | None]) -> Callable[[], list[Pixels | None]]:
        is_full = [placed is not None for placed in queue]
        full = [placed for placed in queue if placed is not None]
        wait = self._forward(full) if full else list

        def layers() -> list[Pixels | None]:
            found = iter(wait())
            return [next(found) if full else None for full in is_full]

        return layers

    def _forward(self, tiles: list[Placed]) -> Waiting:
        """(layer, size, size) of each, in batches that fit into the device's memory."""

        def send() -> list[Waiting]:
            n = self._batch_size
            return [self._alike(tiles[first : first + n]) for first in range(0, len(tiles), n)]

        sent = self._fitting(send)
        return lambda: [layers for wait in sent for layers in wait()]

    def _fitting(self, do: Callable[[], T]) -> T:
        """What ``do`` gives, on the device, with as large batches as it has memory for."""
        while True:
            try:
                with on(self._device):
                    return do()
            except torch.OutOfMemoryError:
                pass  # what was under way is let go with the error, before the next try
            self._batch_size = halved(self._batch_size, **self._what)

    def _network(self, side: int) -> Network:
        """Ready for tiles of that side, in batches of as many as fit by now."""
        if self._work.batch_size != self._batch_size:
            _forget(self._work)
            self._work = replace(self._work, batch_size=self._batch_size)
        size = side if side in self._sizes else self._work.size
        return _prepared(self._model, self._backend, replace(self._work, size=size))

    def _alike(self, tiles: list[Placed]) -> Waiting:
        """(layer, size, size) of each; tiles whose known parts have one shape run together."""
        if not self._is_trimmed:
            return self._layers_of(tiles)
        parts = [known_part(pixels, self._model.card.tile_multiple) for _, pixels in tiles]
        alike: dict[tuple[int, ...], list[int]] = {}
        for n, (part, (_, pixels)) in enumerate(zip(parts, tiles, strict=True)):
            alike.setdefault(pixels[:, *part].shape, []).append(n)
        sent = [
            (numbers, self._layers_of([(tiles[n][0], tiles[n][1][:, *parts[n]]) for n in numbers]))
            for numbers in alike.values()
        ]
        shapes = [(self.n_layers, *pixels.shape[1:]) for _, pixels in tiles]

        def wait() -> list[Pixels]:
            found = [np.zeros(shape, np.float32) for shape in shapes]
            for numbers, layers_of in sent:
                for n, layers in zip(numbers, layers_of(), strict=True):
                    found[n][:, *parts[n]] = layers
            return found

        return wait

    def _layers_of(self, tiles: list[Placed]) -> Waiting:
        """(layer, y, x) of each."""
        started = time.perf_counter()
        card = self._model.card
        given = self._copies.to_device([pixels for _, pixels in tiles])
        batch = ready(given, card)  # (n, band, y, x)
        answers = self._answers(batch)
        probs = probs_of(self._combined(answers), card)
        self.n_pixels += batch[:, 0].numel()
        for view in self._views[1:]:
            seen = ready(view.there(given), card)
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
        wait = self._copies.to_host(probs, given)
        self.seconds += time.perf_counter() - started
        return lambda: self._taken(wait)

    def _taken(self, wait: Callable[[], Pixels]) -> list[Pixels]:
        started = time.perf_counter()
        found = wait()
        self.seconds += time.perf_counter() - started
        if not np.isfinite(found).all():
            raise ModelError(
                f"Model {self._model.card.name} gave values that are no numbers. Its weights or its card's "
                "mean and std are broken: get the model again, or train it again."
            )
        return list(found)

    def _answers(self, batch: torch.Tensor) -> torch.Tensor:
        """(answer, n, class, y, x) logits: of each member where those are compared, else one."""
        module, card = self._module, self._model.card
        if module is None:
            answers = self._network(batch.shape[-1])(batch)[None]
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


def _forget(work: Work) -> None:
    """Let go of networks that are too large for their device, whatever their tiles."""
    _ready.last = [kept for kept in _ready.last if replace(kept[2], size=work.size) != work]


def _module_on(device: torch.device, module: nn.Module) -> nn.Module:
    """The network itself where it lies on that device, else a copy: ``Module.to`` would move the caller's."""
    if all(tensor.device == device for tensor in chain(module.parameters(), module.buffers())):
        return module
    return copy.deepcopy(module).to(device)
