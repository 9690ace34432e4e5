"""Clusters that a run starts: what may be said of them, how they are reached, and that they are let go."""

import os
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import get_args

import pytest
from builders import geobox_at, smooth, write_image
from dask import config as dask_config
from distributed import Client, LocalCluster, WorkerPlugin
from distributed.core import Status
from jobs.test_gpu_workers import Task, tasks_for
from lanes.services import wait_until

from geoseg.cli.options import _as_given
from geoseg.errors import GeosegError, GeosegWarning, RecipeError
from geoseg.jobs import cluster, clusters, publish, stopping
from geoseg.jobs.cluster import run_here, run_on
from geoseg.jobs.clusters import KINDS, Cluster, maker_of, options_of
from geoseg.jobs.connecting import ask_workers, give_to_workers, keys_in, warn_of_plain
from geoseg.jobs.plan import plan_run
from geoseg.jobs.sending import own_of, run_whole, shared_by
from geoseg.jobs.stopping import Stopped, stoppable
from geoseg.jobs.tries import BlockFailed
from geoseg.recipe import ClusterKind, Recipe

QUEUES = [name for name, kind in KINDS.items() if kind.is_queue]
HERE = {"processes": False, "protocol": "tcp://"}


def recipe(**more: object) -> Recipe:
    return Recipe(image=("a.tif",), **more)


def test_a_recipe_names_the_kinds_that_there_are():
    assert get_args(ClusterKind) == tuple(KINDS)


def test_a_block_whose_run_has_ended_is_let_go_without_a_word(tmp_path):
    """Those that wait for their turn on a worker when a run is interrupted."""
    task = tasks_for("cpu", tmp_path)[2]
    with LocalCluster(n_workers=1, dashboard_address="127.0.0.1:0", **HERE) as made, Client(made) as client:
        with shared_by(client, task) as name:
            assert client.submit(run_whole, _index_of, name, own_of(task), pure=False).result() == 2
        assert client.submit(run_whole, _index_of, name, own_of(task), pure=False).result() is None


def _index_of(task: Task) -> int:
    return task.block.index


