"""``geoseg area``: areas with confidence, from a sample of points that people label."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geoseg.errors import EvaluationError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from geoseg.evaluation.areas.sampling import Sample

app = typer.Typer(help="Areas with confidence: draw points, label them, estimate.", no_args_is_help=True)

AREAS_NAME = "areas.json"

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say warnings and errors only.")]
LegendFile = Annotated[
    Path | None,
    typer.Option("--legend", help="TOML file that names the map's values, if it does not itself."),
]


@app.command()
def sample(
    map_path: Annotated[Path, typer.Argument(metavar="MAP", help="A class map: uint8, 255 = nodata.")],
    out: Annotated[Path, typer.Option(help="Folder for sample.gpkg.")] = Path(),
    strata: Annotated[
        Path | None, typer.Option(help="Raster of strata on the map's grid; else its classes are the strata.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Points in all; without it as many as --target-se needs.")
    ] = None,
    target_se: Annotated[
        float,
        typer.Option("--target-se", help="Standard error of overall accuracy to aim at, without --size."),
    ] = 0.02,
    allocation: Annotated[str, typer.Option(help="proportional, equal or neyman.")] = "proportional",
    min_per_stratum: Annotated[int, typer.Option(help="Fewest points of a stratum.")] = 50,
    accuracy: Annotated[
        list[str] | None,
        typer.Option(
            "--expect", help="Accuracy expected in a stratum, as water=0.95; 0.8 elsewhere. Repeatable."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same points.")] = 0,
    legend: LegendFile = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Draw a stratified random sample of a map's pixels to label in QGIS.

    Writes sample.gpkg: open it in QGIS over the imagery, choose a reference class for each point, then run
    geoseg area estimate. An existing sample is never overwritten.
    """
    from geoseg.cli.show_areas import print_notes
    from geoseg.evaluation.areas.sampling import Design, draw_sample
    from geoseg.files import check_folder
    from geoseg.writers.points import write_points

    check_folder(out)
    design = Design(
        size=size,
        target_se=target_se,
        allocation=allocation,  # type: ignore[arg-type]
        min_per_stratum=min_per_stratum,
        accuracy=dict(_expected(text) for text in accuracy or []),
        seed=seed,
    )
    drawn = draw_sample(map_path, design, strata=strata, legend=legend)
    of = f"{map_path.name} by {strata.name}" if strata else map_path.name
    path = write_points(
        drawn.points,
        out / "sample.gpkg",
        legend=drawn.legend,
        tables={"strata": drawn.strata, "classes": drawn.classes},
        pixel_m=drawn.pixel_m,
        title=f"{len(drawn.points)} points of {of}, {allocation} allocation, seed {seed}",
    )
    if json:
        typer.echo(_sample_json(drawn, path))
    if json or quiet:
        return
    console = _console()
    console.print(_strata_table(drawn, of))
    error = f"{drawn.expected_se:.4f}"
    console.print(f"If the map is as good as expected, overall accuracy gets a standard error of {error}.")
    print_notes(drawn.notes)
    console.print(f"Label {path} in QGIS, then: geoseg area estimate {path}", soft_wrap=True, markup=False)


@app.command()
def estimate(
    labels: Annotated[Path, typer.Argument(help="The labelled sample.gpkg, or a CSV with its columns.")],
    map_path: Annotated[
        Path | None, typer.Option("--map", help="Map to assess, if not the one that the sample is from.")
    ] = None,
    areas: Annotated[
        Path | None, typer.Option(help="CSV of stratum and area_ha, where neither sample nor map say them.")
    ] = None,
    regions: Annotated[
        str | None, typer.Option(help="Polygons to estimate one by one; needs --map and --region-field.")
    ] = None,
    region_field: Annotated[str | None, typer.Option(help="Attribute that names the regions.")] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave points without a label out, instead of refusing.")
    ] = False,
    legend: LegendFile = None,
    out: Annotated[Path | None, typer.Option(help="Folder for areas.json.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the areas.json there.")] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Estimate areas and accuracy, with 95 % intervals, from labelled points.

    Methods: Olofsson et al. 2013, 2014; Stehman 2014. docs/areas.md says how to read the figures.
    """
    from geoseg.cli.show_areas import print_areas, print_notes
    from geoseg.evaluation.areas.report import AreaRequest, report_areas
    from geoseg.files import check_out, write_texts

    if out is not None:
        check_out(out, AREAS_NAME, overwrite=overwrite)
    report = report_areas(
        AreaRequest(
            labels=labels,
            map=map_path,
            areas=areas,
            legend=legend,
            regions=regions,
            region_field=region_field,
            allow_missing=allow_missing,
        )
    )
    if out is not None:
        write_texts(out, {AREAS_NAME: report.to_json()})
    if json:
        typer.echo(report.to_json(), nl=False)
    if json or quiet:
        return
    print_areas(report, _console())
    if out is not None:
        print_notes([f"The figures are in {out / AREAS_NAME}."])


def _expected(text: str) -> tuple[str, float]:
    name, is_given, value = text.rpartition("=")
    try:
        return name.strip(), float(value if is_given else "none")
    except ValueError:
        raise EvaluationError(
            f"--expect is {text!r}, expected a stratum and its accuracy: water=0.95."
        ) from None


def _sample_json(drawn: "Sample", path: Path) -> str:
    import json as json_

    facts = {
        "sample": str(path),
        "n_points": len(drawn.points),
        "expected_se": drawn.expected_se,
        "strata": drawn.strata.to_dict("records"),
        "notes": drawn.notes,
    }
    return json_.dumps(facts, indent=2)


def _strata_table(drawn: "Sample", of: str) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table("stratum", title=escape(f"{len(drawn.points)} points of {of}"), title_justify="left")
    for heading in ("pixels", "hectares", "expected accuracy", "points"):
        table.add_column(heading, justify="right")
    for row in drawn.strata.itertuples():
        table.add_row(
            row.stratum_name,
            f"{row.pixels:,}",
            f"{row.area_ha:,.1f}",
            f"{row.expected_accuracy:.2f}",
            f"{row.points}",
        )
    return table


def _console() -> "Console":
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160, highlight=False)
