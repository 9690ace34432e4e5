"""Real items and recorded answers of public catalogs (../shared/data/stac)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stac_fakes import SHARED, area, serve

from geoseg.errors import CatalogError
from geoseg.stac.catalog import collection_config, load_catalog
from geoseg.stac.items import search, select_items

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data/stac is not on this machine")

WORLD = area(-180, -90, 180, 90)
FILES = sorted(SHARED.glob("**/*json")) if SHARED.is_dir() else []
ITEM_FILES = [path for path in FILES if "collection.json" not in path.name or "item" in path.name]
SPEECHLESS = {
    "ga_ls8c_ard_3-1-0_088080_2020-05-25_final.stac-item.json",
    "only_crs_proj.json",
    "feature.geojson",
    "index.geojson",
    "sample-item-collection.json",
}
"""Files whose items name no band that has a common name."""


@pytest.mark.parametrize("path", ITEM_FILES, ids=lambda p: p.name)
def test_every_item_is_read_and_described(path: Path) -> None:
    catalog = load_catalog(str(path))
    document = json.loads(path.read_text())
    found = list(search(WORLD, catalog=catalog, datetime="../.."))
    assert len(found) == len(document.get("features", [document]))
    for item in found:
        if path.name in SPEECHLESS:
            with pytest.raises(CatalogError, match="does not say what its bands are"):
                collection_config(catalog, item)
        else:
            config = collection_config(catalog, item)
            assert all(band.asset in item.assets for band in config.bands.values())
            assert {"red", "elevation", "coastal"} & set(config.bands)
        assert all(a.href.startswith(("http", "/", "s3://", "abfs")) for a in item.assets.values())


def test_planetary_computers_sentinel2_is_recognised_by_its_assets() -> None:
    path = SHARED / "odc_stac/S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531.json"
    item = next(iter(search(WORLD, catalog=load_catalog(str(path)), datetime="2019")))
    expected = load_catalog("planetary-computer").collections["sentinel-2-l2a"]
    assert collection_config(load_catalog(str(path)), item).bands == expected.bands


def test_the_first_cog_archive_names_its_bands_by_number() -> None:
    path = SHARED / "odc_stac/S2A_28QCH_20200714_0_L2A.json"
    item = next(iter(search(WORLD, catalog=load_catalog(str(path)), datetime="2020-07")))
    bands = collection_config(load_catalog(str(path)), item).bands
    assert (bands["nir08"].asset, bands["rededge078"].asset, bands["blue"].asset) == ("B8A", "B07", "B02")


def test_one_tile_over_two_months() -> None:
    catalog = load_catalog(str(SHARED / "odc_stac/site2-2020_jun_jul-35MNM.geojson"))
    found = search(WORLD, catalog=catalog, datetime="2020-06/2020-07")
    assert len(found) == 13
    west, south, east, north = next(iter(found)).bbox or []
    aoi = area(west + 0.3, south + 0.3, west + 0.4, south + 0.4)
    selected = select_items(search(aoi, catalog=catalog, datetime="2020-06/2020-07"), aoi, per_place=3)
    assert selected.depth_min == 3
    clouds = [item.properties["eo:cloud_cover"] for item in selected.items]
    assert clouds == sorted(clouds)
    assert east > west
    assert north > south


EMPTY = '{"type": "FeatureCollection", "features": [], "links": []}'

# --- recorded answers -------------------------------------------------------------------------------


def recorded(name: str) -> list[dict[str, Any]]:
    yaml = pytest.importorskip("yaml")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return list(yaml.load((SHARED / "pystac_client" / name).read_text(), Loader=loader)["interactions"])


@pytest.fixture
def planetary_computer() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The recorded landing page, and the two recorded pages of NAIP over Vermont."""
    landing = recorded("test_fallback_strategy.yaml")[0]["response"]["body"]["string"]
    pages = recorded("TestItemSearch.test_result_paging.yaml")
    asked: list[dict[str, Any]] = []

    def answer(path: str, body: dict[str, Any] | None) -> tuple[int, str]:
        text = landing
        if body is not None:
            asked.append(body)
            tokens = [json.loads(page["request"]["body"]).get("token") for page in pages]
            known = body.get("token") in tokens
            text = pages[tokens.index(body.get("token"))]["response"]["body"]["string"] if known else EMPTY
        return 200, text.replace("https://planetarycomputer.microsoft.com", base)

    server = serve(answer)
    base = f"http://127.0.0.1:{server.server_port}"
    yield f"{base}/api/stac/v1/", asked
    server.shutdown()
    server.server_close()


@pytest.mark.filterwarnings("ignore:NAIP of Planetary Computer")
def test_the_recorded_planetary_computer(planetary_computer: tuple[str, list[dict[str, Any]]]) -> None:
    url, asked = planetary_computer
    pages = recorded("TestItemSearch.test_result_paging.yaml")
    bodies = [json.loads(page["response"]["body"]["string"]) for page in pages]
    everything = [item["id"] for body in bodies for item in body["features"]]
    catalog = load_catalog("planetary-computer").model_copy(update={"url": url})
    aoi = area(-73.21, 43.99, -73.12, 44.05)
    found = search(aoi, catalog=catalog, collection="naip", datetime="2003/2030")
    assert {item.id for item in found} == set(everything)
    assert len(asked) == 3  # the recording ends before the server does
    assert "query" not in asked[0]  # NAIP says no cloud cover
    assert len(search(aoi, catalog=catalog, collection="naip", datetime="2021/2023")) < len(set(everything))
    selected = select_items(found, aoi, per_place=1)
    assert selected.share == pytest.approx(1)
    newest = max(item.datetime for item in found if item.datetime)
    assert any(item.datetime == newest for item in selected.items)
    assert collection_config(catalog, next(iter(found))).bands["nir"].index == 4
