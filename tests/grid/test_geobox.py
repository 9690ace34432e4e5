"""THE grid: it covers the area, no more than it must, and lies on a lattice that no area can move."""

import math

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from pyproj import CRS
from rasterio.windows import Window
from shapely.geometry import MultiPolygon, box

from geoseg.aoi import area_km2, read_aoi
from geoseg.errors import RecipeError
from geoseg.grid.geobox import (
    geobox_for,
    lattice_origin,
    project,
    snap_out,
    utm_of,
    window_geobox,
)

UTM = "EPSG:32725"
ZONES = st.sampled_from(["EPSG:32725", "EPSG:32701", "EPSG:32760", "EPSG:32633", "EPSG:3031", "EPSG:3413"])
GSDS = st.sampled_from([10.0, 30.0, 28.5, 0.3, 0.05, 1.0, 4 / 3, 60.0])
ANCHORS = st.sampled_from([(0.0, 0.0), (15.0, 15.0), (0.1, 0.2), (-3.25, 7e6), (5.0, 5.0), (0.01, 9.99)])
GRIDS = st.fixed_dictionaries({"gsd_m": GSDS, "crs": ZONES, "anchor": ANCHORS})
EDGES = st.tuples(
    st.floats(160_000, 840_000), st.floats(1e5, 9.9e6), st.floats(1e-3, 400), st.floats(1e-3, 400)
)


def boxed(edges: tuple[float, float, float, float], crs: str, gsd: float = 1.0) -> Geometry:
    """West, south, and width and height in pixels."""
    west, south, width, height = edges
    return Geometry(box(west, south, west + width * gsd, south + height * gsd), crs)


def edges_of(geobox: GeoBox) -> tuple[float, float, float, float]:
    a = geobox.affine
    return a.c, a.f + a.e * geobox.shape[0], a.c + a.a * geobox.shape[1], a.f


def to_pixels(grid: dict, x: float, y: float) -> tuple[float, float]:
    return (x - grid["anchor"][0]) / grid["gsd_m"], (y - grid["anchor"][1]) / grid["gsd_m"]


# --- geobox_for ----------------------------------------------------------------------------------


@given(EDGES, GRIDS)
@settings(max_examples=150, deadline=None)
def test_covers_the_area_and_no_row_or_column_more(edges, grid):
    aoi = boxed(edges, grid["crs"], grid["gsd_m"])
    got = np.array(edges_of(geobox_for(aoi, **grid)))
    west, south, east, north = aoi.geom.bounds
    over = np.array([west - got[0], south - got[1], got[2] - east, got[3] - north]) / grid["gsd_m"]
    assert over.min() >= -2e-4  # an edge this near to the lattice counts as on it
    assert over.max() < 1


@given(EDGES, GRIDS)
@settings(max_examples=150, deadline=None)
def test_pixel_edges_fall_on_the_lattice(edges, grid):
    geobox = geobox_for(boxed(edges, grid["crs"], grid["gsd_m"]), **grid)
    a = geobox.affine
    for value in to_pixels(grid, a.c, a.f):
        assert abs(value - round(value)) < 1e-5
    assert (a.a, a.e, a.b, a.d) == (grid["gsd_m"], -grid["gsd_m"], 0, 0)
    assert str(geobox.crs) == grid["crs"]


@given(EDGES, EDGES, GRIDS)
@settings(max_examples=100, deadline=None)
def test_the_grids_of_two_areas_coincide(one, other, grid):
    first, second = (geobox_for(boxed(e, grid["crs"], grid["gsd_m"]), **grid) for e in (one, other))
    col, row = ~first.affine @ (second.affine.c, second.affine.f)
    assert abs(col - round(col)) < 1e-5
    assert abs(row - round(row)) < 1e-5
    (row1, col1), (row2, col2) = lattice_origin(first), lattice_origin(second)
    assert (row2 - row1, col2 - col1) == (round(row), round(col))


