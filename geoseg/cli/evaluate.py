"""``geoseg evaluate``: how good a map is."""

from pathlib import Path
from typing import Annotated

import typer

_MAP, _OUT = "The map", "Output"


def evaluate(
    prediction: Annotated[
        Path, typer.Option(help="The class map: class.tif.", rich_help_panel=_MAP, show_default=False)
    ],
    reference: Annotated[
        Path,
        typer.Option(
            help="What is true: a class raster, polygons, or points (CSV or vector), in any CRS.",
            rich_help_panel=_MAP,
            show_default=False,
        ),
    ],
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
    """Score a class map against a reference: accuracy, IoU, F1 and more, per class, overall and per place."""
    from geoseg.cli import show_scores
    from geoseg.evaluation.maps import Crosswalk
    from geoseg.evaluation.rasters import Request, read_tiles, score
    from geoseg.report.scores import refuse_existing, worst_tiles, write_scores

    refuse_existing(out, overwrite=overwrite)
    request = Request(
        prediction=prediction,
        reference=reference,
        legend=legend,
        crosswalk=Crosswalk.read(crosswalk) if crosswalk else Crosswalk(),
        class_field=field,
        crs=crs,
        places=places,
        place_field=place_field,
        nodata_is_wrong=nodata_is_wrong,
    )
    result = score(request)
    tiles = worst_tiles(result)
    write_scores(result, out, worst=dict(zip(tiles, read_tiles(request, tiles), strict=True)))
    if json:
        typer.echo(result.scores.to_json(), nl=False)
    elif not quiet:
        show_scores.print_scores(result.scores, out)
