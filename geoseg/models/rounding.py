"""Where an int8 runtime rounds a network, and how: ranges that are watched, weights on 255 steps.

Jacob et al. 2018 (arXiv:1712.05877), Krishnamoorthi 2018 (arXiv:1806.08342): weights are symmetric int8 by
output channel, what goes into and comes out of a layer affine uint8 by tensor.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.hooks import RemovableHandle

from geoseg.models.ensemble import Ensemble

LAYERS = (nn.Conv2d, nn.Linear)
"""What runs in int8. Other layers, and convolutions that are no modules, stay in float."""
WEIGHT_LIMIT = 127
LEVELS = 255
_LEAST = 1e-12
"""Of a step: a tensor of zeros has one too."""
_SHARE = 0.05
"""Of a batch in the mean of the smallest and largest values, once twenty were seen."""
_TRACED_SIDE = 64


@dataclass(frozen=True)
class Layer:
    """A layer that runs in int8, and what a runtime makes one with it."""

    name: str
    """Of the module in its network."""
    norm: str | None
    """The batch norm that is folded into its weights."""
    has_relu: bool
    """Whether only what is above 0 of its output is used."""
    gives: bool
    """Whether its output is rounded: not where the next layer rounds it anyway, and not logits."""


@dataclass(frozen=True)
class _Call:
    name: str
    module: nn.Module
    taken: tuple[torch.Tensor, int]
    """With its version: what was changed in place is another tensor."""
    given: tuple[torch.Tensor, int]


def networks_of(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Networks that give logits each, and the prefix of their layers' names: the members of an ensemble."""
    if isinstance(module, Ensemble):
        return [(f"members.{n}.", member) for n, member in enumerate(module.members)]
    return [("", module)]


