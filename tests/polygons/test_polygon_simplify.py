"""Laws of merging small polygons and of simplifying outlines: no gaps, no overlaps."""

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from polygon_maps import (
    CHECKERBOARD,
    KNOTS,
    LEGEND,
    NESTED,
    burnt,
    class_maps,
    on_ground,
    regions_of,
    same_bytes,
)

from geoseg.errors import OutputError
from geoseg.polygons.trace import polygonize

PIXEL_HA = 0.01


@settings(max_examples=60, deadline=None)
@given(class_maps(), st.integers(1, 12))
@example(KNOTS, 3)
@example(NESTED, 20)
@example(CHECKERBOARD, 2)
def test_merging_keeps_the_ground_covered_and_leaves_no_small_neighbours(pixels, n_pixels):
    class_id = on_ground(pixels)
    table = polygonize(class_id, legend=LEGEND, min_area_ha=n_pixels * PIXEL_HA)
    sieved = burnt(table, table.class_id, class_id).astype(np.uint8)
    assert np.array_equal(sieved == 255, pixels == 255)
    assert shapely.is_valid(table.geometry.values).all()
    # What is left are the polygons of the sieved map: no trace of the old outlines, no kin side by side.
    again = polygonize(on_ground(sieved), legend=LEGEND)
    assert same_bytes(table, again)
    label = np.pad(regions_of(sieved), 1)
    for i, size in zip(*np.unique(label[label > 0], return_counts=True), strict=True):
        around = np.zeros(label.shape, bool)
        for axis in (0, 1):
            around |= np.roll(label == i, 1, axis) | np.roll(label == i, -1, axis)
        has_neighbour = (label[around & (label != i)] > 0).any()
        assert size >= n_pixels or not has_neighbour


def merged_slowly(pixels: np.ndarray, n_pixels: int) -> np.ndarray:
    """The class map after merging, by recolouring one region at a time and labelling all of it again."""
    pixels = pixels.copy()
    while True:
        label = regions_of(pixels)
        n, size = label.max(), np.bincount(label.ravel())
        border = np.zeros((n + 1, n + 1), int)
        for one, other in ((label[1:], label[:-1]), (label[:, 1:], label[:, :-1])):
            np.add.at(border, (one, other), one != other)
            np.add.at(border, (other, one), one != other)
        border[:, 0] = 0
        small = [i for i in range(1, n + 1) if size[i] < n_pixels and border[i].any()]
        if not small:
            return pixels
        gone = min(small, key=lambda i: (size[i], i))  # labels are in the order of first pixels
        to = max(range(1, n + 1), key=lambda i: (border[gone, i], size[i], -i))
        pixels[label == gone] = pixels[label == to][0]


@settings(max_examples=60, deadline=None)
@given(class_maps(8), st.integers(2, 12))
@example(KNOTS, 4)
@example(KNOTS, 9)
@example(NESTED, 25)
@example(CHECKERBOARD, 3)
def test_merging_is_what_recolouring_one_region_at_a_time_gives(pixels, n_pixels):
    class_id = on_ground(pixels)
    table = polygonize(class_id, legend=LEGEND, min_area_ha=n_pixels * PIXEL_HA)
    assert np.array_equal(burnt(table, table.class_id, class_id), merged_slowly(pixels, n_pixels))


@pytest.mark.parametrize("seed", [*range(6), 49, 62, 79])
def test_merging_of_larger_maps_is_that_too(seed):
    pixels = np.random.default_rng(seed).choice(np.array([0, 0, 1, 1, 2, 255], np.uint8), (15, 17))
    class_id = on_ground(pixels)
    for n_pixels in (3, 12):
        table = polygonize(class_id, legend=LEGEND, min_area_ha=n_pixels * PIXEL_HA)
        assert np.array_equal(burnt(table, table.class_id, class_id), merged_slowly(pixels, n_pixels))


@settings(max_examples=40, deadline=None)
@given(class_maps(), st.integers(1, 12))
def test_classes_of_large_polygons_stay(pixels, n_pixels):
    class_id = on_ground(pixels)
    sieved = burnt(
        t := polygonize(class_id, legend=LEGEND, min_area_ha=n_pixels * PIXEL_HA), t.class_id, class_id
    )
    label = regions_of(pixels)
    sizes = np.bincount(label.ravel())
    is_large = (label > 0) & (sizes[label] >= n_pixels)
    assert np.array_equal(sieved[is_large], pixels[is_large])


def test_longest_border_wins_then_the_larger_neighbour():
    longest = np.array([[1, 1, 1, 1], [1, 0, 2, 2], [1, 1, 2, 2], [1, 1, 2, 2]], np.uint8)
    table = polygonize(on_ground(longest), legend=LEGEND, min_area_ha=2 * PIXEL_HA)
    assert table.area_ha.tolist() == pytest.approx([0.10, 0.06])  # three sides to class 1, one to class 2
    equal = np.array([[1, 1, 0, 2, 2, 2]], np.uint8)
    table = polygonize(on_ground(equal), legend=LEGEND, min_area_ha=2 * PIXEL_HA)
    assert table.area_ha.tolist() == pytest.approx([0.02, 0.04])