@given(EDGES, GRIDS, st.integers(-5000, 5000), st.integers(-5000, 5000))
@settings(max_examples=150, deadline=None)
def test_moving_the_area_by_whole_pixels_moves_the_grid_by_as_many(edges, grid, right, down):
    gsd = grid["gsd_m"]
    west, south, width, height = edges
    for value in (*to_pixels(grid, west, south), *to_pixels(grid, west + width * gsd, south + height * gsd)):
        assume(abs(value - round(value)) < 2e-4 or abs(value - round(value)) > 1e-3)
        assume(not 5e-5 < abs(value - round(value)) < 2e-4)
    here = geobox_for(boxed(edges, grid["crs"], gsd), **grid)
    there = geobox_for(
        boxed((west + right * gsd, south - down * gsd, width, height), grid["crs"], gsd), **grid
    )
    assert there.shape == here.shape
    (row1, col1), (row2, col2) = lattice_origin(here), lattice_origin(there)
    assert (row2 - row1, col2 - col1) == (down, right)


@given(st.integers(1, 90_000), st.integers(1, 300_000), st.integers(1, 300), st.integers(1, 300), GRIDS)
@settings(max_examples=150, deadline=None)
def test_an_area_with_edges_on_the_lattice_gets_no_pixel_more(col, row, width, height, grid):
    gsd, (x, y) = grid["gsd_m"], grid["anchor"]
    aoi = Geometry(
        box(x + col * gsd, y + row * gsd, x + (col + width) * gsd, y + (row + height) * gsd), grid["crs"]
    )
    assert geobox_for(aoi, **grid).shape == (height, width)


@given(st.floats(200_000, 800_000), st.floats(1e6, 9e6), st.floats(1e-6, 1), GRIDS)
@settings(max_examples=100, deadline=None)
def test_an_area_smaller_than_a_pixel_gets_one_to_four(x, y, share, grid):
    side = share * grid["gsd_m"]
    aoi = Geometry(box(x, y, x + side, y + side), grid["crs"])
    height, width = geobox_for(aoi, **grid).shape
    assert 1 <= height <= 2
    assert 1 <= width <= 2


def test_an_area_thinner_than_rounding_on_a_pixel_edge_gets_a_pixel():
    aoi = Geometry(box(500_000 - 1e-5, 9_100_000 - 1e-5, 500_000 + 1e-5, 9_100_000 + 1e-5), UTM)
    assert geobox_for(aoi, gsd_m=10, crs=UTM).shape == (1, 1)


@pytest.mark.parametrize(
    ("gsd", "anchor", "edges"),
    [
        (10, (0, 0), (280_000, 9_099_990, 290_010, 9_110_000)),
        (30, (15, 15), (279_975, 9_099_975, 290_025, 9_110_025)),
        (28.5, (0, 0), (279_984, 9_099_993.5, 290_015.5, 9_110_011.0)),
    ],
)
def test_examples(gsd, anchor, edges):
    aoi = Geometry(box(280_000, 9_099_994, 290_001, 9_110_000), UTM)
    got = edges_of(geobox_for(aoi, gsd_m=gsd, crs=UTM, anchor=anchor))
    if gsd != 28.5:
        assert got == edges
    assert (got[0] - anchor[0]) / gsd == pytest.approx(round((got[0] - anchor[0]) / gsd), abs=1e-9)


@given(st.floats(-179.9, 179.9), st.floats(-79, 83), st.floats(0.001, 0.1), st.floats(0.001, 0.1))
@settings(max_examples=60, deadline=None)
def test_areas_in_degrees_are_covered_in_their_zone(lon, lat, width, height):
    shape = box(lon, lat, min(lon + width, 180), lat + height)
    geobox = geobox_for(Geometry(shape, "EPSG:4326"), gsd_m=10)
    corners = shapely.segmentize(shape, 0.003)
    there = Geometry(corners, "EPSG:4326").to_crs(geobox.crs).geom
    west, south, east, north = edges_of(geobox)
    assert west - 0.01 <= there.bounds[0]
    assert south - 0.01 <= there.bounds[1]
    assert there.bounds[2] <= east + 0.01
    assert there.bounds[3] <= north + 0.01
    assert there.bounds[0] - west < 10.1
    assert north - there.bounds[3] < 10.1
    assert str(geobox.crs).startswith("EPSG:326" if lat + height / 2 >= 0 else "EPSG:327")


