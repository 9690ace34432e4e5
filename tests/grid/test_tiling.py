"""Tiles and blocks: each pixel owned once, no tile forgotten, and none that depends on what was asked for."""

from itertools import pairwise

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geoseg.errors import RecipeError
from geoseg.grid.geobox import lattice_origin
from geoseg.grid.taper import taper
from geoseg.grid.tiling import Tile, TilePlan, blocks_of

CRS = "EPSG:32725"
GSDS = st.sampled_from([10.0, 30.0, 28.5, 0.3])
SIZES = st.integers(0, 6).flatmap(lambda halo: st.tuples(st.integers(max(4 * halo, 1), 40), st.just(halo)))


def geobox_at(row: int, col: int, gsd: float, shape: tuple[int, int] = (50, 70)) -> GeoBox:
    """The grid whose first pixel is (row, col) of the lattice."""
    return GeoBox(shape, Affine(gsd, 0, col * gsd, 0, -gsd, -row * gsd), CRS)


GEOBOXES = st.builds(geobox_at, st.integers(-900_000, 50), st.integers(-50, 80_000), GSDS)
PLANS = st.builds(lambda box, side: TilePlan(box, *side), GEOBOXES, SIZES)
WINDOWS = st.builds(
    Window, st.integers(-90, 120), st.integers(-90, 120), st.integers(1, 70), st.integers(1, 70)
)


def inside(window: Window, of: Window) -> tuple[slice, slice]:
    """The part of ``window`` that lies in ``of``, as slices of an array of the shape of ``of``."""
    rows, cols = ((window.row_off, window.height), (window.col_off, window.width))
    return tuple(
        slice(min(max(start - first, 0), length), min(max(start + n - first, 0), length))
        for (start, n), first, length in ((rows, of.row_off, of.height), (cols, of.col_off, of.width))
    )


def count(windows: list[Window], of: Window) -> np.ndarray:
    """How many of ``windows`` hold each pixel of ``of``."""
    counts = np.zeros((of.height, of.width), int)
    for window in windows:
        counts[inside(window, of)] += 1
    return counts


def all_tiles_near(plan: TilePlan, window: Window) -> list[Tile]:
    """Every tile of the lattice far around ``window``, laid out without the plan."""
    row0, col0 = lattice_origin(plan.geobox)
    n = max(window.height, window.width) // plan.stride + 2 * plan.size // plan.stride + 3
    i0, j0 = (window.row_off + row0) // plan.stride, (window.col_off + col0) // plan.stride
    corners = [
        (i * plan.stride - row0, j * plan.stride - col0)
        for i in range(i0 - n, i0 + n + 1)
        for j in range(j0 - n, j0 + n + 1)
    ]
    return [
        Tile(
            Window(c, r, plan.stride, plan.stride),
            Window(c - plan.halo, r - plan.halo, plan.size, plan.size),
        )
        for r, c in corners
    ]


# --- tiles ---------------------------------------------------------------------------------------


@given(PLANS, WINDOWS)
@settings(max_examples=100, deadline=None)
def test_cores_cover_each_pixel_once(plan, window):
    assert (count([t.core for t in plan.tiles(window)], window) == 1).all()


@given(PLANS, WINDOWS)
@settings(max_examples=60, deadline=None)
def test_the_tiles_are_just_those_that_have_a_say(plan, window):
    expected = [t for t in all_tiles_near(plan, window) if count([t.window], window).any()]
    assert list(plan.tiles(window)) == expected


@given(PLANS, WINDOWS)
@settings(max_examples=60, deadline=None)
def test_rows_are_rectangular_from_top_to_bottom_and_left_to_right(plan, window):
    rows = list(plan.rows(window))
    assert [t for row in rows for t in row] == list(plan.tiles(window))
    for above, below in pairwise(rows):
        assert [t.core.col_off for t in above] == [t.core.col_off for t in below]
        assert {t.core.row_off for t in above} == {below[0].core.row_off - plan.stride}
    for row in rows:
        assert np.all(np.diff([t.core.col_off for t in row]) == plan.stride)


@given(PLANS, WINDOWS)
@settings(max_examples=60, deadline=None)
def test_a_window_reads_its_core_and_a_halo_around(plan, window):
    for tile in plan.tiles(window):
        core, read = tile.core, tile.window
        assert (core.height, core.width) == (plan.stride,) * 2
        assert (read.height, read.width) == (plan.size,) * 2
        assert (core.row_off - read.row_off, core.col_off - read.col_off) == (plan.halo,) * 2
        assert all(
            isinstance(v, int) for w in (core, read) for v in (w.row_off, w.col_off, w.width, w.height)
        )


