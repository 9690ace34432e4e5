"""``geoseg change``: what became of what between two class maps."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from geoseg.report.change import ChangeReport

_MAX_COLUMNS = 7
"""Larger matrices do not fit a terminal; their largest transitions do."""
_MAX_ROWS = 12


def change(
    before: Annotated[Path, typer.Argument(help="The earlier class map; all is compared on its grid.")],
    after: Annotated[Path, typer.Argument(help="The later class map, in any CRS and grid.")],
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("geoseg-out/change"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what geoseg wrote there.")] = False,
    crosswalk: Annotated[
        Path | None,
        typer.Option(help="TOML file with tables \\[before] and \\[after]: name or value = common name."),
    ] = None,
    sample: Annotated[
        Path | None,
        typer.Option(
            help="Points drawn from change.tif by geoseg area sample, and labelled: areas of change with "
            "intervals."
        ),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave points without a label out, instead of refusing.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON on standard output.")
    ] = False,
) -> None:
    """Compare two class maps: transition matrix in hectares, change map, polygons.

    [bold]geoseg change 2015/class.tif 2025/class.tif --out change[/bold] matches the classes of both maps by
    name. Hectares are counted pixels. For areas of change with intervals, draw points from change.tif with
    [bold]geoseg area sample[/bold], label them, and give them as [bold]--sample[/bold].
    """
    from rich.console import Console

    from geoseg.cli.show_areas import print_areas
    from geoseg.errors import EvaluationError
    from geoseg.evaluation.change_maps import ChangeCrosswalk
    from geoseg.jobs.change import compare

    messages = Console(stderr=True, highlight=False, soft_wrap=True)
    said = set()

    def say(text: str) -> None:
        said.add(text)
        messages.print(text, style="dim", markup=False)

    if allow_missing and sample is None:
        raise EvaluationError("--allow-missing is about the points of --sample. Give both, or leave it out.")
    renames = ChangeCrosswalk.read(crosswalk) if crosswalk else None
    report = compare(
        before,
        after,
        out=out,
        overwrite=overwrite,
        crosswalk=renames,
        sample=sample,
        allow_missing=allow_missing,
        say=say,
    )
    if json:
        typer.echo(report.to_json(), nl=False)
        return
    results = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    results.print(_transitions(report))
    results.print(_classes(report))
    results.print(
        f"{report.changed_ha:,.1f} of {report.compared_ha:,.1f} ha changed ({report.changed_share:.1%})."
    )
    if report.areas is not None:
        print_areas(report.areas, results)
    for note in report.notes:
        if note not in said:
            say(note)
    say(f"Matrix, map and polygons are in {out}/ (open change.tif and change.gpkg in QGIS).")


def _transitions(report: "ChangeReport") -> "Table":
    """The matrix in hectares, or of a large one the largest transitions."""
    from rich import box
    from rich.table import Table

    names = report.matrix.names
    if len(names) <= _MAX_COLUMNS:
        table = Table("before \\ after, ha", title="Transitions", title_justify="left", box=box.SIMPLE_HEAD)
        for name in names:
            table.add_column(name, justify="right")
        for row, (name, values) in enumerate(zip(names, report.matrix.area_ha, strict=True)):
            cells = [f"{ha:,.1f}" if ha else "-" for ha in values]
            cells[row] = f"[dim]{cells[row]}[/]"
            table.add_row(name, *cells)
        return table
    table = Table("before", "after", title="Largest transitions", title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("hectares", "share"):
        table.add_column(heading, justify="right")
    for t in report.transitions[:_MAX_ROWS]:
        table.add_row(t.before, t.after, f"{t.area_ha:,.1f}", f"{t.share:.1%}")
    return table


def _classes(report: "ChangeReport") -> "Table":
    from rich import box
    from rich.table import Column, Table

    table = Table(
        Column("class, ha", no_wrap=True), title="Classes", title_justify="left", box=box.SIMPLE_HEAD
    )
    for heading in ("before", "after", "unchanged", "gain", "loss", "net"):
        table.add_column(heading, justify="right")
    for c in report.classes:
        areas = (c.before_ha, c.after_ha, c.unchanged_ha, c.gain_ha, c.loss_ha)
        table.add_row(
            f"[#{c.color}]■[/] {c.class_name}", *(f"{ha:,.1f}" for ha in areas), f"{c.net_ha:+,.1f}"
        )
    return table
