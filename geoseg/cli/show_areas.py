"""Areas with their intervals on the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from geoseg.evaluation.areas.estimate import Z_95
from geoseg.evaluation.areas.facts import AreaFigures, AreaReport

_DASH = "-"


def print_areas(report: AreaReport, console: Console) -> None:
    """A table of the whole and of each region; what to know of them goes to standard error."""
    for figures in (report.whole, *report.regions):
        console.print(_table(figures))
        print_notes([f"{figures.name}: {note}" for note in figures.notes])
    print_notes(report.notes)
    console.print("Areas by pixel count carry the map's errors: biased, and shown for comparison only.")


def print_notes(notes: Sequence[str]) -> None:
    """Notes on standard error, so that results can be piped."""
    messages = Console(stderr=True, highlight=False, soft_wrap=True)
    for note in notes:
        messages.print(f"note: {note}", style="yellow", markup=False)


def _table(figures: AreaFigures) -> Table:
    """Areas in hectares with half the 95 % interval, accuracies with standard errors."""
    overall = _with_error(figures.overall_accuracy, figures.overall_accuracy_se)
    size = f"{figures.n_points} points, {figures.total_ha:,.1f} ha"
    title = f"{figures.name}: {size}, overall accuracy {overall} (SE)"
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
