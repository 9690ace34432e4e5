"""Composites against brute force."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import RecipeError
from geoseg.imagery.composite import COMPOSITES, composite

LAWS = settings(max_examples=60, deadline=None)
METHODS = sorted(COMPOSITES)
CHUNKS = st.fixed_dictionaries({"time": st.integers(1, 4), "band": st.integers(1, 3), "y": st.integers(1, 7)})


@st.composite
def stacks(draw: st.DrawFn) -> xr.DataArray:
    shape = [draw(st.integers(1, n)) for n in (11, 3, 6, 5)]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pixels = rng.normal(size=shape).astype(np.float32)
    if draw(st.booleans()):
        pixels = np.round(pixels)  # ties
    pixels[rng.random(shape) < draw(st.sampled_from([0, 0.3, 0.7, 0.95, 1]))] = np.nan
    return xr.DataArray(pixels, dims=("time", "band", "y", "x"), coords={"band": list("abc")[: shape[1]]})


def first_of(pixels: np.ndarray) -> np.ndarray:
    """Pixel by pixel in plain Python."""
    result = np.full(pixels.shape[1:], np.nan, np.float32)
    for y, x in np.ndindex(pixels.shape[2:]):
        whole = [spectrum for spectrum in pixels[:, :, y, x] if not np.isnan(spectrum).any()]
        if whole:
            result[:, y, x] = whole[0]
    return result


@pytest.mark.filterwarnings("ignore:All-NaN slice")
@LAWS
@given(stacks())
def test_median_is_numpys(data: xr.DataArray) -> None:
    expected = np.nanmedian(data.to_numpy(), axis=0)
    np.testing.assert_array_equal(composite(data, "median").to_numpy(), expected)


@LAWS
@given(stacks(), st.sampled_from(["first", "least-cloudy", "nearest-date"]))
def test_first_takes_whole_spectra_in_order(data: xr.DataArray, method: str) -> None:
    np.testing.assert_array_equal(composite(data, method).to_numpy(), first_of(data.to_numpy()))


@LAWS
@given(stacks(), CHUNKS, st.sampled_from(METHODS))
def test_chunks_and_the_order_of_dimensions_do_not_matter(
    data: xr.DataArray, chunks: dict[str, int], method: str
) -> None:
    expected = composite(data, method)
    lazy = composite(data.chunk(chunks).transpose("y", "time", "x", "band"), method)
    assert lazy.chunks is not None
    xr.testing.assert_identical(lazy.compute(), expected)


@LAWS
@given(stacks(), st.sampled_from(METHODS))
def test_the_input_is_not_changed(data: xr.DataArray, method: str) -> None:
    before = data.copy(deep=True)
    composite(data, method)
    xr.testing.assert_identical(data, before)


@pytest.mark.parametrize("method", METHODS)
def test_one_time_is_itself(method: str) -> None:
    pixels = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    pixels[0, :, 1, 1] = np.nan
    data = xr.DataArray(pixels, dims=("time", "band", "y", "x"))
    np.testing.assert_array_equal(composite(data, method).to_numpy(), pixels[0])


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_nodata_and_stays_float32(method: str) -> None:
    done = composite(
        xr.DataArray(np.full((3, 2, 4, 4), np.nan, np.float32), dims=("time", "band", "y", "x")), method
    )
    assert done.dtype == np.float32
    assert np.isnan(done).all()


@pytest.mark.parametrize("infinite", [np.inf, -np.inf])
@pytest.mark.parametrize("method", METHODS)
def test_infinite_values_count_as_nodata(method: str, infinite: float) -> None:
    pixels = np.array([infinite, 1, 2, 3], np.float32).reshape(4, 1, 1, 1)
    data = xr.DataArray(pixels, dims=("time", "band", "y", "x"))
    assert composite(data, method).item() == (2 if method == "median" else 1)


def test_the_band_and_place_of_pixels_are_kept() -> None:
    coords = {"band": ["red", "nir"], "y": [30.0, 20.0], "x": [1.0, 2.0, 3.0], "spatial_ref": 32725}
    data = xr.DataArray(da.zeros((2, 2, 2, 3), dtype="f4"), dims=("time", "band", "y", "x"), coords=coords)
    done = composite(data)
    assert done.dims == ("band", "y", "x")
    assert list(done.band.values) == ["red", "nir"]
    assert (done.y.values == [30, 20]).all()
    assert int(done.spatial_ref) == 32725


def test_unknown_composite() -> None:
    data = xr.DataArray(np.zeros((1, 1, 1, 1), np.float32), dims=("time", "band", "y", "x"))
    with pytest.raises(RecipeError, match=r"^No composite named 'medain': did you mean median\?$"):
        composite(data, "medain")
