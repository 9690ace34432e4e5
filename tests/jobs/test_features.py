"""One recipe, a map for each feature of its layer."""

import io
import json
import os
import re
import signal
import sys
from pathlib import Path

import geopandas as gpd
import pytest
import shapely
from commands import geoseg
from hypothesis import given
from hypothesis import strategies as st
from lanes.services import rasters

from geoseg.aoi import read_aoi
from geoseg.aoi_source import AoiSource, can_name
from geoseg.errors import AoiError, CoverageError, GeosegWarning, RecipeError
from geoseg.jobs import features
from geoseg.jobs.features import folder_names, for_each, recipes_of
from geoseg.jobs.folders import folder_name, outs_of
from geoseg.jobs.plan import plan_run
from geoseg.jobs.stopping import Stopped, stoppable
from geoseg.recipe import Recipe

NAMES = ("North", "South", "North", None, "a/../b")
IDS = (1, 2, 3, None, 5)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


def squares(n):
    return [shapely.box(-34.9 + 0.01 * k, -8.0, -34.892 + 0.01 * k, -7.99) for k in range(n)]


@pytest.fixture
def frame():
    return gpd.GeoDataFrame({"name": NAMES, "id": IDS}, geometry=squares(len(NAMES)), crs="EPSG:4326")


@pytest.fixture
def layer(frame, tmp_path):
    frame.to_file(tmp_path / "districts.gpkg", layer="of | 2001")
    frame[:1].to_file(tmp_path / "districts.gpkg", layer="other")
    return f"{tmp_path / 'districts.gpkg'}|layername=of | 2001"


def maps_of(aoi, per_feature="name", **more):
    with pytest.warns(GeosegWarning, match=f"1 of 5 features have no {per_feature}, left out"):
        return recipes_of(Recipe(aoi=str(aoi), per_feature=per_feature, **more))


def is_same(aoi, expected):
    return aoi.geom.symmetric_difference(expected).area < 1e-12


# --- names -----------------------------------------------------------------------------------------


@given(st.lists(TEXT, unique=True, max_size=8))
def test_every_value_has_a_folder_of_its_own(values):
    names = folder_names([*values, *(v.swapcase() for v in values)])
    assert len({name.casefold() for name in names.values()}) == len(names)
    for name in names.values():
        assert Path("maps", name).parent == Path("maps")
        assert not name.startswith((".", " ", "-"))
        assert not name.endswith((".", " "))
        assert len(name.encode()) <= 120
        assert not set(name) & set('/\\:*?"<>|{}\n\0')


@pytest.mark.parametrize("value", ["São Paulo", "हिन्दी", "L'Aquila (AQ)", "12", "Washington, D.C", "東京"])
def test_names_that_are_good_everywhere_stay(value):
    assert folder_name(value) == value


@pytest.mark.parametrize(
    "value", ["..", "", " x", "-5", "con", "LPT1.txt", "a" * 101, "e\u0301", "x-0123abcd"]
)
def test_names_that_are_not_are_marked(value):
    assert folder_name(value) != value
    assert folder_name(value)[-9] == "-"


@given(
    st.text(st.characters(exclude_characters="|", exclude_categories=["Cs"]), min_size=1),
    st.none() | st.text(st.characters(exclude_characters="|", exclude_categories=["Cs"]), min_size=1),
    st.none() | TEXT.filter(can_name).filter(bool),
    TEXT,
)
def test_sources_are_read_as_they_are_written(file, layer, attribute, value):
    source = AoiSource(f"no folder/{file}", layer, attribute, value if attribute else "")
    assert AoiSource.parse(str(source)) == source


