"""``geoseg bench``: how fast is it here, and how much memory does it take?"""

import json as json_
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geoseg.errors import ImageryError, RecipeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

app = typer.Typer(
    help="Measure geoseg on this machine: speed, memory, start-up.",
    no_args_is_help=True,
)

_MODEL_HELP = (
    "Built-in model, model folder, or FAMILY-ENCODER (unet-resnet18): a network made for the purpose."
)
Model = Annotated[str, typer.Option(help=_MODEL_HELP)]
Sizes = Annotated[str, typer.Option(help="Sides of the synthetic images in pixels, separated by commas.")]
Repeat = Annotated[int, typer.Option(help="Runs of each; the table shows the fastest.")]
Json = Annotated[bool, typer.Option("--json", help="All runs as JSON records on standard output.")]
TileSize = Annotated[
    int | None, typer.Option(help="Side of a tile, pixels; what the model's card says without it.")
]
Halo = Annotated[
    int | None, typer.Option(help="Margin that tiles share, pixels; what the card says without it.")
]
Options = Annotated[
    list[str] | None, typer.Argument(metavar="[-- OPTIONS]", help="Further options of geoseg predict.")
]
File = Annotated[str | None, typer.Argument(metavar="[FILE]", help="Your own, in place of synthetic images.")]


@app.command()
def predict(
    options: Options = None,
    image: Annotated[
        str | None, typer.Option(help="Your own raster, in place of synthetic scenes of --sizes.")
    ] = None,
    sizes: Sizes = "2048,4096,8192",
    model: Model = "spectral-rules",
    tile_size: TileSize = None,
    halo: Halo = None,
    repeat: Repeat = 1,
    json: Json = False,
) -> None:
    """Time, speed and memory of geoseg predict, by stage, and its share of what the hardware can do.

    Each run is a process of its own, so start-up and imports count. Scenes are made in the temporary folder
    (8192 pixels square: 1 GB for a while) and removed.
    """
    sides, path = _sides(sizes), _file(image)
    from geoseg.bench.prediction import Asked, benchmark
    from geoseg.cli import bench_tables as tables

    asked = Asked(model, tile_size, halo, tuple(options or ()))
    runs = benchmark(sides, asked, repeat=repeat, image=path, say=_say)
    _show(runs, json, lambda done: [tables.table(done, tables.PREDICT, f"geoseg predict, {model}")])


@app.command()
def polygonize(
    file: File = None,
    sizes: Sizes = "2048,4096",
    simplify_m: Annotated[
        float, typer.Option(help="Trace and simplify, against shapely.coverage_simplify alone.")
    ] = 0.0,
    repeat: Repeat = 3,
    json: Json = False,
) -> None:
    """Class maps to polygons, against rasterio.features.shapes with shapely; who begins alternates."""
    sides, path = _sides(sizes), _file(file)
    from geoseg.bench.tracing import benchmark
    from geoseg.cli import bench_tables as tables

    runs = benchmark(sides, repeat=repeat, image=path, simplify_m=simplify_m, say=_say)
    title = (
        f"class map to polygons, simplified by {simplify_m:g} m" if simplify_m else "class map to polygons"
    )
    _show(runs, json, lambda done: [tables.table(done, tables.POLYGONIZE, title)])


@app.command()
def read(
    file: File = None,
    sizes: Sizes = "2048,4096",
    model: Annotated[str, typer.Option(help="Its bands are read.")] = "spectral-rules",
    repeat: Repeat = 3,
    json: Json = False,
) -> None:
    """Raster to reflectance, against plain windows of rasterio; who begins alternates."""
    sides, path = _sides(sizes), _file(file)
    from geoseg.bench.reading import benchmark
    from geoseg.cli import bench_tables as tables

    runs = benchmark(sides, model=model, repeat=repeat, image=path, say=_say)
    _show(runs, json, lambda done: [tables.table(done, tables.READ, f"reading the bands of {model}")])


@app.command()
def memory(
    options: Options = None,
    sizes: Sizes = "4096,8192,16384",
    model: Model = "spectral-rules",
    tile_size: TileSize = None,
    halo: Halo = None,
    json: Json = False,
) -> None:
    """Peak memory of geoseg predict on ever larger scenes.

    A scene of 16384 pixels square takes 4 GB of the temporary folder for a while.
    """
    sides = _sides(sizes)
    from geoseg.bench.growth import benchmark
    from geoseg.bench.prediction import Asked
    from geoseg.cli import bench_tables as tables

    runs = benchmark(sides, Asked(model, tile_size, halo, tuple(options or ())), say=_say)
    _show(runs, json, lambda done: [tables.table(done, tables.MEMORY, f"memory of geoseg predict, {model}")])


@app.command()
def blocks(
    blocks: Annotated[str, typer.Option(help="Numbers of blocks, separated by commas.")] = "1000,100000",
    workers: Annotated[int, typer.Option(help="Workers of one thread each.")] = 2,
    json: Json = False,
) -> None:
    """What a job on a Dask scheduler costs besides its pixels: blocks with nothing in them.

    100,000 blocks of 4096 pixels at 10 m are more than all land. Each leaves a small file in the temporary
    folder, which is removed.
    """
    from geoseg.bench.blocks import benchmark
    from geoseg.cli import bench_tables as tables

    runs = benchmark(_sides(blocks, "--blocks"), workers=workers, say=_say)
    _show(runs, json, lambda done: [tables.table(done, tables.BLOCKS, f"empty blocks on {workers} workers")])


@app.command("import")
def import_(repeat: Repeat = 3, json: Json = False) -> None:
    """How long geoseg takes to start, and the heaviest modules it imports for a map."""
    from geoseg.bench.imports import benchmark, heaviest_imports
    from geoseg.cli import bench_tables as tables

    starts = list(benchmark(repeat=repeat, say=_say))
    _say("python -X importtime")
    heaviest = heaviest_imports()
    _show([*starts, *heaviest], json, lambda done: [tables.starts(starts), tables.imports(heaviest)])


def _sides(text: str, flag: str = "--sizes") -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        bad = next(part for part in text.split(",") if not part.strip().isdigit())
        raise RecipeError(f"{flag} holds {bad!r}, expected whole numbers as in 2048,4096.") from None


def _file(text: str | None) -> Path | None:
    if text is None:
        return None
    if not Path(text).is_file():
        raise ImageryError(f"There is no file {text}. Check the path.")
    return Path(text).resolve()


def _say(text: str) -> None:
    from rich.console import Console

    Console(stderr=True, highlight=False, soft_wrap=True).print(text, style="dim", markup=False)


def _show(runs: "Iterable[Any]", as_json: bool, tables: "Any") -> None:
    done: Sequence[Any] = list(runs)
    if as_json:
        from geoseg.bench.records import as_record

        typer.echo(json_.dumps([as_record(run) for run in done], indent=2))
        return
    from rich.console import Console

    made: list[Table] = tables(done)
    for table in made:
        Console().print(table)
