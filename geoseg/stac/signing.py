"""Authorised reading: URLs are signed in the worker at read time, keys come from the environment here only.

Nothing of this is stored in items, logged or written to outputs; ``geoseg.redaction`` cleans what is shown.
"""

import os
import re
import sys
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from geoseg.errors import CatalogError, CatalogUnreachable, GeosegWarning
from geoseg.object_storage import STORE_KEYS
from geoseg.stac.catalog import Catalog

AWS_KEYS = STORE_KEYS["s3"]
KEYS = {"earthdata": ("EARTHDATA_TOKEN",), "cdse": AWS_KEYS}
"""Environment variables that must hold what a kind of ``signing`` reads with."""
_BLOBS = "blob.core.windows.net"
_TOKEN_TRIES, _TOKEN_PAUSE = 6, 0.5
"""A server of tokens that does not answer is asked again after 1, 2, 4, 8 and 16 s."""


def signer(name: str | None) -> Callable[[str], str] | None:
    """The function that signs a URL, for ``odc.stac.load(patch_url=...)``; None where URLs need none.

    It is called in the worker just before a read, so a signature never outlives the job (odc-stac#289),
    and it pickles.

    Raises:
        CatalogError: when the package that signs is not installed.
    """
    if name != "planetary-computer":
        return None
    if find_spec("planetary_computer") is None:
        raise CatalogError(
            "Reading from Planetary Computer needs the package planetary-computer: "
            "pip install 'geoseg[planetary-computer]'."
        )
    return sign_planetary_computer


def sign_planetary_computer(url: str) -> str:
    """``url`` with a short-lived read token; the package keeps tokens until shortly before they expire.

    Raises:
        CatalogError: no token is to be had, which concerns all that is read.
    """
    import requests
    from planetary_computer import sas

    parts = urlsplit(url)
    account, _, domain = parts.netloc.partition(".")
    if domain != _BLOBS or parts.query:  # as sas.sign_url, which asks for minutes when there is no answer
        return url
    try:
        token = sas.get_token(account, parts.path.split("/")[1], _TOKEN_TRIES, _TOKEN_PAUSE)
    except requests.RequestException as error:
        none = f"Planetary Computer gives no token to read {parts.netloc}{parts.path}"
        if error.response is not None:
            what = f"it refuses with {error.response.status_code}"
            raise CatalogError(f"{none}: {what}. Check PC_SDK_SUBSCRIPTION_KEY, or try later.") from None
        what = f"its server does not answer ({type(error).__name__})"
        raise CatalogUnreachable(f"{none}: {what}. Try later.") from None
    return str(token.sign(url).href)


def forget_signatures() -> None:
    """Sign anew from now on: a server has refused a signature that should be good, as with other keys."""
    if kept := sys.modules.get("planetary_computer.sas"):
        kept.TOKEN_CACHE.clear()


def read_environment(catalog: Catalog, collection: str | None = None) -> dict[str, str]:
    """GDAL options for reading the catalog's assets, the authorisation among them: do not log or store.

    S3 keys are not among them: rasterio refuses them as options; GDAL takes them from the process's own
    environment, so on a cluster ``AWS_*`` must be set where the workers run.

    Args:
        catalog: where the items come from.
        collection: which of its collections is read; None: the options of all of them.

    Raises:
        CatalogError: when the catalog needs a token or key that the environment does not hold.

    Warns:
        GeosegWarning: when a collection lies in a requester-pays bucket and no AWS key is in sight.
    """
    named = [catalog.collections[collection]] if collection in catalog.collections else []
    options: dict[str, str] = {}
    for config in named or catalog.collections.values():
        options |= config.read_options
    if named and options.get("AWS_REQUEST_PAYER") and not _has_aws_keys():
        warnings.warn(
            f"{named[0].title} of {catalog.title} lies in a requester-pays bucket: set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY (you pay the transfer), or take --catalog planetary-computer.",
            GeosegWarning,
            stacklevel=2,
        )
    if catalog.signing == "earthdata":
        options |= {"GDAL_HTTP_HEADERS": f"Authorization: Bearer {_earthdata_token(catalog)}"}
    if catalog.signing == "cdse":
        options |= _cdse_options(catalog)
    return options


def _earthdata_token(catalog: Catalog) -> str:
    token = os.environ.get("EARTHDATA_TOKEN", "").strip()
    if not token:
        raise CatalogError(
            f"{catalog.title} is read with a NASA Earthdata token: set EARTHDATA_TOKEN "
            "(free, 'Generate Token' at https://urs.earthdata.nasa.gov)."
        )
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise CatalogError("EARTHDATA_TOKEN holds blanks or line breaks: set it to the token alone.")
    return token


def _cdse_options(catalog: Catalog) -> dict[str, str]:
    if not _has_aws_keys():
        raise CatalogError(
            f"{catalog.title} is read with S3 keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
            "(free, at https://eodata-s3keysmanager.dataspace.copernicus.eu)."
        )
    # https://documentation.dataspace.copernicus.eu/APIs/S3.html
    return {
        "AWS_S3_ENDPOINT": "eodata.dataspace.copernicus.eu",
        "AWS_HTTPS": "YES",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }


def _has_aws_keys() -> bool:
    if all(os.environ.get(key) for key in AWS_KEYS) or os.environ.get("AWS_PROFILE"):
        return True
    file = os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")
    return Path(file).expanduser().is_file()
