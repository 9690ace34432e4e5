"""The Dask cluster of a run: found at its address, or started for as long as the run lasts."""

import asyncio
import inspect
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import dask

from geoseg.errors import GeosegError, RecipeError, one_line
from geoseg.jobs import connecting
from geoseg.jobs.connecting import connected, first_of, give_to_workers, keys_in, warn_of_plain
from geoseg.jobs.stopping import Stopped, is_asked
from geoseg.recipe import Recipe
from geoseg.redaction import redact
from geoseg.registry import did_you_mean

_LOOK_S = 2.0
"""Between two looks whether a worker has come, or the run is to stop."""
_MEND_MS = 30_000
_LOGGERS = ("distributed", "distributed.client", "tornado.application", "asyncio")
"""Each has a level of its own."""
_LOOPBACK = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}


@dataclass(frozen=True)
class Kind:
    """What starts a cluster of one kind."""

    made_by: str
    """Module and class."""
    extra: str = ""
    """Of geoseg's own extras, that which brings it."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Its options, where the recipe says nothing else."""
    takes: tuple[str, ...] = ()
    """Classes that it hands the options on to which it does not know."""
    is_queue: bool = False
    """Workers are jobs of a batch system: geoseg brings their keys, and starts those anew that have ended."""
    is_open: bool = False
    """Which options there are is known to a server only."""


def _queue(name: str) -> Kind:
    return Kind(f"dask_jobqueue:{name}", "jobqueue", {"n_workers": 1}, is_queue=True)


KINDS = {
    "local": Kind(
        "distributed:LocalCluster",
        defaults={**_LOOPBACK, "threads_per_worker": 1, "silence_logs": 40},
        takes=("distributed:Nanny", "distributed:Worker"),
    ),
    "slurm": _queue("SLURMCluster"),
    "pbs": _queue("PBSCluster"),
    "lsf": _queue("LSFCluster"),
    "sge": _queue("SGECluster"),
    "oar": _queue("OARCluster"),
    "htcondor": _queue("HTCondorCluster"),
    # Pods whose geoseg was killed end by themselves.
    "kubernetes": Kind(
        "dask_kubernetes.operator:KubeCluster", "kubernetes", {"quiet": True, "idle_timeout": 3600}
    ),
    "gateway": Kind("dask_gateway:GatewayCluster", "gateway", is_open=True),
    "coiled": Kind("coiled:Cluster", "coiled"),
}
"""By the name that ``cluster`` of a recipe takes."""


class Cluster:
    """Workers of a recipe's ``cluster`` or ``scheduler``: reached when first asked for, let go at the end.

    Example:
        >>> with Cluster(recipe, folder=folder) as cluster:  # doctest: +SKIP
        ...     cluster.client.submit(run_block, task)
    """

    def __init__(self, recipe: Recipe, *, folder: Path, say: Callable[[str], None] = lambda text: None):
        """``folder``: seen by workers and nobody else; keys lie in it while the cluster is there."""
        self._recipe, self._folder, self._say = recipe, folder, say
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        is_lost = error is not None and self._is_lost(error)
        self._stack.close()
        if is_lost:
            raise self.lost() from error

    def lost(self) -> RecipeError:
        """What to raise when the scheduler is gone."""
        return RecipeError(f"The {self.name} is lost. {self.remedy}")

    def _is_lost(self, error: BaseException) -> bool:
        """Whether it came of that, whatever was asked of the scheduler just then."""
        from distributed.comm import CommClosedError

        if isinstance(error, CommClosedError | CancelledError | asyncio.CancelledError):
            return True
        client = self.__dict__.get("client")  # if it was reached
        return isinstance(error, OSError) and client is not None and client.status != "running"

    @property
    def name(self) -> str:
        """What it is called in messages."""
        if self._recipe.cluster is not None:
            return f"{self._recipe.cluster} cluster"
        return f"Dask scheduler at {self._recipe.scheduler}"

    @property
    def remedy(self) -> str:
        """What to do when it is lost."""
        if self._recipe.cluster is not None:
            return "Blocks that are done are kept: the same command with --resume starts another."
        return "Start it and its workers again."

    @cached_property
    def client(self):  # type: ignore[no-untyped-def]
        """The one ``distributed.Client`` of the run; at least one worker is there.

        Raises:
            RecipeError: nobody answers, the cluster cannot be started, or it has no workers.
            Stopped: the run was asked to stop before a worker came.
        """
        kind, address = self._recipe.cluster, self._recipe.scheduler
        self._stack.enter_context(_quiet())
        where = str(address) if kind is None else self._started(KINDS[kind], kind)
        client = self._stack.enter_context(connected(where, self.name))
        warn_of_plain(client.scheduler.address)
        if kind is not None:
            give_to_workers(client, _never_paused(), "geoseg-never-paused")  # type: ignore[no-untyped-call]
        with suppress(KeyError, AttributeError):
            if link := client.dashboard_link:
                self._say(f"dashboard of the {self.name}: {redact(link)}")
        self._wait(client)
        return client

    def _started(self, kind: Kind, name: str):  # type: ignore[no-untyped-def]
        maker = maker_of(self._recipe)
        options = {**kind.defaults, **self._recipe.cluster_options}
        if self._recipe.workers and not kind.is_open:
            options["n_workers"] = self._recipe.workers
        if kind.is_queue:
            site = dask.config.get(f"jobqueue.{name}.scheduler-options", None) or {}
            own = options.get("scheduler_options", {})
            options["scheduler_options"] = {"dashboard_address": "127.0.0.1:0", **site, **own}
            shared = options.get("shared_temp_directory") or self._folder
            keys = tempfile.TemporaryDirectory(dir=shared, prefix=".keys-")  # for this user alone
            options.setdefault("security", keys_in(Path(self._stack.enter_context(keys))))
        try:
            started = maker(**options)
            self._stack.callback(_let_go, started)
            if kind.is_queue:
                started.sync(_submitted, started)
            if kind.is_open:
                started.scale(self._recipe.workers or 1)
        except GeosegError:
            raise
        except Exception as error:  # each kind has its own
            why = redact(one_line(first_of(error)).rpartition("stderr: ")[2] or type(error).__name__)
            raise RecipeError(
                f"The {name} cluster cannot be started: {why}. See --cluster-options."
            ) from error
        if kind.is_queue:
            _keep_up(started, options["n_workers"])
        return started

    def _wait(self, client) -> None:  # type: ignore[no-untyped-def]
        if self._recipe.cluster is None:
            try:
                client.wait_for_workers(1, timeout=connecting.CONNECT_TIMEOUT_S)  # by a nanny
            except TimeoutError:
                raise RecipeError(
                    f"The {self.name} has no workers. Start some: dask worker {self._recipe.scheduler}."
                ) from None
            return
        is_said = False
        while True:  # a queue may be long
            with suppress(TimeoutError):
                client.wait_for_workers(1, timeout=_LOOK_S)
                return
            if is_asked():
                raise Stopped
            if not is_said:
                self._say(f"waiting for the first worker of the {self.name}")
            is_said = True


