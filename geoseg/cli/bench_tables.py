"""What ``geoseg bench`` measured, as tables for people."""

from collections.abc import Callable, Sequence
from typing import Any

from rich import box
from rich.table import Table

from geoseg.bench.imports import Import, Start

NOTHING = "-"
Rows = dict[str, tuple[str, str]]
"""Label to the name of a value and how it is written."""

PREDICT: Rows = {
    "wall time, s": ("wall_s", ".1f"),
    "  start: Python, imports, ending": ("start_s", ".1f"),
    "  check": ("check_s", ".1f"),
    "  read, summed over blocks": ("read_s", ".1f"),
    "  predict, summed over blocks": ("predict_s", ".1f"),
    "    network": ("network_s", ".1f"),
    "    blend": ("blend_s", ".1f"),
    "  write rasters": ("write_s", ".1f"),
    "  polygonize": ("polygonize_s", ".1f"),
    "  report": ("report_s", ".1f"),
    "CPU time of all threads, s": ("cpu_s", ".1f"),
    "Mpx/s": ("mpx_per_s", ".2f"),
    "km²/s": ("km2_per_s", ".1f"),
    "peak memory, MB": ("peak_memory_mb", ",.0f"),
    "  until rasters are written": ("raster_peak_mb", ",.0f"),
    "network, share of first read to last raster": ("network_share", ".0%"),
    "network, TFLOP": ("network_tflop", ".3g"),
    "limit, bf16 matrix product, TFLOP/s": ("limit_bf16_tflops", ".3g"),
    "limit, float32 matrix product, TFLOP/s": ("limit_float32_tflops", ".3g"),
    "share of the faster limit": ("hardware_share", ".0%"),
    "polygons, number": ("n_polygons", ","),
    "load of the machine": ("load", ".1f"),
}
POLYGONIZE: Rows = {
    "geoseg, s": ("wall_s", ".2f"),
    "rasterio and shapely, s": ("rasterio_s", ".2f"),
    "times as fast": ("ratio", ".2f"),
    "km²/s": ("km2_per_s", ".1f"),
    "peak memory, MB": ("peak_memory_mb", ",.0f"),
    "  of rasterio and shapely": ("rasterio_peak_memory_mb", ",.0f"),
    "polygons, number": ("n_polygons", ","),
    "  of rasterio": ("n_polygons_rasterio", ","),
    "load of the machine": ("load", ".1f"),
}
READ: Rows = {
    "bands": ("n_bands", ""),
    "stored, MB": ("mb", ",.1f"),
    "geoseg, s": ("wall_s", ".2f"),
    "rasterio, s": ("rasterio_s", ".2f"),
    "times as fast": ("ratio", ".2f"),
    "geoseg, MB/s": ("mb_per_s", ",.0f"),
    "rasterio, MB/s": ("rasterio_mb_per_s", ",.0f"),
    "geoseg, Mpx/s": ("mpx_per_s", ".1f"),
    "rasterio, Mpx/s": ("rasterio_mpx_per_s", ".1f"),
    "km²/s": ("km2_per_s", ".1f"),
    "peak memory, MB": ("peak_memory_mb", ",.0f"),
    "  of rasterio": ("rasterio_peak_memory_mb", ",.0f"),
    "load of the machine": ("load", ".1f"),
}
MEMORY: Rows = {
    "wall time, s": ("wall_s", ".1f"),
    "km²/s": ("km2_per_s", ".1f"),
    "peak memory, MB": ("peak_memory_mb", ",.0f"),
    "  times that of the smallest": ("ratio", ".2f"),
    "  MB for each further megapixel": ("mb_per_mpx", ".2f"),
    "until rasters are written, MB": ("raster_peak_mb", ",.0f"),
    "  times that of the smallest ": ("raster_ratio", ".2f"),
    "  MB for each further megapixel ": ("raster_mb_per_mpx", ".2f"),
    "polygons, number": ("n_polygons", ","),
    "load of the machine": ("load", ".1f"),
}
BLOCKS: Rows = {
    "items": ("n_items", ","),
    "corners of the area": ("n_corners", ","),
    "until the first block is sent, s": ("start_s", ".1f"),
    "wall time of the blocks, s": ("wall_s", ".1f"),
    "ms per block": ("ms_per_block", ".2f"),
    "peak memory of the client, MB": ("peak_memory_mb", ",.0f"),
    "  grown by": ("grown_mb", ",.0f"),
    "peak memory of the scheduler, MB": ("scheduler_mb", ",.0f"),
    "peak memory of a worker, MB": ("worker_mb", ",.0f"),
    "load of the machine": ("load", ".1f"),
}


def table(runs: Sequence[Any], rows: Rows, title: str) -> Table:
    """A column for each image: its fastest run."""
    best = _fastest(runs, lambda run: str(run.label))
    found = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    found.add_column("")
    for label in best:
        found.add_column(label, justify="right")
    for head, (name, form) in rows.items():
        found.add_row(head, *(_text(getattr(run, name), form) for run in best.values()))
    return found


def starts(runs: Sequence[Start]) -> Table:
    """A row for each start: the fastest."""
    found = Table(title="start-up", title_justify="left", box=box.SIMPLE_HEAD)
    found.add_column("")
    for head in ("wall time, s", "CPU time, s", "peak memory, MB", "load"):
        found.add_column(head, justify="right")
    for name, run in _fastest(runs, lambda run: str(run.name)).items():
        numbers = (f"{run.wall_s:.2f}", f"{run.cpu_s:.2f}", f"{run.peak_memory_mb:,.0f}", f"{run.load:.1f}")
        found.add_row(name, *numbers)
    return found


def imports(heaviest: Sequence[Import]) -> Table:
    """A row for each module."""
    title = "heaviest imports of a map"
    found = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    found.add_column("module")
    for head in ("time, s", "modules in it"):
        found.add_column(head, justify="right")
    for one in heaviest:
        found.add_row(one.module, f"{one.wall_s:.2f}", f"{one.n_modules:,}")
    return found


def _fastest(runs: Sequence[Any], label: Callable[[Any], str]) -> dict[str, Any]:
    """By label, in the order in which they were first run."""
    best: dict[str, Any] = {}
    for run in runs:
        name = label(run)
        if name not in best or run.wall_s < best[name].wall_s:
            best[name] = run
    return best


def _text(value: Any, form: str) -> str:
    return NOTHING if value is None else format(value, form)
