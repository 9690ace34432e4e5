"""Output folders that are named after the dates of their map."""

import re

from geoseg.errors import RecipeError
from geoseg.stac.dates import parse_interval

_DATE = re.compile(r"\{(start|end|month|year)\}")


def has_dates(out: str) -> bool:
    """Whether a name asks for dates, as ``maps/{month}`` does."""
    return _DATE.search(out) is not None


def dated(out: str, interval: str) -> str:
    """``maps/2026-10`` for ``maps/{month}``: the dates that are searched, so that each month has its map.

    Raises:
        RecipeError: the interval has no such end.
    """
    dates = parse_interval(interval)
    first, last = (f"{day:%Y-%m-%d}" if day else "" for day in (dates.start, dates.end))
    words = {"start": first, "end": last, "month": first[:7], "year": first[:4]}

    def word(match: re.Match[str]) -> str:
        if found := words[match[1]]:
            return found
        raise RecipeError(
            f"--out {out}: {match[0]} is of the dates, and {interval} has none. Give --datetime."
        )

    return _DATE.sub(word, out)
