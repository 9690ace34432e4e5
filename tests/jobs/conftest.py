"""A bucket that needs no server, and Dask workers that do not end the tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Scheduler
from obstore.store import LocalStore

from geoseg.jobs import store as store_module


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that ``s3://bucket/`` leads to, by a LocalStore in the place of every store; this machine's
    cache is a new one.
    """
    root = tmp_path / "s3"

    def connect(address: str, *, is_patient: bool) -> LocalStore:
        return LocalStore(root / address.partition("://")[2], mkdir=True, automatic_cleanup=True)

    monkeypatch.setattr(store_module, "connect", connect)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return root / "bucket"


@pytest.fixture(scope="session", autouse=True)
def scheduler_in_sight() -> Iterator[None]:
    """A Dask worker that cannot be closed ends its process, which is that of the tests where they run one in
    it; not while Dask sees a scheduler there (``distributed.worker._force_close``).
    """
    never_started = Scheduler(dashboard=False)
    yield
    del never_started
