"""``geoseg evaluate``: how good a map, a model or a prediction is."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geoseg.recipe import Tta

if TYPE_CHECKING:
    from geoseg.evaluation.benchmark_run import Task
    from geoseg.evaluation.scores import Evaluation

_PAIR, _SET, _OUT = "A prediction and what is true", "On a benchmark", "Output"


def evaluate(
    prediction: Annotated[
        Path | None,
        typer.Option(
            help="A class map (class.tif), polygons, COCO results or panoptic JSON; with --benchmark a "
            "folder of class rasters named as the images, or COCO results.",
            rich_help_panel=_PAIR,
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="What is true: a class raster, polygons, or points (CSV or vector) in any CRS; COCO JSON; "
            "or worldcover, nlcd or lcmap, with or without a year (worldcover:2020).",
            rich_help_panel=_PAIR,
        ),
    ] = None,
    reference_catalog: Annotated[
        str | None,
        typer.Option(
            help="STAC catalog in which a product such as worldcover is searched; without it where its "
            "makers have it.",
            rich_help_panel=_PAIR,
        ),
    ] = None,
    legend: Annotated[
        Path | None,
        typer.Option(help="What the map's values mean, where it does not say: TOML.", rich_help_panel=_PAIR),
    ] = None,
    crosswalk: Annotated[
        Path | None,
        typer.Option(help="Which class the reference's classes belong to: TOML.", rich_help_panel=_PAIR),
    ] = None,
    field: Annotated[
        str | None, typer.Option(help="Attribute that says the class of a feature.", rich_help_panel=_PAIR)
    ] = None,
    crs: Annotated[
        str | None, typer.Option(help="Of x and y in a CSV; degrees without it.", rich_help_panel=_PAIR)
    ] = None,
    places: Annotated[
        Path | None,
        typer.Option(
            help="Polygons that are scored one by one too, and resampled for intervals.",
            rich_help_panel=_PAIR,
        ),
    ] = None,
    place_field: Annotated[
        str | None, typer.Option(help="Attribute that names the places.", rich_help_panel=_PAIR)
    ] = None,
    nodata_is_wrong: Annotated[
        bool,
        typer.Option(
            "--nodata-is-wrong",
            help="Count pixels without a class as errors, instead of leaving them out.",
            rich_help_panel=_PAIR,
        ),
    ] = False,
    boundary: Annotated[
        str | None,
        typer.Option(
            help="Score outlines too, by boundary IoU and trimap IoU: how far from a boundary they look, in "
            "metres (30m), pixels (3px), or of an image's diagonal (2%, as published).",
            rich_help_panel=_PAIR,
        ),
    ] = None,
    iou: Annotated[
        str | None,
        typer.Option(
            help="Of polygons against polygons: from which IoU on one is found, such as 0.5,0.75. "
            "Without it 0.5, as SpaceNet.",
            rich_help_panel=_PAIR,
        ),
    ] = None,
    benchmark: Annotated[
        str | None,
        typer.Option(
            help="A data set: see geoseg benchmarks list; or the TOML file of images of your own.",
            rich_help_panel=_SET,
        ),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="The folder it was unpacked to.", rich_help_panel=_SET)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Name of a built-in model, or a model folder; landcover-30m without it.",
            rich_help_panel=_SET,
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Part of the data set; without it the usual one.", rich_help_panel=_SET)
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="So many images, spread over the split.", rich_help_panel=_SET)
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.", rich_help_panel=_SET)] = "auto",
    tta: Annotated[
        Tta,
        typer.Option(
            help="Mean over 4 or 8 rotations and reflections, 3 scales, or both.", rich_help_panel=_SET
        ),
    ] = "none",
    out: Annotated[
        Path, typer.Option(help="Folder for scores.json and scores.html.", rich_help_panel=_OUT)
    ] = Path("geoseg-out/scores"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the scores that lie there.", rich_help_panel=_OUT)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say warnings and errors only.", rich_help_panel=_OUT)
    ] = False,
    json: Annotated[
        bool,
        typer.Option("--json", help="Print the scores as JSON.", rich_help_panel=_OUT),
    ] = False,
) -> None:
    """Score a prediction against a reference, or a model or predictions on a benchmark.

    Accuracy, IoU, F1 and more of maps; precision, recall and AP of polygons and masks; panoptic quality. What
    the files are is told from what is in them.
    """
    from geoseg.cli import show_scores
    from geoseg.errors import EvaluationError
    from geoseg.evaluation.benchmark_images import Part
    from geoseg.evaluation.benchmark_run import Task
    from geoseg.evaluation.boundary_width import BoundaryWidth
    from geoseg.evaluation.files import score_files
    from geoseg.evaluation.maps import Crosswalk
    from geoseg.evaluation.rasters import Request
    from geoseg.files import check_out
    from geoseg.inference.runner import Inference
    from geoseg.models.zoo import DEFAULT_MODEL
    from geoseg.report.scores import JSON_NAME, write_scores

    check_out(out, JSON_NAME, overwrite=overwrite)
    of_pairs = {
        "reference": reference, "reference_catalog": reference_catalog, "legend": legend, "field": field,
        "crs": crs, "places": places, "place_field": place_field, "nodata_is_wrong": nodata_is_wrong,
        "iou": iou,
    }  # fmt: skip
    of_models = {"tta": None if tta == "none" else tta, "device": None if device == "auto" else device}
    if benchmark is None:
        _refuse(root=root, model=model, split=split, limit=limit, **of_models, because="without --benchmark")
    else:
        _refuse(**of_pairs, because="with --benchmark")
    read = Crosswalk.read(crosswalk) if crosswalk else Crosswalk()
    width = BoundaryWidth.read(boundary) if boundary else None
    if benchmark is not None and root is not None:
        if prediction is not None:
            _refuse(model=model, **of_models, because="with --prediction, which says what is scored")
        task = Task(
            Part(benchmark, root, split, limit),
            model or DEFAULT_MODEL,
            how=Inference(device=device, tta=tta),
            crosswalk=read,
            prediction=prediction,
            boundary=width,
        )
        evaluation = _on_benchmark(task, quiet=quiet)
    elif benchmark is None and prediction is not None and reference is not None:
        request = Request(
            prediction,
            reference,
            legend=legend,
            crosswalk=read,
            class_field=field,
            crs=crs,
            reference_catalog=reference_catalog,
            places=places,
            place_field=place_field,
            nodata_is_wrong=nodata_is_wrong,
            boundary=width,
            **({} if iou is None else {"iou": _thresholds(iou)}),
        )
        evaluation = score_files(request)
    else:
        raise EvaluationError(
            "Give --prediction and --reference, or --benchmark and --root with --model or --prediction."
        )
    write_scores(evaluation, out)
    if json:
        typer.echo(evaluation.scores.to_json(), nl=False)
    elif not quiet:
        show_scores.print_scores(evaluation.scores, out)


def _refuse(*, because: str, **flags: object) -> None:
    from geoseg.errors import EvaluationError

    for name, value in flags.items():
        if value not in (None, False):
            raise EvaluationError(f"--{name.replace('_', '-')} means nothing {because}. Leave it out.")


def _thresholds(text: str) -> tuple[float, ...]:
    from geoseg.errors import EvaluationError

    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(0 < threshold <= 1 for threshold in found):
        raise EvaluationError(f"--iou is {text!r}, expected numbers above 0 and up to 1, such as 0.5,0.75.")
    return found


def _on_benchmark(task: "Task", *, quiet: bool) -> "Evaluation":
    from rich.console import Console
    from rich.progress import Progress

    from geoseg.evaluation.benchmark_run import score_benchmark

    console = Console(stderr=True)
    is_hidden = quiet or not console.is_terminal
    with Progress(console=console, transient=True, disable=is_hidden) as progress:
        bar = progress.add_task("images", total=None)
        return score_benchmark(task, on_image=lambda done, of: progress.update(bar, completed=done, total=of))
