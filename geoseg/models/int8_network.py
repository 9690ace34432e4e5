"""A network that rounds as an int8 runtime does, from a model and its ranges; and its ONNX file."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils import parametrize

from geoseg.errors import ModelError
from geoseg.models.card import ModelCard
from geoseg.models.context import ContextMLP
from geoseg.models.folding import fold_norm
from geoseg.models.graphs import write_graph
from geoseg.models.int8 import Int8, LayerRanges, int8_of
from geoseg.models.rounding import (
    LEVELS,
    WEIGHT_LIMIT,
    Layer,
    Rounding,
    layers_of,
    networks_of,
    weight_steps,
)
from geoseg.models.zoo import Model, ready

RUNTIME_OPTIONS = {"session.x64quantprecision": "1"}
"""Session options with which onnxruntime multiplies exactly on processors without VNNI too: without them,
sums of two products are cut off at 16 bits there (onnxruntime_session_options_config_keys.h)."""
_BIAS_LIMIT = 2**30


@torch.no_grad()
def observe(model: Model, tiles: Iterable[NDArray[np.float32]]) -> Int8:
    """The ranges of a model that was not trained for int8 (post-training quantisation).

    Args:
        model: is not changed.
        tiles: (band, size, size) float32 reflectance, NaN = nodata, of places like those that it is for; some
            dozens do. Sides are multiples of the card's ``tile_multiple``.

    Raises:
        ModelError: no tiles, or nothing in the model runs in int8.
    """
    module = copy.deepcopy(model.module)
    for part in module.modules():
        if isinstance(part, ContextMLP):
            part.is_cut = False  # ranges are of whole tiles
    watched = []
    for prefix, network in networks_of(module):
        watched.append((prefix, Rounding(network, _layers(network, model.card), rounds=False).train()))
    is_empty = True
    for tile in tiles:
        module(ready(torch.from_numpy(tile)[None], model.card))
        is_empty = False
    if is_empty:
        raise ModelError("No tiles to observe ranges on. Give some dozens of the imagery that it is for.")
    layers = {k: v for prefix, one in watched for k, v in int8_of(one, prefix=prefix).layers.items()}
    return Int8(weights_sha256=model.card.sha256, how="observed", layers=layers)


def rounded(model: Model, int8: Int8) -> nn.Module:
    """A copy of the network that gives what an int8 runtime gives, computed in float.

    Norms are folded into the layers before them; weights are int8, biases int32.

    Raises:
        ModelError: the ranges are of other weights or of another network.
    """
    if model.card.sha256 and int8.weights_sha256 not in (None, model.card.sha256):
        raise ModelError(
            f"The ranges are of weights {str(int8.weights_sha256)[:12]}…, those of {model.card.name} are "
            f"{model.card.sha256[:12]}…. Observe them again."
        )
    module = copy.deepcopy(model.module)
    found = [
        (network, layer, prefix + layer.name)
        for prefix, network in networks_of(module)
        for layer in _layers(network, model.card)
    ]
    if {name for _, _, name in found} != set(int8.layers) or any(
        layer.gives != (int8.layers[name].gives is not None) for _, layer, name in found
    ):
        raise ModelError(
            f"The ranges are of {len(int8.layers)} layers, {model.card.name} has {len(found)} others. "
            "Observe them again."
        )
    for network, layer, name in found:
        _round_layer(network, layer, int8.layers[name])
    return module.eval().requires_grad_(False)


def write_int8_onnx(
    model: Model, path: Path, *, int8: Int8, tile_size: int | None = None, batch_size: int | None = None
) -> Path:
    """An ONNX file of QuantizeLinear and DequantizeLinear nodes, which runtimes run in int8.

    It takes ``pixels`` (n, band, size, size), normalised and without NaN, and gives ``logits`` (n, class,
    size, size), as :attr:`Model.module` does. Give onnxruntime :data:`RUNTIME_OPTIONS`.

    Args:
        model: in float.
        path: appears when it is whole.
        int8: of its folder (:func:`read_int8`), or from :func:`observe`.
        tile_size: side of its input; None for the card's.
        batch_size: None for any.

    Raises:
        ModelError: the ranges are not the model's, or the network cannot be written.
    """
    module = rounded(model, int8)
    side = tile_size or model.card.tile_size
    if side % model.card.tile_multiple:
        raise ModelError(f"tile_size {side} is not a multiple of {model.card.tile_multiple}.")
    temporary = path.with_name(f".{path.name}.tmp")
    write_graph(module, temporary, n_bands=len(model.card.bands), size=side, batch_size=batch_size)
    return temporary.replace(path)


def _layers(network: nn.Module, card: ModelCard) -> tuple[Layer, ...]:
    found = layers_of(network, n_bands=len(card.bands), tile_multiple=card.tile_multiple)
    if not found:
        raise ModelError(f"{card.name} has no convolution or linear layer, so nothing of it runs in int8.")
    return found


def _round_layer(network: nn.Module, layer: Layer, ranges: LayerRanges) -> None:
    module: Any = network.get_submodule(layer.name)
    fold_norm(network, layer)
    takes = _Step(*ranges.takes.steps())
    scale = weight_steps(module.weight)
    if module.bias is not None:
        # A channel without weights still has steps on which its bias finds room.
        scale = scale.maximum(module.bias.detach().abs() / (takes.scale * _BIAS_LIMIT))
        parametrize.register_parametrization(module, "bias", _Stored(scale * takes.scale, torch.int32))
    parametrize.register_parametrization(module, "weight", _Stored(scale, torch.int8))
    module.register_forward_pre_hook(lambda _, args: (takes(args[0]), *args[1:]))
    if ranges.gives is not None:
        gives = _Step(*ranges.gives.steps())
        module.register_forward_hook(lambda _, args, output: gives(output))


@dataclass(frozen=True)
class _Step:
    scale: float
    zero: int

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero, 0, LEVELS)


class _Stored(nn.Module):
    """A tensor kept as integers and the steps of its output channels."""

    def __init__(self, scale: torch.Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self._scale, self._dtype = scale, dtype

    def forward(self, whole: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = _Dequantise.apply(whole, scale)
        return found

    def right_inverse(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        whole = (values / _by_channel(self._scale, values)).round()
        limit = WEIGHT_LIMIT if self._dtype == torch.int8 else 2 * _BIAS_LIMIT
        return whole.clamp(-limit, limit).to(self._dtype), self._scale


class _Dequantise(torch.autograd.Function):
    """Integers times steps; in ONNX one node on an integer tensor, which makes the file small."""

    @staticmethod
    def forward(ctx: Any, whole: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return whole.float() * _by_channel(scale, whole)

    @staticmethod
    def symbolic(g: Any, whole: Any, scale: Any) -> Any:
        dtype = {"Char": torch.int8, "Int": torch.int32}[whole.type().scalarType()]
        zeros = g.op("Constant", value_t=torch.zeros(scale.type().sizes(), dtype=dtype))
        return g.op("DequantizeLinear", whole, scale, zeros, axis_i=0)


def _by_channel(scale: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return scale.reshape(-1, *[1] * (values.ndim - 1))
