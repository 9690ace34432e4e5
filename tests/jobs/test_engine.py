"""What runs the network of a job: as asked, or torch; and the same for every block."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from builders import geobox_at, model_folder, smooth, write_image

from geoseg.errors import RecipeError
from geoseg.inference.runner import Inference, Runner
from geoseg.jobs import engine
from geoseg.jobs.plan import Plan, plan_run
from geoseg.jobs.run import run
from geoseg.jobs.tasks import tasks_of
from geoseg.recipe import Recipe

SIDE = 300


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_image(
        tmp_path_factory.mktemp("engine") / "image.tif",
        smooth(1, (SIDE, SIDE)),
        geobox_at(height=SIDE, width=SIDE),
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("engine") / "model")


def recipe_of(image: Path, model: Path, out: Path, **more: object) -> Recipe:
    return Recipe(image=(str(image),), model=str(model), out=str(out), **more)


def planned(recipe: Recipe, parts: Path) -> tuple[Plan, list]:
    plan = plan_run(recipe, say=lambda _: None)
    return plan, tasks_of(plan, parts)


def test_a_small_job_is_run_by_torch(image: Path, model: Path, tmp_path: Path) -> None:
    recipe = recipe_of(image, model, tmp_path / "map")
    plan, tasks = planned(recipe, tmp_path)
    assert engine.settle(recipe, plan.how, tasks) == (
        replace(plan.how, device="cpu", threads=torch.get_num_threads()),
        None,
    )


def test_a_large_job_is_run_by_what_is_measured_on_its_own_tiles(
    image: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {}

    def choose(model_, tiles, work, *, n_tiles, precisions):
        given.update(tiles=tiles, work=work, n_tiles=n_tiles, precisions=precisions)
        return real(model_, tiles, work, n_tiles=n_tiles, precisions=["float32"], names=["torch-eager"])

    real = engine.choose
    monkeypatch.setattr(engine, "choose", choose)
    monkeypatch.setattr(engine, "FEW_TILES", 1)
    recipe = recipe_of(image, model, tmp_path / "map", block_size=128)
    plan, tasks = planned(recipe, tmp_path)
    how, choice = engine.settle(recipe, plan.how, tasks)
    assert (how.backend, how.precision) == ("torch-eager", "float32")
    assert choice is not None
    assert given["precisions"] == ["float32", "bf16"], "int8 only where the model brings its ranges"
    assert given["n_tiles"] == sum(len(list(t.plan.tiles(t.block.window))) for t in tasks)
    assert len(given["tiles"]) == 2
    with rasterio.open(image) as source:
        own = source.read()
    for tile in given["tiles"]:
        assert tile.shape == (len(plan.inputs.bands), plan.tiles.size, plan.tiles.size)
        assert np.isin(np.rint(tile[np.isfinite(tile)] * 10_000), own).all()


def test_large_tiles_are_tried_by_their_corners(
    image: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several networks are in memory then."""
    recipe = recipe_of(image, model, tmp_path / "map", tile_size=128, halo=16)
    plan, tasks = planned(recipe, tmp_path)
    monkeypatch.setattr(engine, "FEW_TILES", 1)
    monkeypatch.setattr(engine, "_TRIAL_SIZE", 70)
    given = {}

    def choose(model_, tiles, work, **more):
        given.update(tiles=tiles, work=work, **more)
        return real(model_, tiles, work, **more, names=["torch-eager"])

    real = engine.choose
    monkeypatch.setattr(engine, "choose", choose)
    _, choice = engine.settle(recipe, plan.how, tasks)
    assert choice is not None
    side = given["work"].size
    assert 0 < side <= 70
    assert side % plan.card.tile_multiple == 0
    assert {tile.shape for tile in given["tiles"]} == {(len(plan.inputs.bands), side, side)}
    assert len(given["tiles"]) == 4
    n_tiles = sum(len(list(t.plan.tiles(t.block.window))) for t in tasks)
    assert given["n_tiles"] == pytest.approx(n_tiles * (128 / side) ** 2, abs=1)
    assert f"ms per tile of {side} pixels" in choice.measured[0].text()


def test_what_was_asked_for_runs_and_is_in_the_report(image: Path, model: Path, tmp_path: Path) -> None:
    for backend in ("torch-eager", "onnxruntime"):
        run(recipe_of(image, model, tmp_path / backend, backend=backend, block_size=128))
        report = json.loads((tmp_path / backend / "report.json").read_text())
        assert report["model"]["run_by"] == f"{backend}, float32"
        assert report["timings_s"]["network"] <= report["timings_s"]["predict"]
        manifest = json.loads((tmp_path / backend / "manifest.json").read_text())
        assert (manifest["recipe"]["backend"], manifest["recipe"]["precision"]) == (backend, "float32")
    eager, other = (
        rasterio.open(tmp_path / backend / "class.tif").read(1) for backend in ("torch-eager", "onnxruntime")
    )
    assert (eager == other).mean() >= 0.999


def test_int8_is_observed_on_what_little_an_area_has(model: Path, tmp_path: Path) -> None:
    small = write_image(tmp_path / "small.tif", smooth(2, (30, 30)), geobox_at(height=30, width=30))
    recipe = recipe_of(
        small, model, tmp_path / "map", backend="onnxruntime", precision="int8", scale=(1e-4,), offset=(0.0,)
    )
    plan, tasks = planned(recipe, tmp_path)
    how, _ = engine.settle(recipe, plan.how, tasks)
    assert how.int8 is not None
    assert (how.backend, how.precision) == ("onnxruntime", "int8")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"backend": "onnxruntime", "precision": "bf16"}, "has no bf16"),
        ({"backend": "torch-eager", "precision": "int8"}, "torch-eager has no int8"),
        ({"backend": "openvino", "uncertainty": ("mc-dropout",)}, "looks into the network"),
    ],
)
def test_what_cannot_be_had_is_one_line(
    image: Path, model: Path, tmp_path: Path, more: dict, said: str
) -> None:
    recipe = recipe_of(
        image, model, tmp_path / "map", **{k: v for k, v in more.items() if k != "uncertainty"}
    )
    plan, tasks = planned(recipe, tmp_path)
    how = plan.how
    if "uncertainty" in more:
        how = Inference(uncertainty=more["uncertainty"])
    with pytest.raises(RecipeError, match=said):
        engine.settle(recipe, how, tasks)


def test_an_unknown_backend_is_refused_before_anything_is_searched(model: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean openvino"):
        plan_run(recipe_of(tmp_path / "none.tif", model, tmp_path / "map", backend="openvinno"), say=print)


def test_the_network_has_the_threads_that_were_asked_for_and_a_run_that_goes_on_keeps_them(
    image: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    real = Runner._layers_of

    def watched(runner: Runner, tiles: list) -> object:
        seen.append(torch.get_num_threads())
        return real(runner, tiles)

    monkeypatch.setattr(Runner, "_layers_of", watched)
    before = torch.get_num_threads()
    asked = before + 2
    recipe = recipe_of(image, model, tmp_path / "map", threads=asked, block_size=256)
    made = run(recipe)
    assert set(seen) == {asked}
    assert torch.get_num_threads() == before, "what the caller's process does next has its own again"
    assert json.loads((made.out / "manifest.json").read_text())["recipe"]["threads"] == asked
    seen.clear()
    run(recipe.model_copy(update={"threads": None, "resume": True}))
    assert not seen, "nothing to do"
    run(recipe.model_copy(update={"threads": before, "resume": True}))
    assert set(seen) == {before}, "last bits depend on them, so the blocks are made again"
