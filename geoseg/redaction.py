"""What may be shown of an address: where something lies, never what opens it."""

import re

# scheme://user:password@host/path?query#fragment, also inside a sentence or behind /vsicurl/
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)(?:[^/\s?#'\"]*@)?([^\s?#'\"]*)(?:[?#][^\s'\"]*)?")


def redact(text: str) -> str:
    """``text`` with the user names, passwords, queries and fragments of its URLs left out.

    Example:
        >>> redact("https://me:secret@host/a/b.tif?sig=abc")
        'https://host/a/b.tif'
    """
    return _URL.sub(r"\1\2", text)
