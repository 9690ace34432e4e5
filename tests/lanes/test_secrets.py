"""Nothing that opens anything is written down: a planted token is in no file and in nothing that is printed."""

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import rasterio
from rasterio.warp import transform_bounds

from lanes.conftest import make_big
from lanes.services import GEOSEG, Ran, geoseg, rasters, wait_until
from lanes.test_signatures import BANDS, Store

pytestmark = pytest.mark.lane

TOKEN = "t0kenT0KENt0ken"


class Open(Store):
    """Gives files to everybody, until it has had enough."""

    def is_good(self, query: dict[str, list[str]]) -> bool:
        return "sig" not in query or self.deny_at is None or self.answers[206] < self.deny_at


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    make_big(folder / "big.tif", 768)
    return folder


@pytest.fixture
def server(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    with Open(root) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        for name in (
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "EARTHDATA_TOKEN",
            "PC_SDK_SUBSCRIPTION_KEY",
        ):
            monkeypatch.setenv(name, TOKEN)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", TOKEN)
        monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
        monkeypatch.setenv("MY_HOOK", f"{host(server).replace('http', 'json')}/hook/{TOKEN}")
        write_items(root, server)
        yield server
        server.shutdown()


def host(server: Open) -> str:
    return f"http://me:{TOKEN}@127.0.0.1:{server.server_port}"


def write_items(root: Path, server: Open) -> None:
    with rasterio.open(root / "big.tif") as big:
        west, south, east, north = transform_bounds(big.crs, "EPSG:4326", *big.bounds)
        proj = {
            "proj:code": "EPSG:32725",
            "proj:shape": [*big.shape],
            "proj:transform": list(big.transform)[:6],
        }
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    bands = [{"name": name, "common_name": name} for name in BANDS]
    raster = [{"data_type": "uint16", "nodata": 0, "scale": 0.0001}] * 4
    asset = {"type": "image/tiff", "roles": ["data"], "eo:bands": bands, "raster:bands": raster, **proj}
    address = f"{host(server)}/c/big.tif?sig={TOKEN}#{TOKEN}"
    item = {
        "type": "Feature", "stac_version": "1.0.0", "stac_extensions": [], "id": "big", "collection": "c",
        "geometry": {"type": "Polygon", "coordinates": [ring]}, "bbox": [west, south, east, north],
        "properties": {"datetime": "2024-07-01T00:00:00Z"}, "assets": {"all": asset | {"href": address}},
        "links": [{"rel": "self", "href": f"{host(server)}/c/item.json?sig={TOKEN}"}],
    }  # fmt: skip
    (root / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))


def asked(server: Open, what: str, out: Path) -> list[str]:
    """Arguments of a run with a token wherever one may be."""
    common = ["--model", "spectral-rules", "--block-size", "256", "--out", str(out), "--tries", "1"]
    common += [
        "--notify",
        f"{host(server).replace('http', 'json')}/hook?x={TOKEN}",
        "--notify",
        "env:MY_HOOK",
    ]
    if what == "image":
        address = f"{host(server)}/c/big.tif?sig={TOKEN}"
        return ["predict", "--image", address, "--bands", ",".join(BANDS), *common]
    with rasterio.open(server.root / "big.tif") as big:
        west, south, east, north = transform_bounds(big.crs, "EPSG:4326", *big.bounds)
    area = f"{west + 0.001},{south + 0.001},{east - 0.001},{north - 0.001}"
    catalog = f"{host(server)}/items.json?key={TOKEN}"
    return [
        "predict",
        f"--bbox={area}",
        "--catalog",
        catalog,
        "--datetime",
        "2024",
        "--min-coverage",
        "0.9",
        *common,
    ]


def clean(ran: Ran, folder: Path) -> Ran:
    """Checked: nothing of the token in what was printed and written."""
    assert TOKEN not in ran.stdout + ran.stderr, ran.stdout + ran.stderr
    look(folder)
    return ran


def look(folder: Path) -> None:
    for path in folder.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path
        assert TOKEN not in path.name


@pytest.mark.parametrize("what", ["catalog", "image"])
def test_runs_that_end_well_fail_and_go_on_hold_no_secret(server: Open, what: str, tmp_path: Path) -> None:
    made = clean(geoseg(*asked(server, what, tmp_path / "good" / "map")), tmp_path / "good")
    assert made.code == 0, made.stderr
    assert made.stderr.count("could not be told") == 2, "the notifications were tried, and failed"
    n_reads = server.answers[206]
    server.deny_at = n_reads * 3 // 2
    args = asked(server, what, tmp_path / "bad" / "map")
    failed = clean(geoseg(*args), tmp_path / "bad")
    assert failed.code == 2, failed.stderr
    assert "cannot be read" in failed.stderr
    assert list((tmp_path / "bad").glob(".map.*.partial/journal.jsonl")), "some blocks were done"
    for command in ("status", "logs"):
        clean(geoseg(command, tmp_path / "bad" / "map"), tmp_path / "bad")

    if what == "catalog":
        server.deny_at = server.answers[206] + n_reads // 3
        skipped = clean(geoseg(*args, "--on-missing", "skip", "--resume"), tmp_path / "bad")
        assert "cannot be read" in skipped.stderr
    server.deny_at = None
    again = clean(geoseg(*args, "--resume"), tmp_path / "bad")
    assert again.code == 0, again.stderr
    assert rasters(tmp_path / "bad" / "map") == rasters(tmp_path / "good" / "map")


def test_a_run_that_is_killed_leaves_no_secret(server: Open, tmp_path: Path) -> None:
    server.slow_s = 0.1
    args = asked(server, "catalog", tmp_path / "map")
    with subprocess.Popen(
        [GEOSEG, *args], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_until(lambda: bool(list(tmp_path.glob(".map.*.partial/journal.jsonl"))), "a block is done")
        finally:
            process.kill()
        out, errors = process.communicate()
    assert TOKEN not in out + errors
    assert list(tmp_path.glob(".map.*.partial/*")), "there is something to look at"
    look(tmp_path)
    server.slow_s = 0.0
    assert clean(geoseg(*args, "--resume"), tmp_path).code == 0


def test_a_catalog_that_refuses_or_is_not_there_is_named_without_its_secrets(
    server: Open, tmp_path: Path
) -> None:
    for catalog in (
        f"{host(server)}/none.json?key={TOKEN}",
        f"http://me:{TOKEN}@127.0.0.1:9/items.json?key={TOKEN}",
    ):
        ran = clean(
            geoseg("predict", "--bbox=0,0,1,1", "--catalog", catalog, "--out", tmp_path / "map"), tmp_path
        )
        assert ran.code == 2
        assert "Traceback" not in ran.stderr
