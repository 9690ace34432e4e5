"""CRSs in which hectares are true."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo import crs as odc_crs
from odc.geo.geom import box
from pyproj import CRS

from geoseg.aoi import area_km2
from geoseg.grid.equal_area import equal_area_of
from geoseg.grid.geobox import crs_title, geobox_for, project
from geoseg.grid.ground import plane_to_ground


@settings(max_examples=40, deadline=None)
@given(st.floats(-179, 179), st.floats(-88, 88), st.floats(0.01, 25), st.floats(0.01, 12))
def test_areas_are_true_anywhere(lon, lat, width, height):
    aoi = box(lon, lat, min(lon + width, 180), min(lat + height, 89.9), "EPSG:4326")
    code = equal_area_of(aoi)
    plane = project(aoi, code)
    assert plane.geom.area / 1e6 == pytest.approx(area_km2(aoi), rel=1e-4)
    assert plane_to_ground(geobox_for(aoi, gsd_m=1000, crs="equal-area")) == pytest.approx(1, abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.floats(-179, 179), st.floats(-79, 79), st.floats(-2, 2), st.floats(-2, 2))
def test_it_is_centred_near_the_area_and_few_areas_have_one_of_their_own(lon, lat, east, north):
    def conversion(x, y):
        code = equal_area_of(box(x - 0.1, y - 0.1, x + 0.1, y + 0.1, "EPSG:4326"))
        return None if code.startswith("EPSG") else CRS(code).coordinate_operation

    if (here := conversion(lon, lat)) is None:
        return
    at_lat, at_lon = (p.value for p in here.params[:2])
    assert abs(at_lat - lat) <= 2.51
    assert abs((at_lon - lon + 180) % 360 - 180) <= 2.51
    assert at_lat % 5 == at_lon % 5 == 0


@pytest.mark.parametrize(
    ("aoi", "code"),
    [
        ((2, 44, 14, 49), "EPSG:3035"),
        ((-120, 35, -80, 45), "EPSG:5070"),
        ((115, -35, 150, -15), "EPSG:3577"),
        ((-30, 82, 30, 84), "EPSG:6931"),
        ((-30, -89, 30, -82), "EPSG:6932"),
    ],
)
def test_official_ones_where_there_are_any(aoi, code):
    assert equal_area_of(box(*aoi, "EPSG:4326")) == code


@pytest.mark.parametrize(
    "aoi", [(-130, 35, -80, 45), (-120, 20, -80, 45), (-120, 35, -60, 45), (-120, 35, -80, 55)]
)
def test_an_area_over_the_border_of_an_official_one_gets_its_own(aoi):
    assert crs_title(equal_area_of(box(*aoi, "EPSG:4326"))).startswith("WGS 84 / LAEA")


def test_the_text_is_the_crs():
    code = equal_area_of(box(-72, -12, -60, 4, "EPSG:4326"))
    assert str(odc_crs.CRS(code)) == code
    assert odc_crs.CRS(odc_crs.CRS(code).to_wkt()) == odc_crs.CRS(code)
    assert len(crs_title(code)) < 30


def test_areas_with_one_centre_have_the_same_pixels():
    one = geobox_for(box(7, -3, 12, 2, "EPSG:4326"), gsd_m=30, crs="equal-area")
    other = geobox_for(box(8.5, -1, 10, 2.5, "EPSG:4326"), gsd_m=30, crs="equal-area")
    assert one.crs == other.crs
    for at in (lambda g: g.affine.c, lambda g: g.affine.f):
        assert math.isclose((at(one) - at(other)) % 30, 0, abs_tol=1e-6)
