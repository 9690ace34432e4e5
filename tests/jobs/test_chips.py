"""Chips: what is labelled, where, and in which split."""

import csv
import errno
import hashlib
import os
import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from builders import geobox_at, smooth, write_image
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from rasterio.warp import reproject

from geoseg.cli.main import run
from geoseg.errors import EvaluationError, GeosegError, ModelError, OutputError, TrainingError
from geoseg.evaluation.labelled import benchmark_of
from geoseg.jobs.chip_request import ChipRequest
from geoseg.jobs.chips import cut_chips
from geoseg.recipe import Recipe
from geoseg.training.chip_folder import read_chip_folder
from geoseg.training.fingerprint import fingerprint_of
from geoseg.training.leaks import overlaps
from geoseg.training.recipe import TrainRecipe

HEIGHT, WIDTH = 150, 170
GRID = geobox_at(3, 7, height=HEIGHT, width=WIDTH)
CLOUD = (slice(40, 90), slice(0, 60))


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    pixels = smooth(4, (HEIGHT, WIDTH))
    pixels[:, *CLOUD] = np.nan
    return write_image(tmp_path_factory.mktemp("scene") / "scene.tif", pixels, GRID)


def recipe(scene, out, **options):
    return Recipe(image=(str(scene),), out=str(out), scale=(0.0001,), offset=(0.0,), **options)


def ask(labels, **options):
    defaults = {
        "label_field": "kind",
        "chip_size": 32,
        "min_labelled": 0.0,
        "max_nodata": 1.0,
        "val_share": 0.3,
    }
    return ChipRequest(str(labels), **{**defaults, **options})


def polygons(seed, n=12):
    rng = np.random.default_rng(seed)
    west, south, east, north = GRID.extent.boundingbox.bbox
    x, y = rng.uniform(west - 100, east, n), rng.uniform(south - 100, north, n)
    shapes = [
        shapely.box(a, b, a + w, b + h)
        for a, b, w, h in zip(x, y, *rng.uniform(60, 500, (2, n)), strict=True)
    ]
    shapes = [shapely.affinity.rotate(s, t) for s, t in zip(shapes, rng.uniform(0, 90, n), strict=True)]
    kinds = rng.permutation([["water", "tree", "crop"][k % 3] for k in range(n)])
    return gpd.GeoDataFrame(
        {"kind": kinds, "town": [f"t{k % 5}" for k in range(n)]}, geometry=shapes, crs=str(GRID.crs)
    )


def write_polygons(path, frame):
    frame.to_file(path)
    return path


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    return write_polygons(tmp_path_factory.mktemp("labels") / "fields.gpkg", polygons(0, 40))


def rows_of(folder):
    with (folder / "index.csv").open() as source:
        return list(csv.DictReader(source))


def mosaic(folder, kind, *, fill):
    """What the chips hold, put together on the scene's grid, and how often each pixel is in one."""
    found, n = None, np.zeros((HEIGHT, WIDTH), int)
    for row in rows_of(folder):
        with rasterio.open(folder / kind / f"{row['chip']}.tif") as source:
            left, top = ~GRID.affine * (source.transform.c, source.transform.f)
            pixels = source.read()
        if found is None:
            found = np.full((len(pixels), HEIGHT, WIDTH), fill, pixels.dtype)
        for i, j in np.ndindex(*pixels.shape[1:]):
            at = round(top) + i, round(left) + j
            if 0 <= at[0] < HEIGHT and 0 <= at[1] < WIDTH:
                found[:, *at], n[at] = pixels[:, i, j], n[at] + 1
    return found, n


# --- laws ----------------------------------------------------------------------------------------


