"""Real services for the lanes: started on free loopback ports, waited for, and ended by their own process."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

GEOSEG = Path(sys.executable).with_name("geoseg")
IS_CI = os.environ.get("CI", "").lower() in ("1", "true")
STARTS_IN_S = 60


@dataclass(frozen=True)
class Ran:
    """How one run of the command line ended."""

    code: int
    stdout: str
    stderr: str
    seconds: float


def need(program: str, *, hint: str) -> str:
    """The path of a program; where it is missing the test is skipped, but fails in CI, which installs it."""
    found = shutil.which(program) or next((str(p) for p in _elsewhere(program)), None)
    if found is None:
        text = f"{program} is not installed: {hint}"
        if IS_CI:
            pytest.fail(text)
        pytest.skip(text)
    return found


def made(path: Path) -> Path:
    """What ``.ci/lane-venvs`` makes; where it is missing the test is skipped, but fails in CI."""
    if not path.exists():
        text = f"no {path}: .ci/lane-venvs makes it"
        pytest.fail(text) if IS_CI else pytest.skip(text)
    return path


def _elsewhere(program: str) -> list[Path]:
    """Debian keeps PostgreSQL's programs, and those for administrators, off the PATH."""
    folders = [Path("/usr/sbin"), *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    return [folder / program for folder in folders if (folder / program).exists()]


def free_ports(n: int) -> list[int]:
    """That many different ports of the loopback that nobody listens on just now."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(n)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(is_true: Callable[[], bool], what: str, *, timeout_s: float = STARTS_IN_S) -> None:
    """Return when ``is_true``; fail the test when that takes too long."""
    deadline = time.monotonic() + timeout_s
    while not is_true():
        if time.monotonic() > deadline:
            pytest.fail(f"Waited {timeout_s:g} s in vain: {what}.")
        time.sleep(0.05)


@contextmanager
def running(
    command: list[str], *, log: Path, ready: Callable[[], bool], env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs within the block, once it is ``ready``; its output goes to ``log``."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env={**os.environ, **(env or {})}
        )
    try:
        wait_until(lambda: process.poll() is not None or ready(), f"{command[0]} does not start, see {log}")
        if process.poll() is not None:
            pytest.fail(f"{command[0]} ended with {process.returncode}: {log.read_text()[-2000:]}")
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process: politely, and when that does not help, surely."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=15)


def geoseg(*args: str | Path, timeout_s: float = 240) -> Ran:
    """Run the command line in a process of its own, as a user does."""
    started = time.monotonic()
    done = subprocess.run(
        [str(GEOSEG), *map(str, args)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr, round(time.monotonic() - started, 1))


def rasters(out: Path) -> dict[str, bytes]:
    """The bytes of the two rasters of a map."""
    return {name: (out / name).read_bytes() for name in ("class.tif", "confidence.tif")}


def one_line(stderr: str) -> str:
    """The only line of an error, checked to be one that a person can read."""
    lines = stderr.splitlines()
    assert len(lines) == 1, stderr
    assert lines[0].startswith("geoseg: "), stderr
    assert "Traceback" not in stderr
    return lines[0]
