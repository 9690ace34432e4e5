"""Dates that are said from today, such as those of a job that runs every month."""

import re
from calendar import monthrange
from datetime import UTC, date, datetime, timedelta

from geoseg.errors import RecipeError

WORDS = "last month, last 90 days, last 3 months, last summer, same month last year, same season last year"
_UNITS = ("day", "week", "month", "season", "year")
_UNIT = "|".join(_UNITS)
_LAST = re.compile(rf"last (?:(\d+) )?({_UNIT})s?")
_THIS = re.compile(rf"this ({_UNIT})")
_SAME = re.compile(r"same (month|season) last year")
_MONTHS = {"month": 1, "season": 3, "year": 12}
_SEASONS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}
"""The months they begin with, as in the north."""
_LAST_SEASON = re.compile(f"last ({'|'.join(_SEASONS)})")


def interval_of(text: str, *, today: date | None = None) -> str | None:
    """``2026-10-01/2026-10-31`` for words such as ``last month``; None for what is not said in words.

    Whole units of the calendar that ended before today: ``last month``, ``last 3 months``, ``last week``
    (Monday to Sunday), ``last season``, ``last 2 years``; ``last 90 days`` end yesterday. ``this month``
    begins with its first day and ends today. ``same month last year`` and ``same season last year`` are those
    that today lies in, a year ago. Seasons are those of meteorology: they begin with March, June, September
    and December, on both halves of the globe. ``last summer`` is the June to August that ended last, in the
    south too, whose summer is ``last winter``.

    Args:
        text: any case.
        today: the day it is said on; by default that of now in UTC.

    Raises:
        RecipeError: it begins like such words and is none.

    Example:
        >>> interval_of("same season last year", today=date(2026, 1, 15))
        '2024-12-01/2025-02-28'
    """
    today = today or datetime.now(UTC).date()
    words = " ".join(text.lower().split())
    if match := _LAST.fullmatch(words):
        return _last(int(match[1] or 1), match[2], today, text)
    if match := _LAST_SEASON.fullmatch(words):
        return _last_season(_SEASONS[match[1]], today)
    if match := _THIS.fullmatch(words):
        return f"{_start(match[1], today)}/{today}"
    if match := _SAME.fullmatch(words):
        first = _later(_start(match[1], today), -12)
        return f"{first}/{_later(first, _MONTHS[match[1]]) - timedelta(days=1)}"
    if words.startswith(("last", "this", "same")):
        raise RecipeError(f"--datetime {text} is not known. Give, for instance, {WORDS}, or dates.")
    return None


def _last(n: int, unit: str, today: date, text: str) -> str:
    end = _start(unit, today)  # the first day that is not in it
    try:
        if unit in _MONTHS:
            first = _later(end, -n * _MONTHS[unit])
        else:
            first = end - timedelta(days=n * (7 if unit == "week" else 1))
    except (ValueError, OverflowError):
        first = end
    if first >= end:
        raise RecipeError(f"--datetime {text} is no time. Give, for instance, {WORDS}, or dates.")
    return f"{first}/{end - timedelta(days=1)}"


def _last_season(month: int, today: date) -> str:
    """The one that begins with ``month`` and ended before today, most lately."""
    end = _later(date(today.year, month, 1), 3)
    while end > today:
        end = _later(end, -12)
    return f"{_later(end, -3)}/{end - timedelta(days=1)}"


def _start(unit: str, day: date) -> date:
    """The first day of the week, month, season or year that ``day`` lies in."""
    if unit == "day":
        return day
    if unit == "week":
        return day - timedelta(days=day.weekday())
    if unit == "season":
        return _later(day.replace(day=1), -(day.month % 3))
    return day.replace(day=1) if unit == "month" else day.replace(month=1, day=1)


def _later(day: date, n_months: int) -> date:
    """The same day of another month, or the last one of a shorter month."""
    years, month = divmod(day.year * 12 + day.month - 1 + n_months, 12)
    return date(years, month + 1, min(day.day, monthrange(years, month + 1)[1]))
