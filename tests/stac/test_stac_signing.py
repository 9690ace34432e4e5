"""Signing, keys from the environment, and what must never be shown."""

import pickle
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planetary_computer import sas

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
    asked = []

    def get_token(account: str, container: str, *_: object) -> sas.SASToken:
        asked.append((account, container))
        return sas.SASToken(token="token", **{"msft:expiry": "2099-01-01T00:00:00Z"})

    monkeypatch.setattr(sas, "get_token", get_token)
    assert sign("https://x.blob.core.windows.net/c/a.tif") == "https://x.blob.core.windows.net/c/a.tif?token"
    for other in (
        "https://host/c/a.tif",
        "https://x.blob.core.windows.net/c/a.tif?se=1&sig=2",
        "/data/a.tif",
    ):
        assert sign(other) == other
    assert asked == [("x", "c")]


@pytest.mark.parametrize("answer", [401, 503, None])
def test_a_token_that_is_not_to_be_had_is_one_line(
    monkeypatch: pytest.MonkeyPatch, answer: int | None
) -> None:
    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answer or 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
    if answer:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    else:
        server.server_close()
    settings = SimpleNamespace(sas_url=f"http://127.0.0.1:{server.server_port}", subscription_key="secret")
    monkeypatch.setattr(sas.Settings, "get", lambda: settings)
    monkeypatch.setattr(signing, "_TOKEN_TRIES", 1)
    with pytest.raises(
        CatalogError, match=r"gives no token to read x\.blob\.core\.windows\.net/c/a\.tif: it"
    ) as no:
        signing.sign_planetary_computer("https://x.blob.core.windows.net/c/a.tif")
    assert ("refuses with 401" in str(no.value)) == (answer == 401)
    assert "secret" not in str(no.value)
    if answer:
        server.shutdown()
        server.server_close()


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
