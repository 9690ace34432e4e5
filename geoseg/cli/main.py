"""``geoseg``: parse, call, print. Exit 0, 2 for what the user can mend (one line), 1 for a bug."""

import logging
import sys
import warnings
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from geoseg.cli import area as area_commands
from geoseg.cli import bench as bench_commands
from geoseg.cli import benchmarks as benchmarks_commands
from geoseg.cli import calibrate as calibrate_command
from geoseg.cli import change as change_command
from geoseg.cli import chips as chips_command
from geoseg.cli import doctor as doctor_command
from geoseg.cli import evaluate as evaluate_command
from geoseg.cli import jobs as jobs_commands
from geoseg.cli import models as models_commands
from geoseg.cli import schedule as schedule_command
from geoseg.cli import train as train_command
from geoseg.cli.options import takes_recipe
from geoseg.errors import GeosegError, GeosegWarning, expected
from geoseg.recipe import Recipe

app = typer.Typer(
    name="geoseg",
    help="Land-cover maps you can trust, from an area and a STAC catalog or your own images.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(models_commands.app, name="models")
app.add_typer(area_commands.app, name="area")
app.add_typer(bench_commands.app, name="bench")
app.add_typer(benchmarks_commands.app, name="benchmarks")
app.command("calibrate")(calibrate_command.calibrate)
app.command("change")(change_command.change)
app.command("chips")(takes_recipe(chips_command.chips, without=chips_command.UNUSED, area_from="labels"))
app.command("evaluate")(evaluate_command.evaluate)
app.command("schedule")(schedule_command.schedule)
app.command("status")(jobs_commands.status)
app.command("logs")(jobs_commands.logs)
app.command("clean")(jobs_commands.clean)
app.command("train")(train_command.train)
app.command("doctor")(doctor_command.doctor)

_UsageError: type[Exception] = typer.BadParameter.__mro__[2]
"""click's ClickException; newer typers carry their own copy of click, so it is reached through typer."""

_INTERRUPTED = 130

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say warnings and errors only.")]
Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON on standard output.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print items, grid, tiles, bytes, memory and time; make no map.")
]


def run() -> None:
    """The console script: turns errors into one line and an exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    # They repeat on every read, write or lost connection what the run reports once, if it matters.
    for noisy in ("urllib3", "rasterio", "tornado", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    warnings.showwarning = _show_warning
    try:
        code = app(standalone_mode=False)
    except GeosegError as error:
        _fail(str(error))
    except _UsageError as error:
        if isinstance(error.__cause__, ValidationError):  # newer typers; older ones have words of their own
            (mistake, *_) = error.__cause__.errors()
            got, text = repr(mistake["input"]), expected(mistake).rstrip(".")
            error.message = f"{text}." if text.startswith(got) else f"{got}: {text}."  # type: ignore[attr-defined]
        _fail(error.format_message())  # type: ignore[attr-defined]
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except BrokenPipeError:
        sys.exit(0)
    if code == _INTERRUPTED:  # newer typers return it, older ones raise
        _fail("Stopped: no map was written.", code=_INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """What geoseg warns of, as a line for people; where in the code it did so is of no use to them."""
    if issubclass(category, GeosegWarning):
        print(f"warning: {message}", file=sys.stderr)  # noqa: T201
    elif not str(message).startswith(_OF_ARRAYS):
        _python_shows(message, category, *where, **more)


_python_shows = warnings.showwarning
_OF_ARRAYS = "Dataset has no geotransform"
"""What rasterio says of arrays that it warps into; filters do not hold in its threads (imagery.preflight)."""


def _fail(message: str, *, code: int = 2) -> None:
    if message:  # a group called without a command has printed its help
        print(f"geoseg: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


@app.command()
@takes_recipe
def predict(recipe: Recipe, dry_run: DryRun = False, quiet: Quiet = False, json: Json = False) -> None:
    """Make a land-cover map of an area: rasters, polygons, a report.

    [bold]geoseg predict --aoi area.geojson[/bold] alone takes Sentinel-2 L2A of Earth Search, the last 12
    months, per place the 8 least cloudy items, their median, and the default model. What was assumed is
    printed first.
    """
    from geoseg.cli import show

    if dry_run:
        show.dry_run(recipe, quiet=quiet, as_json=json)
    else:
        show.run(recipe, quiet=quiet, as_json=json)


def job(recipe: Recipe, quiet: Quiet = False, json: Json = False) -> None:
    """Make the map of a recipe, or bring it up to date: only what is missing or has changed is made.

    [bold]geoseg run pipelines/NAME.toml[/bold] goes on where a run before was stopped or killed, and does
    nothing where its map stands. Two runs of one map at a time are refused.
    """
    from geoseg.cli import show

    show.run(recipe.model_copy(update={"resume": True}), quiet=quiet, as_json=json)


def plan(recipe: Recipe, quiet: Quiet = False, json: Json = False) -> None:
    """What a run of a recipe would do and cost: items, grid, tiles, bytes, memory and time. Makes nothing."""
    from geoseg.cli import show

    show.dry_run(recipe, quiet=quiet, as_json=json)


app.command("run")(takes_recipe(job, without=("resume",), by_name=True))
app.command("plan")(takes_recipe(plan, without=("resume",), by_name=True))


@app.command()
@takes_recipe
def check(recipe: Recipe, quiet: Quiet = False, json: Json = False) -> None:
    """Does the imagery fit the model? Bands, pixel size, values, offset, CRS and coverage; makes no map."""
    from geoseg.cli import show

    show.check(recipe, quiet=quiet, as_json=json)


@app.command()
def catalogs(json: Json = False) -> None:
    """List the catalogs that --catalog knows by name, and their collections."""
    from geoseg.cli import show

    show.catalogs(as_json=json)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"geoseg {version('geoseg')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Land-cover maps you can trust, from an area and a STAC catalog or your own images."""
