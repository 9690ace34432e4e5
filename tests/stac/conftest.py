"""Fixtures of the stac room."""

from collections.abc import Iterator

import pytest
from stac_fakes import FakeApi, serve

from geoseg.stac import reading


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BACKOFF_S", 0.0)


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """A well-behaved API without items; tests fill it and spoil it."""
    fake = FakeApi()
    server = serve(fake.answer)
    fake.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield fake
    server.shutdown()
    server.server_close()
