"""The folder that a comparison of two maps leaves: what is in it agrees, and it appears whole or not at all."""

import csv
import json
import sqlite3
import tracemalloc
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from change_builders import AT, LEGEND, UTM, brute_force, patches, write_map
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate

from geoseg.errors import EvaluationError, OutputError
from geoseg.evaluation.areas.report import AreaRequest, report_areas
from geoseg.evaluation.areas.sampling import Design, draw_sample
from geoseg.evaluation.change_maps import ChangeCrosswalk
from geoseg.evaluation.maps import legend_of
from geoseg.files import sha256_of
from geoseg.grid.ground import row_areas_m2
from geoseg.jobs import change as job
from geoseg.jobs.change import compare
from geoseg.jobs.run import run
from geoseg.legend import Legend
from geoseg.recipe import Recipe
from geoseg.report.change import ChangeReport
from geoseg.writers.pam import write_pam

FILES = {
    "change.json", "transition.csv", "change.tif", "change.tif.aux.xml", "change.qml", "change.gpkg", "manifest.json",
}  # fmt: skip
PERU = Path(__file__).parents[3] / "shared" / "data" / "imagery" / "landsat_peru_timeseries"
SHAPE = (70, 90)
DEGREES = Affine(1e-3, 0, 15, 0, -1e-3, 60)


@pytest.fixture
def pair(tmp_path):
    """Two maps that share much."""
    before = patches(1, SHAPE)
    after = np.where(patches(2, SHAPE, n=2, size=16, nodata=0) == 0, before, patches(3, SHAPE))
    return write_map(tmp_path / "before.tif", before), write_map(tmp_path / "after.tif", after)


def read(path):
    with rasterio.open(path) as source:
        return source.read(1)


def burnt(out):
    """The polygons of a folder at pixel centres; 0 where there is none."""
    frame = gpd.read_file(out / "change.gpkg", layer="classes")
    with rasterio.open(out / "change.tif") as source:
        shapes = list(zip(frame.geometry, frame.class_id, strict=True))
        if not shapes:
            return np.zeros(source.shape, np.uint8)
        return rasterize(shapes, out_shape=source.shape, transform=source.transform, fill=0, dtype="uint8")


def table_of(out, unit):
    rows = list(csv.reader((out / "transition.csv").open()))
    return rows[0][2:], {r[0]: [float(v) for v in r[2:]] for r in rows[1:] if r[1] == unit}


@pytest.mark.parametrize(("at", "crs"), [(AT, UTM), (DEGREES, "EPSG:4326")], ids=["metres", "degrees"])
def test_matrix_map_and_polygons_say_the_same(tmp_path, at, crs):
    before, after = patches(1, SHAPE), patches(2, SHAPE, size=11)
    paths = [write_map(tmp_path / n, v, at=at, crs=crs) for n, v in (("a.tif", before), ("b.tif", after))]
    out = tmp_path / "out"
    report = compare(*paths, out=out)
    assert {p.name for p in out.iterdir()} == FILES
    row_ha = row_areas_m2(GeoBox(SHAPE, at, crs)) / 10_000
    pixels, area_ha = brute_force(before, after, row_ha, 3)
    assert report.matrix.names == ("water", "forest", "built", "nodata")
    assert (np.array(report.matrix.pixels) == pixels).all()
    np.testing.assert_allclose(report.matrix.area_ha, area_ha, rtol=1e-12)
    for unit, values, near in (("pixels", pixels, 0), ("ha", area_ha, 1e-6 * 8)):
        columns, rows = table_of(out, unit)
        assert columns == list(rows) == [*report.matrix.names, "total"]
        sums = np.vstack([values, values.sum(0)])
        np.testing.assert_allclose(list(rows.values()), np.column_stack([sums, sums.sum(1)]), atol=near)

    names = {c.value: c.name for c in legend_of(out / "change.tif").classes}
    class_id = read(out / "change.tif")
    both = (before != 255) & (after != 255)
    assert ((class_id == 255) == ~both).all()
    assert ((class_id == 0) == (both & (before == after))).all()
    for t in report.transitions:
        there = class_id == t.class_id
        assert names[t.class_id] == t.class_name == f"{t.before} to {t.after}"
        assert there.sum() == t.pixels
        assert (there.sum(1) * row_ha).sum() == pytest.approx(t.area_ha, rel=1e-12)
        assert {LEGEND.classes[v].name for v in before[there].tolist()} == {t.before}
        assert {LEGEND.classes[v].name for v in after[there].tolist()} == {t.after}
    assert (burnt(out) == np.where(class_id == 255, 0, class_id)).all()
    frame = gpd.read_file(out / "change.gpkg", layer="classes")
    assert frame.is_valid.all()
    by_name = frame.groupby("class_name").area_ha.sum()
    for t in report.transitions:
        assert by_name[t.class_name] == pytest.approx(t.area_ha, rel=1e-9)


