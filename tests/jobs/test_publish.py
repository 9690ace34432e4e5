"""Where a map is put, what it takes the place of, and what its item and manifest say of where it came from."""

import errno
import hashlib
import io
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from builders import geobox_at, model_folder, smooth, write_image
from stac_validation import validate_item

from geoseg.errors import OutputError
from geoseg.jobs import making, publish
from geoseg.jobs.run import run
from geoseg.recipe import Recipe

SAMPLE = Path(__file__).parents[2] / "catalogs" / "sample"
AOI = "-34.9045,-8.0515,-34.9015,-8.0485"
RASTERS = ("class.tif", "confidence.tif")


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def content(folder: Path) -> dict[str, str]:
    """Name to hash of everything there, hidden files too."""
    return {p.name: sha(p) if p.is_file() else "folder" for p in folder.iterdir()}


def item_of(out: Path) -> dict:
    validate_item(out / "item.json")
    return json.loads((out / "item.json").read_text())


def recipe_of(out: Path) -> dict:
    return json.loads((out / "manifest.json").read_text())["recipe"]


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("scene")
    return str(write_image(folder / "scene.tif", smooth(4, (60, 60)), geobox_at(height=60, width=60)))


@pytest.fixture
def make(image):
    """A small map."""
    return lambda out, **options: (
        run(Recipe(image=(image,), out=str(out), **{"model": "spectral-rules", **options})).out
    )


@pytest.fixture
def no_pixel_is_computed(monkeypatch):
    monkeypatch.setattr(making, "compute", lambda *_: pytest.fail("refused only after all was computed"))


# --- what may be replaced ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "manifest",
    [
        '{"name": "web app", "icons": []}',
        '{"files": {"index.html": {}}}',
        '{"geoseg": "0.1"}',
        "[1]",
        "{",
        "",
    ],
)
@pytest.mark.parametrize("overwrite", [True, False])
def test_a_manifest_of_something_else_is_no_map(make, tmp_path, manifest, overwrite, no_pixel_is_computed):
    app = tmp_path / "app"
    app.mkdir()
    (app / "manifest.json").write_text(manifest)
    (app / "index.html").write_text("a month of work")
    before = content(app)
    with pytest.raises(OutputError, match="holds files that are not a geoseg map"):
        make(app, overwrite=overwrite)
    assert content(app) == before


def test_files_that_geoseg_did_not_write_are_not_removed(make, tmp_path, monkeypatch):
    out = make(tmp_path / "map")
    (out / "work.qgz").write_text("a QGIS project")
    (out / "notes").mkdir()
    before = content(out)
    monkeypatch.setattr(making, "compute", lambda *_: pytest.fail("refused only after all was computed"))
    with pytest.raises(OutputError, match=r"geoseg did not write: notes, work\.qgz\. Move them") as caught:
        make(out, overwrite=True)
    assert "\n" not in str(caught.value)
    assert content(out) == before


def test_what_qgis_and_gdal_put_beside_is_replaced_too(make, tmp_path):
    out = make(tmp_path / "map")
    for name in ("class.tif.ovr", "preview.png.aux.xml", "classes.gpkg-wal", "classes.gpkg-shm"):
        (out / name).write_text("of the old map")
    before = set(content(make(tmp_path / "other")))
    assert set(content(make(out, overwrite=True))) == before, "an old -wal would spoil the new GeoPackage"


def test_a_file_that_comes_while_it_is_computed_stays(make, tmp_path, monkeypatch):
    out = make(tmp_path / "map")
    before = content(out)
    write = publish.write_polygons

    def write_and_save(*args, **options):
        (out / "work.qgz").write_text("a QGIS project")
        return write(*args, **options)

    monkeypatch.setattr(publish, "write_polygons", write_and_save)
    with pytest.raises(
        OutputError, match=r"did not write: work\.qgz\..* The finished map is in .*map-fin"
    ) as caught:
        make(out, overwrite=True)
    kept = Path(str(caught.value).rpartition(" is in ")[2].removesuffix("."))
    after = content(out)
    assert {name: after[name] for name in before} == before
    assert set(content(kept)) == set(before)
    assert set(after) - set(before) == {"work.qgz", kept.name}