@given(st.integers(0, 10_000), st.sampled_from([24, 64]))
@settings(max_examples=3, deadline=None)
def test_labels_of_all_chips_are_the_polygons_burned_on_the_whole_grid(scene, tmp_path_factory, seed, side):
    folder = tmp_path_factory.mktemp("law")
    frame = polygons(seed)
    labels = write_polygons(folder / "labels.gpkg", frame)
    made = cut_chips(recipe(scene, folder / "out"), ask(labels, chip_size=side, val_share=0.0, rest="other"))
    names = [c.name for c in made.classes]
    burned = np.full((len(names), HEIGHT, WIDTH), False)
    for n, name in enumerate(names[:-1]):
        shapes = frame.geometry[frame.kind == name]
        burned[n] = rasterize(shapes, (HEIGHT, WIDTH), transform=GRID.affine) > 0
    expected = np.where(burned.sum(0) == 1, burned.argmax(0), 255)
    expected[burned.sum(0) == 0] = len(names) - 1
    expected[CLOUD] = 255
    found, n = mosaic(folder / "out", "labels", fill=255)
    assert n.max() == 1  # no two chips share a pixel
    assert (found[0] == expected).all()


def test_images_are_the_scene_as_reflectance_and_clouds_are_not_learned(scene, fields, tmp_path):
    cut_chips(recipe(scene, tmp_path / "out"), ask(fields, rest="other"))
    found, n = mosaic(tmp_path / "out", "chips", fill=-9999)
    with rasterio.open(scene) as source:
        stored = source.read().astype(int)
    expected = np.where(stored == 0, -9999, stored)
    expected[:, n == 0] = -9999
    assert (found == expected).all()
    assert (mosaic(tmp_path / "out", "labels", fill=255)[0][:, *CLOUD] == 255).all()


def test_chips_are_the_same_for_any_block(scene, fields, tmp_path):
    def bytes_of(folder):
        return {
            p.relative_to(folder): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in folder.rglob("*.*") if p.suffix != ".toml"
        }  # fmt: skip

    for block in (160, 1024):
        cut_chips(recipe(scene, tmp_path / f"{block}"), ask(fields), block=block)
    one, other = (dict(sorted(bytes_of(tmp_path / name).items())) for name in ("160", "1024"))
    assert {p for p in one if p.suffix == ".tif"}
    assert {p: h for p, h in one.items() if p.suffix == ".tif"} == {
        p: h for p, h in other.items() if p.suffix == ".tif"
    }
    key = lambda row: row["chip"]  # noqa: E731
    assert sorted(rows_of(tmp_path / "160"), key=key) == sorted(rows_of(tmp_path / "1024"), key=key)


@pytest.mark.parametrize("how", [{}, {"place_field": "town"}, {"block_m": 400.0, "test_share": 0.2}])
def test_no_ground_and_no_place_is_in_two_splits(scene, fields, tmp_path, how):
    made = cut_chips(recipe(scene, tmp_path / "out"), ask(fields, **how))
    of_place = {}
    for row in made.rows:
        of_place.setdefault(row.place, set()).add(row.split)
    assert {len(splits) for splits in of_place.values()} == {1}
    for split in ("train", "val"):
        own, others = ([r.box for r in made.rows if (r.split == split) is is_own] for is_own in (True, False))
        assert own
        assert not len(overlaps(own, others)[0])
    for row in made.rows:
        with rasterio.open(tmp_path / "out" / "labels" / f"{row.chip}.tif") as source:
            counts = np.bincount(source.read(1).ravel(), minlength=256)
            assert source.bounds == row.ground[1:]
        shares = {c.name: counts[c.values[0]] / 32**2 for c in made.classes if counts[c.values[0]]}
        assert row.shares == shares


def test_a_chip_has_labels_of_its_own_place_only(scene, fields, tmp_path):
    made = cut_chips(recipe(scene, tmp_path / "out"), ask(fields, place_field="town"))
    frame = gpd.read_file(fields)
    for row in made.rows:
        with rasterio.open(tmp_path / "out" / "labels" / f"{row.chip}.tif") as source:
            labels, transform = source.read(1), source.transform
        own = rasterize(frame.geometry[frame.town == row.place], labels.shape, transform=transform)
        assert (own[labels != 255] == 1).all()


# --- adding --------------------------------------------------------------------------------------


