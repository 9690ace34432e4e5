"""Boundary and trimap IoU against counts by repeated 3 x 3 erosion and pixel by pixel."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rasterio.windows import Window

from geoseg.errors import EvaluationError
from geoseg.evaluation.boundary import (
    boundary_distance,
    boundary_iou,
    count_boundary,
    count_trimap,
    distance_in_pixels,
    with_halo,
)
from geoseg.evaluation.metrics import iou
from geoseg.evaluation.reading import windows_of
from geoseg.grid.tiling import Tile

N = 3
IGNORED = 200
SEEDS = st.integers(0, 2**32)


def halo_tiles(shape, size, halo):
    """A raster of (height, width) cut into cores of at most ``size`` pixels a side, each with a halo."""
    return [with_halo(core, shape, halo=halo) for core in windows_of(*shape, size=size)]


def two_maps(seed, *, ignored=True):
    """(y, x) blobs of classes, other values here and there, and a prediction that is a little off."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 40, 2)
    k = int(rng.integers(1, 9))
    values = [*range(N), IGNORED] if ignored else range(N)
    coarse = rng.choice(values, (height // k + 1, width // k + 1)).astype(np.uint8)
    reference = np.kron(coarse, np.ones((k, k), np.uint8))[:height, :width]
    prediction = np.roll(reference, rng.integers(-1, 2, 2), axis=(0, 1))
    prediction[rng.random(prediction.shape) < 0.05] = rng.choice([0, 1, 2, IGNORED])
    kind = rng.choice([np.uint8, np.int16, np.int64])
    return reference.astype(kind), prediction.astype(kind)


def eroded(mask, distance):
    """A 3 x 3 erosion, ``distance`` times, of a mask padded by zeros: mask_to_boundary of the reference."""
    padded = np.pad(mask, 1)
    for _ in range(distance):
        around = np.pad(padded, 1, constant_values=True)
        height, width = padded.shape
        padded = np.all(
            [around[i : i + height, j : j + width] for i in range(3) for j in range(3)],
            axis=0,
        )
    return padded[1:-1, 1:-1]


def boundary_counts(reference, prediction, distance):
    counts = []
    for c in range(N):
        masks = [(labels == c) & (reference < N) for labels in (reference, prediction)]
        edges = [mask & ~eroded(mask, distance) for mask in masks]
        counts.append([(edges[0] & edges[1]).sum(), edges[0].sum(), edges[1].sum()])
    return np.array(counts)


def trimap_counts(reference, prediction, distance, is_ignored_other):
    counts = np.zeros((N, N + 1), int)
    for (row, col), value in np.ndenumerate(reference):
        around = reference[
            max(row - distance, 0) : row + distance + 1, max(col - distance, 0) : col + distance + 1
        ]
        others = around[around != value]
        if value < N and (others < (256 if is_ignored_other else N)).any():
            counts[value, min(prediction[row, col], N)] += 1
    return counts


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS, distance=st.integers(1, 12))
def test_boundaries_are_what_repeated_erosion_removes(seed, distance):
    reference, prediction = two_maps(seed)
    counts = count_boundary(reference, prediction, n_classes=N, distance=distance)
    expected = boundary_counts(reference, prediction, distance)
    assert np.array_equal(counts, expected)
    both, first, second = expected.T.astype(float)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(boundary_iou(counts), both / (first + second - both))


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, distance=st.integers(1, 6), is_ignored_other=st.booleans())
def test_trimaps_hold_what_is_near_another_value(seed, distance, is_ignored_other):
    reference, prediction = two_maps(seed)
    counts = count_trimap(
        reference, prediction, n_classes=N, distance=distance, is_ignored_other=is_ignored_other
    )
    assert np.array_equal(counts, trimap_counts(reference, prediction, distance, is_ignored_other))


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, distance=st.integers(1, 12), size=st.integers(5, 40), more=st.integers(0, 3))
@example(seed=1, distance=12, size=1, more=0)
def test_any_tiling_gives_the_same_counts(seed, distance, size, more):
    reference, prediction = two_maps(seed)
    whole = [f(reference, prediction, n_classes=N, distance=distance) for f in (count_boundary, count_trimap)]
    parts = [np.zeros_like(counts) for counts in whole]
    for tile in halo_tiles(reference.shape, size, distance + more):
        window = tile.window.toslices()
        for counts, f in zip(parts, (count_boundary, count_trimap), strict=True):
            counts += f(
                reference[window],
                prediction[window],
                n_classes=N,
                distance=distance,
                tile=tile,
                shape=reference.shape,
            )
    for counts, expected in zip(parts, whole, strict=True):
        assert np.array_equal(counts, expected)


