"""A bucket that needs no server."""

from pathlib import Path

import pytest
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