def maker_of(recipe: Recipe) -> Any:
    """The class that starts a recipe's cluster.

    Raises:
        RecipeError: it is not installed, or has no such options.
    """
    name = str(recipe.cluster)
    kind = KINDS[name]
    try:
        maker = _found(kind.made_by)
    except ImportError as error:
        raise RecipeError(
            f"--cluster {name} needs {error.name}: pip install 'geoseg[{kind.extra}]'."
        ) from None
    known = set() if kind.is_open else options_of(maker, kind)
    for option in () if kind.is_open else recipe.cluster_options:
        if option not in known:
            raise RecipeError(
                f"--cluster-options {option}: not an option of {name} ({kind.made_by.partition(':')[2]}): "
                f"{did_you_mean(option, sorted(known))}"
            )
    return maker


def _found(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def options_of(maker: Any, kind: Kind) -> set[str]:
    """What may be said to a class, its bases, and those that it hands options on to."""
    makers = (maker, getattr(maker, "job_cls", maker), *map(_found, kind.takes))
    classes = [base for cls in makers for base in cls.__mro__]
    parameters = [p for cls in classes for p in inspect.signature(cls.__init__).parameters.values()]
    return {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)} - {"self"}


@contextmanager
def _quiet() -> Iterator[None]:
    """Of what Dask tells of connections that come, go and are lost; what matters is raised."""
    import distributed  # noqa: F401  (it sets the levels when first imported)

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _never_paused():  # type: ignore[no-untyped-def]
    """Workers that hold much memory wait until less of their results is kept. Blocks keep none: they would
    wait for ever. Those that run out of memory are still ended, and the block is made in pieces.
    """
    from distributed import WorkerPlugin

    class NeverPaused(WorkerPlugin):  # type: ignore[misc]
        def setup(self, worker) -> None:  # type: ignore[no-untyped-def]
            worker.memory_manager.memory_pause_fraction = False

    return NeverPaused()


def _let_go(started: Any) -> None:
    """What goes wrong now would hide how the run ended."""
    with suppress(Exception):
        started.close()


async def _submitted(started: Any) -> None:
    """Raises what the batch system says against the jobs; it is not waited for the workers in them."""
    await started
    for job in list(started.workers.values()):
        await job


def _keep_up(started: Any, n_workers: int) -> None:
    """Starts workers again whose time in the queue was up."""
    from tornado.ioloop import PeriodicCallback

    again = PeriodicCallback(lambda: started.scale(n_workers), _MEND_MS)
    started.loop.add_callback(again.start)
