"""How maps stand, in Prometheus' text format."""

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from geoseg.jobs.status import Status

_GAUGES: dict[str, tuple[str, Callable[[Status], float | None]]] = {
    "geoseg_map_made": ("1 where a whole map is in the folder", lambda s: s.is_made),
    "geoseg_run_running": ("1 while a run works", lambda s: s.state == "running"),
    "geoseg_run_stopped": ("1 where a run was stopped or killed", lambda s: s.state == "stopped"),
    "geoseg_log_timestamp_seconds": (
        "When the last run was last heard of",
        lambda s: s.since.timestamp() if s.since else None,
    ),
    "geoseg_blocks": ("Blocks of the map", lambda s: s.tally and s.tally.n_blocks),
    "geoseg_blocks_done": ("Blocks that are there", lambda s: s.tally and s.tally.n_done),
    "geoseg_block_failures": ("Failures of blocks in the run", lambda s: s.tally and s.tally.n_failed),
    "geoseg_area_km2": ("Area that the run has made", lambda s: s.tally and s.tally.km2_made),
    "geoseg_km2_per_second": ("Speed of the run", lambda s: s.tally and s.tally.km2_per_s),
}


def prometheus_text(maps: Sequence[Status]) -> str:
    """A gauge for each figure, labelled ``map`` with the output folder; what is not known is left out.

    See prometheus.io/docs/instrumenting/exposition_formats.
    """
    registry = CollectorRegistry()
    for name, (text, value_of) in _GAUGES.items():
        gauge = Gauge(name, text, ["map"], registry=registry)
        for status in maps:
            if (value := value_of(status)) is not None:
                gauge.labels(str(status.out)).set(value)
    return generate_latest(registry).decode()
