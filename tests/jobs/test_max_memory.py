"""--max-memory: smaller blocks, the same map, and a process that stays within what it was given."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from builders import Said, geobox_at, smooth, write_image

from geoseg.bench.scenes import write_scene
from geoseg.errors import RecipeError
from geoseg.inference import runner
from geoseg.jobs.clusters import Cluster
from geoseg.jobs.memory import block_mb, blocks_at_a_time, tile_costs
from geoseg.jobs.plan import plan_run
from geoseg.jobs.run import run
from geoseg.memory import GDAL_CACHE_MB, give_back, peak_memory_mb
from geoseg.recipe import Recipe


@pytest.fixture
def image(tmp_path):
    return str(write_image(tmp_path / "scene.tif", smooth(0, (700, 900)), geobox_at(height=700, width=900)))


def recipe(image, out, **more):
    return Recipe(image=(image,), model="spectral-rules-vnir", tile_size=64, halo=8, out=str(out), **more)


def planned(image, tmp_path, **more):
    return plan_run(recipe(image, tmp_path / "plan", **more), say=print)


@pytest.mark.lane
def test_blocks_are_made_smaller_and_the_map_is_the_same(image, tmp_path):
    plan = planned(image, tmp_path)
    give_back()
    held, tile, _ = tile_costs(plan)
    need = held + GDAL_CACHE_MB + tile + block_mb(plan, 512) + 1
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
    with pytest.raises(RecipeError, match=r"--max-memory 100MB: this run takes [\d.]+ GB .* or a smaller"):
        run(recipe(image, tmp_path / "map", max_memory="100MB"))
    assert not (tmp_path / "map").exists()


@pytest.mark.parametrize("text", ["much", "-1GB", "0"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(RecipeError, match=rf"--max-memory {text}: .*give, for instance, 2GB"):
        Recipe.resolve(None, image=("a.tif",), max_memory=text)


def test_larger_blocks_and_more_items_take_more(image, tmp_path):
    plan = planned(image, tmp_path)
    assert block_mb(plan, 256) < block_mb(plan, 512) < block_mb(plan, 2048)
    assert block_mb(plan, 2048) == block_mb(plan, 4096), "the area is smaller"
    several = recipe(image, tmp_path / "map").model_copy(update={"image": (image,) * 6})
    assert block_mb(plan_run(several, say=print), 512) > 1.5 * block_mb(plan, 512)


def test_the_deepest_block_is_looked_for_in_the_whole_area(image, tmp_path):
    """The lower half has six images over a place, and the upper half more blocks than are looked at."""
    lower = tmp_path / "lower.tif"
    write_image(lower, smooth(0, (350, 900)), geobox_at(0, 350, height=350, width=900))
    some = recipe(image, tmp_path / "map").model_copy(update={"image": (image, *[str(lower)] * 5)})
    plan = plan_run(some, say=print)
    assert block_mb(plan, 64) > 1.5 * block_mb(planned(image, tmp_path), 64)


def test_the_network_that_was_measured_goes_with_its_thread(image, tmp_path):
    plan = planned(image, tmp_path)
    before = list(runner._ready.last)
    tile_costs(plan)
    assert runner._ready.last == before


def test_a_peak_of_the_past_is_not_counted(image, tmp_path):
    plan = planned(image, tmp_path)
    tile_costs(plan)  # imports
    _, before, _ = tile_costs(plan)
    past = np.ones(1 << 27)  # a gigabyte
    assert peak_memory_mb() > 1000
    del past
    _, after, _ = tile_costs(plan)
    assert abs(after - before) < 50


def test_what_cannot_run_here_is_measured_on_the_cpu(image, tmp_path):
    plan = planned(image, tmp_path, scheduler="tcp://nowhere:8786", batch_size=8)
    plan = replace(plan, how=replace(plan.how, device="cuda", backend="tensorrt"))
    assert tile_costs(plan)[2] > 0
    assert block_mb(plan, 256) > block_mb(planned(image, tmp_path), 256), "batches on their way"


def test_the_threads_of_a_dask_worker_are_counted(image, tmp_path):
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=3, processes=False, dashboard_address=None) as local:
        plan = planned(image, tmp_path, scheduler=local.scheduler_address, device="cpu")
        with Cluster(plan.recipe, folder=tmp_path) as cluster:
            assert blocks_at_a_time(replace(plan, cluster=cluster)) == 3
        assert blocks_at_a_time(plan) == 1, "a dry run asks nobody"
    assert blocks_at_a_time(planned(image, tmp_path, workers=2)) == 2
    assert blocks_at_a_time(planned(image, tmp_path, device="cpu")) == 1


@pytest.mark.lane
@pytest.mark.parametrize(
    ("max_mb", "more"), [(1300, []), (1500, []), (1800, ["--workers", "2"]), (1700, ["--image"])]
)
def test_the_process_stays_within_it(tmp_path, max_mb, more):
    """What was estimated is what is taken, and not much less: else blocks are smaller than they need be."""
    image = tmp_path / "scene.tif"
    write_scene(image, size=3072, bands=("blue", "green", "red", "nir", "swir16", "swir22"))
    out = tmp_path / "map"
    more = ["--image", str(image)] * 3 if more == ["--image"] else more  # several over a place
    options = [*more, "--model", "spectral-rules", "--max-memory", f"{max_mb}MiB", "--max-area-km2", "1e9"]
    command = ["predict", "--image", str(image), *options, "--out", str(out)]
    subprocess.run([sys.executable, "-m", "geoseg", *command], check=True, timeout=600)
    took = json.loads((out / "report.json").read_text())["peak_memory_mb"]
    assert 0.6 * max_mb < took <= max_mb
