"""Why a run ended that has left nothing else: its log, for ``geoseg status`` and ``geoseg logs``."""

from contextlib import suppress

from geoseg.errors import GeosegError
from geoseg.jobs.defaults import with_defaults
from geoseg.jobs.folders import place_of
from geoseg.jobs.leavings import is_hidden, listed, lock, new_workspace, unlock, workspaces_of
from geoseg.jobs.log import Log
from geoseg.jobs.plan import catalog_of
from geoseg.jobs.workspace import files_of_map
from geoseg.recipe import Recipe


def leave_log(recipe: Recipe, log: Log) -> None:
    """Behind that of a run before which can go on, or in a hidden folder that the next run removes.

    Nowhere if the recipe does not say where its map is, what lies there is none, another run is at work, or a
    finished map waits to be moved.
    """
    with suppress(GeosegError, OSError, RuntimeError):  # the run has an error of its own
        target = place_of(str(with_defaults(recipe, catalog_of(recipe))[0].out)).resolve()
        names = [path.name for path in listed(target) if not is_hidden(path.name)]
        if names and not files_of_map(target):
            return
        parent = target if target.is_dir() else target.parent
        parent.mkdir(parents=True, exist_ok=True)
        folder = next(iter(workspaces_of(target)), None) or new_workspace(target, parent)
        handle = lock(folder)
        if handle is not None and not files_of_map(folder):
            log.open(folder)
        unlock(handle)
