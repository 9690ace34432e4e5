"""What this machine can do at most: the speed of a matrix product, which no network exceeds."""

import time
from dataclasses import dataclass

import torch

_SIDES = (1024, 2048, 4096)
_TRIES = 3
_PATIENCE_S = 0.3
"""A product that takes longer than this is not tried again or larger: emulated bf16 takes minutes at 4096."""
_SEED = 0


@dataclass(frozen=True)
class Limit:
    """The best of several square products, with the threads that torch takes here. 1 TFLOP is 1e12."""

    bf16_tflops: float
    """A CPU without bf16 instructions (AVX512-BF16, AMX) emulates them, and is slow at it."""
    float32_tflops: float

    @property
    def tflops(self) -> float:
        """The faster of the two: what a network could reach at best in either precision."""
        return max(self.bf16_tflops, self.float32_tflops)


def matrix_limit(sides: tuple[int, ...] = _SIDES) -> Limit:
    """Measure it; some seconds. On the CPU, as the networks that are measured.

    Args:
        sides: of the square matrices, from small to large.
    """
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(_SEED)
        return Limit(_tflops(torch.bfloat16, sides), _tflops(torch.float32, sides))


def _tflops(dtype: torch.dtype, sides: tuple[int, ...]) -> float:
    best = 0.0
    for side in sides:
        a, b = (torch.rand(side, side).to(dtype) for _ in range(2))
        out = torch.empty(side, side, dtype=dtype)
        for _ in range(_TRIES):
            seconds = _seconds(a, b, out)
            best = max(best, 2 * side**3 / seconds / 1e12)
            if seconds > _PATIENCE_S:
                return best
    return best


def _seconds(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> float:
    started = time.perf_counter()
    torch.mm(a, b, out=out)
    return time.perf_counter() - started
