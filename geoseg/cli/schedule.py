"""``geoseg schedule``: the entry that runs a recipe at its times."""

import shutil
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated

import typer

from geoseg.cli.options import FILE_HELP
from geoseg.errors import OutputError, RecipeError
from geoseg.recipe import Recipe
from geoseg.redaction import redact

if TYPE_CHECKING:
    from geoseg.jobs.schedule import Schedule


class To(StrEnum):
    """Names of :data:`geoseg.jobs.schedule.SCHEDULERS`, known without importing it."""

    CRON = "cron"
    SYSTEMD = "systemd"
    KUBERNETES = "kubernetes"
    GITHUB_ACTIONS = "github-actions"


def schedule(
    recipe: Annotated[str, typer.Argument(metavar="NAME", help=FILE_HELP)],
    cron: Annotated[str, typer.Option(help="When: minute, hour, day of the month, month, weekday.")],
    to: Annotated[To, typer.Option(help="What starts it.")],
    entries: Annotated[Path, typer.Option(help="Folder that the entry is written to.")] = Path(),
    image: Annotated[str, typer.Option(help="Container with geoseg, for Kubernetes.")] = "geoseg:latest",
    dask_workers: Annotated[
        int, typer.Option(min=0, help="For Kubernetes: also a Dask cluster with as many workers.")
    ] = 0,
) -> None:
    """Write the entry that makes the map of a recipe again and again, or brings it up to date.

    It starts [bold]geoseg run NAME[/bold] in the folder where you are now. While one run lasts, no other is
    started. Dates said from today ("last month") are those of each run.
    """
    from rich.console import Console

    from geoseg.aoi import read_aoi
    from geoseg.jobs.defaults import with_defaults
    from geoseg.jobs.features import recipes_of
    from geoseg.jobs.needs import needs_of
    from geoseg.jobs.plan import catalog_of
    from geoseg.jobs.schedule import SCHEDULERS, Schedule

    found = Recipe.resolve(recipe)
    if found.aoi == "-":
        raise RecipeError(
            f"{recipe} takes its area from standard input, which timers do not give. Name a file."
        )
    if dask_workers and to is not To.KUBERNETES:
        raise RecipeError(f"--dask-workers is for --to kubernetes; {to} starts no cluster.")
    if dask_workers and found.is_on_cluster:
        raise RecipeError(
            f"{recipe} says already where its blocks run (cluster or scheduler). Leave --dask-workers out."
        )
    with_defaults(found, catalog_of(found))  # refuses what no run could make
    is_file, is_here = Path(recipe).is_file(), to in (To.CRON, To.SYSTEMD)
    maps = recipes_of(found) if is_here else {}
    if is_here and found.aoi is not None and found.per_feature is None:
        read_aoi(found.aoi, crs=found.aoi_crs, max_area_km2=found.max_area_km2)
    job = Schedule(
        name=Path(recipe).stem,
        cron=cron,
        recipe=str(Path(recipe).resolve()) if is_file and is_here else recipe,
        folder=str(Path.cwd()),
        maps=_maps_of(found),
        program=_program(),
        image=image,
        needs=needs_of(found),
        dask_workers=dask_workers,
    )
    files = {entries / name: text for name, text in SCHEDULERS[to].entries(job).items()}
    try:
        entries.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            path.write_text(text, "utf-8")
    except OSError as error:
        raise OutputError(f"{entries} cannot be written: {error.strerror}. Give another --entries.") from None
    messages = Console(stderr=True, soft_wrap=True)
    for path in files:
        print(path)  # noqa: T201
    names = [str(path) for path in files]
    how = SCHEDULERS[to].how.format(
        first=names[0],
        last=Path(names[-1]).name,
        files=" ".join(f"-f {name}" for name in names),
        slug=job.slug,
        image=image,
        package=job.needs.package,
        keys=", ".join(job.needs.secrets) or "none",
    )
    messages.print(how, markup=False)
    for note in _notes(found, job, n_maps=len(maps), is_here=is_here):
        messages.print(note, markup=False)


def _notes(recipe: Recipe, job: "Schedule", *, n_maps: int, is_here: bool) -> Iterator[str]:
    """What may not be as whoever schedules it thinks."""
    from geoseg.stac.relative_dates import interval_of

    if job.needs.paths and not is_here and Path(job.recipe).is_file():  # a shipped one comes with its files
        yield (
            f"It names absolute paths: {redact(', '.join(job.needs.paths))}. Where it runs they must lead to "
            "the same; better name them as seen from this folder."
        )
    if n_maps > 1:
        yield f"It makes {n_maps} maps, one for each {recipe.per_feature}. The layer is read anew each time."
    if recipe.datetime is not None and interval_of(recipe.datetime) is None:
        yield (
            f"Its dates are {recipe.datetime} whenever it runs. For those before each run: "
            "datetime = 'last month'."
        )


def _maps_of(recipe: Recipe) -> str:
    """The folder above what is named after dates or features."""
    from geoseg.jobs.folders import default_out

    out = recipe.out or default_out(recipe)
    return str(PurePath(out.partition("{")[0] + "x").parent) if "{" in out else out


def _program() -> str:
    """The full path of this geoseg."""
    beside = Path(sys.executable).with_name("geoseg")
    return str(beside) if beside.exists() else shutil.which("geoseg") or "geoseg"
