"""What a job costs besides its pixels: very many blocks with nothing in them, on a Dask scheduler."""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import numpy as np
import pystac
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry

from geoseg.aoi import to_degrees
from geoseg.bench.processes import Say
from geoseg.errors import RecipeError
from geoseg.grid.tiling import TilePlan, blocks_of
from geoseg.imagery.preflight import Preflight
from geoseg.inference.runner import Inference
from geoseg.jobs.clusters import Cluster
from geoseg.jobs.journal import Journal, with_fingerprints
from geoseg.jobs.leavings import PARTS
from geoseg.jobs.listener import Silence
from geoseg.jobs.log import Log
from geoseg.jobs.making import make_blocks
from geoseg.jobs.plan import Plan
from geoseg.jobs.tasks import tasks_of
from geoseg.memory import held_memory_mb, peak_memory_mb
from geoseg.models.zoo import card_of
from geoseg.recipe import Recipe
from geoseg.stac.catalog import load_catalog
from geoseg.stac.items import Selection

_BLOCK_PX = 64
_TILE_PX, _HALO_PX = 64, 8
_GSD_M = 10.0
_CRS, _LEFT_M, _TOP_M = "EPSG:32631", 200_000.0, 5_800_000.0
_CORNERS_PER_ROW = 32
"""Of the area, for each row of blocks."""
_BLOCKS_PER_ITEM = 32
"""In a row: what is read for a block reaches into one or two items each way."""
_ITEMS_PER_PLACE = 4
_MODEL = "spectral-rules"


@dataclass(frozen=True)
class Overhead:
    """A job of empty blocks."""

    n_blocks: int
    n_items: int
    n_corners: int
    """Of the area."""
    start_s: float
    """Until the first block can be sent: blocks, their items, their fingerprints."""
    wall_s: float
    """From the first block sent to the last one in the journal."""
    ms_per_block: float
    """Sent, taken up by a worker, a small file written, told, written down in journal and log."""
    peak_memory_mb: float
    """Of the client (1 MB = 2**20 bytes)."""
    grown_mb: float
    """What the client's memory grew by."""
    scheduler_mb: float
    worker_mb: float
    """The larger of them."""
    load: float
    """Of the machine before, as getloadavg(3) says for the last minute."""

    @property
    def label(self) -> str:
        """What stands over its column."""
        return f"{self.n_blocks:,} blocks"


def benchmark(counts: Sequence[int], *, workers: int, say: Say = lambda text: None) -> Iterator[Overhead]:
    """Run a job for each number of blocks, on a scheduler and workers of one thread, processes of their own.

    Raises:
        RecipeError: a number is too small.
    """
    if workers < 1 or not counts or min(counts) < 1:
        raise RecipeError("--blocks and --workers expect whole numbers from 1, as --blocks 1000,100000.")
    for n in counts:
        say(f"a job of {n:,} empty blocks on {workers} workers")
        with tempfile.TemporaryDirectory(prefix="geoseg-bench-") as folder:
            yield _run(n, workers, Path(folder))


def _run(n: int, workers: int, folder: Path) -> Overhead:
    from distributed import Client
    from distributed.deploy.subprocess import SubprocessCluster

    (folder / PARTS).mkdir()
    load = os.getloadavg()[0]
    options = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0", "host": "127.0.0.1"}
    with SubprocessCluster(n_workers=workers, **options) as made, Client(made) as client:
        client.wait_for_workers(workers, timeout=120)
        client.run(import_module, "geoseg.jobs.blocks")  # imports are not what is measured
        held, started = held_memory_mb(), time.perf_counter()
        plan = _plan(n, made.scheduler_address, folder / "map")
        tasks = with_fingerprints(tasks_of(plan, folder / PARTS)[:n])
        ready = time.perf_counter()
        log = Log(Silence())
        log.open(folder)
        with Cluster(plan.recipe, folder=folder) as cluster:
            make_blocks(replace(plan, cluster=cluster), tasks, Journal(folder), log)
        wall_s = time.perf_counter() - ready
        return Overhead(
            n_blocks=n,
            n_items=len(plan.inputs.items),
            n_corners=int(shapely.get_num_coordinates(plan.aoi.geom)),
            start_s=round(ready - started, 2),
            wall_s=round(wall_s, 2),
            ms_per_block=round(1000 * wall_s / n, 2),
            peak_memory_mb=round(peak_memory_mb(), 1),
            grown_mb=round(peak_memory_mb() - held, 1),
            scheduler_mb=round(client.run_on_scheduler(peak_memory_mb), 1),
            worker_mb=round(max(client.run(peak_memory_mb).values()), 1),
            load=round(load, 1),
        )