def test_a_core_beyond_the_raster_counts_nothing():
    tile = Tile(core=Window(20, 0, 9, 9), window=Window(15, -5, 19, 19))
    labels = np.zeros((19, 19), np.uint8)
    for f in (count_boundary, count_trimap):
        assert not f(labels, labels, n_classes=N, distance=5, tile=tile, shape=(9, 18)).any()


def test_a_window_beyond_the_raster_counts_what_lies_within():
    reference, prediction = two_maps(7)
    height, width = reference.shape
    tile = Tile(core=Window(-2, -2, width + 5, height + 5), window=Window(-4, -4, width + 9, height + 9))
    padded = [np.pad(labels, ((4, 5), (4, 5)), constant_values=1) for labels in (reference, prediction)]
    for f in (count_boundary, count_trimap):
        within = f(*padded, n_classes=N, distance=2, tile=tile, shape=(height, width))
        assert np.array_equal(within, f(reference, prediction, n_classes=N, distance=2))


@given(seed=SEEDS, distance=st.integers(1, 5))
def test_permuting_classes_permutes_counts(seed, distance):
    reference, prediction = two_maps(seed, ignored=False)
    turned = np.full(256, IGNORED, np.uint8)
    turned[:N] = [2, 0, 1]
    back = turned[:N].astype(int)
    counts = count_boundary(turned[reference], turned[prediction], n_classes=N, distance=distance)
    assert np.array_equal(counts[back], count_boundary(reference, prediction, n_classes=N, distance=distance))
    band = count_trimap(turned[reference], turned[prediction], n_classes=N, distance=distance)
    assert np.array_equal(
        band[back][:, [*back, N]], count_trimap(reference, prediction, n_classes=N, distance=distance)
    )


def test_the_reference_itself_is_perfect_and_absent_classes_have_no_score():
    reference = np.zeros((20, 20), np.uint8)
    reference[5:15, 5:15] = 2
    assert boundary_iou(count_boundary(reference, reference, n_classes=N, distance=2)).tolist()[::2] == [1, 1]
    assert np.isnan(boundary_iou(count_boundary(reference, reference, n_classes=N, distance=2))[1])
    band = count_trimap(reference, reference, n_classes=N, distance=2)
    np.testing.assert_array_equal(iou(band), [1, np.nan, 1])
    # Two pixels on either side of a square of 10.
    assert band.sum() == 14**2 - 6**2


def test_masks_are_maps_of_two_classes():
    mask = np.zeros((9, 9), bool)
    mask[2:7, 2:7] = True
    counts = count_boundary(mask, mask, n_classes=2, distance=1)
    assert counts[1].tolist() == [16, 16, 16]


def test_distances():
    # 2 % of the diagonal, as mask_to_boundary of the reference implementation rounds it.
    assert [boundary_distance(shape) for shape in ((480, 640), (1024, 2048), (10, 10))] == [16, 46, 1]
    assert boundary_distance((480, 640), ratio_of_diagonal=0.005) == 4
    assert distance_in_pixels(30, gsd_m=10) == 3
    assert distance_in_pixels(1, gsd_m=10) == 1


def test_what_cannot_be_counted_is_refused():
    labels = np.zeros((10, 10), np.uint8)
    tile = Tile(core=Window(2, 2, 4, 4), window=Window(0, 0, 10, 7))
    with pytest.raises(EvaluationError, match="expected its core"):
        count_boundary(labels[:7], labels[:7], n_classes=1, distance=2, tile=tile, shape=(10, 10))
    with pytest.raises(EvaluationError, match="expected its core"):
        count_trimap(labels, labels, n_classes=1, distance=1, tile=tile, shape=(10, 10))
    with pytest.raises(EvaluationError, match="both tile and shape"):
        count_boundary(labels, labels, n_classes=1, distance=1, tile=tile)
    with pytest.raises(EvaluationError, match="0 pixels wide"):
        count_boundary(labels, labels, n_classes=1, distance=0)
    with pytest.raises(EvaluationError, match="to one grid"):
        count_boundary(labels, labels[1:], n_classes=1, distance=1)
