"""A folder of chips: the files, the index and the description that make it labelled images."""

import colorsys
import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry

from geoseg.errors import TrainingError
from geoseg.evaluation.labelled import ground_of, read_document, read_rows
from geoseg.evaluation.labelled_document import LabelClass, LabelledImages
from geoseg.files import write_texts
from geoseg.legend import CLASS_NODATA
from geoseg.training.splits import SPLITS, TEST, TRAIN, VAL

DESCRIPTION, INDEX = "chips.toml", "index.csv"
IMAGES, LABELS = "chips/{chip}.tif", "labels/{chip}.tif"
SCALE, NODATA = 1e-4, -9999
"""int16 holds reflectance to 0.0001, as fine as Sentinel-2 and HLS are stored, in half of float32."""
_GROUND = ("crs", "west", "south", "east", "north")
_SHARE = "share "
_LEAST, _MOST = NODATA + 1, np.iinfo(np.int16).max
_GOLDEN = 0.618033988749895


@dataclass(frozen=True)
class Chip:
    """A row of the index."""

    chip: str
    place: str
    split: str
    run: int
    """Which call of ``geoseg chips`` cut it, from 1."""
    ground: tuple[str, float, float, float, float]
    """CRS, west, south, east, north."""
    side: int
    """Pixels."""
    nodata: float
    """Part of the pixels without a value in some band."""
    shares: Mapping[str, float]
    """Part of the pixels that is labelled as a class, by name."""

    @property
    def box(self) -> Geometry:
        """What it covers."""
        return ground_of([str(v) for v in self.ground])

    def counts(self, names: Sequence[str]) -> NDArray[np.int64]:
        """(class,) labelled pixels."""
        return np.rint([self.shares.get(n, 0.0) * self.side**2 for n in names]).astype(np.int64)


@dataclass(frozen=True)
class ChipFolder:
    """What a folder of chips says."""

    document: LabelledImages
    rows: tuple[Chip, ...]
    notes: tuple[str, ...]
    """Where the chips come from, a line for each run."""


def read_chip_folder(folder: Path) -> ChipFolder:
    """A folder that ``geoseg chips`` wrote, to add to it.

    Raises:
        TrainingError: it is none.
        EvaluationError: its files cannot be read.
    """
    if not (folder / DESCRIPTION).is_file():
        raise TrainingError(
            f"{folder} holds no {DESCRIPTION} to add to. Leave out --add to make a new folder."
        )
    document = read_document(folder / DESCRIPTION)
    if (document.images, document.labels, document.ground) != (IMAGES, LABELS, _GROUND):
        raise TrainingError(f"{folder} was not made by geoseg chips, so nothing is added to it.")
    text = (folder / DESCRIPTION).read_text("utf-8")
    notes = tuple(line.removeprefix("# ") for line in text.splitlines() if line.startswith("# run "))
    rows = tuple(_row(row) for row in read_rows(folder / INDEX))
    if not rows:
        raise TrainingError(f"{folder / INDEX} has no rows to add to. Leave out --add to make a new folder.")
    return ChipFolder(document, rows, notes)


def _row(row: Mapping[str, str]) -> Chip:
    try:
        crs, *edges = (row[name] for name in _GROUND)
        west, south, east, north = map(float, edges)
        return Chip(
            chip=row["chip"],
            place=row["place"],
            split=row["split"],
            run=int(row["run"]),
            ground=(crs, west, south, east, north),
            side=int(row["side"]),
            nodata=float(row["nodata"]),
            shares={
                k.removeprefix(_SHARE): float(v) for k, v in row.items() if k.startswith(_SHARE) and float(v)
            },
        )
    except (KeyError, ValueError) as error:
        raise TrainingError(f"{INDEX} has a row that geoseg chips did not write ({error}).") from None


def write_description(
    folder: Path, document: LabelledImages, rows: Sequence[Chip], notes: Sequence[str]
) -> None:
    """Index and description, each whole or not at all; files that are in neither are no part of the folder.

    Raises:
        OutputError: they cannot be written.
    """
    names = [c.name for c in document.classes]
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    shares = [f"{_SHARE}{name}" for name in names]
    writer.writerow(["chip", "place", "split", "run", *_GROUND, "side", "nodata", *shares])
    for row in rows:
        edges = [f"{v:.12g}" for v in row.ground[1:]]
        parts = [f"{row.shares.get(name, 0.0):.12g}" for name in names]
        writer.writerow(
            [
                row.chip,
                row.place,
                row.split,
                row.run,
                row.ground[0],
                *edges,
                row.side,
                f"{row.nodata:.12g}",
                *parts,
            ]
        )
    write_texts(folder, {DESCRIPTION: _toml(document, notes), INDEX: table.getvalue()})