# --- areas -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gpkg", "geojson", "parquet", "text", "stdin"])
def test_features_of_one_value_are_one_area(kind, layer, frame, tmp_path, monkeypatch):
    """And all areas together are all features that have a value."""
    aoi = layer
    if kind == "geojson":
        frame.to_file(aoi := tmp_path / "districts.geojson")
    if kind == "parquet":
        frame.to_parquet(aoi := tmp_path / "districts.parquet")
    if kind == "text":
        aoi = frame.to_json()
    if kind == "stdin":
        aoi = "-"
        monkeypatch.setattr(sys, "stdin", io.StringIO(frame.to_json()))
    found = maps_of(aoi, out="maps")
    assert list(found) == ["North", "South", "a/../b"]
    for value, recipe in found.items():
        rows = frame[frame["name"] == value]
        assert is_same(read_aoi(str(recipe.aoi)), rows.union_all())
        assert (recipe.per_feature, recipe.feature) == (None, None)
        assert recipe.out == f"maps/{folder_name(value)}"


def test_numbers_are_called_as_they_are_written(layer, frame):
    """Read with a gap, they are floats."""
    found = maps_of(layer, "id")
    assert list(found) == ["1", "2", "3", "5"]
    assert is_same(read_aoi(str(found["3"].aoi)), frame.geometry[2])


@pytest.mark.parametrize(
    ("out", "folder"),
    [
        (None, "geoseg-out/districts/North"),
        ("maps", "maps/North"),
        ("{feature}/{month}", "North/{month}"),
        ("maps/{year}", "maps/{year}/North"),
    ],
)
def test_folders(layer, out, folder):
    found = maps_of(layer, out=out, feature="North")
    assert [recipe.out for recipe in found.values()] == [folder]


@pytest.mark.parametrize("out", ["maps/{feature}/{month}", "maps/{month}"])
def test_months_of_features_are_found(layer, out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = maps_of(layer, out=out)
    for month in ("2026-09", "2026-10"):
        Path(found["North"].out.replace("{month}", month)).mkdir(parents=True)
    assert [path.name for path in outs_of(found["North"])] == [
        Path(found["North"].out.replace("{month}", month)).name for month in ("2026-09", "2026-10")
    ]
    assert outs_of(found["South"]) == []


def test_each_map_is_compared_with_its_own(layer):
    for folder in ("maps/{year-1}", "maps/{year-1}/{feature}"):
        (found,) = maps_of(layer, out="maps/{year}", change_from=folder, feature="North").values()
        assert found.change_from == "maps/{year-1}/North"


def test_a_recipe_of_one_map_is_left_alone():
    recipe = Recipe(aoi="1,1,2,2")
    assert list(recipes_of(recipe).values()) == [recipe]


def test_a_layer_beside_its_recipe_is_found(layer, tmp_path):
    (tmp_path / "r.toml").write_text('aoi = "districts.gpkg|layername=of | 2001|name=South"\n')
    assert Recipe.resolve(str(tmp_path / "r.toml")).aoi == f"{layer}|name=South"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"per_feature": "nam"}, "no attribute 'nam': did you mean name?"),
        ({"per_feature": "name", "feature": "Noth"}, "no feature with name 'Noth': did you mean North"),
        ({"per_feature": "name", "feature": "x"}, "it has the values North, South, a/../b."),
        ({"per_feature": "name", "aoi": "1,2,3,4"}, "The box 1,2,3,4 has no attributes"),
        ({"per_feature": "name", "aoi": "none.gpkg"}, "none.gpkg does not exist"),
        ({"per_feature": "name", "aoi": "{}"}, "is of type 'None'"),
        (
            {"per_feature": "n", "aoi": '{"type": "Point", "coordinates": [1, 1]}'},
            "is no FeatureCollection, which --per-feature needs",
        ),
        ({"per_feature": "a=b"}, "Attribute 'a=b' cannot be --per-feature"),
    ],
)
@pytest.mark.filterwarnings("ignore::geoseg.errors.GeosegWarning")
def test_what_cannot_be_is_one_line(layer, given, text):
    with pytest.raises(AoiError) as caught:
        recipes_of(Recipe(**{"aoi": layer, **given}))
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::geoseg.errors.GeosegWarning")
def test_too_many_maps_are_refused_but_one_of_them_is_not(layer, monkeypatch):
    monkeypatch.setattr(features, "MOST", 2)
    with pytest.raises(AoiError, match="has 3 values of name, more than the 2 maps"):
        recipes_of(Recipe(aoi=layer, per_feature="name"))
    assert recipes_of(Recipe(aoi=layer, per_feature="name", feature="North"))


