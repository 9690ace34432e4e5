"""``search`` against an API that pages, fails, filters wrongly or not at all."""

import json
import pickle
import socket

import pytest
import shapely
from odc.geo.geom import Geometry
from stac_fakes import CORE, FILTER, QUERY, FakeApi, area, catalog_at, make_item

from geoseg.errors import CatalogError, CatalogUnreachable, CoverageError, GeosegWarning
from geoseg.stac.api import lighter
from geoseg.stac.catalog import load_catalog
from geoseg.stac.items import SEARCH_KEY, search, select_items

AOI = area(10, 45, 11, 46)
JUNE = "2024-06"


def fill(api: FakeApi, n: int = 25) -> None:
    """Items with cloud cover 0, 1, 2 ... percent; every third lies elsewhere."""
    for k in range(n):
        bounds = (100, 45, 101, 46) if k % 3 == 2 else (10, 45, 11, 46)
        item = make_item(f"i{k}", bounds, clouds=float(k)).to_dict(include_self_link=False)
        item["links"] = [{"rel": rel, "href": api.url} for rel in ("root", "parent", "collection")]
        api.items.append(item)


def ids(found: object) -> set[str]:
    return {item.id for item in found}  # type: ignore[attr-defined]


def expected(n: int, limit: float = 100) -> set[str]:
    return {f"i{k}" for k in range(n) if k % 3 != 2 and k <= limit}


def test_pages_are_read_to_the_end_and_failures_repeated(api: FakeApi) -> None:
    fill(api, 35)
    api.page = 4
    api.failures = [503]
    api.search_failures = [429, 502, 500]
    assert ids(search(AOI, catalog=catalog_at(api.url), collection="made", datetime=JUNE)) == expected(35)


@pytest.mark.parametrize("conforms", [[*CORE, QUERY], [*CORE, *FILTER], CORE])
def test_cloud_cover_as_the_server_understands_it(api: FakeApi, conforms: list[str]) -> None:
    fill(api)
    api.conforms = conforms
    found = search(AOI, catalog=catalog_at(api.url), collection="made", datetime=JUNE, max_cloud_cover=9)
    assert ids(found) == expected(25, 9)
    body = api.searches[0]
    assert body.get("query") == ({"eo:cloud_cover": {"lte": 9}} if QUERY in conforms else None)
    assert ("filter" in body) == (FILTER[0] in conforms)
    if "filter" in body:
        assert body["filter-lang"] == "cql2-json"


def test_numbers_are_sent_as_numbers(api: FakeApi) -> None:
    """A server that compares text as text keeps "7" out of "<= 20": it must never be given text."""
    fill(api)
    found = search(AOI, catalog=catalog_at(api.url), collection="made", datetime=JUNE, max_cloud_cover=20)
    assert ids(found) == expected(25, 20)


def test_a_server_that_ignores_filters_is_checked(api: FakeApi) -> None:
    fill(api)
    api.items.append(make_item("late", date="2024-07-01").to_dict(include_self_link=False))
    api.items.append(make_item("other", collection="another").to_dict(include_self_link=False))
    api.filters = False
    found = search(AOI, catalog=catalog_at(api.url), collection="made", datetime=JUNE, max_cloud_cover=9)
    assert ids(found) == expected(25, 9)
    told = found.extra_fields[SEARCH_KEY]
    assert (told["n_found"], told["n_off_date"], told["n_elsewhere"]) == (27, 1, 9)


def test_items_twice_on_pages_come_once(api: FakeApi) -> None:
    fill(api, 6)
    api.items *= 3
    found = search(AOI, catalog=catalog_at(api.url), collection="made", datetime=JUNE)
    assert len(found) == len(expected(6))


def test_a_server_that_repeats_a_page_for_ever(api: FakeApi) -> None:
    fill(api, 20)
    page = {"rel": "next", "method": "POST", "href": f"{api.url}/search", "body": {"token": 0}}
    api.always = (200, json.dumps({"type": "FeatureCollection", "features": api.items, "links": [page]}))
    found = search(AOI, catalog=catalog_at(api.url), collection="made", datetime=JUNE)
    assert ids(found) == expected(20)
    assert api.n_requests < 10


def test_items_without_cloud_cover_are_kept_and_said(api: FakeApi) -> None:
    api.items = [make_item(f"n{k}", clouds=None).to_dict(include_self_link=False) for k in range(3)]
    with pytest.warns(GeosegWarning, match="3 of 3 items do not say their cloud cover"):
        found = search(AOI, catalog=catalog_at(api.url), collection="made", datetime=JUNE, max_cloud_cover=20)
    assert len(found) == 3


def test_radar_has_no_clouds(api: FakeApi) -> None:
    api.items = [make_item("s1", clouds=None).to_dict(include_self_link=False)]
    catalog = catalog_at(api.url, sensor="sar", max_cloud_cover=None)
    assert ids(search(AOI, catalog=catalog, collection="made", datetime=JUNE, max_cloud_cover=5)) == {"s1"}
    assert "query" not in api.searches[0]


