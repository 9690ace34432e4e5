"""``geoseg status``, ``logs`` and ``clean``: maps that are made again and again, or take days."""

import json as json_module
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from geoseg.errors import RecipeError

if TYPE_CHECKING:
    from geoseg.jobs.status import Status

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Output folder; or a recipe that says it: a TOML file, or the name of a shipped one.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def status(
    name: Name,
    json: Json = False,
    prometheus: Annotated[bool, typer.Option("--prometheus", help="Print Prometheus' text format.")] = False,
) -> None:
    """How the maps of a recipe stand: made, running, stopped; blocks, failures, speed, time left."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    from geoseg.jobs.folders import where
    from geoseg.jobs.status import places, status_of

    if json and prometheus:
        raise RecipeError("--json and --prometheus both say the form. Give one of them.")
    found = [status_of(out) for out in places(name)]
    if json:
        print(json_module.dumps([one.as_dict() for one in found], indent=2))  # noqa: T201
        return
    if prometheus:
        from geoseg.jobs.metrics import prometheus_text

        print(prometheus_text(found), end="")  # noqa: T201
        return
    rows = [_row(one) for one in found]
    shown = [n for n in range(len(_COLUMNS)) if any(row[n] for row in rows)]
    table = Table(*(Column(_COLUMNS[n], overflow="fold") for n in shown))
    for row in rows:
        table.add_row(*(escape(row[n]) for n in shown))
    console = Console(highlight=False)
    console.print(table if found else f"{escape(name)}: no map was begun.")
    for one in found:
        if one.state == "stopped":
            why = one.why or "it was killed, or the machine went down."
            console.print(f"{where(one.out)}: {why}", soft_wrap=True, markup=False)


_COLUMNS = ("map", "state", "blocks", "failures", "km²/s", "left", "last heard of")


def _row(one: "Status") -> tuple[str, ...]:
    """What stands in each of the columns; those that are empty for all maps are not shown."""
    from geoseg.jobs.folders import where

    counts, blocks = ("", "", ""), one.tally
    if blocks:
        n_done = f"{blocks.n_done:,} of {blocks.n_blocks:,}"
        counts = (n_done, str(blocks.n_failed), f"{blocks.km2_per_s:.3g}")
    state = f"{one.state}: {one.stage}" if one.state == "running" and one.stage else one.state
    state += ", a map is there" if one.is_made and one.state != "made" else ""
    left = "" if one.left_s is None else duration(one.left_s)
    ago = "" if one.since is None else f"{duration((datetime.now(UTC) - one.since).total_seconds())} ago"
    return where(one.out), state, *counts, left, ago


def logs(name: Name, json: Json = False) -> None:
    """What the last run of each map of a recipe said, with failures of blocks."""
    from geoseg.jobs.folders import where
    from geoseg.jobs.log import read_log
    from geoseg.jobs.status import log_folder, places

    outs = places(name)
    if not outs and not json:
        print(f"{name}: no map was begun.")  # noqa: T201
    for out in outs:
        n_lines = 0
        for n_lines, line in enumerate(read_log(log_folder(out)), start=1):
            if json:
                print(json_module.dumps(line))  # noqa: T201
                continue
            if n_lines == 1 and len(outs) > 1:
                print(f"{where(out)}:")  # noqa: T201
            print(f"{line['time'][:19].replace('T', ' ')}  {_words(line)}")  # noqa: T201
        if not n_lines and not json:
            print(f"{where(out)}: no run has left a log there.")  # noqa: T201


def clean(name: Name) -> None:
    """Remove what runs of a recipe that were stopped have left; they cannot go on then. Maps stay."""
    from geoseg.jobs.folders import where
    from geoseg.jobs.leavings import is_taken, workspaces_of
    from geoseg.jobs.status import clean as clean_up
    from geoseg.jobs.status import places

    outs = places(name)
    removed = [one for out in outs for one in clean_up(out)]
    for folder, n_bytes in removed:
        print(f"removed {folder}, {n_bytes / 1e6:.1f} MB")  # noqa: T201
    for out in outs:
        if any(is_taken(folder) for folder in workspaces_of(out.resolve())):
            print(f"{where(out)}: a run is at work there, and was let alone")  # noqa: T201
    if not removed:
        print("Nothing to remove: no stopped run has left anything.")  # noqa: T201


def _words(line: dict[str, object]) -> str:
    if line["event"] == "block":
        counts = f"{int(line['n_kept']) + int(line['n_made'])} of {line['n_blocks']} blocks"  # type: ignore[call-overload]
        return f"a block failed: {line['error']}" if line["error"] else counts
    if line["event"] == "ended":
        return f"ended: {line['why']}"
    return str(line.get("text") or line.get("stage") or line["event"])


def duration(seconds: float) -> str:
    """For people: ``90 s`` at most, then minutes, then hours."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
