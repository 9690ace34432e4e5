"""The synthetic scene: one world, whatever window of it is made; land-like; written with little memory."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import shapes
from rasterio.windows import Window
from rio_cogeo import cog_validate

from geoseg.bench.scenes import BLOCK, COVERS, cover_shares, scene_pixels, write_scene
from geoseg.errors import ModelError
from geoseg.models.zoo import create_model

RULES = ("green", "red", "nir", "swir16")
SPAN = 96


@given(
    row=st.integers(0, 20_000),
    col=st.integers(0, 20_000),
    top=st.integers(0, SPAN - 1),
    left=st.integers(0, SPAN - 1),
)
@settings(max_examples=25, deadline=None)
def test_a_window_is_a_part_of_any_larger_one(row: int, col: int, top: int, left: int) -> None:
    whole = scene_pixels(Window(col, row, SPAN, SPAN), RULES)
    part = scene_pixels(Window(col + left, row + top, SPAN - left, SPAN - top), RULES)
    difference = np.abs(whole[:, top:, left:].astype(int) - part.astype(int))
    assert difference.max() <= 1  # of 10000: sums of float32 in another order


@given(row=st.integers(0, 20_000), col=st.integers(0, 20_000))
@settings(max_examples=10, deadline=None)
def test_shares_of_covers_sum_to_one(row: int, col: int) -> None:
    shares = cover_shares(Window(col, row, 32, 48))
    assert shares.shape == (len(COVERS), 48, 32)
    assert shares.min() >= 0
    np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-5)


def test_bands_do_not_depend_on_what_else_is_made() -> None:
    window = Window(300, 200, 40, 40)
    both = scene_pixels(window, ("blue", "nir"))
    np.testing.assert_array_equal(both[1], scene_pixels(window, ("nir",))[0])
    assert (both[0] != both[1]).mean() > 0.9


def test_it_has_all_covers_and_patches_of_a_natural_size() -> None:
    windows = [Window(col, row, 512, 512) for row, col in ((0, 0), (2048, 1024), (4096, 4096), (1024, 6000))]
    shares = np.mean([cover_shares(w).mean(axis=(1, 2)) for w in windows], axis=0)
    assert shares.min() > 0.03, dict(zip(COVERS, shares, strict=True))
    assert shares.max() < 0.5
    module = create_model("spectral-rules").module
    n_patches = 0
    for window in windows:
        import torch

        reflectance = torch.from_numpy(scene_pixels(window, RULES).astype(np.float32) * np.float32(1e-4))
        classes = module(reflectance[None])[0].argmax(0).numpy().astype(np.uint8)
        assert len(np.unique(classes)) == 4
        n_patches += sum(1 for _ in shapes(classes, connectivity=4))
    per_mpx = n_patches / (len(windows) * 512**2 / 1e6)
    assert (
        3_800 < per_mpx < 42_000
    )  # Sentinel-2 over Patagonian steppe, Landsat 7 over a city, by the same rules


def test_file_is_a_cog_with_scale_names_and_place(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "scene.tif", size=1100, bands=RULES)
    is_valid, errors, warnings = cog_validate(path)
    assert (is_valid, errors, warnings) == (True, [], [])
    with rasterio.open(path) as scene:
        assert (scene.width, scene.height, scene.count, scene.dtypes[0]) == (1100, 1100, 4, "uint16")
        assert scene.block_shapes == [(BLOCK, BLOCK)] * 4
        assert scene.compression.name == "deflate"
        assert scene.descriptions == RULES
        assert scene.scales == (1e-4,) * 4
        assert scene.crs.to_string() == "EPSG:32633"
        assert scene.res == (10, 10)
        stored = scene.read()
    assert stored.min() > 0  # nodata
    window = Window(BLOCK, 2 * BLOCK, 200, 1100 - 2 * BLOCK)  # the last row of blocks is cut
    np.testing.assert_allclose(
        stored[:, window.row_off :, window.col_off : window.col_off + 200],
        scene_pixels(window, RULES),
        atol=1,
    )
    assert list(tmp_path.iterdir()) == [path]


def test_same_bytes_every_time_and_small_scenes_are_corners_of_large_ones(tmp_path: Path) -> None:
    paths = [
        write_scene(tmp_path / f"{i}.tif", size=n, bands=("red",)) for i, n in enumerate((200, 200, 700))
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with rasterio.open(paths[0]) as small, rasterio.open(paths[2]) as large:
        np.testing.assert_allclose(small.read(1), large.read(1)[:200, :200], atol=1)


def test_memory_does_not_grow_with_the_size(tmp_path: Path) -> None:
    peaks = []
    for size in (BLOCK, 3 * BLOCK):
        tracemalloc.start()
        write_scene(tmp_path / f"{size}.tif", size=size, bands=("red",))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


def test_a_band_without_a_spectrum_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"no synthetic spectrum for vv, lwir11; .* swir22\. Take a model of optical"
    ):
        write_scene(tmp_path / "scene.tif", size=64, bands=("red", "vv", "lwir11"))
