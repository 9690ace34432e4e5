"""Labelled chips of the imagery of an area: what a training learns from."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from rasterio.windows import Window

from geoseg.errors import TrainingError
from geoseg.evaluation.labelled_document import LabelClass, LabelledImages
from geoseg.grid.geobox import window_geobox
from geoseg.grid.tiling import Block, TilePlan
from geoseg.jobs.chip_bands import card_for_chips
from geoseg.jobs.chip_cutting import Cut, Found, cut, look
from geoseg.jobs.chip_request import SIDE, ChipRequest
from geoseg.jobs.plan import Plan, plan_run
from geoseg.jobs.run import Listener, Silence
from geoseg.models.folders import make_folder, refuse_existing
from geoseg.recipe import Recipe
from geoseg.training.chip_folder import (
    DESCRIPTION,
    INDEX,
    Chip,
    ChipFolder,
    document_of,
    read_chip_folder,
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
    out = Path(str(recipe.out))
    before = read_chip_folder(out) if request.add else None
    if before is None:
        refuse_existing(out)
    recipe, request = _as_before(recipe, request, before)
    side = request.chip_size or SIDE
    whole = plan_run(
        recipe.model_copy(update={"tile_size": side, "halo": 0, "model": recipe.model}),
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
            return _add(job, found)
        made: list[ChipsMade] = []

        def fill(folder: Path) -> None:
            made.append(_described(job, found, cut(job, found, folder), folder))

        make_folder(out, fill)
    return made[0]


def _add(job: Cut, found: Found) -> ChipsMade:
    """New files come beside the old ones when all are there; the index makes them a part of the folder."""
    out = job.plan.out
    with TemporaryDirectory(prefix=".run", dir=out) as name:
        new = cut(job, found, Path(name))
        made = _described(job, found, new, Path(name))
        for path in sorted(Path(name).rglob("*.tif")):
            path.replace(out / path.relative_to(name))
        for text in (DESCRIPTION, INDEX):  # the index last: it makes the files a part of the folder
            (Path(name) / text).replace(out / text)
    return made


def _as_before(recipe: Recipe, request: ChipRequest, before: ChipFolder | None) -> tuple[Recipe, ChipRequest]:
    """With bands, pixel size and side of the folder that is added to."""
    if before is None:
        return recipe, request
    bands, gsd_m = tuple(before.document.bands), before.document.gsd_m
    if request.keep_bands not in (None, bands):
        raise TrainingError(
            f"The chips there have the bands {', '.join(bands)}. Leave out --keep-bands to add."
        )
    if recipe.gsd not in (None, gsd_m):
        raise TrainingError(f"The chips there have pixels of {gsd_m:g} m. Leave out --gsd to add to them.")
    side = request.chip_size or before.rows[-1].side
    return recipe.model_copy(update={"gsd": gsd_m}), replace(request, keep_bands=bands, chip_size=side)


def _on_chips(plan: Plan, side: int, block: int) -> Plan:
    """The plan on a grid of whole chips, with blocks of whole chips; both on the lattice of the CRS."""
    height, width = plan.geobox.shape
    grid = window_geobox(plan.geobox, plan.tiles.hull(Window(0, 0, width, height)))
    every = Window(0, 0, grid.shape.x, grid.shape.y)
    windows = [t.core.intersection(every) for t in TilePlan(grid, block, 0).tiles(every)]
    blocks = tuple(Block(n, w) for n, w in enumerate(windows))
    return replace(plan, tiles=TilePlan(grid, side, 0), blocks=blocks)


def _described(job: Cut, found: Found, new: list[Chip], folder: Path) -> ChipsMade:
    """Write index and description into ``folder``, with the split of each chip."""
    classes = found.meaning.classes
    plan, request, before = job.plan, job.request, job.before
    old = before.rows if before else ()
    new = with_splits(
        new,
        old,
        [c.name for c in classes],
        val_share=request.val_share,
        test_share=request.test_share,
        seed=request.seed,
        say=job.listener.say,
    )
    rows = (*old, *new)
    document = document_of(
        name=plan.out.name,
        title=before.document.title if before else f"Chips of {plan.name}",
        license_=before.document.license if before else request.license,
        bands=plan.inputs.bands,
        gsd_m=plan.inputs.gsd_m,
        classes=classes,
        splits={row.split for row in rows},
    )
    if before is not None:
        document = document.model_copy(update={"name": before.document.name})
    write_description(folder, document, rows, (*(before.notes if before else ()), _note(job, document)))
    return ChipsMade(plan.out, classes, rows, len(new))


def _note(job: Cut, document: LabelledImages) -> str:
    """Where the chips of a run come from, on one line."""
    items = [item.id for item in job.plan.selection.items]
    shown = ", ".join(items[:8]) + (f" and {len(items) - 8} more" if len(items) > 8 else "")
    text = (
        f"run {job.number}, {datetime.now(UTC).date()}: {shown} ({job.plan.recipe.composite}); labels "
        f"{job.request.labels}; {job.plan.attribution or 'no attribution stated'}"
    )
    return " ".join(text.split())
