"""Blocks on GPUs, which fakes play: one thread each here, workers with the resource GPU on a cluster."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from distributed import Scheduler, SpecCluster, Worker, get_worker
from rasterio.windows import Window

from geoseg.errors import RecipeError
from geoseg.grid.tiling import Block
from geoseg.inference.runner import Inference
from geoseg.jobs import cluster, engine
from geoseg.jobs.cluster import device_on, run_here, run_on
from geoseg.jobs.clusters import Cluster
from geoseg.recipe import Recipe

HOST = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}


@dataclass(frozen=True)
class Task:
    """As much of a block's task as is looked at."""

    block: Block
    how: Inference
    parts: Path = Path()
    model: str = ""
    store: str | None = None


def tasks_for(device: str, parts: Path = Path(), *, n: int = 6) -> list[Task]:
    return [Task(Block(n, Window(0, 0, 1, 1)), Inference(device=device), parts) for n in range(n)]


# --- here -----------------------------------------------------------------------------------------


def devices_seen(monkeypatch, device: str, *, n_gpus: int, workers: int | None) -> dict[int, set[str]]:
    """The devices that blocks were run on, by thread. The first blocks wait until all threads have one."""
    n_threads = workers or max(n_gpus, 1)
    seen: dict[int, set[str]] = {}
    all_busy = threading.Barrier(n_threads)

    def run_block(task: Task) -> None:
        if threading.get_ident() not in seen:
            seen[threading.get_ident()] = set()
            all_busy.wait(10)
        seen[threading.get_ident()].add(task.how.device)

    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_gpus)
    monkeypatch.setattr(cluster, "run_block", run_block)
    run_here(tasks_for(device, n=12), workers=workers, on_end=lambda _: None)
    return seen


@pytest.mark.parametrize(
    ("device", "workers", "expected"),
    [
        ("auto", None, ["cuda:0", "cuda:1", "cuda:2"]),
        ("cuda", 2, ["cuda:0", "cuda:1"]),
        ("cuda", 5, ["cuda:0", "cuda:0", "cuda:1", "cuda:1", "cuda:2"]),
        ("cuda:1", 2, ["cuda:1", "cuda:1"]),
        ("cpu", 2, ["cpu", "cpu"]),
    ],
)
def test_each_thread_has_a_gpu_and_keeps_it(monkeypatch, device, workers, expected):
    seen = devices_seen(monkeypatch, device, n_gpus=3, workers=workers)
    assert sorted(device for devices in seen.values() for device in devices) == expected
    assert all(len(devices) == 1 for devices in seen.values())


def test_one_block_at_a_time_without_a_gpu(monkeypatch):
    assert list(devices_seen(monkeypatch, "auto", n_gpus=0, workers=None).values()) == [{"auto"}]


# --- on a cluster ---------------------------------------------------------------------------------


def cluster_of(**resources: dict[str, float]) -> SpecCluster:
    """Workers in this process, by their names."""
    workers = {
        name: {"cls": Worker, "options": {**HOST, "nthreads": 2, "resources": own}}
        for name, own in resources.items()
    }
    scheduler = {"cls": Scheduler, "options": {**HOST, "port": 0}}
    return SpecCluster(workers=workers, scheduler=scheduler, silence_logs=40)


@pytest.fixture(scope="module")
def mixed() -> Iterator[SpecCluster]:
    """Two workers, of which one has a GPU."""
    with cluster_of(plain={}, gpu={"GPU": 1}) as found:
        yield found


BUSY = threading.Lock()


def place_of(task: Task) -> tuple[str, bool]:
    """The name of the worker that this runs on, and whether it runs alone on it."""
    name = str(get_worker().name)
    if name != "gpu":
        return name, True
    is_alone = BUSY.acquire(blocking=False)
    if is_alone:
        threading.Event().wait(0.05)
        BUSY.release()
    return name, is_alone


def workers_at(address: str) -> Cluster:
    return Cluster(Recipe(image=("a.tif",), scheduler=address), folder=Path())


def places(monkeypatch, address: str, device: str, folder: Path) -> list[tuple[str, bool]]:
    monkeypatch.setattr(cluster, "run_block", place_of)
    with workers_at(address) as found:
        return run_on(found, tasks_for(device, folder, n=8), on_end=lambda _: None)  # type: ignore[arg-type]


def test_blocks_for_gpus_go_to_workers_that_have_one_one_at_a_time(mixed, monkeypatch, tmp_path):
    for device in ("cuda", "cuda:1"):
        assert places(monkeypatch, mixed.scheduler_address, device, tmp_path) == [("gpu", True)] * 8


def test_blocks_for_the_cpu_go_to_all_workers(mixed, monkeypatch, tmp_path):
    assert {name for name, _ in places(monkeypatch, mixed.scheduler_address, "cpu", tmp_path)} == {
        "plain",
        "gpu",
    }


def test_without_the_resource_all_workers_are_asked_for_their_gpu(monkeypatch, tmp_path):
    with cluster_of(plain={}) as plain:
        address = plain.scheduler_address
        assert len(places(monkeypatch, address, "cuda", tmp_path)) == 8
        with workers_at(address) as found:
            assert device_on(found, "auto") == "cpu"


def test_auto_is_one_device_for_the_whole_cluster(mixed):
    with workers_at(mixed.scheduler_address) as found:
        assert device_on(found, "auto") == "cuda"
    never_asked = workers_at("tcp://never-asked:1")
    assert device_on(never_asked, "cpu") == "cpu"
    assert device_on(never_asked, "cuda:1") == "cuda:1"


def settled(mixed, **more: object) -> Inference:
    recipe = Recipe(image=("a.tif",), scheduler=mixed.scheduler_address, **more)
    task = Task(0, Inference(device=recipe.device), model="spectral-rules")
    with Cluster(recipe, folder=Path()) as found:
        return engine.settle(recipe, task.how, [task], cluster=found)[0]  # type: ignore[list-item]


def test_gpus_of_workers_need_none_here(mixed):
    """What runs there is as asked, or torch: it cannot be measured where there is no GPU."""
    assert settled(mixed) == Inference(device="cuda")
    asked = settled(mixed, backend="tensorrt", precision="bf16")
    assert (asked.device, asked.backend, asked.precision) == ("cuda", "tensorrt", "bf16")
    with pytest.raises(RecipeError, match="the GPUs are those of the workers"):
        settled(mixed, precision="bf16")