def _ends_the_first(marker: Path) -> int:
    """Takes the worker that runs it first with it."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return os.getpid()
    os._exit(1)


class _EndsTheFirst(WorkerPlugin):
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def setup(self, worker: object) -> None:
        worker.given = _ends_the_first(self.marker)


def _given(dask_worker: object) -> int:
    return getattr(dask_worker, "given", 0)


def test_a_worker_that_is_lost_while_it_is_asked_is_no_lost_scheduler(tmp_path):
    """Dask says both in the same words."""
    options = {
        "n_workers": 2,
        "threads_per_worker": 1,
        "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0",
    }
    with LocalCluster(**options) as made, Client(made) as client:
        answers = ask_workers(client, _ends_the_first, tmp_path / "asked")
        assert answers  # of the other one; of both where the first was started again meanwhile
        assert all(isinstance(answer, int) for answer in answers.values())
        client.wait_for_workers(2, timeout=60)
        give_to_workers(client, _EndsTheFirst(tmp_path / "given"), "ends-the-first")
        client.wait_for_workers(2, timeout=60)
        given = ask_workers(client, _given)
        assert len(given) == 2
        assert all(given.values())
        with pytest.raises(ZeroDivisionError):
            ask_workers(client, divmod, 1, 0)
        with pytest.raises(FileNotFoundError):  # of workers that are there
            ask_workers(client, os.stat, "no such file")


@pytest.mark.parametrize("name", ["local", *QUEUES])
def test_what_geoseg_says_to_a_cluster_is_what_its_class_takes(name):
    found = options_of(maker_of(recipe(cluster=name)), KINDS[name])
    said = {"n_workers", *KINDS[name].defaults}
    if name in QUEUES:
        said |= {"security", "scheduler_options", "worker_extra_args", "cores", "memory", "queue", "walltime"}
        said -= {"walltime", "queue"} if name == "htcondor" else {"walltime"} if name == "sge" else set()
    assert said <= found


@pytest.mark.parametrize("name", ["local", "slurm"])
def test_an_option_that_its_class_has_not_is_one_line(name):
    with pytest.raises(
        RecipeError, match=rf"--cluster-options interfase: not an option of {name} .*did you mean interface\?"
    ):
        maker_of(recipe(cluster=name, cluster_options={"interfase": "lo"}))


@pytest.mark.parametrize("name", sorted(set(KINDS) - {"local"}))
def test_a_package_that_is_missing_is_named_with_its_extra(name, monkeypatch):
    package = KINDS[name].made_by.partition(":")[0]
    monkeypatch.setitem(sys.modules, package.partition(".")[0], None)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        RecipeError, match=rf"^--cluster {name} needs .*: pip install 'geoseg\[{KINDS[name].extra}\]'\.$"
    ):
        maker_of(recipe(cluster=name))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"cluster": "local", "scheduler": "tcp://a:1"}, "give one of them"),
        ({"cluster_options": {"cores": 1}}, "name its kind"),
        *[
            ({"scheduler": address}, f"--scheduler {address}: is no address of a Dask scheduler: give tcp://")
            for address in ("localhost", "127.0.0.1", "http://127.0.0.1:8786", "tcp://127.0.0.1", "tcp://:1")
        ],
        ({"cluster": "slrum"}, "--cluster slrum: expected 'local', 'slurm'"),
    ],
)
def test_what_is_no_cluster_is_one_line(more, said):
    with pytest.raises(RecipeError, match=said):
        Recipe.resolve(None, image=("a.tif",), **more)


@pytest.mark.parametrize(
    "address", ["localhost:8786", "tcp://[::1]:8786", "tls://host:8786", "ws://host:80/"]
)
def test_addresses_of_schedulers(address):
    assert Recipe.resolve(None, image=("a.tif",), scheduler=address).scheduler == address


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("queue=main,cores=4,memory=16GiB", {"queue": "main", "cores": 4, "memory": "16GiB"}),
        ("walltime=01:30:00, processes=false", {"walltime": "01:30:00", "processes": False}),
        ('worker_extra_args=["--resources","GPU=1"],cores=1', {"worker_extra_args": ["--resources", "GPU=1"], "cores": 1}),
        ('resources={"GPU": 1, "b": 2}', {"resources": {"GPU": 1, "b": 2}}),
        ("", {}),
    ],
)  # fmt: skip
def test_options_as_a_flag(text, table):
    assert _as_given("cluster_options", text) == table


def test_a_flag_that_is_no_option_is_one_line():
    with pytest.raises(RecipeError, match="'main' is no key=value"):
        _as_given("cluster_options", "main")


@pytest.mark.parametrize("error", [None, RuntimeError("broken"), KeyboardInterrupt()])
def test_a_cluster_is_let_go_however_the_run_ends(tmp_path, error, monkeypatch):
    made = []
    real = clusters.maker_of
    monkeypatch.setattr(clusters, "maker_of", lambda r: lambda **o: made.append(real(r)(**o)) or made[0])
    options = {**HERE, "n_workers": 2}
    with (
        pytest.raises(type(error)) if error else nullcontext(),
        Cluster(recipe(cluster="local", workers=1, cluster_options=options), folder=tmp_path) as own,
    ):
        assert own.client.submit(lambda: 7).result() == 7
        assert own.client is own.client, "one for the run"
        fractions = own.client.run(lambda dask_worker: dask_worker.memory_manager.memory_pause_fraction)
        assert list(fractions.values()) == [False], "one worker, as the recipe says, that never pauses"
        if error:
            raise error
    assert made[0].status == Status.closed
    assert own.client.status == "closed"


def test_a_cluster_that_nobody_asks_for_is_not_started(tmp_path, monkeypatch):
    monkeypatch.setattr(clusters, "maker_of", lambda recipe: pytest.fail("started"))
    with Cluster(recipe(cluster="slurm"), folder=tmp_path) as own:
        assert cluster.device_on(own, "cpu") == "cpu"


def test_a_run_that_is_asked_to_stop_does_not_wait_for_a_queue(tmp_path, monkeypatch):
    monkeypatch.setattr(clusters, "_LOOK_S", 0.1)
    monkeypatch.setattr(clusters, "is_asked", lambda: True)
    options = {**HERE, "n_workers": 0}
    with (
        Cluster(recipe(cluster="local", cluster_options=options), folder=tmp_path) as own,
        pytest.raises(Stopped, match="no block was begun"),
    ):
        own.client  # noqa: B018


def _waits(task: Task) -> BlockFailed:
    BEGUN.append(task.block.index)
    assert GO.wait(30)
    return BlockFailed(task.block.index, GeosegError("done"))


GO, BEGUN = threading.Event(), list[int]()


def test_blocks_that_wait_on_a_worker_are_left_when_the_run_is_asked_to_stop(tmp_path, monkeypatch):
    """More are in flight than run; only those that run are finished."""
    monkeypatch.setattr(cluster, "run_block", _waits)
    GO.clear()
    BEGUN.clear()
    with (
        stoppable(),
        Cluster(recipe(cluster="local", workers=2, cluster_options=HERE), folder=tmp_path) as own,
        ThreadPoolExecutor(1) as pool,
    ):
        ended = pool.submit(run_on, own, tasks_for("cpu", tmp_path, n=20), on_end=lambda _: None)
        wait_until(lambda: len(BEGUN) == 2, "both workers have a block")
        stopping._asked.set()  # as SIGTERM does; the lanes send one
        try:
            wait_until(lambda: not any(own.client.run(_shares).values()), "the workers are told")
        finally:
            GO.set()
        assert sorted(one.index for one in ended.result(30)) == sorted(BEGUN)
        assert len(BEGUN) == 2


def _shares(dask_worker: object) -> set[str]:
    return {name for name in dask_worker.plugins if name.startswith("geoseg-")} - {"geoseg-never-paused"}


def test_what_a_cluster_says_against_its_options_is_one_line(tmp_path):
    with (
        Cluster(recipe(cluster="local", cluster_options={"host": "192.0.2.1"}), folder=tmp_path) as own,
        pytest.raises(
            RecipeError, match=r"^The local cluster cannot be started: [^\n]+ See --cluster-options\.$"
        ),
    ):
        own.client  # noqa: B018


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:1", "tcp://localhost:1", "tcp://[::1]:1", "tls://192.0.2.1:1"]
)
def test_addresses_of_this_machine_and_of_tls_are_safe(address):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_plain(address)


def test_a_plain_address_elsewhere_is_warned_of():
    with pytest.warns(
        GeosegWarning, match=r"tcp://192\.0\.2\.1:8786 is neither encrypted nor authenticated.*tls://"
    ):
        warn_of_plain("tcp://192.0.2.1:8786")


def test_keys_are_for_their_owner_alone(tmp_path):
    security = keys_in(tmp_path)
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        "cert.pem": 0o600,
        "key.pem": 0o600,
    }
    assert security.require_encryption
    for role in ("client", "scheduler", "worker"):
        assert security.get_tls_config_for_role(role)["key"] == str(tmp_path / "key.pem")


def test_what_opens_a_cluster_is_not_written_down(tmp_path):
    image = write_image(tmp_path / "a.tif", smooth(1, (64, 64)), geobox_at(height=64, width=64))
    options = {"env": {"TOKEN": "planted"}}
    given = Recipe(image=(str(image),), model="spectral-rules", cluster="local", cluster_options=options)
    written = publish._resolved(plan_run(given, say=lambda _: None))
    assert "planted" not in written.model_dump_json()
    assert not written.is_on_cluster


def test_blocks_one_after_the_other_in_this_thread(monkeypatch):
    seen = []
    monkeypatch.setattr(
        cluster, "run_block", lambda task: seen.append((task.block.index, threading.current_thread()))
    )
    with dask_config.set(scheduler="synchronous"):
        run_here(tasks_for("cpu", n=5), workers=3, on_end=lambda _: None)
    assert sorted(n for n, _ in seen) == list(range(5))
    assert {thread for _, thread in seen} == {threading.current_thread()}
