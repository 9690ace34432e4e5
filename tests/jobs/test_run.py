"""The whole path on real files: what the outputs promise, and what a failed run leaves."""

import hashlib
import json
import sqlite3
import threading
import warnings
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import geopandas as gpd
import numpy as np
import pystac
import pytest
import rasterio
import shapely
from affine import Affine
from builders import geobox_at, model_folder, polygons_of, smooth, write_image
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from rio_cogeo import cog_validate
from stac_validation import validate_item

from geoseg.errors import (
    CoverageError,
    GeosegError,
    GeosegWarning,
    ImageryError,
    ModelError,
    OutputError,
    PreflightError,
    RecipeError,
)
from geoseg.imagery import preflight
from geoseg.imagery.local import items_from_images
from geoseg.jobs import blocks as blocks_module
from geoseg.jobs.blocks import run_block
from geoseg.jobs.folders import name_of
from geoseg.jobs.plan import plan_run
from geoseg.jobs.run import run
from geoseg.jobs.tasks import tasks_of
from geoseg.recipe import Recipe

SAMPLE = Path(__file__).parents[2] / "catalogs" / "sample"
FILES = {
    "class.tif", "class.tif.aux.xml", "class.qml", "collection.json", "confidence.tif", "classes.gpkg", "item.json",
    "preview.png",
    "report.json", "report.html", "manifest.json", "journal.jsonl", "log.jsonl",
}  # fmt: skip


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as source:
        return source.read(1)