def test_added_chips_of_known_ground_take_its_place_and_split(scene, fields, tmp_path):
    out = tmp_path / "out"
    first = cut_chips(recipe(scene, out), ask(fields))
    shifted = geobox_at(
        9, 18, height=HEIGHT, width=WIDTH
    )  # other blocks, off the lattice of the first by nothing
    later = write_image(tmp_path / "later.tif", smooth(9, (HEIGHT, WIDTH)), shifted)
    more = gpd.read_file(fields)
    more.loc[0, "kind"] = "a new class"
    more = write_polygons(tmp_path / "more.gpkg", more)
    request = ask(more, label_field="kind", chip_size=None, add=True)
    both = cut_chips(recipe(later, out), request)
    assert both.rows[: len(first.rows)] == first.rows
    assert {row.run for row in both.rows} == {1, 2}
    assert [c.name for c in both.classes] == ["crop", "tree", "water", "a new class"]
    held, learned = ([r for r in both.rows if (r.split == "val") is v] for v in (True, False))
    assert not len(overlaps([r.box for r in held], [r.box for r in learned])[0])
    assert {r.run for r in held} == {1, 2}
    assert read_chip_folder(out).rows == both.rows
    assert {s.place for s in benchmark_of(str(out / "chips.toml")).samples(out, "val")} == {
        r.place for r in held
    }
    for options, flag in (({"block_m": 333.0}, "block-m"), ({"place_field": "town"}, "place-field")):
        with pytest.raises(TrainingError, match=f"by --block-m 640. Leave out --{flag}"):
            cut_chips(recipe(later, out), replace(request, **options))
    with pytest.raises(TrainingError, match=r"'not stated'\. Leave out --license"):
        cut_chips(recipe(later, out), replace(request, license="MIT"))
    with pytest.raises(TrainingError, match="Leave out --keep-bands"):
        cut_chips(recipe(later, out), replace(request, keep_bands=("red",)))
    with pytest.raises(TrainingError, match=r"holds no chips\.toml"):
        cut_chips(recipe(later, tmp_path), request)


def test_what_people_put_in_the_description_stays(scene, fields, tmp_path):
    out = tmp_path / "out"
    cut_chips(recipe(scene, out), ask(fields, place_field="town", license="CC BY 4.0"))
    text = (out / "chips.toml").read_text().replace('"val"', '"held"')
    text = text.replace("[[classes]]", 'home = "https://example.org"\nother = "ignore"\n[[classes]]', 1)
    text += '[[ignore]]\nvalues = [200]\nonly = ["tree"]\n'
    (out / "chips.toml").write_text(text.replace("values = [2]", "values = [2, 3]"))
    (out / "index.csv").write_text((out / "index.csv").read_text().replace(",val,", ",held,"))
    before = read_chip_folder(out).document
    more = gpd.read_file(fields)
    more.loc[0, "kind"] = "a new class"
    more = write_polygons(tmp_path / "more.gpkg", more)
    made = cut_chips(recipe(scene, out), ask(more, add=True, license="CC BY 4.0", val_share=0.0))
    after = read_chip_folder(out).document
    assert after == before.model_copy(update={"classes": after.classes})
    assert [c.values for c in after.classes] == [(0,), (1,), (2, 3), (4,)]
    assert {row.place for row in made.rows} <= {f"t{k}" for k in range(5)}
    (out / "chips.toml").write_text("label_layer = 2\n" + (out / "chips.toml").read_text())
    with pytest.raises(TrainingError, match="has another label_layer than geoseg chips writes"):
        cut_chips(recipe(scene, out), ask(fields, add=True))


def reads(folder):
    """All that a reader has of a folder of chips, and every file of it is there and can be read."""
    found = read_chip_folder(folder)
    benchmark = benchmark_of(str(folder / "chips.toml"))
    for split in benchmark.splits:
        for sample in benchmark.samples(folder, split):
            sample.read_labels()
            sample.read_image()
    return found.document.model_copy(update={"index": None}), found.rows, len(found.notes)


