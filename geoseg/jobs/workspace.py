"""An output folder that is all there or not at all: filled in a hidden one, moved when whole."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from geoseg.errors import OutputError
from geoseg.files import sha256_of
from geoseg.jobs.leavings import (
    JOURNAL,
    PARTS,
    is_hidden,
    lock,
    new_workspace,
    old_of,
    olds_of,
    unlock,
    workspaces_of,
)
from geoseg.jobs.log import LOG

MANIFEST = "manifest.json"
"""The file that makes a folder one of geoseg's: it names the version and all files. It is written last."""
_SIDECARS = (".aux.xml", ".ovr", "-wal", "-shm", "-journal")
"""What GDAL, SQLite and QGIS put beside our files by themselves."""
_NOBODYS = ("lost+found", ".DS_Store", "Thumbs.db")
"""What systems put into folders."""


class Goal(Protocol):
    """Where a finished map goes."""

    def check(self, *, overwrite: bool) -> None:
        """Raise an OutputError if it may not go there."""

    def fill(self, folder: Path) -> None:
        """Move the files of ``folder`` there, its manifest last; or leave all as it was."""

    def keep(self, folder: Path) -> str:
        """Keep a map that could not be moved: where it is, in a sentence."""


@contextmanager
def workspace(
    out: Path, *, overwrite: bool, resume: bool = False, goal: Goal | None = None
) -> Iterator[Path]:
    """A hidden folder whose files become those of ``out`` when the block ends well and has left a manifest.

    It lies within ``out`` where that exists and beside it where not: files are then renamed, never copied,
    and workers that share ``out`` see it. When the block does not end well it is removed, unless a journal
    of finished blocks is in it: then it is what ``resume`` takes up, with those blocks and nothing else, or
    the next run without it removes. A folder that another run works in is left alone.

    Args:
        out: the output folder; with a ``goal``, where the hidden folder is, and nothing else.
        overwrite: a map that lies there may be replaced.
        resume: go on with what a run before has left.
        goal: takes the finished map in place of ``out``.

    Raises:
        OutputError: ``out`` holds anything but a map, or a map and ``overwrite`` is not set; it cannot be
            written; or it has changed meanwhile, then the finished map is kept where the message says.
    """
    try:
        target = out.resolve()  # a symbolic link stays, and what it leads to is filled
        goal = goal or _Folder(target, out)
        _end_moves(target, goal)
        goal.check(overwrite=overwrite)
        parent = target if target.is_dir() else target.parent
        parent.mkdir(parents=True, exist_ok=True)
        folder, handle = _taken(target, parent, resume=resume)
    except (OSError, RuntimeError) as error:  # Python 3.11 says RuntimeError of links that lead in a circle
        raise OutputError(f"{out} cannot be written: {_reason(error)}. Give another --out.") from None
    try:
        yield folder
    except BaseException:
        if not (folder / JOURNAL).exists():
            shutil.rmtree(folder, ignore_errors=True)
        unlock(handle)
        raise
    try:
        if not (folder / MANIFEST).exists():  # there was nothing to do
            shutil.rmtree(folder, ignore_errors=True)
            return
        shutil.rmtree(folder / PARTS, ignore_errors=True)  # they are in the rasters now
        goal.check(overwrite=overwrite)
        goal.fill(folder)
    except (OSError, OutputError) as error:
        why = f"{error}" if isinstance(error, OutputError) else f"{out} cannot be written: {_reason(error)}."
        raise OutputError(f"{why} {goal.keep(folder)}") from error
    finally:
        unlock(handle)


def _taken(target: Path, parent: Path, *, resume: bool) -> tuple[Path, int | None]:
    """A folder for this run alone: what a run before left, or a new one; and what keeps others out of it.

    What else runs have left is removed.
    """
    taken: tuple[Path, int | None] | None = None
    for left in workspaces_of(target):
        handle = lock(left)
        if handle is None and resume and os.name != "nt":  # there it is None always
            unlock(taken[1] if taken else None)
            raise OutputError(
                f"Another run makes {target.name} in {left.parent} now. Wait for it, or give another --out."
            )
        if handle is None:
            continue
        if resume and taken is None and (left / JOURNAL).exists():
            _clear(left)
            taken = left, handle
            continue
        shutil.rmtree(left, ignore_errors=True)
        unlock(handle)
    if taken is not None:
        return taken
    folder = new_workspace(target, parent)
    return folder, lock(folder)


def _clear(folder: Path) -> None:
    """Leave the journal and the parts of a run that was stopped, and nothing half-written."""
    for path in [*folder.iterdir(), *folder.glob(f"{PARTS}/*")]:
        is_of_parts = path.parent.name == PARTS and path.suffix in (".tif", ".json")
        if path.name in (JOURNAL, LOG, PARTS) or is_of_parts:
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


