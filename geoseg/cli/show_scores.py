"""The tables of scores on the terminal."""

import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from geoseg.evaluation.intervals import Range
from geoseg.evaluation.objects.results import Found, InstanceScores, Objects, Panoptic
from geoseg.evaluation.scores import BOUNDARY_ORDER, Efficiency, Scores
from geoseg.report.scores import WORDS

_UNDEFINED = "–"


def print_scores(scores: Scores, out: Path) -> None:
    """Classes, overall scores with their intervals, and what was done to compare."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    messages = Console(stderr=True, highlight=False, soft_wrap=True)
    for note in scores.notes:
        messages.print(note, style="dim", markup=False)
    if scores.classes:
        console.print(_pixels(scores))
        console.print(_overall(scores))
    if scores.objects is not None:
        _print_objects(console, scores.objects, scores.title)
    if scores.instances is not None:
        _print_instances(console, scores.instances, scores.title)
    if scores.panoptic is not None:
        _print_panoptic(console, scores.panoptic, scores.title)
    if scores.undefined:
        console.print(f"In neither, so in no mean: {', '.join(scores.undefined)}.", markup=False)
    if scores.unaveraged:
        console.print(f"In no mean, as in the set's own tool: {', '.join(scores.unaveraged)}.", markup=False)
    if sum(scores.unpredicted):
        console.print(f"{sum(scores.unpredicted):,} pixels have a reference but no class: counted as wrong.")
    messages.print(f"Scores are in {out}/ (open scores.html).", markup=False)


def _pixels(scores: Scores) -> Table:
    has_outlines = scores.overall.get(BOUNDARY_ORDER[0]) is not None
    outlines = ("boundary IoU", "trimap IoU") if has_outlines else ()
    has_ranges = any(c.iou_interval for c in scores.classes)
    ranges = ("95 % interval",) if has_ranges else ()
    table = _table(
        scores.title, "IoU", *ranges, "F1", "precision", "recall", *outlines, "reference", "predicted"
    )
    for c in scores.classes:
        shares = [c.dice, c.precision, c.recall]
        shares += [c.boundary_iou, c.trimap_iou] if has_outlines else []
        iou = [_percent(c.iou), *([_range(c.iou_interval)] if has_ranges else [])]
        counts = f"{c.support:,}", f"{c.predicted:,}"
        table.add_row(_name(c.color, c.class_name), *iou, *map(_percent, shares), *counts)
    return table


def _overall(scores: Scores) -> Table:
    overall = Table("overall", "score", show_header=False)
    for name, value in scores.overall.items():
        if value is not None or name not in BOUNDARY_ORDER:
            overall.add_row(
                WORDS.get(name, name.replace("_", " ")), _percent(value), _range(scores.intervals.get(name))
            )
    if scores.reliability is not None:
        overall.add_row("expected calibration error", _percent(scores.reliability.ece), "")
        if scores.reliability.brier is not None and scores.reliability.nll is not None:
            overall.add_row("Brier score (0 to 2)", f"{scores.reliability.brier:.3f}", "")
            overall.add_row("negative log likelihood", f"{scores.reliability.nll:.3f}", "")
    if scores.efficiency is not None:
        _add_cost(overall, scores.efficiency)
    return overall


def _add_cost(overall: Table, cost: Efficiency) -> None:
    overall.add_row("parameters", f"{cost.parameters:,}", "")
    overall.add_row("operations a pixel and pass", f"{cost.flops_per_pixel:,.0f}", "")
    overall.add_row("an image", f"{cost.latency_median_s:.3g} s", f"95 % within {cost.latency_p95_s:.3g} s")
    overall.add_row("pixels a second", f"{cost.pixels_per_s:,.0f}", "")
    overall.add_row("peak memory", f"{cost.peak_memory_mb:,.0f} MB", "")


def _print_objects(console: Console, objects: Objects, title: str) -> None:
    table = _table(title, "IoU from", "F1", "precision", "recall", "found", "made up", "missed", "AP")
    for c in objects.classes:
        for n, found in enumerate(c.found):
            ap = _percent(c.ap) if n == 0 else ""
            table.add_row(_name(c.color, c.class_name) if n == 0 else "", *_found(found), ap)
    console.print(table)
    overall = Table("overall", "score", show_header=False)
    for found in objects.found:
        for name in ("f1", "precision", "recall"):
            value = _percent(getattr(found, name))
            overall.add_row(f"{name} from IoU {found.iou:g}", value, _range(found.intervals.get(name)))
    if objects.ap is not None:
        for name, share in (("AP", objects.ap), ("AP50", objects.ap50), ("AP75", objects.ap75)):
            overall.add_row(name, _percent(share), "")
    console.print(overall)
    if objects.places:
        places = _table("", "IoU from", "F1", "precision", "recall", "found", "made up", "missed", of="place")
        for place in objects.places:
            for n, found in enumerate(place.found):
                places.add_row(escape(place.place) if n == 0 else "", *_found(found))
        console.print(places)


def _print_instances(console: Console, instances: InstanceScores, title: str) -> None:
    table = _table(title, "AP", "AP50", "AP75", "AR", "reference")
    for c in (c for c in instances.classes if c.support or c.ap is not None):
        table.add_row(
            _name(c.color, c.class_name), *map(_percent, (c.ap, c.ap50, c.ap75, c.ar)), f"{c.support:,}"
        )
    means = (instances.ap, instances.ap50, instances.ap75, instances.ar)
    table.add_row("mean", *map(_percent, means), "", style="bold")
    console.print(table)


def _print_panoptic(console: Console, panoptic: Panoptic, title: str) -> None:
    table = _table(title, "PQ", "SQ", "RQ", "found", "made up", "missed")
    for c in panoptic.classes:
        if c.pq is not None:
            counts = (c.true_positives, c.false_positives, c.false_negatives)
            name = _name(c.color, c.class_name)
            table.add_row(name, *map(_percent, (c.pq, c.sq, c.rq)), *(f"{n:,}" for n in counts))
    console.print(table)
    overall = _table("", "PQ", "SQ", "RQ", "classes", "95 % interval of PQ", of="mean")
    for name in ("overall", "things", "stuff"):
        mean = getattr(panoptic, name)
        shares = map(_percent, (mean.pq, mean.sq, mean.rq))
        overall.add_row(name, *shares, str(mean.n_classes), _range(mean.intervals.get("pq")))
    console.print(overall)


def _table(title: str, *headings: str, of: str = "class") -> Table:
    table = Table(of, title=escape(title) or None, title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _found(found: Found) -> tuple[str, ...]:
    counts = (found.true_positives, found.false_positives, found.false_negatives)
    shares = (found.f1, found.precision, found.recall)
    return (f"{found.iou:g}", *map(_percent, shares), *(f"{n:,}" for n in counts))


def _name(color: str, name: str) -> str:
    return f"[#{color}]■[/] {escape(name)}"


def _range(limits: Range | None) -> str:
    return f"{_percent(limits[0])} to {_percent(limits[1])}" if limits else ""


def _percent(value: float | None) -> str:
    return _UNDEFINED if value is None else f"{value:.1%}"
