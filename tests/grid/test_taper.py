"""The weights of tiles: none is zero, and those that share a pixel sum to one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.grid.taper import taper, taper2d

SIDES = st.integers(0, 40).flatmap(
    lambda halo: st.tuples(st.integers(max(4 * halo, 1), 4 * halo + 60), st.just(halo))
)
POWERS = st.sampled_from([0, 1, 2, 4, 8, 16, 32, 64, 128]).flatmap(
    lambda halo: st.tuples(st.integers(max(4 * halo, 1), 4 * halo + 60), st.just(halo))
)


def sums(size: int, halo: int, n_tiles: int = 4) -> np.ndarray:
    """Summed weights, in float32, of tiles one stride apart, where all that reach there are counted."""
    stride = size - 2 * halo
    total = np.zeros(stride * (n_tiles - 1) + size, np.float32)
    for k in range(n_tiles):
        total[k * stride : k * stride + size] += taper(size, halo)
    return total[2 * halo : len(total) - 2 * halo]


@given(SIDES)
@settings(max_examples=100, deadline=None)
def test_neighbours_sum_to_one(side):
    assert np.abs(sums(*side) - 1).max() <= 1e-6


@given(POWERS)
@settings(max_examples=50, deadline=None)
def test_and_exactly_so_where_the_halo_is_a_power_of_two(side):
    assert (sums(*side) == 1).all()


@given(SIDES)
@settings(max_examples=50, deadline=None)
def test_every_weight_is_above_zero_symmetric_and_at_most_one(side):
    weights = taper(*side)
    assert weights.shape == (side[0],)
    assert weights.dtype == np.float32
    assert weights.min() > 0
    assert weights.max() == 1 or side[0] == 4 * side[1]
    assert weights.max() <= 1
    assert (weights == weights[::-1]).all()
    assert (np.diff(weights[: (side[0] + 1) // 2]) >= 0).all()


@given(POWERS.filter(lambda side: 0 < side[0] < 80))
@settings(max_examples=30, deadline=None)
def test_in_the_plane_the_four_that_meet_sum_to_exactly_one(side):
    size, halo = side
    weights, stride = taper2d(size, halo), size - 2 * halo
    assert weights.shape == (size, size)
    assert weights.dtype == np.float32
    total = np.zeros((2 * stride + size,) * 2, np.float32)
    for i in range(3):
        for j in range(3):
            total[i * stride : i * stride + size, j * stride : j * stride + size] += weights
    inner = slice(2 * halo, len(total) - 2 * halo)
    assert (total[inner, inner] == 1).all()


@pytest.mark.parametrize(
    ("size", "halo", "weights"),
    [(8, 1, [0.25, 0.75, 1, 1, 1, 1, 0.75, 0.25]), (3, 0, [1, 1, 1]), (4, 1, [0.25, 0.75, 0.75, 0.25])],
)
def test_examples(size, halo, weights):
    assert taper(size, halo).tolist() == weights