def layers_of(network: nn.Module, *, n_bands: int, tile_multiple: int) -> tuple[Layer, ...]:
    """The layers that an image goes through, in that order, found by sending one through."""
    calls = _calls(network, n_bands=n_bands, side=tile_multiple * -(-_TRACED_SIDE // tile_multiple))
    names = [call.name for call in calls]
    last = max((n for n, call in enumerate(calls) if isinstance(call.module, LAYERS)), default=-1)
    found: dict[str, Layer] = {}
    for n, call in enumerate(calls):
        if not isinstance(call.module, LAYERS) or call.name in found:
            continue
        if names.count(call.name) > 1:
            found[call.name] = Layer(call.name, None, False, names[last] != call.name)
            continue
        norm, end = None, n
        users = _users(calls, n)
        if isinstance(call.module, nn.Conv2d) and len(users) == 1 and _is_folded(calls[users[0]], names):
            norm, end = calls[users[0]].name, users[0]
        users = _users(calls, end)
        has_relu = bool(users) and type(calls[users[0]].module) is nn.ReLU
        users = _users(calls, users[0]) if has_relu else users
        is_rounded_next = any(isinstance(calls[u].module, LAYERS) for u in users)
        found[call.name] = Layer(call.name, norm, has_relu, n != last and not is_rounded_next)
    return tuple(found.values())


def _is_folded(call: _Call, names: Sequence[str]) -> bool:
    """Whether it is a plain batch norm of one place: those that also activate stay by themselves."""
    norm = call.module
    return type(norm) is nn.BatchNorm2d and norm.track_running_stats and names.count(call.name) == 1


def _users(calls: Sequence[_Call], n: int) -> list[int]:
    tensor, version = calls[n].given
    return [
        k for k in range(n + 1, len(calls)) if calls[k].taken[0] is tensor and calls[k].taken[1] == version
    ]


@torch.no_grad()
def _calls(network: nn.Module, *, n_bands: int, side: int) -> list[_Call]:
    calls: list[_Call] = []
    entered: list[tuple[torch.Tensor, int]] = []
    names: dict[nn.Module, str] = {
        m: n for n, m in network.named_modules() if isinstance(m, (*LAYERS, nn.BatchNorm2d, nn.ReLU))
    }

    def before(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        entered.append((args[0], args[0]._version))

    def after(module: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        calls.append(_Call(names[module], module, entered.pop(), (output, output._version)))

    handles = [m.register_forward_pre_hook(before) for m in names]
    handles += [m.register_forward_hook(after) for m in names]
    modes = {m: m.training for m in network.modules()}
    first = next(network.parameters(), torch.zeros(()))
    try:
        network.eval()(torch.zeros(1, n_bands, side, side, device=first.device))
    finally:
        for handle in handles:
            handle.remove()
        for module, is_training in modes.items():
            module.training = is_training
    return calls


def steps(low: torch.Tensor, high: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Width of the 255 steps from ``low`` to ``high``, and the int32 number of the step that is 0."""
    scale = ((high - low) / LEVELS).clamp_min(_LEAST)
    return scale, (-low / scale).round().clamp(0, LEVELS).to(torch.int32)


def weight_steps(weight: torch.Tensor) -> torch.Tensor:
    """(out,) width of the steps of each output channel.

    As they follow from the channel alone, a factor on a channel, such as that of the batch norm that a
    runtime folds into the weights, changes the steps and not what is rounded where: what is trained with the
    norm beside the layer is what a runtime computes (Krishnamoorthi 2018, section 3.1.2).
    """
    return (weight.detach().float().flatten(1).abs().amax(1) / WEIGHT_LIMIT).clamp_min(_LEAST)


class RoundedWeight(nn.Module):
    """Weights as an int8 runtime sees them; gradients pass straight through (Bengio et al. 2013)."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """(out, ...) to the same shape."""
        scale = weight_steps(weight)
        zeros = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(
            weight.float(), scale, zeros, 0, -WEIGHT_LIMIT, WEIGHT_LIMIT
        )


class Range(nn.Module):
    """What a tensor's values lie between, watched while it trains: means of each batch's extremes.

    Args:
        rounds: whether the tensor is also rounded to 255 steps of that range.
        is_positive: whether only what is above 0 is used.
    """

    low: torch.Tensor
    high: torch.Tensor
    n: torch.Tensor

    def __init__(self, *, rounds: bool, is_positive: bool = False) -> None:
        super().__init__()
        self._rounds, self._is_positive = rounds, is_positive
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("n", torch.zeros((), dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape to the same one."""
        x = x.float()
        if self.training:
            self._watch(x.detach())
        if not self._rounds:
            return x
        return torch.fake_quantize_per_tensor_affine(x, *steps(self.low, self.high), 0, LEVELS)

    def _watch(self, x: torch.Tensor) -> None:
        low, high = torch.aminmax(x)
        self.n += 1
        share = (1 / self.n).clamp_min(_SHARE)
        self.low.lerp_(low.clamp_max(0) * (not self._is_positive), share)
        self.high.lerp_(high.clamp_min(0), share)

    def before(self, module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """As a hook on what a module takes."""
        return self(args[0]), *args[1:]

    def after(self, module: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        """As a hook on what a module gives."""
        rounded: torch.Tensor = self(output)
        return rounded


class Rounding(nn.Module):
    """Holds a network to what an int8 runtime would compute, until :meth:`release`.

    Ranges are state of this module, not of the network, whose own weights only get another name meanwhile
    (:mod:`torch.nn.utils.parametrize`). Removing the parametrizations leaves weights on their steps.

    Args:
        network: changed in place.
        layers: of it.
        rounds: False to watch ranges alone.
    """

    def __init__(self, network: nn.Module, layers: Sequence[Layer], *, rounds: bool = True) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.takes = nn.ModuleList(Range(rounds=rounds) for _ in layers)
        self.gives = nn.ModuleList(Range(rounds=rounds, is_positive=layer.has_relu) for layer in layers)
        self._handles: list[RemovableHandle] = []
        for layer, takes, gives in self._each():
            module = network.get_submodule(layer.name)
            if rounds:
                parametrize.register_parametrization(module, "weight", RoundedWeight())
            self._handles.append(module.register_forward_pre_hook(takes.before))
            if layer.gives:
                end = network.get_submodule(layer.norm or layer.name)
                self._handles.append(end.register_forward_hook(gives.after))

    def _each(self) -> Iterator[tuple[Layer, Range, Range]]:
        return zip(self.layers, self.takes, self.gives, strict=True)  # type: ignore[arg-type]

    def release(self) -> None:
        """Take the hooks off the network."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def ranges(self) -> Iterator[tuple[Layer, tuple[float, float], tuple[float, float] | None]]:
        """Each layer, the range of what it takes and, where that is rounded, of what it gives."""
        for layer, takes, gives in self._each():
            yield layer, _span(takes), _span(gives) if layer.gives else None


def _span(found: Range) -> tuple[float, float]:
    return float(found.low), float(found.high)
