"""A blob store whose signatures expire, and the server that gives them, as Azure and Planetary Computer do."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import rasterio
from rasterio.warp import transform_bounds

from lanes.conftest import make_big
from lanes.services import Ran, geoseg, one_line, rasters

pytestmark = pytest.mark.lane

HOST = "http://acct.blob.core.windows.net"
SECRET = "s1gn4tur3"
BANDS = ("green", "red", "nir", "swir16")


class Store(ThreadingHTTPServer):
    """Gives tokens and, as the proxy that stands for Azure, files to those who have one that is good."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root, self.key, self.life_s, self.said_s, self.slow_s = root, "k0", 3600.0, 3600.0, 0.0
        self.uses: int | None = None
        """A token is good for so many requests."""
        self.gives_tokens = True
        self.rotate_at: set[int] = set()
        """At these requests for pixels the keys are others."""
        self.deny_at: int | None = None
        """From this request for pixels on no token is good or given."""
        self.n_tokens, self.answers = 0, Counter[int]()
        self.used = Counter[str]()
        self.lock = threading.Lock()

    def token(self) -> dict[str, str]:
        self.n_tokens += 1
        now = datetime.now(UTC)
        said = (now + timedelta(seconds=self.said_s)).isoformat()
        token = f"se={time.time() + self.life_s:.3f}&sp=r&sig={SECRET}-{self.key}-{self.n_tokens}"
        return {"msft:expiry": said, "token": token}

    def is_good(self, query: dict[str, list[str]]) -> bool:
        n = sum(self.answers.values())
        if n in self.rotate_at:
            self.key += "x"
        if n == self.deny_at:
            self.gives_tokens, self.key = False, self.key + "x"
        sig = query.get("sig", ["--"])[0]
        self.used[sig] += 1
        is_used_up = self.uses is not None and self.used[sig] > self.uses
        return (
            float(query.get("se", ["0"])[0]) > time.time()
            and sig.split("-")[1] == self.key
            and not is_used_up
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Store

    def do_GET(self) -> None:
        where = urlsplit(self.path)
        with self.server.lock:
            if where.path.startswith("/token/"):
                is_given = self.server.gives_tokens
                answer = json.dumps(self.server.token() if is_given else {}).encode()
                self.answer(200 if is_given else 403, answer)
                return
            status = 206 if self.server.is_good(parse_qs(where.query)) else 403
            path = self.server.root / Path(where.path).name
            if status == 206 and not path.is_file():
                status = 404
            self.server.answers[status] += 1
        if status != 206:
            self.answer(status, b"<Error><Code>AuthenticationFailed</Code><Message>Expired</Message></Error>")
            return
        time.sleep(self.server.slow_s)
        size = path.stat().st_size
        if "Range" not in self.headers:
            self.answer(200, path.read_bytes())
            return
        first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        begin, end = int(first), min(int(last or size - 1), size - 1)
        with path.open("rb") as file:
            file.seek(begin)
            body = file.read(end - begin + 1)
        self.answer(206, body, {"Content-Range": f"bytes {begin}-{end}/{size}"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blobs")
    make_big(folder / "big.tif", 768)
    return folder


@pytest.fixture
def store(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with Store(root) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("http_proxy", here)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setenv("PC_SDK_SAS_URL", f"{here}/token")
        monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")  # what is refused is refused again
        yield server
        server.shutdown()


def recipe(folder: Path, image: Path, href: str, *, signing: str | None = "planetary-computer") -> list[str]:
    """Arguments for a run of 9 blocks over one item that has its four bands in one file."""
    with rasterio.open(image) as big:
        west, south, east, north = transform_bounds(big.crs, "EPSG:4326", *big.bounds)
        proj = {
            "proj:code": "EPSG:32725",
            "proj:shape": [*big.shape],
            "proj:transform": list(big.transform)[:6],
        }
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item = {
        "type": "Feature", "stac_version": "1.0.0", "stac_extensions": [], "id": "big", "collection": "c",
        "geometry": {"type": "Polygon", "coordinates": [ring]}, "bbox": [west, south, east, north],
        "properties": {"datetime": "2024-07-01T00:00:00Z"}, "links": [],
        "assets": {"all": {"href": href, "type": "image/tiff", "roles": ["data"], **proj}},
    }  # fmt: skip
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
    bands = "\n".join(f'{name} = {{ asset = "all", index = {n} }}' for n, name in enumerate(BANDS, 1))
    signed = f'signing = "{signing}"\n' if signing else ""
    (folder / "pc.toml").write_text(
        f'title = "A store"\nurl = "items.json"\ndefault_collection = "c"\n{signed}'
        f'[collections.c]\ngsd_m = 10\nscale = 0.0001\nnodata = 0\ndtype = "uint16"\n[collections.c.bands]\n{bands}\n'
    )
    area = f"{west + 0.001},{south + 0.001},{east - 0.001},{north - 0.001}"
    (folder / "job.toml").write_text(
        f'aoi = "{area}"\ncatalog = "{folder / "pc.toml"}"\nmodel = "spectral-rules"\nblock_size = 256\n'
        f'min_coverage = 0.9\nout = "{folder / "map"}"\n'
    )
    return ["run", str(folder / "job.toml")]


@pytest.fixture(scope="module")
def good(root: Path) -> dict[str, bytes]:
    """The map made from disk."""
    folder = root / "disk"
    folder.mkdir()
    ran = geoseg(*recipe(folder, root / "big.tif", str(root / "big.tif"), signing=None))
    assert ran.code == 0, ran.stderr
    return rasters(folder / "map")


def made(folder: Path, good: dict[str, bytes], args: list[str]) -> Ran:
    ran = geoseg(*args)
    assert ran.code == 0, ran.stderr
    assert rasters(folder / "map") == good
    for path in folder.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    assert SECRET not in ran.stderr + ran.stdout
    return ran


def test_blocks_that_take_longer_than_a_signature_lives(
    store: Store, good: dict[str, bytes], tmp_path: Path
) -> None:
    store.life_s = store.said_s = 2.0
    store.slow_s = 0.02
    ran = made(tmp_path, good, recipe(tmp_path, store.root / "big.tif", f"{HOST}/c/big.tif"))
    print(f"{ran.seconds} s, {store.n_tokens} tokens, {store.answers}")
    assert store.n_tokens > 3


def test_signatures_that_expire_in_the_middle_of_a_block(
    store: Store, good: dict[str, bytes], tmp_path: Path
) -> None:
    store.uses = 40  # and it was said that it lives for an hour
    ran = made(tmp_path, good, recipe(tmp_path, store.root / "big.tif", f"{HOST}/c/big.tif"))
    print(f"{ran.seconds} s, {store.n_tokens} tokens, {store.answers}")
    assert store.answers[403] > 1
    assert store.n_tokens > 2


def test_a_server_that_comes_back_with_other_keys(
    store: Store, good: dict[str, bytes], tmp_path: Path
) -> None:
    store.rotate_at = {30, 60}
    ran = made(tmp_path, good, recipe(tmp_path, store.root / "big.tif", f"{HOST}/c/big.tif"))
    print(f"{ran.seconds} s, {store.n_tokens} tokens, {store.answers}")
    assert store.answers[403] > 1


def test_tokens_that_are_no_longer_given_end_in_a_line_and_the_run_goes_on_later(
    store: Store, good: dict[str, bytes], tmp_path: Path
) -> None:
    store.deny_at = 60
    args = recipe(tmp_path, store.root / "big.tif", f"{HOST}/c/big.tif")
    ran = geoseg(*args, "-q")
    assert ran.code == 2
    assert "gives no token to read acct.blob.core.windows.net/c/big.tif: it refuses with 403" in one_line(
        ran.stderr
    )
    (left,) = tmp_path.glob(".map.*.partial")
    n_done = len((left / "journal.jsonl").read_text().splitlines())
    assert 0 < n_done < 9
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    store.gives_tokens, store.deny_at = True, None
    again = made(tmp_path, good, args)
    assert f"{n_done} of 9 blocks are there from a run before" in again.stderr


def test_what_is_not_there_is_said_at_once(store: Store, good: dict[str, bytes], tmp_path: Path) -> None:
    ran = geoseg(*recipe(tmp_path, store.root / "big.tif", f"{HOST}/c/none.tif"), "-q")
    assert ran.code == 2
    assert "none.tif cannot be read" in one_line(ran.stderr)
    assert " tries in " not in ran.stderr