@pytest.mark.parametrize("is_killed", [pytest.param(False, marks=pytest.mark.lane), True])
def test_adding_is_all_or_nothing_wherever_it_breaks(scene, tmp_path, monkeypatch, is_killed):
    frame = polygons(0, 40)
    labels, base = write_polygons(tmp_path / "l.gpkg", frame), tmp_path / "base"
    cut_chips(recipe(scene, base), ask(labels, chip_size=96))
    frame.loc[0, "kind"] = "a new class"
    request = ask(write_polygons(tmp_path / "m.gpkg", frame), chip_size=96, add=True, test_share=0.0)
    old, moved, rename = reads(base), [], os.replace

    def replace_or_break(source, target, *, at, killed):
        if len(moved) == at:
            if is_killed and not killed.exists():
                shutil.copytree(Path(target).parents[Path(target).suffix == ".tif"], killed)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        moved.append(target)
        rename(source, target)

    def add(at):
        out = shutil.copytree(base, tmp_path / f"o{at}")
        killed = tmp_path / f"k{at}"
        moved.clear()
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", partial(replace_or_break, at=at, killed=killed))
            if at < 0 or at >= n_commit + 1 > 0:  # the description is there: the rest is tidying
                cut_chips(recipe(scene, out), request)
            else:
                with pytest.raises(OutputError, match=f"{out.name} cannot be written: No space left"):
                    cut_chips(recipe(scene, out), request)
        return killed if is_killed and at >= 0 else out

    n_commit = -1
    new = reads(add(-1))
    names = [Path(p).name for p in moved]
    n_commit, n = names.index("chips.toml"), len(moved)
    assert names[n_commit - 1 :] == ["index.new.csv", "chips.toml", "index.csv", "chips.toml"]
    for at in {0, 3, *range(n_commit - 1, n)}:
        out = add(at)
        assert reads(out) == (new if at > n_commit else old)
        if is_killed:
            assert (out / ".adding").exists()
            with pytest.raises(OutputError, match=r"if none runs, remove .*\.adding"):
                cut_chips(recipe(scene, out), request)
            (out / ".adding").unlink()
        again = cut_chips(recipe(scene, out), request)
        document, rows, n_notes = reads(out)
        assert [row.chip for row in rows] == [row.chip for row in again.rows]
        assert n_notes == 2 + (at > n_commit) == max(row.run for row in rows)
        assert {p.name for p in out.iterdir()} == {"chips.toml", "index.csv", "chips", "labels"}
        for kind in ("chips", "labels"):
            assert {p.stem for p in (out / kind).iterdir()} == {row.chip for row in rows}
        if at <= n_commit:
            assert (document, rows, n_notes) == new


def test_a_folder_that_cannot_be_locked_is_one_line(scene, fields, tmp_path, monkeypatch):
    out = tmp_path / "out"
    cut_chips(recipe(scene, out), ask(fields))

    def refuse(*_):
        raise PermissionError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OutputError, match="out cannot be written: Read-only file system"):
        cut_chips(recipe(scene, out), ask(fields, add=True))


