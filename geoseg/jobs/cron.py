"""Times as crontab(5) writes them: checked, and in the words of systemd."""

import re

from geoseg.errors import RecipeError

Parts = list[tuple[int | None, int | None, int]]
_FIELDS = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of the month", 1, 31),
    ("month", 1, 12),
    ("weekday", 0, 7),
)
_PART = re.compile(r"(\*|\d+(?:-\d+)?)(?:/(\d+))?")
_DAYS_OF = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
"""The most that each month has."""
_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def fields_of(cron: str) -> list[Parts]:
    """Each field as its parts (first, last, step); first is None for ``*``, last is None for a single value.

    Raises:
        RecipeError: it is none of crontab(5), one with names or ``@`` words, or one that never comes.
    """
    words = cron.split()
    if len(words) != len(_FIELDS):
        raise RecipeError(
            f"--cron {cron!r} has {len(words)} field{'s' * (len(words) != 1)}, expected 5: minute, hour, day "
            "of the month, month, weekday. Give, for instance, '0 3 1 * *' for the first of each month at 3."
        )
    fields = [_field(word, *limits, cron) for word, limits in zip(words, _FIELDS, strict=True)]
    _, _, days, months, weekdays = fields
    first_day = min(first or 1 for first, _, _ in days)
    n_days = max(_DAYS_OF[month - 1] for part in months for month in _months(part))
    if first_day > n_days and _is_any(weekdays):
        raise RecipeError(
            f"--cron {cron!r} never comes: its months have {n_days} days at most. Give an earlier day."
        )
    return fields


def _months(part: tuple[int | None, int | None, int]) -> range:
    first, last, step = part
    return range(first or 1, (last or first or 12) + 1, step)


def _field(word: str, name: str, low: int, high: int, cron: str) -> Parts:
    parts: Parts = []
    for text in word.split(","):
        match = _PART.fullmatch(text)
        if match is None:
            raise RecipeError(f"--cron {cron!r}: {text!r} is no {name}. Give numbers, *, 1-5, */2 or 1,15.")
        step = int(match[2] or 1)
        if match[1] == "*":
            first, last = None, None
        else:
            ends = [int(end) for end in match[1].split("-")]
            first, last = ends[0], ends[1] if len(ends) > 1 else (high if match[2] else None)
        given = [value for value in (first, last) if value is not None]
        if step < 1 or any(not low <= value <= high for value in given) or given != sorted(given):
            raise RecipeError(f"--cron {cron!r}: {text!r} is no {name} from {low} to {high}.")
        parts.append((first, last, step))
    return parts


def on_calendar(cron: str) -> str:
    """The same times in the words of systemd.time(7).

    Raises:
        RecipeError: days of the month and weekdays are both named: cron takes either, systemd both.
    """
    minute, hour, day, month, weekday = fields_of(cron)
    if _is_any(weekday):
        days = ""
    elif not _is_any(day):
        raise RecipeError(
            f"--cron {cron!r} names days of the month and weekdays; systemd cannot run on either. Give one."
        )
    else:
        days = ",".join(_weekdays(weekday)) + " "
    minutes, hours, days_of_month, months = (
        _spans(parts, low, high)
        for parts, (_, low, high) in zip((minute, hour, day, month), _FIELDS, strict=False)
    )
    return f"{days}*-{months}-{days_of_month} {hours}:{minutes}:00"


def sunday_as_0(cron: str) -> str:
    """The same times for who does not know that 7 is Sunday too: Kubernetes, GitHub."""
    weekdays = fields_of(cron)[-1]
    if not any(7 in (first, last) for first, last, _ in weekdays):
        return cron
    numbers = sorted(_DAYS.index(day) for day in _weekdays(weekdays))
    return " ".join([*cron.split()[:-1], ",".join(map(str, numbers))])


def _is_any(parts: Parts) -> bool:
    return parts == [(None, None, 1)]


def _spans(parts: Parts, low: int, high: int) -> str:
    if (None, None, 1) in parts:
        return "*"  # systemd knows it only by itself
    words = []
    for first, last, step in parts:
        if first is None:
            first, last = low, high  # 00/5, which means the same, leaves hour 0 out in systemd 252
        span = f"{first:02d}" if last is None else f"{first:02d}..{last:02d}"
        words.append(span + (f"/{step}" if step > 1 else ""))
    return ",".join(words)


def _weekdays(parts: Parts) -> list[str]:
    found: dict[str, None] = {}
    for first, last, step in parts:
        low = 0 if first is None else first
        high = (6 if first is None else low) if last is None else last
        found |= dict.fromkeys(_DAYS[n] for n in range(low, high + 1, step))
    return sorted(found, key=_DAYS.index)
