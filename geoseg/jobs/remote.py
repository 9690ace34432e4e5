"""A map at an address: a reader sees it whole, an old or a new one, or sees no manifest."""

import json
import shutil
from pathlib import Path, PurePosixPath

from geoseg.errors import OutputError
from geoseg.jobs.leavings import JOURNAL
from geoseg.jobs.plan import STORED_PARTS
from geoseg.jobs.store import Store
from geoseg.jobs.workspace import MANIFEST, files_in, refuse_foreign

_FILLING = ".filling.json"
"""While files are replaced: the names of all that are geoseg's, the old map's and the new one's."""
REPORT = "report.json"


class RemoteFolder:
    """An output folder in an object store: a :class:`geoseg.jobs.workspace.Goal`."""

    def __init__(self, address: str) -> None:
        """``address`` without its last slash."""
        self._store = Store(address)
        self.address = self._store.address

    def check(self, *, overwrite: bool) -> None:
        """Raise an OutputError if there is anything but a map, or one and ``overwrite`` is not set."""
        names, written = self._names(), self._written()
        if names and not written:
            raise OutputError(
                f"{self.address} holds objects that are not a geoseg map: it is not replaced. "
                "Give another --out."
            )
        if names and not overwrite:
            raise OutputError(
                f"{self.address} exists already. Give --overwrite to replace it, or another --out."
            )
        refuse_foreign(names, _roots(written), self.address)

    def fill(self, folder: Path) -> None:
        """Put the files of ``folder`` there, the manifest of what was there away first, the new one last.

        Broken off, it is begun again by the next run on this machine, since ``folder`` stays then. On another
        one, what has been put there may be replaced.
        """
        new, old = files_in((folder / MANIFEST).read_bytes()), self._written()
        names = self._names()
        refuse_foreign(names, _roots(old | new), self.address)
        note = {"geoseg": True, "files": dict.fromkeys(sorted(old | new))}
        self._store.put(_FILLING, json.dumps(note).encode())
        self._store.remove([MANIFEST])
        for name in sorted(new - {MANIFEST}):
            self._store.put(name, folder / name)
        beside = set(names) - _roots(old | new)  # such as class.tif.ovr
        self._store.remove((old | beside) - new - {_FILLING})
        self._store.put(MANIFEST, folder / MANIFEST)
        self._store.remove([_FILLING])
        shutil.rmtree(folder, ignore_errors=True)

    def keep(self, folder: Path) -> str:
        """It stays, for the next run to put there."""
        return f"The finished map is in {folder}: the same command with --resume puts it there."

    def bring(self, folder: Path) -> Path:
        """What says how the map there was made, into ``folder``, which is made: manifest, journal, report."""
        folder.mkdir(parents=True)
        for name in (MANIFEST, JOURNAL, REPORT):
            self._store.fetch(name, folder / name)
        return folder

    def bring_rasters(self, folder: Path) -> None:
        """The rasters of the map there too: blocks that stand are cut out of them."""
        manifest = folder / MANIFEST
        for name in files_in(manifest.read_bytes()) if manifest.exists() else ():
            if name.endswith((".tif", ".vrt")) and PurePosixPath(name).name == name:
                self._store.fetch(name, folder / name)

    def is_whole(self, folder: Path) -> bool:
        """Whether all files are there that the manifest in ``folder`` lists, each as long as it says."""
        try:
            files = json.loads((folder / MANIFEST).read_bytes())["files"]
            sizes = self._store.sizes()
            return all(sizes.get(name) == facts["bytes"] for name, facts in files.items())
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _names(self) -> list[str]:
        return [name for name in self._store.top() if name != STORED_PARTS]

    def _written(self) -> set[str]:
        """Names of what geoseg has put there."""
        manifest, filling = (self._store.read(name) for name in (MANIFEST, _FILLING))
        return files_in(manifest or b"") | (files_in(filling) | {_FILLING} if filling else set())


def _roots(names: set[str]) -> set[str]:
    """Files and folders right below the address that the names are in."""
    return {name.partition("/")[0] for name in names}
