"""Dates, reprocessed scenes, and the count of what was dropped."""

import datetime as dt

import pystac
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from stac_fakes import make_item

from geoseg.errors import RecipeError
from geoseg.stac.coverage import footprint
from geoseg.stac.dates import parse_interval
from geoseg.stac.filters import Wanted, cloud_cover, sift, without_superseded

LAWS = settings(max_examples=60, deadline=None)
AREA = shapely.box(10, 45, 11, 46)


@pytest.mark.parametrize(
    ("text", "rfc3339"),
    [
        ("2024", "2024-01-01T00:00:00Z/2024-12-31T23:59:59Z"),
        ("2024-02", "2024-02-01T00:00:00Z/2024-02-29T23:59:59Z"),
        ("2024-06-03", "2024-06-03T00:00:00Z/2024-06-03T23:59:59Z"),
        ("2023/2024-02", "2023-01-01T00:00:00Z/2024-02-29T23:59:59Z"),
        ("2024-06-01/..", "2024-06-01T00:00:00Z/.."),
        ("/2024", "../2024-12-31T23:59:59Z"),
        ("../..", None),
        ("2024-06-01T12:00:00+02:00/2024-06-02", "2024-06-01T10:00:00Z/2024-06-02T23:59:59Z"),
    ],
)
def test_intervals(text: str, rfc3339: str | None) -> None:
    assert parse_interval(text).rfc3339 == rfc3339


@pytest.mark.parametrize(
    "text", ["", "soon", "2024-13", "2024-06-31", "2024/2023", "2024/2025/2026", "2024-6-1"]
)
def test_what_is_no_interval(text: str) -> None:
    with pytest.raises(RecipeError, match="--datetime"):
        parse_interval(text)


@LAWS
@given(st.dates(dt.date(2016, 1, 1), dt.date(2026, 1, 1)), st.times())
def test_a_day_a_month_and_a_year_hold_their_moments(day: dt.date, time: dt.time) -> None:
    item = make_item("i")
    item.datetime = dt.datetime.combine(day, time, dt.UTC)
    for text in (f"{day}", f"{day:%Y-%m}", f"{day:%Y}", f"2016/{day}", f"{day}/.."):
        assert parse_interval(text).meets(item)
    assert not parse_interval(f"../{day - dt.timedelta(days=1)}").meets(item)
    assert not parse_interval(f"{day + dt.timedelta(days=1)}/..").meets(item)


def test_items_of_a_span_meet_when_they_overlap() -> None:
    item = make_item("i")
    item.datetime = None
    item.properties |= {"start_datetime": "2024-05-20T00:00:00Z", "end_datetime": "2024-06-10T00:00:00Z"}
    assert parse_interval("2024-06").meets(item)
    assert parse_interval("2024-05").meets(item)
    assert not parse_interval("2024-07").meets(item)


@pytest.mark.parametrize(
    ("value", "means"),
    [(12, 12), ("12.5", 12.5), (-1, None), (None, None), (float("nan"), None), ("n/a", None)],
)
def test_cloud_cover_that_catalogs_write(value: object, means: float | None) -> None:
    assert cloud_cover(make_item("i", clouds=None, **{"eo:cloud_cover": value})) == means


@LAWS
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["made", "other"]),
            st.booleans(),
            st.sampled_from(["2024-06-01", "2024-07-01"]),
            st.sampled_from([None, 5.0, 50.0]),
            st.integers(0, 9),
        ),
        max_size=20,
    )
)
def test_every_item_is_kept_or_counted_once(made: list[tuple[str, bool, str, float | None, int]]) -> None:
    items = [
        make_item(f"i{n}", (10, 45, 11, 46) if near else (50, 45, 51, 46), clouds=c, date=d, collection=k)
        for k, near, d, c, n in made
    ]
    wanted = Wanted(AREA, "made", parse_interval("2024-06"), 20.0, {})
    sieve = sift(items, wanted)
    dropped = sieve.n_elsewhere + sieve.n_off_date + sieve.n_other + sieve.n_cloudy + sieve.n_superseded
    assert len(sieve.kept) + dropped == sieve.n_found == len({(i.collection_id, i.id) for i in items})
    for item in sieve.kept:
        assert item.collection_id == "made"
        assert footprint(item).intersects(AREA)
        assert item.datetime is not None
        assert item.datetime.month == 6
        assert (cloud_cover(item) or 0) <= 20
    assert (sieve.clearest is None) == (sieve.n_cloudy == 0)


def sentinel2(
    name: str, bounds: tuple[float, float, float, float] = (10, 45, 11, 46), **fields: object
) -> pystac.Item:
    keys = {key.replace("__", ":"): value for key, value in fields.items()}
    return make_item(name, bounds, **{"platform": "sentinel-2a", **keys})


def newest(*items: pystac.Item) -> list[str]:
    return [item.id for item in without_superseded(list(items))]


def test_the_newest_processing_is_kept_in_every_catalogs_words() -> None:
    """Earth Search, Planetary Computer and CDSE: ids and properties as those catalogs write them."""
    earth = [
        sentinel2(
            f"S2A_32TNR_20200614_{k}_L2A",
            grid__code="MGRS-32TNR",
            s2__processing_baseline=b,
            s2__sequence=str(k),
            s2__datatake_id=f"GS2A_20200614T101031_026000_N{b}",
        )
        for k, b in enumerate(["02.12", "05.00"])
    ]
    assert newest(*earth) == newest(*earth[::-1]) == ["S2A_32TNR_20200614_1_L2A"]
    microsoft = [
        sentinel2(
            f"S2A_MSIL2A_20200614T101031_R022_T32TNR_{when}", s2__mgrs_tile="32TNR", s2__generation_time=when
        )
        for when in ("20200701T000000", "20230401T000000")
    ]
    assert newest(*microsoft) == ["S2A_MSIL2A_20200614T101031_R022_T32TNR_20230401T000000"]
    europe = [
        sentinel2(f"S2A_MSIL2A_20200614T101031_N{b}_R022_T32TNR_20230401T000000", processing__version=v)
        for b, v in (("0500", "05.00"), ("0510", "05.10"))
    ]
    assert newest(*europe) == ["S2A_MSIL2A_20200614T101031_N0510_R022_T32TNR_20230401T000000"]


def test_two_parts_of_a_tile_are_both_kept() -> None:
    south = sentinel2(
        "S2A_32TNR_20200614_0_L2A", (10, 45, 11, 45.5), grid__code="MGRS-32TNR", s2__sequence="0"
    )
    north = sentinel2(
        "S2A_32TNR_20200614_1_L2A", (10, 45.4, 11, 46), grid__code="MGRS-32TNR", s2__sequence="1"
    )
    assert len(newest(south, north)) == 2


def test_other_acquisitions_are_all_kept() -> None:
    items = [
        sentinel2("S2A_32TNR_20200614_0_L2A", grid__code="MGRS-32TNR"),
        sentinel2("S2B_32TNR_20200614_0_L2A", grid__code="MGRS-32TNR", platform="sentinel-2b"),
        sentinel2("S2A_32TPR_20200614_0_L2A", grid__code="MGRS-32TPR"),
        make_item("LC08_1"),
        make_item("LC08_2"),
    ]
    assert len(newest(*items)) == 5


def test_a_trial_baseline_is_not_the_newest() -> None:
    ids = [f"S2A_MSIL2A_20200614T101031_N{b}_R022_T32TNR_20230401T000000" for b in ("9999", "0500")]
    items = [sentinel2(ids[0], processing__version="99.99"), sentinel2(ids[1], processing__version="05.00")]
    assert newest(*items) == [ids[1]]