def test_an_area_named_already_is_not_cut_again(layer):
    with pytest.raises(AoiError, match="names its features already"):
        recipes_of(Recipe(aoi=f"{layer}|name=North", per_feature="id"))
    with pytest.raises(AoiError, match="no feature with name 'Noth': did you mean North"):
        read_aoi(f"{layer}|name=Noth")


def test_a_column_without_a_value_is_refused(frame, tmp_path):
    frame["name"] = [None, "", " ", None, None]
    frame.to_file(tmp_path / "d.geojson")
    with pytest.raises(AoiError, match="has no feature with a value of name"):
        recipes_of(Recipe(aoi=str(tmp_path / "d.geojson"), per_feature="name"))


def test_keys_that_need_each_other():
    with pytest.raises(ValueError, match="name that with --per-feature"):
        Recipe(aoi="1,1,2,2", feature="x")
    for key in ("out", "change_from"):
        with pytest.raises(ValueError, match=r"\{feature\} in a folder is .* name that with --per-feature"):
            Recipe(aoi="1,1,2,2", **{key: "maps/{feature}"})
    with pytest.raises(ValueError, match="give that with --aoi"):
        Recipe(image=("a.tif",), per_feature="x")
    with pytest.raises(RecipeError, match="asks for several maps"):
        plan_run(Recipe(aoi="x.gpkg", per_feature="name", catalog="sample"), say=lambda _: None)


# --- one after the other ---------------------------------------------------------------------------


def failing(**errors):
    """What makes maps, and fails as it is told; and those it made."""
    made = []

    def make(recipe):
        if error := errors.get(recipe.aoi):
            raise error
        made.append(recipe.aoi)

    return make, made


RECIPES = {name: Recipe(aoi=name) for name in ("a", "b", "c")}


def test_one_that_fails_does_not_stop_the_others():
    warned = []
    make, made = failing(a=CoverageError("https://me:secret@host/x?sig=y has none. Wait."))
    with pytest.raises(CoverageError, match=r"^1 of 3 maps failed \(area a\), the others are done. a: "):
        for_each(RECIPES, make, say=lambda _: None, warn=warned.append)
    assert made == ["b", "c"]
    assert warned == ["a failed: https://host/x has none. Wait"]


def test_a_bug_is_raised_when_the_others_are_done():
    make, made = failing(a=CoverageError("none"), b=ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError) as caught:
        for_each(RECIPES, make, say=lambda _: None, warn=lambda _: None)
    assert made == ["c"]
    assert "2 of 3 maps failed (areas a, b)" in caught.value.__notes__[0]


def test_a_signal_between_two_maps_says_what_is_left():
    def make(recipe):
        os.kill(os.getpid(), signal.SIGTERM)

    with (
        pytest.raises(Stopped, match=r"^Stopped as asked: the maps of areas b, c are not begun\.$"),
        stoppable(),
    ):
        for_each(RECIPES, make, say=lambda _: None, warn=lambda _: None)


def test_a_signal_within_a_map_says_what_is_left():
    make, made = failing(b=Stopped(2))
    with pytest.raises(
        Stopped, match=r"^Stopped as asked: 2 blocks are left, the maps of area c are not begun\.$"
    ):
        for_each(RECIPES, make, say=lambda _: None, warn=lambda _: None)
    assert made == ["a"]


# --- as it is typed --------------------------------------------------------------------------------


ODD = "[/]<script>../Recife"
"""Neither markup of the terminal nor of the report, nor a path."""


