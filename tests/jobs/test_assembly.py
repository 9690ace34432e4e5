"""What a map is put together as: sheets, sets of polygons, collections that are searched; true hectares."""

import json
import threading
import time
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pystac
import pytest
import rasterio
import shapely
from builders import Said, geobox_at, smooth, write_image
from commands import geoseg
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from stac_validation import validate_stac

from geoseg.aoi import read_aoi
from geoseg.errors import OutputError
from geoseg.evaluation.maps import legend_of
from geoseg.jobs import run as run_module
from geoseg.jobs import series
from geoseg.jobs.change import compare
from geoseg.jobs.journal import JOURNAL
from geoseg.jobs.run import run
from geoseg.jobs.series import list_maps
from geoseg.jobs.workspace import files_of_map
from geoseg.lonlat import area_m2
from geoseg.recipe import Recipe
from geoseg.stac.catalog import load_catalog
from geoseg.stac.items import search

AOI = "-34.9045,-8.09,-34.8615,-8.06"
SHEETS = {"max_file_gb": 1e-4, "polygons": "geoparquet"}


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as source:
        return source.read(1)


def collection_of(out: Path) -> pystac.Collection:
    for path in (out / "collection.json", *out.glob("item*.json")):
        validate_stac(path)
    return pystac.Collection.from_file(str(out / "collection.json"))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Recipe:
    folder = tmp_path_factory.mktemp("scene")
    shape = (560, 640)
    pixels = smooth(3, shape)
    pixels[:, 100:160, 200:280] = np.nan
    image = write_image(folder / "scene.tif", pixels, geobox_at(height=shape[0], width=shape[1]))
    return Recipe(image=(str(image),), model="spectral-rules", block_size=320, min_area_ha=0.05)


