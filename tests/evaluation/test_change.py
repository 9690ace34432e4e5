"""The transition matrix: laws, and the slow way; its map; how legends and grids are brought together."""

from contextlib import ExitStack, contextmanager

import numpy as np
import pyproj
import pytest
import rasterio
from affine import Affine
from change_builders import AT, LEGEND, UTM, brute_force, patches, write_map
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from odc.geo.geobox import GeoBox
from rasterio.io import MemoryFile

from geoseg.errors import EvaluationError
from geoseg.evaluation.change import (
    NO_CHANGE,
    OTHER,
    Transitions,
    code_transitions,
    count_values,
    transitions_of,
)
from geoseg.evaluation.change_maps import ChangeCrosswalk, on_grid_of, open_map, refuse_unnamed, unite
from geoseg.grid.ground import row_areas_m2
from geoseg.legend import Legend

N = 3
CLASS_OF = np.where(np.arange(256) < N, np.arange(256), N)
NAMES = tuple(c.name for c in LEGEND.classes)
COLORS = tuple(c.color_hint for c in LEGEND.classes)
GRIDS = {
    "metres": (UTM, AT),
    "degrees": ("EPSG:4326", Affine(0.5, 0, 7, 0, -0.5, 60)),
    "feet": ("EPSG:2263", AT),
}


@st.composite
def map_pairs(draw, side=20):
    shape = draw(st.tuples(st.integers(1, side), st.integers(1, side)))
    values = st.sampled_from([*range(N), 255])
    return tuple(draw(hnp.arrays(np.uint8, shape, elements=values)) for _ in range(2))


@contextmanager
def opened(values, crs=UTM, at=AT):
    height, width = values.shape
    with MemoryFile() as memory:
        placed = {"height": height, "width": width, "crs": crs, "transform": at}
        with memory.open(driver="GTiff", count=1, dtype="uint8", nodata=255, **placed) as sink:
            sink.write(values, 1)
        with memory.open() as source:
            yield source


def matrix(before, after, *, grid="metres", block=2048) -> Transitions:
    crs, at = GRIDS[grid]
    row_ha = row_areas_m2(GeoBox(before.shape, at, crs)) / 10_000
    with opened(before, crs, at) as first, opened(after, crs, at) as second:
        counts = count_values(first, second, row_ha=row_ha, block=block)
    return transitions_of(counts, NAMES, before=CLASS_OF, after=CLASS_OF)


# --- the matrix -------------------------------------------------------------------------------------------


@given(map_pairs(), st.integers(1, 25), st.sampled_from(sorted(GRIDS)))
@settings(max_examples=60, deadline=None)
def test_the_matrix_is_that_of_the_slow_way_for_any_block_size(pair, block, grid):
    crs, at = GRIDS[grid]
    row_ha = row_areas_m2(GeoBox(pair[0].shape, at, crs)) / 10_000
    pixels, area_ha = brute_force(*pair, row_ha, N)
    found = matrix(*pair, grid=grid, block=block)
    assert (found.pixels == pixels).all()
    np.testing.assert_allclose(found.area_ha, area_ha, rtol=1e-12)


@given(map_pairs(), st.sampled_from(sorted(GRIDS)))
@settings(max_examples=30, deadline=None)
def test_rows_add_up_to_the_map_before_and_columns_to_the_map_after(pair, grid):
    crs, at = GRIDS[grid]
    row_ha = row_areas_m2(GeoBox(pair[0].shape, at, crs)) / 10_000
    found = matrix(*pair, grid=grid)
    for values, axis in zip(pair, (1, 0), strict=True):
        for n in range(N):
            there = values == n
            assert found.pixels.sum(axis)[n] == there.sum()
            assert found.area_ha.sum(axis)[n] == pytest.approx((there.sum(1) * row_ha).sum(), rel=1e-12)
    assert found.pixels.sum() == pair[0].size


@given(map_pairs(), st.sampled_from(sorted(GRIDS)))
@settings(max_examples=30, deadline=None)
def test_identical_maps_have_a_diagonal_only(pair, grid):
    found = matrix(pair[0], pair[0], grid=grid)
    assert (found.pixels == np.diag(np.diagonal(found.pixels))).all()
    assert found.changed_ha == 0
    assert found.pairs() == []
    assert not found.gain_ha.any()
    assert not found.loss_ha.any()


@given(map_pairs(), st.sampled_from(sorted(GRIDS)))
@settings(max_examples=30, deadline=None)
def test_the_way_back_is_the_transpose(pair, grid):
    there, back = matrix(*pair, grid=grid), matrix(*pair[::-1], grid=grid)
    assert (there.pixels == back.pixels.T).all()
    assert (there.gain_ha == back.loss_ha).all()