@pytest.fixture
def recipe(tmp_path):
    """Two areas of the sample, and one where nothing is."""
    areas = [
        shapely.box(-34.9, -8.0, -34.89, -7.99),
        shapely.box(-34.88, -8.0, -34.87, -7.99),
        shapely.box(1, 1, 1.1, 1.1),
    ]
    frame = gpd.GeoDataFrame({"name": ["Olinda", ODD, "Far"]}, geometry=areas, crs="EPSG:4326")
    frame.to_file(tmp_path / "areas.geojson")
    path = tmp_path / "areas.toml"
    path.write_text(
        'aoi = "areas.geojson"\nper_feature = "name"\ncatalog = "sample"\nmodel = "spectral-rules"\n'
    )
    return path


def test_maps_of_features_as_they_are_typed(recipe, tmp_path):
    out = tmp_path / "maps"
    done = geoseg("run", recipe, "--out", out, "--json")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "geoseg: 1 of 3 maps failed (area Far), the others are done. Far: "
    )
    titles = [json.loads(line)["title"] for line in done.stdout.splitlines()]
    assert titles == ["Land cover of Olinda", f"Land cover of {ODD}"]
    marked = folder_name(ODD)
    assert {path.name for path in out.glob("[!.]*")} == {"Olinda", marked}

    again = geoseg("predict", "--recipe", out / marked / "manifest.json", "--out", tmp_path / "again", "-q")
    assert again.returncode == 0, again.stderr
    assert "<script>.." not in (out / marked / "report.html").read_text()
    assert rasters(tmp_path / "again") == rasters(out / marked)

    one = geoseg("run", recipe, "--out", out, "--feature", ODD)
    assert one.returncode == 0, one.stderr
    assert f"Land cover of {ODD}" in one.stdout
    assert "nothing has changed" in one.stderr

    with recipe.open("a") as file:
        file.write(f'out = "{out}"\n')
    states = json.loads(geoseg("status", recipe, "--json").stdout)
    assert [(Path(s["out"]).name, s["state"]) for s in states] == [
        ("Olinda", "made"), (marked, "made"), ("Far", "stopped"),
    ]  # fmt: skip
    assert {s["out"] for s in json.loads(geoseg("status", out, "--json").stdout)} == {
        str(out / "Olinda"), str(out / marked), str(out / "Far"),
    }  # fmt: skip
    logged = geoseg("logs", recipe).stdout
    assert f"{out / marked}:" in logged
    assert logged.count("1 of 1 blocks") == 2
    assert "ended: " in logged
    assert geoseg("clean", recipe).stdout.count("removed ") == 1  # that log
    assert "Nothing to remove" in geoseg("clean", recipe).stdout


def test_plans_of_features(recipe):
    planned = geoseg("plan", recipe, "--feature", "Olinda", "--json", "-q")
    assert planned.returncode == 0, planned.stderr
    (line,) = planned.stdout.splitlines()
    assert json.loads(line)["out"] == "geoseg-out/areas/Olinda"
    checked = geoseg("check", "--recipe", recipe, "-q")
    assert checked.returncode == 2
    assert checked.stdout.count("The imagery fits") == 2
    assert f"{ODD}, in" in checked.stdout

    layer = recipe.with_suffix(".geojson")
    gpd.read_file(layer)[:2].to_file(layer)
    with recipe.open("a") as file:
        file.write("price_per_hour = 2\n")
    each, total = geoseg("plan", recipe, "-q").stdout.split("All 2 maps")
    assert "worker hours at 2" in total
    figures = [[float(n) for n in re.findall(r"to read *│ ([\d.]+) MB", text)] for text in (each, total)]
    assert sum(figures[0]) == pytest.approx(sum(figures[1]), rel=0.1)


def test_features_and_timers(recipe, tmp_path):
    entry = ("--cron", "0 3 1 * *", "--to", "cron", "--entries", tmp_path)
    done = geoseg("schedule", recipe, *entry)
    assert "It makes 3 maps, one for each name." in done.stderr
    recipe.write_text('aoi = "-"\nper_feature = "name"\n')
    for args in (("schedule", recipe, *entry), ("status", recipe)):
        refused = geoseg(*args)
        assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
        assert "standard input" in refused.stderr