def test_the_smallest_goes_first():
    # 0 (1 px) joins 2 over its only border; the 3 px of class 2 it makes are enough and stay.
    pixels = np.array([[0, 2, 2, 1, 1, 1]], np.uint8)
    table = polygonize(on_ground(pixels), legend=LEGEND, min_area_ha=3 * PIXEL_HA)
    assert table.class_id.tolist() == [1, 2]
    assert table.area_ha.tolist() == pytest.approx([0.03, 0.03])


def test_an_oblong_pixel_counts_its_sides_in_metres():
    pixels = np.array([[2, 2, 2], [1, 0, 255], [1, 255, 255]], np.uint8)
    for height, winner in ((40, "land"), (4, "wood")):  # the pixel's left side is its border to class 1
        class_id = on_ground(pixels, Affine(10, 0, 0, 0, -height, 0))
        table = polygonize(class_id, legend=LEGEND, min_area_ha=1.5 * height * 10 / 1e4)
        assert "water" not in set(table.class_name)
        at_pixel = table.geometry.contains(shapely.Point(15, -1.5 * height))
        assert table.class_name[at_pixel].tolist() == [winner]


def test_a_square_of_degrees_is_taller_than_wide():
    pixels = np.array([[2, 2, 2], [1, 0, 255], [1, 255, 255]], np.uint8)
    class_id = on_ground(pixels, Affine(0.01, 0, 30, 0, -0.01, 60), "EPSG:4326")  # 0.56 km by 1.1 km
    table = polygonize(class_id, legend=LEGEND, min_area_ha=100)
    at_pixel = table.geometry.contains(shapely.Point(30.015, 59.985))
    assert table.class_name[at_pixel].tolist() == ["land"]


def test_island_in_nodata_stays_and_an_area_equal_to_the_minimum_is_not_small():
    pixels = np.array([[0, 255, 1, 1, 1, 1, 1, 1, 1, 2, 2]], np.uint8)
    table = polygonize(on_ground(pixels), legend=LEGEND, min_area_ha=0.07)
    assert table.area_ha.tolist() == pytest.approx([0.01, 0.09])


def test_merging_averages_confidence_over_all_pixels():
    stored = np.array([[0.5, 0.75, 0.75, 0.75]])
    class_id, confidence = on_ground(np.array([[0, 1, 1, 1]], np.uint8)), on_ground(stored)
    table = polygonize(class_id, legend=LEGEND, confidence=confidence, min_area_ha=0.02)
    assert table.confidence.tolist() == [stored.mean()]


def coverages():
    return st.one_of(class_maps(12), st.sampled_from([KNOTS, NESTED, CHECKERBOARD]))


@settings(max_examples=80, deadline=None)
@given(coverages(), st.floats(0.1, 60))
def test_simplified_polygons_have_no_gaps_or_overlaps(pixels, tolerance_m):
    exact = polygonize(on_ground(pixels), legend=LEGEND)
    assume(len(exact))
    table = polygonize(on_ground(pixels), legend=LEGEND, simplify_m=tolerance_m)
    assert shapely.is_valid(table.geometry.values).all()
    assert not shapely.is_empty(table.geometry.values).any()
    assert set(table.geom_type) == {"Polygon"}
    assert shapely.is_ccw(shapely.get_exterior_ring(table.geometry.values)).all()
    assert shapely.coverage_is_valid(table.geometry.values)
    assert table.drop(columns="geometry").equals(exact.drop(columns="geometry"))
    if not (pixels == 255).any():
        whole = shapely.union_all(table.geometry.values)
        assert table.area.sum() == pytest.approx(whole.area)
        assert shapely.get_num_interior_rings(whole) == 0


def n_vertices(table):
    return shapely.get_num_coordinates(table.geometry.values).tolist()


def test_tolerance_is_the_root_of_an_area():
    stair = np.tril(np.ones((20, 20), np.uint8))  # triangles of 50 square metres, root 7.07 m
    exact = polygonize(on_ground(stair), legend=LEGEND)
    assert n_vertices(exact) == [41, 43]
    assert same_bytes(exact, polygonize(on_ground(stair), legend=LEGEND, simplify_m=7.0))
    assert n_vertices(polygonize(on_ground(stair), legend=LEGEND, simplify_m=7.2)) == [4, 6]


def test_tolerance_is_in_metres_also_where_the_crs_is_in_feet():
    stair = np.tril(np.ones((20, 20), np.uint8))  # 7.07 feet are 2.155 m
    class_id = on_ground(stair, Affine(10, 0, 0, 0, -10, 0), "EPSG:2263")
    assert n_vertices(polygonize(class_id, legend=LEGEND, simplify_m=2.1)) == [41, 43]
    assert n_vertices(polygonize(class_id, legend=LEGEND, simplify_m=2.2)) == [4, 6]


def test_refusals_say_what_to_do():
    degrees = on_ground(KNOTS, Affine(0.01, 0, 30, 0, -0.01, 60), "EPSG:4326")
    with pytest.raises(
        OutputError, match=r"simplify_m is in metres and the map has a CRS in degrees \(WGS 84\)"
    ):
        polygonize(degrees, legend=LEGEND, simplify_m=10)
    with pytest.raises(OutputError, match="simplify_m is -1, expected 0 or more metres"):
        polygonize(on_ground(KNOTS), legend=LEGEND, simplify_m=-1)
