"""Searches on a real STAC API give what a filter on all its items gives; and the main job runs from it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import shapely
from odc.geo.geom import Geometry
from shapely.geometry import mapping, shape

from geoseg.errors import CatalogError, CoverageError
from geoseg.stac import api
from geoseg.stac.catalog import load_catalog
from geoseg.stac.items import search
from lanes.conftest import SAMPLE
from lanes.nginx import Nginx
from lanes.pgstac import Document, Pgstac, pgstac
from lanes.services import free_ports, geoseg, one_line, rasters

pytestmark = pytest.mark.lane

CLOUDS = (3, 8, 12, 20, 100, 9.5, 45, 19.99, 20.01)
"""As text "100" < "20" < "3" < "8": a comparison of texts goes wrong with each of them."""
N_ITEMS = 360
FIRST = datetime(2020, 1, 1, 13, 0, tzinfo=UTC)
TYPED, UNTYPED, OLINDA = "typed", "untyped", "olinda"


@pytest.fixture(scope="module")
def server(site: Nginx, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pgstac]:
    """An API with the same items in a collection whose cloud cover is declared a number, and in one without."""
    folder = tmp_path_factory.mktemp("pgstac")
    with pgstac(folder) as running:
        running.load("collections", [_collection(name) for name in (TYPED, UNTYPED, OLINDA)])
        many = [item for name in (TYPED, UNTYPED) for item in made_items(name)]
        running.load("items", many + olinda_items(site))
        running.declare(TYPED, {"eo:cloud_cover": {"type": "number"}})
        yield running


WEST, SOUTH, EAST, NORTH = -35.2, -8.2, -34.6, -7.7
AOIS = {
    "all": shapely.box(WEST - 1, SOUTH - 1, EAST + 1, NORTH + 1),
    "corner": shapely.box(-34.95, -8.05, -34.8, -7.9),
    "thin": shapely.Polygon([(-35.2, -8.2), (-35.19, -8.2), (-34.6, -7.7), (-34.61, -7.7)]),
    "with a hole": shapely.box(-35.3, -8.3, -34.5, -7.6).difference(
        shapely.box(-35.15, -8.15, -34.65, -7.75)
    ),
}


@pytest.mark.parametrize("collection", [TYPED, UNTYPED])
@pytest.mark.parametrize("aoi", AOIS)
@pytest.mark.parametrize(
    ("dates", "max_clouds"),
    [("2020/2023", 20), ("2020-03/2020-08", 9.5), ("2020-01-01/..", 100), ("2021", 8)],
)
def test_search_gives_what_a_filter_gives(
    server: Pgstac, collection: str, aoi: str, dates: str, max_clouds: float
) -> None:
    wanted = expected(collection, AOIS[aoi], dates, max_clouds)
    assert 0 < len(wanted) < N_ITEMS or (aoi, max_clouds) == ("all", 100)
    assert found(server, collection, AOIS[aoi], dates, max_clouds) == wanted


def test_many_pages_are_read(server: Pgstac, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "PAGE_SIZE", 7)
    wanted = expected(TYPED, AOIS["all"], "2020/2023", 20)
    before = server.n_searches()
    assert found(server, TYPED, AOIS["all"], "2020/2023", 20) == wanted
    assert server.n_searches() - before == -(-len(wanted) // 7)


def test_numbers_that_are_sent_as_text_lose_items(server: Pgstac) -> None:
    """The trap: the same server, asked with text, is silent about items that it has."""
    right = expected(UNTYPED, AOIS["all"], "2020/2023", 20)
    text = {"collections": [UNTYPED], "query": {"eo:cloud_cover": {"lte": "20"}}, "limit": 1000}
    wrong = {item["id"] for item in server.post(text)["features"]}
    assert wrong != right
    assert right - wrong
    assert found(server, UNTYPED, AOIS["all"], "2020/2023", 20) == right


def test_nothing_is_said_with_what_would_be_there(server: Pgstac) -> None:
    with pytest.raises(CoverageError, match=r"^360 .* cloudier than 1%.* \(the clearest has 3%\)"):
        found(server, TYPED, AOIS["all"], "2020/2023", 1)
    with pytest.raises(CatalogError, match="no collection 'typd': did you mean typed"):
        found(server, "typd", AOIS["all"], "2020", 20)
    with pytest.raises(CatalogError, match="several collections"):
        search(_geometry(AOIS["all"]), catalog=load_catalog(server.url), datetime="2020")


def test_the_main_job_runs_from_the_api(server: Pgstac, tmp_path: Path) -> None:
    common = ["predict", "-q", "--model", "spectral-rules", "--aoi", SAMPLE / "area.geojson"]
    from_api = [
        "--catalog",
        server.url,
        "--collection",
        OLINDA,
        "--datetime",
        "2001",
        "--max-cloud-cover",
        "20",
    ]
    made = geoseg(*common, *from_api, "--out", tmp_path / "api")
    assert (made.code, made.stderr) == (0, "")
    alone = geoseg(*common, "--catalog", "sample", "--out", tmp_path / "sample")
    assert (alone.code, alone.stderr) == (0, "")
    # Twice the same scene under two names: their median is the scene.
    assert rasters(tmp_path / "api") == rasters(tmp_path / "sample")
    report = json.loads((tmp_path / "api" / "report.json").read_text())
    assert sorted(item["id"] for item in report["items"]) == ["clear", "hazy"]


def test_an_api_that_is_gone_is_one_line(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    ran = geoseg(
        "predict",
        "-q",
        "--model",
        "spectral-rules",
        "--aoi",
        SAMPLE / "area.geojson",
        "--catalog",
        url,
        "--out",
        tmp_path / "map",
    )
    assert ran.code == 2
    assert f"{url} did not answer" in one_line(ran.stderr)
    assert "--catalog sample" in ran.stderr
    assert ran.seconds < 40
    assert not list(tmp_path.iterdir())


def found(server: Pgstac, collection: str, aoi: Any, dates: str, max_clouds: float) -> set[str]:
    """Ids that geoseg's search gives; each once."""
    items = search(
        _geometry(aoi),
        catalog=load_catalog(server.url),
        collection=collection,
        datetime=dates,
        max_cloud_cover=max_clouds,
    )
    ids = [item.id for item in items]
    assert len(ids) == len(set(ids))
    return set(ids)


