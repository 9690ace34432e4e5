"""A real STAC API: stac-fastapi-pgstac on a PostgreSQL of its own, filled by the test."""

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lanes.services import free_ports, made, need, running, stop, wait_until

VENV = Path(os.environ.get("GEOSEG_PGSTAC_VENV", "/tmp/geoseg-pgstac-venv"))
Document = dict[str, Any]


@dataclass(frozen=True)
class Pgstac:
    """A running API over its database."""

    url: str
    log: Path
    bin: Path
    folder: Path
    env: dict[str, str]

    def load(self, kind: str, documents: list[Document]) -> None:
        """Put ``collections`` or ``items`` into the database."""
        file = self.folder / f"{kind}.ndjson"
        file.write_text("\n".join(map(json.dumps, documents)))
        self._pypgstac("load", kind, str(file), "--method", "upsert")

    def declare(self, collection: str, properties: dict[str, Document]) -> None:
        """Tell the database what type properties of a collection have."""
        file = self.folder / "queryables.json"
        file.write_text(json.dumps({"type": "object", "properties": properties}))
        self._pypgstac("load_queryables", str(file), "--collection_ids", f"[{collection}]")

    def post(self, body: Document) -> Document:
        """What the server answers to a search."""
        request = urllib.request.Request(
            f"{self.url}/search", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: Document = json.load(answer)
        return found

    def n_searches(self) -> int:
        """How many searches it has answered."""
        return sum('"POST /search' in line for line in self.log.read_text().splitlines())

    def _pypgstac(self, *args: str) -> None:
        _run([self.bin / "pypgstac", *args], self.env)


@contextmanager
def pgstac(folder: Path) -> Iterator[Pgstac]:
    """Database and API while the block runs."""
    programs = {p: need(p, hint="apt-get install postgresql-15-postgis-3") for p in ("initdb", "postgres")}
    made(VENV / "bin" / "pypgstac")
    db_port, api_port = free_ports(2)
    env = {
        "PGHOST": "127.0.0.1", "PGPORT": str(db_port), "PGUSER": "postgres", "PGPASSWORD": "x",
        "PGDATABASE": "postgres",
    }  # fmt: skip
    log = folder / "api.log"
    with _postgres(programs, folder / "db", db_port, folder / "db.log"):
        connect = ["-c", "import psycopg; psycopg.connect(connect_timeout=2).close()"]
        wait_until(lambda: _works([VENV / "bin" / "python", *connect], env), "PostgreSQL answers")
        _run([VENV / "bin" / "pypgstac", "migrate"], env)
        url = f"http://127.0.0.1:{api_port}"
        command = [str(VENV / "bin" / "uvicorn"), "--factory", "stac_fastapi.pgstac.app:create_app"]
        command += ["--host", "127.0.0.1", "--port", str(api_port)]
        with running(command, log=log, ready=lambda: _answers(f"{url}/_mgmt/ping"), env=env):
            yield Pgstac(url, log, VENV / "bin", folder, env)


@contextmanager
def _postgres(programs: dict[str, str], data: Path, port: int, log: Path) -> Iterator[None]:
    """PostgreSQL refuses to run as root, and its own user must reach its folder."""
    # pytest's folders are closed to others, so as root the data lie directly in /tmp.
    user: list[str] = []
    if os.geteuid() == 0:
        data = Path(f"/tmp/geoseg-pg-{port}")
        user = ["runuser", "-u", "postgres", "--"]
    data.mkdir(mode=0o700)
    try:
        if user:
            shutil.chown(data, "postgres")
        options = ["-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"]
        _run([*user, programs["initdb"], "-D", str(data), *options], {})
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(data), "fsync": "off"}
        command = [*user, programs["postgres"], "-D", str(data), "-p", str(port)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with log.open("wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file)
        try:
            yield
        finally:
            stop(process)
    finally:
        shutil.rmtree(data, ignore_errors=True)


def _run(command: list[str | Path], env: dict[str, str]) -> None:
    # In / since the user postgres may not stand in the folder of the tests.
    done = subprocess.run(
        command, env={**os.environ, **env}, cwd="/", capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        pytest.fail(f"{command} ended with {done.returncode}: {done.stdout[-1000:]} {done.stderr[-2000:]}")


def _works(command: list[str | Path], env: dict[str, str]) -> bool:
    return subprocess.run(command, env={**os.environ, **env}, capture_output=True, timeout=30).returncode == 0


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
