"""``geoseg models``: which there are, and what one expects."""

import json as json_
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from geoseg.cli.model_files import export_model, import_file
from geoseg.cli.options import takes_recipe
from geoseg.recipe import Recipe

app = typer.Typer(help="Models: which there are, what they need and give.", no_args_is_help=True)
app.command("export")(export_model)
app.command("import")(import_file)


@app.command("list")
def list_models(json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """List the built-in models and the families that model folders can use."""
    from rich.console import Console
    from rich.table import Column, Table

    from geoseg.models.zoo import DEFAULT_MODEL, FAMILIES, card_of, model_names

    cards = [card_of(name) for name in model_names()]
    if json:
        typer.echo(json_.dumps([c.model_dump(mode="json") for c in cards], indent=2))
        return
    headings = (Column("model", no_wrap=True), "bands", "GSD", "classes", "title")
    table = Table(*headings, title="Models", title_justify="left")
    for card in cards:
        name = f"{card.name} (default)" if card.name == DEFAULT_MODEL else card.name
        low, high = card.gsd_range_m
        classes = ", ".join(c.name for c in card.legend.classes)
        table.add_row(name, ", ".join(card.bands), f"{low:g}..{high:g} m", classes, card.title)
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    console.print(f"Families for model folders: {', '.join(FAMILIES)}.")
    console.print("A model folder holds item.json and weights.safetensors.")


@app.command("ensemble")
def make_ensemble(
    models: Annotated[list[str], typer.Argument(help="Folders of models that were trained alike.")],
    out: Annotated[Path, typer.Option(help="The new model folder.")],
) -> None:
    """Put several models into one folder: maps are made from the mean of their probabilities."""
    from geoseg.models.ensemble import ensemble_of
    from geoseg.models.folders import make_folder, refuse_existing
    from geoseg.models.zoo import load_model, save_model

    refuse_existing(out)
    name = re.sub("[^a-z0-9._-]+", "-", out.name.lower()).strip("-._") or "ensemble"
    ensemble = ensemble_of([load_model(model) for model in models], name=name)
    make_folder(out, lambda folder: save_model(ensemble, folder))
    typer.echo(f"{out} holds {len(models)} models as one. Measure it: geoseg calibrate --model {out}")


@app.command("adapt")
@takes_recipe
def adapt_model(recipe: Recipe) -> None:
    """Use a model to other imagery, without labels: its norms take their statistics from the area's pixels.

    [bold]geoseg models adapt --model MODEL --image scene.tif --out FOLDER[/bold] writes a new model folder.
    Compare both on labels before you trust either.
    """
    from geoseg.errors import RecipeError
    from geoseg.jobs.adapt import adapt
    from geoseg.jobs.folders import local_folder

    if recipe.out is None:
        raise RecipeError("Give --out, the new model folder.")
    adapt(recipe, local_folder(recipe.out), say=lambda text: typer.echo(text, err=True))
    typer.echo(f"{recipe.out} holds {recipe.model} with the norms of this imagery.")


@app.command("show")
def show_model(model: Annotated[str, typer.Argument(help="Name of a built-in model, or a folder.")]) -> None:
    """Print a model's card as a STAC MLM item."""
    from geoseg.models.card import to_item
    from geoseg.models.zoo import card_of

    typer.echo(json_.dumps(to_item(card_of(model)), indent=2))
