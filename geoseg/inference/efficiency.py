"""What a model costs: parameters, operations, memory."""

import resource
import sys
from pathlib import Path

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


def peak_memory_mb() -> float:
    """The most that this process has held, megabytes.

    Where there is no /proc, getrusage says it, which begins with the peak of the process that started it.
    """
    try:
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (1024**2 if sys.platform == "darwin" else 1024)  # bytes there, kilobytes elsewhere
