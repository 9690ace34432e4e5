"""What a run has finished: a line for each block, written before its caller hears of it."""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window

from geoseg.files import sha256_of
from geoseg.grid.geobox import window_geobox
from geoseg.inference.uncertainty import raster_names
from geoseg.jobs.blocks import BlockDone, BlockTask, bounds_of
from geoseg.jobs.leavings import JOURNAL, PARTS
from geoseg.jobs.parts import write_part
from geoseg.redaction import unsigned
from geoseg.writers.vrt import raster_of

_MAKERS = ("geoseg", "torch", "rasterio", "odc-stac", "numpy")
"""Packages whose versions may change a pixel."""
_SYNC_S = 1.0
"""Blocks of less are not worth the time that a disk takes to be sure of each."""


def with_fingerprints(tasks: Sequence[BlockTask]) -> list[BlockTask]:
    """Tasks of one run, each with the SHA-256 of all that its part is made from: 64 hexadecimal digits.

    Items with their addresses and, of local files, size and time of change; grid, tiles, area, model,
    composite, the way the network is run, and the versions of what computes. Not where it is written, nor
    what a catalog signs addresses with.
    """
    if not tasks:
        return []
    shared, items = _sha256(_shared(tasks[0])), dict[int, str]()
    for item in (item for task in tasks for item in task.items):
        if id(item) not in items:  # blocks share them
            items[id(item)] = _sha256(item)
    return [
        replace(
            task,
            fingerprint=_sha256(
                {
                    "shared": shared,
                    "window": list(task.block.window.flatten()),
                    "area": area,
                    "items": [items[id(item)] for item in task.items],
                }
            ),
        )
        for task, area in zip(tasks, _areas(tasks), strict=True)
    ]


def _shared(task: BlockTask) -> dict[str, Any]:
    geobox = task.plan.geobox
    return {
        "grid": [str(geobox.crs), list(geobox.affine)[:6], list(geobox.shape)],
        "tiles": [task.plan.size, task.plan.halo],
        "bands": task.bands,
        "composite": [task.composite, task.has_clouds],
        "model": task.model_fingerprint,
        "how": asdict(task.how)
        | {"device": task.how.device.partition(":")[0]}  # GPUs take turns
        | {"int8": task.how.int8 and task.how.int8.model_dump(mode="json")},
        "versions": _versions(),
    }


def _areas(tasks: Sequence[BlockTask]) -> list[str | None]:
    """Of each block the area in it, as hexadecimal WKB; None where it is all of the block."""
    area = tasks[0].aoi_px
    if area is None:
        return [None] * len(tasks)
    bounds = [bounds_of(task.block.window) for task in tasks]
    shapely.prepare(area)
    is_all = shapely.contains_properly(area, shapely.box(*np.array(bounds, float).T))
    return [
        None if is_within else shapely.clip_by_rect(area, *sides).normalize().wkb_hex
        for is_within, sides in zip(is_all, bounds, strict=True)
    ]


def _sha256(facts: object) -> str:
    return hashlib.sha256(unsigned(json.dumps(facts, sort_keys=True, default=str)).encode()).hexdigest()


@cache
def _versions() -> dict[str, str]:
    return {name: version(name) for name in _MAKERS}


@dataclass(frozen=True)
class Entry:
    """A line, and the note beside a part in a store."""

    fingerprint: str
    sha256: str
    """Of the part."""
    done: BlockDone


class Journal:
    """Blocks that are done, by what they were made from."""

    def __init__(self, folder: Path) -> None:
        """What was written down in ``folder`` so far; a line that was cut short is forgotten."""
        self._path, self._parts = folder / JOURNAL, folder / PARTS
        self._synced = 0.0
        self._entries, whole = _read(self._path)
        if self._path.exists():
            with self._path.open("r+b") as file:
                file.truncate(whole)

    def __len__(self) -> int:
        return len(self._entries)

    def n_others(self, fingerprints: Iterable[str]) -> int:
        """How many blocks are done that are none of these."""
        return len(self._entries.keys() - set(fingerprints))

    def finished(self, fingerprint: str) -> BlockDone | None:
        """The block that was made from this, if its part is there, byte for byte."""
        entry = self._entries.get(fingerprint)
        return entry.done if entry and is_whole(self._parts / entry.done.part, entry) else None

    def note(self, fingerprint: str, done: BlockDone) -> None:
        """Write down that a block is done: no kill of this process loses it, one of the system some seconds.

        Raises:
            OSError: the part cannot be read, or the line not written.
        """
        entry = Entry(fingerprint, sha256_of(self._parts / done.part), done)
        with self._path.open("ab") as file:
            file.write(_line(entry))
            file.flush()
            if time.monotonic() - self._synced > _SYNC_S:
                os.fsync(file.fileno())
                self._synced = time.monotonic()
        self._entries[fingerprint] = entry

    def keep(self, fingerprints: Iterable[str]) -> None:
        """Forget all blocks but these: what a run before did in another way is in no map."""
        self._entries = {fingerprint: self._entries[fingerprint] for fingerprint in fingerprints}
        temporary = self._path.with_suffix(".tmp")
        temporary.write_bytes(b"".join(_line(entry) for entry in self._entries.values()))
        temporary.replace(self._path)


class Published:
    """A finished map, whose blocks serve a run that would make the same ones: cut out of its rasters."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._entries, _ = _read(out / JOURNAL)

    def __contains__(self, fingerprint: str) -> bool:
        return fingerprint in self._entries

    def cut(self, task: BlockTask) -> BlockDone | None:
        """The part of a task, as it was when the map was made; None where the map does not hold it."""
        entry = self._entries.get(task.fingerprint)
        if entry is None:
            return None
        window, path = task.block.window, task.parts / task.part
        try:
            names = (Path(name).stem for name in raster_names(task.how.uncertainty))
            layers = [_layer(raster_of(self._out, name), window) for name in names]
            write_part(path, layers, window_geobox(task.plan.geobox, window))
        except (RasterioError, ValueError):
            return None
        if not is_whole(path, entry):
            path.unlink()
            return None
        return replace(entry.done, index=task.block.index, part=task.part)


def _layer(path: Path, window: Window) -> NDArray[np.uint8]:
    with rasterio.open(path) as source:
        pixels: NDArray[np.uint8] = source.read(1, window=window)
    return pixels


def is_whole(part: Path, entry: Entry) -> bool:
    """Whether a part is there as it was written."""
    try:
        return sha256_of(part) == entry.sha256
    except OSError:
        return False


def _read(path: Path) -> tuple[dict[str, Entry], int]:
    """The entries of a journal by fingerprint, and the length of its whole lines, bytes.

    Blocks with gaps are left out: what could not be read then may be there now.
    """
    entries, whole = dict[str, Entry](), 0
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
        if not line.endswith(b"\n"):
            break
        whole += len(line)
        with suppress(ValueError, TypeError, KeyError):
            entry = parsed(line)
            if not entry.done.gaps:
                entries[entry.fingerprint] = entry
    return entries, whole


def _line(entry: Entry) -> bytes:
    return json.dumps(asdict(entry), sort_keys=True).encode() + b"\n"


def parsed(line: bytes) -> Entry:
    """A line.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    found = json.loads(line)
    done = found["done"]
    gaps = tuple(done.pop("gaps", ()))
    return Entry(found["fingerprint"], found["sha256"], BlockDone(**done, gaps=gaps))
