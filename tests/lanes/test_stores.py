"""Maps and parts in object storage, on a real S3 server: the bytes of those on disk, whatever is killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from builders import BANDS, geobox_at, smooth, write_image
from obstore.store import S3Store

from geoseg.errors import OutputError
from geoseg.jobs import store as store_module
from geoseg.jobs.run import run
from geoseg.recipe import Recipe
from lanes.conftest import RULES
from lanes.moto import moto, put
from lanes.services import GEOSEG, free_ports, geoseg, listens, one_line, rasters, running, stop, wait_until

pytestmark = pytest.mark.lane

SECRET = "very-secret-key"
KEYS = {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}
NAME, SIDE, BLOCK = "scene.tif", 512, 96
N_BLOCKS = 36


class Server:
    """The S3 server of these tests."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.endpoint = folder, f"http://127.0.0.1:{port}"
        self.host = f"127.0.0.1:{port}"
        self.objects = S3Store(
            "maps",
            endpoint=self.endpoint,
            client_options={"allow_http": True},
            access_key_id="me",
            secret_access_key=SECRET,
            region="us-east-1",
        )

    def names(self, prefix: str) -> set[str]:
        found = [one["path"] for some in self.objects.list(prefix) for one in some]
        return {name.removeprefix(f"{prefix}/") for name in found}

    def rasters(self, prefix: str) -> dict[str, bytes]:
        return {name: self.read(f"{prefix}/{name}") for name in ("class.tif", "confidence.tif")}

    def read(self, name: str) -> bytes:
        return bytes(self.objects.get(name).bytes())

    def signal(self, number: int) -> None:
        os.kill(int((self.folder / "moto.pid").read_text()), number)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("stores")
    with moto(folder) as port:
        made = Server(folder, port)
        for bucket in ("maps", "imagery"):
            put(f"{made.endpoint}/{bucket}")
        scene = write_image(folder / NAME, smooth(3, (SIDE, SIDE)), geobox_at(height=SIDE, width=SIDE))
        put(f"{made.endpoint}/imagery/{NAME}", scene.read_bytes())
        yield made


