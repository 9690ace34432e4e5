"""Batch norms folded into the convolutions before them: the same function with fewer passes over memory."""

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from geoseg.models.rounding import Layer, layers_of, networks_of
from geoseg.models.zoo import Model

TOLERANCE = 1e-4
"""How far logits of around 1 may be off after folding, which changes the order of the additions."""
_PROBED_SIDE = 64


@torch.no_grad()
def folded(model: Model) -> nn.Module:
    """A copy of the network without the batch norms that follow a convolution; the network itself where there
    are none, or where the logits of a probe would be off by more than :data:`TOLERANCE`.
    """
    card = model.card
    module = copy.deepcopy(model.module)
    n_folded = 0
    for _, network in networks_of(module):
        for layer in layers_of(network, n_bands=len(card.bands), tile_multiple=card.tile_multiple):
            if layer.norm is not None:
                fold_norm(network, layer)
                n_folded += 1
    if not n_folded:
        return model.module
    module = module.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    side = card.tile_multiple * -(-_PROBED_SIDE // card.tile_multiple)
    probe = torch.randn(1, len(card.bands), side, side, generator=torch.Generator().manual_seed(0))
    device = next(model.module.parameters()).device
    probe = probe.to(device).contiguous(memory_format=torch.channels_last)
    expected, found = model.module(probe), module(probe)
    scale = float(expected.abs().max().clamp_min(1))
    return module if float((found - expected).abs().max()) <= TOLERANCE * scale else model.module


def fold_norm(network: nn.Module, layer: Layer) -> None:
    """Take a layer's norm into its weights, in place."""
    if layer.norm is None:
        return
    module: Any = network.get_submodule(layer.name)
    norm: Any = network.get_submodule(layer.norm)
    module.weight, module.bias = fuse_conv_bn_weights(
        module.weight, module.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    network.set_submodule(layer.norm, nn.Identity())
