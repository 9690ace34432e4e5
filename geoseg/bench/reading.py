"""A raster into memory, strip by strip: geoseg's loader against plain windows of rasterio, turn by turn."""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from geoseg.bench.processes import Say, call
from geoseg.bench.records import check_repeat, turn
from geoseg.bench.scenes import scenes_of
from geoseg.imagery.loader import CELL, load
from geoseg.imagery.reading import gdal_env
from geoseg.jobs.plan import Plan, plan_run
from geoseg.models.zoo import card_of
from geoseg.recipe import Recipe

_THREADS = 4
"""Squares that are read at a time, as in :mod:`geoseg.inference.predictor`."""
_MAX_AREA_KM2 = 1e9
_BY_RASTERIO = ("geoseg.bench.plain", "read_by_rasterio")
_BY_GEOSEG = ("geoseg.bench.reading", "read_by_geoseg")
_M2_PER_KM2 = 1e6


@dataclass(frozen=True)
class Reading:
    """A raster read by both, each in a process of its own; times are without start, imports and checks."""

    image: str
    width: int
    height: int
    n_bands: int
    """Those that the model takes; both read these."""
    mb: float
    """As they are stored, uncompressed, 1e6 bytes."""
    wall_s: float
    """To float32 reflectance with NaN for nodata."""
    rasterio_s: float
    """To the stored numbers."""
    ratio: float
    """``rasterio_s`` over ``wall_s``: how many times as fast geoseg is."""
    mb_per_s: float
    rasterio_mb_per_s: float
    mpx_per_s: float
    """Pixels with all their bands."""
    rasterio_mpx_per_s: float
    km2_per_s: float
    peak_memory_mb: float
    """Of the whole process, imports (some 300 to 600 MB) included."""
    rasterio_peak_memory_mb: float
    load: float
    """Load average of the machine at the end (1 min)."""

    @property
    def label(self) -> str:
        """The raster in a column's head."""
        return f"{self.image} {self.width} x {self.height}"


def benchmark(
    sizes: Sequence[int],
    *,
    model: str,
    repeat: int,
    image: Path | None = None,
    say: Say = lambda text: None,
) -> Iterator[Reading]:
    """Read a synthetic scene of each size, or a raster of the user's, ``repeat`` times by both.

    Args:
        sizes: sides in pixels; not heeded with ``image``.
        model: whose bands are read.
        repeat: pairs of runs on the same file; who begins alternates.
        image: a raster whose bands have names.
        say: told what is being done.

    Raises:
        RecipeError: a size or ``repeat`` is too small.
        ModelError: unknown model, or one whose bands the scene does not have.
        OutputError: a run failed.
    """
    check_repeat(repeat)
    bands = card_of(model).bands
    with tempfile.TemporaryDirectory(prefix="geoseg-bench-") as temporary:
        folder = Path(temporary)
        for path in [image] if image is not None else scenes_of(folder, sizes, bands, say):
            for i in range(repeat):
                say(f"reading {path.name}" + (f", {i + 1} of {repeat}" if repeat > 1 else ""))
                yield measure(path, model=model, number=i, log=folder / "log.txt")


def measure(image: Path, *, model: str, number: int, log: Path) -> Reading:
    """One pair of runs; geoseg begins if ``number`` is even.

    Raises:
        OutputError: a run failed.
    """
    path = str(image)
    commands = {True: (*_BY_GEOSEG, path, model), False: (*_BY_RASTERIO, path, *bands_of(path, model))}
    done = {is_ours: call(*commands[is_ours], log=log) for is_ours in turn(number)}
    (ours, found), (theirs, expected) = done[True], done[False]
    mb, mpx = expected["mb"], expected["width"] * expected["height"] / 1e6
    seconds, rasterio_s = found["seconds"], expected["seconds"]
    return Reading(
        image=image.name,
        width=int(expected["width"]),
        height=int(expected["height"]),
        n_bands=int(expected["n_bands"]),
        mb=round(mb, 2),
        wall_s=round(seconds, 3),
        rasterio_s=round(rasterio_s, 3),
        ratio=round(rasterio_s / seconds, 2),
        mb_per_s=round(mb / seconds, 1),
        rasterio_mb_per_s=round(mb / rasterio_s, 1),
        mpx_per_s=round(mpx / seconds, 2),
        rasterio_mpx_per_s=round(mpx / rasterio_s, 2),
        km2_per_s=round(found["km2"] / seconds, 2),
        peak_memory_mb=round(ours.peak_memory_mb),
        rasterio_peak_memory_mb=round(theirs.peak_memory_mb),
        load=round(os.getloadavg()[0], 1),
    )


def read_by_geoseg(path: str, model: str) -> dict[str, float]:
    """Seconds that the loader takes, once the image has been checked; and the ground it covers."""
    plan = _plan_of(path, model)
    height, width = plan.geobox.shape
    started = time.perf_counter()
    with gdal_env():
        image = load(plan.inputs.items, geobox=plan.geobox, bands=plan.inputs.bands).isel(time=0)
        for row in range(0, height, CELL):
            strip = image[:, row : row + CELL].data
            strip.compute(scheduler="threads", num_workers=_THREADS)
    seconds = time.perf_counter() - started
    pixel_m2 = abs(plan.geobox.affine.determinant)
    return {"seconds": seconds, "km2": height * width * pixel_m2 / _M2_PER_KM2}


def bands_of(path: str, model: str) -> list[str]:
    """Numbers, from 1, of the file's bands that the model takes, found as geoseg finds them."""
    plan = _plan_of(path, model)
    wanted, found = set(plan.inputs.bands), []
    for asset in plan.inputs.items[0].assets.values():
        names = [band.get("common_name") for band in asset.extra_fields["eo:bands"]]
        found += [str(number) for number, name in enumerate(names, 1) if name in wanted]
    return found


def _plan_of(path: str, model: str) -> Plan:
    recipe = Recipe(image=(path,), model=model, max_area_km2=_MAX_AREA_KM2)
    return plan_run(recipe, say=lambda text: None)