def _plan(n: int, scheduler: str, out: Path) -> Plan:
    """Blocks that each touch the area and hold no pixel of it, and items over all of them but the first."""
    n_cols = int(np.ceil(np.sqrt(n)))
    side = n_cols * _BLOCK_PX
    geobox = GeoBox((side, side), Affine(_GSD_M, 0, _LEFT_M, 0, -_GSD_M, _TOP_M), _CRS)
    card, tiles = card_of(_MODEL), TilePlan(geobox, _TILE_PX, _HALO_PX)
    items = _items(geobox)
    return Plan(
        recipe=Recipe(aoi="0,0,1,1", scheduler=scheduler, model=_MODEL, block_size=_BLOCK_PX, out=str(out)),
        assumed=(),
        aoi=_slivers(geobox),
        is_cut=True,
        catalog=load_catalog("sample"),
        card=card,
        calibration=None,
        how=Inference(),
        selection=Selection(items, 0.0, 0.0, _ITEMS_PER_PLACE, _ITEMS_PER_PLACE),
        inputs=Preflight(items, card.bands, _GSD_M, _CRS, (0.0, 0.0), False, {}, ()),
        tiles=tiles,
        blocks=tuple(blocks_of(geobox, _BLOCK_PX)),
        out=out,
        before=out,
        timings_s={},
    )


def _slivers(geobox: GeoBox) -> Geometry:
    """Lines with hardly a width between the centres of pixels, and one pixel, so that there is a map."""
    side = geobox.shape.x
    cols = np.linspace(0, side, _CORNERS_PER_ROW // 2)
    lines = []
    for row in range(1, geobox.shape.y, _BLOCK_PX):
        top, bottom = np.full_like(cols, row - 0.1), np.full_like(cols, row + 0.1)
        ring = np.concatenate([np.stack([cols, top], -1), np.stack([cols, bottom], -1)[::-1]])
        lines.append(shapely.Polygon(ring))
    area = shapely.MultiPolygon([shapely.box(5, 5, 6, 6), *lines])
    return Geometry(shapely.transform(area, lambda px: np.stack(geobox.affine * px.T, -1)), geobox.crs)


def _items(geobox: GeoBox) -> pystac.ItemCollection:
    """Some over each place, with the assets that the model reads."""
    side, items = geobox.shape.x, []
    n_cols = max(side // (_BLOCKS_PER_ITEM * _BLOCK_PX), 1)
    edges = np.linspace(1.5 * _BLOCK_PX, side, n_cols + 1)
    for n in range(n_cols**2 * _ITEMS_PER_PLACE):
        place, number = divmod(n, _ITEMS_PER_PLACE)
        row, col = divmod(place, n_cols)
        box = shapely.box(edges[col], edges[row], edges[col + 1], edges[row + 1])
        ground = shapely.transform(box, lambda px: np.stack(geobox.affine * px.T, -1))
        area = to_degrees(Geometry(ground, geobox.crs)).geom
        day = datetime(2024, 7, 1 + number, tzinfo=UTC)
        item = pystac.Item(f"item-{n}", shapely.geometry.mapping(area), list(area.bounds), day, {})
        for band in card_of(_MODEL).bands:
            item.add_asset(
                band, pystac.Asset(f"https://example.org/{item.id}/{band}.tif", media_type="image/tiff")
            )
        items.append(item)
    return pystac.ItemCollection(items)