def test_an_area_in_two_zones_takes_the_zone_of_its_middle_and_stays_whole():
    geobox = geobox_for(read_aoi("5.5,50,6.2,50.2"), gsd_m=10)
    assert str(geobox.crs) == "EPSG:32631"
    assert geobox.shape[1] * 10 == pytest.approx(50_200, rel=0.02)


def test_edges_bulge_as_parallels_do():
    """The top of a box of degrees is highest between its corners; the grid holds that too."""
    aoi = read_aoi("12,60,18,60.5", max_area_km2=1e6)
    north = edges_of(geobox_for(aoi, gsd_m=10, crs="EPSG:32633"))[3]
    corner = Geometry(shapely.Point(12, 60.5), "EPSG:4326").to_crs("EPSG:32633").geom.y
    middle = Geometry(shapely.Point(15, 60.5), "EPSG:4326").to_crs("EPSG:32633").geom.y
    assert corner > middle + 1000  # in UTM parallels bend upwards away from the middle of the zone
    assert 0 <= north - corner < 10
    south = edges_of(geobox_for(aoi, gsd_m=10, crs="EPSG:32633"))[1]
    low = Geometry(shapely.Point(15, 60), "EPSG:4326").to_crs("EPSG:32633").geom.y
    assert 0 <= low - south < 10


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"crs": "EPSG:4326"}, "--crs EPSG:4326 is not in metres"),
        ({"crs": "EPSG:2263"}, "--crs EPSG:2263 is not in metres"),
        ({"crs": "EPSG:4978"}, "not in metres"),
        ({"crs": "EPSG:999999"}, "--crs EPSG:999999 is not a CRS. Give a code"),
        ({"crs": "zone 25"}, "--crs zone 25 is not a CRS"),
        ({"crs": ""}, "is not a CRS"),
        ({"gsd_m": 0}, "--gsd 0 is not a pixel size"),
        ({"gsd_m": -10}, "--gsd -10 is not a pixel size"),
        ({"gsd_m": math.nan}, "--gsd nan"),
        ({"gsd_m": math.inf}, "--gsd inf"),
    ],
)
def test_refusals(options, words):
    with pytest.raises(RecipeError) as caught:
        geobox_for(read_aoi("-35,-8.2,-34.9,-8.1"), **{"gsd_m": 10, **options})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_area_that_the_crs_cannot_hold():
    far = MultiPolygon([box(-9, 38, -8.9, 38.1), box(81, 0, 81.1, 0.1)])
    with pytest.raises(RecipeError, match=r"cannot be shown in \+proj=ortho.* --crs for all of it"):
        geobox_for(
            Geometry(far, "EPSG:4326"), gsd_m=10, crs="+proj=ortho +lon_0=-9 +lat_0=38 +units=m +type=crs"
        )


# --- project and utm_of --------------------------------------------------------------------------


def halves(west: float, east: float, south: float, north: float) -> Geometry:
    """West below 180, east above it."""
    parts = MultiPolygon([box(west, south, 180, north), box(-180, south, east - 360, north)])
    return Geometry(parts, "EPSG:4326")


