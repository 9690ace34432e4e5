"""A folder of an object store, by obstore: what is put there is there whole or not at all."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import lru_cache
from mimetypes import guess_type
from pathlib import Path
from typing import Any
from uuid import uuid4

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from geoseg.errors import OutputError
from geoseg.object_storage import STORE_KEYS, connection_of
from geoseg.redaction import redact

_PIECE_BYTES = 1 << 24
_PATIENCE = {"max_retries": 10, "retry_timeout": timedelta(seconds=90)}
"""A request that a server fails is repeated, after 0.1 s and then about twice as long each time."""
_AT_ONCE = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}
_AT_A_TIME = 4
"""Pieces of a file that are sent at once, and in memory."""
_CHUNK_BYTES, _MOST_CHUNKS = 5 << 20, 5_000
"""A larger file is sent in pieces; S3 takes 10,000 of them (docs.aws.amazon.com/AmazonS3, "qfacts")."""
_PROBE = "probe-"


class Store:
    """Objects below an address, by names that geoseg makes.

    All methods raise an OutputError of one line when the store cannot be used.
    """

    def __init__(self, address: str, *, is_patient: bool = True) -> None:
        """``is_patient``: servers that fail are asked again, for :data:`_PATIENCE`."""
        self.address = redact(address)
        with _said(self.address, "used"):
            self._objects = connect(address, is_patient=is_patient)
        self._has_types = not isinstance(self._objects, LocalStore)

    def put(self, name: str, content: Path | bytes) -> None:
        """Under that name, in place of what was there, once all of it has arrived."""
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        with _said(self.address, "written"):
            obstore.put(
                self._objects,
                name,
                content,
                attributes=_attributes(name) if self._has_types else None,
                chunk_size=max(_CHUNK_BYTES, size // _MOST_CHUNKS),
                max_concurrency=_AT_A_TIME,
            )

    def read(self, name: str) -> bytes | None:
        """A small object; None where there is none."""
        with suppress(FileNotFoundError), _said(self.address, "read"):
            return bytes(obstore.get(self._objects, name).bytes())
        return None

    def fetch(self, name: str, path: Path) -> bool:
        """Into a file, in pieces, so that memory does not grow with it; False where there is none."""
        with suppress(FileNotFoundError):
            with _said(self.address, "read"):
                n_bytes = obstore.head(self._objects, name)["size"]
            with path.open("wb") as file:
                for start in range(0, n_bytes, _PIECE_BYTES):
                    length = min(_PIECE_BYTES, n_bytes - start)
                    with _said(self.address, "read"):
                        piece = obstore.get_range(self._objects, name, start=start, length=length)
                    file.write(piece)
            return True
        path.unlink(missing_ok=True)
        return False

    def sizes(self) -> dict[str, int]:
        """Of all objects, bytes by name."""
        with _said(self.address, "read"):
            return {found["path"]: found["size"] for some in obstore.list(self._objects) for found in some}

    def top(self) -> list[str]:
        """Names of the objects and folders right below the address."""
        with suppress(FileNotFoundError), _said(self.address, "read"):
            found = obstore.list_with_delimiter(self._objects)
            return sorted([*(one["path"] for one in found["objects"]), *found["common_prefixes"]])
        return []

    def remove(self, names: Iterable[str]) -> None:
        """Objects, whether they are there or not."""
        if not (every := sorted(names)):
            return
        with _said(self.address, "written"):
            try:
                obstore.delete(self._objects, every)
            except FileNotFoundError:  # not all kinds of stores mind
                for name in every:
                    with suppress(FileNotFoundError):
                        obstore.delete(self._objects, name)


@lru_cache(maxsize=16)
def connect(address: str, *, is_patient: bool) -> Any:
    """The store of obstore; kept, with its connections, as long as the process lives."""
    if address.startswith("file:"):
        return from_url(address, mkdir=True, automatic_cleanup=True)
    how = connection_of(address)
    options: dict[str, Any] = {
        "config": how.config,
        "client_options": {"allow_http": True} if how.allow_http else None,
        "retry_config": _PATIENCE if is_patient else _AT_ONCE,
    }
    return from_url(address, **options)


def _attributes(name: str) -> dict[str, str] | None:
    """What browsers need to show a page in place of saving it."""
    found, _ = guess_type(name)
    return {"Content-Type": found} if found else None


def leave_probe(address: str) -> str:
    """Shows that a process can write there: the name of a small object; or in words why it cannot."""
    name = f"{_PROBE}{uuid4().hex}"
    try:
        Store(address, is_patient=False).put(name, b"geoseg")
    except OutputError as error:
        return str(error)
    return name


def take_probe(address: str, left: str) -> str:
    """What is wrong with what :func:`leave_probe` returned in this or another process; nothing: ``""``."""
    if not left.startswith(_PROBE):
        return left
    store = Store(address, is_patient=False)
    if store.read(left) is None:
        return f"what it writes to {store.address} does not arrive there: it is led to another place"
    store.remove([left])
    return ""


def check_store(address: str) -> None:
    """Raise an OutputError of one line unless this process can write, read and remove there."""
    if wrong := take_probe(address, leave_probe(address)):
        raise OutputError(wrong)


@contextmanager
def _said(address: str, what: str) -> Iterator[None]:
    """Errors of obstore in one line, without the answers of servers, which repeat keys."""
    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError) and not _NO_BUCKET.search(str(error)):
            raise
        if _BAD_KEYS.search(str(error)):
            connect.cache_clear()  # keys that are renewed meanwhile are read by whoever comes next
        scheme = address.partition(":")[0]
        reason = _reason(error).replace("{keys}", " and ".join(STORE_KEYS.get(scheme, ["them"])))
        reason = reason.replace("{server}", _SERVER.get(scheme, "the address"))
        reason = reason.replace("{http}", _ALLOW_HTTP.get(scheme, ""))
        raise OutputError(f"{address} cannot be {what}: {reason}.") from None


_SERVER = {"s3": "AWS_ENDPOINT_URL", "az": "AZURE_STORAGE_ENDPOINT"}
"""Environment variables that say where a kind of store is."""
_ALLOW_HTTP = {"s3": "AWS_ALLOW_HTTP", "az": "AZURE_ALLOW_HTTP", "gs": "GOOGLE_ALLOW_HTTP"}
_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|bucket does not exist")
_BAD_KEYS = re.compile(
    r"SignatureDoesNotMatch|InvalidAccessKeyId|InvalidToken|ExpiredToken|AuthenticationFailed|code: 401"
    r"|Invalid Access Key"
)
_REASONS: tuple[tuple[str, str], ...] = (
    (_NO_BUCKET.pattern, "there is no such bucket. Make it, or give another address"),
    (
        _BAD_KEYS.pattern,
        "the keys in the environment are not right, or have expired. Give valid ones (docs/stores.md)",
    ),
    (
        r"169\.254\.|metadata\.google|token request|MissingAccount|Missing\w*(?:Key|Secret|Token)",
        "no keys are in the environment. Set {keys}",
    ),
    (
        r"AccessDenied|PermissionDenied|code: 403",
        "access is denied. Ask for the right to list, read, write and delete there",
    ),
    (
        r"PermanentRedirect|redirect without LOCATION|code: 301|AuthorizationHeaderMalformed",
        "it lies in another region. Set AWS_REGION",
    ),
    (r"ConnectionRefused", "its server refuses connections. Start it, or look at {server}"),
    (r"dns error", "its server is not known. Look at {server} and the network"),
    (r"BadScheme", "its server is at http://, and that is not allowed. Set {http}=true"),
    (
        r"TimedOut|timed out|operation timed",
        "its server does not answer in time. Try later: --resume goes on",
    ),
    (
        r"code: (?:5\d\d|429)|kind: (?:Connect|Request|Interrupted|Decode)",
        "its server fails. Try later: --resume goes on",
    ),
)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error)
    for pattern, reason in _REASONS:
        if re.search(pattern, text):
            return reason
    first = redact(text.partition("\n")[0].partition("<")[0])
    return first.strip(" :.") or type(error).__name__
