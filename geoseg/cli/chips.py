"""``geoseg chips``: imagery and labels become chips to learn from."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geoseg.recipe import Recipe

if TYPE_CHECKING:
    from geoseg.jobs.chips import ChipsMade

UNUSED = (
    *("per_feature", "feature"),
    *("model", "tile_size", "halo", "batch_size", "device", "backend", "precision", "tta", "uncertainty"),
    *("dropout_passes", "threads", "max_memory"),
    *("block_size", "workers", "cluster", "cluster_options", "scheduler", "tries", "on_missing"),
    *("notify", "price_per_hour", "currency", "store"),
    *("change_from", "resume", "overwrite", "max_file_gb", "polygons", "min_area_ha", "simplify_m"),
)
"""Keys of a recipe that say how a map is made."""

_LABELS, _CHIPS, _SPLITS = "Labels", "Chips", "Places and splits"


def chips(
    recipe: Recipe,
    labels: Annotated[
        str,
        typer.Option(
            help="Polygons or a class raster in any CRS; or worldcover, nlcd or lcmap, with or without a "
            "year (worldcover:2021). Polygons are the area too, where neither area nor image is given.",
            rich_help_panel=_LABELS,
        ),
    ],
    label_field: Annotated[
        str | None, typer.Option(help="Attribute that says a polygon's class.", rich_help_panel=_LABELS)
    ] = None,
    rest: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Class of all pixels of the area without a label; without it they are not learned from.",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    legend: Annotated[
        Path | None,
        typer.Option(
            help="Names and colours of a raster's values, where it has none: TOML.", rich_help_panel=_LABELS
        ),
    ] = None,
    crosswalk: Annotated[
        Path | None,
        typer.Option(
            help='Join, rename or ignore classes: TOML, [reference] with "10" = "tree".',
            rich_help_panel=_LABELS,
        ),
    ] = None,
    labels_catalog: Annotated[
        str | None,
        typer.Option(
            help="STAC catalog in which a product such as worldcover is searched.", rich_help_panel=_LABELS
        ),
    ] = None,
    keep_bands: Annotated[
        str | None,
        typer.Option(
            help="Bands of the chips by STAC common name, with commas; without it those of the default model "
            "that the imagery has.",
            rich_help_panel=_CHIPS,
        ),
    ] = None,
    chip_size: Annotated[
        int | None, typer.Option(help="Side of a chip, pixels; 256 without it.", rich_help_panel=_CHIPS)
    ] = None,
    min_labelled: Annotated[
        float,
        typer.Option(
            help="Leave out chips with labels on a smaller part of their pixels.", rich_help_panel=_CHIPS
        ),
    ] = 0.01,
    max_nodata: Annotated[
        float,
        typer.Option(help="Leave out chips with a larger part of clouds and nodata.", rich_help_panel=_CHIPS),
    ] = 0.5,
    place_field: Annotated[
        str | None,
        typer.Option(
            help="Attribute of the label polygons, or of the area, that names places.",
            rich_help_panel=_SPLITS,
        ),
    ] = None,
    block_m: Annotated[
        float | None,
        typer.Option(
            help="Side of the squares that are places, metres; without it two chips.", rich_help_panel=_SPLITS
        ),
    ] = None,
    val_share: Annotated[
        float, typer.Option(help="Part of the labels to validate on.", rich_help_panel=_SPLITS)
    ] = 0.2,
    test_share: Annotated[
        float, typer.Option(help="Part of the labels to leave alone until the end.", rich_help_panel=_SPLITS)
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Same seed, same splits.", rich_help_panel=_SPLITS)] = 0,
    license: Annotated[
        str, typer.Option(help="Of images and labels, as chips.toml is to say it.", rich_help_panel=_CHIPS)
    ] = "not stated",
    add: Annotated[
        bool,
        typer.Option(
            "--add",
            help="Add to the folder of an earlier run: places keep their split.",
            rich_help_panel=_CHIPS,
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say warnings and errors only.")] = False,
) -> None:
    """Cut labelled chips from imagery: a folder that train takes.

    [bold]geoseg chips --image scene.tif --labels fields.gpkg --label-field crop --out FOLDER[/bold], then
    [bold]geoseg train --auto FOLDER[/bold]. Whole places are learned from or held back, never single pixels.
    """
    from geoseg.cli.show import display
    from geoseg.errors import RecipeError
    from geoseg.jobs.chip_request import ChipRequest
    from geoseg.jobs.chips import cut_chips

    if recipe.out is None:
        raise RecipeError("Give --out, the new folder.")
    kept = None if keep_bands is None else tuple(filter(None, map(str.strip, keep_bands.split(","))))
    request = ChipRequest(
        labels=labels,
        label_field=label_field,
        legend=legend,
        crosswalk=crosswalk,
        labels_catalog=labels_catalog,
        rest=rest,
        keep_bands=kept,
        chip_size=chip_size,
        min_labelled=min_labelled,
        max_nodata=max_nodata,
        place_field=place_field,
        block_m=block_m,
        val_share=val_share,
        test_share=test_share,
        seed=seed,
        license=license,
        add=add,
    )
    with display(quiet=quiet) as listener:
        made = cut_chips(recipe, request, listener=listener)
    if not quiet:
        _print(made)


def _print(made: "ChipsMade") -> None:
    """The classes by split, and what to do next."""
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from geoseg.training.chip_folder import in_splits

    splits = in_splits(made.rows)
    names = [c.name for c in made.classes]
    table = Table("class", title=f"Labelled pixels of {len(made.rows):,} chips", title_justify="left")
    for split, n in splits.items():
        n_places = len({row.place for row in made.rows if row.split == split})
        table.add_column(f"{split}: {n:,} chips, {n_places:,} places", justify="right")
    counts = {s: np.sum([r.counts(names) for r in made.rows if r.split == s], axis=0) for s in splits}
    for n, c in enumerate(made.classes):
        shares = (f"{counts[s][n]:,} ({counts[s][n] / max(counts[s].sum(), 1):.1%})" for s in splits)
        table.add_row(f"[#{c.color_hint}]■[/] {c.name}", *shares)
    Console(highlight=False).print(table)
    typer.echo(f"{made.out} holds {made.n_new:,} new chips. Next: geoseg train --auto {made.out}", err=True)
