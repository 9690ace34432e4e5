"""Laws of polygons that are made while a map is read: nothing depends on where it is cut."""

import subprocess
import sys
from itertools import pairwise

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from polygon_maps import CHECKERBOARD, KNOTS, LEGEND, NESTED, class_maps, on_ground, regions_of, same_bytes

from geoseg.errors import OutputError
from geoseg.polygons import nodes, simplify
from geoseg.polygons.cycles import walk
from geoseg.polygons.trace import polygonize, stream_polygons
from geoseg.writers.gpkg import write_gpkg_in_parts

OPTIONS = st.fixed_dictionaries(
    {"min_area_ha": st.sampled_from([0, 0.03]), "simplify_m": st.sampled_from([0, 8, 15, 40])}
)


def written(folder, pixels):
    path = folder / "class.tif"
    profile = {"driver": "GTiff", "height": pixels.shape[0], "width": pixels.shape[1], "count": 1}
    place = {"crs": "EPSG:32633", "transform": Affine(10, 0, 500000, 0, -10, 4000000)}
    with rasterio.open(path, "w", **profile, **place, dtype="uint8", nodata=255) as file:
        file.write(pixels, 1)
    return path


def whole(parts) -> gpd.GeoDataFrame:
    return pd.concat(list(parts), ignore_index=True)


def smooth_map(shape, seed=3) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((3, *shape))
    for axis in (1, 2):
        noise = sum(np.roll(noise, k, axis) for k in range(-2, 3))
    return noise.argmax(0).astype(np.uint8)


@pytest.fixture
def small_bands(monkeypatch):
    """So that small maps have many."""
    for module in (nodes, simplify):
        monkeypatch.setattr(module, "BAND", 4)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(class_maps(14), st.integers(1, 12), OPTIONS)
@example(KNOTS, 2, {"simplify_m": 15})
@example(NESTED, 1, {"simplify_m": 40})
def test_no_bit_depends_on_the_block_size_in_any_band(small_bands, tmp_path, pixels, block_size, options):
    class_tif = written(tmp_path, pixels)
    one = whole(stream_polygons(class_tif, legend=LEGEND, **options))
    other = whole(stream_polygons(class_tif, legend=LEGEND, block_size=block_size, **options))
    assert same_bytes(one, other)
    table = polygonize(on_ground(pixels), legend=LEGEND, block_size=block_size, **options)
    in_order = one.assign(first=[first_pixel(shape) for shape in one.geometry])
    if not options.get("simplify_m"):
        in_order = in_order.sort_values(["class_id", "first"], ignore_index=True)
        assert same_bytes(in_order.drop(columns="first"), table)
    assert sorted(one.geometry.to_wkb()) == sorted(table.geometry.to_wkb())


def first_pixel(shape):
    """A key in the order of first pixels, for polygons that keep the outlines of pixels."""
    return min((-y, x) for x, y in shape.exterior.coords)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(class_maps(12))
@example(KNOTS)
@example(CHECKERBOARD)
def test_polygons_come_in_the_order_of_their_last_rows_then_first_pixels(tmp_path, pixels):
    table = whole(stream_polygons(written(tmp_path, pixels), legend=LEGEND, block_size=2))
    keys = [(-shape.bounds[1], first_pixel(shape)) for shape in table.geometry]
    assert keys == sorted(keys)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(class_maps(16), st.sampled_from([7.2, 10, 15, 25, 60, 500]))
@example(KNOTS, 60)
@example(NESTED, 500)
@example(CHECKERBOARD, 60)
def test_simplified_polygons_are_a_coverage_in_any_bands(small_bands, pixels, tolerance_m):
    exact = polygonize(on_ground(pixels), legend=LEGEND)
    table = polygonize(on_ground(pixels), legend=LEGEND, simplify_m=tolerance_m)
    shapes = table.geometry.values
    assert shapely.is_valid(shapes).all()
    assert len(shapes) == 0 or shapely.coverage_is_valid(shapes)
    assert shapely.is_ccw(shapely.get_exterior_ring(shapes)).all()
    assert table.drop(columns="geometry").equals(exact.drop(columns="geometry"))
    # Nothing vanishes, islands and lakes neither, and no hole opens between neighbours.
    assert [len(s.interiors) for s in shapes] == [len(s.interiors) for s in exact.geometry]
    assert holes_of_union(shapes) == holes_of_union(exact.geometry.values)


