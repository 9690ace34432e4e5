"""An S3 server."""

import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lanes.services import free_ports, listens, made, running

VENV = Path(os.environ.get("GEOSEG_MOTO_VENV", "/tmp/geoseg-moto-venv"))


@contextmanager
def moto(folder: Path) -> Iterator[int]:
    """Its port; what it holds is in its memory. Its log of requests is ``folder/moto.log``."""
    program = made(VENV / "bin" / "moto_server")
    (port,) = free_ports(1)
    command = [str(program), "-H", "127.0.0.1", "-p", str(port)]
    with running(command, log=folder / "moto.log", ready=lambda: listens(port)) as process:
        (folder / "moto.pid").write_text(str(process.pid))
        yield port


def put(url: str, content: bytes = b"") -> None:
    """Make a bucket, or an object in one."""
    headers = {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request(url, content, headers, method="PUT")
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200
