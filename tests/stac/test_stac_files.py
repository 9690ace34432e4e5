"""``search`` in static catalogs, item collections, folders and stac-geoparquet."""

import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pystac
import pytest
import shapely
from stac_fakes import area, make_item, serve

from geoseg.aoi import read_aoi
from geoseg.errors import CatalogError, CoverageError
from geoseg.resources import resource_folder
from geoseg.stac.catalog import collection_config, load_catalog
from geoseg.stac.items import search, select_items

AOI = area(10, 45, 11, 46)
DATE_LINE = shapely.MultiPolygon([shapely.box(179, 45, 180, 46), shapely.box(-180, 45, -179, 46)])


def some_items() -> list[pystac.Item]:
    return [
        make_item("clear", clouds=1.0),
        make_item("hazy", clouds=40.0),
        make_item("far", (100, 45, 101, 46)),
        make_item("old", date="2019-06-15"),
        make_item("date_line", (179, 45, -179, 46), geometry=shapely.geometry.mapping(DATE_LINE)),
    ]


def dumped(item: pystac.Item) -> dict[str, Any]:
    return item.to_dict(include_self_link=False)


def write(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def static_catalog(folder: Path) -> Path:
    """Catalog, two collections and a nested catalog; the collection elsewhere holds a broken item."""

    def links(*hrefs: str, rel: str = "child") -> list[dict[str, str]]:
        return [{"rel": rel, "href": href} for href in hrefs] + [{"rel": "root", "href": "../catalog.json"}]

    base = {"stac_version": "1.0.0", "description": "made"}
    write(
        folder / "catalog.json",
        {
            **base,
            "type": "Catalog",
            "id": "root",
            "links": links("here/collection.json", "there/collection.json"),
        },
    )
    extent = {"spatial": {"bbox": [[-180, -90, 0, 180, 90, 100]]}, "temporal": {"interval": [[None, None]]}}
    collection = {**base, "type": "Collection", "license": "other", "extent": extent}
    write(
        folder / "here/collection.json",
        {**collection, "id": "made", "links": links("deep/catalog.json", "../catalog.json")},
    )
    names = [item.id for item in some_items()]
    items = links(*[f"../items/{name}/{name}.json" for name in names], rel="item")
    write(folder / "here/deep/catalog.json", {**base, "type": "Catalog", "id": "deep", "links": items})
    for item in some_items():
        write(folder / f"here/items/{item.id}/{item.id}.json", dumped(item))
    extent = {"spatial": {"bbox": [[170, -90, -170, 90]]}, "temporal": {"interval": [[None, None]]}}
    write(
        folder / "there/collection.json",
        {**collection, "id": "pacific", "extent": extent, "links": links("broken.json", rel="item")},
    )
    (folder / "there/broken.json").write_text("{")
    return folder / "catalog.json"


def as_table(folder: Path) -> Path:
    from stac_geoparquet.arrow import parse_stac_items_to_arrow, to_parquet

    path = folder / "items.parquet"
    to_parquet(parse_stac_items_to_arrow([dumped(item) for item in some_items()]), str(path))
    return path


def as_folder_of_items(folder: Path) -> Path:
    for item in some_items():
        write(folder / f"{item.id}.json", dumped(item))
    return folder


FORMS = {
    "static catalog": static_catalog,
    "folder of a static catalog": lambda folder: static_catalog(folder).parent,
    "collection of a static catalog": lambda folder: static_catalog(folder).parent / "here/collection.json",
    "feature collection": lambda folder: write(
        folder / "items.geojson", {"type": "FeatureCollection", "features": [dumped(i) for i in some_items()]}
    ),
    "list of items": lambda folder: write(folder / "items.json", [dumped(i) for i in some_items()]),
    "folder of items": as_folder_of_items,
    "stac-geoparquet": as_table,
    "folder of stac-geoparquet": lambda folder: as_table(folder).parent,
}


@pytest.fixture(params=["local", "http"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and how to name it: by path or by URL."""
    if request.param == "local":
        yield tmp_path, str(tmp_path)
        return
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.func.log_message = lambda *args: None  # type: ignore[attr-defined]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield tmp_path, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_items(form: str, place: tuple[Path, str]) -> None:
    folder, base = place
    path = FORMS[form](folder)
    if base.startswith("http") and path.is_dir():
        pytest.skip("a folder has no address on the web")
    catalog = load_catalog(f"{base}/{path.relative_to(folder)}")
    found = search(AOI, catalog=catalog, datetime="2024-06", max_cloud_cover=30)
    assert [(item.id, item.collection_id, item.properties["eo:cloud_cover"]) for item in found] == [
        ("clear", "made", 1.0)
    ]
    href = next(iter(found)).assets["red"].href
    assert href.startswith(base)
    assert href.endswith("/clear.tif")
    if "static" in form:
        assert href == f"{base}/here/items/clear/clear.tif"


@pytest.mark.parametrize("form", ["static catalog", "feature collection", "stac-geoparquet"])
def test_items_across_the_antimeridian_are_found(form: str, tmp_path: Path) -> None:
    if form == "static catalog":
        static_catalog(tmp_path)
        shutil.rmtree(tmp_path / "there")
        (tmp_path / "there").mkdir()
        write(
            tmp_path / "there/collection.json",
            {"type": "Catalog", "id": "x", "stac_version": "1.0.0", "links": []},
        )
        path = tmp_path / "catalog.json"
    else:
        path = FORMS[form](tmp_path)
    found = search(area(-179.9, 45.1, -179.5, 45.9), catalog=load_catalog(str(path)), datetime="2024-06")
    assert [item.id for item in found] == ["date_line"]


def test_the_sample_is_found_by_its_area_alone() -> None:
    catalog = load_catalog("sample")
    folder = resource_folder("catalogs") / "sample"
    if not (folder / "area.geojson").is_file():
        pytest.skip("catalogs/sample is not made yet")
    aoi = read_aoi(str(folder / "area.geojson"))
    found = search(aoi, catalog=catalog, datetime="../..")
    assert select_items(found, aoi).share == pytest.approx(1)
    config = collection_config(catalog, next(iter(found)))
    assert list(config.bands) == ["blue", "green", "red", "nir08", "swir16", "swir22"]
    assert all(band.scale and band.offset for band in config.bands.values())


def test_branches_elsewhere_are_not_read(tmp_path: Path) -> None:
    path = static_catalog(tmp_path)
    assert len(search(AOI, catalog=load_catalog(str(path)), datetime="2024-06")) == 2
    with pytest.raises(CatalogError, match=r"broken\.json is not STAC"):
        search(area(175, 0, 176, 1), catalog=load_catalog(str(path)), datetime="2024-06")


def test_other_collections_are_not_read(tmp_path: Path) -> None:
    path = static_catalog(tmp_path)
    with pytest.raises(CoverageError, match=r"5 made items found .*, all elsewhere: check that the area"):
        search(
            area(-179, -80, -178, -79), catalog=load_catalog(str(path)), collection="made", datetime="2024-06"
        )


def test_a_self_link_says_where_an_items_assets_are(tmp_path: Path) -> None:
    item = dumped(make_item("a"))
    item["links"] = [{"rel": "self", "href": "https://host.example/deep/a.json?sig=1"}]
    collected = write(tmp_path / "items.json", [item])
    alone = write(tmp_path / "a.json", item)
    hrefs = [
        next(iter(search(AOI, catalog=load_catalog(str(p)), datetime="2024"))).assets["red"].href
        for p in (collected, alone)
    ]
    assert hrefs == ["https://host.example/deep/a.tif", str(tmp_path / "a.tif")]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is not STAC"),
        ('{"a": 1}', "no API, catalog, collection or item"),
        ("17", "no API, catalog, collection or item"),
        ('[{"type": "Feature"}]', "lists something that is no item"),
        (
            '{"type": "FeatureCollection", "features": [{"type": "Feature", "id": "x"}]}',
            "Malformed: item x",
        ),
        ("\x00\xff", "is not STAC"),
    ],
)
def test_files_that_are_not_stac(content: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(CatalogError, match=says) as caught:
        search(AOI, catalog=load_catalog(str(path)), datetime="2024")
    assert "\n" not in str(caught.value)


def test_a_broken_table_and_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(CatalogError, match=r"x\.parquet"):
        search(AOI, catalog=load_catalog(str(tmp_path / "x.parquet")), datetime="2024")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CatalogError, match="in the folder"):
        search(AOI, catalog=load_catalog(str(tmp_path / "empty")), datetime="2024")


def test_a_link_to_nowhere_names_the_file(tmp_path: Path) -> None:
    path = static_catalog(tmp_path)
    (tmp_path / "here/items/hazy/hazy.json").unlink()
    with pytest.raises(CatalogError, match=r"hazy\.json cannot be read: No such file"):
        search(AOI, catalog=load_catalog(str(path)), datetime="2024")


@pytest.mark.parametrize("what", ["nothing found", "nothing readable", "several collections", "found"])
def test_no_secret_of_the_address_is_said_or_logged(what: str, caplog: pytest.LogCaptureFixture) -> None:
    items = {
        "nothing found": [dumped(make_item("far", (100, 45, 101, 46)))],
        "nothing readable": [{"type": "Feature", "id": "broken"}],
        "several collections": [dumped(make_item(n, collection=n)) for n in ("a", "b")],
        "found": [dumped(make_item("here"))],
    }[what]
    answer = json.dumps({"type": "FeatureCollection", "features": items})
    server = serve(lambda path, body: (200, answer))
    host = f"127.0.0.1:{server.server_port}"
    catalog = load_catalog(f"http://u:hunter2@{host}/c.json?token=S3CR")
    caplog.set_level("INFO", logger="geoseg")
    try:
        said = json.dumps(search(AOI, catalog=catalog, datetime="2024").extra_fields)
    except (CatalogError, CoverageError) as error:
        said = str(error)
    finally:
        server.shutdown()
        server.server_close()
    assert f"http://{host}/c.json" in said
    for secret in ("hunter2", "S3CR"):
        assert secret not in said + caplog.text
