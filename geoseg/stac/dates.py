"""Dates as STAC writes them: an instant, a day, a month, a year, or an interval of two of these."""

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

import pystac

from geoseg.errors import RecipeError

_DAY = re.compile(r"(\d{4})(?:-(\d{2}))?(?:-(\d{2}))?")


@dataclass(frozen=True)
class Interval:
    """From ``start`` to ``end``, both included; None is open."""

    start: datetime | None
    end: datetime | None

    @property
    def rfc3339(self) -> str | None:
        """As an API takes it; None when both ends are open."""
        if self.start is None and self.end is None:
            return None
        return "/".join(d.strftime("%Y-%m-%dT%H:%M:%SZ") if d else ".." for d in (self.start, self.end))

    def meets(self, item: pystac.Item) -> bool:
        """Whether the item was acquired then, in part at least. An item without any date is kept."""
        return self.gap(item) <= timedelta(0)

    def gap(self, item: pystac.Item) -> timedelta:
        """How long before or after it the item was acquired; 0 where it meets it or has no date."""
        first = item.datetime or item.common_metadata.start_datetime
        last = item.common_metadata.end_datetime or first
        gap = timedelta(0)
        if first is not None and last is not None:
            if self.start is not None:
                gap = max(gap, self.start - _utc(last))
            if self.end is not None:
                gap = max(gap, _utc(first) - self.end)
        return gap


def parse_interval(text: str) -> Interval:
    """The interval that ``text`` means; days, months and years are meant whole.

    Raises:
        RecipeError: when it is no date, or ends before it starts.

    Example:
        >>> parse_interval("2024-06/2024-08").rfc3339
        '2024-06-01T00:00:00Z/2024-08-31T23:59:59Z'
    """
    parts = text.strip().split("/")
    if len(parts) > 2 or not text.strip():
        raise RecipeError(f"--datetime {text!r} is no interval: give 2024-06-01/2024-08-31, or 2024-06.")
    start = _instant(parts[0].strip(), text, is_end=False)
    end = _instant(parts[-1].strip(), text, is_end=True)
    if start and end and end < start:
        raise RecipeError(f"--datetime {text} ends before it starts: the order is start/end.")
    return Interval(start, end)


def _instant(part: str, text: str, *, is_end: bool) -> datetime | None:
    if part in ("", ".."):
        return None
    try:
        whole = _DAY.fullmatch(part)
        if whole is None:
            return _utc(datetime.fromisoformat(part))
        year, month, day = whole.groups()
        chosen_month = int(month) if month else 12 if is_end else 1
        last_day = monthrange(int(year), chosen_month)[1]
        chosen_day = int(day) if day else last_day if is_end else 1
        midnight = datetime(int(year), chosen_month, chosen_day, tzinfo=UTC)
    except ValueError as error:
        raise RecipeError(
            f"--datetime {text}: {part!r} is no date (write 2024-06-01, 2024-06 or 2024)."
        ) from error
    return datetime.combine(midnight, time.max, UTC) if is_end else midnight


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
