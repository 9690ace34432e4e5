"""Laws of polygonize: exact, valid, a coverage, the same for any block size."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import example, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr
from polygon_maps import (
    CHECKERBOARD,
    KNOTS,
    LEGEND,
    NESTED,
    burnt,
    class_maps,
    on_ground,
    pixels_united,
    regions_of,
    same_bytes,
    useless_vertices,
)

from geoseg.errors import ImageryError, OutputError
from geoseg.legend import CONFIDENCE_SCALE, Legend, LegendClass
from geoseg.polygons.trace import polygonize, polygonize_files

LABELS = Path(__file__).parents[2] / "../shared/data/train/hls30_worldcover_water/labels"
WORLDCOVER = Legend(
    classes=[
        LegendClass(value=v, name=f"code {v}", color_hint="808080") for v in (0, *range(10, 100, 10), 95, 100)
    ]
)


def check_laws(class_id, table):
    polygons = table.geometry.values
    label = regions_of(class_id.values)
    assert np.array_equal(burnt(table, table.class_id, class_id), class_id.values)
    assert len(table) == label.max()
    assert shapely.is_valid(polygons).all()
    assert shapely.is_ccw(shapely.get_exterior_ring(polygons)).all()
    assert len(table) == 0 or shapely.coverage_is_valid(polygons)
    assert useless_vertices(table, class_id) == 0
    assert table.area_ha.to_numpy() == pytest.approx(shapely.area(polygons) / 1e4, rel=1e-12)
    assert table.area_ha.sum() == pytest.approx((class_id.values != 255).sum() / 100, rel=1e-12)
    first = [np.flatnonzero(burnt(table[i : i + 1], [1], class_id).ravel() == 1)[0] for i in table.index]
    assert list(zip(table.class_id, first, strict=True)) == sorted(zip(table.class_id, first, strict=True))


@settings(max_examples=120, deadline=None)
@given(class_maps())
@example(CHECKERBOARD)
@example(KNOTS)
@example(NESTED)
@example(np.full((3, 4), 255, np.uint8))
def test_polygons_are_exact_valid_and_a_coverage(pixels):
    class_id = on_ground(pixels)
    check_laws(class_id, polygonize(class_id, legend=LEGEND))


@settings(max_examples=80, deadline=None)
@given(class_maps(6))
@example(KNOTS)
@example(NESTED)
def test_each_polygon_is_the_union_of_its_pixels(pixels):
    class_id = on_ground(pixels)
    table = polygonize(class_id, legend=LEGEND)
    wanted = {shapely.normalize(shape).wkb for shape in shapely.simplify(pixels_united(class_id), 0)}
    assert {shapely.normalize(shape).wkb for shape in shapely.simplify(table.geometry.values, 0)} == wanted


@settings(max_examples=80, deadline=None)
@given(class_maps(10), st.integers(1, 11), st.data())
@example(KNOTS, 3, None)
@example(NESTED, 1, None)
def test_no_bit_depends_on_the_block_size(pixels, block_size, data):
    values = np.random.default_rng(0).random(pixels.shape)
    values[values < 0.2] = np.nan
    class_id, confidence = on_ground(pixels), on_ground(values.astype(np.float32))
    hectares = data.draw(st.sampled_from([0, 0.025])) if data else 0
    options = {"legend": LEGEND, "confidence": confidence, "min_area_ha": hectares}
    whole = polygonize(class_id, **options)
    assert same_bytes(whole, polygonize(class_id, block_size=block_size, **options))


def test_large_map_has_no_seams():
    noise = np.random.default_rng(3).standard_normal((3, 150, 170))
    for axis in (1, 2):
        noise = sum(np.roll(noise, k, axis) for k in range(-3, 4))
    class_id = on_ground(noise.argmax(0).astype(np.uint8))
    whole = polygonize(class_id, legend=LEGEND)
    check_laws(class_id, whole)
    for block_size in (3, 7, 64):
        assert same_bytes(whole, polygonize(class_id, legend=LEGEND, block_size=block_size))


@settings(max_examples=60, deadline=None)
@given(class_maps(), st.integers(0, 2**32 - 1), st.booleans())
def test_confidence_is_the_mean_over_the_known_pixels(pixels, seed, is_float):
    stored = np.random.default_rng(seed).choice(np.array([0, 1, 100, 254, 255], np.uint8), pixels.shape)
    known = np.where(stored == 255, np.nan, stored * CONFIDENCE_SCALE)
    confidence = on_ground(known if is_float else stored)
    class_id = on_ground(pixels)
    table = polygonize(class_id, legend=LEGEND, confidence=confidence)
    place = burnt(table, range(len(table)), class_id)
    for i, got in enumerate(table.confidence):
        inside = known[place == i]
        inside = inside[~np.isnan(inside)]
        assert got == pytest.approx(inside.mean(), abs=1e-7) if len(inside) else np.isnan(got)


def test_a_probability_of_one_may_be_rounded_up():
    confidence = on_ground(np.full(KNOTS.shape, 1.000001, np.float32))
    assert set(polygonize(on_ground(KNOTS), legend=LEGEND, confidence=confidence).confidence) == {1.0}


def test_confidence_is_nan_where_none_is_given():
    table = polygonize(on_ground(KNOTS), legend=LEGEND)
    assert table.confidence.isna().all()
    assert table.confidence.dtype == float


@pytest.mark.parametrize(
    "transform",
    [Affine(30, 0, 0, 0, 30, 0), Affine(28.5, 0, 7.25, 0, -10, 3), Affine(3, 4, 100, 4, -3, 9)],
    ids=["south-up", "oblong", "rotated"],
)
def test_laws_hold_on_any_grid(transform):
    class_id = on_ground(KNOTS, transform)
    table = polygonize(class_id, legend=LEGEND)
    assert np.array_equal(burnt(table, table.class_id, class_id), KNOTS)
    assert shapely.coverage_is_valid(table.geometry.values)
    assert shapely.is_valid(table.geometry.values).all()
    assert shapely.is_ccw(shapely.get_exterior_ring(table.geometry.values)).all()
    assert table.area_ha.to_numpy() == pytest.approx(table.geometry.area / 1e4)


def test_area_in_feet_and_in_degrees_is_that_of_the_ground():
    feet = polygonize(on_ground(KNOTS, Affine(100, 0, 0, 0, -100, 0), "EPSG:2263"), legend=LEGEND)
    assert feet.area_ha.sum() == pytest.approx((KNOTS != 255).sum() * (100 * 1200 / 3937) ** 2 / 1e4)
    degrees = polygonize(on_ground(KNOTS, Affine(0.01, 0, 30, 0, -0.01, 60), "EPSG:4326"), legend=LEGEND)
    geodesic = [
        abs(degrees.crs.get_geod().geometry_area_perimeter(p.segmentize(1e-4))[0]) for p in degrees.geometry
    ]
    assert degrees.area_ha.to_numpy() == pytest.approx(np.array(geodesic) / 1e4, rel=1e-6)


def test_maps_in_degrees_are_named_latitude_and_longitude_and_still_work():
    class_id = on_ground(KNOTS, Affine(0.01, 0, 30, 0, -0.01, 60), "EPSG:4326")
    assert class_id.dims == ("latitude", "longitude")
    table = polygonize(class_id, legend=LEGEND)
    assert np.array_equal(burnt(table, table.class_id, class_id), KNOTS)


def test_all_nodata_gives_an_empty_table_with_all_columns():
    table = polygonize(on_ground(np.full((4, 5), 255, np.uint8)), legend=LEGEND, min_area_ha=1, simplify_m=1)
    assert list(table.columns) == ["class_id", "class_name", "area_ha", "confidence", "geometry"]
    assert len(table) == 0
    assert table.crs == "EPSG:32633"


def test_lazy_maps_are_read_in_blocks():
    dask = pytest.importorskip("dask.array")
    class_id = on_ground(NESTED)
    lazy = class_id.copy(data=dask.from_array(NESTED, chunks=4))
    assert same_bytes(polygonize(class_id, legend=LEGEND), polygonize(lazy, legend=LEGEND, block_size=4))


def write(path, pixels, nodata=None, crs="EPSG:32633", transform=Affine(10, 0, 500000, 0, -10, 4000000)):
    height, width = pixels.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": pixels.dtype}
    with rasterio.open(path, "w", **profile, crs=crs, transform=transform, nodata=nodata) as file:
        file.write(pixels, 1)
    return path


@pytest.mark.parametrize("block_size", [3, 2048])
def test_files_give_what_arrays_give(tmp_path, block_size):
    stored = np.random.default_rng(1).integers(0, 256, KNOTS.shape).astype(np.uint8)
    class_tif, confidence_tif = write(tmp_path / "a.tif", KNOTS, 255), write(tmp_path / "b.tif", stored, 255)
    options = {"legend": LEGEND, "min_area_ha": 0.02, "simplify_m": 8}
    table = polygonize_files(class_tif, confidence_tif, block_size=block_size, **options)
    assert same_bytes(table, polygonize(on_ground(KNOTS), confidence=on_ground(stored), **options))


def test_declared_nodata_of_a_file_is_nodata(tmp_path):
    table = polygonize_files(write(tmp_path / "a.tif", KNOTS, nodata=0), legend=LEGEND)
    assert table.class_id.unique().tolist() == [1]


def test_real_label_maps():
    paths = sorted(LABELS.glob("*.tif"))[::24]
    if not paths:
        pytest.skip("the labels of ../shared/data are not here")
    for path in paths:
        with rasterio.open(path) as file:
            class_id = on_ground(file.read(1), Affine(30, 0, 500000, 0, -30, 4000000))
        whole = polygonize(class_id, legend=WORLDCOVER)
        assert np.array_equal(burnt(whole, whole.class_id, class_id), class_id.values)
        assert shapely.is_valid(whole.geometry.values).all()
        assert shapely.coverage_is_valid(whole.geometry.values)
        assert whole.area_ha.to_numpy() == pytest.approx(whole.area / 1e4, rel=1e-12)
        assert same_bytes(whole, polygonize(class_id, legend=WORLDCOVER, block_size=37))


def test_refusals_say_what_to_do(tmp_path):
    good = on_ground(KNOTS)
    with pytest.raises(OutputError, match=r"holds \[7\], expected only the legend's \[0, 1, 2\]"):
        polygonize(on_ground(np.full((2, 2), 7, np.uint8)), legend=LEGEND)
    with pytest.raises(OutputError, match="no CRS"):
        polygonize(wrap_xr(KNOTS, GeoBox(KNOTS.shape, Affine.identity(), None)), legend=LEGEND)
    with pytest.raises(OutputError, match="is int64, expected uint8"):
        polygonize(on_ground(KNOTS.astype(int)), legend=LEGEND)
    with pytest.raises(OutputError, match=r"holds 37\.2, expected 0 to 1"):
        polygonize(good, legend=LEGEND, confidence=on_ground(np.full(KNOTS.shape, 37.2)))
    with pytest.raises(
        OutputError, match=r"is 8 x 6 pixels of 10 x -10 from \(500000, 4000000\) in WGS 84 / UTM zone 33N, "
    ):
        polygonize(good, legend=LEGEND, confidence=on_ground(KNOTS[1:]))
    with pytest.raises(OutputError, match="expected the class map's 8 x 7"):
        polygonize(good, legend=LEGEND, confidence=on_ground(KNOTS, Affine(10, 0, 500010, 0, -10, 4000000)))
    with pytest.raises(OutputError, match=r"dimensions \('time', 'y', 'x'\)"):
        polygonize(good.expand_dims("time"), legend=LEGEND)
    with pytest.raises(OutputError, match="block_size is 0"):
        polygonize(good, legend=LEGEND, block_size=0)
    with pytest.raises(OutputError, match="min_area_ha is nan"):
        polygonize(good, legend=LEGEND, min_area_ha=float("nan"))
    with pytest.raises(OutputError, match="rotated on a grid in degrees"):
        polygonize(on_ground(KNOTS, Affine(0.1, 0.1, 0, 0.1, -0.1, 0), "EPSG:4326"), legend=LEGEND)
    with pytest.raises(ImageryError, match="cannot be read as a raster"):
        polygonize_files(tmp_path / "none.tif", legend=LEGEND)
