"""Maps of several months in one folder: a STAC catalog of them all, so that one address finds each."""

import json
from pathlib import Path
from typing import Any

from geoseg.jobs.leavings import is_hidden, lock, unlock
from geoseg.jobs.workspace import files_of_map
from geoseg.writers.stac_item import COLLECTION_NAME, write_json

CATALOG_NAME = "catalog.json"
_MARK = "geoseg:maps"
"""The key by which a catalog is known to be ours."""
_PATIENCE_S = 60.0


def list_maps(folder: Path) -> Path | None:
    """``catalog.json`` in ``folder``, with a link to the collection of each map that lies there.

    It is made from what is there, while no other run does so: of maps that end at once none is left out.

    Returns:
        The file; None where there is no map, or somebody else's file of that name, which stays as it is.

    Raises:
        OutputError: it cannot be written.
    """
    path = folder / CATALOG_NAME
    handle = lock(folder, patience_s=_PATIENCE_S)
    try:
        if path.exists() and _MARK not in _read(path):
            return None
        names = sorted(
            p.name
            for p in folder.iterdir()
            if not p.is_symlink() and not is_hidden(p.name) and COLLECTION_NAME in files_of_map(p)
        )
        return write_json(path, _catalog(folder, names)) if names else None
    finally:
        unlock(handle)


def _catalog(folder: Path, names: list[str]) -> dict[str, Any]:
    name = folder.resolve().name or "maps"
    children = (
        {"rel": "child", "href": f"./{n}/{COLLECTION_NAME}", "type": "application/json", "title": n}
        for n in names
    )
    return {
        "type": "Catalog",
        "stac_version": "1.1.0",
        "id": name,
        "title": name,
        "description": f"Maps made by geoseg in {name}.",
        _MARK: len(names),
        "links": [{"rel": "root", "href": f"./{CATALOG_NAME}", "type": "application/json"}, *children],
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
