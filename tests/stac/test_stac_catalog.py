"""Catalog files, addresses, and what an item says of itself."""

import subprocess
import sys
from pathlib import Path

import pystac
import pytest
from stac_fakes import make_item

from geoseg.errors import CatalogError
from geoseg.resources import resource_folder
from geoseg.stac.catalog import Catalog, collection_config, list_catalogs, load_catalog
from geoseg.stac.metadata import COMMON_NAMES, declared_scaling, describe_item

NAMES = ["cdse", "earth-search", "hls", "planetary-computer", "sample"]
TIFF = "image/tiff; application=geotiff"


def test_the_shipped_catalogs_are_listed_by_name() -> None:
    assert [catalog.name for catalog in list_catalogs()] == sorted(p.stem for p in _tomls())
    assert set(NAMES) <= {catalog.name for catalog in list_catalogs()}


def _tomls() -> list[Path]:
    return list(resource_folder("catalogs").glob("*.toml"))


@pytest.mark.parametrize("catalog", list_catalogs(), ids=lambda c: c.name)
def test_shipped_catalogs_are_complete(catalog: Catalog) -> None:
    assert catalog.title
    assert catalog.attribution
    for name, config in catalog.collections.items():
        assert config.title, name
        assert config.gsd_m, name
        assert set(config.bands) <= COMMON_NAMES, name
        is_landscape = config.sensor == "optical" and not config.caution
        assert (config.clouds is not None) == is_landscape, name
        assert (config.max_cloud_cover is not None) == is_landscape, name
        for band in config.bands.values():
            assert band.dtype, name
            assert band.gsd_m, name
            assert is_landscape == (band.scale is not None), name
    if catalog.url.startswith("/"):
        assert Path(catalog.url).parent.parent == resource_folder("catalogs")


def test_what_the_issue_names_is_there() -> None:
    earth = load_catalog("earth-search")
    assert earth.default_collection == "sentinel-2-l2a"
    wanted = {
        "sentinel-2-l2a",
        "sentinel-2-c1-l2a",
        "landsat-c2-l2",
        "naip",
        "sentinel-1-grd",
        "cop-dem-glo-30",
    }
    assert wanted <= set(earth.collections)
    microsoft = load_catalog("planetary-computer")
    assert microsoft.signing == "planetary-computer"
    assert wanted - {"sentinel-2-c1-l2a"} | {"hls2-l30", "hls2-s30"} <= set(microsoft.collections)
    assert {c for c, config in earth.collections.items() if config.boa_offset} == {
        "sentinel-2-l2a",
        "sentinel-2-c1-l2a",
    }
    assert earth.collections["naip"].bands["nir"].index == 4


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("url = ", r"^mine\.toml is not TOML: .* See catalogs/README\.md\.$"),
        ('title = "x"', r"^mine\.toml: url: Field required\."),
        ('title = "x"\nurl = "u"\ncolour = 1', r"^mine\.toml: colour: Extra inputs are not permitted\."),
        (
            'title = "x"\nurl = "u"\n[collections.a]\ngsd_m = 1',
            r"^mine\.toml: collections\.a\.bands: Field required",
        ),
        ('title = "x"\nurl = "u"\n[collections.a.bands]\nred = 4', r"collections\.a\.bands\.red"),
        ('title = "x"\nurl = "u"\n[collections.a.bands]\nred = {asset="r", scale="x"}', r"bands\.red\.scale"),
        (
            'title = "x"\nurl = "u"\n[collections.a]\nbands = {red="r"}\nclouds = {asset="q"}',
            r"collections\.a\.clouds: .* values .* or bits",
        ),
        (
            'title = "x"\nurl = "u"\ndefault_collection = "aa"\n[collections.aaa]\nbands = {red="r"}',
            r"default_collection 'aa': did you mean aaa\?",
        ),
    ],
)
def test_malformed_catalog_files(content: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(content)
    with pytest.raises(CatalogError, match=says) as caught:
        load_catalog(str(tmp_path / "mine.toml"))
    assert "\n" not in str(caught.value)


def test_a_catalog_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        """
        title = "Mine"
        url = "../data/catalog.json"
        [collections.drone]
        scale = 0.01
        nodata = 0
        [collections.drone.bands]
        red = "rgb"
        green = { asset = "rgb", index = 2, nodata = 255 }
        """
    )
    catalog = load_catalog(str(tmp_path / "mine.toml"))
    assert catalog.name == "mine"
    assert catalog.url == str(tmp_path.parent / "data/catalog.json")
    red, green = (catalog.collections["drone"].bands[name] for name in ("red", "green"))
    assert (red.asset, red.index, red.scale, red.nodata) == ("rgb", 1, 0.01, 0)
    assert (green.asset, green.index, green.scale, green.nodata) == ("rgb", 2, 0.01, 255)


