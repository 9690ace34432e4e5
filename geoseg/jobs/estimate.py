"""What a run will cost: said by ``geoseg plan`` and ``--dry-run``, before it is paid."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pystac
import shapely
from numpy.typing import NDArray

from geoseg.errors import RecipeError
from geoseg.grid.geobox import snap_out
from geoseg.grid.tiling import Block
from geoseg.imagery.loader import CELL, band_metadata
from geoseg.imagery.reading import is_remote
from geoseg.inference.device import device_of, devices_of, own_threads, threads_kept
from geoseg.inference.seams import n_spots_of
from geoseg.jobs.cluster import device_on, workers_on
from geoseg.jobs.clusters import Cluster
from geoseg.jobs.memory import block_mb, tile_costs
from geoseg.jobs.near import blocks_within, pixels_seen, read_shares
from geoseg.jobs.plan import Plan
from geoseg.memory import GDAL_CACHE_MB

NETWORK_MB_PER_S = 10.0
"""Assumed for each worker and remote assets; local ones are not counted."""
_COMPRESSED = 0.5
_BYTES = {"int8": 1, "uint8": 1, "int32": 4, "uint32": 4, "float32": 4, "float64": 8}
_S_PER_H = 3600.0


@dataclass(frozen=True)
class Estimate:
    """Rough figures, each with what it stands on. Writing and tracing the finished map are not in them."""

    n_tiles: int
    """Tiles that touch the area, counted once per block that needs them."""
    read_mb: float
    """Uncompressed size of the pixels to be read; compressed COGs are about half."""
    memory_mb: float
    """Peak of a process, with a tile in its network and the pixels of a block for each of its workers; on a
    cluster, with one block."""
    predict_s: float
    """Tiles, those of the seam score included, times the time that one took just now on this machine in all
    views of ``tta``. Where no item has pixels nothing is run, as at the rim of the imagery."""
    read_s: float
    """Half of ``read_mb`` at 10 MB/s for remote assets."""
    n_workers: int
    """Blocks at a time: those that ``workers`` says or GPUs do, or of all workers of the scheduler; no more
    than there are."""
    elapsed_s: float
    """By the clock: ``predict_s`` and ``read_s``, shared among the workers. Those that are threads of one
    machine share its cores, and predict no faster than one that has them all."""
    worker_hours: float
    """``elapsed_s`` times ``n_workers``."""
    cost: float | None
    """``worker_hours`` times the recipe's ``price_per_hour``; None where it says none."""


def estimate(plan: Plan) -> Estimate:
    """Count tiles and pixels, time the model on one tile of zeros."""
    recipe, blocks = plan.recipe, blocks_within(plan)
    counts, shares = _tiles_touched(plan, blocks)
    n_tiles, read_mb = int(counts.sum()), _read_mb(plan, blocks, shares)
    addresses = (asset.href for item in plan.inputs.items for asset in item.assets.values())
    with threads_kept():
        held_mb, tile_mb, tile_s = tile_costs(plan)
    n_here = (recipe.workers or len(devices_of(plan.how.device))) if not recipe.is_on_cluster else 1
    n_run = np.minimum(counts, pixels_seen(plan, blocks) / plan.tiles.stride**2).sum()
    predict_s = float(n_run + (n_spots_of(n_tiles) if n_tiles > 1 else 0)) * tile_s
    read_s = read_mb * _COMPRESSED / NETWORK_MB_PER_S if any(map(is_remote, addresses)) else 0.0
    n_workers, n_predicting = (min(n, max(len(blocks), 1)) for n in _at_a_time(plan))
    elapsed_s = predict_s / n_predicting + read_s / n_workers
    hours = elapsed_s * n_workers / _S_PER_H
    return Estimate(
        n_tiles=n_tiles,
        read_mb=read_mb,
        memory_mb=held_mb + GDAL_CACHE_MB + n_here * (tile_mb + block_mb(plan, recipe.block_size)),
        predict_s=predict_s,
        read_s=read_s,
        n_workers=n_workers,
        elapsed_s=elapsed_s,
        worker_hours=hours,
        cost=None if recipe.price_per_hour is None else hours * recipe.price_per_hour,
    )


def _tiles_touched(plan: Plan, blocks: Sequence[Block]) -> tuple[NDArray[np.int_], NDArray[np.float64]]:
    """For each block how many of its tiles touch the area, and which share of its rows of tiles is read."""
    area, size, halo = plan.aoi_px, plan.tiles.size, plan.tiles.halo
    corners = [plan.tiles.corners(block.window) for block in blocks]
    counts = np.array([len(rows) * len(cols) for rows, cols in corners], int)
    shares = np.ones(len(blocks))
    if area is None or not blocks:
        return counts, shares
    left, top, width, height = np.array([block.window.flatten() for block in blocks]).T
    right, bottom = left + width, top + height
    shapely.prepare(area)
    # Of a large area most blocks lie inside, where nothing has to be looked at.
    for n in np.flatnonzero(~shapely.contains(area, shapely.box(left, top, right, bottom))):
        row, col = np.meshgrid(*corners[n], indexing="ij")
        upper, lower = np.maximum(row - halo, top[n]), np.minimum(row - halo + size, bottom[n])
        west, east = np.maximum(col - halo, left[n]), np.minimum(col - halo + size, right[n])
        touched = shapely.intersects(area, shapely.box(west, upper, east, lower))
        hit = np.flatnonzero(touched.any(axis=1))
        counts[n], shares[n] = touched.sum(), (np.ptp(hit) + 1) / len(row) if len(hit) else 0
    return counts, shares


def _read_mb(plan: Plan, blocks: Sequence[Block], shares: NDArray[np.float64]) -> float:
    """Of all items, where each has pixels; in bands coarser than the map as many as they have."""
    hulls = [snap_out(plan.geobox, plan.tiles.hull(block.window), CELL) for block in blocks]
    n_pixels = np.array([hull.width * hull.height for hull in hulls], float) * shares
    n_bytes = np.array([_pixel_bytes(item, plan.inputs.gsd_m) for item in plan.inputs.items])
    (block, item), covered = read_shares(plan, blocks)
    return float((n_pixels[block] * covered * n_bytes[item]).sum() / 1e6)


def _pixel_bytes(item: pystac.Item, gsd_m: float) -> float:
    """What a pixel of the map takes of a prepared item."""
    total, bands = 0.0, band_metadata(item)
    for asset in item.assets.values():
        names = [band.get("common_name", band["name"]) for band in asset.extra_fields["eo:bands"]]
        types = [str(bands[name].get("data_type")) for name in names if name in bands]
        finer = min(1.0, gsd_m / asset.extra_fields.get("gsd", gsd_m))
        total += sum(_BYTES.get(kind, 2) for kind in types) * finer**2
    return total


def _at_a_time(plan: Plan) -> tuple[int, int]:
    """Blocks at a time, and how many of them are predicted as fast as one is alone."""
    recipe = plan.recipe
    if recipe.scheduler is not None:
        try:
            with Cluster(recipe, folder=Path()) as cluster:
                n = workers_on(cluster, device_on(cluster, plan.how.device))
        except RecipeError:  # it is not there yet, or seen from elsewhere
            n = recipe.workers or 1
        return n, n
    if recipe.cluster is not None:
        n = recipe.workers or int(recipe.cluster_options.get("n_workers", 1))
        return n, n
    n = recipe.workers or len(devices_of(plan.how.device))
    if device_of(plan.how.device).type != "cpu":
        return n, min(n, len(devices_of(plan.how.device)))
    n_cores = os.cpu_count() or 1
    return n, min(n, max(n_cores // (recipe.threads or own_threads()), 1))
