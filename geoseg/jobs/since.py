"""What has become of what since an earlier map: a comparison beside each map of a recipe that asks for it."""

import json
from collections.abc import Callable
from pathlib import Path

from geoseg.jobs.change import compare
from geoseg.jobs.workspace import MANIFEST, files_of_map
from geoseg.writers.vrt import digest_of, files_of_raster, raster_of

_LAYER = "class"


def compare_since(before: Path, after: Path, *, say: Callable[[str], None]) -> Path | None:
    """The folder of the comparison, ``AFTER-change``, brought up to date; None where there is no map yet.

    Args:
        before: output folder of the earlier map.
        after: that of the later one, which is whole.
        say: told what is done.

    Raises:
        EvaluationError, OutputError: see :func:`geoseg.jobs.change.compare`.
    """
    if not files_of_map(before):
        say(f"{before}/ holds no map yet: there is nothing to compare with")
        return None
    out = after.with_name(f"{after.name}-change")
    inputs = [_hash(before), _hash(after)]
    if _inputs(out) == inputs:
        say(f"{out}/ compares these maps already")
        return out
    maps = (raster_of(folder, _LAYER) for folder in (before, after))
    report = compare(*maps, out=out, overwrite=True, say=say)
    say(
        f"{report.changed_ha:,.1f} of {report.compared_ha:,.1f} ha changed since {before} "
        f"({report.changed_share:.1%}): see {out}/"
    )
    return out


def _hash(folder: Path) -> str:
    """Of the class map, as its manifest says; see :func:`geoseg.writers.vrt.digest_of`."""
    files = json.loads((folder / MANIFEST).read_text("utf-8"))["files"]
    names = [path.name for path in files_of_raster(raster_of(folder, _LAYER))]
    return digest_of([files[name]["sha256"] for name in names])


def _inputs(folder: Path) -> list[str]:
    """Hashes of the maps that were compared there; none where they were not."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        return [one["sha256"] for one in manifest["inputs"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