def test_elevation_has_no_date(api: FakeApi) -> None:
    api.items = [make_item("dem", clouds=None, date="2021-04-22").to_dict(include_self_link=False)]
    catalog = catalog_at(api.url, sensor="dem", max_cloud_cover=None)
    assert ids(search(AOI, catalog=catalog, collection="made", datetime=JUNE)) == {"dem"}
    assert "datetime" not in api.searches[0]


def test_a_collections_own_query_is_sent_and_checked(api: FakeApi) -> None:
    modes = {"wide": "IW", "wave": "WV"}
    api.items = [
        make_item(name, clouds=None, **{"sar:instrument_mode": mode}).to_dict(include_self_link=False)
        for name, mode in modes.items()
    ]
    api.filters = False
    catalog = catalog_at(
        api.url, sensor="sar", max_cloud_cover=None, query={"sar:instrument_mode": {"eq": "IW"}}
    )
    assert ids(search(AOI, catalog=catalog, collection="made", datetime=JUNE)) == {"wide"}
    assert api.searches[0]["query"] == {"sar:instrument_mode": {"eq": "IW"}}
    api.conforms = CORE
    assert ids(search(AOI, catalog=catalog, collection="made", datetime=JUNE)) == {"wide"}
    assert not {"query", "filter"} & set(api.searches[1])


def test_the_catalogs_default_cloud_cover_and_caution(api: FakeApi) -> None:
    fill(api)
    catalog = catalog_at(api.url, max_cloud_cover=9, caution="mind the gap")
    with pytest.warns(GeosegWarning, match="made of Fake: mind the gap"):
        assert ids(search(AOI, catalog=catalog, collection="made", datetime=JUNE)) == expected(25, 9)


def test_all_too_cloudy_names_the_clearest(api: FakeApi) -> None:
    api.items = [make_item(f"c{k}", clouds=23.0 + k).to_dict(include_self_link=False) for k in range(12)]
    message = (
        r"^12 made items found in Fake around 45\.50°N 10\.50°E, all cloudier than 20%: raise "
        r"--max-cloud-cover \(the clearest has 23%\)\.$"
    )
    with pytest.raises(CoverageError, match=message):
        search(AOI, catalog=catalog_at(api.url), collection="made", datetime=JUNE, max_cloud_cover=20)


def test_nothing_there(api: FakeApi) -> None:
    fill(api)
    with pytest.raises(
        CoverageError, match=r"^No made items found in Fake around 45\.50°S .* in 2024-06\. Widen"
    ):
        search(area(10, -46, 11, -45), catalog=catalog_at(api.url), collection="made", datetime=JUNE)


def test_filters_that_took_everything_are_named(api: FakeApi) -> None:
    api.items = [
        make_item("far", (100, 0, 101, 1)).to_dict(include_self_link=False),
        make_item("old", date="2020-01-01").to_dict(include_self_link=False),
        make_item("gray", clouds=99.0).to_dict(include_self_link=False),
    ]
    api.filters = False
    message = r"3 made items found .*, 1 elsewhere and 1 not in 2024-06 and 1 cloudier than 50%: raise"
    with pytest.raises(CoverageError, match=message):
        search(AOI, catalog=catalog_at(api.url), collection="made", datetime=JUNE, max_cloud_cover=50)
    api.items = api.items[1:2]
    with pytest.raises(CoverageError, match=r"^1 made item found in Fake .*E, not in 2024-06: widen"):
        search(AOI, catalog=catalog_at(api.url), collection="made", datetime=JUNE)


def test_more_items_than_are_read_is_said(api: FakeApi) -> None:
    fill(api, 30)
    with pytest.warns(GeosegWarning, match="Fake has more than 12 items there"):
        found = search(AOI, catalog=catalog_at(api.url), collection="made", datetime=JUNE, max_results=12)
    assert len(found) == 12


def test_malformed_items_are_left_out_and_said(api: FakeApi) -> None:
    fill(api, 3)
    api.items.append({**api.items[0], "id": "broken", "properties": {"datetime": "yesterday"}})
    with pytest.warns(GeosegWarning, match="Malformed in Fake and left out: item broken."):
        assert ids(search(AOI, catalog=catalog_at(api.url), collection="made", datetime=JUNE)) == expected(3)


def test_found_items_pickle_without_the_client(api: FakeApi) -> None:
    fill(api, 2)
    found = search(AOI, catalog=catalog_at(api.url), collection="made", datetime=JUNE)
    assert len(pickle.dumps(next(iter(found)))) < 5000
    assert all(link.rel not in ("root", "parent") for item in found for link in item.links)


# --- which collection -------------------------------------------------------------------------------


def test_a_misspelt_collection(api: FakeApi) -> None:
    fill(api)
    with pytest.raises(CatalogError, match=r"^Fake has no collection 'mad': did you mean made\?$"):
        search(AOI, catalog=catalog_at(api.url), collection="mad", datetime=JUNE)


def test_a_collection_must_be_named_where_there_are_several(api: FakeApi) -> None:
    fill(api)
    api.items.append(make_item("o", collection="other").to_dict(include_self_link=False))
    with pytest.raises(CatalogError, match="several collections; name one with --collection: made, other"):
        search(AOI, catalog=catalog_at(api.url), datetime=JUNE)