@pytest.fixture(scope="module")
def olinda(tmp_path_factory):
    out = tmp_path_factory.mktemp("maps") / "olinda"
    return run(
        Recipe(aoi=str(SAMPLE / "area.geojson"), catalog="sample", model="spectral-rules", out=str(out))
    )


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A scene of 300 x 260 pixels with a hole of nodata, and a small network with weights."""
    folder = tmp_path_factory.mktemp("scene")
    pixels = smooth(4, (260, 300))
    pixels[:, 40:70, 100:180] = np.nan
    image = write_image(folder / "scene.tif", pixels, geobox_at(height=260, width=300))
    return {"image": (str(image),), "model": str(model_folder(folder / "model", halo=8))}


def test_all_outputs_are_there_and_agree(olinda):
    out, report = olinda.out, olinda.report
    assert {p.name for p in out.iterdir()} == FILES
    class_id = read(out / "class.tif")
    counts = np.bincount(class_id.ravel(), minlength=256)
    assert [c.pixels for c in report.classes] == [int(counts[c.class_id]) for c in report.classes]
    assert sum(c.share for c in report.classes) == pytest.approx(1)
    polygons = polygons_of(out)
    for c in report.classes:
        of_class = polygons[polygons.class_id == c.class_id]
        assert of_class.area_ha.sum() == pytest.approx(c.area_ha, rel=1e-9)
        assert of_class.geometry.area.sum() / 1e4 == pytest.approx(c.area_ha, rel=1e-9)


def test_outputs_keep_their_standards(olinda):
    for name in ("class.tif", "confidence.tif"):
        assert cog_validate(olinda.out / name, strict=True, quiet=True)[0]
    validate_item(olinda.out / "item.json")
    item = pystac.Item.from_file(olinda.out / "item.json")
    assert all((olinda.out / a.href).exists() for a in item.assets.values())
    with sqlite3.connect(olinda.out / "classes.gpkg") as db:
        assert db.execute("select useAsDefault from layer_styles").fetchall() == [(1,)]
    manifest = json.loads((olinda.out / "manifest.json").read_text())
    for name, file in manifest["files"].items():
        assert sha(olinda.out / name) == file["sha256"]


def test_the_map_is_cut_to_the_area(olinda):
    aoi = gpd.read_file(SAMPLE / "area.geojson")
    with rasterio.open(olinda.out / "class.tif") as source:
        inside = rasterize(
            aoi.to_crs(source.crs).geometry, out_shape=source.shape, transform=source.transform
        ).astype(bool)
        class_id = source.read(1)
    # Densified edges may differ from GeoPandas' straight ones by a pixel here and there.
    assert ((class_id != 255) != inside).mean() < 0.001
    assert (class_id == 255).any()


def test_a_network_with_weights_maps_an_image(scene, tmp_path):
    result = run(Recipe(**scene, out=str(tmp_path / "map")))
    class_id, confidence = read(result.out / "class.tif"), read(result.out / "confidence.tif")
    assert class_id.shape == (260, 300)
    hole = np.zeros((260, 300), bool)
    hole[40:70, 100:180] = True
    assert ((class_id == 255) == hole).all()
    assert ((confidence == 255) == hole).all()
    assert set(np.unique(class_id)) <= {0, 1, 2, 255}
    assert len(np.unique(class_id)) >= 3
    assert result.report.model.sha256


@pytest.mark.parametrize(
    "options", [{"block_size": 64}, {"block_size": 100, "workers": 2}, {"batch_size": 3}]
)
def test_the_map_is_the_same_bytes_however_it_is_cut(scene, tmp_path, options):
    whole = run(Recipe(**scene, out=str(tmp_path / "whole")))
    cut = run(Recipe(**scene, **options, out=str(tmp_path / "cut")))
    for name in ("class.tif", "confidence.tif"):
        assert sha(cut.out / name) == sha(whole.out / name)
    left, right = (gpd.read_file(r.out / "classes.gpkg", layer="classes") for r in (whole, cut))
    assert left.to_wkb().equals(right.to_wkb())


def test_moving_the_area_by_whole_pixels_moves_the_map(scene, tmp_path):
    def boxed(col: int, row: int, name: str) -> np.ndarray:
        west, north = 290_000 + col * 10, 9_110_000 - row * 10
        frame = gpd.GeoDataFrame(
            geometry=[shapely.box(west, north - 900, west + 1200, north)], crs="EPSG:32725"
        )
        frame.to_file(tmp_path / f"{name}.gpkg")
        out = run(Recipe(**scene, aoi=str(tmp_path / f"{name}.gpkg"), out=str(tmp_path / name))).out
        return read(out / "class.tif")

    first, second = boxed(60, 100, "first"), boxed(67, 113, "second")
    assert first.shape == second.shape == (90, 120)
    assert (first[13:, 7:] == second[:-13, :-7]).all()


def test_an_area_with_a_hole_and_two_parts(scene, tmp_path):
    outer = shapely.box(290_200, 9_107_600, 291_200, 9_109_000)
    hole = shapely.box(290_500, 9_108_000, 290_800, 9_108_300)
    second = shapely.box(292_000, 9_108_000, 292_100, 9_108_100)
    frame = gpd.GeoDataFrame(geometry=[outer - hole, second], crs="EPSG:32725")
    frame.to_file(tmp_path / "area.gpkg")
    result = run(Recipe(**scene, aoi=str(tmp_path / "area.gpkg"), out=str(tmp_path / "map")))
    assert (read(result.out / "class.tif") != 255).sum() == 140 * 100 - 30 * 30 + 10 * 10


def test_an_area_smaller_than_a_tile(scene, tmp_path):
    frame = gpd.GeoDataFrame(geometry=[shapely.box(290_503, 9_108_003, 290_517, 9_108_012)], crs="EPSG:32725")
    frame.to_file(tmp_path / "speck.gpkg")
    result = run(Recipe(**scene, aoi=str(tmp_path / "speck.gpkg"), out=str(tmp_path / "map")))
    assert read(result.out / "class.tif").shape == (2, 2)


def _strip(folder: Path, geobox, seed: int) -> str:
    return str(write_image(folder / f"strip{seed}.tif", smooth(seed, tuple(geobox.shape)), geobox))


def test_two_items_meet_without_a_gap(tmp_path):
    """Two images side by side: every pixel of both is mapped, and each from its own image."""
    left, right = geobox_at(0, 0, height=80, width=100), geobox_at(100, 0, height=80, width=90)
    pair = (_strip(tmp_path, left, 1), _strip(tmp_path, right, 2))
    both = read(run(Recipe(image=pair, model="spectral-rules", out=str(tmp_path / "both"))).out / "class.tif")
    alone = [
        read(run(Recipe(image=(p,), model="spectral-rules", out=str(tmp_path / f"m{i}"))).out / "class.tif")
        for i, p in enumerate(pair)
    ]
    assert (both == np.concatenate(alone, axis=1)).all()


def test_across_the_antimeridian_and_two_utm_zones(tmp_path):
    """Images in zones 60 and 1 south, an area over both: one map, no slit at 180 degrees."""
    sources = []
    for zone, x0 in ((60, 810_000), (1, 170_000)):
        grid = GeoBox(
            (120, 250),
            Affine(100, 0, x0 - (0 if zone == 60 else 10_000), 0, -100, 8_120_000),
            f"EPSG:327{zone:02}",
        )
        pixels = np.broadcast_to(np.array([0.09, 0.06, 0.45, 0.2])[:, None, None], (4, 120, 250))
        sources.append(str(write_image(tmp_path / f"zone{zone}.tif", pixels, grid)))
    recipe = Recipe(
        image=tuple(sources),
        model="spectral-rules",
        aoi="179.95,-17.09,-179.95,-17.03",
        out=str(tmp_path / "map"),
    )
    result = run(recipe)
    class_id = read(result.out / "class.tif")
    assert result.report.aoi.area_km2 == pytest.approx(10.65 * 6.64, rel=0.02)
    assert result.report.coverage.valid_share > 0.99
    polygons = gpd.read_file(result.out / "classes.gpkg", layer="classes")
    assert len(polygons) == 1, "one class everywhere, so one polygon: a slit would cut it"
    assert set(np.unique(class_id)) == {1, 255}
    validate_item(result.out / "item.json")
    assert any("resampled" in line for line in result.report.adapted)


def test_polygons_can_be_generalised(scene, tmp_path):
    exact = run(Recipe(**scene, out=str(tmp_path / "exact"))).out
    coarse = run(Recipe(**scene, min_area_ha=0.5, simplify_m=15, out=str(tmp_path / "coarse"))).out
    before, after = (gpd.read_file(p / "classes.gpkg", layer="classes") for p in (exact, coarse))
    assert len(after) < len(before)
    assert after.area_ha.sum() == pytest.approx(before.area_ha.sum())
    assert after.is_valid.all()


def _items(folder: Path, specs: list[tuple[str, str, float, float]]) -> Path:
    """An item collection of uniform scenes: (id, date, cloud cover, nir reflectance)."""
    items = []
    grid = geobox_at(height=60, width=60)
    for item_id, day, clouds, nir in specs:
        pixels = np.broadcast_to(np.array([0.1, 0.1, nir, 0.2])[:, None, None], (4, 60, 60))
        href = write_image(folder / f"{item_id}.tif", pixels, grid)
        item = pystac.Item(
            item_id,
            geometry=grid.extent.to_crs("EPSG:4326").json,
            bbox=list(grid.extent.to_crs("EPSG:4326").boundingbox.bbox),
            datetime=pystac.utils.str_to_datetime(f"{day}T00:00:00Z"),
            properties={"eo:cloud_cover": clouds, "proj:code": "EPSG:32725"},
        )
        extra = {
            "eo:bands": [{"name": b, "common_name": b} for b in ("green", "red", "nir", "swir16")],
            "raster:bands": [{"data_type": "uint16", "nodata": 0, "scale": 1e-4}] * 4,
            "proj:shape": [60, 60],
            "proj:transform": list(grid.affine)[:6],
        }
        item.add_asset(
            "data", pystac.Asset(str(href), media_type="image/tiff; application=geotiff", extra_fields=extra)
        )
        items.append(item)
    path = folder / "items.json"
    pystac.ItemCollection(items).save_object(str(path))
    return path


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"composite": "median"}, "vegetation"),
        ({"composite": "least-cloudy"}, "water"),
        ({"composite": "nearest-date", "date": "2024-07-02"}, "vegetation"),
        ({"composite": "first"}, "water"),
        ({"composite": "median", "max_items": 1}, "water"),
    ],
)
def test_composites_and_items_are_chosen_as_asked(tmp_path, options, expected):
    catalog = _items(
        tmp_path, [("a", "2024-05-01", 0, 0.02), ("b", "2024-07-01", 9, 0.6), ("c", "2024-09-01", 5, 0.7)]
    )
    aoi = "-34.9045,-8.0515,-34.9015,-8.0485"
    result = run(
        Recipe(aoi=aoi, catalog=str(catalog), model="spectral-rules", out=str(tmp_path / "map"), **options)
    )
    assert [c.class_name for c in result.report.classes if c.pixels] == [expected]


# --- what goes wrong -------------------------------------------------------------------------------


def _left_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_an_existing_map_is_replaced_only_when_asked(scene, tmp_path):
    out = tmp_path / "map"
    run(Recipe(**scene, out=str(out)))
    before = sha(out / "manifest.json")
    with pytest.raises(OutputError, match=r"exists already. Give --overwrite"):
        run(Recipe(**scene, out=str(out)))
    assert sha(out / "manifest.json") == before
    run(Recipe(**scene, out=str(out), overwrite=True))
    assert _left_in(tmp_path) == ["map"]


def test_a_folder_that_is_not_a_map_is_never_replaced(scene, tmp_path):
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter1.txt").write_text("three years of work")
    with pytest.raises(OutputError, match="holds files that are not a geoseg map"):
        run(Recipe(**scene, out=str(out), overwrite=True))
    assert (out / "chapter1.txt").read_text() == "three years of work"


def test_a_failed_run_leaves_nothing_but_its_finished_blocks(scene, tmp_path, monkeypatch):
    from geoseg.jobs import publish

    monkeypatch.setattr(publish, "write_polygons", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(Recipe(**scene, out=str(tmp_path / "map")))
    (left,) = tmp_path.iterdir()
    assert left.match(".map.*.partial")
    assert {"journal.jsonl", "parts"} <= {path.name for path in left.iterdir()}


def test_a_failed_overwrite_keeps_the_old_map(scene, tmp_path, monkeypatch):
    from geoseg.jobs import publish

    run(Recipe(**scene, out=str(tmp_path / "map")))
    before = sha(tmp_path / "map" / "class.tif")
    monkeypatch.setattr(publish, "write_polygons", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(Recipe(**scene, out=str(tmp_path / "map"), overwrite=True))
    assert _left_in(tmp_path) == ["map"]
    assert sha(tmp_path / "map" / "class.tif") == before


def test_a_file_that_breaks_off_in_the_middle_fails_the_run(scene, tmp_path):
    """Truncated pixels must not become nodata."""
    source = Path(scene["image"][0])
    broken = tmp_path / "broken.tif"
    broken.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with pytest.raises(ImageryError) as caught:
        run(Recipe(image=(str(broken),), model="spectral-rules", out=str(tmp_path / "map")))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "map").exists()


def test_an_area_without_items_names_the_way_out(tmp_path):
    with pytest.raises(CoverageError) as caught:
        run(Recipe(aoi="10,50,10.1,50.1", catalog="sample", out=str(tmp_path / "map")))
    assert "\n" not in str(caught.value)


def test_swapped_coordinates_are_suspected(tmp_path):
    with pytest.raises(CoverageError, match="longitude and latitude swapped"):
        run(Recipe(aoi="-8.02,-34.95,-7.98,-34.90", catalog="sample", out=str(tmp_path / "map")))


def test_partial_coverage_is_refused_with_figures(scene, tmp_path):
    with pytest.raises(CoverageError, match=r"\d+ ?%|km²"):
        run(Recipe(**scene, aoi="-34.93,-8.08,-34.88,-8.05", out=str(tmp_path / "map")))
    with pytest.raises(CoverageError, match="min-coverage"):
        run(Recipe(**scene, aoi="-34.93,-8.08,-34.88,-8.05", out=str(tmp_path / "map"), min_coverage=0.99))


def test_a_missing_band_is_refused(tmp_path):
    grid = geobox_at(height=40, width=40)
    path = write_image(tmp_path / "rgb.tif", smooth(1, (40, 40), n=3), grid, bands=("red", "green", "blue"))
    with pytest.raises(
        PreflightError, match=r"needs green, red, nir, swir16; the imagery has .* another --model"
    ):
        run(Recipe(image=(str(path),), model="spectral-rules", out=str(tmp_path / "map")))


def test_a_model_that_fits_is_named(tmp_path):
    grid = geobox_at(height=40, width=40)
    path = write_image(tmp_path / "rgbn.tif", smooth(1, (40, 40), n=3), grid, bands=("green", "red", "nir"))
    with pytest.raises(
        PreflightError, match=r"Missing: swir16. Take other imagery, or --model spectral-rules-vnir\."
    ):
        run(Recipe(image=(str(path),), model="spectral-rules", out=str(tmp_path / "map")))


def test_nodata_everywhere_is_said(tmp_path):
    grid = geobox_at(height=40, width=40)
    path = write_image(tmp_path / "empty.tif", np.full((4, 40, 40), np.nan), grid)
    with pytest.raises(PreflightError, match="nodata"):
        run(Recipe(image=(str(path),), model="spectral-rules", out=str(tmp_path / "map")))


def test_warnings_reach_the_report(tmp_path, scene):
    bow_tie = {
        "type": "Polygon",
        "coordinates": [
            [[-34.905, -8.065], [-34.885, -8.050], [-34.885, -8.065], [-34.905, -8.050], [-34.905, -8.065]]
        ],
    }
    result = run(Recipe(**scene, aoi=json.dumps(bow_tie), out=str(tmp_path / "map"), min_coverage=0.1))
    assert any("repaired" in text for text in result.report.warnings)


def test_no_secret_of_an_address_gets_into_outputs(tmp_path):
    catalog = _items(tmp_path, [("a", "2024-05-01", 0, 0.6)])
    handler = partial(QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://user:hunter2@127.0.0.1:{server.server_port}"
        catalog.write_text(catalog.read_text().replace(f"{tmp_path}/a.tif", f"{address}/a.tif?sig=S3CR3T"))
        assert "S3CR3T" in catalog.read_text()
        out = _map_of(catalog, tmp_path)
        server.shutdown()
    for path in out.iterdir():
        content = path.read_bytes()
        assert b"S3CR3T" not in content, path.name
        assert b"hunter2" not in content, path.name


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without a word, and without Range: the file comes as a whole."""

    def log_message(self, *args: object) -> None:
        pass


