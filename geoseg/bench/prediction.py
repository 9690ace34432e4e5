"""``geoseg predict`` as a user runs it, in a process of its own, with a clock and a scale beside it."""

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyogrio

from geoseg.bench.hardware import Limit, matrix_limit
from geoseg.bench.networks import model_for
from geoseg.bench.processes import GEOSEG, Ran, Say, python_command, watch
from geoseg.bench.records import check_repeat
from geoseg.bench.scenes import scenes_of
from geoseg.inference.efficiency import flops_per_pixel
from geoseg.models.zoo import card_of, create_model
from geoseg.writers.gpkg import LAYER

_MAX_AREA_KM2 = 1e9


@dataclass(frozen=True)
class Asked:
    """What is run, besides the image."""

    model: str
    """See :func:`geoseg.bench.networks.model_for`."""
    tile_size: int | None = None
    """Side of a tile, pixels; None for what the model's card says."""
    halo: int | None = None
    """Margin that tiles share, pixels; None for what the model's card says."""
    options: tuple[str, ...] = ()
    """Further options of ``geoseg predict``, as they are typed."""

    def arguments(self) -> list[str]:
        """The options of ``geoseg predict``."""
        sides = {"--tile-size": self.tile_size, "--halo": self.halo}
        given = [part for flag, value in sides.items() if value is not None for part in (flag, str(value))]
        return ["--model", self.model, *given, *self.options]


@dataclass(frozen=True)
class Run:
    """One run of ``geoseg predict``: start-up, imports and everything included."""

    model: str
    image: str
    """Name of the file."""
    width: int
    height: int
    """Of the map, pixels."""
    wall_s: float
    """From before the process was started until it had ended."""
    cpu_s: float
    """Of all its threads, user and system."""
    mpx_per_s: float
    """Megapixels of map per second of ``wall_s``."""
    km2_per_s: float
    """Ground per second of ``wall_s``."""
    peak_memory_mb: float
    """Largest resident memory, see :class:`geoseg.bench.memory.MemoryWatch` (1 MB = 2**20 bytes)."""
    raster_peak_mb: float
    """The same until the rasters were written: what polygons need on top of it is the rest."""
    start_s: float
    """What ``report.json`` does not count: Python, imports, reading the command line, ending."""
    check_s: float
    """Opening and checking the image (``search`` and ``check`` of the report)."""
    read_s: float
    """Stages may run side by side, and are summed over blocks."""
    predict_s: float
    network_s: float | None
    """The network alone; part of ``predict_s``. None where the report does not say."""
    blend_s: float | None
    """Tiles to one map; part of ``predict_s``. None where the report does not say."""
    write_s: float
    """Rasters."""
    polygonize_s: float
    """Tracing and writing ``classes.gpkg``."""
    report_s: float
    """Report, pictures, STAC item, checksums: from the last polygon to the manifest."""
    network_share: float | None
    """``network_s`` over the time from the first read to the last raster."""
    network_tflop: float
    """Floating-point operations of the network for all tiles, halos included, in 1e12."""
    limit_bf16_tflops: float
    limit_float32_tflops: float
    """What a matrix product reaches here per second, measured before the runs."""
    hardware_share: float | None
    """Operations per second of ``network_s``, over the faster of the two limits."""
    n_polygons: int
    image_mb: float
    """Size of the image's file."""
    load: float
    """Load average of the machine at the end of the run (1 min), the run's own share included."""

    @property
    def label(self) -> str:
        """The image in a column's head."""
        return f"{self.image} {self.width} x {self.height}"


def benchmark(
    sizes: Sequence[int],
    asked: Asked,
    *,
    repeat: int,
    image: Path | None = None,
    say: Say = lambda text: None,
) -> Iterator[Run]:
    """Make a scene of each size, map it ``repeat`` times, and give what was measured, run by run.

    Everything is made in a temporary folder (of ``TMPDIR``) that is removed at the end.

    Args:
        sizes: sides in pixels; see :func:`geoseg.bench.scenes.write_scene`. Not heeded with ``image``.
        asked: the model, and how it is run.
        repeat: runs of each size, on the same file.
        image: a raster to map instead of scenes.
        say: told what is being done.

    Raises:
        RecipeError: a size or ``repeat`` is too small.
        ModelError: unknown model, or one whose bands the scene does not have.
        OutputError: a run failed.
    """
    check_repeat(repeat)
    with tempfile.TemporaryDirectory(prefix="geoseg-bench-") as temporary:
        folder = Path(temporary)
        say(f"model {asked.model}")
        model = model_for(asked.model, folder / "model")
        say("the limit of the hardware: matrix products in bf16 and float32")
        limit = matrix_limit()
        for path in [image] if image is not None else scenes_of(folder, sizes, card_of(model).bands, say):
            for i in range(repeat):
                say(f"geoseg predict on {path.name}" + (f", {i + 1} of {repeat}" if repeat > 1 else ""))
                yield measure(path, asked, model=model, limit=limit, out=folder / "out")