@given(map_pairs())
@settings(max_examples=30, deadline=None)
def test_gains_losses_and_what_stays_add_up(pair):
    found = matrix(*pair)
    compared = found.area_ha[:N, :N]
    np.testing.assert_allclose(found.unchanged_ha + found.loss_ha, compared.sum(1), atol=1e-12)
    np.testing.assert_allclose(found.unchanged_ha + found.gain_ha, compared.sum(0), atol=1e-12)
    assert found.gain_ha.sum() == pytest.approx(found.loss_ha.sum(), abs=1e-12)
    assert found.changed_ha + found.unchanged_ha.sum() == pytest.approx(found.compared_ha, abs=1e-12)


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "a.tif"
    with rasterio.open(path, "w", driver="GTiff", height=64, width=64, count=1, dtype="uint8", compress="deflate",
                       crs=UTM, transform=AT) as sink:  # fmt: skip
        sink.write(np.random.default_rng(0).integers(0, 3, (1, 64, 64)).astype("uint8"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    path.write_bytes(data)
    with (
        rasterio.open(path) as source,
        pytest.raises(EvaluationError, match=r"a\.tif cannot be read at row 0"),
    ):
        count_values(source, source, row_ha=np.ones(64))


# --- the map of transitions -------------------------------------------------------------------------------


@given(map_pairs())
@settings(max_examples=40, deadline=None)
def test_every_transition_that_occurs_has_a_value_of_its_own(pair):
    found = matrix(*pair)
    codes = code_transitions(found, COLORS)
    names = {c.value: c.name for c in codes.legend.classes}
    values = codes.codes[: len(NAMES), : len(NAMES)]
    assert (np.diagonal(values) == NO_CHANGE).all()
    areas = []
    for value, name in list(names.items())[1:]:
        (at,) = np.argwhere(values == value)
        assert name == f"{NAMES[at[0]]} to {NAMES[at[1]]}"
        areas.append(found.area_ha[tuple(at)])
    assert areas == sorted(areas, reverse=True)
    assert list(names) == list(range(len(names)))
    assert len(names) - 1 == ((found.pixels[:N, :N] > 0) & ~np.eye(N, dtype=bool)).sum()
    assert (codes.codes[N] == 255).all()
    assert (codes.codes[:, N] == 255).all()


def test_a_transition_has_the_colour_of_where_it_leads_and_others_to_it_have_shades():
    areas = np.zeros((4, 4))
    areas[0, 2], areas[1, 2], areas[2, 0] = 5, 9, 1
    codes = code_transitions(Transitions(NAMES, areas.astype(np.int64), areas), COLORS)
    found = {c.name: c.color_hint for c in codes.legend.classes}
    assert list(found) == ["no change", "forest to built", "water to built", "built to water"]
    assert found["forest to built"] == "D7191C"
    assert found["built to water"] == "1F78B4"
    assert found["water to built"] not in COLORS
    red, green, blue = bytes.fromhex(found["water to built"])
    assert red > 3 * green
    assert red > 3 * blue


def test_too_many_transitions_share_254():
    n = 17
    areas = np.zeros((n + 1, n + 1))
    areas[:n, :n] = np.arange(n * n, 0, -1).reshape(n, n)
    names = tuple(f"class {i}" for i in range(n))
    codes = code_transitions(Transitions(names, areas.astype(np.int64), areas), ("808080",) * n)
    values = {c.value: c.name for c in codes.legend.classes}
    assert list(values) == [*range(OTHER), OTHER]
    assert values[OTHER] == "other transitions"
    assert values[1] == "class 0 to class 1"
    assert (codes.codes[:n, :n] == OTHER).sum() == n * n - n - 253
    least = areas[:n, :n][(codes.codes[:n, :n] != OTHER) & ~np.eye(n, dtype=bool)].min()
    assert areas[:n, :n][codes.codes[:n, :n] == OTHER].max() < least


@pytest.mark.parametrize(("n_pairs", "last"), [(253, 253), (254, OTHER)])
def test_253_transitions_need_no_rest(n_pairs, last):
    n = 17
    areas = np.zeros((n + 1, n + 1))
    areas[tuple(np.argwhere(~np.eye(n, dtype=bool))[:n_pairs].T)] = 1
    names = tuple(f"class {i}" for i in range(n))
    codes = code_transitions(Transitions(names, areas.astype(np.int64), areas), ("808080",) * n)
    assert [c.value for c in codes.legend.classes][-1] == last
    assert len(codes.legend.classes) == n_pairs + 1


def test_names_that_would_be_one_are_refused():
    names = ("a", "b to c", "a to b", "c")
    areas = np.ones((5, 5))
    with pytest.raises(EvaluationError, match="one name"):
        code_transitions(Transitions(names, areas.astype(np.int64), areas), ("808080",) * 4)


# --- legends ----------------------------------------------------------------------------------------------


@contextmanager
def two_maps(before, after, crosswalk=ChangeCrosswalk()):
    with (
        open_map(before, crosswalk.before, table="before") as first,
        open_map(after, crosswalk.after, table="after") as second,
    ):
        yield first, second


@pytest.fixture
def map_of(tmp_path):
    """name, legend -> a map of one pixel per class."""

    def make(name, legend):
        return write_map(tmp_path / f"{name}.tif", [list(legend.values)], legend=legend)

    return make


def legend_with(**values):
    colors = dict(zip(values, ("1F78B4", "33A02C", "D7191C", "E6C27A", "111111"), strict=False))
    return Legend(classes=[{"value": v, "name": n, "color_hint": colors[n]} for n, v in values.items()])


def united(before, after, crosswalk=ChangeCrosswalk()):
    with two_maps(before, after, crosswalk) as (first, second):
        return unite(first, second)


def meaning(table, names):
    return {value: names[n] for value, n in enumerate(table.tolist()) if n < len(names)}


def test_classes_meet_by_name_whatever_their_values(map_of):
    before = map_of("a", legend_with(water=0, dense_forest=7))
    after = map_of("b", legend_with(**{"Dense Forest": 1, "WATER": 2}))
    found = united(before, after)
    assert found.names == ("water", "dense_forest")
    assert meaning(found.before, found.names) == {0: "water", 7: "dense_forest"}
    assert meaning(found.after, found.names) == {1: "dense_forest", 2: "water"}
    assert found.notes == ("The legends differ: classes were matched by name.",)
    assert united(before, before).notes == ()


def test_what_only_one_map_has_is_said(map_of):
    before = map_of("a", legend_with(water=0, marsh=1))
    after = map_of("b", legend_with(water=0, built=1, road=2))
    found = united(before, after)
    assert found.names == ("water", "marsh", "built", "road")
    assert any("a.tif has marsh:" in note for note in found.notes)
    assert any("b.tif has built, road:" in note for note in found.notes)


def test_a_crosswalk_unites_merges_and_leaves_out(map_of):
    before = map_of("a", legend_with(dense=0, open=1, lake=2, cloud=3))
    after = map_of("b", legend_with(trees=5, water=6, town=7))
    walk = ChangeCrosswalk(
        before={"dense": "forest", "1": "forest", "lake": "water", "cloud": "ignore"}, after={"5": "forest"}
    )
    found = united(before, after, walk)
    assert found.names == ("forest", "water", "town")
    assert meaning(found.before, found.names) == {0: "forest", 1: "forest", 2: "water"}
    assert meaning(found.after, found.names) == {5: "forest", 6: "water", 7: "town"}


def test_the_rest_of_a_crosswalk(map_of):
    before = map_of("a", legend_with(dense=0, open=1, lake=2))
    walk = ChangeCrosswalk(before={"lake": "water", "*": "land"}, after={"lake": "water", "*": "land"})
    found = united(before, before, walk)
    assert found.names == ("land", "water") or found.names == ("water", "land")
    assert meaning(found.before, found.names)[0] == "land"
    assert meaning(found.before, found.names)[2] == "water"


def test_a_map_without_names_is_named_by_value(tmp_path, map_of):
    named = map_of("a", legend_with(tree=10, water=80))
    plain = tmp_path / "plain.tif"
    with rasterio.open(plain, "w", driver="GTiff", height=1, width=3, count=1, dtype="uint8", crs=UTM, transform=AT,
                       nodata=0) as sink:  # fmt: skip
        sink.write(np.array([[[0, 10, 80]]], np.uint8))
    with pytest.raises(EvaluationError, match=r"plain\.tif has no class names.*\[after\]"):
        united(named, plain)
    walk = ChangeCrosswalk(after={"10": "tree", "80": "water"})
    found = united(named, plain, walk)
    assert meaning(found.after, found.names) == {10: "tree", 80: "water"}
    with two_maps(named, plain, ChangeCrosswalk(after={"10": "tree"})) as (_, second):
        with pytest.raises(EvaluationError, match=r"holds the value 80.*\[after\]"):
            refuse_unnamed({0, 10, 80, 255}, second, table="after")
        refuse_unnamed({0, 10, 255}, second, table="after")
    hues = united(plain, plain, ChangeCrosswalk(before=walk.after, after=walk.after)).colors
    assert len(set(hues)) == 2


def test_nodata_of_the_file_is_no_class(tmp_path):
    path = write_map(tmp_path / "a.tif", [[0, 1]], legend=legend_with(nothing=0, water=1))
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        file.nodata = 0
    assert united(path, path).names == ("water",)


def test_a_legend_beside_the_map(tmp_path, map_of):
    named = map_of("a", LEGEND)
    folder = tmp_path / "item"
    folder.mkdir()
    write_map(folder / "class.tif", [[0, 1, 2]], legend=None)
    item = (
        f'{{"assets": {{"class": {{"href": "./class.tif", "classification:classes": {LEGEND.to_stac()}}}}}}}'
    )
    (folder / "item.json").write_text(item.replace("'", '"').replace("True", "true"))
    found = united(named, folder / "class.tif")
    assert found.names == NAMES
    assert found.colors == COLORS


@pytest.mark.parametrize(
    ("walk", "message"),
    [
        ({}, r"No class is in both maps: .*a\.tif has water and .*b\.tif has road\. Give --crosswalk"),
        ({"before": {"watr": "x"}}, r"\[before\] names 'watr'.* did you mean water\?"),
        ({"after": {"road": "wet & dry"}, "before": {"water": "wet & dry"}}, r"'wet & dry'.* cannot be used"),
        ({"before": {"water": "ignore"}}, "No class is in both maps"),
    ],
)
def test_legends_that_do_not_meet_are_refused(map_of, walk, message):
    with pytest.raises(EvaluationError, match=message):
        united(map_of("a", legend_with(water=0)), map_of("b", legend_with(road=0)), ChangeCrosswalk(**walk))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[before\n", r"walk\.toml is no crosswalk"),
        ("[befor]\na = 'b'\n", r"has a table \[befor\]: did you mean before"),
        ("before = 3\n", "before is 3, expected a line such as"),
        ("[before]\na = 3\n", r"before\.a is 3, expected a line such as"),
    ],
)
def test_a_broken_crosswalk_is_refused(tmp_path, text, message):
    path = tmp_path / "walk.toml"
    with pytest.raises(EvaluationError, match=r"There is no file .*walk\.toml"):
        ChangeCrosswalk.read(path)
    path.write_text(text)
    with pytest.raises(EvaluationError, match=message):
        ChangeCrosswalk.read(path)


# --- grids ------------------------------------------------------------------------------------------------


def fitted(before, after):
    """The later map on the earlier one's grid, and what was said."""
    with ExitStack() as stack:
        first, second = stack.enter_context(two_maps(before, after))
        source, words = stack.enter_context(on_grid_of(first, second))
        return source.read(1), words


def test_one_grid_is_read_as_it_is(tmp_path):
    values = patches(0, (30, 40))
    path = write_map(tmp_path / "a.tif", values)
    found, words = fitted(path, path)
    assert (found == values).all()
    assert words == "Both maps lie on one grid."


@pytest.mark.parametrize(("row", "col"), [(5, 9), (-7, 3), (20, -30)])
def test_another_extent_of_the_same_pixels_is_cut(tmp_path, row, col):
    whole = patches(1, (120, 140))
    at = (slice(40, 80), slice(40, 90))
    there = (slice(40 + row, 80 + row), slice(40 + col, 90 + col))
    before = write_map(tmp_path / "a.tif", whole[at])
    after = write_map(tmp_path / "b.tif", whole[there], at=AT * Affine.translation(col, row))
    found, words = fitted(before, after)
    expected = np.full_like(whole, 255)
    expected[there] = whole[there]
    assert (found == expected[at]).all()
    assert "over another extent" in words


@given(
    st.floats(0.4, 1.45),
    st.floats(-30, 30),
    st.floats(-30, 30),
    st.floats(-20, 20),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=25, deadline=None)
def test_any_grid_gives_the_class_at_the_centre(tmp_path_factory, size, dx, dy, angle, seed):
    """Pixels of the later map are 1 / size as wide, turned and shifted."""
    folder = tmp_path_factory.mktemp("grids")
    values = patches(seed, (40, 50), size=3)
    at = AT * Affine.translation(dx, dy) * Affine.rotation(angle) * Affine.scale(1 / size)
    before = write_map(folder / "a.tif", np.zeros((30, 30)))
    after = write_map(folder / "b.tif", values, at=at)
    col, row = ~at * AT * (np.arange(30)[None, :] + 0.5, np.arange(30)[:, None] + 0.5)
    # Centres within a thousandth of a pixel of a border may fall to either side.
    is_clear = (np.abs(col - np.rint(col)) > 2e-3) & (np.abs(row - np.rint(row)) > 2e-3)
    row, col = np.floor(row).astype(int), np.floor(col).astype(int)
    is_in = (row >= 0) & (row < 40) & (col >= 0) & (col < 50)
    expected = np.where(is_in, values[row.clip(0, 39), col.clip(0, 49)], 255)
    with two_maps(before, after) as (first, second):
        if not is_in.any():
            return
        with on_grid_of(first, second) as (source, _):
            assert (source.read(1) == expected)[is_clear].all()


def test_a_finer_map_comes_by_majority(tmp_path):
    """Three by three pixels, of which five or more are one class."""
    coarse = patches(2, (20, 30), size=1, nodata=0)
    rng = np.random.default_rng(3)
    fine = coarse.repeat(3, 0).repeat(3, 1)
    cells = fine.reshape(20, 3, 30, 3).transpose(0, 2, 1, 3).reshape(20, 30, 9).copy()
    for cell in cells.reshape(-1, 9):
        cell[rng.permutation(9)[:4]] = rng.integers(0, 3, 4)
    centre_differs = (cells[:, :, 4] != coarse).mean()
    assert centre_differs > 0.1, "else the nearest pixel would do"
    fine = cells.reshape(20, 30, 3, 3).transpose(0, 2, 1, 3).reshape(60, 90)
    before = write_map(tmp_path / "a.tif", np.zeros((20, 30)))
    after = write_map(tmp_path / "b.tif", fine, at=AT * Affine.scale(1 / 3))
    found, words = fitted(before, after)
    assert (found == coarse).all()
    assert "most frequent class it covers" in words
    assert "0.333 times as wide" in words


@pytest.mark.parametrize(
    ("size", "how"), [(1.4, "at its centre"), (1.6, "most frequent"), (0.5, "at its centre")]
)
def test_majority_from_one_and_a_half_times_finer_on(tmp_path, size, how):
    before = write_map(tmp_path / "a.tif", patches(0, (40, 40)))
    after = write_map(tmp_path / "b.tif", patches(1, (60, 60)), at=AT * Affine.scale(1 / size))
    assert how in fitted(before, after)[1]


def test_another_crs(tmp_path):
    """Degrees onto metres, against pyproj; noise, in which each place that is wrong shows."""
    values = patches(4, (800, 800), size=1)
    at = Affine(1.3e-4, 0, 15.002, 0, -9.5e-5, 45.1525)
    before = write_map(tmp_path / "a.tif", np.zeros((700, 900)))
    after = write_map(tmp_path / "b.tif", values, at=at, crs="EPSG:4326")
    found, words = fitted(before, after)
    x, y = AT * (np.arange(900)[None, :] + 0.5, np.arange(700)[:, None] + 0.5)
    lon, lat = pyproj.Transformer.from_crs(UTM, 4326, always_xy=True).transform(x + 0 * y, y + 0 * x)
    col, row = (np.floor(v).astype(int) for v in ~at * (lon, lat))
    is_in = (row >= 0) & (row < 800) & (col >= 0) & (col < 800)
    assert 0.5 < is_in.mean() < 1
    expected = np.where(is_in, values[row.clip(0, 799), col.clip(0, 799)], 255)
    assert (found != expected).mean() < 1e-3
    assert "WGS 84, 800 x 800 px" in words


def test_maps_that_cannot_be_compared_are_refused(tmp_path):
    here = write_map(tmp_path / "a.tif", patches(0, (8, 8)))
    far = write_map(tmp_path / "b.tif", patches(0, (8, 8)), at=AT * Affine.translation(1e4, 0))
    beside = write_map(tmp_path / "e.tif", patches(0, (8, 8)), at=AT * Affine.translation(8, 0))
    lost = write_map(tmp_path / "c.tif", patches(0, (8, 8)), crs=None)
    depth = tmp_path / "d.tif"
    with rasterio.open(depth, "w", driver="GTiff", height=2, width=2, count=1, dtype="float32", crs=UTM,
                       transform=AT) as sink:  # fmt: skip
        sink.write(np.zeros((1, 2, 2), "float32"))
    (tmp_path / "f.tif").write_text("no image")
    for path, message in (
        (far, "do not overlap"),
        (beside, "do not overlap"),
        (lost, "has no CRS"),
        (depth, "holds float32"),
        (tmp_path / "f.tif", "cannot be read"),
        (tmp_path / "nowhere.tif", "There is no file"),
    ):
        for pair in ((here, path), (path, here)):
            with pytest.raises(EvaluationError, match=message) as caught:
                fitted(*pair)
            assert "\n" not in str(caught.value)
            assert path.name in str(caught.value)
