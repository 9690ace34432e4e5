"""The seam score of a run: some spots as small blocks of a shifted lattice, run where the others ran."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.grid.tiling import Block
from geoseg.inference.seams import SeamScore, compared, pick, score_of, spots_of
from geoseg.jobs.blocks import BlockDone, BlockTask
from geoseg.jobs.journal import with_fingerprints
from geoseg.jobs.near import items_near
from geoseg.jobs.plan import Plan
from geoseg.legend import CLASS_NODATA
from geoseg.report.facts import SeamFacts

_SEAMS = "seams"
"""Folder of their parts, in that of the blocks and in a store."""


@dataclass(frozen=True)
class SeamTasks:
    """The spots of a map that are predicted again."""

    tasks: list[BlockTask]
    """None where there is no such spot. Their parts are small: at most as large as a tile each."""
    reason: str
    """Why not."""


def seam_tasks(plan: Plan, like: BlockTask, class_tif: Path) -> SeamTasks:
    """Small blocks of the shifted lattice; which ones depends on the map alone, not on how it was cut.

    Args:
        plan: of the run.
        like: a task of the run.
        class_tif: the finished map.
    """
    height, width = plan.geobox.shape
    candidates, reason = spots_of(plan.tiles, Window(0, 0, width, height))
    if like.aoi_px is not None:
        candidates = _within(candidates, like.aoi_px)
    with rasterio.open(class_tif) as source:
        picked = pick(candidates, lambda p: int((_read(source, p) != CLASS_NODATA).sum()), plan=plan.tiles)
    parts = like.parts / _SEAMS
    shutil.rmtree(parts, ignore_errors=True)  # of a run that is resumed
    parts.mkdir()
    blocks = [Block(i, spot) for i, spot in enumerate(picked)]
    tasks = [
        replace(
            like,
            block=block,
            items=[item.to_dict(include_self_link=False) for item in items],
            plan=plan.tiles.shifted(),
            parts=parts,
            store=like.store and f"{like.store}/{_SEAMS}",
        )
        for block, items in zip(blocks, items_near(plan, blocks), strict=True)
    ]
    # Named by what they are: other maps may use the same store.
    return SeamTasks(with_fingerprints(tasks), reason)


def seam_facts(spots: SeamTasks, done: Sequence[BlockDone], class_tif: Path) -> SeamFacts:
    """What came of them, compared with the map."""
    counts = []
    with rasterio.open(class_tif) as source:
        for task, part in zip(spots.tasks, done, strict=True):
            with rasterio.open(task.parts / part.part) as again:
                counts.append(compared(_read(source, task.block.window), again.read(1)))
    return facts_of(score_of(counts, spots.reason))


def facts_of(score: SeamScore) -> SeamFacts:
    """For the report."""
    return SeamFacts(share=score.share, pixels=score.n_pixels, spots=score.n_spots, text=score.text())


def _within(spots: list[Window], aoi_px: shapely.Geometry) -> list[Window]:
    if not spots:
        return []
    left, top, width, height = np.array([p.flatten() for p in spots]).T
    shapely.prepare(aoi_px)
    touches = shapely.intersects(aoi_px, shapely.box(left, top, left + width, top + height))
    return [spot for spot, is_in in zip(spots, touches, strict=True) if is_in]


def _read(source: rasterio.DatasetReader, spot: Window) -> NDArray[np.uint8]:
    classes: NDArray[np.uint8] = source.read(1, window=spot)
    return classes
