"""``geoseg bench``: how fast is it here, and how much memory does it take?"""

import json as json_
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from geoseg.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.table import Table

    from geoseg.bench.measure import Run

_MODEL_HELP = (
    "Built-in model, model folder, or FAMILY-ENCODER (unet-resnet18): a network made for the purpose."
)
_ROWS: dict[str, "Callable[[Run], str]"] = {
    "wall time, s": lambda r: f"{r.wall_s:.1f}",
    "  start: Python, imports, ending": lambda r: f"{r.start_s:.1f}",
    "  check": lambda r: f"{r.check_s:.1f}",
    "  read, summed over blocks": lambda r: f"{r.read_s:.1f}",
    "  predict, summed over blocks": lambda r: f"{r.predict_s:.1f}",
    "  rasters": lambda r: f"{r.rasters_s:.1f}",
    "  polygons": lambda r: f"{r.polygons_s:.1f}",
    "  report": lambda r: f"{r.report_s:.1f}",
    "CPU time of all threads, s": lambda r: f"{r.cpu_s:.1f}",
    "Mpx/s": lambda r: f"{r.mpx_per_s:.2f}",
    "km²/s at 10 m": lambda r: f"{r.km2_per_s:.1f}",
    "peak memory, MB": lambda r: f"{r.peak_mb:,.0f}",
    "  until rasters are written": lambda r: f"{r.raster_peak_mb:,.0f}",
    "polygons, number": lambda r: f"{r.n_polygons:,}",
    "load of the machine": lambda r: f"{r.load:.1f}",
}


def bench(
    sizes: Annotated[
        str, typer.Option(help="Sides of the scenes in pixels, separated by commas.")
    ] = "2048,4096,8192",
    model: Annotated[str, typer.Option(help=_MODEL_HELP)] = "spectral-rules",
    repeat: Annotated[int, typer.Option(help="Runs of each size; the table shows the fastest.")] = 1,
    json: Annotated[
        bool, typer.Option("--json", help="All runs as JSON records on standard output.")
    ] = False,
) -> None:
    """Measure geoseg predict on synthetic scenes: time, speed and memory, by stage.

    Each run is a process of its own, so start-up and imports count. Scenes are made in the temporary folder
    (8192 pixels square: 1 GB for a while) and removed.
    """
    sides = [_side(part) for part in sizes.split(",")]
    from rich.console import Console

    from geoseg.bench.measure import benchmark

    messages = Console(stderr=True, highlight=False, soft_wrap=True)
    runs = list(
        benchmark(
            sides,
            model=model,
            repeat=repeat,
            say=lambda text: messages.print(text, style="dim", markup=False),
        )
    )
    if json:
        typer.echo(json_.dumps([asdict(run) for run in runs], indent=2))
    else:
        Console().print(_table(runs, model))


def _side(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise RecipeError(f"--sizes holds {text!r}, expected whole numbers as in 2048,4096.") from None


def _table(runs: list["Run"], model: str) -> "Table":
    """A column for each size: its fastest run."""
    from rich import box
    from rich.table import Table

    best = {run.size: run for run in sorted(runs, key=lambda r: -r.wall_s)}
    table = Table(title=f"geoseg predict, {model}", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("scene, pixels square")
    for size in sorted(best):
        table.add_column(f"{size}", justify="right")
    for label, show in _ROWS.items():
        table.add_row(label, *(show(best[size]) for size in sorted(best)))
    return table
