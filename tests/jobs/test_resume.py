"""A run that was killed goes on: same bytes, and nothing is made twice."""

import json
import subprocess
import sys
import time

import pytest
import rasterio
from builders import Said, geobox_at, model_folder, smooth, write_image
from lanes.services import rasters

from geoseg.errors import OutputError
from geoseg.jobs import cluster
from geoseg.jobs import run as run_module
from geoseg.jobs.run import run
from geoseg.recipe import Recipe


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene")
    image = write_image(folder / "scene.tif", smooth(0, (300, 300)), geobox_at(height=300, width=300))
    model = model_folder(folder / "model", family="small-unet", halo=8)
    return {"image": (str(image),), "model": str(model), "block_size": 100}


@pytest.fixture(scope="module")
def whole(scene, tmp_path_factory):
    return rasters(run(Recipe(**scene, out=str(tmp_path_factory.mktemp("whole") / "map"))).out)


def broken_at(monkeypatch, n):
    real, calls = run_module.Journal.note, []

    def note(self, fingerprint, done):
        calls.append(fingerprint)
        if len(calls) > n:
            raise RuntimeError("the power went")
        real(self, fingerprint, done)

    monkeypatch.setattr(run_module.Journal, "note", note)
    return calls


def test_a_run_that_broke_goes_on_where_it_was(scene, whole, tmp_path, monkeypatch):
    recipe, said = Recipe(**scene, out=str(tmp_path / "map")), Said()
    with monkeypatch.context() as patch:
        broken_at(patch, 4)
        with pytest.raises(RuntimeError):
            run(recipe, listener=said)
    assert (
        "4 blocks are done and kept: geoseg run, or predict with --resume, goes on from there" in said.lines
    )
    assert not (tmp_path / "map").exists()
    with monkeypatch.context() as patch:
        made = broken_at(patch, 99)
        again = Said()
        out = run(recipe.model_copy(update={"resume": True}), listener=again).out
    assert "4 of 9 blocks are there from a run before" in again.lines
    assert len(made) == 5
    assert rasters(out) == whole
    assert not list(tmp_path.glob(".map*"))


