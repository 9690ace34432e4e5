"""References brought to a map: what they mean, and that neither windows nor blocks show."""

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

from geoseg.errors import EvaluationError
from geoseg.evaluation import rasters
from geoseg.evaluation.boundary_width import BoundaryWidth
from geoseg.evaluation.confusion import count, count_by_place
from geoseg.evaluation.maps import Crosswalk
from geoseg.evaluation.rasters import Request, score
from geoseg.grid.geobox import is_same_grid, offset_between, window_geobox

UTM = "EPSG:32633"
_WINDOWS = rasters.windows_of


def write(path, values, transform=None, *, crs=UTM, nodata=None):
    transform = transform or from_origin(500_000, 5_000_000, 10, 10)
    height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=1, dtype=values.dtype, height=height, width=width, crs=crs,
        transform=transform, nodata=nodata,
    ) as target:  # fmt: skip
        target.write(values, 1)
    return path


def legend(path, **values):
    path.write_text("".join(f'[[classes]]\nvalue = {v}\nname = "{n}"\n' for n, v in values.items()))
    return path


@pytest.fixture
def halves(tmp_path):
    """A map of land and building, and its legend."""
    values = np.zeros((100, 100), np.uint8)
    values[:, 50:] = 1
    return write(tmp_path / "map.tif", values, nodata=255), legend(tmp_path / "l.toml", land=0, building=1)


@pytest.mark.parametrize("declared", [None, 255, 0])
@pytest.mark.parametrize(("x", "size"), [(500_000, 10), (500_002, 10), (500_000, 3)])
def test_a_crosswalk_that_names_255_makes_it_a_class(halves, tmp_path, declared, x, size):
    n = 1000 // size
    mask = np.where(np.arange(n) * size < 500, 0, 255).astype(np.uint8)[None].repeat(n, 0)
    reference = write(tmp_path / "r.tif", mask, from_origin(x, 5_000_000, size, size), nodata=declared)
    crosswalk = Crosswalk(reference={"0": "land", "255": "building"})
    scores = score(Request(halves[0], reference, legend=halves[1], crosswalk=crosswalk)).scores
    assert scores.overall["pixel_accuracy"] > 0.98
    assert all(c.support > 4900 for c in scores.classes)


def test_255_that_nothing_names_is_no_class_on_any_grid(halves, tmp_path):
    mask = np.zeros((100, 100), np.uint8)
    mask[:, 50:] = 255
    for x in (500_000, 500_002):
        reference = write(tmp_path / f"{x}.tif", mask, from_origin(x, 5_000_000, 10, 10))
        scores = score(Request(halves[0], reference, legend=halves[1])).scores
        assert [c.support for c in scores.classes] == [5000, 0]


def test_a_mask_hides_pixels_of_a_reference(halves, tmp_path):
    for x in (500_000, 500_002):
        reference = write(tmp_path / f"{x}.tif", np.zeros((100, 100), np.uint8), from_origin(x, 5e6, 10, 10))
        with rasterio.open(reference, "r+") as target:
            target.write_mask(np.arange(100)[:, None].repeat(100, 1) < 40)
        assert score(Request(halves[0], reference, legend=halves[1])).scores.compared in (4000, 3960)


@pytest.mark.parametrize(
    ("prediction", "correct"),
    [({"cloud": "ignore"}, 300), ({"ice": "land"}, 300), ({"cloud": "clouds"}, 300), ({}, 300)],
)
def test_values_of_a_reference_are_the_maps_own_whatever_they_are_renamed_to(tmp_path, prediction, correct):
    """A map of water (1) and land (2) against one of water: 3 of 10 pixels are right."""
    found = np.ones((10, 100), np.uint8)
    found[:, 30:] = 2
    made = write(tmp_path / "map.tif", found)
    names = legend(tmp_path / "l.toml", cloud=0, water=1, land=2, ice=3)
    true = write(tmp_path / "r.tif", np.ones((10, 100), np.uint8))
    crosswalk = Crosswalk(prediction=prediction)
    scores = score(Request(made, true, legend=names, crosswalk=crosswalk)).scores
    assert scores.overall["pixel_accuracy"] == pytest.approx(correct / 1000)
    assert {c.class_name: c.support for c in scores.classes}["water"] == 1000
    area = gpd.GeoDataFrame({"class": [1]}, geometry=[shapely.box(5e5, 4.9999e6, 501_000, 5e6)], crs=UTM)
    area.to_file(tmp_path / "r.gpkg")
    polygons = score(Request(made, tmp_path / "r.gpkg", legend=names, crosswalk=crosswalk)).scores
    assert polygons.confusion == scores.confusion


