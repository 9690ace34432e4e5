"""Laws of ``select_items`` and of the geometry under it."""

import datetime as dt

import numpy as np
import pystac
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geom import Geometry
from stac_fakes import area, make_item

from geoseg import aoi as aoi_module
from geoseg.errors import CoverageError, RecipeError
from geoseg.stac.coverage import area_km2, footprint, places
from geoseg.stac.items import SEARCH_KEY, _rank, select_items

LAWS = settings(max_examples=40, deadline=None)
corner = st.floats(-1, 3).map(lambda v: round(v, 3))
size = st.floats(0.1, 3).map(lambda v: round(v, 3))
clouds = st.one_of(st.none(), st.sampled_from([0.0, 5.0, 20.0]))
day = st.integers(0, 3).map(lambda d: f"2024-06-{d + 1:02d}")


@st.composite
def some_items(draw: st.DrawFn) -> list[pystac.Item]:
    made = draw(st.lists(st.tuples(corner, corner, size, size, clouds, day), min_size=1, max_size=10))
    return [
        make_item(f"i{k}", (x, y, x + w, y + h), clouds=c, date=d)
        for k, (x, y, w, h, c, d) in enumerate(made)
    ]


def chosen_ids(items: list[pystac.Item], aoi: Geometry, per_place: int) -> list[str]:
    found = select_items(pystac.ItemCollection(items), aoi, per_place=per_place, min_coverage=0)
    return [item.id for item in found.items]


AOI = area(0, 0, 2, 2)


@LAWS
@given(some_items(), st.integers(1, 3))
def test_each_place_has_its_least_cloudy_items(items: list[pystac.Item], per_place: int) -> None:
    chosen = set(chosen_ids(items, AOI, per_place))
    ranked = sorted(items, key=_rank)
    over = np.array(
        [shapely.intersects_xy(footprint(item), places(AOI.geom)) for item in ranked]
    )  # (item, place)
    is_needed = (over & (np.cumsum(over, axis=0) <= per_place)).any(axis=1)
    assert {item.id for item, needed in zip(ranked, is_needed, strict=True) if needed} <= chosen


@LAWS
@given(some_items(), st.integers(1, 3), st.randoms(use_true_random=False))
def test_order_of_input_does_not_matter(items: list[pystac.Item], per_place: int, random: object) -> None:
    shuffled = list(items)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert chosen_ids(items, AOI, per_place) == chosen_ids(shuffled, AOI, per_place)


@LAWS
@given(some_items(), st.integers(1, 2))
def test_the_selection_covers_what_all_items_cover(items: list[pystac.Item], per_place: int) -> None:
    found = select_items(pystac.ItemCollection(items), AOI, per_place=per_place, min_coverage=0)
    union = shapely.union_all([footprint(item) for item in items]).intersection(AOI.geom)
    assert found.covered_km2 == pytest.approx(area_km2(union), abs=1e-4)
    assert found.aoi_km2 == pytest.approx(area_km2(AOI.geom))
    assert found.share == pytest.approx(found.covered_km2 / found.aoi_km2)


@LAWS
@given(some_items(), st.integers(1, 2))
def test_depth_is_counted_on_the_places(items: list[pystac.Item], per_place: int) -> None:
    found = select_items(pystac.ItemCollection(items), AOI, per_place=per_place, min_coverage=0)
    points = places(AOI.geom)
    depth = np.zeros(len(points), dtype=int)
    for item in found.items:
        depth += shapely.intersects_xy(footprint(item), points)
    assert (depth.min(), depth.max()) == (found.depth_min, found.depth_max)


@LAWS
@given(some_items(), st.sampled_from(["split", "jump", "beyond"]))
def test_the_antimeridian_changes_nothing(items: list[pystac.Item], form: str) -> None:
    """Area and items moved by 179 degrees select the same items and cover as much ground."""
    here = select_items(pystac.ItemCollection(items), AOI, per_place=2, min_coverage=0)
    there = [make_item(i.id, clouds=_clouds(i), date=_date(i), geometry=_moved(i, form)) for i in items]
    halves = [shapely.box(179, 0, 180, 2), shapely.box(-180, 0, -179, 2)]
    far = Geometry(shapely.MultiPolygon(halves), "EPSG:4326")
    moved = select_items(pystac.ItemCollection(there), far, per_place=2, min_coverage=0)
    assert moved.covered_km2 == pytest.approx(here.covered_km2, rel=1e-6, abs=1e-3)
    assert moved.aoi_km2 == pytest.approx(here.aoi_km2)


def _clouds(item: pystac.Item) -> float | None:
    return item.properties.get("eo:cloud_cover")


def _date(item: pystac.Item) -> str:
    assert item.datetime is not None
    return item.datetime.date().isoformat()


def _moved(item: pystac.Item, form: str) -> dict[str, object]:
    west, south, east, north = item.bbox or []
    west, east = west + 179, east + 179
    if form == "beyond" or east <= 180:
        return shapely.geometry.mapping(shapely.box(west, south, east, north))
    if west >= 180:
        return shapely.geometry.mapping(shapely.box(west - 360, south, east - 360, north))
    if form == "jump":
        ring = [(west, south), (east - 360, south), (east - 360, north), (west, north), (west, south)]
        return {"type": "Polygon", "coordinates": [ring]}
    halves = [shapely.box(west, south, 180, north), shapely.box(-180, south, east - 360, north)]
    return shapely.geometry.mapping(shapely.MultiPolygon(halves))


