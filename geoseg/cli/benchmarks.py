"""``geoseg benchmarks``: which there are, what each asks for, and what a folder holds of them."""

import json as json_
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from geoseg.evaluation.benchmark import Benchmark, SplitFound

app = typer.Typer(help="Benchmarks: which there are, and whether a folder holds one.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


@app.command("list")
def list_benchmarks(json: Json = False) -> None:
    """List the data sets that models can be scored on."""
    from rich.table import Column, Table

    from geoseg.evaluation.benchmark import BENCHMARKS

    benchmarks = [BENCHMARKS[name] for name in BENCHMARKS]
    if json:
        typer.echo(json_.dumps([_summary(b) for b in benchmarks], indent=2))
        return
    headings = (
        Column("benchmark", no_wrap=True),
        "title",
        Column("classes", justify="right"),
        "bands",
        "splits",
    )
    table = Table(*headings, title="Benchmarks", title_justify="left")
    for b in benchmarks:
        table.add_row(b.name, b.title, str(len(b.legend.classes)), ", ".join(b.bands), ", ".join(b.splits))
    console = _console()
    console.print(table)
    console.print("The first split is scored by default. geoseg benchmarks show NAME says where to get one.")


@app.command("show")
def show_benchmark(
    benchmark: Annotated[
        str, typer.Argument(help="Name of a benchmark, or the TOML file of images of your own.")
    ],
    json: Json = False,
) -> None:
    """Print where a data set comes from, its files, splits, classes and rules."""
    from rich.table import Table

    from geoseg.evaluation.labelled import benchmark_of

    b = benchmark_of(benchmark)
    if json:
        classes = [c.model_dump(mode="json") for c in b.legend.classes]
        typer.echo(json_.dumps({**_summary(b), "layout": b.layout, "classes": classes}, indent=2))
        return
    facts = Table(show_header=False, title=b.title, title_justify="left")
    for name, text in _facts(b):
        facts.add_row(name, text)
    legend = Table("value", "class", "also", title="Classes", title_justify="left")
    for c in b.legend.classes:
        legend.add_row(str(c.value), f"[#{c.color_hint}]■[/] {c.name}", c.description)
    console = _console()
    console.print(facts)
    console.print(legend)


@app.command("check")
def check_folder(
    folder: Annotated[Path, typer.Argument(help="Where a data set was unpacked.")],
    name: Annotated[
        str | None,
        typer.Option(help="The benchmark it should be, or a TOML file; by default all are tried."),
    ] = None,
    json: Json = False,
) -> None:
    """Say which splits of which benchmarks a folder holds, and what is missing. Reads no pixels."""
    from rich.table import Column, Table

    from geoseg.errors import EvaluationError
    from geoseg.evaluation.benchmark import BENCHMARKS, check
    from geoseg.evaluation.labelled import benchmark_of

    if not folder.is_dir():
        raise EvaluationError(f"There is no folder {folder}. Give the one that the data set was unpacked to.")
    tried = [benchmark_of(name)] if name else [BENCHMARKS[n] for n in BENCHMARKS]
    found = {b.name: check(b, folder) for b in tried}
    if name is None:
        found = {n: splits for n, splits in found.items() if any(s.n_images or s.n_labels for s in splits)}
    if not found:
        raise EvaluationError(
            f"{folder} holds nothing of the {len(tried)} benchmarks that geoseg knows. Give --name NAME, one "
            "of geoseg benchmarks list, to see what it expects there."
        )
    if json:
        typer.echo(json_.dumps([_as_dict(n, s) for n, splits in found.items() for s in splits], indent=2))
        return
    counts = [Column(heading, justify="right") for heading in ("images", "labels", "published")]
    table = Table(Column("benchmark", no_wrap=True), "split", *counts, "complete")
    for n, splits in found.items():
        for s in splits:
            published = "any" if s.n_expected is None else f"{s.n_expected:,}"
            table.add_row(
                n, s.split, f"{s.n_images:,}", f"{s.n_labels:,}", published, "yes" if s.is_complete else "no"
            )
    console = _console()
    console.print(table)
    for n, splits in found.items():
        for s in splits:
            if s.missing:
                console.print(f"{n} {s.split}: {s.missing}", markup=False, soft_wrap=True)
    if name and not any(s.is_complete for splits in found.values() for s in splits):
        raise typer.Exit(2)


def _summary(b: "Benchmark") -> dict[str, Any]:
    return {
        "name": b.name,
        "title": b.title,
        "n_classes": len(b.legend.classes),
        "bands": list(b.bands),
        "gsd_m": b.gsd_m,
        "splits": {split: b.n_samples.get(split) for split in b.splits},
        "home": b.home,
        "license": b.license,
        "scoring": b.scoring,
        "is_missing_wrong": b.is_missing_wrong,
        "source": b.source,
    }


def _facts(b: "Benchmark") -> list[tuple[str, str]]:
    from rich.markup import escape

    sizes = [f"{split} ({b.n_samples[split]:,})" if split in b.n_samples else split for split in b.splits]
    lines = [
        ("name", b.name),
        ("get it from", b.home),
        ("licence", b.license),
        ("files", b.layout),
        ("splits", ", ".join(sizes)),
        ("bands", ", ".join(b.bands) + (f" at {b.gsd_m:g} m" if b.gsd_m else "")),
        ("its own tool", b.scoring),
        ("no prediction", "counts as wrong in every pixel" if b.is_missing_wrong else ""),
        ("taken from", b.source),
    ]
    return [(name, escape(text)) for name, text in lines if text]


def _as_dict(name: str, split: "SplitFound") -> dict[str, Any]:
    return {"benchmark": name, **vars(split), "is_complete": split.is_complete}


def _console() -> "Console":
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160)