def _map_of(catalog: Path, tmp_path: Path) -> Path:
    return run(
        Recipe(
            aoi="-34.9045,-8.0515,-34.9015,-8.0485",
            catalog=str(catalog),
            model="spectral-rules",
            out=str(tmp_path / "map"),
        )
    ).out


def test_every_geoseg_error_is_one_line(tmp_path):
    for recipe in (
        {"aoi": str(tmp_path / "none.geojson")},
        {"aoi": "1,2,3,4", "catalog": "nowhere"},
        {"image": (str(tmp_path / "none.tif"),)},
        {"aoi": "1,2,1.01,2.01", "catalog": "sample", "model": "unett"},
        {"aoi": "1,2,1.01,2.01", "catalog": "sample", "composite": "medain"},
    ):
        with pytest.raises(GeosegError) as caught:
            run(Recipe(**recipe, out=str(tmp_path / "map")))
        text = str(caught.value)
        assert "\n" not in text
        assert text.endswith((".", "?")), text


def test_geoseg_warnings_are_not_lost_outside_a_run():
    from geoseg.aoi import read_aoi

    with pytest.warns(GeosegWarning, match="repaired"):
        read_aoi('{"type":"Polygon","coordinates":[[[0,0],[1,1],[1,0],[0,1],[0,0]]]}')


