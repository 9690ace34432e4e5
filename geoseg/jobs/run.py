"""The whole path: a recipe becomes a folder with a map."""

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from geoseg.errors import GeosegError, GeosegWarning, OutputError, PreflightError, RecipeError, one_line
from geoseg.files import full_disk_said
from geoseg.imagery.changes import unchanged
from geoseg.inference.device import threads_kept
from geoseg.jobs import publish
from geoseg.jobs.arrivals import clear_store
from geoseg.jobs.blocks import BlockDone, BlockTask
from geoseg.jobs.clusters import Cluster
from geoseg.jobs.engine import as_before, note_engine, settle, stored_engine
from geoseg.jobs.folders import has_dates, where
from geoseg.jobs.journal import Journal, Published, with_fingerprints
from geoseg.jobs.last_words import leave_log
from geoseg.jobs.leavings import PARTS
from geoseg.jobs.listener import Listener, Silence, warnings_said
from geoseg.jobs.log import Log
from geoseg.jobs.making import compute, make_blocks
from geoseg.jobs.memory import within_memory
from geoseg.jobs.notify import telling
from geoseg.jobs.plan import Plan, plan_run
from geoseg.jobs.remote import REPORT, RemoteFolder
from geoseg.jobs.seams import seam_facts, seam_tasks
from geoseg.jobs.series import list_maps
from geoseg.jobs.since import compare_since
from geoseg.jobs.stopping import Stopped
from geoseg.jobs.store import check_store
from geoseg.jobs.tasks import tasks_of
from geoseg.jobs.tries import BlockFailed
from geoseg.jobs.workspace import MANIFEST, workspace
from geoseg.jobs.workspace import is_whole as is_whole_here
from geoseg.memory import bound_gdal_cache, give_back, one_heap, peak_memory_mb
from geoseg.recipe import Recipe
from geoseg.redaction import redact
from geoseg.report.facts import Report, RunFacts, SeamFacts
from geoseg.writers.vrt import raster_of

_BEFORE = "before"
"""Folder of what is needed of a map at an address that is brought up to date."""


@dataclass(frozen=True)
class Result:
    """Where the map is, and what there is to say of it."""

    out: Path
    """Its folder; of a map at an address, where this machine makes it: nothing is there any more."""
    report: Report
    where: str
    """Folder or address."""
    raster: str
    """Name of the class map in it: ``class.tif``, or ``class.vrt`` of a map in sheets."""


def run(recipe: Recipe, *, listener: Listener | None = None) -> Result:
    """Make the map that ``recipe`` asks for.

    Outputs appear in the output folder all at once, when everything is written; a run that fails leaves
    none, and with ``resume`` its log. Memory depends on the block size and the number of items over a place,
    not on the area.

    Raises:
        GeosegError: one line that says what is wrong and what to do.
        Stopped: SIGTERM came, within :func:`geoseg.jobs.stopping.stoppable`.

    Example:
        >>> from geoseg import Recipe, run
        >>> result = run(Recipe(aoi="catalogs/sample/area.geojson", catalog="sample"))  # doctest: +SKIP
        >>> result.report.classes[0].class_name  # doctest: +SKIP
        'water'
    """
    log = Log(listener or Silence())
    with telling(recipe) as is_made:
        try:
            result = _run(recipe, log)
        except BaseException as error:
            if recipe.resume and not log.is_there:
                log.end(error)
                leave_log(recipe, log)
            raise
        is_made(result.where, result.report)
    return result


