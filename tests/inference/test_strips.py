"""Rows of an image, read once and ahead."""

import threading
from contextlib import closing

import dask.array as da
import numpy as np
import pytest
from builders import as_image, geobox_at
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window

from geoseg.errors import ModelError
from geoseg.grid.tiling import TilePlan
from geoseg.inference.predictor import predict, strips_of
from geoseg.inference.runner import Inference
from geoseg.inference.strips import Strips
from geoseg.models.zoo import create_model


def lazy(pixels, chunks, note=lambda top: None):
    def source(block_info=None):
        (_, (top, bottom), (left, right)) = block_info[None]["array-location"]
        note(top)
        return pixels[:, top:bottom, left:right]

    height, width = pixels.shape[1:]
    data = da.map_blocks(
        source, chunks=((len(pixels),), chunks, (width,)), dtype=np.float32, meta=np.empty((0, 0, 0), "f4")
    )
    return as_image(pixels, geobox_at(height=height, width=width)).copy(data=data)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=8),
    st.integers(1, 90),
    st.integers(1, 60),
    st.lists(st.integers(0, 50), min_size=1, max_size=8),
    st.booleans(),
)
def test_a_window_is_the_same_whatever_is_read_ahead(chunks, ahead, side, steps, is_begun):
    """Also where rows are skipped, or windows reach beyond the image. No chunk is computed twice."""
    height = sum(chunks)
    pixels = np.random.default_rng(0).random((4, height, 20), np.float32)
    seen: list[int] = []
    padded = np.full((4, height + 800, 20), np.nan, np.float32)
    padded[:, :height] = pixels
    image = lazy(pixels, tuple(chunks), seen.append)
    tops = np.cumsum(steps)
    with closing(Strips(image, geobox_at(height=height, width=20), ahead=ahead)) as strips:
        if is_begun:
            strips.begin(Window(0, int(tops[0]), 20, side))
        for top in tops:
            found = strips.take(Window(0, int(top), 20, side))
            np.testing.assert_array_equal(found, padded[:, top : top + side])
    assert len(seen) == len(set(seen))


def test_reading_begins_before_anybody_waits():
    """While the model is loaded, say; and with the first rows that are wanted, not those above."""
    pixels = np.ones((4, 400, 20), np.float32)
    began, seen = threading.Event(), []

    def note(top):
        seen.append(top)
        began.set()

    image, plan = lazy(pixels, (50,) * 8, note), TilePlan(geobox_at(height=400, width=20), 32, 8)
    mask = np.zeros((400, 20), bool)
    mask[210] = True
    with closing(strips_of(image, plan=plan, window=Window(0, 0, 20, 400), mask=mask)):
        assert began.wait(10)
    assert seen[0] == 150  # tiles that have a say in row 210 reach up to 180


def test_reading_ends_where_nothing_can_be_predicted():
    """The reader's thread is gone with the error."""
    image = lazy(np.ones((4, 400, 20), np.float32), (50,) * 8)
    before = threading.active_count()
    with pytest.raises(ModelError, match="calibrat"):
        predict(image, model=create_model("spectral-rules"), how=Inference(uncertainty=("conformal",)))
    assert threading.active_count() == before


def test_strips_need_their_plan():
    image = lazy(np.ones((4, 100, 20), np.float32), (50, 50))
    grid = geobox_at(height=100, width=20)
    with (
        closing(Strips(image, grid, ahead=1)) as strips,
        pytest.raises(ValueError, match="made for a plan"),
    ):
        predict(strips, model=create_model("spectral-rules"))


def test_nothing_is_read_for_nobody():
    seen: list[int] = []
    image = lazy(np.ones((4, 100, 20), np.float32), (50, 50), seen.append)
    plan = TilePlan(geobox_at(height=100, width=20), 32, 8)
    with closing(strips_of(image, plan=plan, window=Window(0, 0, 20, 100), mask=np.zeros((100, 20), bool))):
        pass
    assert seen == []


@pytest.mark.parametrize(("ahead", "n"), [(1, 1), (50, 1), (51, 2), (120, 3), (9999, 7)])
def test_so_many_rows_are_read_ahead(ahead, n):
    image = lazy(np.ones((4, 400, 20), np.float32), (50,) * 8)
    with closing(Strips(image, geobox_at(height=400, width=20), ahead=ahead)) as strips:
        strips.take(Window(0, 0, 20, 10))
        assert [top for top, _ in strips._ahead] == [50 * (k + 1) for k in range(n)]
