"""The way to a scheduler: its address, its keys, and what is wrong with them in one line."""

import ipaddress
import os
import socket
import time
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from geoseg.errors import GeosegWarning, RecipeError, one_line

CONNECT_TIMEOUT_S = 15
_TIMES, _PAUSE_S = 5, 0.5
"""A scheduler needs a moment to hear of a worker that is lost."""
_TLS_HINT = "distributed.comm.tls.ca-file, .client.cert and .client.key (docs/clusters.md)"


def connected(where, name: str):  # type: ignore[no-untyped-def]
    """A client of an address or a cluster."""
    from distributed import Client

    try:
        return Client(where, timeout=CONNECT_TIMEOUT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
        why = one_line(first_of(error)) or type(error).__name__
        if str(where).startswith("tls://"):
            raise RecipeError(
                f"The {name} cannot be spoken to by TLS: {why}. Its keys are looked for in Dask's "
                f"configuration, {_TLS_HINT}."
            ) from None
        reset = "closed the connection; if it wants TLS, give tls:// and its keys: docs/clusters.md"
        if isinstance(first_of(error), ConnectionResetError):
            raise RecipeError(f"The {name} {reset}.") from None
        if isinstance(error, RuntimeError):
            raise RecipeError(f"The {name}: {why}. Give tls://, or do not ask Dask for encryption.") from None
        raise RecipeError(
            f"No Dask scheduler answers at {where} ({type(error).__name__}). Start one with "
            "'dask scheduler' and workers with 'dask worker ADDRESS', or leave --scheduler out."
        ) from None


def ask_workers(client, function, *args: Any) -> dict[str, Any]:  # type: ignore[no-untyped-def]
    """What each worker answers; one that is lost meanwhile does not.

    Raises:
        Exception: what ``function`` raises, or an OSError of a worker that is there and cannot be asked.
    """
    for n_left in reversed(range(_TIMES)):
        answers = client.run(function, *args, on_error="return")
        failed = {worker: answer for worker, answer in answers.items() if isinstance(answer, Exception)}
        there = client.nthreads()
        wrong = [
            error for worker, error in failed.items() if worker in there or not isinstance(error, OSError)
        ]
        if wrong and not (n_left and isinstance(wrong[0], OSError)):
            raise wrong[0]
        if not wrong and len(failed) < len(answers):
            break
        time.sleep(_PAUSE_S)
    return {worker: answer for worker, answer in answers.items() if worker not in failed}


def give_to_workers(client, plugin, name: str) -> None:  # type: ignore[no-untyped-def]
    """All that are there, and those that come, have the plugin; one may be lost meanwhile."""
    for n_left in reversed(range(_TIMES)):
        try:
            client.register_plugin(plugin, name=name)
            return
        except OSError:  # of a worker or of the scheduler, in the same words
            if not n_left:
                raise
            client.nthreads()  # raises if it is the scheduler
            time.sleep(_PAUSE_S)


def first_of(error: BaseException) -> Exception:
    """The error that it began with."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error if isinstance(error, Exception) else RuntimeError(str(error))


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


def keys_in(folder: Path):  # type: ignore[no-untyped-def]
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