def _run(recipe: Recipe, log: Log) -> Result:
    started = time.perf_counter()
    one_heap()
    bound_gdal_cache()
    with warnings_said(log) as warned, threads_kept():
        plan = plan_run(recipe, say=log.say)
        give_back()
        for line in (*plan.scaling, *plan.inputs.adapted):
            log.say(line)
        may_replace = recipe.overwrite or recipe.resume
        remote = RemoteFolder(plan.address) if plan.address else None
        if plan.store is not None:
            check_store(plan.store)
        with workspace(plan.out, overwrite=may_replace, resume=recipe.resume, goal=remote) as folder:
            log.open(folder)
            try:
                with full_disk_said(folder), _placed(plan, folder, log) as placed:
                    report, tasks = _make(placed, folder, log, warned, started, remote)
            except BaseException as error:
                if n_done := len(Journal(folder)):
                    blocks = "1 block is" if n_done == 1 else f"{n_done} blocks are"
                    log.say(
                        f"{blocks} done and kept: geoseg run, or predict with --resume, goes on from there"
                    )
                log.end(error)
                raise
            made = folder if (folder / MANIFEST).exists() else plan.before  # there was nothing to do
            raster = raster_of(made, "class").name
        _clear_store(plan, tasks, log)
        if recipe.out and has_dates(recipe.out) and plan.address is None:
            _list_maps(plan.out.parent)
    if plan.recipe.change_from is not None:
        _compare(plan, log)
    return Result(plan.out, report, where(plan.out), raster)


def _list_maps(folder: Path) -> None:
    """Name the maps of all dates in one catalog; the one that is done does not fail for want of it."""
    try:
        list_maps(folder)
    except (OSError, OutputError) as error:
        why = one_line(error)
        text = f"The catalog of all maps in {folder} is not up to date: {why}. The next run makes it anew."
        warnings.warn(text, GeosegWarning, stacklevel=2)


def _compare(plan: Plan, listener: Listener) -> None:
    """The map with the earlier one that the recipe names.

    Raises:
        GeosegError: they cannot be compared; that the map itself is made is in the message.
    """
    try:
        compare_since(Path(str(plan.recipe.change_from)), plan.out, say=listener.say)
    except GeosegError as error:
        raise type(error)(f"The map is made, in {plan.out}/, but not compared: {error}") from error


@contextmanager
def _placed(plan: Plan, folder: Path, listener: Listener) -> Iterator[Plan]:
    """The plan with the cluster that it runs on, if any, which is let go at the end."""
    if not plan.recipe.is_on_cluster:
        yield plan
        return
    with Cluster(plan.recipe, folder=folder / PARTS, say=listener.say) as cluster:
        yield replace(plan, cluster=cluster)


def _make(
    plan: Plan,
    folder: Path,
    listener: Listener,
    warned: list[str],
    started: float,
    remote: RemoteFolder | None,
) -> tuple[Report, list[BlockTask]]:
    created = datetime.now(UTC).replace(microsecond=0)
    title = f"Land cover of {plan.name}"
    timings, parts = dict(plan.timings_s), folder / PARTS
    parts.mkdir(exist_ok=True)
    if remote is not None and plan.recipe.resume:
        plan = replace(plan, before=remote.bring(parts / _BEFORE))
    with unchanged(plan.selection.items):
        clock = time.perf_counter()
        plan, tasks = _engine(plan, parts, listener)
        timings["engine"] = time.perf_counter() - clock
        if standing := _standing(plan, tasks, remote):
            listener.say(f"{where(plan.out)}/ holds this map already, and nothing has changed: nothing to do")
            return standing, tasks
        if remote is not None and plan.recipe.resume:
            remote.bring_rasters(plan.before)
        done = make_blocks(plan, tasks, Journal(folder), listener)
    timings |= {
        "read": sum(d.read_s for d in done),
        "predict": sum(d.predict_s for d in done),
        "network": sum(d.network_s for d in done),  # these two are parts of it
        "blend": sum(d.blend_s for d in done),
    }
    if not any(d.n_valid for d in done):
        raise PreflightError(
            "Not one pixel of the area has a value on any date: all is cloud or nodata. "
            "Widen --datetime, raise --max-items, or give --keep-clouds to see what is there."
        )
    clock = time.perf_counter()
    listener.start("writing rasters", 1)
    publish.write_rasters(plan, folder, [parts / d.part for d in done])
    timings["rasters"], clock = time.perf_counter() - clock, time.perf_counter()
    seams = _seams(plan, tasks[0], raster_of(folder, "class"), listener)
    timings["seams"], clock = time.perf_counter() - clock, time.perf_counter()
    if plan.recipe.polygons != "none":
        listener.start("tracing polygons", 1)
    publish.write_polygons(plan, folder, title=title, created=created)
    timings["polygons"] = time.perf_counter() - clock
    listener.start("writing the report", 1)
    peak_mb = max(peak_memory_mb(), *(d.peak_memory_mb for d in done))
    facts = RunFacts(
        assumptions=plan.assumed,
        adapted=plan.inputs.adapted,
        warnings=tuple(dict.fromkeys(warned)),
        attribution=plan.attribution,
        timings_s={stage: round(seconds, 3) for stage, seconds in timings.items()},
        elapsed_s=round(time.perf_counter() - started, 3),
        peak_memory_mb=round(peak_mb, 1),
        pixels_run=sum(d.n_pixels_run for d in done),
        seams=seams,
        created=created,
        geoseg_version=version("geoseg"),
    )
    return publish.write_reports(plan, folder, title=title, run=facts), tasks


