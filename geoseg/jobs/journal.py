"""What a run has finished: a line for each block, on disk before its caller hears of it."""

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import shapely

from geoseg.files import sha256_of
from geoseg.jobs.blocks import BlockDone, BlockTask, bounds_of

JOURNAL = "journal.jsonl"
_MAKERS = ("geoseg", "torch", "rasterio", "odc-stac", "numpy")
"""Packages whose versions may change a pixel."""


def fingerprint_of_task(task: BlockTask) -> str:
    """SHA-256 of all that the part of a block is made from: 64 hexadecimal digits.

    Items with their addresses and, of local files, size and time of change; grid, tiles, area, model,
    composite, the way the network is run, and the versions of what computes. Not where it is written.
    """
    geobox, window = task.plan.geobox, task.block.window
    area = None if task.aoi_px is None else shapely.clip_by_rect(task.aoi_px, *bounds_of(window)).normalize()
    made_from: dict[str, Any] = {
        "grid": [str(geobox.crs), list(geobox.affine)[:6], list(geobox.shape)],
        "window": list(window.flatten()),
        "tiles": [task.plan.size, task.plan.halo],
        "area": area and area.wkb_hex,
        "items": task.items,
        "bands": task.bands,
        "composite": [task.composite, task.has_clouds],
        "model": task.model_fingerprint,
        "how": asdict(task.how) | {"int8": task.how.int8 and task.how.int8.model_dump(mode="json")},
        "versions": {name: version(name) for name in _MAKERS},
    }
    return hashlib.sha256(json.dumps(made_from, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class _Entry:
    """A line."""

    fingerprint: str
    sha256: str
    """Of the part."""
    done: BlockDone


class Journal:
    """Blocks that are done, by what they were made from."""

    def __init__(self, folder: Path) -> None:
        """What was written down in ``folder`` so far; a line that was cut short is forgotten."""
        self._path, self._parts = folder / JOURNAL, folder / "parts"
        self._entries: dict[str, _Entry] = {}
        whole = 0
        if self._path.exists():
            for line in self._path.read_bytes().splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                with suppress(ValueError, TypeError, KeyError):
                    entry = _parsed(line)
                    self._entries[entry.fingerprint] = entry
            with self._path.open("r+b") as file:
                file.truncate(whole)

    def __len__(self) -> int:
        return len(self._entries)

    def finished(self, fingerprint: str) -> BlockDone | None:
        """The block that was made from this, if its part is there, byte for byte."""
        entry = self._entries.get(fingerprint)
        if entry is None:
            return None
        try:
            is_whole = sha256_of(self._parts / entry.done.part) == entry.sha256
        except OSError:
            return None
        return entry.done if is_whole else None

    def note(self, fingerprint: str, done: BlockDone) -> None:
        """Write down that a block is done; on disk when this returns.

        Raises:
            OSError: the part cannot be read, or the line not written.
        """
        entry = _Entry(fingerprint, sha256_of(self._parts / done.part), done)
        line = json.dumps(asdict(entry), sort_keys=True) + "\n"
        with self._path.open("ab") as file:
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
        self._entries[fingerprint] = entry


def _parsed(line: bytes) -> _Entry:
    found = json.loads(line)
    return _Entry(found["fingerprint"], found["sha256"], BlockDone(**found["done"]))