@dataclass(frozen=True)
class _Folder:
    """A :class:`Goal` on this machine."""

    target: Path
    out: Path
    """The same, as it was given."""

    def check(self, *, overwrite: bool) -> None:
        _check(self.target, self.out, overwrite=overwrite)

    def fill(self, folder: Path) -> None:
        _move(folder, self.target)

    def keep(self, folder: Path) -> str:
        """Under a name that is not hidden."""
        kept = folder.with_name(f"{self.target.name}-finished-{folder.stem.rpartition('.')[2]}")
        with suppress(OSError):
            folder = folder.rename(kept)
        return f"The finished map is in {folder}."


def _check(target: Path, out: Path, *, overwrite: bool) -> None:
    if target.exists() and not target.is_dir():
        raise OutputError(f"{out} is a file, not a folder. Give another --out.")
    names = _names_in(target)
    if not names:
        return
    written = files_of_map(target)
    if not written:
        raise OutputError(
            f"{out} holds files that are not a geoseg map: it is not replaced. Give another --out."
        )
    if not overwrite:
        raise OutputError(f"{out} exists already. Give --overwrite to replace it, or another --out.")
    refuse_foreign(names, written, out)


def refuse_foreign(names: Iterable[str], written: set[str], out: Path | str) -> None:
    """Raise an OutputError unless all names are ``written`` ones, or of what programs put beside them."""
    allowed = written | {name + suffix for name in written for suffix in _SIDECARS}
    if foreign := [name for name in names if name not in allowed]:
        shown = ", ".join(foreign[:3]) + (f" and {len(foreign) - 3} more" if len(foreign) > 3 else "")
        raise OutputError(
            f"{out} holds files that geoseg did not write: {shown}. Move them, or give another --out."
        )


def _names_in(target: Path) -> list[str]:
    """What lies there, without workspaces, also of runs that were killed."""
    names = sorted(p.name for p in target.iterdir()) if target.is_dir() else []
    return [name for name in names if not is_hidden(name) and name not in _NOBODYS]


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Written last, with the ``files`` of the folder and their SHA-256; from then on the map is whole."""
    files = {
        path.name: {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
        if path.is_file()
    }
    unfinished = folder / f"{MANIFEST}.tmp"
    unfinished.write_text(json.dumps({**manifest, "files": files}, indent=2) + "\n", "utf-8")
    unfinished.replace(folder / MANIFEST)


def files_of_map(target: Path) -> set[str]:
    """The files that geoseg wrote there, as its manifest lists them; empty where none of its maps lies."""
    try:
        return files_in((target / MANIFEST).read_bytes())
    except OSError:
        return set()


def files_in(manifest: bytes) -> set[str]:
    """The names that a manifest lists, its own among them; empty if it is not one of geoseg's."""
    try:
        found = json.loads(manifest)
        return {MANIFEST, *found["files"]} if "geoseg" in found else set()
    except (ValueError, KeyError, TypeError):
        return set()


def is_whole(target: Path) -> bool:
    """Whether the files of a map are as they were written."""
    try:
        files = json.loads((target / MANIFEST).read_bytes())["files"]
        return all(sha256_of(target / name) == facts["sha256"] for name, facts in files.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _move(folder: Path, target: Path) -> None:
    """All files of ``folder`` into ``target``, in place of what lies there; or all stays as it was.

    Cut off by a kill, :func:`_end_moves` ends it.
    """
    if not target.is_dir():
        folder.rename(target)
        return
    # File by file: a mount point (a Docker volume given as --out) or the folder that a shell stands in cannot
    # be renamed. The manifest, which makes a folder a map, goes first and comes last.
    moves = _moves(folder, target, old := old_of(folder, target))
    old.mkdir(exist_ok=True)
    done: list[tuple[Path, Path]] = []
    try:
        for source, goal in moves:
            source.rename(goal)
            done.append((source, goal))
    except BaseException:
        for source, goal in reversed(done):
            with suppress(OSError):
                goal.rename(source)
        with suppress(OSError):
            old.rmdir()
        raise
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _moves(folder: Path, target: Path, old: Path) -> list[tuple[Path, Path]]:
    """What is left to rename, from where to where: the map that was there away, the new one in.

    Raises:
        OutputError: ``target`` holds what belongs to neither.
    """
    coming = {name for name in files_of_map(folder) if (folder / name).exists()}
    come = files_of_map(folder) - coming
    leaving = [name for name in _names_in(target) if name not in come]
    refuse_foreign(leaving, files_of_map(target) | files_of_map(old), target)
    return [(target / n, old / n) for n in sorted(leaving, key=lambda n: n != MANIFEST)] + [
        (folder / n, target / n) for n in sorted(coming, key=lambda n: (n == MANIFEST, n))
    ]


def _end_moves(target: Path, goal: Goal) -> None:
    """A map that a killed run had made whole is moved to where it goes, or the rest of it."""
    for folder in reversed(workspaces_of(target)):  # the newest wins
        handle = lock(folder)
        if handle is None and os.name != "nt":
            continue
        try:
            if files_of_map(folder):
                shutil.rmtree(folder / PARTS, ignore_errors=True)
                goal.fill(folder)
        finally:
            unlock(handle)
    if files_of_map(target):
        for old in olds_of(target):
            shutil.rmtree(old, ignore_errors=True)
