"""What went wrong with a catalog, in one line for a person."""

import json
import re

import requests

from geoseg.errors import CatalogError, CatalogUnreachable
from geoseg.redaction import redact
from geoseg.stac.catalog import Catalog

_SAMPLE = "Check the network, or try without one: --catalog sample."


def as_catalog_error(error: Exception, catalog: Catalog, href: str) -> CatalogError:
    """The error to raise for a failure of reading ``href``."""
    if isinstance(error, CatalogError):
        return error
    where = redact(href) if catalog.title == redact(href) else f"{catalog.title} at {redact(href)}"
    status = getattr(error, "status_code", None)
    if status is not None and (status >= 500 or status == 429):
        return CatalogUnreachable(f"{where} did not answer: status {status} after several tries. {_SAMPLE}")
    if status is not None:
        return CatalogError(f"{where} refused the request with {status}: {_said(str(error))}")
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, requests.RequestException):
        cause = cause.__cause__ or cause.__context__
    if cause is not None:
        return CatalogUnreachable(f"{where} did not answer: {_reason(cause)}. {_SAMPLE}")
    if isinstance(error, OSError):
        return CatalogError(f"{where} cannot be read: {error.strerror or redact(str(error))}.")
    return not_stac(catalog, href, _said(str(error)))


def not_stac(catalog: Catalog, href: str, reason: str) -> CatalogError:
    """For an answer that cannot be understood."""
    where = redact(href) if catalog.title == redact(href) else f"{catalog.title} at {redact(href)}"
    return CatalogError(
        f"{where} is not STAC: {reason.rstrip('.')}. "
        "Give a STAC API, catalog, item collection or stac-geoparquet."
    )


def _reason(cause: BaseException) -> str:
    text = str(cause)
    if isinstance(cause, requests.exceptions.ProxyError):
        return "the proxy does not let it through"
    if isinstance(cause, requests.exceptions.SSLError):
        return "its certificate is not accepted"
    if isinstance(cause, requests.Timeout) or "timed out" in text:
        return "timed out"
    if "NameResolution" in text or "getaddrinfo" in text:
        return "its name is not known here"
    if "refused" in text:
        return "connection refused"
    if isinstance(cause, requests.exceptions.InvalidURL | requests.exceptions.MissingSchema):
        return "the address is malformed"
    return "the connection broke"


def _said(text: str) -> str:
    """What a server said, shortened to a line: the message of a JSON error, else the text without markup."""
    try:
        body = json.loads(text)
        if isinstance(body, dict):
            text = str(body.get("description") or body.get("detail") or body.get("message") or text)
    except ValueError:
        text = re.sub(r"<[^>]*>", " ", text)
    line = " ".join(redact(text).split())
    return (line[:200] + "…" if len(line) > 200 else line) or "(nothing said)"