def _engine(plan: Plan, parts: Path, listener: Listener) -> tuple[Plan, list[BlockTask]]:
    """The tasks, and the plan with the backend that they are run by."""
    tasks = tasks_of(plan, parts)
    if not tasks:
        raise RecipeError(
            f"The area holds no centre of a pixel of {plan.inputs.gsd_m:g} m. "
            "Give a smaller --gsd, or a larger area."
        )
    how, choice = settle(as_before(plan, parts), plan.how, tasks, cluster=plan.cluster)
    give_back()
    note_engine(plan, how, parts)
    if choice is not None:
        listener.say(f"network by {choice.measured[0].text()}")
    plan = replace(plan, how=how)
    smaller = within_memory(plan, say=listener.say)
    tasks = tasks if smaller is plan else tasks_of(smaller, parts)
    tasks = [replace(task, how=how) for task in tasks]
    return smaller, with_fingerprints(tasks)


def _standing(plan: Plan, tasks: list[BlockTask], remote: RemoteFolder | None) -> Report | None:
    """Of the map in the output folder, if a run that goes on would make the same again, byte for byte."""
    if not plan.recipe.resume:
        return None
    published, is_whole = Published(plan.before), remote.is_whole if remote else is_whole_here
    if any(task.fingerprint not in published for task in tasks):
        return None
    if not (publish.says_the_same(plan, plan.before) and is_whole(plan.before)):
        return None
    report = Report.model_validate_json((plan.before / REPORT).read_text("utf-8"))
    return None if report.seams == SeamFacts() else report  # it was stopped before its seams were measured


def _clear_store(plan: Plan, tasks: list[BlockTask], listener: Listener) -> None:
    """Parts go from their store when the map is whole; a map that is there does not fail for want of it."""
    try:
        clear_store(tasks, also=[stored_engine(plan)], is_own=plan.recipe.store is None)
    except OutputError as error:
        listener.say(f"warning: Parts of blocks are left: {error}")


def _seams(plan: Plan, like: BlockTask, class_tif: Path, listener: Listener) -> SeamFacts:
    """The seam score; a map that is done does not fail for want of it."""
    try:
        like = replace(like, leaves_gaps=plan.recipe.on_missing == "skip")
        spots = seam_tasks(plan, like, class_tif)
        found = compute(plan, spots.tasks, listener, "looking for seams") if spots.tasks else []
        clear_store(spots.tasks)
        if failed := [f for f in found if isinstance(f, BlockFailed)]:
            raise failed[0].error
        return seam_facts(spots, [d for d in found if isinstance(d, BlockDone)], class_tif)
    except Exception as error:
        why = "the run was asked to stop" if isinstance(error, Stopped) else redact(one_line(error))
        warnings.warn(
            f"The seam score could not be measured ({type(error).__name__}): {why}. --resume measures it",
            GeosegWarning,
            stacklevel=2,
        )
        return SeamFacts()
