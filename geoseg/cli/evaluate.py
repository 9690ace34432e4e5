"""``geoseg evaluate``: how good a map is."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from geoseg.evaluation.benchmark_run import Task
    from geoseg.evaluation.scores import Case, Evaluation

_MAP, _SET, _OUT = "A map and what is true", "A model on a benchmark", "Output"


def evaluate(
    prediction: Annotated[
        Path | None, typer.Option(help="The class map: class.tif.", rich_help_panel=_MAP)
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="What is true: a class raster, polygons, or points (CSV or vector), in any CRS.",
            rich_help_panel=_MAP,
        ),
    ] = None,
    legend: Annotated[
        Path | None,
        typer.Option(help="What the map's values mean, where it does not say: TOML.", rich_help_panel=_MAP),
    ] = None,
    crosswalk: Annotated[
        Path | None,
        typer.Option(help="Which class the reference's classes belong to: TOML.", rich_help_panel=_MAP),
    ] = None,
    field: Annotated[
        str | None, typer.Option(help="Attribute that says the class of a feature.", rich_help_panel=_MAP)
    ] = None,
    crs: Annotated[
        str | None, typer.Option(help="Of x and y in a CSV; degrees without it.", rich_help_panel=_MAP)
    ] = None,
    places: Annotated[
        Path | None,
        typer.Option(
            help="Polygons that are scored one by one too, and resampled for intervals.", rich_help_panel=_MAP
        ),
    ] = None,
    place_field: Annotated[
        str | None, typer.Option(help="Attribute that names the places.", rich_help_panel=_MAP)
    ] = None,
    nodata_is_wrong: Annotated[
        bool,
        typer.Option(
            "--nodata-is-wrong",
            help="Count pixels without a class as errors, instead of leaving them out.",
            rich_help_panel=_MAP,
        ),
    ] = False,
    benchmark: Annotated[
        str | None, typer.Option(help="A data set: see geoseg benchmarks list.", rich_help_panel=_SET)
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="The folder it was unpacked to.", rich_help_panel=_SET)
    ] = None,
    model: Annotated[
        str, typer.Option(help="Name of a built-in model, or a model folder.", rich_help_panel=_SET)
    ] = "spectral-rules",
    split: Annotated[
        str | None, typer.Option(help="Part of the data set; without it the usual one.", rich_help_panel=_SET)
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="So many images, spread over the split.", rich_help_panel=_SET)
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.", rich_help_panel=_SET)] = "auto",
    out: Annotated[
        Path, typer.Option(help="Folder for scores.json and scores.html.", rich_help_panel=_OUT)
    ] = Path("geoseg-out/scores"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the scores that lie there.", rich_help_panel=_OUT)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing but errors.", rich_help_panel=_OUT)
    ] = False,
    json: Annotated[
        bool,
        typer.Option("--json", help="Print the scores as JSON.", rich_help_panel=_OUT),
    ] = False,
) -> None:
    """Score a class map against a reference, or a model on a benchmark.

    Accuracy, IoU, F1 and more, per class, overall and per place, with intervals.
    """
    from geoseg.cli import show_scores
    from geoseg.errors import EvaluationError
    from geoseg.evaluation.benchmark_run import Task
    from geoseg.evaluation.maps import Crosswalk
    from geoseg.evaluation.rasters import Request, score, worst_tiles
    from geoseg.report.scores import refuse_existing, write_scores

    refuse_existing(out, overwrite=overwrite)
    read = Crosswalk.read(crosswalk) if crosswalk else Crosswalk()
    if benchmark is not None and root is not None and prediction is None and reference is None:
        task = Task(benchmark, root, model, split=split, limit=limit, crosswalk=read, device=device)
        evaluation, cases = _on_benchmark(task, quiet=quiet)
    elif benchmark is None and prediction is not None and reference is not None:
        request = Request(
            prediction,
            reference,
            legend=legend,
            crosswalk=read,
            class_field=field,
            crs=crs,
            places=places,
            place_field=place_field,
            nodata_is_wrong=nodata_is_wrong,
        )
        evaluation = score(request)
        cases = worst_tiles(request, evaluation)
    else:
        raise EvaluationError("Give --prediction and --reference, or --benchmark, --root and --model.")
    write_scores(evaluation, out, cases=cases)
    if json:
        typer.echo(evaluation.scores.to_json(), nl=False)
    elif not quiet:
        show_scores.print_scores(evaluation.scores, out)


def _on_benchmark(task: "Task", *, quiet: bool) -> "tuple[Evaluation, list[Case]]":
    from rich.console import Console
    from rich.progress import Progress

    from geoseg.evaluation.benchmark_run import score_benchmark

    with Progress(console=Console(stderr=True), transient=True, disable=quiet) as progress:
        bar = progress.add_task("images", total=None)
        return score_benchmark(task, on_image=lambda done, of: progress.update(bar, completed=done, total=of))
