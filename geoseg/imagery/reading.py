"""Where pixels are really read: GDAL's settings, patience with servers, and errors that a person can use."""

import logging
import os
import re
import shlex
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TypeVar

import rasterio
import rasterio.env
import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from geoseg.errors import ImageryError
from geoseg.object_storage import gdal_options
from geoseg.redaction import redact
from geoseg.stac.signing import forget_signatures

T = TypeVar("T")
logger = logging.getLogger(__name__)
# It logs whole addresses, signatures included; what is raised here says the same, redacted.
logging.getLogger("odc.loader._rio").disabled = True

PATIENCE_S = 40.0
"""A read that fails is tried again until this time has passed since its beginning."""

GDAL_OPTIONS: dict[str, str] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MAX_RETRY": "6",
    "GDAL_HTTP_RETRY_DELAY": "0.1",
    "GDAL_HTTP_RETRY_CODES": "ALL",
    "GDAL_HTTP_CONNECTTIMEOUT": "5",
    "GDAL_HTTP_LOW_SPEED_TIME": "8",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "100",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "VSI_CACHE": "TRUE",
}
"""For COGs over HTTP (gdal.org/user/configoptions.html). GDAL itself repeats each request six times, after
0.1 s and then about twice as long each time: 10 s in all. That gets past single failures and rate limits."""

_OF_THE_SERVER = ("AWS_S3_ENDPOINT", "AWS_REQUEST_PAYER")
"""``SESSION_KEYS`` of ``odc.loader._rio`` that are settings here."""
_FORGET = {"CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/:/vsigs/:/vsiaz/"}
"""Without it an address that failed once would fail for the life of the process: GDAL remembers."""
_BESIDE = {"GDAL_DISABLE_READDIR_ON_OPEN": "FALSE"}
"""Files on disk may have others beside them (.hdr, .tfw, .aux.xml, .msk, .ovr) that GDAL must see."""
_REMOTE = re.compile(r"(?:https?|s3|gs|az)://|/vsi(?:curl|s3|gs|az)")
_ADDRESS = re.compile(r"(?:/vsi[a-z0-9_]+/)?(?:https?|s3)://[^\s']+")
_REFUSED = re.compile(r"response code: (?:401|403)\b|Access ?Denied|SignatureDoesNotMatch|[Ee]xpired")
_FINAL = re.compile(
    r"response code: (?:404|410)\b|The specified (?:key|bucket) does not exist"
    r"|AWS_SECRET_ACCESS_KEY|InvalidAccessKeyId"
)
_DAMAGE = re.compile(
    r"[Rr]ead [Ee]rror|got \d+ bytes|Decoding error|TIFF\w*:(?:Failed|Cannot)|Cannot read TIFF|Failed to read"
    r"|[Pp]remature|too short|too long|truncat|malformed|corrupt|Unable to read data|failed in HFA|IReadBlock"
)
"""What GDAL and the libraries below it say of files that are cut short or damaged."""
_NO_RANGES = "Range downloading not supported"
_whole_only: set[str] = set()
"""Servers that give files only as a whole."""
_copies: dict[str, str] = {}
"""Copies of their files, by address."""
_copying = threading.Lock()


def gdal_env(options: Mapping[str, str] | None = None) -> rasterio.Env:
    """The GDAL settings in which assets are read; those the user has set in the environment win."""
    chosen = {**GDAL_OPTIONS, **gdal_options(), **(options or {})}
    return rasterio.Env(**{k: v for k, v in chosen.items() if k not in os.environ})


def server_options() -> dict[str, str]:
    """Those of the settings in force that say which server is asked, and how; odc-stac does not hand these on
    to its threads.
    """
    current = rasterio.env.getenv() if rasterio.env.hasenv() else {}
    return {key: current[key] for key in _OF_THE_SERVER if key in current}


def is_remote(address: str) -> bool:
    """Whether a server is asked for it."""
    return _REMOTE.search(address) is not None


