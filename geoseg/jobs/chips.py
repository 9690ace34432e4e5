"""Labelled chips of the imagery of an area: what a training learns from."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from rasterio.windows import Window

from geoseg.errors import TrainingError
from geoseg.evaluation.labelled_document import LabelClass
from geoseg.grid.geobox import window_geobox
from geoseg.grid.tiling import Block, TilePlan
from geoseg.imagery.changes import unchanged
from geoseg.jobs.chip_bands import card_for_chips
from geoseg.jobs.chip_cutting import Cut, Found, cut, look
from geoseg.jobs.chip_request import NO_LICENSE, SIDE, ChipRequest
from geoseg.jobs.folders import local_folder
from geoseg.jobs.listener import Listener, Silence
from geoseg.jobs.plan import Plan, plan_run
from geoseg.models.folders import make_folder, refuse_existing
from geoseg.recipe import Recipe
from geoseg.training.chip_adding import added_to, new_files, publish
from geoseg.training.chip_folder import (
    DESCRIPTION,
    Chip,
    ChipFolder,
    document_of,
    document_with,
    write_description,
)
from geoseg.training.chip_places import Places, with_splits
from geoseg.training.label_sources import labels_on

BLOCK = 1024
"""Side of what is read at a time, pixels, or a chip if that is larger: whole cells for the usual chips."""


@dataclass(frozen=True)
class ChipsMade:
    """What lies in the folder now."""

    out: Path
    classes: tuple[LabelClass, ...]
    rows: tuple[Chip, ...]
    n_new: int
    """Chips of this run, the last of the rows."""


def cut_chips(
    recipe: Recipe, request: ChipRequest, *, listener: Listener | None = None, block: int = BLOCK
) -> ChipsMade:
    """Cut chips into the folder ``recipe.out``: all of it or nothing.

    Labels are read first, without imagery, so that what is wrong with them is said early. Memory depends on
    the block and the number of items over a place, not on the area.

    Raises:
        GeosegError: one line that says what is wrong with imagery, labels or places.
    """
    listener = listener or Silence()
    out = local_folder(str(recipe.out))
    if not request.add:
        refuse_existing(out)
        return _cut(recipe, request, None, listener, block)
    with added_to(out) as before:
        return _cut(*_as_before(recipe, request, before), before, listener, block)


def _cut(
    recipe: Recipe, request: ChipRequest, before: ChipFolder | None, listener: Listener, block: int
) -> ChipsMade:
    side = request.chip_size or SIDE
    whole = plan_run(
        recipe.model_copy(update={"tile_size": side, "halo": 0}),
        say=listener.say,
        card_for=card_for_chips(request.keep_bands, listener.say),
    )
    plan = _on_chips(whole, side, max(block // side, 1) * side)
    for line in (*plan.scaling, *plan.inputs.adapted):
        listener.say(line)
    with labels_on(
        plan.geobox,
        request.labels,
        class_field=request.label_field,
        legend=request.legend,
        catalog=request.labels_catalog,
    ) as labels:
        for line in labels.notes:
            listener.say(line)
        places = Places(
            plan.geobox,
            field=request.place_field,
            labels=request.labels,
            aoi=recipe.aoi,
            block_m=request.block_m or 2 * side * plan.inputs.gsd_m,
        )
        job = Cut(plan, request, labels, places, before, listener)
        found = look(job)
        if before is not None:
            return _add(job, found, before)
        return _new(job, found)


def _new(job: Cut, found: Found) -> ChipsMade:
    made: list[ChipsMade] = []

    def fill(folder: Path) -> None:
        rows = _with_splits(job, found, _cut_whole(job, found, folder))
        document = document_of(
            name=job.plan.out.name,
            title=f"Chips of {job.plan.name}",
            license_=job.request.license,
            bands=job.plan.inputs.bands,
            gsd_m=job.plan.inputs.gsd_m,
            classes=found.meaning.classes,
            splits={row.split for row in rows},
        )
        write_description(folder, document, rows, (_note(job),))
        made.append(ChipsMade(job.plan.out, document.classes, tuple(rows), len(rows)))

    make_folder(job.plan.out, fill)
    return made[0]


def _add(job: Cut, found: Found, before: ChipFolder) -> ChipsMade:
    out = job.plan.out
    with new_files(out) as files:
        new = _with_splits(job, found, _cut_whole(job, found, files))
        rows = (*before.rows, *new)
        document = document_with(before, found.meaning.classes, new)
        publish(files, out, before, document, rows, (*before.notes, _note(job)))
    return ChipsMade(out, document.classes, rows, len(new))


def _cut_whole(job: Cut, found: Found, folder: Path) -> list[Chip]:
    with unchanged(job.plan.selection.items):
        return cut(job, found, folder)


def _as_before(recipe: Recipe, request: ChipRequest, before: ChipFolder) -> tuple[Recipe, ChipRequest]:
    """With bands, pixel size, side and places of the folder that is added to."""
    document, last = before.document, before.rows[-1]
    bands, gsd_m = tuple(document.bands), document.gsd_m
    if request.keep_bands not in (None, bands):
        raise TrainingError(
            f"The chips there have the bands {', '.join(bands)}. Leave out --keep-bands to add."
        )
    if recipe.gsd not in (None, gsd_m):
        raise TrainingError(f"The chips there have pixels of {gsd_m:g} m. Leave out --gsd to add to them.")
    if request.license not in (NO_LICENSE, document.license):
        raise TrainingError(
            f"The chips there have the license {document.license!r}. Leave out --license to add, or "
            f"change it in {DESCRIPTION}."
        )
    side = request.chip_size or last.side
    request = _places_as_before(replace(request, keep_bands=bands, chip_size=side), before.rows[0].places)
    return recipe.model_copy(update={"gsd": gsd_m}), request


def _places_as_before(request: ChipRequest, rule: str) -> ChipRequest:
    """With the places of the first run; folders of before this was kept say none."""
    key, _, value = rule.partition("=")
    block_m = float(value) if key == "block_m" else None
    field = value if key == "place_field" else None
    if not rule:
        return request
    if request.block_m not in (None, block_m) or request.place_field not in (None, field):
        was, asked = ("block-m" if v is not None else "place-field" for v in (block_m, request.block_m))
        what = f"{block_m:g}" if block_m is not None else field
        raise TrainingError(f"The places there are by --{was} {what}. Leave out --{asked} to add to them.")
    return replace(request, block_m=block_m, place_field=field)


def _on_chips(plan: Plan, side: int, block: int) -> Plan:
    """The plan on a grid of whole chips, with blocks of whole chips; both on the lattice of the CRS."""
    height, width = plan.geobox.shape
    grid = window_geobox(plan.geobox, plan.tiles.hull(Window(0, 0, width, height)))
    every = Window(0, 0, grid.shape.x, grid.shape.y)
    windows = [t.core.intersection(every) for t in TilePlan(grid, block, 0).tiles(every)]
    blocks = tuple(Block(n, w) for n, w in enumerate(windows))
    return replace(plan, tiles=TilePlan(grid, side, 0), blocks=blocks)


def _with_splits(job: Cut, found: Found, new: list[Chip]) -> list[Chip]:
    request = job.request
    return with_splits(
        new,
        job.before.rows if job.before else (),
        [c.name for c in found.meaning.classes],
        val_share=request.val_share,
        test_share=request.test_share,
        seed=request.seed,
        say=job.listener.say,
    )


def _note(job: Cut) -> str:
    """Where the chips of a run come from, on one line."""
    items = [item.id for item in job.plan.selection.items]
    shown = ", ".join(items[:8]) + (f" and {len(items) - 8} more" if len(items) > 8 else "")
    text = (
        f"run {job.number}, {datetime.now(UTC).date()}: {shown} ({job.plan.recipe.composite}); labels "
        f"{job.request.labels}; {job.plan.attribution or 'no attribution stated'}"
    )
    return " ".join(text.split())
