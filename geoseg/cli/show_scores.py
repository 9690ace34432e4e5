"""The table of scores on the terminal."""

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from geoseg.evaluation.scores import Scores

_UNDEFINED = "–"


def print_scores(scores: Scores, out: Path) -> None:
    """Classes, overall scores with their intervals, and what was done to compare."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    messages = Console(stderr=True, highlight=False, soft_wrap=True)
    for note in scores.notes:
        messages.print(note, style="dim", markup=False)
    table = Table("class", title=scores.title, title_justify="left")
    for heading in ("IoU", "F1", "precision", "recall", "reference", "predicted"):
        table.add_column(heading, justify="right")
    for c in scores.classes:
        shares = (_percent(v) for v in (c.iou, c.dice, c.precision, c.recall))
        table.add_row(f"[#{c.color}]■[/] {c.class_name}", *shares, f"{c.support:,}", f"{c.predicted:,}")
    console.print(table)
    overall = Table("overall", "score", show_header=False)
    for name, value in scores.overall.items():
        interval = scores.intervals.get(name)
        text = f"{_percent(interval[0])} to {_percent(interval[1])}" if interval else ""
        overall.add_row(name.replace("_", " "), _percent(value), text)
    if scores.reliability is not None:
        overall.add_row("expected calibration error", _percent(scores.reliability.ece), "")
    if (cost := scores.efficiency) is not None:
        overall.add_row("parameters", f"{cost.parameters:,}", "")
        overall.add_row("operations a pixel", f"{cost.flops_per_pixel:,.0f}", "")
        overall.add_row(
            "an image", f"{cost.latency_median_s:.3g} s", f"95 % within {cost.latency_p95_s:.3g} s"
        )
        overall.add_row("pixels a second", f"{cost.pixels_per_s:,.0f}", "")
        overall.add_row("peak memory", f"{cost.peak_memory_mb:,.0f} MB", "")
    console.print(overall)
    if scores.undefined:
        console.print(f"In neither, so in no mean: {', '.join(scores.undefined)}.")
    if sum(scores.unpredicted):
        console.print(f"{sum(scores.unpredicted):,} pixels have a reference but no class: counted as wrong.")
    messages.print(f"Scores are in {out}/ (open scores.html).", markup=False)


def _percent(value: float | None) -> str:
    return _UNDEFINED if value is None else f"{value:.1%}"