def test_what_a_crosswalk_ignores_in_the_map_is_not_compared(tmp_path):
    found = np.ones((10, 10), np.uint8)
    found[:5] = 2
    made, names = write(tmp_path / "map.tif", found), legend(tmp_path / "l.toml", water=1, cloud=2)
    true = write(tmp_path / "r.tif", np.ones((10, 10), np.uint8))
    crosswalk = Crosswalk(prediction={"cloud": "ignore"}, reference={"1": "water"})
    scores = score(Request(made, true, legend=names, crosswalk=crosswalk)).scores
    assert (scores.compared, scores.left_out, sum(scores.unpredicted)) == (50, 50, 0)
    assert scores.overall["pixel_accuracy"] == 1
    with pytest.raises(EvaluationError, match="ignores every class"):
        score(Request(made, true, legend=names, crosswalk=Crosswalk(prediction={"*": "ignore"})))


def test_a_class_may_be_called_none(tmp_path):
    from builders import geobox_at
    from odc.geo.xr import xr_zeros

    from geoseg.legend import Legend
    from geoseg.writers.cog import write_cog

    def made(name, classes, value):
        grid = geobox_at(height=8, width=8)
        return write_cog(
            xr_zeros(grid, dtype="uint8") + np.uint8(value), tmp_path / name, nodata=255, legend=classes
        )

    one = made("a.tif", Legend.of(none="000000", tree="33A02C"), 0)
    other = made("b.tif", Legend.of(tree="33A02C", none="000000"), 1)
    assert score(Request(one, other)).scores.overall["pixel_accuracy"] == 1


DEGREES = 1 / 12_000
"""A pixel whose edges are no round numbers."""


