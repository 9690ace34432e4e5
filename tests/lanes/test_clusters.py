"""The same job by each kind of scheduler that can be run here: the same bytes."""

import importlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dask
import numpy as np
import pytest
from builders import geobox_at, model_folder, smooth, write_image
from distributed.security import Security

from geoseg.errors import RecipeError
from geoseg.jobs import cluster, clusters
from geoseg.jobs.run import run
from geoseg.recipe import Recipe
from lanes.clusters import scheduler_in, workers
from lanes.gateway import gateway
from lanes.services import rasters, wait_until
from lanes.slurm import slurm

N_BLOCKS = 4 * 4
QUEUE = {
    "queue": "main",
    "cores": 1,
    "memory": "3GiB",
    "interface": "lo",
    "scheduler_options": {"host": "127.0.0.1"},
}
pytestmark = pytest.mark.lane


class Heard:
    """A listener that keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def start(self, stage: str, total: int) -> None:
        pass

    advance = block = lambda self, *_: None


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """An image with a hole, and a network whose tiles overlap; torch's last bits depend on its threads."""
    folder = tmp_path_factory.mktemp("scene")
    pixels = smooth(11, (200, 240))
    pixels[:, 80:120, 130:180] = np.nan
    image = write_image(folder / "scene.tif", pixels, geobox_at(3, 5, height=200, width=240))
    return {
        "image": (str(image),),
        "model": str(model_folder(folder / "model")),
        "threads": 1,
        "backend": "torch-eager",
    }


@pytest.fixture(scope="module")
def one_by_one(scene, tmp_path_factory) -> dict[str, bytes]:
    """The rasters by Dask's synchronous scheduler."""
    names = set()
    real = cluster.run_block

    def run_block(task):
        names.add(threading.current_thread().name)
        return real(task)

    with pytest.MonkeyPatch.context() as patch, dask.config.set(scheduler="synchronous"):
        patch.setattr(cluster, "run_block", run_block)
        out = tmp_path_factory.mktemp("here") / "map"
        made = rasters(run(Recipe(**scene, block_size=64, workers=2, out=str(out))).out)
    assert names == {"MainThread"}
    return made


def test_threads(scene, one_by_one, tmp_path):
    assert (
        rasters(run(Recipe(**scene, block_size=100, workers=2, out=str(tmp_path / "map"))).out) == one_by_one
    )


def test_two_processes(scene, one_by_one, tmp_path):
    heard = Heard()
    recipe = Recipe(**scene, block_size=100, cluster="local", workers=2, out=str(tmp_path / "map"))
    made = run(recipe, listener=heard)
    assert rasters(made.out) == one_by_one
    assert any(
        re.fullmatch(r"dashboard of the local cluster: http://127\.0\.0\.1:\d+/status", s) for s in heard.said
    )
    assert not [text for text in heard.said if text.startswith("warning")]


@contextmanager
def killing_one(folder: Path, kill) -> Iterator[list[int]]:
    """``kill`` is called when a few blocks are there; how many is noted."""
    seen: list[int] = []

    def strike() -> None:
        wait_until(lambda: len(list(folder.glob(".map.*.partial/parts/*.tif"))) >= 3, "blocks are made")
        seen.append(len(list(folder.glob(".map.*.partial/parts/*.tif"))))
        kill()

    thread = threading.Thread(target=strike)
    thread.start()
    yield seen
    thread.join()


def test_slurm_and_a_worker_that_is_cancelled(scene, one_by_one, tmp_path, monkeypatch):
    monkeypatch.setattr(clusters, "_MEND_MS", 500)
    with slurm(tmp_path / "slurm") as env:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        modes, addresses = set(), set()

        def jobs() -> list[str]:
            said = subprocess.run(["squeue", "-h", "-o", "%i"], capture_output=True, text=True, check=True)
            return said.stdout.split()

        def cancel() -> None:
            for folder in tmp_path.glob(".map.*.partial/parts/.keys-*"):
                modes.update(path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir()))
            script = subprocess.run(
                ["scontrol", "write", "batch_script", jobs()[0], "-"], capture_output=True, text=True
            )
            addresses.update(re.findall(r"(\w+)://127", script.stdout))
            subprocess.run(["scancel", jobs()[0]], check=True)

        options = {**QUEUE, "log_directory": str(tmp_path / "logs")}
        recipe = Recipe(
            **scene,
            block_size=64,
            cluster="slurm",
            cluster_options=options,
            workers=2,
            out=str(tmp_path / "map"),
        )
        nowhere = recipe.model_copy(update={"cluster_options": {**options, "queue": "nope"}})
        with pytest.raises(
            RecipeError, match="cannot be started: sbatch: error: invalid partition specified: nope"
        ):
            run(nowhere)
        with killing_one(tmp_path, cancel) as seen:
            made = run(recipe)
        assert seen[0] < N_BLOCKS / 2
        assert rasters(made.out) == one_by_one
        assert modes == {0o700, 0o600}
        assert addresses == {"tls"}
        wait_until(lambda: not jobs(), "the workers end with the run")
        assert not list(made.out.glob(".*"))


