"""``geoseg predict`` as a user runs it, in a process of its own, with a clock and a scale beside it."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyogrio

from geoseg.bench.memory import KB_PER_MB, MemoryWatch
from geoseg.bench.networks import model_for
from geoseg.bench.scenes import GSD_M, write_scene
from geoseg.errors import OutputError, RecipeError
from geoseg.models.zoo import card_of
from geoseg.writers.gpkg import LAYER

MIN_SIZE = 64
_PROGRAM = "from geoseg.cli.main import run; run()"
_MAX_AREA_KM2 = 1e9


@dataclass(frozen=True)
class Run:
    """One run of ``geoseg predict``: start-up, imports and everything included."""

    model: str
    size: int
    """Side of the scene, pixels."""
    wall_s: float
    """From before the process was started until it had ended."""
    cpu_s: float
    """Of all its threads, user and system."""
    mpx_per_s: float
    """Megapixels of map per second of ``wall_s``."""
    km2_per_s: float
    """At 10 m pixels."""
    peak_mb: float
    """Largest resident memory (VmHWM of /proc/PID/status, 1 MB = 2**20 bytes)."""
    raster_peak_mb: float
    """The same until the rasters were written: what polygons need on top of it is the rest."""
    start_s: float
    """What ``report.json`` does not count: Python, imports, reading the command line, ending."""
    check_s: float
    """Opening and checking the image (``search`` and ``check`` of the report)."""
    read_s: float
    predict_s: float
    rasters_s: float
    polygons_s: float
    """Tracing and writing ``classes.gpkg``."""
    report_s: float
    """Report, pictures, STAC item, checksums: from the last polygon to the manifest."""
    n_polygons: int
    scene_mb: float
    """Size of the scene's file."""
    load: float
    """Load average of the machine at the end of the run (1 min), the run's own share included."""


def benchmark(
    sizes: Sequence[int], *, model: str, repeat: int, say: Callable[[str], None] = lambda text: None
) -> Iterator[Run]:
    """Make a scene of each size, map it ``repeat`` times, and give what was measured, run by run.

    Everything is made in a temporary folder (of ``TMPDIR``) that is removed at the end.

    Args:
        sizes: sides in pixels; see :func:`geoseg.bench.scenes.write_scene`.
        model: see :func:`geoseg.bench.networks.model_for`.
        repeat: runs of each size, on the same file.
        say: told what is being done.

    Raises:
        RecipeError: a size or ``repeat`` is too small.
        ModelError: unknown model, or one whose bands the scene does not have.
        OutputError: a run failed.
    """
    if not sizes or min(sizes) < MIN_SIZE:
        raise RecipeError(
            f"--sizes {','.join(map(str, sizes))}: expected sides of {MIN_SIZE} pixels or more, as 2048,4096."
        )
    if repeat < 1:
        raise RecipeError(f"--repeat {repeat} is not a number of runs. Give 1 or more.")
    with tempfile.TemporaryDirectory(prefix="geoseg-bench-") as temporary:
        folder = Path(temporary)
        say(f"model {model}")
        wanted = model_for(model, folder / "model")
        bands = card_of(wanted).bands
        for size in sizes:
            say(f"making a scene of {size} x {size} pixels with {len(bands)} bands")
            scene = write_scene(folder / f"scene-{size}.tif", size=size, bands=bands)
            for i in range(repeat):
                say(f"geoseg predict on {size} x {size}" + (f", {i + 1} of {repeat}" if repeat > 1 else ""))
                yield measure(scene, size=size, model=wanted, name=model, out=folder / "out")
            scene.unlink()


def measure(scene: Path, *, size: int, model: str, name: str, out: Path) -> Run:
    """Run ``geoseg predict --image`` once and measure it.

    The scene was written just before, so it comes from the system's cache, not from the disk.

    Args:
        scene: a file of :func:`geoseg.bench.scenes.write_scene`.
        size: its side, pixels.
        model: what ``--model`` takes.
        name: what to call the model in the result.
        out: the output folder; replaced.

    Raises:
        OutputError: the run failed; the message ends with what it said.
    """
    options = [
        *("--image", str(scene), "--model", model, "--out", str(out), "--overwrite"),
        *("--max-area-km2", str(_MAX_AREA_KM2)),
    ]
    log = out.with_suffix(".log")
    started = time.perf_counter()
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, "predict", *options], stdout=sink, stderr=sink
        )
    memory = MemoryWatch(process.pid)
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        raise
    wall_s = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)  # wait4 took it from under Popen
    if process.returncode:
        said = log.read_text("utf-8", "replace").strip().splitlines() or ["nothing"]
        raise OutputError(
            f"geoseg predict on {size} x {size} pixels ended with exit code {process.returncode}: {said[-1]}"
        )
    peaks = memory.peaks or [(0.0, usage.ru_maxrss / KB_PER_MB)]
    cpu_s = usage.ru_utime + usage.ru_stime
    return _run(out, wall_s=wall_s, cpu_s=cpu_s, peaks=peaks, scene=scene, size=size, model=name)


def _run(
    out: Path,
    *,
    wall_s: float,
    cpu_s: float,
    peaks: list[tuple[float, float]],
    scene: Path,
    size: int,
    model: str,
) -> Run:
    timings = json.loads((out / "report.json").read_text("utf-8"))["timings_s"]
    written = {path.name: path.stat().st_mtime for path in out.iterdir()}
    rasters_at = max(written[name] for name in ("class.tif", "confidence.tif", "class.qml"))
    report_s = written["manifest.json"] - written["classes.gpkg"]
    return Run(
        model=model,
        size=size,
        wall_s=round(wall_s, 2),
        cpu_s=round(cpu_s, 2),
        mpx_per_s=round(size**2 / 1e6 / wall_s, 3),
        km2_per_s=round((size * GSD_M / 1000) ** 2 / wall_s, 2),
        peak_mb=round(peaks[-1][1]),
        raster_peak_mb=round(max((mb for at, mb in peaks if at <= rasters_at), default=peaks[0][1])),
        start_s=round(wall_s - timings["total"] - report_s, 2),
        check_s=round(timings["search"] + timings["check"], 2),
        read_s=round(timings["read"], 2),
        predict_s=round(timings["predict"], 2),
        rasters_s=round(timings["rasters"], 2),
        polygons_s=round(timings["polygons"], 2),
        report_s=round(report_s, 2),
        n_polygons=pyogrio.read_info(out / "classes.gpkg", layer=LAYER)["features"],
        scene_mb=round(scene.stat().st_size / 1e6, 1),
        load=round(os.getloadavg()[0], 1),
    )
