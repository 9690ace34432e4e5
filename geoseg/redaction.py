"""What may be shown of an address: where something lies, never what opens it."""

import re

# scheme://user:password@host/path?query#fragment, also inside a sentence or behind /vsicurl/
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)(?:[^/\s?#'\"]*@)?([^\s?#'\"]*)(?:[?#][^\s'\"]*)?")


# The query of an address that a JSON string holds, where a signature is in it: of Azure, S3, GCS, CloudFront.
_SIGNED = re.compile(r"""\?(?:[^"\s?]*&)?(?:sig|signature|x-amz-signature|x-goog-signature)=[^"\s]*""", re.I)


def unsigned(text: str) -> str:
    """JSON with the queries of signed addresses left out: the same whenever they were signed.

    Example:
        >>> unsigned('{"href": "https://host/a.tif?se=2026-11-29&sig=abc"}')
        '{"href": "https://host/a.tif"}'
    """
    return _SIGNED.sub("", text)


def redact(text: str) -> str:
    """``text`` with the user names, passwords, queries and fragments of its URLs left out.

    Example:
        >>> redact("https://me:secret@host/a/b.tif?sig=abc")
        'https://host/a/b.tif'
    """
    return _URL.sub(r"\1\2", text)
