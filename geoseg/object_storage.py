"""Addresses of object stores, and where the environment says they are: the same for what GDAL reads and for
what obstore writes.

The environment is read here:

- ``AWS_ENDPOINT_URL_S3``, ``AWS_ENDPOINT_URL`` (as AWS's own programs have it), or GDAL's
  ``AWS_S3_ENDPOINT`` with ``AWS_HTTPS`` and ``AWS_VIRTUAL_HOSTING``: the server behind ``s3://``
- ``AWS_PROFILE``, ``AWS_SHARED_CREDENTIALS_FILE``: where keys are, if not in ``AWS_ACCESS_KEY_ID`` and
  ``AWS_SECRET_ACCESS_KEY``
- ``AZURE_STORAGE_ACCOUNT``: GDAL's word for ``AZURE_STORAGE_ACCOUNT_NAME``

Other variables (regions, tokens, Google's and Azure's keys) have one name in both, which read them
themselves; but another server than Azure's own is ``AZURE_STORAGE_ENDPOINT`` to obstore and in
``AZURE_STORAGE_CONNECTION_STRING`` to GDAL.
"""

import os
import re
from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

SCHEMES = ("s3", "gs", "az", "file")
STORE_KEYS = {
    "s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    "gs": ("GOOGLE_APPLICATION_CREDENTIALS",),
    "az": ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCESS_KEY"),
}
"""Environment variables that hold the keys to each kind of store."""
_HOW = "give s3://bucket/folder, gs://bucket/folder, az://container/folder or file:///folder"
_SEGMENT = re.compile(r"[^\x00-\x1f\x7f/\\?#%*:\"<>|\[\]]+")
_NO = ("NO", "FALSE", "OFF", "0")


def is_address(text: str) -> bool:
    """Whether it is an address, not a path."""
    return "://" in text


def checked_address(text: str) -> str:
    """An address that a map or parts may be written to, without slashes at its end.

    Raises:
        ValueError: it is none, or holds what an address must not: keys, a query, ``..``.
    """
    scheme, _, rest = text.partition("://")  # urlsplit would drop line breaks
    bucket, _, path = rest.partition("/")
    if scheme not in SCHEMES or not is_address(text):
        raise ValueError(f"is no address of an object store: {_HOW}")
    if "@" in bucket or "?" in rest or "#" in rest:
        raise ValueError("has keys or a query in it: keys come from the environment (docs/stores.md)")
    if bool(bucket) == (scheme == "file"):
        raise ValueError(f"has no bucket, or one too many: {_HOW}")
    segments = [bucket, *path.rstrip("/").split("/")]
    if odd := [s for s in segments if s in (".", "..") or (s and not _SEGMENT.fullmatch(s))]:
        raise ValueError(f"has {odd[0]!r} in it: {_HOW}")
    if "" in segments[1:] and path.rstrip("/"):
        raise ValueError("has an empty folder in it: leave one slash out")
    return text.rstrip("/")


@dataclass(frozen=True)
class Connection:
    """What obstore is told beyond what it reads from the environment itself; holds keys: not to be shown."""

    config: dict[str, str] = field(default_factory=dict, repr=False)
    allow_http: bool = False


def connection_of(address: str) -> Connection:
    """How the store at ``address`` is reached."""
    parts = urlsplit(address)
    if parts.scheme == "az" and (account := os.environ.get("AZURE_STORAGE_ACCOUNT")):
        return Connection({"account_name": os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", account)})
    if parts.scheme != "s3":
        return Connection()
    config = _shared_keys()
    if endpoint := _endpoint_url():
        config["endpoint"] = endpoint
    elif host := _gdal_host():
        scheme = "http" if _is_off("AWS_HTTPS") else "https"
        is_virtual = not _is_off("AWS_VIRTUAL_HOSTING")  # the bucket is part of the host's name
        config["endpoint"] = f"{scheme}://{parts.netloc + '.' if is_virtual else ''}{host}"
        config["virtual_hosted_style_request"] = str(is_virtual).lower()
    return Connection(config, allow_http=config.get("endpoint", "").startswith("http://"))


def gdal_options() -> dict[str, str]:
    """GDAL's options for the server that ``AWS_ENDPOINT_URL`` names; none where GDAL's own variable does."""
    endpoint = _endpoint_url()
    if endpoint is None or _gdal_host():
        return {}
    parts = urlsplit(endpoint)
    return {
        "AWS_S3_ENDPOINT": parts.netloc + parts.path.rstrip("/"),
        "AWS_HTTPS": "NO" if parts.scheme == "http" else "YES",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }


def _endpoint_url() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def _gdal_host() -> str:
    return os.environ.get("AWS_S3_ENDPOINT", "").rpartition("://")[2].rstrip("/")


def _is_off(variable: str) -> bool:
    return os.environ.get(variable, "").upper() in _NO


def _shared_keys() -> dict[str, str]:
    """Keys from the file that AWS's programs share and GDAL reads; obstore does not."""
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return {}
    file = os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")
    found = ConfigParser(interpolation=None)  # keys may hold a %
    try:
        found.read(Path(file).expanduser(), "utf-8")
        profile = found[os.environ.get("AWS_PROFILE", "default")]
    except (ConfigError, KeyError, OSError, ValueError):
        return {}
    names = {
        "access_key_id": "aws_access_key_id",
        "secret_access_key": "aws_secret_access_key",
        "session_token": "aws_session_token",
    }
    return {ours: profile[theirs] for ours, theirs in names.items() if theirs in profile}
