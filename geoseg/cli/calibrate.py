"""``geoseg calibrate``: make a model's confidence mean what it says."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from geoseg.recipe import Tta

_DATA, _WAY = "Labelled images", "What is fitted"


def calibrate(
    model: Annotated[str, typer.Option(help="A model folder, or with --out the name of a built-in model.")],
    benchmark: Annotated[
        str,
        typer.Option(
            help="A data set of geoseg benchmarks list, or the TOML file of your own labelled images.",
            rich_help_panel=_DATA,
        ),
    ],
    root: Annotated[Path, typer.Option(help="The folder of the images.", rich_help_panel=_DATA)],
    split: Annotated[
        str | None,
        typer.Option(
            help="Part that the model was not trained on; without it the usual one.", rich_help_panel=_DATA
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="So many images, spread over the split.", rich_help_panel=_DATA)
    ] = None,
    crosswalk: Annotated[
        Path | None,
        typer.Option(
            help="TOML: \\[reference] from the labels' classes to the model's.", rich_help_panel=_DATA
        ),
    ] = None,
    method: Annotated[
        Literal["temperature", "vector"],
        typer.Option(
            help="One temperature, or a scale and a bias for each class, which can change classes.",
            rich_help_panel=_WAY,
        ),
    ] = "temperature",
    coverage: Annotated[
        float, typer.Option(help="How often sets shall hold the true class.", rich_help_panel=_WAY)
    ] = 0.9,
    kind: Annotated[
        Literal["lac", "aps"],
        typer.Option(help="Smallest sets (lac), or larger ones for hard pixels (aps).", rich_help_panel=_WAY),
    ] = "lac",
    by_class: Annotated[
        bool, typer.Option("--by-class", help="Promise the coverage for each class.", rich_help_panel=_WAY)
    ] = False,
    tta: Annotated[Tta, typer.Option(help="As the maps will be made.", rich_help_panel=_WAY)] = "none",
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Write a calibrated copy of the model to this new folder.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the calibration that is there.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say warnings and errors only.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the calibration as JSON.")] = False,
) -> None:
    """Measure on labelled images what a model's probabilities are worth, and keep it in the model's folder.

    Maps then carry calibrated confidence, and [bold]predict --uncertainty conformal[/bold] says how many
    classes may be true. How well both hold is measured on places they were not fitted on.
    """
    from rich.console import Console
    from rich.progress import Progress

    from geoseg.cli.show_calibration import print_calibration
    from geoseg.evaluation.benchmark_images import Part
    from geoseg.evaluation.confidence.measuring import CalibrationTask, measure
    from geoseg.evaluation.maps import Crosswalk
    from geoseg.inference.runner import Inference
    from geoseg.models.folders import keep_calibration, refuse_kept
    from geoseg.models.zoo import card_of

    folder = refuse_kept(model, out, overwrite=overwrite)
    task = CalibrationTask(
        Part(benchmark, root, split, limit),
        model,
        how=Inference(device=device, tta=tta),
        crosswalk=Crosswalk.read(crosswalk) if crosswalk else Crosswalk(),
        method=method,
        coverage=coverage,
        kind=kind,
        by_class=by_class,
    )
    console = Console(stderr=True)
    is_hidden = quiet or not console.is_terminal
    with Progress(console=console, transient=True, disable=is_hidden) as progress:
        bar = progress.add_task("images", total=None)
        found = measure(task, on_image=lambda done, of: progress.update(bar, completed=done, total=of))
    path = keep_calibration(found, model, folder)
    if json:
        typer.echo(found.model_dump_json(indent=2))
    elif not quiet:
        classes = [c.name for c in card_of(model).legend.classes]
        print_calibration(found, path, classes=classes)