def test_each_class_has_gain_loss_net_and_what_stayed(pair, tmp_path):
    report = compare(*pair, out=tmp_path / "out")
    before, after = map(read, pair)
    both = (before != 255) & (after != 255)
    for n, c in enumerate(report.classes):
        was, is_ = before == n, after == n
        assert c.before_ha * 100 == pytest.approx(was.sum())
        assert c.after_ha * 100 == pytest.approx(is_.sum())
        assert c.unchanged_ha * 100 == pytest.approx((was & is_).sum())
        assert c.gain_ha * 100 == pytest.approx((both & is_ & ~was).sum())
        assert c.loss_ha * 100 == pytest.approx((both & was & ~is_).sum())
        assert c.net_ha == pytest.approx(c.gain_ha - c.loss_ha)
        assert (c.before_class_ids, c.after_class_ids) == ((n,), (n,))
    assert report.compared_ha * 100 == pytest.approx(both.sum())
    assert report.changed_share == pytest.approx((both & (before != after)).sum() / both.sum())
    lost = (before != 255) & (after == 255)
    assert any(note.startswith(f"{lost.sum() / 100:,.1f} ha of {pair[0]} were not") for note in report.notes)


def test_the_files_are_what_others_expect_of_them(pair, tmp_path):
    out = tmp_path / "out"
    report = compare(*pair, out=out)
    assert ChangeReport.model_validate_json((out / "change.json").read_text()) == report
    is_cog, errors, _ = cog_validate(out / "change.tif")
    assert is_cog, errors
    with rasterio.open(out / "change.tif") as source, rasterio.open(pair[0]) as first:
        assert (source.crs, source.transform, source.shape) == (first.crs, first.transform, first.shape)
        assert (source.nodata, source.dtypes) == (255, ("uint8",))
        colors = source.colormap(1)
    legend = legend_of(out / "change.tif")
    assert all(colors[c.value][:3] == c.rgb for c in legend.classes)
    assert legend.classes[0].name == "no change"
    style = (out / "change.qml").read_text()
    assert all(f'label="{c.name}"' in style for c in legend.classes)
    with sqlite3.connect(out / "change.gpkg") as database:
        ((style, default),) = database.execute("SELECT styleQML, useAsDefault FROM layer_styles")
    assert default == 1
    assert all(f'label="{t.class_name}"' in style for t in report.transitions)
    assert "no change" not in style
    manifest = json.loads((out / "manifest.json").read_text())
    assert {*manifest["files"]} == FILES - {"manifest.json"}
    for name, facts in manifest["files"].items():
        assert facts == {"sha256": sha256_of(out / name), "bytes": (out / name).stat().st_size}
    assert [i["sha256"] for i in manifest["inputs"]] == [sha256_of(p) for p in pair]


def test_a_map_has_not_changed_against_itself(pair, tmp_path):
    report = compare(pair[0], pair[0], out=tmp_path / "out")
    assert report.changed_ha == 0
    assert report.transitions == ()
    assert set(np.unique(read(tmp_path / "out" / "change.tif"))) == {0, 255}
    assert gpd.read_file(tmp_path / "out" / "change.gpkg", layer="classes").empty


