"""The embedded sample: valid, small, self-contained, plausible, and reproducible from its sources."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import geopandas as gpd
import numpy as np
import odc.stac
import pystac
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rio_cogeo import cog_validate
from shapely.geometry import shape
from stac_validation import validate_stac

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "catalogs" / "sample"
SHARED = ROOT.parent / "shared" / "data" / "imagery"
ITEMS = [
    SAMPLE / "landsat7-olinda/l7-etm-olinda/item.json",
    SAMPLE / "sentinel2-patagonia/s2-msi-patagonia/item.json",
]
LANDSAT, SENTINEL = ITEMS
ASSETS = [(path, key) for path in ITEMS for key in json.loads(path.read_text())["assets"]]


def reflectance(item_path: Path, key: str) -> np.ndarray:
    """What the item says its stored numbers mean."""
    item = pystac.Item.from_file(str(item_path))
    band = item.assets[key].extra_fields["raster:bands"][0]
    with rasterio.open(item.assets[key].get_absolute_href()) as file:
        pixels = file.read(1)
    assert not (pixels == band["nodata"]).any()
    return pixels * band["scale"] + band["offset"]


def hrefs(thing: dict[str, Any]) -> Iterator[str]:
    yield from (link["href"] for link in thing.get("links", ()))
    yield from (asset["href"] for asset in thing.get("assets", {}).values())


@pytest.mark.parametrize("path", sorted(SAMPLE.rglob("*.json")), ids=lambda p: str(p.relative_to(SAMPLE)))
def test_stac_is_valid_and_hrefs_are_relative_and_exist(path: Path) -> None:
    validate_stac(path)
    found = list(hrefs(json.loads(path.read_text())))
    assert found
    for href in found:
        assert "://" not in href, href
        assert not Path(href).is_absolute(), href
        assert (path.parent / href).resolve().is_file(), href
        assert (path.parent / href).resolve().is_relative_to(SAMPLE), href


def test_catalog_walks_to_every_item_and_every_cog() -> None:
    catalog = pystac.Catalog.from_file(str(SAMPLE / "catalog.json"))
    items = {item.id: item for item in catalog.get_items(recursive=True)}
    assert {item.collection_id for item in items.values()} == {"landsat7-olinda", "sentinel2-patagonia"}
    walked = {Path(a.get_absolute_href() or "") for item in items.values() for a in item.assets.values()}
    assert walked == set(SAMPLE.rglob("*.tif"))
    assert len(walked) == 12


def test_all_of_it_is_at_most_two_megabytes() -> None:
    files = [p for p in SAMPLE.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert sum(p.stat().st_size for p in files) <= 2_000_000


@pytest.mark.parametrize(("path", "key"), ASSETS, ids=lambda v: v if isinstance(v, str) else v.parent.name)
def test_cog_is_valid_and_says_what_its_item_says(path: Path, key: str) -> None:
    asset = json.loads(path.read_text())["assets"][key]
    cog = path.parent / asset["href"]
    is_valid, errors, warnings = cog_validate(str(cog))
    assert is_valid, errors
    assert not warnings
    band = asset["raster:bands"][0]
    with rasterio.open(cog) as file:
        assert list(file.transform)[:6] == asset["proj:transform"]
        assert list(file.shape) == asset["proj:shape"]
        assert list(file.bounds) == asset["proj:bbox"]
        assert file.crs.to_string() == asset["proj:code"]
        assert file.dtypes == (band["data_type"],)
        assert file.nodata == band["nodata"]
        assert (file.scales, file.offsets) == ((band["scale"],), (band["offset"],))
        assert file.descriptions == (key,)
        assert abs(file.transform.a) == band["spatial_resolution"]


@pytest.mark.parametrize(
    ("area", "item"), [("area.geojson", LANDSAT), ("area-patagonia.geojson", SENTINEL)], ids=["l7", "s2"]
)
def test_area_lies_inside_the_footprint_and_covers_most_of_it(area: str, item: Path) -> None:
    thing = json.loads(item.read_text())
    footprint, wanted = shape(thing["geometry"]), gpd.read_file(SAMPLE / area)
    assert wanted.crs == "EPSG:4326"
    assert wanted["name"].notna().all()
    assert footprint.contains(wanted.union_all())
    assert wanted.union_all().area > 0.7 * footprint.area
    for asset in thing["assets"].values():  # and inside the pixels of every band
        west, south, east, north = wanted.to_crs(asset["proj:code"]).total_bounds
        box = asset["proj:bbox"]
        assert box[0] <= west < east <= box[2]
        assert box[1] <= south < north <= box[3]


@pytest.mark.parametrize("path", ITEMS, ids=["l7", "s2"])
def test_odc_stac_reads_it_with_dtype_and_nodata_from_the_static_files(path: Path) -> None:
    item = pystac.Item.from_file(str(path))
    finest = next(iter(item.assets.values())).extra_fields
    inside = GeoBox(finest["proj:shape"], Affine(*finest["proj:transform"]), finest["proj:code"])
    geobox = inside.pad(7)
    data = odc.stac.load([item], bands=list(item.assets), geobox=geobox)
    for key, asset in item.assets.items():
        band = asset.extra_fields["raster:bands"][0]
        assert data[key].dtype == band["data_type"]
        assert data[key].attrs["nodata"] == band["nodata"]
        with rasterio.open(asset.get_absolute_href()) as file:
            stored = file.read(1)
        if asset.extra_fields["proj:transform"] == finest["proj:transform"]:
            np.testing.assert_array_equal(data[key].values[0, 7:-7, 7:-7], stored)
            assert (data[key].values[0, :7] == band["nodata"]).all()


def test_landsat_reflectance_is_that_of_sea_and_woods() -> None:
    red, nir, swir = (reflectance(LANDSAT, key) for key in ("red", "nir08", "swir16"))
    ndvi = (nir - red) / (nir + red)
    sea, woods = np.s_[200:340, 320:345], ndvi > 0.6
    assert 0.01 < np.median(nir[sea]) < 0.05
    assert 0.0 < np.median(swir[sea]) < 0.03
    assert np.median(ndvi[sea]) < -0.3
    assert 0.1 < woods.mean() < 0.5
    assert 0.2 < np.median(nir[woods]) < 0.4
    assert 0.03 < np.median(red[woods]) < 0.08
    blue = reflectance(LANDSAT, "blue")
    assert 0.06 < np.percentile(blue, 0.1) < 0.09  # the air above the darkest pixels
    for key in ("blue", "green", "red", "nir08", "swir16", "swir22"):
        values = reflectance(LANDSAT, key)
        assert (values > -0.02).all()
        assert np.percentile(values, 99) < 0.5


def test_sentinel_reflectance_needs_no_offset() -> None:
    floors = {key: np.percentile(reflectance(SENTINEL, key), 0.1) for key in ("blue", "green", "red")}
    assert floors["blue"] > floors["green"] > floors["red"] > 0.05  # scattering: top of atmosphere
    green = reflectance(SENTINEL, "green")
    assert ((green - 0.1) < 0).mean() > 0.03  # as baseline 04.00 data the ground would be darker than black
    for key in ("blue", "green", "red", "nir", "swir16", "swir22"):
        values = reflectance(SENTINEL, key)
        assert values.min() > 0.05
        assert values.max() < 0.6


@pytest.fixture
def make_sample(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_sample", SAMPLE / "make_sample.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "make_sample", module)
    spec.loader.exec_module(module)
    return module


def test_make_sample_gives_the_same_pixels_and_items(make_sample: ModuleType, tmp_path: Path) -> None:
    landsat, sentinel = SHARED / "landsat7_stars_olinda", SHARED / "xrspatial_s2_multires"
    if not (landsat.is_dir() and sentinel.is_dir()):
        pytest.skip("the source files are not in ../shared/data/imagery")
    make_sample.make(landsat, sentinel, tmp_path)
    made = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    assert {p.suffix for p in made} == {".json", ".tif"}
    assert [p for p in made if p.suffix == ".tif"] == sorted(
        p.relative_to(SAMPLE) for p in SAMPLE.rglob("*.tif")
    )
    for path in made:
        if path.suffix == ".json":
            assert json.loads((tmp_path / path).read_text()) == json.loads((SAMPLE / path).read_text()), path
            continue
        with rasterio.open(tmp_path / path) as new, rasterio.open(SAMPLE / path) as old:
            assert new.read().tobytes() == old.read().tobytes(), path
            assert new.profile == old.profile, path


def test_make_sample_refuses_another_file(make_sample: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "L7_ETMs.tif").write_bytes(b"something else")
    with pytest.raises(SystemExit, match=r"L7_ETMs\.tif has sha256 .*, expected 3b722bf4"):
        make_sample.make(tmp_path, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_attribution_states_the_constants_that_the_items_carry() -> None:
    text = (SAMPLE / "ATTRIBUTION.md").read_text()
    for asset in json.loads(LANDSAT.read_text())["assets"].values():
        band = asset["raster:bands"][0]
        assert f"| {band['scale']} | {band['offset']} |" in text
    for phrase in ("Contains modified Copernicus Sentinel data", "Apache-2.0", "MIT", "Geological Survey"):
        assert phrase in text