@pytest.fixture(scope="module")
def one(recipe, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("one") / "map"
    return run(recipe.model_copy(update={"out": str(out), "block_size": 4096})).out


@pytest.fixture(scope="module")
def sheets(recipe, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("sheets") / "map"
    return run(recipe.model_copy(update={"out": str(out), **SHEETS})).out


def test_a_map_in_sheets_says_what_the_single_one_says(one, sheets):
    for layer in ("class", "confidence"):
        assert (read(sheets / f"{layer}.vrt") == read(one / f"{layer}.tif")).all()
    apart = {"pixels_run", "timings_s", "km2_per_s", "peak_memory_mb", "created", "title"}
    reports = [json.loads((out / "report.json").read_text()) for out in (one, sheets)]
    assert {k: v for k, v in reports[0].items() if k not in apart} == {
        k: v for k, v in reports[1].items() if k not in apart
    }
    assert legend_of(sheets / "class.vrt") == legend_of(one / "class.tif")
    assert legend_of(sheets / "classes-0000.parquet") == legend_of(one / "classes.gpkg")
    assert not {"class.tif", "item.json", "classes.gpkg"} & files_of_map(sheets)


def test_the_polygons_of_a_geoparquet_set_are_those_of_the_geopackage(one, sheets):
    gpkg, parquet = (
        gpd.read_file(one / "classes.gpkg", layer="classes"),
        gpd.read_parquet(sheets / "classes-0000.parquet"),
    )
    assert parquet.crs == gpkg.crs
    assert parquet.geometry.geom_equals_exact(gpkg.geometry, 0).all()
    columns = ["class_id", "class_name", "area_ha", "confidence"]
    pd.testing.assert_frame_equal(pd.DataFrame(parquet[columns]), pd.DataFrame(gpkg[columns]))


def test_each_sheet_has_an_item_and_the_collection_has_the_rest(sheets):
    collection = collection_of(sheets)
    items = list(collection.get_items())
    assert len(items) == len(list(sheets.glob("class-*.tif"))) == 4
    for item in items:
        assert item.get_collection() is not None
        assert set(item.assets) == {"class", "confidence"}
        with rasterio.open(item.assets["class"].get_absolute_href()) as source:
            assert list(source.shape) == item.properties["proj:shape"]
            assert list(source.transform)[:6] == item.properties["proj:transform"]
    assert {asset.href for asset in collection.assets.values()} >= {
        "./class.vrt", "./confidence.vrt", "./classes-0000.parquet", "./report.html", "./manifest.json",
    }  # fmt: skip
    assert all(Path(asset.get_absolute_href()).exists() for asset in collection.assets.values())
    assert collection.summaries.to_dict()["proj:code"] == ["EPSG:32725"]


def test_a_map_in_one_file_has_a_collection_of_one_item(one):
    collection = collection_of(one)
    (item,) = collection.get_items()
    assert (item.id, item.collection_id, collection.id) == ("map", "map", "map")
    assert collection.summaries.to_dict()["gsd"] == [10]
    assert collection.extent.spatial.bboxes[0] == pytest.approx(item.bbox)


@pytest.mark.parametrize("by", ["file", "folder"])
def test_another_run_finds_the_items_of_a_place(one, sheets, by):
    with rasterio.open(next(sheets.glob("class-r0000-c0000.tif"))) as source:
        west, south, east, north = source.bounds
    here = Transformer.from_crs("EPSG:32725", "EPSG:4326", always_xy=True)
    x, y = here.transform([west + 30, east - 30], [south + 30, north - 30])
    aoi = read_aoi(f"{x[0]},{y[0]},{x[1]},{y[1]}")
    for out, expected in ((one, ["map"]), (sheets, ["map-r0000-c0000"])):
        url = out / "collection.json" if by == "file" else out
        found = search(aoi, catalog=load_catalog(str(url)), collection="map", datetime="../..")
        assert [item.id for item in found] == expected
        assert Path(found[0].assets["class"].href).is_file()


def test_sheets_serve_a_run_that_goes_on(recipe, sheets, one, tmp_path):
    """Blocks are cut out of the sheets; with other polygons, and then as one file again."""
    for name in files_of_map(sheets):
        (tmp_path / "map").mkdir(exist_ok=True)
        (tmp_path / "map" / name).write_bytes((sheets / name).read_bytes())
    again = recipe.model_copy(update={"out": str(tmp_path / "map"), "resume": True, **SHEETS})
    said = Said()
    run(again, listener=said)
    assert any("nothing to do" in line for line in said.lines)
    run(again.model_copy(update={"max_file_gb": 16.0, "polygons": "none"}), listener=said)
    assert any(line.startswith("4 of 4 blocks are there") for line in said.lines)
    assert (tmp_path / "map/class.tif").read_bytes() == (one / "class.tif").read_bytes()
    assert not [
        name for name in files_of_map(tmp_path / "map") if "-r0" in name or name.startswith("classes")
    ]
    (item,) = collection_of(tmp_path / "map").get_items()
    assert {"class", "confidence"} <= set(item.assets)
    assert "classes" not in item.assets
    assert files_of_map(tmp_path / "map") == {p.name for p in (tmp_path / "map").iterdir()}


def test_maps_in_sheets_are_compared_and_scored_like_others(one, sheets, tmp_path):
    report = compare(one / "class.tif", sheets / "class.vrt", out=tmp_path / "change")
    assert not any(
        value for i, row in enumerate(report.matrix.pixels) for j, value in enumerate(row) if i != j
    )
    pair = ("--prediction", sheets / "class.vrt", "--reference", one / "class.tif")
    done = geoseg("evaluate", *pair, "--out", tmp_path / "scores", "--json")
    assert json.loads(done.stdout)["overall"]["pixel_accuracy"] == 1


# --- maps of several months ---------------------------------------------------------------------------


def like_map(folder: Path, source: Path) -> None:
    folder.mkdir(parents=True)
    for name in files_of_map(source) - {JOURNAL}:
        content = (source / name).read_bytes()
        is_stac = name in ("collection.json", "item.json")
        own = content.replace(b'"map"', f'"{folder.name}"'.encode()) if is_stac else content
        (folder / name).write_bytes(own)


def test_maps_of_all_months_are_found_by_one_address(one, tmp_path):
    for month in ("2026-09", "2026-10"):
        like_map(tmp_path / "maps" / month, one)
    (tmp_path / "maps" / "notes").mkdir()
    path = list_maps(tmp_path / "maps")
    validate_stac(path)
    catalog = pystac.Catalog.from_file(str(path))
    assert [child.id for child in catalog.get_children()] == ["2026-09", "2026-10"]
    found = search(read_aoi(AOI), catalog=load_catalog(str(path)), collection="2026-10", datetime="../..")
    assert [item.id for item in found] == ["2026-10"]


def test_a_run_that_is_named_after_its_dates_is_listed(tmp_path, monkeypatch):
    few = {"aoi": "-34.870,-8.000,-34.865,-7.995", "catalog": "sample", "model": "spectral-rules"}
    recipe = Recipe(**few, datetime="1999/2003", polygons="none")
    run(recipe.model_copy(update={"out": str(tmp_path / "maps" / "{year}")}))
    catalog = pystac.Catalog.from_file(str(tmp_path / "maps" / "catalog.json"))
    assert [item.id for item in catalog.get_items(recursive=True)] == ["1999"]

    def fails(folder):
        raise OutputError("No space is left.")

    monkeypatch.setattr(run_module, "list_maps", fails)
    said = Said()
    out = run(recipe.model_copy(update={"out": str(tmp_path / "maps" / "{end}")}), listener=said).out
    text = f"warning: The catalog of all maps in {tmp_path}/maps is not up to date: No space is left. "
    text += "The next run makes it anew."
    assert text in said.lines
    assert (out / "manifest.json").exists(), "the map does not fail for want of its place in a catalog"


def test_a_catalog_of_somebody_else_stays(one, tmp_path):
    like_map(tmp_path / "2026-09", one)
    (tmp_path / "catalog.json").write_text('{"type": "Catalog"}')
    assert list_maps(tmp_path) is None
    assert (tmp_path / "catalog.json").read_text() == '{"type": "Catalog"}'


def test_of_months_that_end_at_once_none_is_left_out(one, tmp_path, monkeypatch):
    write, delays = series.write_json, [0.0, 0.0, 0.0, 0.05, 0.1, 0.2]

    def late(path, document):
        time.sleep(delays.pop())  # who lists first writes last, if nothing holds the others
        return write(path, document)

    monkeypatch.setattr(series, "write_json", late)
    months = [f"2026-{month:02d}" for month in range(1, 7)]

    def end(month):
        like_map(tmp_path / month, one)
        list_maps(tmp_path)

    threads = [threading.Thread(target=end, args=(month,)) for month in months]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    links = json.loads((tmp_path / "catalog.json").read_text())["links"]
    assert [link["title"] for link in links if link["rel"] == "child"] == months


# --- several UTM zones ---------------------------------------------------------------------------------

LONG = shapely.Polygon([(1.6, -0.15), (16.4, 0.1), (16.4, 0.3), (1.6, 0.05)])
"""1,650 km through zones 31, 32 and 33, its edges across the pixels."""


def field(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """(band, y, x) reflectance that depends on the place alone, in broad waves."""
    wet = np.sin(4 * lon) + np.sin(15 * lat + 2 * lon)
    return np.stack([0.08 + 0 * lon, 0.1 + 0.02 * np.sin(lon), 0.15 - 0.05 * wet, 0.2 + 0.12 * wet])


def image_of(folder: Path, zone: int, west: float, east: float) -> str:
    crs = f"EPSG:326{zone}"
    there = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    xs, ys = there.transform([west, east, west, east], [-0.4, -0.4, 0.5, 0.5])
    geobox = GeoBox.from_bbox((min(xs), min(ys), max(xs), max(ys)), crs, resolution=500)
    x, y = np.meshgrid(geobox.coords["x"].values, geobox.coords["y"].values)
    lon, lat = there.transform(x, y, direction="INVERSE")
    bands = ("blue", "green", "red", "nir")
    return str(write_image(folder / f"z{zone}.tif", field(lon, lat), geobox, bands=bands))


@pytest.mark.lane
def test_items_of_three_utm_zones_end_in_one_equal_area_map_without_a_seam(tmp_path):
    zones = {31: (1.2, 6.1), 32: (5.9, 12.1), 33: (11.9, 16.8)}
    images = tuple(image_of(tmp_path, zone, *ends) for zone, ends in zones.items())
    said, aoi = Said(), json.dumps(shapely.geometry.mapping(LONG))
    recipe = Recipe(
        image=images, aoi=aoi, model="spectral-rules-vnir", max_area_km2=1e6, scale=(1e-4,), offset=(0,)
    )
    result = run(recipe.model_copy(update={"out": str(tmp_path / "map")}), listener=said)
    assert any("mapped on WGS 84 / LAEA 0N 10E, which is equal-area: areas in" in text for text in said.lines)
    assert not any("times those on the ground here" in text for text in said.lines)

    hectares = sum(c.area_ha for c in result.report.classes)
    assert hectares == pytest.approx(area_m2(LONG) / 1e4, rel=1e-3)
    assert gpd.read_file(result.out / "classes.gpkg", layer="classes").area_ha.sum() == pytest.approx(
        hectares
    )

    plain = plain_map(tmp_path, result.out / "class.tif", recipe)
    class_id = read(result.out / "class.tif")
    assert ((class_id == 255) == (plain == 255)).all(), "no gap where zones meet"
    differs = (class_id != plain)[:, (plain != 255).any(axis=0)].mean(axis=0)
    assert 0 < differs.mean() < 0.02, "resampling moves borders between classes by half a pixel"
    with rasterio.open(result.out / "class.tif") as source:
        to = Transformer.from_crs("EPSG:4326", source.crs, always_xy=True)
        cols = [source.index(*to.transform(lon, 0.07))[1] for lon in (6, 12)]
    for col in cols:
        assert differs[col - 40 : col + 40].mean() < 2 * differs.mean() + 0.005

    keeps_its_crs(result.out)
    again = run(Recipe.resolve(str(result.out / "manifest.json"), out=str(tmp_path / "again")))
    assert (again.out / "class.tif").read_bytes() == (result.out / "class.tif").read_bytes()


def plain_map(folder: Path, like: Path, recipe: Recipe) -> np.ndarray:
    """The map of one image that has the field on the very pixels of the map."""
    geobox = GeoBox.from_rio(rasterio.open(like))
    x, y = np.meshgrid(geobox.coords["x"].values, geobox.coords["y"].values)
    back = Transformer.from_crs(str(geobox.crs), "EPSG:4326", always_xy=True)
    bands = ("blue", "green", "red", "nir")
    image = write_image(folder / "plain.tif", field(*back.transform(x, y)), geobox, bands=bands)
    changes = {"image": (str(image),), "out": str(folder / "plain"), "polygons": "none"}
    return read(run(recipe.model_copy(update=changes)).out / "class.tif")


def keeps_its_crs(out: Path) -> None:
    """The CRS without a code is the same in all that a map consists of."""
    with rasterio.open(out / "class.tif") as source:
        crs = GeoBox.from_rio(source).crs
    collection_of(out)
    item = json.loads((out / "item.json").read_text())["properties"]
    manifest = json.loads((out / "manifest.json").read_text())
    assert item["proj:code"] is None
    for text in (item["proj:wkt2"], manifest["grid"]["crs"], manifest["recipe"]["crs"]):
        assert crs == text
    assert crs == gpd.read_file(out / "classes.gpkg", layer="classes").crs