@pytest.fixture
def s3(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    """This process' environment leads to the server, as AWS's own programs have it."""
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": server.endpoint}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return server


@pytest.fixture(scope="module")
def whole(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The rasters made from disk on disk."""
    out = tmp_path_factory.mktemp("whole") / "map"
    ran = geoseg("predict", "-q", *image(f"{server.folder}/"), "--out", out)
    assert (ran.code, ran.stderr) == (0, "")
    return rasters(out)


def image(base: str, *, block: int = BLOCK) -> list[str]:
    return ["--image", f"{base}{NAME}", "--bands", ",".join(BANDS), *RULES, "--block-size", str(block)]


def recipe(server: Server, **keys: object) -> Recipe:
    return Recipe(
        image=(f"{server.folder}/{NAME}",),
        bands=BANDS,
        model="spectral-rules",
        block_size=BLOCK,
        **keys,
    )


def texts_of(folder: Path) -> str:
    return "".join(p.read_bytes().decode("latin-1") for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("words", ["aws", "gdal"])
def test_from_s3_by_s3_to_s3_are_the_bytes_of_disk(words, s3, whole, monkeypatch, tmp_path):
    if words == "gdal":
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        for name, value in {
            "AWS_S3_ENDPOINT": s3.host,
            "AWS_HTTPS": "NO",
            "AWS_VIRTUAL_HOSTING": "FALSE",
        }.items():
            monkeypatch.setenv(name, value)
    from_s3 = image("s3://imagery/", block=256)
    ran = geoseg("predict", *from_s3, "--out", f"s3://maps/{words}/one", "--store", "s3://maps/scratch")
    assert ran.code == 0, ran.stderr
    assert f"report are in s3://maps/{words}/one/" in ran.stderr
    assert s3.rasters(f"{words}/one") == whole
    names = s3.names(f"{words}/one")
    assert set(json.loads(s3.read(f"{words}/one/manifest.json"))["files"]) | {"manifest.json"} == names
    assert not s3.names("scratch")
    everything = b"".join(s3.read(f"{words}/one/{name}") for name in names).decode("latin-1")
    assert SECRET not in everything + ran.stdout + ran.stderr + texts_of(tmp_path)


def test_killed_it_goes_on_on_another_machine(s3, whole, monkeypatch, tmp_path):
    """kill -9 of the client; then another home, and parts in the bucket that are damaged."""
    out = "s3://maps/killed/map"
    args = ["predict", *image(f"{s3.folder}/"), "--out", out, "--resume"]
    command = [str(GEOSEG), *args]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(s3.names("killed/map/.parts")) >= 12 or process.poll() is not None, "parts come")
    process.kill()
    process.wait()
    assert "manifest.json" not in s3.names("killed/map")
    parts = "killed/map/.parts/"
    notes = sorted(name for name in s3.names("killed/map/.parts") if name.endswith(".tif.json"))
    assert 5 <= len(notes) < N_BLOCKS, "it was killed in the middle"
    for damage, note in zip((lambda b: b[:50], lambda b: b[::-1]), notes, strict=False):
        name = parts + note.removesuffix(".json")
        s3.objects.put(name, damage(s3.read(name)))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    ran = geoseg(*args)
    assert f"{len(notes) - 2} of {N_BLOCKS} blocks are there from a run before" in ran.stderr
    assert s3.rasters("killed/map") == whole
    assert not any(name.startswith(".parts") for name in s3.names("killed/map"))


def test_an_outage_is_waited_for(s3, whole, tmp_path):
    """The server does not answer for three seconds in the middle."""

    def stop_and_go() -> None:
        wait_until(lambda: len(s3.names("outage")) >= 10, "parts come")
        s3.signal(signal.SIGSTOP)
        time.sleep(3)
        s3.signal(signal.SIGCONT)

    thread = threading.Thread(target=stop_and_go)
    thread.start()
    out = run(recipe(s3, out=str(tmp_path / "map"), store="s3://maps/outage")).out
    thread.join()
    assert rasters(out) == whole


def test_a_server_that_is_lost_is_said_and_the_next_run_goes_on(tmp_path, whole, server, monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(store_module, "_PATIENCE", {"max_retries": 1})
    keys = {"out": str(tmp_path / "map"), "store": "s3://maps/parts"}
    with moto(tmp_path) as port:
        own = Server(tmp_path, port)
        put(f"{own.endpoint}/maps")
        monkeypatch.setenv("AWS_ENDPOINT_URL", own.endpoint)

        def kill() -> None:
            wait_until(lambda: len(own.names("parts")) >= 10, "parts come")
            own.signal(signal.SIGKILL)

        thread = threading.Thread(target=kill)
        thread.start()
        store_module.connect.cache_clear()
        with pytest.raises(OutputError, match=r"^s3://maps/parts cannot be \w+: its server [^\n]*$"):
            run(recipe(server, **keys))
        thread.join()
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    store_module.connect.cache_clear()
    assert rasters(run(recipe(server, **keys, resume=True)).out) == whole
    store_module.connect.cache_clear()


@contextmanager
def cluster(folder: Path, workers: list[dict[str, str]], *, before: tuple[str, ...] = ()) -> Iterator[str]:
    """The address of a Dask scheduler with a worker for each environment, each in a folder of its own."""
    (port,) = free_ports(1)
    address, dask = f"tcp://127.0.0.1:{port}", [sys.executable, "-m", "dask"]
    scheduler = [*dask, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    with running(scheduler, log=folder / "scheduler.log", ready=lambda: listens(port)), ExitStack() as stack:
        for n, env in enumerate(workers):
            home = folder / f"worker{n}"
            home.mkdir()
            command = [*before, *dask, "worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
            command += ["--host", "127.0.0.1", "--local-directory", str(home)]
            own = {**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(home), "TMPDIR": str(home), **env}
            log = folder / f"worker{n}.log"
            with log.open("wb") as file:
                process = subprocess.Popen(command, stdout=file, stderr=file, cwd=home, env=own)
            stack.callback(stop, process)
            wait_until(lambda log=log: b"Registered to" in log.read_bytes(), f"{log} registers")
        yield address


BLIND = (
    "setpriv",
    "--bounding-set=-dac_override,-dac_read_search",
    "--inh-caps=-dac_override,-dac_read_search",
)
"""Root without its right to enter every folder (capabilities(7))."""


@pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can start workers that do not see a folder of others"
)
def test_workers_that_do_not_see_the_output_folder_make_the_map(s3, whole, tmp_path):
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    os.chown(private, 65534, 65534)
    args = ["predict", "-q", *image("s3://imagery/", block=256), "--out", private / "map"]
    with cluster(tmp_path, [{}, {}], before=BLIND) as address:
        ran = geoseg(*args, "--scheduler", address)
        assert "2 of 2 workers" in one_line(ran.stderr)
        assert "--store s3://bucket/folder" in ran.stderr
        ran = geoseg(*args, "--scheduler", address, "--store", "s3://maps/cluster")
    assert (ran.code, ran.stderr) == (0, "")
    assert SECRET not in texts_of(tmp_path)
    assert rasters(private / "map") == whole
    assert not s3.names("cluster")


def test_a_worker_that_cannot_write_is_said_before_the_run(s3, tmp_path):
    with cluster(tmp_path, [{}, {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}]) as address:
        ran = geoseg(
            *("predict", "-q", *image(f"{s3.folder}/"), "--scheduler", address),
            *("--out", "s3://maps/blind/map"),
        )
    assert ran.code == 2
    line = one_line(ran.stderr)
    assert "1 of 2 workers cannot leave parts in the store (first tcp://" in line
    assert "its server refuses connections" in line
    assert not any(name.endswith(".tif") for name in s3.names("blind")), "no block was begun"
