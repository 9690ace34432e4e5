"""What may be shown of an address: where something lies, never what opens it."""

import re

# scheme://user:password@host/path?query#fragment, also inside a sentence or behind /vsicurl/
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)(?:[^/\s?#'\"]*@)?([^\s?#'\"]*)(?:[?#][^\s'\"]*)?")


_QUERY = re.compile(r"\?([^\"\s?#]*)")
_SIGNING = re.compile(
    r"(sig|se|st|sp|spr|sv|sr|ss|srt|sip|sdd|ske|sks|skt|skv|skoid|sktid|saoid|suoid|scid|signature|expires"
    r"|policy|key-pair-id|awsaccesskeyid|googleaccessid|x-amz-[a-z-]+|x-goog-[a-z-]+)=",
    re.IGNORECASE,
)
_IS_SIGNED = re.compile(r"(?:^|&)(sig|signature|x-amz-signature|x-goog-signature)=", re.IGNORECASE)


def unsigned(text: str) -> str:
    """JSON with its addresses as they were before they were signed: the same, whenever that was done.

    Left out are the parameters of Azure's shared access signatures, S3, Google Cloud Storage and CloudFront.

    Example:
        >>> unsigned('{"href": "https://host/a.tif?versionId=7&se=2026-11-29&sig=abc"}')
        '{"href": "https://host/a.tif?versionId=7"}'
    """
    return _QUERY.sub(_left, text)


def _left(query: re.Match[str]) -> str:
    if not _IS_SIGNED.search(query[1]):
        return query[0]
    kept = "&".join(part for part in query[1].split("&") if not _SIGNING.match(part))
    return f"?{kept}" if kept else ""


def redact(text: str) -> str:
    """``text`` with the user names, passwords, queries and fragments of its URLs left out.

    Example:
        >>> redact("https://me:secret@host/a/b.tif?sig=abc")
        'https://host/a/b.tif'
    """
    return _URL.sub(r"\1\2", text)