def holes_of_union(shapes) -> int:
    parts = shapely.get_parts(shapely.union_all(shapes)) if len(shapes) else []
    return sum(shapely.get_num_interior_rings(parts))


def test_simplification_leaves_no_line_where_bands_meet(small_bands):
    class_id = on_ground(smooth_map((240, 120)))
    table = polygonize(class_id, legend=LEGEND, simplify_m=12)
    rows = (4000000 - shapely.get_coordinates(table.geometry.values)[:, 1]) / 10
    per_row = np.bincount(rows.astype(int), minlength=241)[4:236].reshape(-1, 4)
    at_borders, elsewhere = per_row[:, 0].mean(), per_row[:, 1:].mean()
    assert 0.9 < at_borders / elsewhere < 1.1
    assert len(rows) < 0.7 * shapely.get_num_coordinates(polygonize(class_id, legend=LEGEND).geometry).sum()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 2**32 - 1), st.booleans())
def test_walk_gives_each_member_once_and_each_before_its_follower(n, seed, is_one_cycle):
    rng = np.random.default_rng(seed)
    follower = np.roll(rng.permutation(n), 1) if is_one_cycle else rng.permutation(n)
    order, begin = walk(follower.astype(np.int32))
    assert np.array_equal(np.sort(order), np.arange(n))
    for start, stop in pairwise(begin):
        assert np.array_equal(follower[order[start:stop]], np.roll(order[start:stop], -1))


def test_a_geopackage_in_parts_holds_what_the_table_holds(tmp_path):
    class_tif = written(tmp_path, smooth_map((60, 50)))
    path = tmp_path / "classes.gpkg"
    parts = stream_polygons(class_tif, legend=LEGEND, block_size=8)
    n_polygons = write_gpkg_in_parts(parts, path, legend=LEGEND, title="T")
    read = gpd.read_file(path, layer="classes")
    table = whole(stream_polygons(class_tif, legend=LEGEND))
    assert n_polygons == len(read) == regions_of(smooth_map((60, 50))).max()
    assert read.geometry.to_wkb().tolist() == table.geometry.to_wkb().tolist()
    assert (
        read.drop(columns="geometry")
        .astype(table.drop(columns="geometry").dtypes)
        .equals(table.drop(columns="geometry"))
    )


def test_what_goes_wrong_while_polygons_are_made_is_said_and_leaves_no_file(tmp_path):
    pixels = np.zeros((40, 10), np.uint8)
    pixels[30:] = 7
    parts = stream_polygons(written(tmp_path, pixels), legend=LEGEND, block_size=4)
    with pytest.raises(OutputError, match=r"holds \[7\]"):
        write_gpkg_in_parts(parts, tmp_path / "classes.gpkg", legend=LEGEND, title="T")
    assert [path.name for path in tmp_path.iterdir()] == ["class.tif"]


_PEAK = """
import resource, sys
from pathlib import Path
from geoseg.legend import Legend
from geoseg.polygons.trace import stream_polygons
from geoseg.writers.gpkg import write_gpkg_in_parts
legend = Legend.of(water="1F78B4", land="B2DF8A", wood="33A02C")
class_tif, simplify_m = Path(sys.argv[1]), float(sys.argv[2])
parts = stream_polygons(class_tif, class_tif, legend=legend, simplify_m=simplify_m)
write_gpkg_in_parts(parts, class_tif.with_suffix(".gpkg"), legend=legend, title="T")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.lane
@pytest.mark.parametrize("simplify_m", [0, 15])
def test_memory_does_not_grow_with_the_map(tmp_path, simplify_m):
    """Eight bands of 512 rows, so that all that is kept of them is there, to four times as many.

    GDAL's cache of blocks fills up meanwhile, to 128 MB at most.
    """
    dense = smooth_map((2048, 1024))
    peaks = []
    for n in (2, 8):
        class_tif = written(tmp_path, np.tile(dense, (n, 1)))
        command = [sys.executable, "-c", _PEAK, str(class_tif), str(simplify_m)]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    assert peaks[1] < 1.2 * peaks[0]
