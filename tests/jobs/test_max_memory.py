"""--max-memory: smaller blocks, the same map, and a process that stays within what it was given."""

import json
import re
import subprocess
import sys

import pytest
from builders import geobox_at, smooth, write_image

from geoseg.bench.scenes import write_scene
from geoseg.errors import RecipeError
from geoseg.jobs.memory import blocks_mb, with_a_tile_mb
from geoseg.jobs.plan import plan_run
from geoseg.jobs.run import Silence, run
from geoseg.recipe import Recipe


class Said(Silence):
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


@pytest.fixture
def image(tmp_path):
    return str(write_image(tmp_path / "scene.tif", smooth(0, (700, 900)), geobox_at(height=700, width=900)))


def recipe(image, out, **more):
    return Recipe(image=(image,), model="spectral-rules-vnir", tile_size=64, halo=8, out=str(out), **more)


def test_blocks_are_made_smaller_and_the_map_is_the_same(image, tmp_path):
    plan = plan_run(recipe(image, tmp_path / "plan"), say=print)
    need = with_a_tile_mb(plan) + blocks_mb(plan, 512) + 1
    said = Said()
    small = run(recipe(image, tmp_path / "small", max_memory=f"{need:.0f}MiB"), listener=said)
    whole = run(recipe(image, tmp_path / "whole"))
    assert any(re.match(r"blocks of (512|256) pixels, to stay within --max-memory", s) for s in said.lines)
    for name in ("class.tif", "confidence.tif"):
        assert (small.out / name).read_bytes() == (whole.out / name).read_bytes()


def test_more_than_enough_changes_nothing(image, tmp_path):
    said = Said()
    run(recipe(image, tmp_path / "map", max_memory="64GB"), listener=said)
    assert not any("blocks of" in line for line in said.lines)


def test_memory_that_cannot_be_kept_is_refused_with_what_would_do(image, tmp_path):
    with pytest.raises(RecipeError, match=r"--max-memory 100MB: this run takes [\d,]+ MiB .* or a smaller"):
        run(recipe(image, tmp_path / "map", max_memory="100MB"))
    assert not (tmp_path / "map").exists()


@pytest.mark.parametrize("text", ["much", "-1GB", "0"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(RecipeError, match=rf"--max-memory {text}: .*give, for instance, 2GB"):
        Recipe.resolve(None, image=("a.tif",), max_memory=text)


def test_larger_blocks_more_workers_and_larger_tiles_take_more(image, tmp_path):
    def takes(size, **more):
        return blocks_mb(plan_run(recipe(image, tmp_path / "map", **more), say=print), size)

    assert takes(256) < takes(512) < takes(2048)
    assert takes(2048) == takes(4096), "the area is smaller"
    assert takes(256, workers=3) == pytest.approx(3 * takes(256))


@pytest.mark.lane
@pytest.mark.parametrize("max_mb", [1300, 1500])
def test_the_process_stays_within_it(tmp_path, max_mb):
    """What was estimated is what is taken, and not much less: else blocks are smaller than they need be."""
    image = tmp_path / "scene.tif"
    write_scene(image, size=3072, bands=("blue", "green", "red", "nir", "swir16", "swir22"))
    out = tmp_path / "map"
    options = ["--model", "spectral-rules", "--max-memory", f"{max_mb}MiB", "--max-area-km2", "1e9"]
    command = ["predict", "--image", str(image), *options, "--out", str(out)]
    subprocess.run([sys.executable, "-m", "geoseg", *command], check=True, timeout=600)
    took = json.loads((out / "report.json").read_text())["peak_memory_mb"]
    assert 0.6 * max_mb < took <= max_mb