def test_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_catalog("https://host.example/stac").url == "https://host.example/stac"
    assert load_catalog(str(tmp_path)).url == str(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hls").mkdir()
    assert load_catalog("hls").title == "NASA HLS"  # a folder of that name does not hide the catalog
    assert load_catalog("./hls").url == str(tmp_path / "hls")
    with pytest.raises(
        CatalogError, match=r"^No catalog 'earth-serch': did you mean earth-search\? Give a name"
    ):
        load_catalog("earth-serch")


def test_importing_the_catalog_is_quick() -> None:
    """``geoseg catalogs`` and ``--help`` must not wait for the network libraries."""
    slow = "{'pystac_client', 'shapely', 'requests', 'torch'}"
    code = f"import sys, geoseg.stac.catalog; print({slow} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- what items say of themselves -------------------------------------------------------------------


def item_with(collection: str = "strange", **assets: pystac.Asset) -> pystac.Item:
    item = make_item("i", collection=collection)
    item.assets = dict(assets)
    return item


def asset(
    media_type: str = TIFF, href: str = "x.tif", roles: list[str] | None = None, **fields: object
) -> pystac.Asset:
    return pystac.Asset(href, media_type=media_type, roles=roles or ["data"], extra_fields=fields)


def test_stac_1_0_and_1_1_say_the_same() -> None:
    old = item_with(
        a=asset(
            **{
                "eo:bands": [{"common_name": "red"}, {"common_name": "nir08"}],
                "raster:bands": [{"scale": 0.1, "nodata": 0}, {"offset": -0.2, "data_type": "int16"}],
            }
        )
    )
    new = item_with(
        a=asset(
            bands=[
                {"eo:common_name": "red", "raster:scale": 0.1, "nodata": 0},
                {"eo:common_name": "nir08", "raster:offset": -0.2, "data_type": "int16"},
            ]
        )
    )
    assert describe_item(old) == describe_item(new)
    assert describe_item(old)["bands"]["red"] == {"asset": "a", "index": 1, "scale": 0.1, "nodata": 0}
    assert declared_scaling(new, "a", 2) == {"offset": -0.2, "dtype": "int16"}
    assert declared_scaling(new, "a", 3) == {}
    config = collection_config(load_catalog("https://host.example"), new)
    assert (config.bands["nir08"].index, config.bands["nir08"].offset) == (2, -0.2)
    assert config.max_cloud_cover == 80


def test_the_best_of_several_assets_wins() -> None:
    red = {"eo:bands": [{"common_name": "red"}]}
    rgb = {"eo:bands": [{"common_name": c} for c in ("red", "green", "blue")]}
    item = item_with(
        visual=asset(roles=["visual"], **rgb),
        three=asset(**rgb),
        red_jp2=asset("image/jp2", gsd=10, **red),
        red_20m=asset(gsd=20, **red),
        red_10m=asset(gsd=10, **red),
        thumbnail=asset("image/jpeg", "t.jpg", roles=["thumbnail"], **rgb),
    )
    config = collection_config(load_catalog("https://host.example"), item)
    assert config.bands["red"].asset == "red_10m"
    assert (config.bands["blue"].asset, config.bands["blue"].index) == ("three", 3)
    assert config.gsd_m == 10


def test_red_edges_are_told_apart_by_wavelength() -> None:
    centres = {"B05": 0.704, "B06": 0.74, "B07": 0.783, "B8A": 0.865}
    item = item_with(
        **{
            key: asset(**{"eo:bands": [{"common_name": "rededge", "center_wavelength": centre}]})
            for key, centre in centres.items()
        }
    )
    found = {name: band["asset"] for name, band in describe_item(item)["bands"].items()}
    assert found == {"rededge071": "B05", "rededge075": "B06", "rededge078": "B07", "nir08": "B8A"}


@pytest.mark.parametrize(
    ("keys", "properties", "sensor"),
    [
        (["vv", "vh"], {}, "sar"),
        (["red"], {"sar:instrument_mode": "IW"}, "sar"),
        (["elevation"], {}, "dem"),
        (["dem"], {}, "dem"),
        (["red", "nir"], {}, "optical"),
    ],
)
def test_sensors_are_recognised(keys: list[str], properties: dict[str, str], sensor: str) -> None:
    item = item_with(**{key: asset() for key in keys})
    item.properties |= properties
    assert describe_item(item)["sensor"] == sensor


def test_sentinel2_numbers_are_known_for_sentinel2_only() -> None:
    item = item_with(B04=asset(), B8A=asset())
    with pytest.raises(
        CatalogError, match=r"^Item i of collection strange does not say .* \(assets: B04, B8A\)"
    ):
        describe_item(item)
    item.properties["constellation"] = "sentinel-2"
    assert {n: b["asset"] for n, b in describe_item(item)["bands"].items()} == {"red": "B04", "nir08": "B8A"}


def test_a_shipped_catalog_speaks_for_items_with_its_assets() -> None:
    anywhere = load_catalog("https://host.example")
    keys = [band.asset for band in load_catalog("earth-search").collections["landsat-c2-l2"].bands.values()]
    landsat7 = item_with("landsat-c2-l2", **{key: asset() for key in [*keys, "qa_pixel"] if key != "coastal"})
    config = collection_config(anywhere, landsat7)
    assert config.offset == -0.2
    assert config.clouds is not None
    assert set(config.bands) == {"blue", "green", "red", "nir08", "swir16", "swir22"}
    cloudless = item_with("landsat-c2-l2", **{key: asset() for key in keys})
    assert collection_config(anywhere, cloudless).clouds is None  # no qa_pixel: not that catalog's item
    microsoft = load_catalog("planetary-computer")
    assert collection_config(microsoft, landsat7) is microsoft.collections["landsat-c2-l2"]
