"""Names of items, assets, collections, classes and models that would lead elsewhere: files stay where they belong."""

import json
import shutil
from pathlib import Path

import pytest
import rasterio
from builders import geobox_at, model_folder, smooth, write_image
from rasterio.warp import transform_bounds

from geoseg.errors import ModelError
from geoseg.jobs.run import run
from geoseg.models.card import CARD_NAME
from geoseg.recipe import Recipe

NAMES = {
    "up": "../../escaped",
    "absolute": "/tmp/geoseg-escaped",
    "windows": "..\\..\\CON",
    "device": "CON",
    "newline": "a\nb: c",
    "nul": "a\x00b",
    "very long": "x" * 5000,
    "markup": "<script>alert(1)</script>[red]{{ 7*7 }}%s",
    "dots": "..",
}
FILES = {
    *("class.tif", "class.tif.aux.xml", "class.qml", "classes.gpkg", "confidence.tif", "item.json"),
    *("journal.jsonl", "log.jsonl", "manifest.json", "preview.png", "report.html", "report.json"),
    "collection.json",
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return model_folder(tmp_path_factory.mktemp("tiny") / "model", family="small-unet", halo=8)


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene")
    return write_image(folder / "scene.tif", smooth(0, (64, 64)), geobox_at(height=64, width=64))


def test_items_that_would_lead_elsewhere_make_the_files_of_a_map(image, tmp_path, monkeypatch):
    deep = tmp_path / "a" / "b" / "work"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    elsewhere = set(Path("/tmp").glob("geoseg-escaped*"))
    features = [item(image, name) for name in NAMES.values()]
    (deep / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    before = tree(tmp_path)
    asked = {"aoi": area(image), "catalog": "items.json", "model": "spectral-rules", "max_items": 20}
    out = run(Recipe(**asked, block_size=64, backend="torch-eager", out="map")).out
    assert tree(tmp_path) - before == {f"a/b/work/{one}" for one in ("map", *(f"map/{f}" for f in FILES))}
    assert set(Path("/tmp").glob("geoseg-escaped*")) == elsewhere
    report = json.loads((out / "report.json").read_text())
    assert {found["id"] for found in report["items"]} == set(NAMES.values())
    assert "<script>alert(1)" not in (out / "report.html").read_text()


def area(image: Path) -> str:
    with rasterio.open(image) as source:
        west, south, east, north = transform_bounds(source.crs, "EPSG:4326", *source.bounds)
    return f"{west + 1e-4},{south + 1e-4},{east - 1e-4},{north - 1e-4}"


def item(image: Path, name: str) -> dict:
    """One whose id, asset key and titles are ``name``, of a collection that is called like a path."""
    with rasterio.open(image) as source:
        west, south, east, north = transform_bounds(source.crs, "EPSG:4326", *source.bounds)
        bands = [{"name": band, "common_name": band} for band in source.descriptions]
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    raster = [{"data_type": "uint16", "nodata": 0, "scale": 0.0001}] * 4
    asset = {"href": str(image), "title": name, "roles": ["data"], "gsd": 10}
    return {
        "type": "Feature", "stac_version": "1.0.0", "stac_extensions": [], "id": name,
        "collection": NAMES["up"],
        "geometry": {"type": "Polygon", "coordinates": [ring]}, "bbox": [west, south, east, north],
        "properties": {"datetime": "2024-07-01T00:00:00Z", "title": name}, "links": [],
        "assets": {name: asset | {"eo:bands": bands, "raster:bands": raster}},
    }  # fmt: skip


def test_models_and_classes_that_would_lead_elsewhere_make_the_files_of_a_map(
    image, tmp_path, tiny, monkeypatch
):
    model = shutil.copytree(tiny, tmp_path / "model")
    text = (model / CARD_NAME).read_text()
    text = text.replace('"A test"', json.dumps(NAMES["markup"])).replace(
        '"first"', json.dumps(NAMES["absolute"])
    )
    (model / CARD_NAME).write_text(text)
    deep = tmp_path / "a" / "work"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    before, elsewhere = tree(tmp_path), set(Path("/tmp").glob("geoseg-escaped*"))
    out = run(Recipe(image=(str(image),), model=str(model), backend="torch-eager", out="map")).out
    assert tree(tmp_path) - before == {f"a/work/{one}" for one in ("map", *(f"map/{f}" for f in FILES))}
    assert set(Path("/tmp").glob("geoseg-escaped*")) == elsewhere
    assert json.loads((out / "report.json").read_text())["classes"][0]["class_name"] == NAMES["absolute"]
    assert "<script>alert(1)" not in (out / "report.html").read_text()


@pytest.mark.parametrize("word", ["tiny-small-unet", "first"])
@pytest.mark.parametrize("name", [NAMES["up"], NAMES["nul"], NAMES["markup"]], ids=["up", "nul", "markup"])
def test_models_and_classes_are_not_called_like_paths(image, tmp_path, tiny, word, name):
    model = shutil.copytree(tiny, tmp_path / "model")
    text = (model / CARD_NAME).read_text().replace(f'"{word}"', json.dumps(name))
    (model / CARD_NAME).write_text(text)
    before = tree(tmp_path)
    with pytest.raises(ModelError):
        run(Recipe(image=(str(image),), model=str(model), out=str(tmp_path / "map")))
    assert tree(tmp_path) == before
