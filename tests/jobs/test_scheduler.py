"""Blocks on a real Dask scheduler, its workers processes of their own: the same bytes, whatever happens."""

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from builders import geobox_at, model_folder, smooth, write_image
from dask import config as dask_config
from distributed import Client
from lanes.clusters import Process, dask, scheduler_in, workers
from lanes.services import free_ports, geoseg, one_line, rasters, wait_until

from geoseg.errors import ImageryError, RecipeError
from geoseg.jobs import cluster, connecting
from geoseg.jobs.run import run
from geoseg.recipe import Recipe

SAMPLE = Path(__file__).parents[2] / "catalogs" / "sample"
pytestmark = pytest.mark.lane


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a scheduler that has no workers yet."""
    with scheduler_in(tmp_path_factory.mktemp("scheduler")) as (address, _):
        yield address


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """An image with a hole, and a network whose tiles overlap: blocks must agree about their borders."""
    folder = tmp_path_factory.mktemp("scene")
    pixels = smooth(11, (300, 340))
    pixels[:, 100:140, 180:260] = np.nan
    image = write_image(folder / "scene.tif", pixels, geobox_at(3, 5, height=300, width=340))
    return {
        "image": (str(image),),
        "model": str(model_folder(folder / "model")),
        "backend": "torch-eager",
    }


@pytest.fixture(scope="module")
def here(scene: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The rasters that this process makes as one block."""
    return rasters(run(Recipe(**scene, out=str(tmp_path_factory.mktemp("here") / "map"))).out)


def test_workers_make_the_bytes_that_one_process_makes(scheduler, scene, here, tmp_path):
    with workers(scheduler, tmp_path):
        scores = [run(Recipe(**scene, out=str(tmp_path / "one"))).report.seams]
        for size in (100, 128):
            out = str(tmp_path / f"map{size}")
            made = run(Recipe(**scene, scheduler=scheduler, block_size=size, out=out))
            assert rasters(made.out) == here
            scores.append(made.report.seams)
        assert scores[0].pixels
        assert scores[1:] == scores[:1] * 2
        sample = {"aoi": str(SAMPLE / "area.geojson"), "catalog": "sample", "model": "spectral-rules"}
        made = run(Recipe(**sample, scheduler=scheduler, block_size=100, out=str(tmp_path / "sample"))).out
        alone = run(Recipe(**sample, out=str(tmp_path / "alone"))).out
        assert rasters(made) == rasters(alone)


def test_a_worker_that_dies_does_not_change_the_map(scheduler, scene, here, tmp_path):
    n_blocks = 5 * 6
    seen: list[int] = []

    def kill_one(victim: Process) -> None:
        deadline = time.monotonic() + 60
        while not seen and time.monotonic() < deadline:
            n_parts = len(list(tmp_path.glob(".map.*.partial/parts/*.tif")))
            if n_parts >= 3:
                victim.kill()
                seen.append(n_parts)
            time.sleep(0.005)

    with workers(scheduler, tmp_path) as both:
        killer = threading.Thread(target=kill_one, args=(both[0],))
        killer.start()
        out = run(Recipe(**scene, scheduler=scheduler, block_size=64, out=str(tmp_path / "map"))).out
        killer.join()
        assert both[0].poll() is not None
    assert seen[0] < n_blocks / 2
    assert rasters(out) == here


