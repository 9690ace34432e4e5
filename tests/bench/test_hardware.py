"""How much a network computes for a map, and what the hardware could."""

from dataclasses import replace

import pytest
import torch

from geoseg.bench.hardware import Limit, matrix_limit
from geoseg.bench.networks import make_network
from geoseg.inference.efficiency import flops_per_pixel


def test_operations_of_a_pixel_do_not_hang_on_the_tile() -> None:
    model = make_network("unet", "resnet18", n_steps=0)
    small, large = (
        flops_per_pixel(replace(model, card=model.card.model_copy(update={"tile_size": size})))
        for size in (32, 64)
    )
    assert small == pytest.approx(large)
    assert 1e4 < small < 1e7


def test_limit_is_that_of_the_faster_precision_and_leaves_random_numbers_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    limit = matrix_limit(sides=(64, 128))
    torch.testing.assert_close(torch.rand(2), expected)
    assert limit.bf16_tflops > 0
    assert 1e-6 < limit.tflops < 1e3
    assert Limit(0.5, 2.0).tflops == 2.0
    assert Limit(3.0, 2.0).tflops == 3.0
