"""Imagery from servers that misbehave: the same map, or one clear line and nothing left behind."""

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lanes.conftest import RULES, SAMPLE, asked
from lanes.nginx import Nginx
from lanes.services import GEOSEG, geoseg, one_line, rasters, wait_until

pytestmark = pytest.mark.lane

LONGER_THAN_GDAL_TRIES_S = 14
DEAD_IN_S = 150
"""60 s of patience at most, and the start of five processes at once on a busy machine."""


@pytest.fixture(scope="module")
def good(site: Nginx, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """The rasters made over the good server, by what was read; and a look at how it was read."""
    folder = tmp_path_factory.mktemp("good")
    made = {}
    for what in ("items", "image"):
        ran = geoseg("predict", "-q", *asked(site.url("good"), what, folder), "--out", folder / what)
        assert ran.code == 0, ran.stderr
        made[what] = rasters(folder / what)
    assert site.statuses("good")["206"] > 100  # the made COG is read in many parts
    return made


@pytest.mark.parametrize(
    ("kind", "what", "trouble"),
    [
        ("flaky", "items", "503"),
        ("flaky", "image", "503"),
        ("dropping", "items", "444"),
        ("dropping", "image", "444"),
        ("limited", "items", "429"),
        ("limited", "image", "429"),
        ("slow", "items", None),
        ("no_ranges", "items", None),
        ("no_ranges", "image", None),
    ],
)
def test_a_bad_server_makes_the_same_map(
    site: Nginx, good: dict[str, Any], kind: str, what: str, trouble: str | None, tmp_path: Path
) -> None:
    ran = geoseg("predict", "-q", *asked(site.url(kind), what, tmp_path), "--out", tmp_path / "map")
    print(f"{kind} {what}: {ran.seconds} s, statuses so far {site.statuses(kind)}")
    assert ran.code == 0, ran.stderr
    assert ran.stderr == ""
    assert rasters(tmp_path / "map") == good[what]
    if trouble:
        assert site.statuses(kind)[trouble] > 0


def test_pixels_that_must_be_warped_are_as_patient(site: Nginx, tmp_path: Path) -> None:
    made = []
    for kind in ("good", "dropping"):
        args = asked(site.url(kind), "items", tmp_path)
        ran = geoseg("predict", "-q", *args, "--gsd", "20", "--crs", "utm", "--out", tmp_path / kind)
        assert ran.code == 0, ran.stderr
        made.append(rasters(tmp_path / kind))
    assert made[0] == made[1]


@pytest.mark.parametrize("kind", ["flaky", "dropping", "limited"])
def test_a_catalog_on_a_bad_server_is_read(
    site: Nginx, good: dict[str, Any], kind: str, tmp_path: Path
) -> None:
    catalog = site.url(kind, "sample/catalog.json")
    args = ["--aoi", SAMPLE / "area.geojson", "--catalog", catalog, "--datetime", "2001", *RULES]
    ran = geoseg("predict", "-q", *args, "--out", tmp_path / "map")
    print(f"catalog {kind}: {ran.seconds} s")
    assert (ran.code, ran.stderr) == (0, "")
    assert rasters(tmp_path / "map") == good["items"]


def test_an_outage_from_the_start_is_waited_for(site: Nginx, good: dict[str, Any], tmp_path: Path) -> None:
    site.flag.touch()
    timer = threading.Timer(LONGER_THAN_GDAL_TRIES_S, site.flag.unlink)
    timer.start()
    ran = geoseg("predict", "-q", *asked(site.url("outage"), "items", tmp_path), "--out", tmp_path / "map")
    timer.join()
    print(f"outage from the start: {ran.seconds} s, {site.statuses('outage')}")
    assert ran.code == 0, ran.stderr
    assert ran.seconds > LONGER_THAN_GDAL_TRIES_S
    assert rasters(tmp_path / "map") == good["items"]


def test_an_outage_in_the_middle_is_waited_for(site: Nginx, good: dict[str, Any], tmp_path: Path) -> None:
    served = site.statuses("outage").get("206", 0)
    args = [*asked(site.url("outage"), "image", tmp_path), "--out", str(tmp_path / "map")]
    started = time.monotonic()
    with subprocess.Popen([GEOSEG, "predict", "-q", *args], stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: site.statuses("outage").get("206", 0) > served + 30, "the run reads")
            site.flag.touch()
            refused = site.statuses("outage").get("503", 0)
            time.sleep(LONGER_THAN_GDAL_TRIES_S)
            assert site.statuses("outage").get("503", 0) > refused
            site.flag.unlink()
            _, errors = process.communicate(timeout=180)
        finally:
            site.flag.unlink(missing_ok=True)
            process.kill()
    print(f"outage in the middle: {time.monotonic() - started:.1f} s, {site.statuses('outage')}")
    assert process.returncode == 0, errors
    assert rasters(tmp_path / "map") == good["image"]


@pytest.fixture
def hung() -> Iterator[str]:
    """The address of a server that takes connections and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unused.getsockname()[1]}/"


def test_a_dead_server_ends_with_one_line_and_no_file(
    site: Nginx, hung: str, nobody: str, tmp_path: Path
) -> None:
    bases = {"down": site.url("down"), "silent": site.url("silent"), "hung": hung, "nobody": nobody}
    reasons = {"down": "503", "silent": "Empty reply", "hung": "", "nobody": "Could not connect"}
    cases = [*((kind, "items") for kind in bases), ("silent", "image")]

    def run(case: tuple[str, str]) -> Any:
        kind, what = case
        folder = tmp_path / kind / what
        folder.mkdir(parents=True)
        return geoseg("predict", "-q", *asked(bases[kind], what, folder), "--out", folder / "made" / "map")

    with ThreadPoolExecutor(len(cases)) as pool:  # they mostly wait
        for (kind, what), ran in zip(cases, pool.map(run, cases), strict=True):
            print(f"{kind} {what}: {ran.seconds} s: {ran.stderr.strip()}")
            assert ran.code == 2, ran.stderr
            assert reasons[kind] in one_line(ran.stderr)
            assert bases[kind] in ran.stderr
            assert ran.seconds < DEAD_IN_S
            left = [p for p in (tmp_path / kind / what).rglob("*") if p.is_file()]
            assert [p.name for p in left] == (["items.json"] if what == "items" else [])
            assert not list((tmp_path / kind / what).rglob("*.partial"))


def test_a_file_that_is_not_there_is_said_at_once(site: Nginx, tmp_path: Path) -> None:
    ran = geoseg(
        "predict", "-q", "--image", site.url("good", "none.tif?sig=secret"), "--out", tmp_path / "map"
    )
    assert ran.code == 2
    assert "none.tif cannot be read: HTTP response code: 404" in one_line(ran.stderr)
    assert "secret" not in ran.stderr
    assert ran.seconds < 40