def test_a_scheduler_that_dies_is_said_and_the_next_run_goes_on(
    scheduler, scene, here, tmp_path, monkeypatch
):
    monkeypatch.setattr(connecting, "CONNECT_TIMEOUT_S", 4)
    file = tmp_path / "scheduler.json"
    args = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    recipe = Recipe(**scene, block_size=64, out=str(tmp_path / "map"))

    def kill(victim: Process) -> None:
        wait_until(lambda: len(list(tmp_path.glob(".map.*.partial/parts/*.tif"))) >= 5, "blocks are made")
        victim.kill()

    with dask(tmp_path / "log", "scheduler", *args) as own:
        wait_until(file.exists, "the scheduler starts")
        address = json.loads(file.read_text())["address"]
        with workers(address, tmp_path):
            killer = threading.Thread(target=kill, args=(own,))
            killer.start()
            with (
                dask_config.set({"distributed.comm.timeouts.connect": "5s"}),
                pytest.raises(RecipeError, match=f"The Dask scheduler at {address} is lost"),
            ):
                run(recipe.model_copy(update={"scheduler": address}))
            killer.join()
    (journal,) = tmp_path.glob(".map.*.partial/journal.jsonl")
    n_done = len(journal.read_text().splitlines())
    assert 0 < n_done < 30
    with workers(scheduler, tmp_path):
        again = run(recipe.model_copy(update={"scheduler": scheduler, "resume": True}))
    assert rasters(again.out) == here


def test_a_block_that_kills_its_workers_is_made_in_pieces(scheduler, scene, here, tmp_path, monkeypatch):
    """As the system does when memory ends: with a nanny, which starts another worker each time."""
    monkeypatch.setattr(cluster, "run_block", _deadly_whole)
    args = ["--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1"]
    with dask(tmp_path / "log", "worker", scheduler, *args, "--local-directory", str(tmp_path / "w")):
        with Client(scheduler, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=60)
        made = run(Recipe(**scene, scheduler=scheduler, out=str(tmp_path / "map")))
    assert rasters(made.out) == here


def _deadly_whole(task):
    """Runs in the workers: what memory cannot hold ends the process."""
    from geoseg.jobs.blocks import run_block

    if task.n_pieces == 1 and task.parts.name == "parts":
        os.kill(os.getpid(), 9)
    return run_block(task)


_deadly_whole.__module__ = "__main__"
"""So that it is pickled with its code: workers and scheduler do not have this file."""


def test_an_error_in_a_worker_is_told_as_it_is(scheduler, scene, tmp_path):
    image = tmp_path / "scene.tif"
    image.write_bytes(Path(scene["image"][0]).read_bytes())
    with workers(scheduler, tmp_path, n=1):
        recipe = Recipe(
            image=(str(image),),
            model="spectral-rules",
            scheduler=scheduler,
            block_size=64,
            out=str(tmp_path / "map"),
        )
        breaker = threading.Thread(target=_empty_when_planned, args=(tmp_path, image))
        breaker.start()
        with pytest.raises(ImageryError, match=r"scene\.tif (is empty|cannot be read|changed)"):
            run(recipe)
        breaker.join()
    assert not list(tmp_path.glob("*map*"))
    assert not list(tmp_path.glob(".*"))


def _empty_when_planned(folder: Path, image: Path) -> None:
    wait_until(lambda: any(folder.glob(".map.*.partial")), "the run begins to compute")
    image.write_bytes(b"")


def test_a_scheduler_without_workers_is_said(scheduler, scene, tmp_path):
    with pytest.raises(RecipeError, match=f"{scheduler} has no workers. Start some: dask worker {scheduler}"):
        run(Recipe(**scene, scheduler=scheduler, out=str(tmp_path / "map")))
    assert not list(tmp_path.iterdir())


def test_no_scheduler_is_said(scene, tmp_path, monkeypatch):
    monkeypatch.setattr(connecting, "CONNECT_TIMEOUT_S", 1)
    address = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(RecipeError, match=f"No Dask scheduler answers at {address}"):
        run(Recipe(**scene, scheduler=address, out=str(tmp_path / "map")))
    assert not list(tmp_path.iterdir())


def test_no_scheduler_is_one_line(scene, tmp_path):
    """Waits as long as a user would."""
    address = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    args = [
        "--image",
        scene["image"][0],
        "--model",
        "spectral-rules",
        "--scheduler",
        address,
        "--out",
        tmp_path / "map",
    ]
    ran = geoseg("predict", "-q", *args)
    assert ran.code == 2
    assert f"No Dask scheduler answers at {address}" in one_line(ran.stderr)
    assert not list(tmp_path.iterdir())
