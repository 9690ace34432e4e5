"""Wall-to-wall products found in a catalog and read on the grid of a map; the catalog is a file here."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from odc.geo.geom import box
from odc.geo.xr import xr_zeros
from pyproj import Transformer
from rasterio.transform import from_origin
from typer.testing import CliRunner

from geoseg.cli.main import app
from geoseg.errors import CoverageError, EvaluationError
from geoseg.evaluation import rasters
from geoseg.evaluation.benchmark import BENCHMARKS
from geoseg.evaluation.maps import Crosswalk
from geoseg.evaluation.products import is_product
from geoseg.evaluation.rasters import Request, score
from geoseg.grid.geobox import geobox_for
from geoseg.legend import Legend
from geoseg.writers.cog import write_cog

DYNAMIC_WORLD = BENCHMARKS["dynamic-world-experts"].legend
PIXEL = 1 / 12_000
WEST, NORTH = 15.0, 48.0
N = 120
"""Side of an item, pixels; two lie side by side."""


def stored(seed):
    """Patches of the product's values, some without a class."""
    rng = np.random.default_rng(seed)
    return rng.choice([0, 10, 50, 80], (N // 10, N // 10)).repeat(10, 0).repeat(10, 1).astype(np.uint8)


def item_of(name, year, west, href, asset="map"):
    east, south = west + N * PIXEL, NORTH - N * PIXEL
    ring = [[west, south], [east, south], [east, NORTH], [west, NORTH], [west, south]]
    return {
        "type": "Feature", "stac_version": "1.0.0", "stac_extensions": [], "id": name,
        "collection": "esa-worldcover", "bbox": [west, south, east, NORTH], "links": [],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "datetime": None, "start_datetime": f"{year}-01-01T00:00:00Z",
            "end_datetime": f"{year}-12-31T23:59:59Z",
        },
        "assets": {asset: {"href": str(href), "roles": ["data"], "type": "image/tiff"}},
    }  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two years of two items, and a map of the newer year's water and land where they meet."""
    folder = tmp_path_factory.mktemp("world")
    items = []
    for n, (year, side) in enumerate([(2020, 0), (2020, 1), (2021, 0), (2021, 1)]):
        west, path = WEST + side * N * PIXEL, folder / f"{year}-{side}.tif"
        with rasterio.open(
            path, "w", driver="GTiff", count=1, dtype="uint8", width=N, height=N, crs="EPSG:4326", nodata=0,
            transform=from_origin(west, NORTH, PIXEL, PIXEL),
        ) as target:  # fmt: skip
            target.write(stored(n), 1)
        items.append(item_of(f"{year}-{side}", year, west, path))
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    area = box(WEST + 30 * PIXEL, NORTH - 110 * PIXEL, WEST + 200 * PIXEL, NORTH - 5 * PIXEL, "EPSG:4326")
    grid = geobox_for(area, gsd_m=10)
    true = truth(grid, 2021)
    found = np.where(true == 255, 0, true)
    legend = Legend.of(water="1F78B4", land="33A02C")
    write_cog(xr_zeros(grid, dtype="uint8").copy(data=found), folder / "class.tif", nodata=255, legend=legend)
    (folder / "cross.toml").write_text(
        '[reference]\n"Permanent water bodies" = "water"\n"10" = "land"\n"50" = "land"\n'
    )
    return folder, grid, true


def truth(grid, year):
    """0 water, 1 land, 255 none: the value of the pixel below the centre of each of the map's."""
    values = np.hstack([stored(2 * (year - 2020) + side) for side in (0, 1)])
    height, width = grid.shape
    cols, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    x, y = grid.affine * (cols, rows)
    lon, lat = Transformer.from_crs(str(grid.crs), "EPSG:4326", always_xy=True).transform(x, y)
    col, row = np.floor((lon - WEST) / PIXEL).astype(int), np.floor((NORTH - lat) / PIXEL).astype(int)
    is_in = (row >= 0) & (row < N) & (col >= 0) & (col < 2 * N)
    at = values[row.clip(0, N - 1), col.clip(0, 2 * N - 1)]
    return np.select([~is_in | (at == 0), at == 80], [255, 0], 1).astype(np.uint8)


def evaluated(out, *args):
    result = CliRunner().invoke(app, ["evaluate", *map(str, args), "--out", str(out), "-q"])
    if result.exception is not None:
        raise result.exception
    return json.loads((out / "scores.json").read_text())


def test_a_product_by_name_is_found_and_compared(world, tmp_path):
    folder, _, true = world
    asked = (
        "--prediction", folder / "class.tif", "--reference-catalog", folder / "items.json",
        "--crosswalk", folder / "cross.toml",
    )  # fmt: skip
    scores = evaluated(tmp_path / "new", *asked, "--reference", "worldcover")
    assert scores["overall"]["pixel_accuracy"] == 1
    assert scores["compared"] == (true != 255).sum()
    assert [c["support"] for c in scores["classes"]] == [(true == value).sum() for value in (0, 1)]
    assert scores["notes"][0].startswith("ESA WorldCover 2021: 2 items of items.json (CC BY 4.0)")
    old = evaluated(tmp_path / "old", *asked, "--reference", "esa-worldcover:2020")
    assert "ESA WorldCover 2020" in old["notes"][0]
    of_2020 = truth(world[1], 2020)
    assert old["overall"]["pixel_accuracy"] == pytest.approx(
        (np.where(true == 255, 0, true) == of_2020)[of_2020 != 255].mean(), abs=2e-3
    )


@pytest.mark.parametrize("block", [32, 96])
def test_blocks_do_not_show_in_a_product(world, monkeypatch, block):
    folder, _, true = world
    whole = rasters.windows_of
    monkeypatch.setattr(rasters, "windows_of", lambda height, width: whole(height, width, size=block))
    request = Request(
        folder / "class.tif",
        Path("worldcover"),
        reference_catalog=str(folder / "items.json"),
        crosswalk=Crosswalk.read(folder / "cross.toml"),
    )
    assert score(request).scores.compared == (true != 255).sum()


def test_classes_of_dynamic_world_need_no_crosswalk(world, tmp_path):
    folder, grid, _ = world
    values = np.zeros(grid.shape, np.uint8)
    write_cog(
        xr_zeros(grid, dtype="uint8").copy(data=values),
        tmp_path / "class.tif",
        nodata=255,
        legend=DYNAMIC_WORLD,
    )
    request = Request(
        tmp_path / "class.tif", Path("worldcover"), reference_catalog=str(folder / "items.json")
    )
    scores = score(request).scores
    assert {c.class_name for c in scores.classes if c.support} == {"water", "trees", "built"}
    assert any("taken as those of Dynamic World" in note for note in scores.notes)


@pytest.mark.parametrize(
    ("reference", "catalog", "error", "text"),
    [
        ("nlcd", None, EvaluationError, "No public STAC catalog has USGS National Land Cover Database"),
        ("worldcover", "items.json", EvaluationError, "the map has land, water. Say which is which"),
        ("worldcover:2015", "items.json", CoverageError, "2015"),
        ("atlantis", None, EvaluationError, "There is no file atlantis"),
        ("class.tif", "items.json", EvaluationError, "--reference-catalog is for products by name"),
    ],
)
def test_what_cannot_be_found_is_said(world, tmp_path, monkeypatch, reference, catalog, error, text):
    monkeypatch.chdir(world[0])
    args = ["--prediction", "class.tif", "--reference", reference]
    with pytest.raises(error, match=text):
        evaluated(tmp_path, *args, *(["--reference-catalog", catalog] if catalog else []))


def test_a_file_goes_before_a_product(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = Path("nlcd")
    assert is_product(name)
    name.write_text("")
    assert not is_product(name)