@pytest.fixture
def keys(tmp_path) -> dict[str, str]:
    return keys_in(tmp_path / "keys")


def keys_in(folder: Path) -> dict[str, str]:
    """Keys as Dask's configuration names them."""
    made = Security.temporary()
    folder.mkdir()
    (folder / "cert.pem").write_text(made.tls_ca_file)
    (folder / "key.pem").write_text(made.tls_client_key)
    roles = {
        f"distributed.comm.tls.{role}.{name}": str(folder / f"{name}.pem")
        for role in ("client", "scheduler", "worker")
        for name in ("cert", "key")
    }
    return {"distributed.comm.tls.ca-file": str(folder / "cert.pem"), **roles}


def test_tls(scene, one_by_one, keys, tmp_path, monkeypatch):
    """Keys are those of Dask's configuration; without them, or with others, it is one line."""
    folder = tmp_path / "dask"
    folder.mkdir()
    monkeypatch.setenv("DASK_CONFIG", str(tmp_path / "dask.yaml"))
    for key, path in keys.items():
        monkeypatch.setenv("DASK_" + key.upper().replace(".", "__").replace("-", "_"), path)
    with scheduler_in(folder, "--protocol", "tls") as (address, _), dask.config.set(keys):
        assert address.startswith("tls://")
        with workers(address, folder):
            out = tmp_path / "map"
            recipe = Recipe(**scene, block_size=100, scheduler=address, out=str(out))
            assert rasters(run(recipe).out) == one_by_one
            again = recipe.model_copy(update={"out": str(tmp_path / "none")})
            for other, said in (
                (keys_in(tmp_path / "other"), "certificate verify failed"),
                (dict.fromkeys(keys), "TLS expects"),
            ):
                with dask.config.set(other), pytest.raises(RecipeError, match=said) as told:
                    run(again)
                assert "\n" not in str(told.value)
                assert "distributed.comm.tls.ca-file" in str(told.value)
            plain = again.model_copy(update={"scheduler": address.replace("tls", "tcp")})
            with pytest.raises(RecipeError, match="if it wants TLS, give tls://"):
                run(plain)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dask", "keys", "map", "other"]


def test_gateway_and_a_worker_that_is_killed(scene, one_by_one, tmp_path, monkeypatch):
    recipe = Recipe(**scene, block_size=64, cluster="gateway", workers=2, out=str(tmp_path / "map"))
    struck: list[int] = []

    def strike() -> None:
        struck.extend([*made.processes("scheduler"), made.processes("worker")[0]])
        os.kill(struck[-1], signal.SIGKILL)

    with gateway(tmp_path / "gateway") as made:
        monkeypatch.setattr(sys, "path", [*sys.path, str(made.client)])
        importlib.import_module("dask_gateway")  # its defaults come with it
        wrong = made.config["gateway.auth.kwargs"] | {"password": "other"}
        with (
            dask.config.set(made.config | {"gateway.auth.kwargs": wrong}),
            pytest.raises(
                RecipeError, match="The gateway cluster cannot be started: 401, message='Unauthorized'"
            ),
        ):
            run(recipe)
        with (
            dask.config.set(made.config),
            killing_one(tmp_path, strike) as seen,
        ):
            heard = Heard()
            assert rasters(run(recipe, listener=heard).out) == one_by_one
        assert seen[0] < N_BLOCKS
        assert len(struck) == 2  # the scheduler, and a worker
        assert any(text.startswith("dashboard of the gateway cluster: http://") for text in heard.said)
        wait_until(
            lambda: not any(Path(f"/proc/{pid}").exists() for pid in struck), "the gateway ends the cluster"
        )
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_run_that_is_asked_to_stop_or_interrupted_leaves_no_workers(scene, tmp_path):
    for sign, code in ((signal.SIGTERM, 0), (signal.SIGINT, 130)):
        out = tmp_path / f"map{code}"
        args = ["predict", "--image", scene["image"][0], "--model", scene["model"], "--block-size", "64"]
        args += ["--cluster", "local", "--workers", "2", "--out", str(out)]
        process = subprocess.Popen([sys.executable, "-m", "geoseg", *args], stderr=subprocess.PIPE, text=True)
        wait_until(lambda: bool(list(tmp_path.glob(f".{out.name}.*.partial/parts/*.tif"))), "a block is made")  # noqa: B023
        own = children_of(process.pid)
        assert len(own) >= 2
        process.send_signal(sign)
        said = process.communicate(timeout=60)[1]
        assert process.returncode == code, said
        assert "Traceback" not in said
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in own), "the workers end")  # noqa: B023


def children_of(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(word) for word in found.stdout.split()]
