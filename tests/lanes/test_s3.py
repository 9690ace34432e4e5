"""Imagery from object storage: a real S3 server, read as GDAL and the user's environment have it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lanes.conftest import SAMPLE, asked, make_big
from lanes.moto import moto, put
from lanes.services import geoseg, one_line, rasters

pytestmark = pytest.mark.lane

BUCKET = "imagery"
SECRET = "very-secret-key"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``s3://bucket/`` with the sample catalog and a made COG; this process' environment leads there."""
    folder = tmp_path_factory.mktemp("s3")
    with moto(folder) as port, pytest.MonkeyPatch.context() as patch:
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
