"""Signing, keys from the environment, and what must never be shown."""

import pickle
from pathlib import Path

import planetary_computer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import CatalogError, GeosegWarning
from geoseg.redaction import redact
from geoseg.stac import signing
from geoseg.stac.catalog import load_catalog
from geoseg.stac.signing import read_environment, signer

word = st.text("abcXYZ019-_.", min_size=1, max_size=8)


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("EARTHDATA_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))


@given(st.sampled_from(["http", "https", "s3", "ftp"]), word, word, word, word)
def test_redacted_addresses_keep_host_and_path_only(
    scheme: str, user: str, host: str, path: str, secret: str
) -> None:
    clean = f"{scheme}://{host}/{path}"
    for text in (
        clean,
        f"{scheme}://{user}:{secret}@{host}/{path}?sig={secret}&x=1#{secret}",
        f"{scheme}://{user}:{secret}@{secret}@{host}/{path}",  # servers are told all before the last @
        f"{clean}?{secret}",
    ):
        assert redact(text) == clean
        assert redact(f"/vsicurl/{text}") == f"/vsicurl/{clean}"
        assert redact(f"cannot read '{text}' twice: {text}") == f"cannot read '{clean}' twice: {clean}"


@pytest.mark.parametrize("text", ["/data/a b.tif", "a?b.tif", "C:\\x.tif", "no address", "10 km² at 3:20?"])
def test_what_is_no_address_stays(text: str) -> None:
    assert redact(text) == text


def test_signing_happens_when_called_and_pickles(monkeypatch: pytest.MonkeyPatch) -> None:
    assert signer(None) is None
    assert signer("earthdata") is None
    sign = signer("planetary-computer")
    assert sign is not None
    assert pickle.loads(pickle.dumps(sign)) is sign
    monkeypatch.setattr(planetary_computer, "sign_url", lambda url: f"{url}?token")
    assert sign("https://x.blob.core.windows.net/a.tif") == "https://x.blob.core.windows.net/a.tif?token"


def test_signing_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "find_spec", lambda name: None)
    with pytest.raises(CatalogError, match=r"pip install 'geoseg\[planetary-computer\]'"):
        signer("planetary-computer")


def test_earthdata_takes_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CatalogError, match=r"^NASA HLS is read with .* set EARTHDATA_TOKEN"):
        read_environment(load_catalog("hls"))
    monkeypatch.setenv("EARTHDATA_TOKEN", " abc.def \n")
    assert read_environment(load_catalog("hls")) == {"GDAL_HTTP_HEADERS": "Authorization: Bearer abc.def"}
    monkeypatch.setenv("EARTHDATA_TOKEN", "abc\r\nX-Evil: 1")
    with pytest.raises(CatalogError, match="holds blanks or line breaks"):
        read_environment(load_catalog("hls"))


def test_cdse_takes_s3_keys_but_never_hands_them_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        CatalogError, match=r"^Copernicus Data Space is read with S3 keys: set AWS_ACCESS_KEY_ID"
    ):
        read_environment(load_catalog("cdse"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    options = read_environment(load_catalog("cdse"))
    assert options["AWS_S3_ENDPOINT"] == "eodata.dataspace.copernicus.eu"
    assert not {"key", "secret"} & set(options.values())


def test_requester_pays_is_said_for_the_collection_read(monkeypatch: pytest.MonkeyPatch) -> None:
    earth = load_catalog("earth-search")
    assert (
        read_environment(earth)["AWS_REQUEST_PAYER"] == "requester"
    )  # unknown which: all of them, no warning
    assert read_environment(earth, "sentinel-2-l2a") == {}
    with pytest.warns(
        GeosegWarning, match="Landsat Collection 2 L2 of Earth Search lies in a requester-pays"
    ):
        assert read_environment(earth, "landsat-c2-l2") == {"AWS_REQUEST_PAYER": "requester"}
    monkeypatch.setenv("AWS_PROFILE", "me")
    assert read_environment(earth, "landsat-c2-l2") == {"AWS_REQUEST_PAYER": "requester"}
