"""What a model costs: parameters, operations, memory."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from geoseg.models.zoo import Model


def n_parameters(model: Model) -> int:
    """Numbers that training set."""
    return sum(p.numel() for p in model.module.parameters())


def flops_per_pixel(model: Model) -> float:
    """Floating-point operations for a pixel of a tile of the card's size; multiply-add counts as two.

    Convolutions, matrix products and attention are counted (torch.utils.flop_counter); all else is little.
    """
    size = model.card.tile_size
    zeros = torch.zeros((1, len(model.card.bands), size, size))
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model.module(zeros)
    return float(counter.get_total_flops()) / size**2
