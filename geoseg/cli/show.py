"""What a person sees: assumptions, progress, tables. Messages go to stderr, results to stdout."""

import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from geoseg.cli.jobs import duration
from geoseg.errors import RecipeError
from geoseg.grid.geobox import crs_title
from geoseg.jobs import run as job
from geoseg.jobs.estimate import Estimate, estimate
from geoseg.jobs.features import for_each, recipes_of
from geoseg.jobs.folders import where
from geoseg.jobs.listener import BlockTally, Listener, Silence
from geoseg.jobs.memory import within_memory
from geoseg.jobs.near import blocks_within
from geoseg.jobs.notify import services_of, telling
from geoseg.jobs.plan import Plan, plan_run
from geoseg.jobs.status import status_of
from geoseg.jobs.stopping import Stopped, stoppable
from geoseg.memory import one_heap
from geoseg.recipe import Recipe
from geoseg.report.facts import Report
from geoseg.stac.catalog import list_catalogs

_FEW_ITEMS = 12
"""Rows of them in a table; more say nothing to people."""
_messages = Console(stderr=True, highlight=False, soft_wrap=True)
_results = Console(highlight=False)


class Display:
    """A listener that prints lines and draws a progress bar on standard error."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        style = "yellow" if text.startswith("warning:") else "dim"
        self._progress.console.print(text, style=style, markup=False)

    def start(self, stage: str, total: int) -> None:
        """Begin a new bar; the one before is complete."""
        with self._lock:
            if self._task is not None:
                self._progress.update(self._task, completed=self._progress.tasks[self._task].total)
            self._task = self._progress.add_task(stage, total=total)

    def advance(self, amount: int) -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.advance(self._task, amount)

    def block(self, tally: BlockTally) -> None:
        """Nothing: the bar moves by pixels."""


@contextmanager
def display(*, quiet: bool) -> Iterator[Listener]:
    """A listener for people: lines, and a bar where there is a terminal; one that says nothing if quiet."""
    if quiet:
        yield Silence()
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    is_log = not _messages.is_terminal  # where a bar would leave an empty line
    with Progress(*columns, console=_messages, transient=True, disable=is_log) as progress:
        yield Display(progress)


def run(recipe: Recipe, *, quiet: bool, as_json: bool) -> None:
    """Make the map, or that of each feature: show how it goes, then the table of classes."""
    is_many = recipe.per_feature is not None

    def make(one: Recipe) -> None:
        with display(quiet=quiet) as listener:
            result = job.run(one.model_copy(update={"notify": ()}), listener=listener)
        is_made(result.where, result.report)
        _show_result(result, one, quiet=quiet, as_json=as_json, as_line=is_many)

    try:
        with stoppable(), telling(recipe) as is_made:
            for_each(recipes_of(recipe), make, say=_say(quiet), warn=_warn)
    except Stopped as stopped:
        _messages.print(str(stopped), markup=False)


def _show_result(result: job.Result, recipe: Recipe, *, quiet: bool, as_json: bool, as_line: bool) -> None:
    if as_json:
        report = result.report
        print(report.model_dump_json() if as_line else report.to_json(), flush=True)  # noqa: T201
    elif not quiet:
        _print_classes(result.report)
        _messages.print(f"Seams: {result.report.seams.text}.", markup=False)
        what = "Map and report" if recipe.polygons == "none" else "Map, polygons and report"
        _messages.print(
            f"{what} are in {result.where}/ (open report.html, or {result.raster} in QGIS).", markup=False
        )


def _print_classes(report: Report) -> None:
    table = Table("class", title=escape(report.title), title_justify="left")
    for heading in ("hectares", "share", "pixels"):
        table.add_column(heading, justify="right")
    for c in report.classes:
        name = f"[#{c.color}]■[/] {c.class_name}"
        table.add_row(name, f"{c.area_ha:,.1f}", f"{c.share:.1%}", f"{c.pixels:,}")
    _results.print(table)


def dry_run(recipe: Recipe, *, quiet: bool, as_json: bool) -> None:
    """Show what a run would do and cost, for each of its maps."""
    one_heap()
    is_many = recipe.per_feature is not None
    costs: list[Estimate] = []

    def show(one: Recipe) -> None:
        plan = within_memory(plan_run(one, say=_say(quiet)), say=_say(quiet))
        costs.append(estimate(plan))
        _show_cost(plan, costs[-1], as_json=as_json, as_line=is_many)

    try:
        services_of(recipe.notify)
    except RecipeError as error:  # a variable that holds one may be set where it will run
        _warn(f"A run here would be refused: {error}")
    for_each(recipes_of(recipe), show, say=_say(quiet), warn=_warn)
    if len(costs) > 1 and not as_json:
        _show_sum(costs, recipe)


def _show_cost(plan: Plan, cost: Estimate, *, as_json: bool, as_line: bool) -> None:
    if as_json:
        _print_json(_as_dict(plan, cost), as_line=as_line)
        return
    table = _plan_table(plan, "What this run would do")
    if not plan.address and (text := status_of(plan.out).so_far):
        table.add_row("so far", text)
    table.add_row("tiles", f"{cost.n_tiles} of {plan.tiles.size} px with a halo of {plan.tiles.halo} px")
    table.add_row("to read", _to_read(cost.read_mb))
    table.add_row("memory", f"about {cost.memory_mb:,.0f} MB at most")
    reading = f", reading {duration(cost.read_s)}" if cost.read_s else ""
    table.add_row(
        "time",
        f"about {duration(cost.elapsed_s)} "
        f"(prediction {duration(cost.predict_s)}, timed on one tile here{reading})",
    )
    if cost.n_workers > 1:
        table.add_row("workers", f"{cost.n_workers}, {duration(cost.worker_hours * 3600)} of work in all")
    if cost.cost is not None:
        table.add_row("cost", _cost(cost.cost, cost.worker_hours, plan.recipe))
    _results.print(table)


def _show_sum(costs: list[Estimate], recipe: Recipe) -> None:
    """Of maps that are made one after the other."""
    table = Table(show_header=False, title=f"All {len(costs)} maps", title_justify="left")
    table.add_row("tiles", f"{sum(cost.n_tiles for cost in costs):,}")
    table.add_row("to read", _to_read(sum(cost.read_mb for cost in costs)))
    table.add_row("time", f"about {duration(sum(cost.elapsed_s for cost in costs))}")
    hours = sum(cost.worker_hours for cost in costs)
    if recipe.price_per_hour is not None:
        table.add_row("cost", _cost(hours * recipe.price_per_hour, hours, recipe))
    _results.print(table)


def _to_read(megabytes: float) -> str:
    return f"{_figure(megabytes)} MB of pixels, about half of that from compressed files"


def _cost(cost: float, hours: float, recipe: Recipe) -> str:
    price = f"{recipe.price_per_hour:g} {recipe.currency}".strip()
    return f"about {_figure(cost)} {recipe.currency}".strip() + f" ({_figure(hours)} worker hours at {price})"


def _figure(value: float) -> str:
    """Whole, or with as many decimals as show two digits."""
    n_decimals = 1 - math.floor(math.log10(value)) if 0 < value < 10 else 0
    return f"{value:,.{n_decimals}f}"


def check(recipe: Recipe, *, quiet: bool, as_json: bool) -> None:
    """Show what the preflight found, for each map."""
    is_many = recipe.per_feature is not None

    def show(one: Recipe) -> None:
        _show_check(plan_run(one, say=_say(quiet)), as_json=as_json, as_line=is_many)

    for_each(recipes_of(recipe), show, say=_say(quiet), warn=_warn)


def _show_check(plan: Plan, *, as_json: bool, as_line: bool) -> None:
    if as_json:
        _print_json(_as_dict(plan, None), as_line=as_line)
        return
    table = _plan_table(plan, f"The imagery fits model {plan.card.name}")
    for text in plan.scaling:
        table.add_row("calibration", text)
    for text in plan.inputs.adapted or ("nothing had to be adapted",):
        table.add_row("adapted", text)
    _results.print(table)


def catalogs(*, as_json: bool) -> None:
    """List the shipped catalogs."""
    found = list_catalogs()
    if as_json:
        rows = [
            {"name": c.name, "title": c.title, "url": c.url, "collections": list(c.collections)}
            for c in found
        ]
        print(json.dumps(rows, indent=2))  # noqa: T201
        return
    table = Table("catalog", "title", "collections (first: default)", title="Catalogs", title_justify="left")
    for c in found:
        names = sorted(c.collections, key=lambda n: (n != c.default_collection, n))
        table.add_row(c.name, c.title, ", ".join(names))
    _results.print(table)


def _say(quiet: bool):  # type: ignore[no-untyped-def]
    return (lambda text: None) if quiet else (lambda text: _messages.print(text, style="dim", markup=False))


def _warn(text: str) -> None:
    _messages.print(f"warning: {text}", style="yellow", markup=False)


def _print_json(facts: dict[str, object], *, as_line: bool) -> None:
    """On one line where others follow: one for each map, as soon as it is known."""
    print(json.dumps(facts, indent=None if as_line else 2, ensure_ascii=False), flush=True)  # noqa: T201


def _plan_table(plan: Plan, title: str) -> Table:
    shape, selection = plan.geobox.shape, plan.selection
    table = Table(show_header=False, title=title, title_justify="left")
    table.add_row("map", escape(f"{plan.name}, in {where(plan.out)}/"))
    table.add_row("area", f"{selection.aoi_km2:,.2f} km², {selection.share:.1%} covered by items")
    table.add_row(
        "grid", f"{crs_title(str(plan.geobox.crs))}, {shape.x} x {shape.y} pixels of {plan.inputs.gsd_m:g} m"
    )
    table.add_row("bands", ", ".join(plan.inputs.bands))
    table.add_row("model", f"{plan.card.name}: {plan.card.title}")
    table.add_row("blocks", f"{len(blocks_within(plan))} of up to {plan.recipe.block_size} px")
    for item in islice(selection.items, _FEW_ITEMS):
        clouds = item.properties.get("eo:cloud_cover")
        day = (
            item.datetime.date()
            if item.datetime and item.properties.get("geoseg:datetime_known", True)
            else "undated"
        )
        table.add_row("item", f"{item.id} {day}" + (f" {clouds:.0f} % clouds" if clouds is not None else ""))
    if (more := len(selection.items) - _FEW_ITEMS) > 0:
        table.add_row("", f"and {more:,} more; all of them: --json")
    return table


def _as_dict(plan: Plan, cost: Estimate | None) -> dict[str, object]:
    facts: dict[str, object] = {
        "name": plan.name,
        "out": where(plan.out),
        "aoi_km2": plan.selection.aoi_km2,
        "covered_share": plan.selection.share,
        "crs": str(plan.geobox.crs),
        "gsd_m": plan.inputs.gsd_m,
        "shape": list(plan.geobox.shape),
        "bands": list(plan.inputs.bands),
        "model": plan.card.name,
        "items": [i.id for i in plan.selection.items],
        "n_blocks": len(blocks_within(plan)),
        "calibrations": plan.inputs.calibrations,
        "adapted": list(plan.inputs.adapted),
        "assumed": list(plan.assumed),
    }
    return facts if cost is None else {**facts, "estimate": vars(cost)}