def read_patiently(
    address: str,
    read: Callable[[str], T],
    *,
    sign: Callable[[str], str] | None = None,
    where: Callable[[], str] = str,
    patience_s: float | None = None,
) -> T:
    """Read one file, again and again while its server fails, for :data:`PATIENCE_S` at most.

    An answer that it is not there, or not to be had, is final. A server that cannot give a part of a file
    gives all of it once, into a temporary file that lives as long as this process.

    Args:
        address: path or address of the file; local files are read once.
        read: opens what it is given and reads; within :func:`gdal_env`.
        sign: turns ``address`` into one that may be read, anew for each try: signatures expire.
        where: says which part of the file is read; asked when that fails for good.
        patience_s: in place of :data:`PATIENCE_S`.

    Raises:
        ImageryError: one line with the address (without its query) and the reason.
    """
    started, pause_s, n_tries = time.monotonic(), 0.5, 0
    settings = {} if is_remote(address) else _BESIDE
    patience_s = PATIENCE_S if patience_s is None else patience_s
    while True:
        n_tries += 1
        try:
            with rasterio.Env(**settings):
                return read(_where(address, sign))
        except (RasterioError, CPLE_BaseError, OSError) as error:
            reason = _reason(error)
        if _NO_RANGES in reason:
            _whole_only.add(_server(address))
        waited_s = time.monotonic() - started
        is_refused = _REFUSED.search(reason) is not None
        if is_refused and sign:  # expired, or the server has other keys
            forget_signatures()
        is_final = not is_remote(address) or _FINAL.search(reason) or (is_refused and not sign)
        if is_final or waited_s + pause_s > patience_s:
            raise ImageryError(_message(address, where(), reason, n_tries, waited_s))
        logger.info("%s: %s, trying again in %g s.", redact(address), reason, pause_s)
        time.sleep(pause_s)
        settings, pause_s = _FORGET, pause_s * 2


def _where(address: str, sign: Callable[[str], str] | None) -> str:
    """What GDAL is to open: the address, signed; or the copy of a file whose server gives no parts of it."""
    readable = sign(address) if sign else address
    if _server(address) not in _whole_only:
        return readable
    with _copying:
        if address not in _copies:
            copy = Path(_folder().name) / f"{len(_copies)}{Path(redact(address)).suffix}"
            rasterio.shutil.copyfiles(f"/vsicurl_streaming/{readable}", str(copy))
            _copies[address] = str(copy)
    return _copies[address]


def _server(address: str) -> str:
    return address.removeprefix("/vsicurl/").partition("://")[2].partition("/")[0]


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="geoseg-")  # removed when the process ends


def _reason(error: BaseException) -> str:
    """What GDAL said first, without addresses' secrets."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    text = " ".join(str(causes[-1]).split()) or type(error).__name__
    return _ADDRESS.sub(lambda m: redact(m.group(0)), text).rstrip(".!")


def _message(address: str, where: str, reason: str, n_tries: int, waited_s: float) -> str:
    if not is_remote(address):
        return _message_of_file(address, where, reason)
    part = f" in {where}" if where else ""
    tries = f" ({n_tries} tries in {waited_s:.0f} s)" if n_tries > 1 else ""
    if _DAMAGE.search(reason):
        next_step = "Try later; if it stays so, the file there is cut short or damaged"
    else:
        next_step = "Check the address, or try later"
    return f"{redact(address)} cannot be read{part}{tries}: {_plain(reason)}. {next_step}."


def _message_of_file(address: str, where: str, reason: str) -> str:
    path = Path(address)
    if path.is_file() and path.stat().st_size == 0:
        return f"{address} is empty: it has 0 bytes. Copy or download it again."
    if "not recognized as being in a supported" in reason:
        what = f"{address} is no image that GDAL knows{_beginning(path)}"
        return f"{what}. Check the path, or convert it to GeoTIFF."
    if _DAMAGE.search(reason):
        part = f"{where} cannot be read" if where else "it cannot be read"
        return (
            f"{address} is cut short or damaged: {part} ({_plain(reason)}). Copy or download it again; "
            f"gdalinfo -checksum {shlex.quote(address)} says whether it is whole."
        )
    part = f" in {where}" if where else ""
    return f"{address} cannot be read{part}: {reason}. Check the path, or convert it to GeoTIFF."


def _plain(reason: str) -> str:
    """Without the numbers that libtiff gives where it does not know the row."""
    return re.sub(r"(?: at)? (?:row|scanline) 4294967295(?:, col 4294967295)?,?", "", reason)


def _beginning(path: Path) -> str:
    """How a text begins: what was saved instead of an image often says why."""
    try:
        with path.open("rb") as file:
            start = " ".join(file.read(60).decode("ascii").split())
    except (OSError, UnicodeDecodeError):
        return ""
    return f": it begins with the text '{start}'" if start and start.isprintable() else ""
