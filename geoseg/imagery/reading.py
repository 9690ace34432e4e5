"""Where pixels are really read: settings, retries, and errors that a person can use."""

import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import pystac
from rasterio.errors import RasterioError

from geoseg.errors import ImageryError
from geoseg.imagery.loader import gdal_env
from geoseg.stac.signing import redact

T = TypeVar("T")
logger = logging.getLogger(__name__)
# It logs whole addresses, signatures included; read() reports the failure, redacted, instead.
logging.getLogger("odc.loader._rio").disabled = True

_PAUSES_S = (1.0, 4.0)
_ADDRESS = re.compile(r"(?:/vsi[a-z0-9]+/)?(?:https?|s3)://\S+")


def with_retries(
    action: Callable[[], T], *, items: pystac.ItemCollection, options: Mapping[str, str] | None = None
) -> T:
    """Do something that reads pixels, again if a server fails.

    GDAL itself retries each request (:data:`geoseg.imagery.loader.GDAL_OPTIONS`). When that is not enough
    the whole action is done again, twice, after a pause: with GDAL's memory of failed addresses switched off,
    since otherwise an address that once failed would fail for the life of the process.

    Args:
        action: loads lazily and computes; called anew for each try, so that signed addresses are fresh.
        items: what it reads; local files are not tried again.
        options: more GDAL settings, such as a token's header.

    Raises:
        ImageryError: one line with the address (without its query) and the reason.
    """
    roots = _remote_roots(items)
    pauses = _PAUSES_S if roots else ()
    for pause_s in (*pauses, None):
        retry = {} if pause_s == _PAUSES_S[0] else {"CPL_VSIL_CURL_NON_CACHED": ":".join(roots)}
        try:
            with gdal_env({**(options or {}), **(retry if roots else {})}):
                return action()
        except RasterioError as error:
            reason = _reason(error)
            if pause_s is None:
                raise ImageryError(_message(reason, items, n_tries=len(pauses) + 1)) from None
            logger.warning("Reading failed (%s), trying again in %g s.", reason, pause_s)
            time.sleep(pause_s)
    raise RuntimeError("unreachable: the last try returns or raises")


def _remote_roots(items: pystac.ItemCollection) -> list[str]:
    """``/vsicurl/https://host/`` for each host that assets are read from."""
    hrefs = {asset.href for item in items for asset in item.assets.values()}
    matches = [re.match(r"(https?)://[^/]+/|s3://([^/]+)/", href) for href in hrefs]
    roots = {f"/vsis3/{m.group(2)}/" if m.group(2) else f"/vsicurl/{m.group(0)}" for m in matches if m}
    return sorted(roots)


def _reason(error: BaseException) -> str:
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    text = " ".join(str(causes[-1]).split()) or type(error).__name__
    text = _ADDRESS.sub(lambda m: redact(m.group(0)), text)
    return text.rstrip(".")


def _message(reason: str, items: pystac.ItemCollection, *, n_tries: int) -> str:
    hosts = {redact(a.href) for i in items for a in i.assets.values()}
    named = next((h for h in sorted(hosts) if h in reason), None)
    what = "" if named else f" of {sorted(hosts)[0]}" if len(hosts) == 1 else f" of {len(items)} items"
    tries = f" after {n_tries} tries" if n_tries > 1 else ""
    return f"Pixels{what} cannot be read{tries}: {reason}. Check the file or the server, then run again."