def _on_pixel_centres(grid, n, step=7):
    """Squares whose edges run through pixel centres, and their classes."""
    shapes, classes = [], []
    for row in range(2, n - 8, step):
        for col in range(2, n - 8, step):
            west, north = grid * (col + 0.5, row + 0.5)
            east, south = grid * (col + 5.5, row + 5.5)
            shapes.append(shapely.box(west, south, east, north))
            classes.append((row + col) % 2)
    return gpd.GeoDataFrame({"class": classes}, geometry=shapes, crs="EPSG:4326")


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Noise of 600 x 600 pixels, and references of it that are warped or burned."""
    folder, rng = tmp_path_factory.mktemp("scene"), np.random.default_rng(1)
    noise = rng.integers(0, 2, (600, 600)).astype(np.uint8)
    degrees = from_origin(10.1, 50.3, DEGREES, DEGREES)
    write(folder / "utm.tif", noise)
    write(folder / "degrees.tif", noise, degrees, crs="EPSG:4326")
    legend(folder / "l.toml", a=0, b=1)
    coarse, fine = (rng.integers(0, 2, (n, n)).astype(np.uint8) for n in (900, 3000))
    write(folder / "nearest.tif", coarse, Affine(1e-4, 0, 14.99, 0, -0.9e-4, 45.16), crs="EPSG:4326")
    write(folder / "mode.tif", fine, Affine(3e-5, 0, 14.99, 0, -2.7e-5, 45.16), crs="EPSG:4326")
    shapes = _on_pixel_centres(degrees, 600)
    shapes.to_file(folder / "polygons.gpkg")
    shapes.iloc[::11].to_file(folder / "places.gpkg")
    return folder


PAIRS = {
    "nearest": ("utm.tif", "nearest.tif"),
    "mode": ("utm.tif", "mode.tif"),
    "polygons": ("degrees.tif", "polygons.gpkg"),
    "places": ("degrees.tif", "degrees.tif"),
}


def scored(scene, kind, size, boundary=None):
    made, reference = (scene / name for name in PAIRS[kind])
    places = scene / "places.gpkg" if kind == "places" else None
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rasters, "windows_of", lambda height, width: _WINDOWS(height, width, size=size))
        return score(
            Request(made, reference, legend=scene / "l.toml", places=places, boundary=boundary)
        ).scores


@pytest.fixture(scope="module")
def whole(scene):
    return {kind: scored(scene, kind, 2048) for kind in PAIRS}


@pytest.mark.parametrize("kind", PAIRS)
@given(block=st.sampled_from([32, 96, 160, 224, 512, 576]), distance=st.sampled_from([0, 3, 50]))
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_blocks_give_the_same_matrix(scene, whole, kind, block, distance):
    found = scored(scene, kind, block, BoundaryWidth(distance, "px") if distance else None)
    assert found.compared > 50_000 or kind == "places"
    assert (found.confusion, found.places) == (whole[kind].confusion, whole[kind].places)


def test_pixels_one_percent_larger_are_another_grid(tmp_path):
    """In degrees a pixel differs by less than a millionth, and the far side by 40 pixels."""
    stripes = np.zeros((400, 4000), np.uint8)
    stripes[:, ::8] = 1
    names = legend(tmp_path / "l.toml", a=0, b=1)
    made = write(tmp_path / "map.tif", stripes, from_origin(10, 50, 8.3e-5, 8.3e-5), crs="EPSG:4326")
    true = write(tmp_path / "r.tif", stripes, from_origin(10, 50, 8.39e-5, 8.3e-5), crs="EPSG:4326")
    scores = score(Request(made, true, legend=names)).scores
    assert "brought to its grid" in scores.notes[0]
    assert scores.overall["pixel_accuracy"] < 0.9


@given(st.integers(-50, 50), st.integers(-50, 50), st.floats(-0.4, 0.4))
def test_grids_are_one_where_corners_are(row, col, part):
    here = GeoBox((4000, 4000), Affine(8.3e-5, 0, 10, 0, -8.3e-5, 50), "EPSG:4326")
    there = window_geobox(here, rasterio.windows.Window(col, row, 4000, 4000))
    assert offset_between(here, there) == (row, col)
    assert is_same_grid(here, there) == (row == col == 0)
    moved = GeoBox(here.shape, here.affine @ Affine.translation(part, 0), here.crs)
    stretched = GeoBox(here.shape, here.affine @ Affine.scale(1 + part / 4000), here.crs)
    for other in (moved, stretched):
        assert is_same_grid(here, other) == (abs(part) < 1e-3)
    assert offset_between(here, GeoBox(here.shape, here.affine, "EPSG:4258")) is None


@given(st.integers(0, 2**32 - 1))
def test_places_counted_at_once_are_those_counted_one_by_one(seed):
    rng = np.random.default_rng(seed)
    true, found, places = (rng.integers(-1, n, (12, 13)) for n in (5, 6, 4))
    at_once = count_by_place(true, found, places, n_classes=4, n_places=4)
    for place in range(4):
        there = places == place
        assert (at_once[place] == count(true[there], found[there], n_classes=4)).all()


@pytest.fixture
def points(tmp_path):
    """Twenty points of water: half of them where the map has no class, ten in each of two places."""
    found = np.ones((10, 10), np.uint8)
    found[:5] = 255
    made, names = write(tmp_path / "map.tif", found, nodata=255), legend(tmp_path / "l.toml", water=1, land=2)
    x = [500_005 + 10 * n for n in range(10)]
    frame = gpd.GeoDataFrame(
        {"class": [1] * 20}, geometry=gpd.points_from_xy(x * 2, [4_999_975] * 10 + [4_999_925] * 10), crs=UTM
    )
    return made, names, frame, tmp_path


def test_points_where_the_map_has_no_class_are_left_out_or_wrong(points):
    made, names, frame, folder = points
    frame.to_file(folder / "p.gpkg")
    scores = score(Request(made, folder / "p.gpkg", legend=names)).scores
    assert (scores.compared, scores.left_out, scores.overall["pixel_accuracy"]) == (10, 10, 1)
    assert "10 points of p.gpkg lie where the map has no class, left out." in scores.notes
    wrong = score(Request(made, folder / "p.gpkg", legend=names, nodata_is_wrong=True)).scores
    assert (wrong.compared, wrong.left_out, wrong.overall["pixel_accuracy"]) == (20, 0, 0.5)


def test_points_are_counted_place_by_place(points):
    made, names, frame, folder = points
    frame["class"] = [1, 2] * 10
    frame.to_file(folder / "p.gpkg")
    strips = [shapely.box(5e5 + 20 * n, 4_999_900, 5e5 + 20 * n + 20, 5e6) for n in range(5)]
    gpd.GeoDataFrame({"name": list("abcde")}, geometry=strips, crs=UTM).to_file(folder / "places.gpkg")
    request = Request(
        made, folder / "p.gpkg", legend=names, places=folder / "places.gpkg", place_field="name"
    )
    scores = score(request).scores
    assert [(p.place, p.compared, p.pixel_accuracy) for p in scores.places] == [(n, 2, 0.5) for n in "abcde"]
    assert scores.intervals["pixel_accuracy"] == pytest.approx((0.5, 0.5))


def test_multipoints_and_missing_geometries(points):
    made, names, frame, folder = points
    many = gpd.GeoDataFrame({"class": [1]}, geometry=[shapely.MultiPoint(list(frame.geometry))], crs=UTM)
    many.to_file(folder / "many.gpkg")
    assert score(Request(made, folder / "many.gpkg", legend=names)).scores.compared == 10
    frame.loc[19, "geometry"] = None
    frame.to_file(folder / "lacking.gpkg")
    scores = score(Request(made, folder / "lacking.gpkg", legend=names)).scores
    assert (scores.compared, scores.left_out) == (9, 11)


def test_a_broken_file_is_named(halves, tmp_path):
    made, names = halves
    reference = write(tmp_path / "r.tif", np.zeros((100, 100), np.uint8))
    (tmp_path / "confidence.tif").write_bytes(b"II*\0 no raster")
    with pytest.raises(EvaluationError, match=r"confidence\.tif cannot be read"):
        score(Request(made, reference, legend=names))


@pytest.mark.parametrize(
    ("change", "text"), [({"crs": UTM}, "--crs is of x and y"), ({"class_field": "a"}, "--field is")]
)
def test_options_that_a_raster_has_no_use_for(halves, tmp_path, change, text):
    reference = write(tmp_path / "r.tif", np.zeros((100, 100), np.uint8))
    with pytest.raises(EvaluationError, match=text):
        score(Request(halves[0], reference, legend=halves[1], **change))