@LAWS
@given(st.floats(-80, 80), st.floats(0.01, 5), st.floats(0.01, 5))
def test_areas_agree_with_the_geodesic(south: float, width: float, height: float) -> None:
    """EPSG:6933 against Karney's geodesic area; they differ by the bulge of long parallels only."""
    shape = shapely.segmentize(shapely.box(7, south, 7 + width, south + height), 0.02)
    geodesic = aoi_module.area_km2(Geometry(shape, "EPSG:4326"))
    assert area_km2(shape) == pytest.approx(geodesic, rel=1e-3)


@LAWS
@given(st.lists(st.tuples(corner, corner, st.floats(0.001, 1)), min_size=1, max_size=6))
def test_places_lie_in_the_area_and_are_few(circles: list[tuple[float, float, float]]) -> None:
    shape = shapely.union_all([shapely.Point(x, y).buffer(r) for x, y, r in circles])
    found = places(shape)
    assert 0 < len(found) <= 5000
    assert shapely.intersects_xy(shape.buffer(1e-9), found).all()
    for part in shapely.get_parts(shape):
        assert shapely.intersects_xy(part.buffer(1e-9), found).any()
    assert np.array_equal(found, places(shape))


def test_a_thin_area_across_half_the_earth_has_bounded_places() -> None:
    halves = [shapely.box(179.9, 0, 180, 1), shapely.box(-180, 0, -179.9, 1)]
    assert 1000 < len(places(shapely.MultiPolygon(halves))) < 5000
    thin = shapely.LineString([(-170, -60), (170, 60)]).buffer(1e-4)
    assert 0 < len(places(thin)) < 20_000


def test_redundant_items_are_left_out() -> None:
    items = [make_item(f"c{k}", clouds=k) for k in range(6)]
    assert chosen_ids(items, area(10, 45, 11, 46), 2) == ["c0", "c1"]


def test_ties_go_to_the_newest_then_to_the_id() -> None:
    items = [
        make_item("b", date="2024-06-01"),
        make_item("a", date="2024-06-01"),
        make_item("z", date="2024-06-02"),
        make_item("unknown", clouds=None, date="2024-06-09"),
    ]
    assert chosen_ids(items, area(10, 45, 11, 46), 4) == ["z", "a", "b", "unknown"]


def test_a_sliver_between_places_is_covered_too() -> None:
    wide = make_item("wide", (10, 45, 10.99999, 46), clouds=0)
    sliver = make_item("sliver", (10.9999, 45, 11.1, 46), clouds=50)
    found = select_items(pystac.ItemCollection([wide, sliver]), area(10, 45, 11, 46), per_place=1)
    assert found.covered_km2 == pytest.approx(found.aoi_km2, abs=1e-4)


def test_too_little_says_how_much_and_what_to_do() -> None:
    asked = {"datetime": "2024-06/2024-08", "max_cloud_cover": 20.0}
    items = pystac.ItemCollection([make_item("a", (10, 45, 10.9, 46))], extra_fields={SEARCH_KEY: asked})
    message = (
        r"^Items cover 7,818 of the 8,686 km² asked for \(90%\)\. Widen --datetime 2024-06/2024-08, "
        r"raise --max-cloud-cover 20 or lower --min-coverage 0\.95 to 0\.900\.$"
    )
    with pytest.raises(CoverageError, match=message):
        select_items(items, area(10, 45, 11, 46))


@pytest.mark.parametrize("share", [0.1, 0.9, 0.949999])
def test_the_message_never_says_that_enough_is_too_little(share: float) -> None:
    items = pystac.ItemCollection([make_item("a", (10, 45, 10 + share / 100, 45.01))])
    with pytest.raises(CoverageError) as caught:
        select_items(items, area(10, 45, 10.01, 45.01))
    covered, asked = str(caught.value).split("Items cover ")[1].split(" km²")[0].split(" of the ")
    assert float(covered) < float(asked)
    assert float(str(caught.value).split("(")[1].split("%")[0]) < 95


def test_no_items_at_all() -> None:
    with pytest.raises(CoverageError, match=r"Items cover 0 of the"):
        select_items(pystac.ItemCollection([]), area(10, 45, 11, 46))


@pytest.mark.parametrize("bad", [{"per_place": 0}, {"min_coverage": 1.2}, {"min_coverage": -0.1}])
def test_senseless_options_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(RecipeError, match=r"at least 1"):
        select_items(pystac.ItemCollection([]), area(10, 45, 11, 46), **bad)  # type: ignore[arg-type]


def test_an_area_in_metres_is_covered_too() -> None:
    aoi = Geometry(shapely.box(500_000, 5_000_000, 510_000, 5_010_000), "EPSG:32632")
    found = select_items(pystac.ItemCollection([make_item("a", (8, 44, 10, 46))]), aoi)
    assert found.aoi_km2 == pytest.approx(100, rel=0.002)


@pytest.mark.parametrize(
    ("geometry", "covers"),
    [
        ({"type": "Point", "coordinates": [10, 45]}, 0),
        ({"type": "Polygon", "coordinates": [[[0, 0, 5], [1, 0, 5], [1, 1, 5], [0, 1, 5], [0, 0, 5]]]}, 1),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}, 0.5),
        (
            {
                "type": "Polygon",
                "coordinates": [[[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]],
            },
            64800,
        ),
    ],
)
def test_footprints_of_odd_geometries(geometry: dict[str, object], covers: float) -> None:
    assert footprint(make_item("odd", geometry=geometry)).area == pytest.approx(covers)


def test_the_bbox_stands_in_for_a_missing_geometry() -> None:
    item = pystac.Item("n", None, [179, 0, -179, 1], dt.datetime(2024, 1, 1, tzinfo=dt.UTC), {})
    assert footprint(item).area == pytest.approx(2)
