"""Imagery from object storage: a real S3 server, read as GDAL and the user's environment have it."""

import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from lanes.conftest import SAMPLE, asked, make_big
from lanes.services import IS_CI, free_ports, geoseg, listens, one_line, rasters, running

pytestmark = pytest.mark.lane

VENV = Path(os.environ.get("GEOSEG_MOTO_VENV", "/tmp/geoseg-moto-venv"))
BUCKET = "imagery"
SECRET = "very-secret-key"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``s3://bucket/`` with the sample catalog and a made COG; this process' environment leads there."""
    program = VENV / "bin" / "moto_server"
    if not program.exists():
        text = f"no moto in {VENV}: .ci/lane-venvs makes it"
        pytest.fail(text) if IS_CI else pytest.skip(text)
    folder = tmp_path_factory.mktemp("s3")
    (port,) = free_ports(1)
    command = [str(program), "-H", "127.0.0.1", "-p", str(port)]
    with (
        running(command, log=folder / "moto.log", ready=lambda: listens(port)),
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in {
            "AWS_S3_ENDPOINT": f"127.0.0.1:{port}",
            "AWS_HTTPS": "NO",
            "AWS_VIRTUAL_HOSTING": "FALSE",
            "AWS_ACCESS_KEY_ID": "me",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        base = f"http://127.0.0.1:{port}/{BUCKET}"
        put(base)
        for path in SAMPLE.rglob("*.tif"):
            put(f"{base}/sample/{path.relative_to(SAMPLE)}", path.read_bytes())
        make_big(folder / "big.tif")
        put(f"{base}/big.tif", (folder / "big.tif").read_bytes())
        yield f"s3://{BUCKET}/"


def put(url: str, content: bytes = b"") -> None:
    headers = {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request(url, content, headers, method="PUT")
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("what", ["items", "image"])
def test_a_map_from_s3_has_the_bytes_of_one_from_disk(s3: str, what: str, tmp_path: Path) -> None:
    make_big(tmp_path / "big.tif")
    (tmp_path / "sample").symlink_to(SAMPLE)
    made = []
    for name, base in (("disk", f"{tmp_path}/"), ("s3", s3)):
        ran = geoseg("predict", "-q", *asked(base, what, tmp_path), "--out", tmp_path / name)
        assert (ran.code, ran.stderr) == (0, "")
        made.append(rasters(tmp_path / name))
    assert made[0] == made[1]
    texts = [p.read_text() for p in (tmp_path / "s3").glob("*.*ml")] + [
        p.read_text() for p in (tmp_path / "s3").glob("*.json")
    ]
    assert texts
    assert not any(SECRET in text for text in texts)


def test_a_missing_object_is_one_line(s3: str, tmp_path: Path) -> None:
    ran = geoseg("predict", "-q", "--image", f"{s3}none.tif", "--out", tmp_path / "map")
    assert ran.code == 2
    assert f"{s3}none.tif" in one_line(ran.stderr)
    assert ran.seconds < 40
    assert not (tmp_path / "map").exists()
