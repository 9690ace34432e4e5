"""The hidden folders that maps are made in: their names, who works in one, and what is left of them."""

import os
import re
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

JOURNAL = "journal.jsonl"
PARTS = "parts"
"""Folder of the blocks, beside the journal until the map is whole."""
_WORKSPACE, _OLD = "partial", "old"
_PATIENCE_S = 1.0
"""Whoever only looks whether a folder is taken holds it for less."""
_LOOK_S = 0.05


def new_workspace(target: Path, parent: Path) -> Path:
    """A folder in ``parent`` that the map of ``target`` is made in."""
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=f".{_WORKSPACE}", dir=parent))
    folder.chmod(0o755)
    return folder


def workspaces_of(target: Path) -> list[Path]:
    """Those of ``target``, in it and beside it, the newest first."""
    found = [path for place in (target, target.parent) for path in _named(place, target.name, _WORKSPACE)]
    return sorted(found, key=_changed, reverse=True)


def olds_of(target: Path) -> list[Path]:
    """Folders in ``target`` that hold the map that was there before."""
    return _named(target, target.name, _OLD)


def old_of(workspace: Path, target: Path) -> Path:
    """Where the map goes that the one in ``workspace`` replaces."""
    return target / workspace.with_suffix(f".{_OLD}").name


def target_names(place: Path, name: str) -> list[str]:
    """The names that match ``name`` (a regular expression) of maps whose workspaces lie in ``place``."""
    matches = (re.fullmatch(rf"\.({name})\.[^.]+\.{_WORKSPACE}", path.name) for path in listed(place))
    return [match[1] for match in matches if match]


def lock(folder: Path, *, patience_s: float = _PATIENCE_S) -> int | None:
    """Holds the folder until this process ends, however it ends; None where another has it, or it is gone.

    A lock on the folder itself (flock(2)), so that nothing has to be cleaned up. Windows has none: None.
    """
    try:
        import fcntl
    except ImportError:
        return None
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return None
    until = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() < until:
                time.sleep(_LOOK_S)
                continue
            os.close(handle)
            return None
        return handle


def unlock(handle: int | None) -> None:
    """Let go of what :func:`lock` holds."""
    if handle is not None:
        os.close(handle)


def is_taken(folder: Path) -> bool:
    """Whether a run works in that folder now; on Windows, where that is not known, True."""
    handle = lock(folder, patience_s=0)
    unlock(handle)
    return handle is None and folder.exists()


def remove_if_free(folder: Path) -> int | None:
    """Its size in bytes, if no run works in it: then it is gone; else None."""
    if (handle := lock(folder)) is None:
        return None
    try:
        n_bytes = 0
        for path in folder.rglob("*"):
            with suppress(OSError):
                n_bytes += path.stat().st_size * path.is_file()
        shutil.rmtree(folder, ignore_errors=True)
        return n_bytes
    finally:
        unlock(handle)


def is_hidden(name: str) -> bool:
    """Whether it is the name of such a folder."""
    return name.startswith(".") and name.endswith((f".{_WORKSPACE}", f".{_OLD}"))


def _named(place: Path, name: str, kind: str) -> list[Path]:
    pattern = re.compile(rf"\.{re.escape(name)}\.[^.]+\.{kind}")
    return [path for path in listed(place) if pattern.fullmatch(path.name) and path.is_dir()]


def listed(place: Path) -> list[Path]:
    """What lies in a folder; nothing where that cannot be known."""
    try:
        return list(place.iterdir())
    except OSError:
        return []


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # it was removed just now
        return 0.0
