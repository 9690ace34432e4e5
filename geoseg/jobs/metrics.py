"""How maps stand, in Prometheus' text format."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from geoseg.jobs.folders import where
from geoseg.jobs.listener import BlockTally
from geoseg.jobs.status import Status

_GAUGES: dict[str, tuple[str, Callable[[Status], float]]] = {
    "geoseg_map_made": ("1 where a whole map is in the folder", lambda s: s.is_made),
    "geoseg_run_running": ("1 while a run works", lambda s: s.state == "running"),
    "geoseg_run_stopped": ("1 where a run was stopped or killed", lambda s: s.state == "stopped"),
}
_OF_BLOCKS: dict[str, tuple[str, Callable[[BlockTally], float]]] = {
    "geoseg_blocks": ("Blocks of the map", lambda t: t.n_blocks),
    "geoseg_blocks_done": ("Blocks that are there", lambda t: t.n_done),
    "geoseg_block_failures": ("Failures of blocks in the last run", lambda t: t.n_failed),
    "geoseg_area_km2": ("Area that the last run has made", lambda t: t.km2_made),
    "geoseg_km2_per_second": ("Speed of the last run", lambda t: t.km2_per_s),
}
_HEARD = "geoseg_log_timestamp_seconds", "When the last run was last heard of"


def prometheus_text(maps: Sequence[Status]) -> str:
    """A gauge for each figure, labelled ``map`` with the output folder; what is not known is left out.

    See prometheus.io/docs/instrumenting/exposition_formats.
    """
    registry = CollectorRegistry()

    def show(name: str, text: str, values: Iterable[tuple[Path, float]]) -> None:
        gauge = Gauge(name, text, ["map"], registry=registry)
        for out, value in values:
            gauge.labels(where(out)).set(value)

    for name, (text, of_map) in _GAUGES.items():
        show(name, text, [(s.out, of_map(s)) for s in maps])
    for name, (text, of_blocks) in _OF_BLOCKS.items():
        show(name, text, [(s.out, of_blocks(s.tally)) for s in maps if s.tally])
    show(*_HEARD, [(s.out, s.since.timestamp()) for s in maps if s.since])
    return generate_latest(registry).decode()
