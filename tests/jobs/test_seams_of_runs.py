"""The seam score of whole runs: the same however the work is cut, and in every report."""

import json

import pytest
from builders import geobox_at, model_folder, smooth, write_image

from geoseg.errors import ImageryError
from geoseg.inference.seams import ONE_TILE
from geoseg.jobs import run as run_module
from geoseg.jobs.run import run
from geoseg.recipe import Recipe


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene")
    pixels = smooth(4, (260, 300))
    pixels[:, 40:70, 100:180] = float("nan")
    image = write_image(folder / "scene.tif", pixels, geobox_at(height=260, width=300))
    model = model_folder(folder / "model", family="small-unet", halo=8)
    return {"image": (str(image),), "model": str(model)}


@pytest.fixture(scope="module")
def whole(scene, tmp_path_factory):
    return run(Recipe(**scene, out=str(tmp_path_factory.mktemp("maps") / "whole")))


def test_the_score_is_in_the_report(whole):
    seams = whole.report.seams
    said = json.loads((whole.out / "report.json").read_text())
    assert said["seams"] == {
        "share": seams.share,
        "pixels": seams.pixels,
        "spots": seams.spots,
        "text": seams.text,
    }
    assert 0 < seams.share < 0.5, "the test would be blind"
    assert seams.spots == 1
    assert 0 < said["timings_s"]["seams"] < said["timings_s"]["total"]
    page = (whole.out / "report.html").read_text()
    assert "Seams" in page
    assert "half a stride" in page
    assert not list(whole.out.glob("**/parts"))


@pytest.mark.parametrize("options", [{"block_size": 64}, {"block_size": 100, "workers": 2}])
def test_the_score_is_the_same_however_the_map_is_cut(scene, whole, tmp_path, options):
    assert run(Recipe(**scene, **options, out=str(tmp_path / "cut"))).report.seams == whole.report.seams


def test_rules_for_single_pixels_have_no_seams(scene, tmp_path):
    recipe = Recipe(**scene | {"model": "spectral-rules"}, tile_size=64, halo=8, out=str(tmp_path / "map"))
    seams = run(recipe).report.seams
    assert (seams.share, seams.spots) == (0, 1)
    assert seams.pixels > 256


def test_an_area_within_one_tile_says_so(scene, tmp_path):
    recipe = Recipe(**scene | {"model": "spectral-rules"}, tile_size=8192, halo=0, out=str(tmp_path / "map"))
    seams = run(recipe).report.seams
    assert seams.share is None
    assert ONE_TILE in seams.text
    assert ONE_TILE in (tmp_path / "map" / "report.html").read_text()


@pytest.mark.parametrize("error", [ImageryError, RuntimeError, OSError])
def test_a_map_that_is_done_does_not_fail_for_want_of_a_score(scene, tmp_path, monkeypatch, error):
    def broken(*_):
        raise error("The server went away.")

    recipe = Recipe(**scene | {"model": "spectral-rules"}, out=str(tmp_path / "map"))
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "seam_tasks", broken)
        report = run(recipe).report
    assert report.seams.share is None
    said = (
        f"The seam score could not be measured ({error.__name__}): The server went away. --resume measures it"
    )
    assert said in report.warnings
    assert ONE_TILE in run(recipe.model_copy(update={"resume": True})).report.seams.text, (
        "it is measured then"
    )
