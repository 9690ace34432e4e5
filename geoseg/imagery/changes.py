"""Files that are written to while they are read: a map of two states of a file would be of neither."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pystac

from geoseg.errors import ImageryError

FILES = "geoseg:files"
"""Field of an asset: path, size and time of change (ns) of each file on disk that it consists of."""


def files_of(names: Iterable[str]) -> list[list[Any]]:
    """What :data:`FILES` holds of files with these names; what is not on disk is left out."""
    paths = [Path(name).resolve() for name in names]
    return [[str(path), *state] for path in paths if (state := _state(path)) is not None]


@contextmanager
def unchanged(items: pystac.ItemCollection) -> Iterator[None]:
    """Whatever is read of ``items`` within is of files as they were when the items were made.

    Raises:
        ImageryError: a file changed; also in place of the error that reading a half-written file gave.
    """
    try:
        yield
    except ImageryError:
        refuse_changed(items)
        raise
    refuse_changed(items)


def refuse_changed(items: Iterable[pystac.Item]) -> None:
    """Compare files on disk with what they were when ``items_from_images`` looked at them.

    Size and time of change are compared, of the files beside them (masks, headers, overviews) and the sources
    of a VRT too. Files at addresses are not looked at.

    Raises:
        ImageryError: one has changed or gone.
    """
    seen = [
        entry
        for item in items
        for asset in item.assets.values()
        for entry in asset.extra_fields.get(FILES, [])
    ]
    for name, size, changed_ns in seen:
        now = _state(Path(name))
        if now is None:
            raise ImageryError(f"{name} was removed while it was being read. Put it back, then run again.")
        if now != (size, changed_ns):
            raise ImageryError(
                f"{name} changed while it was being read: {_words(size, changed_ns)} at the start, "
                f"{_words(*now)} now. Wait until nothing writes to it, then run again."
            )


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns)


def _words(size: int, changed_ns: int) -> str:
    when = datetime.fromtimestamp(changed_ns / 1e9).astimezone()
    return f"{size:,} bytes of {when:%Y-%m-%d %H:%M:%S}"
