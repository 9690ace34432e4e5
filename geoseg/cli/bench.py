"""``geoseg bench``: how fast is it here, and how much memory does it take?"""

import json as json_
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from geoseg.errors import RecipeError

if TYPE_CHECKING:
    from rich.table import Table

    from geoseg.bench.measure import Run

_MODEL_HELP = (
    "Built-in model, model folder, or FAMILY-ENCODER (unet-resnet18): a network made for the purpose."
)
_HEADINGS = (
    "size", "wall", "CPU", "Mpx/s", "km²/s", "MB", "start", "check", "read", "predict", "rasters", "polygons",
    "report", "n polygons",
)  # fmt: skip
_CAPTION = """\
Seconds. CPU: of all threads. MB: peak memory, in brackets until the rasters are written. km² at 10 m pixels.
start: Python, imports, ending. read and predict are summed over blocks."""


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
    """The fastest run of each size."""
    from rich import box
    from rich.table import Table

    best = {run.size: run for run in sorted(runs, key=lambda r: -r.wall_s)}
    table = Table(
        title=f"geoseg predict, {model}", title_justify="left", caption=_CAPTION, box=box.SIMPLE_HEAD
    )
    table.caption_justify = "left"
    for heading in _HEADINGS:
        table.add_column(heading, justify="right")
    for size in sorted(best):
        r = best[size]
        stages = (r.start_s, r.check_s, r.read_s, r.predict_s, r.rasters_s, r.polygons_s, r.report_s)
        cells = [f"{size}", f"{r.wall_s:.1f}", f"{r.cpu_s:.1f}", f"{r.mpx_per_s:.2f}", f"{r.km2_per_s:.0f}"]
        cells += [
            f"{r.peak_mb:,.0f} ({r.raster_peak_mb:,.0f})",
            *(f"{s:.1f}" for s in stages),
            f"{r.n_polygons:,}",
        ]
        table.add_row(*cells)
    return table
