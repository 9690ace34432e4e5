"""How the maps of a recipe stand, and what runs that ended have left on disk."""

import re
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from geoseg.errors import RecipeError
from geoseg.jobs.features import recipes_of
from geoseg.jobs.folders import outs_of, place_of, where
from geoseg.jobs.leavings import is_taken, listed, olds_of, remove_if_free, target_names, workspaces_of
from geoseg.jobs.listener import BlockTally
from geoseg.jobs.log import LOG, read_log
from geoseg.jobs.workspace import MANIFEST, files_in, files_of_map
from geoseg.object_storage import checked_address, is_address
from geoseg.recipe import Recipe
from geoseg.redaction import redact
from geoseg.resources import find_resource

_LEVELS = 3
"""Of folders, as in ``maps/{feature}/{year}/{month}``, that maps are looked for in."""
State = Literal["made", "running", "stopped", "not begun"]


@dataclass(frozen=True)
class Status:
    """How one map stands."""

    out: Path
    state: State
    is_made: bool
    """A whole map is in ``out``, which may be an older one while a run goes on or was stopped."""
    stage: str = ""
    """That the run is in, or was in last."""
    tally: BlockTally | None = None
    """Of its blocks; None before they begin."""
    since: datetime | None = None
    """When the last line of its log was written."""
    why: str = ""
    """It was stopped; empty where it was killed."""

    @property
    def left_s(self) -> float | None:
        """Until the blocks are done, seconds, if all take as long; None where that is not known."""
        blocks = self.tally
        if self.state != "running" or blocks is None or not blocks.n_made:
            return None
        return (blocks.n_blocks - blocks.n_done) * blocks.seconds / blocks.n_made

    @property
    def so_far(self) -> str:
        """For who plans the next run; empty where none was begun."""
        if self.state == "not begun":
            return ""
        blocks = f", {self.tally.n_done:,} of {self.tally.n_blocks:,} blocks" if self.tally else ""
        return f"{self.state}{blocks}: geoseg run makes what is missing or has changed"

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        blocks = self.tally
        counted = {
            "n_blocks": blocks.n_blocks,
            "n_done": blocks.n_done,
            "n_failed": blocks.n_failed,
            "km2_per_s": round(blocks.km2_per_s, 6),
            "left_s": self.left_s and round(self.left_s, 1),
        } if blocks else {}  # fmt: skip
        return {
            "out": where(self.out),
            "state": self.state,
            "is_made": self.is_made,
            "stage": self.stage,
            "since": self.since.isoformat() if self.since else None,
            "why": self.why,
            **counted,
        }


def places(name: str) -> list[Path]:
    """The output folders of the recipe called ``name``, or the folder itself where it is one.

    Raises:
        RecipeError: it is neither.
    """
    if is_address(name):
        try:
            return [place_of(checked_address(name).removeprefix("file://"))]
        except ValueError as error:
            raise RecipeError(f"{redact(name)} {error}.") from None
    folder = Path(name)
    if folder.is_dir() or workspaces_of(folder.resolve()):
        return _maps_in(folder)
    if find_resource("pipelines", name, ".toml") is None:
        raise RecipeError(
            f"{name} is neither a folder nor a recipe. Give the --out of a run, or its TOML file."
        )
    recipe = Recipe.resolve(name)
    if recipe.per_feature is not None and recipe.aoi == "-":
        raise RecipeError(f"{name} takes its areas from standard input. Name its output folder.")
    return [out for one in recipes_of(recipe).values() for out in outs_of(one)]


def _maps_in(folder: Path) -> list[Path]:
    """The folder; or, where it is no map and no run has begun one there, the maps below it."""
    if files_of_map(folder) or workspaces_of(folder.resolve()):
        return [folder]
    return sorted(_maps_below(folder, _LEVELS)) or [folder]


def _maps_below(folder: Path, n_levels: int) -> set[Path]:
    """Those that are made, and those that a run has begun."""
    found = {folder / name for name in target_names(folder, ".+")}
    for path in listed(folder):
        if path in found or path.name.startswith(".") or path.is_symlink() or not path.is_dir():
            continue
        if files_of_map(path) or target_names(path, re.escape(path.name)):
            found.add(path)
        elif n_levels > 1:
            found |= _maps_below(path, n_levels - 1)
    return found


def log_folder(out: Path) -> Path:
    """Where the log of the last run is: its workspace, or the map."""
    return next((folder for folder in workspaces_of(out.resolve()) if (folder / LOG).exists()), out)


def status_of(out: Path) -> Status:
    """How the map in ``out`` stands."""
    folder, is_made = log_folder(out), bool(_files_at(out))
    state: State = "made" if is_made else "not begun"
    if folder != out:
        state = "running" if is_taken(folder) else "stopped"
    stage, why, since = "", "", None
    tally, before = None, None
    for line in read_log(folder):
        since, why = datetime.fromisoformat(line["time"]), line.get("why", "")
        if line["event"] == "began":
            stage, tally, before = "", None, tally or before
        stage = line.get("stage", stage)
        if line["event"] == "block":
            tally = BlockTally(**{f.name: line.get(f.name, f.default) for f in fields(BlockTally)})
    if state == "stopped":  # what a run before had done is kept
        tally = tally or before
    return Status(out, state, is_made, stage, tally, since, why)


def _files_at(out: Path) -> set[str]:
    """Names of the files of the map there, or at its address."""
    if not is_address(address := where(out)):
        return files_of_map(out)
    from geoseg.jobs.store import Store  # which others need not wait for

    return files_in(Store(address, is_patient=False).read(MANIFEST) or b"")


def clean(out: Path) -> list[tuple[Path, int]]:
    """Remove what runs of that map have left that no run works in and no map needs: folders, bytes.

    A finished map that a killed run had no time to move stays: the next run moves it.
    """
    target = out.resolve()
    left = [folder for folder in workspaces_of(target) if not files_of_map(folder)]
    left += olds_of(target) if files_of_map(target) else []
    sizes = [(folder, remove_if_free(folder)) for folder in left]
    return [(folder, n_bytes) for folder, n_bytes in sizes if n_bytes is not None]