def test_filters_that_reading_threads_leave_behind_silence_nothing(scene, tmp_path, monkeypatch):
    """catch_warnings in two threads at a time can leave the filters of one of them: rasterio's reproject does so."""
    read = preflight.load

    def leaky(*args, **kwargs):
        warnings.simplefilter("ignore")
        return read(*args, **kwargs)

    monkeypatch.setattr(preflight, "load", leaky)
    before = list(warnings.filters)
    plan_run(Recipe(**scene, out=str(tmp_path / "map")), say=lambda _: None)
    assert warnings.filters == before


def test_a_plane_that_stretches_areas_is_said(scene, tmp_path):
    far_north = GeoBox((100, 100), Affine(10, 0, 400_000, 0, -10, 7_000_000), "EPSG:32632")
    image = write_image(tmp_path / "north.tif", smooth(1, (100, 100)), far_north)
    recipe = Recipe(image=(str(image),), model="spectral-rules", crs="EPSG:3857", out=str(tmp_path / "map"))
    with pytest.warns(GeosegWarning, match=r"EPSG:3857 are up to [\d.]+ times those on the ground"):
        plan_run(recipe, say=lambda _: None)


def test_an_item_whose_outline_leaps_over_180_degrees_is_in_every_block(tmp_path):
    """Many catalogs draw such footprints; the blocks at both ends of the map must see the item."""
    grid = GeoBox((120, 200), Affine(100, 0, 810_000, 0, -100, 8_120_000), "EPSG:32760")
    path = write_image(tmp_path / "a.tif", smooth(3, (120, 200)), grid)
    items = items_from_images([str(path)])
    (item,) = items
    item.geometry = grid.extent.to_crs("EPSG:4326").json
    assert np.ptp([x for x, _ in item.geometry["coordinates"][0]]) > 300
    items.save_object(str(tmp_path / "items.json"))
    made = []
    for block_size in (64, 4096):
        out = tmp_path / str(block_size)
        recipe = Recipe(
            model="spectral-rules",
            aoi="179.93,-17.08,-179.93,-17.0",
            catalog=str(tmp_path / "items.json"),
            min_coverage=0.5,
            block_size=block_size,
            out=str(out),
        )
        assert run(recipe).report.coverage.valid_share > 0.9
        made.append(sha(out / "class.tif"))
    assert made[0] == made[1]


