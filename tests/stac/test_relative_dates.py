"""Dates said from today."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import RecipeError
from geoseg.stac.relative_dates import interval_of

DAYS = st.dates(date(1990, 1, 1), date(2099, 12, 31))


@pytest.mark.parametrize(
    ("text", "today", "expected"),
    [
        ("last month", "2026-01-31", "2025-12-01/2025-12-31"),
        ("last month", "2024-03-31", "2024-02-01/2024-02-29"),
        ("Last  3 months", "2026-11-28", "2026-08-01/2026-10-31"),
        ("last week", "2026-11-28", "2026-11-16/2026-11-22"),
        ("last 2 weeks", "2026-11-23", "2026-11-09/2026-11-22"),
        ("last 90 days", "2026-11-28", "2026-08-30/2026-11-27"),
        ("last day", "2026-03-01", "2026-02-28/2026-02-28"),
        ("last season", "2026-01-15", "2025-09-01/2025-11-30"),
        ("last season", "2026-12-01", "2026-09-01/2026-11-30"),
        ("last summer", "2026-08-31", "2025-06-01/2025-08-31"),
        ("last summer", "2026-09-01", "2026-06-01/2026-08-31"),
        ("last  Winter", "2024-03-01", "2023-12-01/2024-02-29"),
        ("last winter", "2026-12-31", "2025-12-01/2026-02-28"),
        ("last autumn", "2026-11-30", "2025-09-01/2025-11-30"),
        ("last spring", "2026-11-29", "2026-03-01/2026-05-31"),
        ("last year", "2026-02-28", "2025-01-01/2025-12-31"),
        ("last 2 years", "2026-02-28", "2024-01-01/2025-12-31"),
        ("this month", "2026-11-28", "2026-11-01/2026-11-28"),
        ("this season", "2026-01-15", "2025-12-01/2026-01-15"),
        ("this year", "2026-01-01", "2026-01-01/2026-01-01"),
        ("same month last year", "2024-02-29", "2023-02-01/2023-02-28"),
        ("same season last year", "2026-01-15", "2024-12-01/2025-02-28"),
        ("same season last year", "2026-12-15", "2025-12-01/2026-02-28"),
        ("same season last year", "2026-07-01", "2025-06-01/2025-08-31"),
    ],
)
def test_words_are_these_dates(text, today, expected):
    assert interval_of(text, today=date.fromisoformat(today)) == expected


@pytest.mark.parametrize("text", ["2024-06/2024-08", "2024", "2024-06-01/..", "lately"])
def test_what_is_not_said_in_words_is_left_alone(text):
    assert interval_of(text, today=date(2026, 11, 28)) is None


@pytest.mark.parametrize(
    "text",
    [
        "last",
        "last 2 summers",
        "this summer",
        "last 0 days",
        "last fortnight",
        "this 3 months",
        "same year",
        "last 99999 years",
    ],
)
def test_words_that_are_not_known_are_refused(text):
    with pytest.raises(RecipeError, match=f"--datetime {text} is .*last month, last 90 days"):
        interval_of(text, today=date(2026, 11, 28))


@given(DAYS, st.sampled_from(["day", "week", "month", "season", "year"]), st.integers(1, 40))
def test_what_was_last_ends_where_this_begins(today, unit, n):
    """A job that runs in each unit of the calendar leaves no day out, and takes none twice."""
    first, last = map(date.fromisoformat, interval_of(f"last {n} {unit}s", today=today).split("/"))
    assert first <= last < today
    if unit != "day":
        this = date.fromisoformat(interval_of(f"this {unit}", today=today).split("/")[0])
        assert last + timedelta(days=1) == this
    if n > 1:
        one, _ = interval_of(f"last {unit}", today=today).split("/")
        before = date.fromisoformat(one)
        again = interval_of(f"last {n - 1} {unit}s", today=before).split("/")
        assert date.fromisoformat(again[0]) == first


SEASONS = {
    "spring": (3, 4, 5), "summer": (6, 7, 8), "autumn": (9, 10, 11), "fall": (9, 10, 11), "winter": (12, 1, 2),
}  # fmt: skip


@given(DAYS, st.sampled_from(sorted(SEASONS)))
def test_the_last_season_of_a_name_is_found_day_by_day(today, name):
    """Backwards from today: out of a season that has not ended, then its last day, then its first."""
    day = today
    while day.month in SEASONS[name]:
        day -= timedelta(days=1)
    while day.month not in SEASONS[name]:
        day -= timedelta(days=1)
    last = day
    while (day - timedelta(days=1)).month in SEASONS[name]:
        day -= timedelta(days=1)
    assert interval_of(f"last {name}", today=today) == f"{day}/{last}"


@given(DAYS)
def test_the_season_a_year_ago_is_found_day_by_day(today):
    (months,) = {months for months in SEASONS.values() if today.month in months}
    day = today.replace(year=today.year - 1, day=min(today.day, 28))
    first = last = day
    while (first - timedelta(days=1)).month in months:
        first -= timedelta(days=1)
    while (last + timedelta(days=1)).month in months:
        last += timedelta(days=1)
    assert interval_of("same season last year", today=today) == f"{first}/{last}"