@given(
    st.floats(179, 179.999), st.floats(180.001, 181), st.floats(-79, 83), st.floats(0.001, 0.5),
    st.sampled_from([1, 60]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_halves_at_the_antimeridian_are_one_polygon_of_the_same_shape_as_elsewhere(
    west, east, south, height, zone
):
    """UTM zones are alike: the same box 30 degrees (5 zones) to the west has the same projected corners."""
    side = 326 if south >= 0 else 327
    aoi = halves(west, east, south, south + height)
    whole = project(aoi, f"EPSG:{side}{zone:02d}").geom
    twin = Geometry(box(west - 30, south, east - 30, south + height), "EPSG:4326")
    elsewhere = project(twin, f"EPSG:{side}{(zone - 6) % 60 + 1:02d}").geom
    assert whole.geom_type == "Polygon"
    assert whole.is_valid
    assert not whole.interiors
    assert whole.area == pytest.approx(elsewhere.area, rel=1e-6)
    assert shapely.hausdorff_distance(whole, elsewhere) < 2
    assert whole.area / 1e6 == pytest.approx(area_km2(aoi), rel=0.01)


def test_a_hole_at_the_antimeridian_stays():
    ring = shapely.difference(box(179, 0, 181, 1), box(179.5, 0.2, 180.5, 0.8))
    whole = project(read_aoi(shapely.to_geojson(ring), max_area_km2=1e6), "EPSG:32601").geom
    assert whole.geom_type == "Polygon"
    assert len(whole.interiors) == 1
    assert whole.area / shapely.convex_hull(whole).area == pytest.approx(1 - 0.3, abs=0.01)


@pytest.mark.parametrize(("west", "east", "zone"), [(179.5, 180.4, 60), (179.6, 180.5, 1)])
def test_the_grid_of_an_area_across_the_antimeridian(west, east, zone):
    geobox = geobox_for(halves(west, east, -17, -16.5), gsd_m=10)
    assert str(geobox.crs) == f"EPSG:327{zone:02d}"
    assert geobox.shape[1] * 10 == pytest.approx((east - west) * 106_500, rel=0.02)


@pytest.mark.parametrize("crs", ["EPSG:3031", "EPSG:3413"])
def test_the_grid_around_a_pole(crs):
    pole = 90 if crs == "EPSG:3413" else -90
    cap = read_aoi(f"-180,{min(pole, pole * 89 / 90)},180,{max(pole, pole * 89 / 90)}", max_area_km2=1e6)
    geobox = geobox_for(cap, gsd_m=100)
    assert str(geobox.crs) == crs
    west, south, east, north = edges_of(geobox)
    assert (west, south) == (-east, -north)
    assert area_km2(cap) == pytest.approx(project(cap, crs).geom.area / 1e6, rel=0.07)
    assert east == pytest.approx(111_700 * 0.97, rel=0.02)


def test_mercator_keeps_the_halves_apart():
    parts = project(halves(179.5, 180.5, 0, 1), "EPSG:3857").geom
    assert len(parts.geoms) == 2
    assert parts.area == pytest.approx(111_320**2, rel=0.01)


def test_project_leaves_an_area_in_its_own_crs_alone():
    aoi = Geometry(box(280_000, 9_100_000, 290_000, 9_110_000), UTM)
    assert project(aoi, UTM) is aoi


@given(st.floats(-180, 180), st.floats(-90, 90))
@settings(max_examples=150, deadline=None)
def test_every_place_has_a_zone_and_lies_in_it(lon, lat):
    speck = shapely.box(lon - 1e-4, max(lat - 1e-4, -90), lon + 1e-4, min(lat + 1e-4, 90))
    assume(abs(lon) < 179.99)
    assume(min(abs(lat - 84), abs(lat + 80), abs(lat), abs((lon + 180) % 6)) > 1e-3)
    code = utm_of(Geometry(speck, "EPSG:4326"))
    if lat > 84:
        assert code == "EPSG:3413"
    elif lat < -80:
        assert code == "EPSG:3031"
    else:
        west, south, east, north = CRS(code).area_of_use.bounds
        assert west - 0.01 <= lon <= east + 0.01
        assert south - 0.01 <= lat <= north + 0.01


@pytest.mark.parametrize(
    ("aoi", "code"),
    [
        (halves(179, 180.5, 10, 11), "EPSG:32660"),
        (halves(179.5, 181, -11, -10), "EPSG:32701"),
        (Geometry(box(-180, 0, -179, 1), "EPSG:4326"), "EPSG:32601"),
        (Geometry(box(179, 0, 180, 1), "EPSG:4326"), "EPSG:32660"),
        (Geometry(box(-1, -1, 1, 1), "EPSG:4326"), "EPSG:32631"),
        (Geometry(box(790_000, 8e6, 830_000, 8.1e6), "EPSG:32760"), "EPSG:32760"),
        (Geometry(box(-5e4, -5e4, 5e4, 5e4), "EPSG:3031"), "EPSG:3031"),
        (Geometry(box(-5e4, -5e4, 5e4, 5e4), "EPSG:3413"), "EPSG:3413"),
        (Geometry(MultiPolygon([box(176, 0, 176.1, 1), box(-179.9, 0, -179, 1)]), "EPSG:4326"), "EPSG:32601"),
    ],
)
def test_zones_of_known_places(aoi, code):
    assert utm_of(aoi) == code


# --- lattice_origin, window_geobox, snap_out -----------------------------------------------------

FRACTIONS = st.sampled_from([0, 0.5, 0.001, 0.999, 0.25, 1 / 3, 2 / 3, 0.9, 0.3508771929824561])
LATTICES = st.tuples(st.integers(-1_000_000, 1_000_000), st.integers(-100_000, 100_000), GSDS, FRACTIONS)
WINDOWS = st.builds(
    Window, st.integers(-900, 900), st.integers(-900, 900), st.integers(1, 700), st.integers(1, 700)
)


def on(lattice: tuple[int, int, float, float]) -> GeoBox:
    row, col, gsd, fraction = lattice
    return GeoBox((40, 60), Affine(gsd, 0, (col + fraction) * gsd, 0, -gsd, -(row + fraction) * gsd), UTM)


@given(LATTICES, WINDOWS)
@settings(max_examples=150, deadline=None)
def test_the_origin_of_a_window_is_that_of_the_grid_plus_its_offset(lattice, window):
    geobox = on(lattice)
    row, col = lattice_origin(geobox)
    assert (row, col) == lattice[:2]
    inner = window_geobox(geobox, window)
    assert lattice_origin(inner) == (row + window.row_off, col + window.col_off)


@given(LATTICES, WINDOWS)
@settings(max_examples=100, deadline=None)
def test_a_window_has_the_pixels_of_the_grid(lattice, window):
    geobox = on(lattice)
    inner = window_geobox(geobox, window)
    assert inner.shape == (window.height, window.width)
    assert inner.crs == geobox.crs
    for corner in ((0, 0), (window.width, window.height)):
        there = geobox.affine @ (corner[0] + window.col_off, corner[1] + window.row_off)
        assert inner.affine @ corner == pytest.approx(there, rel=1e-12, abs=1e-6)


@given(LATTICES, WINDOWS, st.integers(1, 600))
@settings(max_examples=150, deadline=None)
def test_snapping_out_takes_the_fewest_whole_cells(lattice, window, cell):
    geobox = on(lattice)
    row0, col0 = lattice_origin(geobox)
    out = snap_out(geobox, window, cell)
    for first, n, start, length, origin in (
        (out.row_off, out.height, window.row_off, window.height, row0),
        (out.col_off, out.width, window.col_off, window.width, col0),
    ):
        assert (first + origin) % cell == 0
        assert n % cell == 0
        assert start - cell < first <= start
        assert start + length <= first + n < start + length + cell
    assert snap_out(geobox, out, cell) == out


@given(LATTICES, WINDOWS, st.integers(1, 600), st.integers(-900, 900), st.integers(-900, 900))
@settings(max_examples=100, deadline=None)
def test_cells_stay_in_place_when_the_grid_moves(lattice, window, cell, down, right):
    row, col, gsd, fraction = lattice
    here = snap_out(on(lattice), window, cell)
    seen = Window(window.col_off - right, window.row_off - down, window.width, window.height)
    there = snap_out(on((row + down, col + right, gsd, fraction)), seen, cell)
    assert there == Window(here.col_off - right, here.row_off - down, here.width, here.height)