def test_new_weights_under_an_old_name_make_a_new_map(scene, tmp_path, monkeypatch):
    """A process that lives on, such as a worker, must not go on with the weights it loaded first."""
    monkeypatch.chdir(tmp_path)  # and the name is a relative one
    maps = []
    for seed in (1, 2):
        model_folder(tmp_path / "model", halo=8, seed=seed)
        out = tmp_path / f"map{seed}"
        run(Recipe(image=scene["image"], model="model", out=str(out)))
        maps.append(sha(out / "class.tif"))
    assert maps[0] != maps[1]
    plan = plan_run(Recipe(image=scene["image"], model="model"), say=lambda _: None)
    (task,) = tasks_of(plan, tmp_path)
    monkeypatch.chdir("/")
    run_block(task)
    model_folder(tmp_path / "model", halo=8, seed=3)
    blocks_module.model_of.cache_clear()
    with pytest.raises(ModelError, match=r"is another model on this worker"):
        run_block(task)


def test_an_area_between_pixel_centres_is_said(scene, tmp_path):
    recipe = Recipe(
        image=scene["image"],
        model="spectral-rules",
        aoi="-34.903001,-8.050001,-34.903000,-8.050000",
        out=str(tmp_path / "m"),
    )
    with pytest.raises(RecipeError, match="holds no centre of a pixel of 10 m"):
        run(recipe)


def test_the_folder_is_named_without_secrets_or_long_text(scene):
    assert name_of(Recipe(image=("https://me:pw@host/scene.tif?token=a.b.c",))) == "scene"
    text = '{"type":"Polygon","coordinates":[' + "[0,0]," * 2000 + "]}"
    assert name_of(Recipe(aoi=text)) == "area"
