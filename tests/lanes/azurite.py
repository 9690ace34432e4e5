"""An Azure Blob server: Azurite, Microsoft's own for tests."""

import base64
import hashlib
import hmac
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

from lanes.services import free_ports, listens, made, need, running

FOLDER = Path(os.environ.get("GEOSEG_AZURITE", "/tmp/geoseg-azurite"))
ACCOUNT = "geoseg"
KEY = base64.b64encode(b"a key of tests that opens nothing").decode()


@contextmanager
def azurite(folder: Path) -> Iterator[str]:
    """Its address, the account included; what it holds is in ``folder``."""
    program = made(FOLDER / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js")
    (port,) = free_ports(1)
    command = [need("node", hint="apt-get install nodejs npm"), str(program), "--location", str(folder)]
    command += ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--disableTelemetry"]
    command += ["--skipApiVersionCheck"]
    env = {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}
    with running(command, log=folder / "azurite.log", ready=lambda: listens(port), env=env):
        yield f"http://127.0.0.1:{port}/{ACCOUNT}"


def make_container(address: str, name: str) -> None:
    """By a request that is signed with the account's key.

    Reference: Azure Storage REST API, "Authorize with Shared Key".
    """
    heads = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    lines = [*(f"{key}:{value}" for key, value in heads.items()), f"/{ACCOUNT}/{ACCOUNT}/{name}"]
    text = "PUT" + 12 * "\n" + "\n".join([*lines, "restype:container"])
    digest = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
    heads |= {"Authorization": f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}", "Content-Type": ""}
    url = f"{address}/{name}?restype=container"
    request = urllib.request.Request(url, b"", heads, method="PUT")
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 201