@pytest.mark.lane
def test_blocks_of_something_else_are_not_taken(scene, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        broken_at(patch, 4)
        with pytest.raises(RuntimeError):
            run(Recipe(**scene, out=str(tmp_path / "map")))
    said = Said()
    other = Recipe(**scene | {"block_size": 150}, tta="flip", resume=True, out=str(tmp_path / "map"))
    out = run(other, listener=said).out
    others = "4 were made from other items, settings or versions"
    assert f"0 of 4 blocks are there from a run before; {others}" in said.lines
    fresh = run(Recipe(**scene, tta="flip", out=str(tmp_path / "fresh"))).out
    assert rasters(out) == rasters(fresh)


def test_without_resume_what_was_left_goes(scene, whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        broken_at(patch, 2)
        with pytest.raises(RuntimeError):
            run(Recipe(**scene, out=str(tmp_path / "map")))
    assert list(tmp_path.glob(".map.*.partial"))
    assert rasters(run(Recipe(**scene, out=str(tmp_path / "map"))).out) == whole
    assert not list(tmp_path.glob(".map*"))


def test_nothing_to_resume_begins_anew(scene, whole, tmp_path):
    assert rasters(run(Recipe(**scene, resume=True, out=str(tmp_path / "map"))).out) == whole


@pytest.mark.lane
def test_a_folder_that_another_run_works_in_is_left_alone(scene, whole, tmp_path, monkeypatch):
    outs = []
    real = run_module.Journal.note
    recipe = Recipe(**scene, overwrite=True, out=str(tmp_path / "map"))

    def note(self, fingerprint, done):
        real(self, fingerprint, done)
        if not outs:
            outs.append(None)
            with pytest.raises(OutputError, match=r"Another run makes map in .* now. Wait for it"):
                run(recipe.model_copy(update={"resume": True}))
            outs.append(run(recipe).out)

    monkeypatch.setattr(run_module.Journal, "note", note)
    last = run(recipe).out
    assert len(outs) == 2
    assert rasters(last) == whole


def _journal(folder):
    return next(iter(folder.glob(".map.*.partial/journal.jsonl")), None)


def _wait_for_blocks(folder, process, n):
    """Whether ``n`` blocks were done while the process ran."""
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        journal = _journal(folder)
        if journal is not None and journal.read_bytes().count(b"\n") >= n:
            return True
        time.sleep(0.005)
    return False


@pytest.mark.lane
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_killed_at_once_it_goes_on(scene, whole, tmp_path):
    """kill -9 as soon as two blocks are done."""
    out = tmp_path / "map"
    options = ["--image", *scene["image"], "--model", scene["model"], "--block-size", "64", "--out", str(out)]
    command = [sys.executable, "-m", "geoseg", "predict", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert _wait_for_blocks(tmp_path, process, 2)
    process.kill()
    process.wait()
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=True)
    assert "of 25 blocks are there from a run before" in done.stderr
    assert rasters(out) == whole


@pytest.fixture
def made(monkeypatch):
    """Indices of the blocks that were made, those of the seam score left out."""
    real, found = cluster.run_block, []

    def run_block(task):
        if task.parts.name == "parts":
            found.append(task.block.index)
        return real(task)

    monkeypatch.setattr(cluster, "run_block", run_block)
    return found


def state(out):
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.iterdir()}


def test_a_map_that_stands_is_left_alone(scene, tmp_path, made):
    recipe = Recipe(**scene, resume=True, out=str(tmp_path / "map"))
    first = run(recipe)
    before = state(first.out)
    made.clear()
    said = Said()
    second = run(recipe.model_copy(update={"workers": 2}), listener=said)
    assert f"{first.out}/ holds this map already, and nothing has changed: nothing to do" in said.lines
    assert (second.report, state(second.out), made) == (first.report, before, [])
    assert not list(tmp_path.glob("**/.map*"))


def half(path, col, seed):
    path.unlink(missing_ok=True)
    return str(write_image(path, smooth(seed, (200, 1536)), geobox_at(col, height=200, width=1536)))


@pytest.mark.lane
def test_only_what_changed_is_made_again(scene, tmp_path, made):
    """Of two images side by side the right one changes. Blocks read whole cells of 512 pixels."""
    images = (half(tmp_path / "left.tif", 0, 0), half(tmp_path / "right.tif", 1536, 1))
    small = {"image": images, "block_size": 512}
    recipe = Recipe(**scene | small, resume=True, out=str(tmp_path / "map"))
    run(recipe)
    assert sorted(made) == list(range(6))
    made.clear()
    half(tmp_path / "right.tif", 1536, 2)
    run(recipe)
    again = set(made)
    fresh = run(recipe.model_copy(update={"out": str(tmp_path / "fresh"), "resume": False})).out
    assert rasters(tmp_path / "map") == rasters(fresh)
    assert 0 not in again
    assert {3, 4, 5} <= again


def test_other_polygons_need_no_block(scene, whole, tmp_path, made):
    recipe = Recipe(**scene, resume=True, out=str(tmp_path / "map"))
    run(recipe)
    made.clear()
    out = run(recipe.model_copy(update={"min_area_ha": 1.0})).out
    assert made == []
    assert rasters(out) == whole
    assert json.loads((out / "manifest.json").read_text())["recipe"]["min_area_ha"] == 1.0


def test_blocks_of_a_raster_that_was_touched_are_made_again(scene, whole, tmp_path, made):
    recipe = Recipe(**scene, resume=True, out=str(tmp_path / "map"))
    out = run(recipe).out
    made.clear()
    with rasterio.open(out / "class.tif", "r+", IGNORE_COG_LAYOUT_BREAK="YES") as raster:
        pixels = raster.read(1)
        pixels[10, 10] = 254
        raster.write(pixels, 1)
    assert rasters(run(recipe).out) == whole
    assert made == [0]


@pytest.mark.lane
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM")
def test_asked_to_stop_it_finishes_the_block_at_hand_and_says_what_is_left(scene, whole, tmp_path):
    out = tmp_path / "map"
    options = ["--image", *scene["image"], "--model", scene["model"], "--block-size", "64", "--out", str(out)]
    command = [sys.executable, "-m", "geoseg", "predict", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert _wait_for_blocks(tmp_path, process, 2)
    process.terminate()
    _, said = process.communicate(timeout=60)
    n_done = len((_journal(tmp_path)).read_bytes().splitlines())
    assert process.returncode == 0
    assert f"Stopped as asked: {25 - n_done} block" in said
    assert not out.exists()
    assert not list(tmp_path.glob(".map.*.partial/parts/*.tmp"))
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=True)
    assert f"{n_done} of 25 blocks are there from a run before" in done.stderr
    assert rasters(out) == whole