def document_of(
    *, name: str, title: str, license_: str, bands: tuple[str, ...], gsd_m: float,
    classes: tuple[LabelClass, ...], splits: set[str],
) -> LabelledImages:  # fmt: skip
    """The description of a folder of chips; the split that is scored by default is the least looked at."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return LabelledImages(
        name=slug or "chips",
        title=title,
        license=license_,
        bands=bands,
        gsd_m=gsd_m,
        scale=SCALE,
        nodata=NODATA,
        index=INDEX,
        images=IMAGES,
        labels=LABELS,
        place="place",
        ground=_GROUND,
        split="split",
        splits=tuple(split for split in (TEST, VAL, TRAIN) if split in splits),
        classes=classes,
    )


def _toml(document: LabelledImages, notes: Sequence[str]) -> str:
    lines = [
        "# Chips cut by geoseg chips; docs/labelled.md says what the keys mean.",
        *(f"# {note}" for note in notes),
        "",
    ]
    for key, value in document.model_dump(mode="json", exclude_defaults=True, exclude={"classes"}).items():
        lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}")
    for c in document.classes:
        lines += ["", "[[classes]]"]
        lines += [
            f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in c.model_dump(mode="json").items() if v
        ]
    return "\n".join(lines) + "\n"


def classes_of(
    names: Sequence[str], colors: Mapping[str, str], known: Sequence[LabelClass] = ()
) -> tuple[LabelClass, ...]:
    """Classes 0, 1, 2 ...: those that a folder has already, then new ones by the names given.

    Raises:
        TrainingError: there are more than labels of 8 bits can hold.
    """
    old = [c.name for c in known]
    new = [name for name in dict.fromkeys(names) if name not in old]
    if len(old) + len(new) >= CLASS_NODATA:
        raise TrainingError(
            f"The labels have {len(old) + len(new):,} classes, at most 254 are possible. Is --label-field "
            "the attribute of the class? Join classes by a --crosswalk."
        )
    made = (
        LabelClass(name=name, values=(n,), color_hint=colors.get(name, _color(n)))
        for n, name in enumerate(new, len(old))
    )
    return (*known, *made)


def _color(n: int) -> str:
    """Colours that differ however many there are: hues by the golden ratio."""
    rgb = colorsys.hsv_to_rgb((0.33 + n * _GOLDEN) % 1, (0.65, 0.9, 0.45)[n % 3], (0.75, 0.95)[n % 2])
    return "".join(f"{round(255 * v):02X}" for v in rgb)


def write_chip(
    folder: Path, name: str, pixels: NDArray[np.float32], labels: NDArray[np.uint8], *,
    geobox: GeoBox, bands: Sequence[str], classes: Sequence[LabelClass],
) -> None:  # fmt: skip
    """An image and its labels as GeoTIFFs.

    Args:
        folder: of all chips.
        name: of this one.
        pixels: (band, y, x) reflectance, NaN for nodata.
        labels: (y, x) class numbers, 255 for none.
        geobox: where they lie.
        bands: common names.
        classes: give the labels their colours.
    """
    stored = np.full(pixels.shape, NODATA, np.int16)
    is_known = np.isfinite(pixels)
    stored[is_known] = np.rint(pixels[is_known] / np.float32(SCALE)).clip(_LEAST, _MOST)
    block = min(256, -(-geobox.shape.x // 16) * 16)
    profile = {
        "driver": "GTiff", "height": geobox.shape.y, "width": geobox.shape.x, "crs": str(geobox.crs),
        "transform": geobox.affine, "tiled": True, "blockxsize": block, "blockysize": block,
        "compress": "deflate",
    }  # fmt: skip
    for pattern in (IMAGES, LABELS):
        (folder / pattern).parent.mkdir(parents=True, exist_ok=True)
    path = folder / IMAGES.format(chip=name)
    with rasterio.open(
        path, "w", count=len(stored), dtype="int16", nodata=NODATA, predictor=2, **profile
    ) as sink:
        sink.write(stored)
        sink.descriptions = tuple(bands)
        sink.scales = [SCALE] * len(stored)
    path = folder / LABELS.format(chip=name)
    with rasterio.open(path, "w", count=1, dtype="uint8", nodata=CLASS_NODATA, **profile) as sink:
        sink.write(labels, 1)
        sink.write_colormap(1, {c.values[0]: tuple(bytes.fromhex(c.color_hint)) for c in classes})


def in_splits(rows: Sequence[Chip]) -> dict[str, int]:
    """How many chips each split has."""
    return {split: n for split in SPLITS if (n := sum(row.split == split for row in rows))}