def test_chips_and_places_narrower_than_a_metre_have_names_of_their_own(tmp_path):
    grid = GeoBox((64, 64), Affine(0.01, 0, 300_000, 0, -0.01, 9_000_000), "EPSG:32725")
    scene = write_image(tmp_path / "scene.tif", smooth(1, (64, 64)), grid)
    kinds = ["tree" if n % 2 else "water" for n in range(16)]
    corners = [(300_000 + 0.16 * (n % 4), 9_000_000 - 0.16 * (n // 4)) for n in range(16)]
    boxes = [shapely.box(x, y - 0.16, x + 0.12, y) for x, y in corners]
    frame = gpd.GeoDataFrame({"kind": kinds}, geometry=boxes, crs="EPSG:32725")
    labels = write_polygons(tmp_path / "l.gpkg", frame)
    made = cut_chips(recipe(scene, tmp_path / "out"), ask(labels, chip_size=16, block_m=0.16))
    assert len({row.chip for row in made.rows}) == len({row.ground for row in made.rows}) == len(made.rows)
    assert len({row.place for row in made.rows}) == len(made.rows) > 8


# --- labels of other kinds -----------------------------------------------------------------------


def test_a_raster_of_another_crs_is_brought_by_the_nearest_pixel(scene, tmp_path):
    grid = GRID.to_crs("EPSG:4326")
    labels = np.where(np.indices(grid.shape).sum(0) // 40 % 2, 7, 3).astype(np.uint8)
    labels[:20] = 9
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "height": grid.shape.y, "width": grid.shape.x}
    with rasterio.open(tmp_path / "l.tif", "w", crs="EPSG:4326", transform=grid.affine, **profile) as sink:
        sink.write(labels, 1)
    (tmp_path / "legend.toml").write_text(
        '[[classes]]\nvalue = 3\nname = "tree"\ncolor_hint = "006400"\n[[classes]]\nvalue = 7\nname = "water"\n'
        'color_hint = "0064C8"\n'
    )
    (tmp_path / "crosswalk.toml").write_text('[reference]\n"9" = "ignore"\n')
    request = ask(
        tmp_path / "l.tif",
        label_field=None,
        legend=tmp_path / "legend.toml",
        crosswalk=tmp_path / "crosswalk.toml",
    )
    made = cut_chips(recipe(scene, tmp_path / "out"), request)
    assert [(c.name, c.color_hint) for c in made.classes] == [("tree", "006400"), ("water", "0064C8")]
    warped = np.full((HEIGHT, WIDTH), 255, np.uint8)
    reproject(
        labels, warped, src_transform=grid.affine, src_crs="EPSG:4326", dst_transform=GRID.affine,
        dst_crs=str(GRID.crs), init_dest_nodata=False, tolerance=0.001,
    )  # fmt: skip
    expected = np.select([warped == 3, warped == 7], [0, 1], 255)
    expected[CLOUD] = 255
    found, n = mosaic(tmp_path / "out", "labels", fill=255)
    assert (found[0] == expected)[n == 1].mean() > 0.999


def test_an_area_cuts_the_labels(scene, fields, tmp_path):
    west, south, east, north = GRID.extent.boundingbox.bbox
    area = gpd.GeoDataFrame(geometry=[shapely.box(west, south, (west + east) / 2, north)], crs=str(GRID.crs))
    area.to_file(tmp_path / "area.gpkg")
    cut_chips(recipe(scene, tmp_path / "out", aoi=str(tmp_path / "area.gpkg")), ask(fields, rest="other"))
    found, _ = mosaic(tmp_path / "out", "labels", fill=255)
    assert (found[0, :, WIDTH // 2 :] == 255).all()
    cut_chips(recipe(scene, tmp_path / "whole"), ask(fields, rest="other"))
    whole, _ = mosaic(tmp_path / "whole", "labels", fill=255)
    assert (found[0, :, : WIDTH // 2] == whole[0, :, : WIDTH // 2]).all()
    assert (whole[0, :, WIDTH // 2 :] != 255).any()


# --- what cannot be used --------------------------------------------------------------------------


def broken(frame, how):
    if how == "far":
        frame = frame.set_geometry(frame.translate(500_000))
    if how == "one class":
        frame["kind"] = "tree"
    if how == "many":
        frame = gpd.GeoDataFrame(
            {"kind": [f"k{n}" for n in range(300)]},
            geometry=[
                shapely.box(
                    *(GRID.affine * (n % 150, n // 150 * 50)),
                    *(GRID.affine * (n % 150 + 1, n // 150 * 50 + 40)),
                )
                for n in range(300)
            ],
            crs=frame.crs,
        )
    if how == "empty":
        frame = frame.set_geometry([shapely.Polygon()] * len(frame))
    if how == "points":
        frame = frame.set_geometry(frame.centroid)
    return frame


@pytest.mark.parametrize(
    ("how", "options", "message"),
    [
        ("far", {}, r"labels.gpkg \(west,south,east,north .*\) and the imagery \(.*\) do not overlap"),
        ("", {"label_field": "knid"}, "no attribute 'knid': did you mean kind"),
        ("", {"place_field": "twon"}, "no attribute 'twon': did you mean town"),
        ("one class", {}, "tree is the only class of the labels.*--rest"),
        ("many", {}, "300 classes, at most 254"),
        ("empty", {}, "no polygon with a kind"),
        ("points", {}, "no polygon with a kind"),
        ("", {"min_labelled": 1.0}, "No chip has labels on 100.00%"),
        ("", {"keep_bands": ("purple",)}, "purple is not a STAC common name"),
        ("", {"keep_bands": ("coastal",)}, "has no coastal; it has green, nir, red, swir16"),
        ("", {"chip_size": 500, "block_m": 50_000.0}, "cannot be parted into train, val"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said_in_one_line(scene, tmp_path, how, options, message):
    labels = write_polygons(tmp_path / "labels.gpkg", broken(polygons(0), how))
    with pytest.raises(GeosegError, match=message):
        cut_chips(recipe(scene, tmp_path / "out"), ask(labels, **{"label_field": "kind", **options}))
    assert [p.name for p in tmp_path.iterdir()] == ["labels.gpkg"]


def test_labels_without_a_crs_or_with_fractions_and_folders_that_exist(scene, fields, tmp_path):
    bare = gpd.read_file(fields).set_crs(None, allow_override=True)
    bare.to_file(tmp_path / "bare.gpkg")
    with pytest.raises(EvaluationError, match="does not say its CRS"):
        cut_chips(recipe(scene, tmp_path / "out"), ask(tmp_path / "bare.gpkg"))
    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "height": HEIGHT, "width": WIDTH}
    with rasterio.open(tmp_path / "f.tif", "w", crs=str(GRID.crs), transform=GRID.affine, **profile) as sink:
        sink.write(np.full((1, HEIGHT, WIDTH), 1.5, np.float32))
    with pytest.raises(EvaluationError, match="holds float32, expected classes as integers"):
        cut_chips(recipe(scene, tmp_path / "out"), ask(tmp_path / "f.tif", label_field=None))
    with pytest.raises(ModelError, match="exists already"):
        cut_chips(recipe(scene, tmp_path), ask(fields))


# --- the whole way -------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::geoseg.errors.GeosegWarning")
def test_from_a_catalog_and_polygons_to_a_model(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    at = rng.uniform((-34.905, -8.025), (-34.845, -7.96), (40, 2))
    frame = gpd.GeoDataFrame(
        {"class": [["a", "b"][n % 2] for n in range(40)]},
        geometry=[shapely.Point(p).buffer(0.004) for p in at],
        crs="EPSG:4326",
    )
    labels, out = write_polygons(tmp_path / "l.geojson", frame), tmp_path / "chips"

    def geoseg(*args):
        monkeypatch.setattr(sys, "argv", ["geoseg", *map(str, args)])
        with pytest.raises(SystemExit) as ended:
            run()
        return ended.value.code

    command = ("chips", "--catalog", "sample", "--labels", labels, "--chip-size", 64, "--out", out)
    assert geoseg(*command) == 0, capsys.readouterr().err
    assert geoseg(*command) == 2
    found, benchmark, _ = fingerprint_of(out)
    assert (found.side, found.gsd_m, found.has_val, found.is_even) == (64, 28.5, True, True)
    assert benchmark.bands == ("blue", "green", "red", "nir08", "swir16", "swir22")
    assert geoseg("train", "--auto", out, "--out", tmp_path / "auto.toml", "-q") == 0
    text = (tmp_path / "auto.toml").read_text()
    TrainRecipe.read(str(tmp_path / "auto.toml"))
    text = (
        text[: text.index("[fit]")]
        + '[fit]\nepochs = 1\nbatch_size = 2\nsteps_per_epoch = 2\nprecision = "32-true"\n'
    )
    (tmp_path / "auto.toml").write_text(
        text.replace('"width": 24', '"width": 8').replace("width = 24", "width = 8")
    )
    assert geoseg("train", tmp_path / "auto.toml", "--out", tmp_path / "model", "-q") == 0, (
        capsys.readouterr().err
    )
    assert {"item.json", "weights.safetensors", "card.md"} <= {p.name for p in (tmp_path / "model").iterdir()}