@given(PLANS, WINDOWS)
@settings(max_examples=60, deadline=None)
def test_weights_sum_to_one_at_every_pixel(plan, window):
    total = np.zeros((window.height, window.width))
    side = taper(plan.size, plan.halo).astype(float)
    for tile in plan.tiles(window):
        rows, cols = inside(tile.window, window)
        top, left = (
            window.row_off + rows.start - tile.window.row_off,
            window.col_off + cols.start - tile.window.col_off,
        )
        part = np.outer(side[top : top + rows.stop - rows.start], side[left : left + cols.stop - cols.start])
        assert (part > 0).all()
        total[rows, cols] += part
    assert np.abs(total - 1).max() <= 1e-6


@given(PLANS, WINDOWS, WINDOWS)
@settings(max_examples=60, deadline=None)
def test_tiles_do_not_depend_on_the_window(plan, one, other):
    """Where two windows both read a tile's pixels, they mean the same tile."""
    both = set(plan.tiles(one)) | set(plan.tiles(other))
    corners = {(t.core.row_off % plan.stride, t.core.col_off % plan.stride) for t in both}
    assert len(corners) == 1
    whole = Window.from_slices(
        (min(one.row_off, other.row_off), max(one.row_off + one.height, other.row_off + other.height)),
        (min(one.col_off, other.col_off), max(one.col_off + one.width, other.col_off + other.width)),
        boundless=True,
    )
    assert both <= set(plan.tiles(Window(*map(int, whole.flatten()))))


@given(
    st.integers(-900_000, 50), st.integers(-50, 80_000), GSDS, SIZES, WINDOWS,
    st.integers(-300, 300), st.integers(-300, 300),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_tiles_stay_in_place_when_the_grid_moves_by_whole_pixels(row, col, gsd, side, window, down, right):
    plan = TilePlan(geobox_at(row, col, gsd), *side)
    moved = TilePlan(geobox_at(row + down, col + right, gsd, (9, 5)), *side)
    seen = Window(window.col_off - right, window.row_off - down, window.width, window.height)
    assert [shifted(t, down, right) for t in moved.tiles(seen)] == list(plan.tiles(window))


def shifted(tile: Tile, down: int, right: int) -> Tile:
    return Tile(
        *(Window(w.col_off + right, w.row_off + down, w.width, w.height) for w in (tile.core, tile.window))
    )


@given(PLANS, WINDOWS)
@settings(max_examples=60, deadline=None)
def test_the_hull_is_what_the_tiles_read(plan, window):
    hull = plan.hull(window)
    tiles = list(plan.tiles(window))
    assert count([t.window for t in tiles], hull).all()
    for tile in tiles:
        assert count([hull], tile.window).all()
    wide = Window(
        window.col_off - plan.halo,
        window.row_off - plan.halo,
        window.width + 2 * plan.halo,
        window.height + 2 * plan.halo,
    )
    assert count([hull], wide).all()


def test_core_edges_fall_on_multiples_of_the_stride_from_the_origin_of_the_crs():
    plan = TilePlan(geobox_at(-910_000, 28_000, 10.0), 64, 8)
    for tile in plan.tiles(Window(0, 0, 100, 100)):
        x, y = plan.geobox.affine @ (tile.core.col_off, tile.core.row_off)
        assert x % 480 == 0
        assert y % 480 == 0


@pytest.mark.parametrize(
    ("size", "halo", "words"),
    [
        (
            63,
            16,
            "Tiles of 63 pixels are too small for a halo of 16 on each side. Give --tile-size 64 or more",
        ),
        (63, 16, "64 or more, or a smaller --halo."),
        (0, 0, "--tile-size 1 or more"),
        (-5, 0, "--tile-size 1 or more."),
        (64, -1, "--halo -1 is not a margin"),
    ],
)
def test_impossible_sizes(size, halo, words):
    with pytest.raises(RecipeError) as caught:
        TilePlan(geobox_at(0, 0, 10.0), size, halo)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("size", "halo"), [(64, 16), (1, 0), (4, 1)])
def test_the_smallest_tiles_of_a_halo(size, halo):
    plan = TilePlan(geobox_at(0, 0, 10.0), size, halo)
    assert plan.stride == size - 2 * halo


# --- blocks --------------------------------------------------------------------------------------


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 100))
@settings(max_examples=80, deadline=None)
def test_blocks_cover_the_grid_once_in_row_major_order(height, width, size):
    blocks = blocks_of(geobox_at(0, 0, 10.0, (height, width)), size)
    assert (count([b.window for b in blocks], Window(0, 0, width, height)) == 1).all()
    assert sum(b.window.height * b.window.width for b in blocks) == height * width
    assert [b.index for b in blocks] == list(range(len(blocks)))
    corners = [(b.window.row_off, b.window.col_off) for b in blocks]
    assert corners == sorted(corners)
    assert all(0 < b.window.height <= size and 0 < b.window.width <= size for b in blocks)


@pytest.mark.parametrize("size", [0, -1])
def test_blocks_without_pixels(size):
    with pytest.raises(RecipeError, match=r"--block-size .* is not a number of pixels. Give"):
        blocks_of(geobox_at(0, 0, 10.0), size)
