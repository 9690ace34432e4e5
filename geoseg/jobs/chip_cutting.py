"""Chips one by one: first the labels alone, then what is worth reading imagery for."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window
from rasterio.windows import union as hull_of

from geoseg.errors import TrainingError
from geoseg.evaluation.maps import Crosswalk
from geoseg.grid.geobox import lattice_origin, window_geobox
from geoseg.jobs.blocks import BlockTask, aoi_mask, read_window
from geoseg.jobs.chip_request import ChipRequest
from geoseg.jobs.listener import Listener
from geoseg.jobs.plan import Plan
from geoseg.jobs.tasks import tasks_of
from geoseg.legend import CLASS_NODATA
from geoseg.training.chip_classes import Meaning, meaning_of
from geoseg.training.chip_folder import Chip, ChipFolder, write_chip
from geoseg.training.chip_places import NO_PLACE, Places, known_ground
from geoseg.training.label_sources import CONFLICT, Labels


@dataclass(frozen=True)
class Cut:
    """All that a run works with."""

    plan: Plan
    """On a grid of whole chips."""
    request: ChipRequest
    labels: Labels
    places: Places
    before: ChipFolder | None
    """What is added to."""
    listener: Listener

    @property
    def side(self) -> int:
        """Of a chip, pixels."""
        return self.plan.tiles.size

    @property
    def number(self) -> int:
        """Of the run, from 1."""
        return self.before.next_run if self.before else 1


@dataclass(frozen=True)
class Candidate:
    """A chip with labels enough."""

    task: BlockTask
    window: Window
    place: str
    place_number: int
    """In the raster of places; ``NO_PLACE`` where they are blocks."""


@dataclass(frozen=True)
class Found:
    """What the labels alone say."""

    meaning: Meaning
    candidates: tuple[Candidate, ...]


def look(job: Cut) -> Found:
    """Which classes there are, and which chips have labels enough.

    Raises:
        TrainingError: there are no labels in the area, too few classes, or no such chip.
    """
    seen: Counter[int] = Counter()
    chips: list[tuple[BlockTask, Window, dict[int, int], int]] = []
    tasks = tasks_of(job.plan, Path())
    job.listener.start("reading labels", len(tasks))
    for task in tasks:
        for window in _windows(task.block.window, job.side):
            mask = aoi_mask(task.aoi_px, window)
            numbers = job.labels.read(window)
            values, counts = np.unique(numbers[mask], return_counts=True)
            here = dict(zip(values.tolist(), counts.tolist(), strict=True))
            seen.update(here)
            if here:
                chips.append((task, window, here, job.places.number(window, mask & (numbers < CONFLICT))))
        job.listener.advance(1)
    if seen[CONFLICT]:
        job.listener.say(
            f"{seen[CONFLICT]:,} pixels lie in polygons of different classes: they have no label."
        )
    meaning = _meaning(job, [n for n in sorted(seen) if n < CONFLICT])
    return Found(meaning, tuple(_enough(job, meaning, chips)))


def _meaning(job: Cut, numbers: list[int]) -> Meaning:
    request = job.request
    if not numbers:
        raise TrainingError(
            f"{request.labels} has no label in the area that the imagery covers. "
            "Check that they are of one place."
        )
    return meaning_of(
        numbers,
        job.labels,
        crosswalk=Crosswalk() if request.crosswalk is None else Crosswalk.read(request.crosswalk),
        rest=request.rest,
        known=job.before.document.classes if job.before else (),
        say=job.listener.say,
    )


def _enough(
    job: Cut, meaning: Meaning, chips: list[tuple[BlockTask, Window, dict[int, int], int]]
) -> Iterator[Candidate]:
    """Those of the chips that are worth reading imagery for."""
    least = max(job.request.min_labelled * job.side**2, 1)
    sizes, placed = [], []
    for task, window, here, number in chips:
        is_label = meaning.of(np.array(list(here), np.int32)) != CLASS_NODATA
        sizes.append(int(np.array(list(here.values()))[is_label].sum()))
        if sizes[-1] >= least and (name := job.places.name(window, number)) is not None:
            placed.append(Candidate(task, window, name, number))
    if max(sizes, default=0) < least:
        raise TrainingError(
            f"No chip has labels on {job.request.min_labelled:.2%} of its pixels; the best has "
            f"{max(sizes, default=0) / job.side**2:.2%}. Give a smaller --min-labelled or --chip-size."
        )
    if n_out := sum(size >= least for size in sizes) - len(placed):
        job.listener.say(f"{n_out:,} chips lie in no polygon that names a place: left out.")
    rows = job.before.rows if job.before else ()
    ground = known_ground([window_geobox(job.plan.geobox, c.window).extent for c in placed], rows)
    if n_out := sum(place is None for place in ground):
        job.listener.say(f"{n_out:,} chips lie on ground of two splits: left out.")
    for chip, place in zip(placed, ground, strict=True):
        if place is not None:
            yield Candidate(chip.task, chip.window, place or chip.place, chip.place_number)


def cut(job: Cut, found: Found, folder: Path) -> list[Chip]:
    """Write the chips that have values and labels enough; their rows, without splits.

    Raises:
        TrainingError: no chip is left.
    """
    rows: list[Chip] = []
    job.listener.start("cutting chips", len(found.candidates))
    n_elsewhere = 0
    for _, group in groupby(found.candidates, key=lambda c: c.task.block.index):
        chips = list(group)
        whole = hull_of([c.window for c in chips])
        image = read_window(chips[0].task, whole)
        for chip in chips:
            top, left = chip.window.row_off - whole.row_off, chip.window.col_off - whole.col_off
            pixels = image[:, top : top + job.side, left : left + job.side]
            labels, n_cleared = _labels(job, found.meaning, chip, pixels)
            row = _row(job, found.meaning, chip, pixels, labels)
            if row is not None:
                n_elsewhere += n_cleared
                rows.append(row)
                write_chip(
                    folder,
                    row.chip,
                    pixels,
                    labels,
                    geobox=window_geobox(job.plan.geobox, chip.window),
                    bands=job.plan.inputs.bands,
                    classes=found.meaning.classes,
                )
            job.listener.advance(1)
    if n_elsewhere:
        job.listener.say(f"{n_elsewhere:,} pixels lie in another place than their chip: they have no label.")
    _say_left_out(job, len(found.candidates) - len(rows), is_all=not rows)
    return rows


def _labels(
    job: Cut, meaning: Meaning, chip: Candidate, pixels: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], int]:
    """(y, x) classes of a chip, 255 where it has no values, and how many lost theirs to another place."""
    labels = meaning.of(job.labels.read(chip.window))
    labels[~np.isfinite(pixels).all(axis=0) | ~aoi_mask(chip.task.aoi_px, chip.window)] = CLASS_NODATA
    numbers = job.places.numbers(chip.window)
    if numbers is None:
        return labels, 0
    is_elsewhere = (numbers != NO_PLACE) & (numbers != chip.place_number) & (labels != CLASS_NODATA)
    labels[is_elsewhere] = CLASS_NODATA
    return labels, int(is_elsewhere.sum())


def _row(
    job: Cut, meaning: Meaning, chip: Candidate, pixels: NDArray[np.float32], labels: NDArray[np.uint8]
) -> Chip | None:
    """What the index says of a chip; None where it has too few values or labels."""
    nodata = 1 - float(np.isfinite(pixels).all(axis=0).mean())
    counts = np.bincount(labels.ravel(), minlength=256)[[c.values[0] for c in meaning.classes]]
    if nodata > job.request.max_nodata or counts.sum() < max(job.request.min_labelled * labels.size, 1):
        return None
    geobox = window_geobox(job.plan.geobox, chip.window)
    west, south, east, north = geobox.extent.boundingbox.bbox
    row0, col0 = lattice_origin(job.plan.geobox)
    row, col = (chip.window.row_off + row0) // job.side, (chip.window.col_off + col0) // job.side
    return Chip(
        chip=f"{job.number}_{row}_{col}",  # on the lattice of the CRS, in chips
        place=chip.place,
        split="",
        run=job.number,
        ground=(str(geobox.crs), west, south, east, north),
        side=job.side,
        nodata=nodata,
        places=job.places.rule,
        shares={c.name: n / labels.size for c, n in zip(meaning.classes, counts.tolist(), strict=True) if n},
    )


def _say_left_out(job: Cut, n: int, *, is_all: bool) -> None:
    if is_all:
        raise TrainingError(
            f"All {n:,} chips with labels have too few values or, under clouds and nodata, too few labels. "
            "Widen --datetime, or give a larger --max-nodata or a smaller --min-labelled."
        )
    if n:
        job.listener.say(f"{n:,} chips with labels have too few values, or too few labels on them: left out.")


def _windows(block: Window, side: int) -> Iterator[Window]:
    for row in range(block.row_off, block.row_off + block.height, side):
        for col in range(block.col_off, block.col_off + block.width, side):
            yield Window(col, row, side, side)
