"""The Dask cluster of a run: found at its address, or started for as long as the run lasts."""

import inspect
import ipaddress
import logging
import os
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import dask

from geoseg.errors import GeosegError, GeosegWarning, RecipeError, one_line
from geoseg.jobs.stopping import Stopped, is_asked
from geoseg.recipe import Recipe
from geoseg.redaction import redact
from geoseg.registry import did_you_mean

_CONNECT_TIMEOUT_S = 15
_LOOK_S = 2.0
"""Between two looks whether a worker has come, or the run is to stop."""
_MEND_MS = 30_000
_LOOPBACK = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
_TLS_HINT = "distributed.comm.tls.ca-file, .client.cert and .client.key (docs/clusters.md)"


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

    def __exit__(self, *_: object) -> None:
        self._stack.close()

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
        where = str(address) if kind is None else self._started(KINDS[kind], kind)
        client = self._stack.enter_context(_connected(where, self.name))
        warn_of_plain(client.scheduler.address)
        if kind is not None:
            client.register_plugin(_never_paused())  # type: ignore[no-untyped-call]
        with suppress(KeyError, AttributeError):
            if link := client.dashboard_link:
                self._say(f"dashboard of the {self.name}: {redact(link)}")
        self._wait(client)
        return client

    def _started(self, kind: Kind, name: str):  # type: ignore[no-untyped-def]
        maker = maker_of(self._recipe)
        self._stack.enter_context(_quiet())
        options = {**kind.defaults, **self._recipe.cluster_options}
        if self._recipe.workers and not kind.is_open:
            options["n_workers"] = self._recipe.workers
        if kind.is_queue:
            site = dask.config.get(f"jobqueue.{name}.scheduler-options", None) or {}
            own = options.get("scheduler_options", {})
            options["scheduler_options"] = {"dashboard_address": "127.0.0.1:0", **site, **own}
            keys = tempfile.TemporaryDirectory(dir=self._folder, prefix=".keys-")  # for this user alone
            options.setdefault("security", _keys_in(Path(self._stack.enter_context(keys))))
        try:
            started = self._stack.enter_context(maker(**options))
            if kind.is_open:
                started.scale(self._recipe.workers or 1)
        except GeosegError:
            raise
        except Exception as error:  # each kind has its own
            why = redact(one_line(_first(error)) or type(error).__name__)
            raise RecipeError(
                f"The {name} cluster cannot be started: {why}. See --cluster-options."
            ) from error
        if kind.is_queue:
            _keep_up(started, options["n_workers"])
        return started

    def _wait(self, client) -> None:  # type: ignore[no-untyped-def]
        if self._recipe.cluster is None:
            try:
                client.wait_for_workers(1, timeout=_CONNECT_TIMEOUT_S)  # a nanny may be starting one
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


def warn_of_plain(address: str) -> None:
    """Of a scheduler on another machine that anybody on the way can read, and give orders to."""
    parts = urlsplit(address)
    if parts.scheme == "tcp" and parts.hostname and not _is_of_this_machine(parts.hostname):
        warnings.warn(
            f"{address} is neither encrypted nor authenticated: whoever reaches it can read what is computed "
            f"and run code there. Start scheduler and workers with --protocol tls and give "
            f"--scheduler tls://... with {_TLS_HINT}.",
            GeosegWarning,
            stacklevel=2,
        )


def _is_of_this_machine(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, None)[0]
        if ipaddress.ip_address(found[4][0]).is_loopback:
            return True
        with socket.socket(found[0], socket.SOCK_STREAM) as probe:
            probe.bind((found[4][0], 0))  # only own addresses can be bound
    except (OSError, ValueError):
        return False
    return True


def _connected(where, name: str):  # type: ignore[no-untyped-def]
    """A client of an address or a cluster."""
    from distributed import Client

    try:
        return Client(where, timeout=_CONNECT_TIMEOUT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
        why = one_line(_first(error)) or type(error).__name__
        if str(where).startswith("tls://"):
            raise RecipeError(
                f"The {name} cannot be spoken to by TLS: {why}. Its keys are looked for in Dask's "
                f"configuration, {_TLS_HINT}."
            ) from None
        reset = "closed the connection; if it wants TLS, give tls:// and its keys: docs/clusters.md"
        if isinstance(_first(error), ConnectionResetError):
            raise RecipeError(f"The {name} {reset}.") from None
        if isinstance(error, RuntimeError):
            raise RecipeError(f"The {name}: {why}. Give tls://, or do not ask Dask for encryption.") from None
        raise RecipeError(
            f"No Dask scheduler answers at {where} ({type(error).__name__}). Start one with "
            "'dask scheduler' and workers with 'dask worker ADDRESS', or leave --scheduler out."
        ) from None


def _first(error: BaseException) -> Exception:
    """The error that it began with."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error if isinstance(error, Exception) else RuntimeError(str(error))


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
    """Schedulers and nannies of this process tell of each connection; what matters is raised."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _keys_in(folder: Path):  # type: ignore[no-untyped-def]
    """Keys of one run, in files that its workers read."""
    from distributed.security import Security

    try:
        made = Security.temporary()
    except ImportError:
        raise RecipeError(
            "Workers of batch systems are spoken to by TLS, which needs cryptography: "
            "pip install 'geoseg[jobqueue]'."
        ) from None
    cert, key = folder / "cert.pem", folder / "key.pem"
    for path, text in ((cert, made.tls_ca_file), (key, made.tls_client_key)):
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
    roles = ("client", "scheduler", "worker")
    files = {
        f"tls_{role}_{name}": str(path) for role in roles for name, path in (("cert", cert), ("key", key))
    }
    return Security(require_encryption=True, tls_ca_file=str(cert), **files)


def _never_paused():  # type: ignore[no-untyped-def]
    """Workers that hold much memory wait until less of their results is kept. Blocks keep none: they would
    wait for ever. Those that run out of memory are still ended, and the block is made in pieces.
    """
    from distributed import WorkerPlugin

    class NeverPaused(WorkerPlugin):  # type: ignore[misc]
        def setup(self, worker) -> None:  # type: ignore[no-untyped-def]
            worker.memory_manager.memory_pause_fraction = False

    return NeverPaused()


def _keep_up(started: Any, n_workers: int) -> None:
    """Starts workers again whose time in the queue was up."""
    from tornado.ioloop import PeriodicCallback

    again = PeriodicCallback(lambda: started.scale(n_workers), _MEND_MS)
    started.loop.add_callback(again.start)
