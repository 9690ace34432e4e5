"""Files as bytes, texts that are written whole or not at all, and the folder for what may go.

The environment is read here: ``XDG_CACHE_HOME``; the cache is its folder ``geoseg``, by default
``~/.cache/geoseg``.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from geoseg.errors import GeosegError, OutputError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_LEAST_ROOM = 2**20
"""Bytes; with less, what failed in a folder is taken to have failed for want of room."""


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file as 64 hexadecimal digits; read in pieces, so memory does not grow with it.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_full(folder: Path, error: Exception) -> bool:
    """Whether something failed since there is no room; GDAL and SQLite do not always say so."""
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return True
    try:
        return shutil.disk_usage(folder).free < _LEAST_ROOM
    except OSError:
        return False


@contextmanager
def full_disk_said(folder: Path) -> Iterator[None]:
    """Whatever fails within the block since the disk of ``folder`` is full is said as that.

    Raises:
        OutputError: the disk is full.
    """
    try:
        yield
    except GeosegError:
        raise
    except Exception as error:
        if not is_full(folder, error):
            raise
        raise OutputError(f"The disk is full: {folder.parent}. Make room, then go on (--resume).") from error


def check_out(out: Path, name: str, *, overwrite: bool) -> None:
    """A result that lies in a folder already is kept, and a folder that cannot be written is refused.

    Raises:
        OutputError: there is a file of that name, and ``overwrite`` is not set; or see :func:`check_folder`.
    """
    check_folder(out)
    if (out / name).exists() and not overwrite:
        raise OutputError(f"{out} holds {name} already. Give --overwrite to replace it, or another --out.")


def check_folder(out: Path) -> None:
    """A folder that is there or can be made, and can be written.

    Raises:
        OutputError: ``out`` is a file, or read-only, or within such.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file, not a folder. Give another --out.")
    nearest = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise OutputError(f"{out} cannot be written: {nearest} is no folder for you. Give another --out.")


def write_texts(out: Path, texts: Mapping[str, str]) -> None:
    """Files of a folder in their order, each under a temporary name until it is whole.

    Raises:
        OutputError: the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            temporary = out / f".{name}.{os.getpid()}"
            try:
                temporary.write_text(text, encoding="utf-8")
                temporary.replace(out / name)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error.strerror}. Give another --out.") from None


def cache_folder() -> Path:
    """Where geoseg keeps what it fetched, and maps for object stores while they are made; it may be deleted
    while no run goes on, unless one has said that its finished map could not be put at its address.
    """
    home = os.environ.get("XDG_CACHE_HOME", "")
    # Relative paths are to be ignored (XDG Base Directory Specification 0.8).
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".cache") / "geoseg"
