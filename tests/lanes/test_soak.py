"""A job that is struck again and again, at random moments, in every way that machines fail: its map is the same bytes.

GEOSEG_SOAK_KILLS says how many blows (10), GEOSEG_SOAK_SEED which ones.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from builders import geobox_at, model_folder, smooth, write_image

from lanes.clusters import Cluster, cluster
from lanes.nginx import Nginx, nginx
from lanes.services import GEOSEG, one_line, rasters, stop

pytestmark = pytest.mark.lane

N_KILLS = int(os.environ.get("GEOSEG_SOAK_KILLS", "10"))
SEED = int(os.environ.get("GEOSEG_SOAK_SEED", "0")) or random.randrange(1, 10**6)
N_BLOCKS = 5 * 6
_ROOM_MB = 32
_LONGEST_S = 240
_MOST_TRIES = 3
"""Blows that come when the run has ended are dealt again."""


@dataclass
class Job:
    """A map that is made again and again."""

    folder: Path
    """A small file system of its own, which can be filled."""
    recipe: Path
    site: Nginx

    @property
    def out(self) -> Path:
        return self.folder / "map"

    def start(self, *more: str) -> subprocess.Popen[str]:
        """``geoseg run``, as the user would type it once more."""
        command = [str(GEOSEG), "run", str(self.recipe), "--quiet", *more]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def n_noted(self) -> int:
        """Blocks that stand in the journal of a run that goes on, or was struck."""
        return sum(path.read_bytes().count(b"\n") for path in self.folder.glob(".map.*/journal.jsonl"))

    def kept(self) -> list[int | None]:
        """Blocks that each run since the last map took over; None for those that did not come so far."""
        logs = [*self.folder.glob(".map.*/log.jsonl"), *self.folder.glob("map/log.jsonl")]
        kept: list[int | None] = []
        for line in logs[0].read_text().splitlines() if logs else ():
            with suppress(ValueError):  # cut short
                event = json.loads(line)
                if event["event"] == "began":
                    kept.append(None)
                elif event["event"] == "block" and kept[-1] is None:
                    kept[-1] = event["n_kept"]
        return kept


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """A web server with one image that has a hole."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "www").mkdir()
    pixels = smooth(11, (300, 340))
    pixels[:, 100:140, 180:260] = np.nan
    write_image(folder / "www" / "scene.tif", pixels, geobox_at(3, 5, height=300, width=340))
    with nginx(folder / "www", folder) as server:
        yield server


@pytest.fixture(scope="module")
def job(site: Nginx, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    folder = tmp_path_factory.mktemp("job")
    room = folder / "room"
    room.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_ROOM_MB}m", "tmpfs", str(room)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a small file system to fill cannot be mounted here: that needs root and CAP_SYS_ADMIN")
    model = model_folder(folder / "model")
    recipe = folder / "soak.toml"
    facts = {
        "image": [site.url("outage", "scene.tif")],
        "model": str(model),
        "out": str(room / "map"),
        "block_size": 64,
        "backend": "torch-eager",
        "threads": 1,
    }
    recipe.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in facts.items()))
    try:
        yield Job(room, recipe, site)
    finally:
        subprocess.run(["umount", str(room)], check=False)


@pytest.fixture(scope="module")
def unbroken(job: Job) -> dict[str, bytes]:
    """The rasters of a run that nobody strikes."""
    out = job.folder.parent / "unbroken"
    ran = job.start("--out", str(out))
    _, errors = ran.communicate(timeout=_LONGEST_S)
    assert (ran.returncode, errors) == (0, "")
    return rasters(out)


# --- blows ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Blow:
    """One way to be struck."""

    is_on_cluster: bool
    codes: tuple[int, ...]
    """How the run that is struck may end."""
    strike: Callable[[Job, subprocess.Popen[str], Cluster | None], None]
    mend: Callable[[Job], None] = lambda job: None


def _kill_client(job: Job, client: subprocess.Popen[str], cluster: Cluster | None) -> None:
    client.kill()


def _kill_worker(job: Job, client: subprocess.Popen[str], cluster: Cluster | None) -> None:
    cluster.workers[0].kill()


def _kill_scheduler(job: Job, client: subprocess.Popen[str], cluster: Cluster | None) -> None:
    cluster.scheduler.kill()


def _ask(job: Job, client: subprocess.Popen[str], cluster: Cluster | None) -> None:
    client.send_signal(signal.SIGTERM)


def _server_down(job: Job, client: subprocess.Popen[str], cluster: Cluster | None) -> None:
    job.site.flag.touch()
    time.sleep(3)
    job.site.flag.unlink()