def test_the_same_maps_give_the_same_pixels_and_polygons_again(pair, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for out in (one, two):
        compare(*pair, out=out)
    for name in ("transition.csv", "change.tif", "change.tif.aux.xml", "change.qml"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_a_crosswalk_and_another_grid_are_said(pair, tmp_path):
    """The same map with other names, other values and pixels half as wide."""
    names = Legend.of(town="D7191C", lake="1F78B4", trees="33A02C", clouds="FFFFFF")
    renumbered = np.full(256, 3)
    renumbered[:3] = 1, 2, 0
    finer = renumbered[read(pair[1])].repeat(2, 0).repeat(2, 1)
    after = write_map(tmp_path / "finer.tif", finer, legend=names, at=AT * Affine.scale(1 / 2))
    walk = ChangeCrosswalk(after={"lake": "water", "2": "forest", "town": "built", "clouds": "ignore"})
    said = []
    report = compare(pair[0], after, out=tmp_path / "out", crosswalk=walk, say=said.append)
    plain = compare(*pair, out=tmp_path / "plain")
    assert report.matrix == plain.matrix
    assert (read(tmp_path / "out" / "change.tif") == read(tmp_path / "plain" / "change.tif")).all()
    assert [c.class_name for c in report.classes] == ["water", "forest", "built"]
    assert any("0.5 times as wide" in note and "most frequent" in note for note in report.notes)
    assert set(report.notes[:2]) <= set(said)
    assert report.crosswalk == walk


def test_a_folder_is_replaced_only_when_asked_and_only_geosegs(pair, tmp_path):
    out = tmp_path / "out"
    compare(*pair, out=out)
    before = (out / "transition.csv").read_bytes()
    with pytest.raises(OutputError, match="--overwrite"):
        compare(*pair[::-1], out=out)
    assert (out / "transition.csv").read_bytes() == before
    compare(*pair[::-1], out=out, overwrite=True)
    assert (out / "transition.csv").read_bytes() != before
    assert {p.name for p in out.iterdir()} == FILES
    (out / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match=r"mine\.txt"):
        compare(*pair, out=out, overwrite=True)


def test_a_map_is_not_replaced_by_its_own_change(pair, tmp_path):
    with pytest.raises(OutputError, match="lies in"):
        compare(*pair, out=tmp_path, overwrite=True)


@pytest.mark.parametrize("step", ["_write_raster", "_write_polygons", "_write_csv", "_write_manifest"])
def test_a_failure_leaves_nothing(pair, tmp_path, monkeypatch, step):
    def fail(*args, **options):
        raise OutputError("The disk is full.")

    monkeypatch.setattr(job, step, fail)
    there = {p.name for p in tmp_path.iterdir()}
    with pytest.raises(OutputError, match="disk is full"):
        compare(*pair, out=tmp_path / "deep" / "out")
    assert {p.name for p in tmp_path.iterdir()} - there <= {"deep"}
    assert not any((tmp_path / "deep").iterdir())


def test_maps_that_cannot_be_compared_leave_nothing(pair, tmp_path):
    empty = write_map(tmp_path / "empty.tif", np.full(SHAPE, 255))
    turned = write_map(
        tmp_path / "turned.tif", np.zeros(SHAPE), at=DEGREES * Affine.rotation(9), crs="EPSG:4326"
    )
    unknown = write_map(tmp_path / "unknown.tif", np.full(SHAPE, 9))
    for paths, message in (
        ((pair[0], empty), "Not one pixel has a class in both"),
        ((pair[0], unknown), r"unknown\.tif holds the value 9,"),
        ((unknown, pair[0]), r"unknown\.tif holds the value 9,"),
        ((turned, turned), "lies rotated on a grid in degrees"),
    ):
        with pytest.raises(EvaluationError, match=message):
            compare(*paths, out=tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_areas_in_a_stretching_crs_are_said(tmp_path):
    at = Affine(10, 0, 1e6, 0, -10, 8_399_737)
    path = write_map(tmp_path / "a.tif", patches(0, SHAPE), at=at, crs="EPSG:3857")
    assert any(
        "EPSG:3857 are up to 4 times" in note for note in compare(path, path, out=tmp_path / "o").notes
    )


# --- areas of change with intervals -----------------------------------------------------------------------


def test_a_sample_of_the_change_map_estimates_areas_of_change(tmp_path):
    """Maps that overlook change in one place of twenty; points labelled with what is true."""
    rng = np.random.default_rng(5)
    shape = (300, 300)
    truth = [patches(6, shape, size=30, nodata=0), patches(7, shape, size=30, nodata=0)]
    truth[1] = np.where(patches(8, shape, n=4, size=30, nodata=0) > 0, truth[0], truth[1])
    mapped = [np.where(rng.random(shape) < 0.05, rng.integers(0, 3, shape), t) for t in truth]
    paths = [write_map(tmp_path / f"{n}.tif", v) for n, v in zip("ab", mapped, strict=True)]
    report = compare(*paths, out=tmp_path / "out")
    change = tmp_path / "out" / "change.tif"
    drawn = draw_sample(change, Design(size=900, min_per_stratum=60, seed=1))
    points = drawn.points
    assert set(points.stratum_name) == {"no change", *(t.class_name for t in report.transitions)}
    col, row = (
        np.floor(v).astype(int) for v in ~AT * (points.geometry.x.to_numpy(), points.geometry.y.to_numpy())
    )
    was, became = (t[row, col] for t in truth)
    names = [c.name for c in LEGEND.classes]
    true_names = [
        "no change" if b == a else f"{names[b]} to {names[a]}" for b, a in zip(was, became, strict=True)
    ]
    labels = tmp_path / "labels.csv"
    pd.DataFrame({"stratum": points.stratum, "reference_class": true_names}).to_csv(labels, index=False)
    figures = {c.class_name: c for c in report_areas(AreaRequest(labels=labels, map=change)).whole.classes}
    counted = {t.class_name: t.area_ha for t in report.transitions}
    n_closer = 0
    for b in range(3):
        for a in range(3):
            if a != b:
                figure = figures[name := f"{names[b]} to {names[a]}"]
                true_ha = ((truth[0] == b) & (truth[1] == a)).sum() / 100
                assert figure.mapped_ha == pytest.approx(counted[name])
                assert abs(figure.area_ha - true_ha) < 4 * max(figure.area_se_ha, 1)
                n_closer += abs(figure.area_ha - true_ha) < abs(counted[name] - true_ha)
    assert n_closer >= 4, "counted pixels take errors for change"
    again = compare(*paths, out=tmp_path / "out", overwrite=True, sample=labels)
    assert again.areas.whole.classes == tuple(figures.values())
    assert json.loads((tmp_path / "out" / "change.json").read_text())["areas"]["n_points"] == 900
    assert any("--sample" in note for note in report.notes)
    assert not any("--sample" in note for note in again.notes)
    with pytest.raises(OutputError, match="lies in"):
        compare(*paths, out=tmp_path, overwrite=True, sample=labels)


# --- memory, real maps ------------------------------------------------------------------------------------


def _sparse_map(path: Path, height: int, seed: int) -> Path:
    """A map of 2048 columns, most of it nodata, with some change near its top."""
    layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "sparse_ok": True}
    with rasterio.open(path, "w", driver="GTiff", height=height, width=2048, count=1, dtype="uint8", nodata=255,
                       crs=UTM, transform=AT, **layout) as sink:  # fmt: skip
        sink.write(patches(seed, (512, 512), size=64), 1, window=Window(1024, 512, 512, 512))
        sink.write_colormap(1, {c.value: c.rgb for c in LEGEND.classes})
    write_pam(path.with_name(f"{path.name}.aux.xml"), LEGEND, "class")
    return path


def _peak_mb(folder: Path, height: int) -> float:
    """Of what Python and numpy hold at a time while two maps are compared."""
    paths = [_sparse_map(folder / f"{height}-{seed}.tif", height, seed) for seed in (0, 1)]
    tracemalloc.start()
    try:
        compare(*paths, out=folder / f"out{height}")
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_maps(tmp_path):
    """16 megapixels more a map: arrays of bytes would be 16 MB each, indices of 8 bytes 128 MB."""
    low, high = (_peak_mb(tmp_path, height) for height in (4096, 12_288))
    assert high - low < 4, f"{low:.0f} MB for 4096 rows, {high:.0f} MB for 12288"
    assert high < 150


@pytest.mark.skipif(not PERU.is_dir(), reason="../shared/data/imagery is not here")
def test_thirty_five_years_at_the_ucayali(tmp_path):
    """The river moved: its old bed grew over, forest became river; the town of Pucallpa grew."""
    maps = []
    for year in (1985, 2020):
        recipe = Recipe(
            image=(str(PERU / f"{year}.tif"),),
            bands=("swir16", "nir", "red", "green"),
            scale=(0.004,),
            model="spectral-rules",
            out=str(tmp_path / f"{year}"),
        )
        maps.append(run(recipe).out / "class.tif")
    report = compare(*maps, out=tmp_path / "change")
    area_ha = {t.class_name: t.area_ha for t in report.transitions}
    assert 0.08 < report.changed_share < 0.12
    assert report.transitions[0].class_name == "bare to vegetation"
    assert area_ha["vegetation to built"] > 2 * area_ha["built to vegetation"]
    assert area_ha["vegetation to water"] > 2000
    assert area_ha["water to vegetation"] > 1500
    class_id = read(tmp_path / "change" / "change.tif")
    assert (burnt(tmp_path / "change") == np.where(class_id == 255, 0, class_id)).all()
