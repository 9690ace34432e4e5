"""``geoseg area``: areas with confidence, from a sample of points that people label."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geoseg.errors import EvaluationError, OutputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from geoseg.evaluation.areas.facts import AreaFigures
    from geoseg.evaluation.areas.sampling import Sample

app = typer.Typer(help="Areas with confidence: draw points, label them, estimate.", no_args_is_help=True)

_DASH = "-"

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
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
        int | None, typer.Option(help="Points in all; else as many as --target-se needs.")
    ] = None,
    target_se: Annotated[
        float, typer.Option("--target-se", help="Standard error of overall accuracy to aim at.")
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
    json: Json = False,
) -> None:
    """Draw a stratified random sample of a map's pixels to label in QGIS.

    Writes sample.gpkg: open it in QGIS over the imagery, choose a reference class for each point, then run
    geoseg area estimate. An existing sample is never overwritten.
    """
    from geoseg.evaluation.areas.sampling import Design, draw_sample
    from geoseg.writers.points import write_points

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
        return
    console = _console()
    console.print(_strata_table(drawn, of))
    error = f"{drawn.expected_se:.4f}"
    console.print(f"If the map is as good as expected, overall accuracy gets a standard error of {error}.")
    _say(drawn.notes)
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
    json: Json = False,
) -> None:
    """Estimate areas and accuracy, with 95 % intervals, from labelled points.

    Methods: Olofsson et al. 2013, 2014; Stehman 2014. docs/areas.md says how to read the figures.
    """
    from geoseg.evaluation.areas.report import AreaRequest, report_areas

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
        _write(out / "areas.json", report.to_json())
    if json:
        typer.echo(report.to_json(), nl=False)
        return
    console = _console()
    for figures in (report.whole, *report.regions):
        console.print(_areas_table(figures))
        _say([f"{figures.name}: {note}" for note in figures.notes])
    _say(report.notes)
    console.print("Areas by pixel count carry the map's errors: biased, and shown for comparison only.")


def _expected(text: str) -> tuple[str, float]:
    name, is_given, value = text.rpartition("=")
    try:
        return name.strip(), float(value if is_given else "none")
    except ValueError:
        raise EvaluationError(
            f"--expect is {text!r}, expected a stratum and its accuracy: water=0.95."
        ) from None


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise OutputError(
            f"Cannot write {path}: {error.strerror}. Check the folder and its rights."
        ) from error


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


def _areas_table(figures: "AreaFigures") -> "Table":
    """Areas in hectares with half the 95 % interval, accuracies with standard errors."""
    from rich.markup import escape
    from rich.table import Table

    from geoseg.evaluation.areas.estimate import Z_95

    overall = _with_error(figures.overall_accuracy, figures.overall_accuracy_se)
    size = f"{figures.n_points} points, {figures.total_ha:,.1f} ha"
    title = f"{figures.name}: {size}, overall accuracy {overall}"
    table = Table("class", title=escape(title), title_justify="left")
    for heading in (
        *("ha by pixel count (biased)", "ha estimated", "± 95 %"),
        *("user's accuracy ± SE", "producer's accuracy ± SE", "points"),
    ):
        table.add_column(heading, justify="right")
    for c in figures.classes:
        margin = None if c.area_se_ha is None else Z_95 * c.area_se_ha
        table.add_row(
            escape(c.class_name),
            *(_DASH if ha is None else f"{ha:,.1f}" for ha in (c.mapped_ha, c.area_ha, margin)),
            _with_error(c.users_accuracy, c.users_accuracy_se),
            _with_error(c.producers_accuracy, c.producers_accuracy_se),
            f"{c.n_reference}",
        )
    return table


def _with_error(value: float | None, error: float | None) -> str:
    if value is None:
        return _DASH
    return f"{value:.3f} ± {_DASH if error is None else f'{error:.3f}'}"


def _console() -> "Console":
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160, highlight=False)


def _say(notes: Sequence[str]) -> None:
    """Notes on standard error, so that results can be piped."""
    from rich.console import Console

    messages = Console(stderr=True, highlight=False, soft_wrap=True)
    for note in notes:
        messages.print(f"note: {note}", style="yellow", markup=False)