def _fill(job: Job, client: subprocess.Popen[str], cluster: Cluster | None) -> None:
    with (job.folder / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def _make_room(job: Job) -> None:
    (job.folder / "filler").unlink(missing_ok=True)


BLOWS = {
    "client_killed": Blow(False, (-9, 0), _kill_client),
    "client_on_the_cluster_killed": Blow(True, (-9, 0), _kill_client),
    "worker_killed": Blow(True, (0,), _kill_worker),
    "scheduler_killed": Blow(True, (0, 2), _kill_scheduler),
    "asked_to_stop": Blow(False, (0, -15), _ask),
    "server_down": Blow(False, (0, 2), _server_down),
    "disk_full": Blow(False, (0, 2), _fill, _make_room),
}


@contextmanager
def _cluster_if(is_wanted: bool, folder: Path) -> Iterator[Cluster | None]:
    with ExitStack() as stack:
        yield stack.enter_context(cluster(folder)) if is_wanted else None


def _moment(random_: random.Random, job: Job, client: subprocess.Popen[str]) -> None:
    """Wait until a random one: some blocks are done, or any time from the start."""
    if random_.random() < 0.7:
        n_before, n_more = job.n_noted(), random_.randrange(N_BLOCKS + 1)
        while client.poll() is None and job.n_noted() < min(n_before + n_more, N_BLOCKS):
            time.sleep(0.002)
        time.sleep(random_.random() * 0.2)
        return
    until = time.monotonic() + random_.random() * 15
    while client.poll() is None and time.monotonic() < until:
        time.sleep(0.01)


def _struck(job: Job, name: str, random_: random.Random, folder: Path) -> bool:
    """Strike one run; whether it was still there to be struck."""
    blow = BLOWS[name]
    with _cluster_if(blow.is_on_cluster, folder) as running:
        client = job.start(*(["--scheduler", running.address] if running else []))
        try:
            _moment(random_, job, client)
            is_there = client.poll() is None
            striking = threading.Thread(target=blow.strike, args=(job, client, running))
            striking.start()
            _, errors = client.communicate(timeout=_LONGEST_S)
            striking.join()
        finally:
            stop(client)
            blow.mend(job)
    assert client.returncode in blow.codes, f"{name}: {client.returncode}: {errors}"
    if client.returncode == 2:
        # libtiff prints by itself in threads of GDAL's that write COGs.
        one_line("".join(line for line in errors.splitlines(True) if not line.startswith("_tiff")))
    assert "Traceback" not in errors, f"{name}: {errors}"
    return is_there


def _assert_sound(job: Job) -> None:
    """What a blow leaves: a whole map or none, and of each block in the journal its whole part."""
    if (manifest := job.out / "manifest.json").exists():
        for name, facts in json.loads(manifest.read_text())["files"].items():
            assert sha256((job.out / name).read_bytes()).hexdigest() == facts["sha256"], name
    for journal in job.folder.glob(".map.*/journal.jsonl"):
        if (journal.parent / "manifest.json").exists():
            continue  # the map is whole and about to be moved
        for line in journal.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                entry = json.loads(line)
                part = journal.parent / "parts" / entry["done"]["part"]
                assert sha256(part.read_bytes()).hexdigest() == entry["sha256"]


def _assert_same(job: Job, unbroken: dict[str, bytes]) -> None:
    assert rasters(job.out) == unbroken
    lines = [json.loads(line) for line in (job.out / "journal.jsonl").read_text().splitlines()]
    indices = Counter(line["done"]["index"] for line in lines)
    assert indices == Counter(range(N_BLOCKS)), "no block is lost, none there twice"
    assert sorted(path.name for path in job.folder.iterdir()) == ["map"], "nothing is left over"
    assert not [path for path in job.out.iterdir() if path.name.startswith(".") or path.suffix == ".tmp"]


def test_a_map_that_is_struck_again_and_again_is_the_same_bytes(
    job: Job, unbroken: dict[str, bytes], tmp_path: Path
) -> None:
    random_ = random.Random(SEED)
    rounds = [random_.sample(sorted(BLOWS), len(BLOWS)) for _ in range(-(-N_KILLS // len(BLOWS)))]
    blows = [name for names in rounds for name in names][:N_KILLS]
    print(f"\nGEOSEG_SOAK_KILLS={N_KILLS} GEOSEG_SOAK_SEED={SEED}")
    for n in range(_MOST_TRIES * N_KILLS):
        if not blows:
            break
        if (job.out / "manifest.json").exists():
            shutil.rmtree(job.out)
        name, n_noted, n_begun = blows.pop(0), job.n_noted(), len(job.kept())
        was_there = _struck(job, name, random_, tmp_path / f"cluster{n}")
        _assert_sound(job)
        for n_kept in job.kept()[n_begun:]:
            assert n_kept is None or n_kept >= n_noted, f"{name}: {n_noted} were done, {n_kept} were kept"
        print(f"{name}: {n_noted} blocks before, {job.n_noted()} after{'' if was_there else ', too late'}")
        if not was_there:
            blows.append(name)
        if not blows or (job.out / "manifest.json").exists():
            _end(job, unbroken)
    assert not blows


def _end(job: Job, unbroken: dict[str, bytes]) -> None:
    ended = job.start()
    _, errors = ended.communicate(timeout=_LONGEST_S)
    assert (ended.returncode, errors) == (0, "")
    _assert_same(job, unbroken)
    print("the same bytes")