def test_a_collection_by_its_own_address(api: FakeApi) -> None:
    fill(api)
    api.items.append(make_item("o", collection="other").to_dict(include_self_link=False))
    catalog = load_catalog(f"{api.url}/collections/other")
    assert ids(search(AOI, catalog=catalog, datetime=JUNE)) == {"o"}


# --- what goes wrong --------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def test_a_dead_address_is_named_without_its_secrets() -> None:
    url = f"http://me:secret@127.0.0.1:{free_port()}/v1?key=abc"
    with pytest.raises(CatalogUnreachable) as caught:
        search(AOI, catalog=catalog_at(url), datetime=JUNE)
    text = str(caught.value)
    assert "did not answer: connection refused" in text
    assert text.endswith("--catalog sample.")
    assert "127.0.0.1" in text
    assert "secret" not in text
    assert "abc" not in text
    assert "\n" not in text


def test_an_unknown_host() -> None:
    with pytest.raises(CatalogUnreachable, match="did not answer: its name is not known here"):
        search(AOI, catalog=catalog_at("http://no-such-host.invalid/v1"), datetime=JUNE)


def test_a_server_that_stays_down(api: FakeApi) -> None:
    fill(api)
    api.failures = [503] * 50
    with pytest.raises(CatalogUnreachable, match="status 503 after several tries"):
        search(AOI, catalog=catalog_at(api.url), collection="made", datetime=JUNE)
    assert api.n_requests < 10


def test_a_refusal_says_what_the_server_said(api: FakeApi) -> None:
    fill(api)
    api.always = (400, '{"code": "BadRequest", "description": "intersects:\\n too large"}')
    with pytest.raises(
        CatalogError, match=r"^Fake at .* refused the request with 400: intersects: too large$"
    ):
        search(AOI, catalog=catalog_at(api.url), collection="made", datetime=JUNE)


@pytest.mark.parametrize(
    "body", ["<html>hello</html>", "[1, 2", '{"features": [17]}', '{"features": 3}', "null"]
)
def test_answers_that_are_not_stac(api: FakeApi, body: str) -> None:
    fill(api)
    api.always = (200, body)
    with pytest.raises(CatalogError, match="is not STAC"):
        search(AOI, catalog=catalog_at(api.url), collection="made", datetime=JUNE)


def test_a_missing_page_is_refused(api: FakeApi) -> None:
    api.failures = [404]
    with pytest.raises(CatalogError, match="refused the request with 404: come back later"):
        search(AOI, catalog=catalog_at(api.url), datetime=JUNE)


# --- detailed areas ---------------------------------------------------------------------------------


def test_a_detailed_area_is_sent_plainer_and_still_met_exactly(api: FakeApi) -> None:
    ring = (
        shapely.Point(10, 45)
        .buffer(2, quad_segs=1000)
        .difference(shapely.Point(10, 45).buffer(1, quad_segs=1000))
    )
    api.items = [
        make_item("hole", (9.9, 44.9, 10.1, 45.1)).to_dict(include_self_link=False),
        make_item("ring", (11.4, 44.9, 11.6, 45.1)).to_dict(include_self_link=False),
    ]
    found = search(Geometry(ring, "EPSG:4326"), catalog=catalog_at(api.url), collection="made", datetime=JUNE)
    assert ids(found) == {"ring"}
    assert shapely.get_num_coordinates(shapely.geometry.shape(api.searches[0]["intersects"])) <= 500


@pytest.mark.parametrize("where", [0, 60, 179.5])
def test_the_plainer_area_holds_the_area(where: float) -> None:
    blob = shapely.union_all([shapely.Point(where + d, d).buffer(0.3, quad_segs=400) for d in (-1, 0, 0.4)])
    west, east = shapely.box(-180, -90, 180, 90), shapely.box(180, -90, 540, 90)
    beyond = shapely.transform(blob.intersection(east), lambda xy: xy - [360, 0])
    aoi = shapely.union_all([blob.intersection(west), beyond])
    plain = lighter(aoi)
    assert plain.buffer(1e-9).covers(aoi)
    assert shapely.get_num_coordinates(plain) <= 500
    assert plain.area < 6 * aoi.area


def test_an_area_on_both_sides_of_the_antimeridian(api: FakeApi) -> None:
    halves = shapely.MultiPolygon([shapely.box(179, 0, 180, 1), shapely.box(-180, 0, -179, 1)])
    api.items = [
        make_item("west", (178.5, -1, 179.9, 2)).to_dict(include_self_link=False),
        make_item("east", (-180, -1, -178, 2)).to_dict(include_self_link=False),
        make_item("greenwich", (-1, -1, 1, 2)).to_dict(include_self_link=False),
    ]
    aoi = Geometry(halves, "EPSG:4326")
    found = search(aoi, catalog=catalog_at(api.url), collection="made", datetime=JUNE)
    assert ids(found) == {"west", "east"}
    assert select_items(found, aoi, min_coverage=0.9).share == pytest.approx(0.95, abs=1e-3)
