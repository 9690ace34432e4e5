"""What a block leaves: a file of its layers, whole or not there; in a folder, or in an object store."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from geoseg.errors import OutputError, one_line
from geoseg.files import is_full, sha256_of
from geoseg.jobs.store import Store
from geoseg.legend import CLASS_NODATA


def write_part(path: Path, layers: Sequence[NDArray[np.uint8]], geobox: GeoBox) -> None:
    """Layers as one file, which is there when it is whole; the same layers give the same bytes.

    Raises:
        OutputError: it could not be written whole, for instance since the disk is full.
    """
    temporary = path.with_suffix(f".{uuid4().hex}.tmp")  # another worker may write the same block
    try:
        # Not by GDAL itself, which does not always say that it failed, and prints what it says in threads.
        contents = _bytes_of(layers, geobox)
        temporary.write_bytes(contents)
        if temporary.read_bytes() != contents:
            raise OutputError(f"{path} was not written whole. Is the disk full? Make room, then go on.")
        temporary.replace(path)
    except (RasterioError, OSError) as error:
        why = "the disk is full" if is_full(path.parent, error) else one_line(error)
        raise OutputError(f"{path} cannot be written: {why}. Mend that, then go on (--resume).") from error
    finally:
        temporary.unlink(missing_ok=True)


def leave_part(store: Store, path: Path, *, fingerprint: str, done: Mapping[str, object]) -> None:
    """Put a part into a store, and then a note that says what it is made from: as a line of the journal.

    Raises:
        OutputError: the store cannot be written.
    """
    store.put(path.name, path)
    note = {"fingerprint": fingerprint, "sha256": sha256_of(path), "done": done}
    store.put(note_of(path.name), json.dumps(note, sort_keys=True).encode() + b"\n")


def note_of(part: str) -> str:
    """The name of the note beside a part."""
    return f"{part}.json"


def _bytes_of(layers: Sequence[NDArray[np.uint8]], geobox: GeoBox) -> bytes:
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            count=len(layers),
            dtype="uint8",
            height=geobox.shape.y,
            width=geobox.shape.x,
            crs=str(geobox.crs),
            transform=geobox.affine,
            nodata=CLASS_NODATA,
            tiled=True,
            blockxsize=512,
            blockysize=512,
            interleave="band",  # each band is read by itself
            compress="deflate",
            zlevel=1,
        ) as part:
            for number, layer in enumerate(layers, start=1):
                part.write(layer, number)
        return bytes(memory.getbuffer())