def expected(collection: str, aoi: Any, dates: str, max_clouds: float) -> set[str]:
    """Ids by a filter written out here, over all items that were loaded."""
    first, _, last = dates.partition("/")
    last = "9999" if last == ".." else last or first
    return {
        item["id"]
        for item in made_items(collection)
        if shape(item["geometry"]).intersects(aoi)
        and item["properties"]["eo:cloud_cover"] <= max_clouds
        and first <= item["properties"]["datetime"][: len(first)]
        and item["properties"]["datetime"][: len(last)] <= last
    }


def made_items(collection: str) -> list[Document]:
    """The sample's item again and again: other ids, dates, clouds, and footprints shifted over the land."""
    items = []
    for i in range(N_ITEMS):
        dx, dy = (i * 7 % 31) / 31 * (EAST - WEST), (i * 11 % 29) / 29 * (NORTH - SOUTH)
        ground = shapely.box(WEST + dx - 0.04, SOUTH + dy - 0.03, WEST + dx + 0.04, SOUTH + dy + 0.03)
        when = FIRST + timedelta(days=i * 1391 % 1200, hours=i % 24)
        items.append(_item(f"{collection}-{i:03}", collection, ground, when, CLOUDS[i % len(CLOUDS)], {}))
    return items


def olinda_items(site: Nginx) -> list[Document]:
    """The sample's scene under three names, its files on the web server; one is too cloudy to be taken."""
    source = json.loads((SAMPLE / "landsat7-olinda/l7-etm-olinda/item.json").read_text())
    for asset in source["assets"].values():
        path = f"sample/landsat7-olinda/l7-etm-olinda/{asset['href'].removeprefix('./')}"
        asset["href"] = site.url("good", path)
    ground, when = shape(source["geometry"]), datetime(2001, 8, 4, tzinfo=UTC)
    return [
        _item(name, OLINDA, ground, when + timedelta(days=clouds), clouds, source)
        for name, clouds in (("clear", 3), ("hazy", 12), ("overcast", 100))
    ]


def _item(
    name: str, collection: str, ground: Any, when: datetime, clouds: float, source: Document
) -> Document:
    properties = {**source.get("properties", {})}
    for key in ("start_datetime", "end_datetime"):
        properties.pop(key, None)
    properties |= {"datetime": when.strftime("%Y-%m-%dT%H:%M:%SZ"), "eo:cloud_cover": clouds}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": source.get("stac_extensions", []),
        "id": name,
        "collection": collection,
        "geometry": mapping(ground),
        "bbox": list(ground.bounds),
        "properties": properties,
        "links": [],
        "assets": source.get("assets") or {"red": {"href": "https://example.org/red.tif"}},
    }


def _collection(name: str) -> Document:
    extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}}
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": name,
        "description": name,
        "license": "other",
        "extent": extent,
        "links": [],
    }


def _geometry(ground: Any) -> Geometry:
    return Geometry(ground, "EPSG:4326")
