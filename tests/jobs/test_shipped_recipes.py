"""The recipes that come with geoseg: each makes a map, here of the sample and of small images in place of theirs."""

import shutil
from contextlib import chdir
from datetime import date

import numpy as np
import pytest
from builders import geobox_at, model_folder, write_image

from geoseg.errors import RecipeError
from geoseg.jobs.plan import plan_run
from geoseg.jobs.run import run
from geoseg.jobs.since import compare_since
from geoseg.models.zoo import model_names
from geoseg.recipe import Recipe
from geoseg.report.change import ChangeReport
from geoseg.resources import resource_folder
from geoseg.stac.dates import parse_interval
from geoseg.stac.relative_dates import interval_of

FOLDER = resource_folder("pipelines")
NAMES = sorted(p.stem for p in FOLDER.glob("*.toml") if not p.stem.startswith("train-"))
SAMPLE = {
    "aoi": "-34.9,-8.0,-34.88,-7.985",
    "catalog": "sample",
    "collection": "landsat7-olinda",
    "datetime": "2001-06/2001-08",
    "model": "spectral-rules",
}

pytestmark = pytest.mark.filterwarnings("ignore::geoseg.errors.GeosegWarning")


@pytest.mark.parametrize("name", NAMES)
def test_its_dates_its_model_and_its_text(name):
    recipe, text = Recipe.resolve(name), (FOLDER / f"{name}.toml").read_text()
    assert f"\n| [`{name}`]({name}.toml) |" in (FOLDER / "README.md").read_text()
    if recipe.datetime is not None:
        today = date(2026, 11, 29)
        interval = parse_interval(interval_of(recipe.datetime, today=today) or recipe.datetime)
        assert interval.end.date() < today
    if recipe.model not in model_names():
        assert "geoseg has no network for" in text.splitlines()[0]
        assert f"{recipe.model} is a model folder that" in " ".join(text.replace("\n# ", " ").split())


@pytest.mark.parametrize("name", [n for n in NAMES if Recipe.resolve(n).aoi and n != "sample"])
def test_it_finds_and_checks_imagery_for_its_map(name):
    plan = plan_run(Recipe.resolve(name, **SAMPLE), say=lambda _: None)
    assert [item.id for item in plan.selection.items] == ["l7-etm-olinda"]
    expected = Recipe.resolve(name).out or "geoseg-out/area"
    words = {"month": "2001-06", "year": "2001", "start": "2001-06-01"}
    assert str(plan.out) == expected.format_map(words)


def test_forest_is_compared_with_the_year_before(tmp_path):
    with chdir(tmp_path):
        recipe = Recipe.resolve("forest-yearly", **SAMPLE, resume=True)
        out = run(recipe).out
        change = tmp_path / "maps" / "forest" / "2001-change"
        assert not change.exists()
        shutil.copytree(out, tmp_path / "maps" / "forest" / "2000")
        run(recipe)
        report = ChangeReport.model_validate_json((change / "change.json").read_text())
        assert report.compared_ha > 0
        assert report.changed_ha == 0
        said = []
        compare_since(out.with_name("2000"), out, say=said.append)
        assert said == ["maps/forest/2001-change/ compares these maps already"]
        run(recipe.model_copy(update={"gsd": 60.0}))
        again = ChangeReport.model_validate_json((change / "change.json").read_text())
        assert "2 times as wide" in again.notes[0]


def test_a_map_is_not_compared_with_itself():
    with pytest.raises(RecipeError, match=r"--change-from .* is maps/forest/2001, the output folder itself"):
        plan_run(
            Recipe.resolve("forest-yearly", **SAMPLE, change_from="./maps/forest/{year}"), say=lambda _: None
        )


@pytest.mark.parametrize("out", ["maps/{month}", "maps/land-{year}/x", "{month}", "others/{month}"])
def test_maps_of_dates_beside_their_recipe_are_those_that_go_on(tmp_path, out):
    """From whatever folder it is run: else a second copy would begin."""
    (tmp_path / "maps").mkdir()
    (tmp_path / "job.toml").write_text(f'image = "a.tif"\nout = "{out}"\n')
    found = Recipe.resolve(str(tmp_path / "job.toml")).out
    assert found == (str(tmp_path / out) if out.startswith("maps") else out)


def test_images_beside_their_recipe_are_found(tmp_path):
    (tmp_path / "a.tif").touch()
    (tmp_path / "mine.toml").write_text('image = ["a.tif", "b.tif"]\nchange_from = "a.tif"\n')
    recipe = Recipe.resolve(str(tmp_path / "mine.toml"))
    assert recipe.image == (str(tmp_path / "a.tif"), "b.tif")
    assert recipe.change_from == str(tmp_path / "a.tif")


def test_buildings_of_an_aerial_image(tmp_path):
    """8-bit red, green and blue, half a metre; a network that was trained on nothing."""
    pixels = np.random.default_rng(0).random((3, 128, 128)).astype(np.float32)
    bands = ("red", "green", "blue")
    grid = geobox_at(height=128, width=128, gsd=1)
    write_image(tmp_path / "aerial.tif", pixels * 0.0255, grid, bands=bands)
    model_folder(tmp_path / "models" / "buildings", family="small-unet", bands=bands)
    with chdir(tmp_path):
        result = run(Recipe.resolve("buildings"))
    assert result.report.model.name == "tiny-small-unet"
    assert (tmp_path / "maps" / "buildings" / "classes.gpkg").exists()
