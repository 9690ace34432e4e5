"""Who hears how a run ended: mail, Slack, a webhook and whatever else apprise can reach."""

import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from geoseg.errors import GeosegError, GeosegWarning, RecipeError
from geoseg.jobs.folders import NAMELESS, default_out, name_of
from geoseg.jobs.stopping import Stopped
from geoseg.object_storage import is_address
from geoseg.recipe import Recipe
from geoseg.redaction import redact
from geoseg.report.facts import Report

TIMEOUT_S = 15.0
"""What all notifications of a run take at most: what stops a run kills it 30 s later."""
ENVIRONMENT = "env:"
_N_CLASSES = 3
_N_MAPS = 20
# It logs parts of addresses; what becomes of a notification is said here.
logging.getLogger("apprise").disabled = True

Service = tuple[str, Any]
"""What it is called in messages, and apprise's object for it."""


@contextmanager
def telling(recipe: Recipe) -> Iterator[Callable[[str, Report], None]]:
    """Within it a run is made; when it ends, however it does, those that the recipe names are told.

    What it gives takes each finished map; they are told of, all in one message, when the block has ended. A
    map that was made before and stays as it is, is no news. Who interrupts a run knows of it. Nothing is sent
    where the recipe names nobody.

    Raises:
        RecipeError: an address cannot be used; nothing of it is in the message.

    Warns:
        GeosegWarning: somebody could not be told.
    """
    services = services_of(recipe.notify)
    began = datetime.now(UTC).replace(microsecond=0)  # as in reports
    news: list[tuple[str, Report]] = []
    try:
        yield lambda out, report: news.append((out, report))
    except Stopped as stopped:
        tell(
            services,
            f"{_name(recipe)} was stopped",
            f"{stopped}\nThe next run goes on from there.",
            "warning",
        )
        raise
    except Exception as error:
        line = str(error) if isinstance(error, GeosegError) else f"{type(error).__name__}: {error}"
        tell(services, f"{_name(recipe)} failed", redact(" ".join(line.split())), "failure")
        raise
    made = [(out, report) for out, report in news if report.created >= began]
    if len(made) == 1:
        tell(services, f"{_name(recipe, made[0][0])} is made", _summary(*made[0]), "success")
    elif made:
        lines = [f"{out}: {report.coverage.aoi_km2:,.2f} km²" for out, report in made[:_N_MAPS]]
        more = [f"{len(made) - _N_MAPS} more"] if len(made) > _N_MAPS else []
        tell(services, f"{len(made)} maps of {_name(recipe)} are made", "\n".join(lines + more), "success")


def services_of(addresses: tuple[str, ...]) -> list[Service]:
    """The services that addresses stand for, each an address of apprise or ``env:NAME``.

    Raises:
        RecipeError: apprise is not installed, does not know an address, or the variable is not set.
    """
    if addresses and find_spec("apprise") is None:
        raise RecipeError("--notify needs the package apprise: pip install 'geoseg[notify]'.")
    return [_service(address, n, len(addresses)) for n, address in enumerate(addresses, start=1)]


def tell(services: list[Service], what: str, text: str, kind: str) -> None:
    """Tell all of them, at the same time and within :data:`TIMEOUT_S`.

    Args:
        services: as :func:`services_of` gives them.
        what: the title.
        text: some lines.
        kind: ``success``, ``warning`` or ``failure``; many services show it by a colour.

    Warns:
        GeosegWarning: one of them did not take it.
    """
    if not services:
        return
    from apprise import NotifyType

    failures: dict[int, str] = {}

    def send(n: int, service: Any) -> None:
        try:
            is_taken = service.notify(title=f"geoseg: {what}", body=text, notify_type=NotifyType(kind))
            failures[n] = "" if is_taken else "it was not taken"
        except (
            Exception
        ) as error:  # whatever it does, it does not end a run; what it says may hold its address
            failures[n] = type(error).__name__

    # Threads of our own, which do not keep the process: apprise's would, and a server may hang for ever.
    threads = [
        threading.Thread(target=send, args=(n, service), daemon=True)
        for n, (_, service) in enumerate(services)
    ]
    until = time.monotonic() + TIMEOUT_S
    for thread in threads:
        thread.start()
    for n, thread in enumerate(threads):
        thread.join(max(until - time.monotonic(), 0))
        if why := failures.get(n, f"no answer in {TIMEOUT_S:g} s"):
            warnings.warn(
                f"{services[n][0]} could not be told that {what}: {why}. "
                "Try the address with: apprise -vv -b test ADDRESS",
                GeosegWarning,
                stacklevel=4,
            )


def _service(address: str, n: int, n_all: int) -> Service:
    from apprise import Apprise

    which = "--notify" if n_all == 1 else f"--notify, address {n} of {n_all}"
    if address.startswith(ENVIRONMENT):
        variable = address.removeprefix(ENVIRONMENT)
        which, address = f"{which} ({address})", os.environ.get(variable, "").strip()
        if not address:
            raise RecipeError(f"{which}: the environment variable is not set. Set it to an address.")
    kind = urlsplit(address).scheme if "://" in address else ""
    service = Apprise.instantiate(address)
    if service is None:
        what = f"apprise cannot use this {kind}:// address" if kind else "this is no address"
        raise RecipeError(
            f"{which}: {what}. Give one as https://appriseit.com/services says, such as "
            "mailto://user:password@host or json://host/path."
        )
    return f"{which}, {kind}://", service


def _name(recipe: Recipe, made: str = "") -> str:
    """As its area or image is called, else its folder, which is ``made`` where dates are in it."""
    if (name := name_of(recipe)) != NAMELESS:
        return name
    parts = PurePosixPath(made or recipe.out or default_out(recipe)).parts
    return next((part for part in reversed(parts) if "{" not in part), name)


def _summary(out: str, report: Report) -> str:
    """Where the map is, how large, and its largest classes."""
    coverage = report.coverage
    found = sorted((c for c in report.classes if c.pixels), key=lambda c: -c.pixels)
    classes = [f"{c.class_name} {c.share:.1%} ({c.area_ha:,.0f} ha)" for c in found[:_N_CLASSES]]
    more = [f"{len(found) - _N_CLASSES} more"] if len(found) > _N_CLASSES else []
    lines = [
        out if is_address(out) else f"{Path(out).resolve()}",
        f"{coverage.aoi_km2:,.2f} km², {coverage.valid_share:.1%} of it mapped",
        ", ".join(classes + more),
    ]
    if report.warnings:
        lines.append(f"{len(report.warnings)} warnings, see report.html; the first: {report.warnings[0]}")
    return "\n".join(lines)
