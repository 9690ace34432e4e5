"""The files of a map that is too large for one."""

import numpy as np
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from geoseg.grid.geobox import lattice_origin
from geoseg.grid.sheets import SHEET_STEP, sheets_of

maps = st.builds(
    lambda row, col, height, width: GeoBox(
        (height, width), Affine(10, 0, col * 10, 0, -10, row * -10), "EPSG:32725"
    ),
    st.integers(-3000, 3000),
    st.integers(-3000, 3000),
    st.integers(1, 4000),
    st.integers(1, 4000),
)
sizes_gb = st.floats(1e-5, 0.02)


@settings(max_examples=100, deadline=None)
@given(maps, sizes_gb)
def test_sheets_cover_each_pixel_once_and_none_is_larger_than_asked(geobox, max_file_gb):
    sheets = sheets_of(geobox, max_file_gb=max_file_gb, area_px=None)
    if not sheets:
        assert geobox.height * geobox.width * 4 / 3 <= max_file_gb * 1e9
        return
    times = np.zeros(geobox.shape, np.uint8)
    for sheet in sheets:
        w = sheet.window
        assert 0 <= w.row_off < w.row_off + w.height <= geobox.height
        assert 0 <= w.col_off < w.col_off + w.width <= geobox.width
        times[w.row_off : w.row_off + w.height, w.col_off : w.col_off + w.width] += 1
        assert w.height * w.width * 4 / 3 <= max(max_file_gb * 1e9, SHEET_STEP**2 * 4 / 3)
    assert (times == 1).all()
    assert len({sheet.name for sheet in sheets}) == len(sheets)


@settings(max_examples=50, deadline=None)
@given(maps, maps, sizes_gb)
def test_edges_between_sheets_lie_on_one_lattice_for_all_maps(one, other, max_file_gb):
    """A multiple of 512, counted from the origin of the CRS, whatever the map."""
    inner = set()
    for geobox in (one, other):
        row0, col0 = lattice_origin(geobox)
        for sheet in sheets_of(geobox, max_file_gb=max_file_gb, area_px=None):
            inner |= {sheet.window.row_off + row0} if sheet.window.row_off else set()
            inner |= {sheet.window.col_off + col0} if sheet.window.col_off else set()
    side = max(int((max_file_gb * 0.75e9) ** 0.5) // SHEET_STEP, 1) * SHEET_STEP
    assert all(edge % side == 0 for edge in inner)


def test_only_sheets_with_some_of_the_area_are_files():
    geobox = GeoBox((2000, 2000), Affine(10, 0, 0, 0, -10, 0), "EPSG:32725")
    area = shapely.box(10, 10, 500, 1500) | shapely.box(1600, 1600, 1700, 1700)
    names = [sheet.name for sheet in sheets_of(geobox, max_file_gb=1e-4, area_px=area)]
    assert names == ["r0000-c0000", "r0001-c0000", "r0002-c0000", "r0003-c0003"]
