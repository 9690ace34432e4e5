"""A folder of chips: the files, the index and the description that make it labelled images."""

import colorsys
import csv
import io
import json
import re
from collections import Counter
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
_LAYOUT = {
    "images": IMAGES, "labels": LABELS, "ground": _GROUND, "place": "place", "split": "split",
    "scale": SCALE, "offset": 0.0, "nodata": NODATA, "label_layer": 1,
}  # fmt: skip
"""Keys of the description that say how the files are stored: added chips are stored so."""
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
    places: str = ""
    """What its place is: ``block_m=`` and metres, or ``place_field=`` and the attribute."""

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

    @property
    def next_run(self) -> int:
        """The number of a run that adds to it; one that a note has is not given again."""
        noted = (int(m[1]) for note in self.notes if (m := re.match(r"run (\d+)", note)))
        return 1 + max([*(row.run for row in self.rows), *noted])


def read_chip_folder(folder: Path) -> ChipFolder:
    """A folder that ``geoseg chips`` wrote, to add to it.

    Raises:
        TrainingError: something else wrote it.
        EvaluationError: its files cannot be read.
    """
    document = read_document(folder / DESCRIPTION)
    other = [key for key, value in _LAYOUT.items() if getattr(document, key) != value]
    if other or document.index is None:
        raise TrainingError(
            f"{folder / DESCRIPTION} has another {', '.join(other) or 'index'} than geoseg chips writes, so "
            "nothing is added. Leave out --add to make a new folder."
        )
    text = (folder / DESCRIPTION).read_text("utf-8")
    notes = tuple(line.removeprefix("# ") for line in text.splitlines() if line.startswith("# run "))
    index = folder / document.index
    rows = tuple(_row(row) for row in read_rows(index))
    if not rows:
        raise TrainingError(f"{index} has no rows to add to. Leave out --add to make a new folder.")
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
            places=row.get("places", ""),
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
    writer.writerow(["chip", "place", "split", "run", *_GROUND, "side", "nodata", "places", *shares])
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
                row.places,
                *parts,
            ]
        )
    # the index first: where it has a new name, the description makes it a part of the folder
    write_texts(folder, {document.index or INDEX: table.getvalue(), DESCRIPTION: _toml(document, notes)})


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


def document_with(before: ChipFolder, classes: tuple[LabelClass, ...], new: Sequence[Chip]) -> LabelledImages:
    """The description of a folder that was added to: as it was, with new classes and splits after the old."""
    there = {row.split for row in before.rows} | set(before.document.splits)
    splits = tuple(s for s in (TEST, VAL, TRAIN) if s not in there and s in {row.split for row in new})
    return before.document.model_copy(
        update={"classes": classes, "splits": (*before.document.splits, *splits)}
    )


def _toml(document: LabelledImages, notes: Sequence[str]) -> str:
    lines = [
        "# Chips cut by geoseg chips; docs/labelled.md says what the keys mean.",
        *(f"# {note}" for note in notes),
        "",
    ]
    for key, value in document.model_dump(
        mode="json", exclude_defaults=True, exclude={"classes", "ignore"}
    ).items():
        lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}")
    tables = [*(("classes", c) for c in document.classes), *(("ignore", rule) for rule in document.ignore)]
    for name, table in tables:
        lines += ["", f"[[{name}]]"]
        lines += [
            f"{k} = {json.dumps(v, ensure_ascii=False)}"
            for k, v in table.model_dump(mode="json").items()
            if v
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
    taken = {value for c in known for value in c.values}
    free = (value for value in range(CLASS_NODATA) if value not in taken)
    made = (
        LabelClass(name=name, values=(next(free),), color_hint=colors.get(name, _color(n)))
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
    counts = Counter(row.split for row in rows)
    return {split: counts[split] for split in dict.fromkeys((*SPLITS, *counts)) if counts[split]}
