"""Areas of pixels against PROJ's geodesics."""

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Geod

from geoseg.grid.ground import plane_to_ground, row_areas_m2


@given(top=st.floats(-80, 89), size=st.floats(1e-4, 0.5), height=st.integers(1, 20))
def test_rows_of_degrees_are_zones_of_the_ellipsoid(top, size, height):
    geobox = GeoBox((height, 3), Affine(size, 0, 7.0, 0, -size, top), "EPSG:4326")
    areas = row_areas_m2(geobox)
    assert areas.shape == (height,)
    for row in {0, height - 1}:
        high, low = top - row * size, top - (row + 1) * size
        # Parallels are no geodesics: corners close together follow them.
        cell = shapely.segmentize(shapely.box(7, low, 7 + size, high), size / 200)
        expected = abs(Geod(ellps="WGS84").geometry_area_perimeter(cell)[0])
        assert areas[row] == pytest.approx(expected, rel=1e-4, abs=1e-2)


def test_a_row_around_the_equator_is_as_large_as_its_mirror():
    areas = row_areas_m2(GeoBox((10, 4), Affine(1, 0, 0, 0, -1, 5), "EPSG:4326"))
    assert areas == pytest.approx(areas[::-1])
    assert np.ptp(areas) > 0


@pytest.mark.parametrize(("crs", "m2"), [("EPSG:32632", 100.0), ("EPSG:2263", 100 * (1200 / 3937) ** 2)])
def test_projected_pixels_are_measured_in_the_plane(crs, m2):
    assert row_areas_m2(GeoBox((2, 2), Affine(10, 0, 0, 0, -10, 0), crs)) == pytest.approx(m2)


@pytest.mark.parametrize(
    ("crs", "x", "y", "ratio"),
    [
        ("EPSG:3857", 0, 8_399_737, 4.0),
        ("EPSG:32632", 500_000, 5_000_000, 0.9992),
        ("EPSG:6933", 0, 5_000_000, 1.0),
        ("EPSG:4326", 0, 60, 1.0),
    ],
)
def test_the_plane_is_compared_with_the_ground(crs, x, y, ratio):
    assert plane_to_ground(GeoBox((2, 2), Affine(1, 0, x, 0, -1, y), crs)) == pytest.approx(ratio, rel=1e-4)
