"""Maps, parts and images in Azure Blob Storage, on Microsoft's own server for tests: the bytes of disk."""

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
from builders import BANDS, geobox_at, smooth, write_image
from obstore.store import AzureStore

from lanes.azurite import ACCOUNT, KEY, azurite, make_container
from lanes.conftest import RULES
from lanes.services import GEOSEG, geoseg, one_line, rasters, wait_until

pytestmark = pytest.mark.lane

SCENE = "scene.tif"


class Server:
    """It, and what it holds."""

    def __init__(self, address: str) -> None:
        self.address = address
        options = {"account_name": ACCOUNT, "account_key": KEY, "endpoint": address}
        self.objects = AzureStore("maps", config=options, client_options={"allow_http": True})

    def names(self, prefix: str) -> set[str]:
        found = [one["path"] for some in obstore.list(self.objects, prefix) for one in some]
        return {name.removeprefix(f"{prefix}/") for name in found}

    def read(self, name: str) -> bytes:
        return bytes(obstore.get(self.objects, name).bytes())

    def rasters(self, prefix: str) -> dict[str, bytes]:
        return {name: self.read(f"{prefix}/{name}") for name in ("class.tif", "confidence.tif")}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("azure")
    scene = write_image(folder / SCENE, smooth(3, (512, 512)), geobox_at(height=512, width=512))
    with azurite(folder) as address:
        make_container(address, "maps")
        made = Server(address)
        made.objects.put(f"images/{SCENE}", scene.read_bytes())
        yield made


@pytest.fixture
def azure(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    """This process' environment leads to the server: obstore's words for it, and GDAL's."""
    scheme = "DefaultEndpointsProtocol=http"
    for name, value in {
        "AZURE_STORAGE_ACCOUNT": ACCOUNT,
        "AZURE_STORAGE_ACCESS_KEY": KEY,
        "AZURE_STORAGE_ENDPOINT": server.address,
        "AZURE_ALLOW_HTTP": "true",
        "AZURE_STORAGE_CONNECTION_STRING": f"{scheme};AccountName={ACCOUNT};AccountKey={KEY};"
        f"BlobEndpoint={server.address}",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture(scope="module")
def whole(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The rasters made from disk on disk."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / SCENE).write_bytes(server.read(f"images/{SCENE}"))
    ran = geoseg("predict", "-q", *image(f"{folder}/"), "--out", folder / "map")
    assert (ran.code, ran.stderr) == (0, "")
    return rasters(folder / "map")


def image(base: str, *, block: int = 96) -> list[str]:
    return ["--image", f"{base}{SCENE}", "--bands", ",".join(BANDS), *RULES, "--block-size", str(block)]


def test_from_azure_by_azure_to_azure_are_the_bytes_of_disk(azure, whole, tmp_path):
    args = [*image("az://maps/images/", block=256), "--store", "az://maps/scratch", "--out", "az://maps/one"]
    ran = geoseg("predict", *args, "--cluster", "local", "--workers", "2")
    assert ran.code == 0, ran.stderr
    assert azure.rasters("one") == whole
    names = azure.names("one")
    assert set(json.loads(azure.read("one/manifest.json"))["files"]) | {"manifest.json"} == names
    assert not azure.names("scratch")
    everything = b"".join(azure.read(f"one/{name}") for name in names).decode("latin-1")
    assert KEY not in everything + ran.stdout + ran.stderr
    again = geoseg("predict", *args, "--resume")
    assert again.code == 0, again.stderr
    assert "az://maps/one/ holds this map already" in again.stderr


def test_killed_it_goes_on_on_another_machine(azure, whole, monkeypatch, tmp_path):
    args = ["predict", *image("az://maps/images/"), "--out", "az://maps/killed", "--resume"]
    process = subprocess.Popen([GEOSEG, *args], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(noted(azure)) >= 6 or process.poll() is not None, "parts come")
    process.kill()
    process.wait()
    n_done = len(noted(azure))
    assert 6 <= n_done < 36
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    ran = geoseg(*args)
    assert ran.code == 0, ran.stderr
    assert azure.rasters("killed") == whole
    assert not azure.names("killed/.parts")
    lines = map(json.loads, azure.read("killed/log.jsonl").splitlines())
    assert max(line.get("n_kept", 0) for line in lines) == n_done


def noted(azure: Server) -> set[str]:
    """Parts that are whole."""
    return {name for name in azure.names("killed/.parts") if name.endswith(".tif.json")}


def test_a_wrong_key_is_one_line(azure, monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_ACCESS_KEY", base64.b64encode(b"another").decode())
    ran = geoseg("predict", "-q", *image("az://maps/images/"), "--out", "az://maps/none")
    assert ran.code == 2
    # Azure itself says AuthenticationFailed, which is said as such.
    assert "access is denied. Ask for the right to" in one_line(ran.stderr)
    assert not azure.names("none")