def test_another_map_that_was_faster_is_not_replaced(make, tmp_path, monkeypatch):
    out, write = tmp_path / "map", publish.write_polygons

    def write_after_another(*args, **options):
        monkeypatch.setattr(publish, "write_polygons", write)
        make(out)
        return write(*args, **options)

    monkeypatch.setattr(publish, "write_polygons", write_after_another)
    with pytest.raises(
        OutputError, match=r"exists already\..* The finished map is in .*/map-finished-\w+\.$"
    ):
        make(out)
    first, second = sorted(tmp_path.iterdir())
    assert content(first).keys() == content(second).keys()


# --- where it is put ---------------------------------------------------------------------------------


def test_the_folder_one_stands_in_is_filled_and_replaced(make, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    make(".")
    first = content(here)
    assert item_of(here)["id"] == "here"
    assert json.loads((here / "report.json").read_text())["title"] == "Land cover of scene"
    make(".", overwrite=True)
    assert set(content(Path.cwd())) == set(first)
    assert set(content(tmp_path)) == {"here"}


@pytest.fixture
def mount(tmp_path, monkeypatch):
    """A folder that the system will not rename, as it will not a mount point; with what ext4 puts there."""
    out = tmp_path / "volume"
    (out / "lost+found").mkdir(parents=True)
    rename = Path.rename

    def refuse(self, goal):
        if out in (self, Path(goal)):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        return rename(self, goal)

    monkeypatch.setattr(Path, "rename", refuse)
    return out


def test_a_mount_point_is_filled_and_replaced(make, mount):
    names = {*content(make(mount.parent / "other")), "lost+found"}
    assert set(content(make(mount))) == names
    assert set(content(make(mount, overwrite=True))) == names
    assert set(content(mount.parent)) == {"volume", "other"}


def test_a_link_to_a_folder_stays_and_the_folder_is_filled(make, tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to("far")
    make(tmp_path / "link")
    make(tmp_path / "link", overwrite=True)
    assert (tmp_path / "link").readlink() == Path("far")
    assert item_of(tmp_path / "far")["id"] == "link"
    assert set(content(tmp_path)) == {"far", "link"}


def test_a_link_to_nothing_stays_and_the_folder_is_made(make, tmp_path):
    (tmp_path / "link").symlink_to("deep/far")
    make(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "deep" / "far" / "manifest.json").is_file()


def test_what_cannot_be_written_is_refused_before_anything_is_computed(make, tmp_path, no_pixel_is_computed):
    (tmp_path / "file").write_text("")
    (tmp_path / "circle").symlink_to("circle")
    for out in ("file", "file/map", "circle", "circle/map", "x" * 300):
        with pytest.raises(
            OutputError, match=r"(is a file|cannot be written: ).*\. Give another --out\.$"
        ) as caught:
            make(tmp_path / out)
        assert "\n" not in str(caught.value)
    assert {p.name for p in tmp_path.iterdir()} == {"file", "circle"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_rights_is_refused_before_anything_is_computed(make, tmp_path, no_pixel_is_computed):
    (tmp_path / "locked").mkdir(mode=0o500)
    for out in ("locked", "locked/map"):
        with pytest.raises(OutputError, match=r"cannot be written: Permission denied\. Give another --out"):
            make(tmp_path / out)


def test_a_move_that_fails_half_way_leaves_the_old_map_and_keeps_the_new(make, tmp_path, monkeypatch):
    out = make(tmp_path / "map")
    before = content(out)
    rename = Path.rename

    def break_off(self, goal):
        if self.name == "report.html" and ".partial" in self.parent.name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(self, goal)

    monkeypatch.setattr(Path, "rename", break_off)
    with pytest.raises(OutputError, match=r"Input/output error\. The finished map is in \S+\.$") as caught:
        make(out, overwrite=True)
    kept = Path(str(caught.value).rpartition(" is in ")[2].removesuffix("."))
    after = content(out)
    assert after.pop(kept.name) == "folder"
    assert after == before
    assert set(content(kept)) == set(before)


# --- the item: sources, model, dates -----------------------------------------------------------------


def test_the_item_of_a_sample_map_holds_its_source_and_the_model(tmp_path):
    result = run(
        Recipe(
            aoi=str(SAMPLE / "area.geojson"),
            catalog="sample",
            model="spectral-rules",
            out=str(tmp_path / "map"),
        )
    )
    item = item_of(result.out)
    properties = item["properties"]
    (source,) = properties["geoseg:source_items"]
    assert (source["id"], source["collection"]) == ("l7-etm-olinda", "landsat7-olinda")
    address = source.get("href") or source["files"][0]
    assert Path(address).parent == SAMPLE / "landsat7-olinda" / "l7-etm-olinda"
    for file in source.get("files", [source.get("href")]):
        assert Path(file).is_file()
    assert properties["geoseg:model"] == {"name": "spectral-rules"}
    assert "spectral-rules" in properties["processing:lineage"]
    assert properties["start_datetime"] == "1999-06-29T00:00:00Z", "the source states a span, not a day"
    assert properties["end_datetime"] == "2003-05-31T00:00:00Z"


def test_links_lead_to_the_items_and_the_model(tmp_path):
    catalog = collection_of(tmp_path, [("a", "2024-05-01"), ("b", "2024-07-01")], has_own_file=True)
    model = model_folder(tmp_path / "model", halo=8)
    out = run(Recipe(aoi=AOI, catalog=str(catalog), model=str(model), out=str(tmp_path / "map"))).out
    item = item_of(out)
    properties = item["properties"]
    links = [(link["rel"], link["href"]) for link in item["links"]]
    assert links == [
        *((rel, "./collection.json") for rel in ("root", "parent", "collection")),
        *(("derived_from", str(tmp_path / name)) for name in ("a.json", "b.json", "model/item.json")),
    ]
    found = pystac.Item.from_file(out / "item.json").get_derived_from()
    assert [i.id for i in found] == ["a", "b", "tiny-unet"]
    assert {s["id"] for s in properties["geoseg:source_items"]} == {"a", "b"}
    assert properties["geoseg:model"] == {"name": "tiny-unet", "sha256": sha(model / "weights.safetensors")}
    assert properties["processing:expression"]["expression"] == str(model / "item.json")
    assert (properties["start_datetime"], properties["end_datetime"]) == (
        "2024-05-01T00:00:00Z",
        "2024-07-01T00:00:00Z",
    )


def test_images_without_a_date_are_sources_and_get_no_false_date(make, image, tmp_path, monkeypatch):
    monkeypatch.chdir(Path(image).parent)
    out = run(Recipe(image=("scene.tif",), model="spectral-rules", out=str(tmp_path / "map"))).out
    item = item_of(out)
    properties = item["properties"]
    assert properties["geoseg:source_items"] == [{"id": "scene-0", "files": [image]}]
    assert "derived_from" not in {link["rel"] for link in item["links"]}, (
        "clients read derived_from as an item, which an image is not"
    )
    assert properties["datetime"] == properties["created"]
    assert properties["description"] == "The images state no date: datetime is when this map was made."
    assert properties["geoseg:datetime_known"] is False
    assert "1970" not in (out / "item.json").read_text()


def test_a_date_that_one_of_the_images_states_is_the_maps(image, tmp_path):
    grid = geobox_at(60, 0, height=60, width=60)
    dated = write_image(tmp_path / "dated.tif", smooth(5, (60, 60)), grid)
    with rasterio.open(dated, "r+") as file:
        file.update_tags(TIFFTAG_DATETIME="2024:06:05 13:10:00")
    properties = item_of(
        run(Recipe(image=(image, str(dated)), model="spectral-rules", out=str(tmp_path / "map"))).out
    )["properties"]
    assert properties["datetime"] == "2024-06-05T13:10:00Z"
    assert properties["description"].startswith("1 of 2 images state no date")
    assert "geoseg:datetime_known" not in properties


def collection_of(folder: Path, specs: list[tuple[str, str]], *, has_own_file: bool = False) -> Path:
    """An item collection of scenes of collection ``c``, in one of which clouds are 40 %."""
    items, grid = [], geobox_at(height=60, width=60)
    ground = grid.extent.to_crs("EPSG:4326")
    for seed, (item_id, day) in enumerate(specs):
        href = write_image(folder / f"{item_id}.tif", smooth(seed, (60, 60)), grid)
        item = pystac.Item(
            item_id,
            geometry=ground.json,
            bbox=list(ground.boundingbox.bbox),
            datetime=datetime.fromisoformat(day).replace(tzinfo=UTC),
            properties={"eo:cloud_cover": 40 if item_id == "cloudy" else 5, "proj:code": "EPSG:32725"},
            collection="c",
        )
        fields = {
            "eo:bands": [{"name": b, "common_name": b} for b in ("green", "red", "nir", "swir16")],
            "raster:bands": [{"data_type": "uint16", "nodata": 0, "scale": 1e-4}] * 4,
            "proj:shape": [60, 60],
            "proj:transform": list(grid.affine)[:6],
        }
        media = "image/tiff; application=geotiff"
        item.add_asset("data", pystac.Asset(str(href), media_type=media, extra_fields=fields))
        if has_own_file:
            item.save_object(dest_href=str(folder / f"{item_id}.json"), include_self_link=True)
            item.set_self_href(str(folder / f"{item_id}.json"))
        items.append(item)
    path = folder / "items.json"
    documents = [item.to_dict(include_self_link=has_own_file) for item in items]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": documents}))
    return path


# --- the manifest: the recipe as it was decided ------------------------------------------------------


def same_again(out: Path, again: Path) -> dict:
    """The manifest's recipe, after a run from it has made the same map."""
    resolved = recipe_of(out)
    run(Recipe(**{**resolved, "out": str(again)}))
    for name in RASTERS:
        assert sha(again / name) == sha(out / name)
    assert {**recipe_of(again), "out": ""} == {**resolved, "out": ""}
    return resolved


def test_the_recipe_of_a_sample_map_is_resolved_and_makes_it_again(tmp_path):
    out = run(
        Recipe(
            aoi=str(SAMPLE / "area.geojson"),
            catalog="sample",
            model="spectral-rules",
            out=str(tmp_path / "map"),
        )
    ).out
    resolved = same_again(out, tmp_path / "again")
    manifest = json.loads((out / "manifest.json").read_text())
    assert resolved["collection"] == "landsat7-olinda"
    assert (resolved["gsd"], resolved["crs"]) == (28.5, "EPSG:31985")
    assert {"size": resolved["tile_size"], "halo": resolved["halo"]} == manifest["tiles"]
    assert resolved["max_cloud_cover"] is None, "the catalog states no limit, so none was applied"


def test_the_recipe_of_an_image_and_a_network_makes_the_map_again(image, tmp_path):
    model = str(model_folder(tmp_path / "model", halo=8))
    out = run(Recipe(image=(image,), model=model, out=str(tmp_path / "map"))).out
    resolved = same_again(out, tmp_path / "again")
    assert (resolved["gsd"], resolved["crs"]) == (10, "EPSG:32725")
    assert (resolved["tile_size"], resolved["halo"]) == (64, 8)
    assert resolved["collection"] is None


@pytest.mark.parametrize("default", ['default_collection = "c"', ""])
def test_the_cloud_limit_that_was_applied_is_in_the_recipe(tmp_path, default):
    items = collection_of(
        tmp_path, [("clear", "2024-05-01"), ("cloudy", "2024-07-01"), ("dim", "2024-08-01")]
    )
    bands = ", ".join(
        f'{b} = {{asset = "data", index = {n}}}' for n, b in enumerate(("green", "red", "nir", "swir16"), 1)
    )
    toml = f'title = "C"\nurl = "{items}"\n{default}\n[collections.c]\nmax_cloud_cover = 30\nscale = 1e-4\nnodata = 0\n'
    (tmp_path / "mine.toml").write_text(f"{toml}bands = {{{bands}}}\n")
    out = run(
        Recipe(
            aoi=AOI, catalog=str(tmp_path / "mine.toml"), model="spectral-rules", out=str(tmp_path / "map")
        )
    ).out
    resolved = same_again(out, tmp_path / "again")
    n_items = len(json.loads((out / "manifest.json").read_text())["items"])
    if default:
        assert (resolved["collection"], resolved["max_cloud_cover"], n_items) == ("c", 30, 2)
    else:  # a search without a collection knows no limit; naming the collection afterwards would bring one
        assert (resolved["collection"], resolved["max_cloud_cover"], n_items) == (None, None, 3)


def test_an_area_from_standard_input_is_in_the_recipe(image, tmp_path, monkeypatch):
    area = {
        "type": "Polygon",
        "coordinates": [[[-34.9045, -8.0515], [-34.902, -8.051], [-34.903, -8.0485], [-34.9045, -8.0515]]],
    }
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(area)))
    out = run(Recipe(aoi="-", image=(image,), model="spectral-rules", out=str(tmp_path / "map"))).out
    same_again(out, tmp_path / "again")
    with rasterio.open(out / "class.tif") as source:
        assert 0 < np.mean(source.read(1) == 255) < 1