def measure(image: Path, asked: Asked, *, limit: Limit, out: Path, model: str | None = None) -> Run:
    """Run ``geoseg predict --image`` once and measure it.

    A scene was written just before, so it comes from the system's cache, not from the disk.

    Args:
        image: the raster.
        asked: the model, and how it is run; its ``model`` is what the result is called after.
        limit: of the hardware.
        out: the output folder; replaced.
        model: what ``--model`` takes, where that is not ``asked.model``.

    Raises:
        OutputError: the run failed; the message ends with what it said.
    """
    arguments = [
        *("predict", "--image", str(image), *asked.arguments()),
        *("--out", str(out), "--overwrite", "--max-area-km2", str(_MAX_AREA_KM2)),
    ]
    arguments[arguments.index("--model") + 1] = model or asked.model
    command = python_command(GEOSEG, *arguments)
    ran = watch(command, log=out.with_suffix(".log"), what=f"geoseg predict on {image.name}")
    return _run(out, ran, image=image, asked=asked, limit=limit, model=model or asked.model)


def _run(out: Path, ran: Ran, *, image: Path, asked: Asked, limit: Limit, model: str) -> Run:
    report = json.loads((out / "report.json").read_text("utf-8"))
    timings, grid = report["timings_s"], report["grid"]
    written = {path.name: path.stat().st_mtime for path in out.iterdir()}
    rasters_at = max(written[name] for name in ("class.tif", "confidence.tif", "class.qml"))
    report_s = written["manifest.json"] - written["classes.gpkg"]
    tflop = flops_of(model) * report["pixels_run"] / 1e12
    network_s = timings.get("network")
    return Run(
        model=asked.model,
        image=image.name,
        width=grid["width"],
        height=grid["height"],
        wall_s=round(ran.wall_s, 2),
        cpu_s=round(ran.cpu_s, 2),
        mpx_per_s=round(grid["width"] * grid["height"] / 1e6 / ran.wall_s, 3),
        km2_per_s=round(report["aoi"]["area_km2"] / ran.wall_s, 2),
        peak_memory_mb=round(ran.peak_memory_mb),
        raster_peak_mb=round(ran.peak_until_mb(rasters_at)),
        start_s=round(ran.wall_s - timings["total"] - report_s, 2),
        check_s=round(timings["search"] + timings["check"], 2),
        read_s=round(timings["read"], 2),
        predict_s=round(timings["predict"], 2),
        network_s=_rounded(network_s),
        blend_s=_rounded(timings.get("blend")),
        write_s=round(timings["rasters"], 2),
        polygonize_s=round(timings["polygons"], 2),
        report_s=round(report_s, 2),
        network_share=_rounded(network_s / _from_read_to_raster(timings) if network_s else None),
        network_tflop=round(tflop, 4),
        limit_bf16_tflops=round(limit.bf16_tflops, 4),
        limit_float32_tflops=round(limit.float32_tflops, 4),
        hardware_share=_rounded(tflop / network_s / limit.tflops if network_s and tflop else None),
        n_polygons=pyogrio.read_info(out / "classes.gpkg", layer=LAYER)["features"],
        image_mb=round(image.stat().st_size / 1e6, 1),
        load=round(os.getloadavg()[0], 1),
    )


@lru_cache(maxsize=4)
def flops_of(model: str) -> float:
    """Operations of the network for a pixel of a tile; 0 for rules."""
    return flops_per_pixel(create_model(model))


def _from_read_to_raster(timings: dict[str, Any]) -> float:
    others = ("search", "check", "seams", "polygons")
    return float(timings["total"] - sum(timings.get(stage, 0) for stage in others))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
