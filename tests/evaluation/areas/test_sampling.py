"""Samples: how many points, where they lie, what they carry, and that every pixel had its chance."""

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from xml.etree import ElementTree

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr
from rasterio.windows import Window

from geoseg.errors import EvaluationError, OutputError
from geoseg.evaluation.areas import frames
from geoseg.evaluation.areas.allocation import allocate, expected_se, sample_size
from geoseg.evaluation.areas.sampling import Design, draw_pixels, draw_sample
from geoseg.grid.ground import row_areas_m2
from geoseg.legend import Legend
from geoseg.writers.cog import write_cog
from geoseg.writers.points import qml_for_points, write_points

LEGEND = Legend.of(water="1F78B4", tree="33A02C", bare="C8AD7F", built="E31A1C")
UTM = GeoBox((120, 90), Affine(10, 0, 500_000, 0, -10, 6_000_000), "EPSG:32633")
DEGREES = GeoBox((120, 90), Affine(0.4, 0, 5, 0, -0.4, 60), "EPSG:4326")  # 60 to 12 degrees north
CREATED = datetime(2026, 11, 22, 17, 30, tzinfo=UTC)


def class_map(path, geobox=UTM, *, seed=0, legend=LEGEND):
    """Patches of water, tree and bare; a corner without a class; no built."""
    height, width = geobox.shape
    patches = np.random.default_rng(seed).choice(3, (height // 10, width // 10), p=[0.1, 0.3, 0.6])
    classes = np.kron(patches, np.ones((10, 10))).astype("uint8")
    classes[:20, :30] = 255
    return write_cog(wrap_xr(classes, geobox), path, legend=legend)


def at(path, points):
    """What a raster holds at points of its own CRS."""
    with rasterio.open(path) as source:
        return np.array([v[0] for v in source.sample(zip(points.x, points.y, strict=True))])


# --- how many ------------------------------------------------------------------------------------

weights = st.lists(st.floats(0.01, 1), min_size=1, max_size=8).map(lambda v: np.array(v) / sum(v))


@settings(max_examples=40, deadline=None)
@given(weights=weights, data=st.data())
def test_points_keep_their_sum_and_bounds(weights, data):
    k = len(weights)
    capacity = np.array(data.draw(st.lists(st.integers(1, 500), min_size=k, max_size=k)))
    accuracy = np.array(data.draw(st.lists(st.floats(0, 1), min_size=k, max_size=k)))
    minimum = data.draw(st.integers(2, 60))
    lowest = np.minimum(minimum, capacity)
    size = data.draw(st.integers(int(lowest.sum()), int(capacity.sum())))
    for rule in ("proportional", "equal", "neyman"):
        points = allocate(weights, capacity, size=size, allocation=rule, minimum=minimum, accuracy=accuracy)
        assert points.sum() == size
        assert (points >= lowest).all()
        assert (points <= capacity).all()


@settings(max_examples=40, deadline=None)
@given(weights=weights, size=st.integers(100, 5000))
def test_each_rule_is_what_its_name_says(weights, size):
    accuracy = np.linspace(0.6, 0.95, len(weights))
    plenty = np.full(len(weights), 10**6)
    given_ = {"size": size, "minimum": 2, "accuracy": accuracy}
    by_area = allocate(weights, plenty, allocation="proportional", **given_)
    free = by_area > 2
    rest = size - 2 * (~free).sum()
    assert np.abs(by_area - rest * weights / weights[free].sum())[free].max() < 1
    assert np.ptp(allocate(weights, plenty, allocation="equal", **given_)) <= 1
    best = allocate(weights, plenty, allocation="neyman", **given_)
    others = [by_area, allocate(weights, plenty, allocation="equal", **given_)]
    # One point more or less, by rounding, is all by which another rule may come out ahead.
    slack = 1 + 2 * len(weights) / best.min() / size
    assert all(
        expected_se(weights, accuracy, best) <= slack * expected_se(weights, accuracy, o) for o in others
    )


def test_the_size_is_that_of_the_paper():
    """Olofsson et al. 2014, section 5.1.1: 641 points for a standard error of 0.01."""
    shares, accuracy = np.array([0.02, 0.015, 0.32, 0.645]), np.array([0.7, 0.6, 0.9, 0.95])
    assert sample_size(shares, accuracy, 0.01) == 641
    best = allocate(shares, np.full(4, 10**6), size=641, allocation="neyman", minimum=2, accuracy=accuracy)
    assert expected_se(shares, accuracy, best) == pytest.approx(0.01, abs=5e-5)


# --- chance --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 4, 8])  # 4: Sampford's method, 8: that of Hartley and Rao
@pytest.mark.parametrize("areas", [[1.0, 2.0, 1.5], [3.0, 3.0, 3.0]])
def test_chances_are_proportional_to_area(n, areas):
    rows, row_m2 = np.array([5, 0, 3, 4]), np.array([areas[0], 99, *areas[1:]])
    rng, draws, hits = np.random.default_rng(5), 4000, np.zeros((4, 5))
    for _ in range(draws):
        row, rank = draw_pixels(rows, row_m2, n, rng)
        pixels = np.zeros((4, 5))
        np.add.at(pixels, (row, rank), 1)
        assert pixels.max() == 1  # without replacement
        hits += pixels
    assert hits.sum() == n * draws
    for row in (0, 2, 3):
        chance = n * row_m2[row] / (rows @ row_m2)
        error = np.sqrt(chance * (1 - chance) / draws)
        assert hits[row, : rows[row]] / draws == pytest.approx(chance, abs=4.5 * error)
        assert not hits[row, rows[row] :].any()
    assert not hits[1].any()


def test_pixels_of_one_area_are_drawn_in_pairs_alike():
    """Simple random sampling: not only each pixel, also each pair of them is as likely as any other."""
    rng, draws, pairs = np.random.default_rng(1), 10_000, np.zeros((6, 6))
    for _ in range(draws):
        row, rank = draw_pixels(np.array([2, 3, 1]), np.ones(3), 3, rng)
        pixel = np.array([0, 2, 5])[row] + rank
        pairs[np.ix_(pixel, pixel)] += 1
    chance = 3 * 2 / (6 * 5)
    upper = pairs[np.triu_indices(6, 1)] / draws
    assert upper == pytest.approx(chance, abs=4.5 * np.sqrt(chance * (1 - chance) / draws))


# --- points --------------------------------------------------------------------------------------


@pytest.mark.parametrize("geobox", [UTM, DEGREES])
def test_points_lie_in_their_strata_on_pixel_centres(tmp_path, geobox):
    path = class_map(tmp_path / "class.tif", geobox)
    sample = draw_sample(path, Design(size=300, seed=4))
    points = sample.points
    assert (at(path, points.geometry) == points.stratum).all()
    assert (points.map_class == points.stratum).all()
    assert (points.map_class_name == points.map_class.map({c.value: c.name for c in LEGEND.classes})).all()
    col, row = ~geobox.affine * (points.geometry.x.to_numpy(), points.geometry.y.to_numpy())
    assert col % 1 == pytest.approx(0.5)
    assert row % 1 == pytest.approx(0.5)
    assert not points.geometry.duplicated().any()
    assert points.crs == str(geobox.crs)
    assert points.reference_class.isna().all()
    assert points.note.isna().all()
    assert sample.strata.points.sum() == 300
    assert points.stratum.value_counts().sort_index().tolist() == sample.strata.points.tolist()


@pytest.mark.parametrize("geobox", [UTM, DEGREES])
def test_areas_and_weights_are_those_of_the_pixels(tmp_path, geobox):
    path = class_map(tmp_path / "class.tif", geobox)
    sample = draw_sample(path, Design(size=300))
    classes = rasterio.open(path).read(1)
    pixel_ha = np.broadcast_to(row_areas_m2(geobox)[:, None] / 1e4, classes.shape)
    for stratum in sample.strata.itertuples():
        assert stratum.pixels == (classes == stratum.stratum).sum()
        assert stratum.area_ha == pytest.approx(pixel_ha[classes == stratum.stratum].sum(), rel=1e-12)
        here = sample.points[sample.points.stratum == stratum.stratum]
        assert here.weight_ha.nunique() == 1
        assert here.weight_ha.sum() == pytest.approx(stratum.area_ha)
    assert sample.classes.class_name.tolist() == ["water", "tree", "bare", "built"]
    assert sample.classes.pixels.tolist()[3] == 0
    assert sample.classes.area_ha.sum() == pytest.approx(pixel_ha[classes != 255].sum())


def test_same_seed_same_points_whatever_the_blocks(tmp_path, monkeypatch):
    path = class_map(tmp_path / "class.tif")
    first = draw_sample(path, Design(size=200, seed=7)).points
    with rasterio.open(path) as source:
        profile = {**source.profile, "driver": "GTiff", "tiled": False, "blockysize": 1}
        with rasterio.open(tmp_path / "strips.tif", "w", **profile) as strips:
            strips.write(source.read())
            strips.write_colormap(1, source.colormap(1))
    (tmp_path / "strips.tif.aux.xml").write_bytes((tmp_path / "class.tif.aux.xml").read_bytes())
    monkeypatch.setattr(frames, "SIDE", 32)
    again = draw_sample(tmp_path / "strips.tif", Design(size=200, seed=7)).points
    assert first.equals(again)
    other = draw_sample(path, Design(size=200, seed=8)).points
    assert not first.geometry.geom_equals(other.geometry).any() or not first.equals(other)


def test_the_order_of_points_says_nothing_of_their_strata(tmp_path):
    points = draw_sample(class_map(tmp_path / "class.tif"), Design(size=400)).points
    assert points.point_id.tolist() == list(range(1, 401))
    share = (points.stratum == 2).mean()
    # In random order the first half holds as many of a stratum as the second, up to chance.
    assert (points.stratum[:200] == 2).mean() == pytest.approx(share, abs=0.12)
    assert (points.stratum.diff() != 0).sum() > 100


def test_small_strata_are_taken_whole(tmp_path):
    classes = np.zeros((40, 40), "uint8")
    classes[5, 5:12] = 1
    path = write_cog(wrap_xr(classes, UTM[:40, :40]), tmp_path / "class.tif", legend=LEGEND)
    sample = draw_sample(path, Design(size=100))
    assert sample.strata.points.tolist() == [93, 7]
    assert sorted(sample.points[sample.points.stratum == 1].geometry.x) == [
        500_000 + 10 * c + 5 for c in range(5, 12)
    ]


def test_no_chance_exceeds_1_where_pixels_differ(tmp_path):
    """A stratum of 8 pixels in as many rows: the largest would be drawn more than once in 8 draws."""
    classes = np.zeros((40, 40), "uint8")
    classes[5:13, 7] = 1
    path = write_cog(wrap_xr(classes, DEGREES[:40, :40]), tmp_path / "class.tif", legend=LEGEND)
    sample = draw_sample(path, Design(size=100))
    row_m2 = row_areas_m2(DEGREES)[5:13]
    assert sample.strata.points.tolist() == [93, 7]
    assert 8 * row_m2.max() / row_m2.sum() > 1 > 7 * row_m2.max() / row_m2.sum()
    assert not sample.points.geometry.duplicated().any()


def test_without_a_size_the_standard_error_decides(tmp_path):
    path = class_map(tmp_path / "class.tif")
    sample = draw_sample(path, Design(target_se=0.02, accuracy={"water": 0.6, "1": 0.9}))
    assert sample.strata.expected_accuracy.tolist() == [0.6, 0.9, 0.8]
    shares = (sample.strata.area_ha / sample.strata.area_ha.sum()).to_numpy()
    assert len(sample.points) == sample_size(shares, np.array([0.6, 0.9, 0.8]), 0.02)
    assert sample.expected_se > 0.02  # the formula is for Neyman's allocation, and that is said
    (note,) = sample.notes
    enough = int(re.search(r"--size (\d+)", note)[1])
    larger = draw_sample(path, Design(size=enough, accuracy={"water": 0.6, "1": 0.9}))
    assert larger.expected_se == pytest.approx(0.02, rel=0.01)
    best = draw_sample(
        path, Design(accuracy={"water": 0.6, "tree": 0.9}, allocation="neyman", min_per_stratum=2)
    )
    assert best.expected_se == pytest.approx(0.02, abs=1e-4)
    assert best.notes == ()


def test_strata_may_be_another_raster(tmp_path):
    path = class_map(tmp_path / "class.tif")
    zones = np.where(np.arange(90) < 40, 3, 9) * np.ones((120, 1), int)
    zones[100:] = 255
    strata = write_cog(
        wrap_xr(zones.astype("uint8"), UTM),
        tmp_path / "zones.tif",
        legend=Legend.model_validate({"classes": [{"value": 3, "name": "coast", "color_hint": "000000"}]}),
    )
    sample = draw_sample(path, Design(size=200), strata=strata)
    assert sample.strata.stratum_name.tolist() == ["coast", "stratum 9"]
    assert (at(strata, sample.points.geometry) == sample.points.stratum).all()
    assert (at(path, sample.points.geometry) == sample.points.map_class).all()
    assert set(sample.points.map_class) == {0, 1, 2}
    # The population is where both are known.
    assert sample.strata.pixels.sum() == sample.classes.pixels.sum() == 100 * 90 - 20 * 30
    write_cog(wrap_xr(zones[:50].astype("uint8"), UTM[:50]), tmp_path / "cut.tif")
    with pytest.raises(
        EvaluationError, match=r"another grid .* -te 500000 5998800 500900 6000000 -ts 90 120"
    ):
        draw_sample(path, Design(), strata=tmp_path / "cut.tif")


def test_the_files_own_nodata_is_no_class(tmp_path):
    path = tmp_path / "foreign.tif"
    classes = np.kron(np.arange(4).reshape(2, 2), np.ones((20, 20))).astype("uint8")
    profile = {"driver": "GTiff", "width": 40, "height": 40, "count": 1, "dtype": "uint8", "nodata": 0}
    with rasterio.open(path, "w", crs="EPSG:32633", transform=UTM.affine, **profile) as file:
        file.write(classes, 1)
    with pytest.raises(EvaluationError, match="--legend"):
        draw_sample(path, Design())
    legend = tmp_path / "legend.toml"
    legend.write_text("".join(f'[[classes]]\nvalue = {v}\nname = "c{v}"\n' for v in (1, 2, 3)))
    sample = draw_sample(path, Design(size=150), legend=legend)
    assert sample.strata.stratum.tolist() == [1, 2, 3]
    legend.write_text("".join(f'[[classes]]\nvalue = {v}\nname = "c{v}"\n' for v in (1, 2)))
    with pytest.raises(EvaluationError, match=r"holds the value 3, expected only values 1, 2 of its legend"):
        draw_sample(path, Design(), legend=legend)


def test_a_crs_that_stretches_areas_is_said(tmp_path):
    mercator = GeoBox((120, 90), Affine(10, 0, 0, 0, -10, 8_399_737), "EPSG:3857")
    sample = draw_sample(class_map(tmp_path / "class.tif", mercator), Design())
    assert "EPSG:3857, where a pixel has up to 4 times its area" in sample.notes[0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 0}, "--size is 0"),
        ({"target_se": 0}, "--target-se is 0, expected a share"),
        ({"allocation": "best"}, "'best', expected proportional, equal or neyman"),
        ({"min_per_stratum": 1}, "expected 2 or more: one point has no variance"),
        ({"seed": -1}, "--seed is -1"),
        ({"accuracy": {"water": 1.2}}, "expected of water is 1.2, expected 0 to 1"),
        ({"size": 20}, "20 points cannot give 3 strata 50 each: 150 are needed. Give --size 150"),
        ({"size": 10**6}, "1,000,000 points were asked for, but the map can give 10,200"),
        ({"accuracy": {"lava": 0.9}}, "'lava', which is no stratum. The strata are: water, tree, bare"),
    ],
)
def test_designs_that_cannot_be(tmp_path, wrong, message):
    path = class_map(tmp_path / "class.tif")
    with pytest.raises(EvaluationError, match=message.replace("(", r"\(")):
        draw_sample(path, Design(**wrong))


def test_maps_that_cannot_be(tmp_path):
    path = class_map(tmp_path / "class.tif")
    sidecar = (tmp_path / "class.tif.aux.xml").read_bytes()

    def broken(name, **change):
        with rasterio.open(path) as source:
            profile = {**source.profile, "driver": "GTiff", **change}
            with rasterio.open(tmp_path / name, "w", **profile) as file:
                file.write(np.full((1, 120, 90), 255, profile["dtype"]))
                if profile["dtype"] == "uint8":
                    file.write_colormap(1, source.colormap(1))
        (tmp_path / f"{name}.aux.xml").write_bytes(sidecar)
        return tmp_path / name

    for file, message in [
        (broken("float.tif", dtype="float32"), "holds float32, expected classes as uint8"),
        (broken("bare.tif", crs=None), "has no CRS, expected one"),
        (broken("empty.tif"), "has no pixel with a class"),
        (
            broken("turned.tif", crs="EPSG:4326", transform=Affine(0.1, 0.1, 5, 0.1, -0.1, 50)),
            "rotated on a grid in degrees",
        ),
    ]:
        with pytest.raises(EvaluationError, match=message):
            draw_sample(file, Design())
    (tmp_path / "text.tif").write_text("no raster")
    (tmp_path / "text.tif.aux.xml").write_bytes(sidecar)
    with pytest.raises(EvaluationError, match=r"Cannot read .*text\.tif"):
        draw_sample(tmp_path / "text.tif", Design())


# --- the file ------------------------------------------------------------------------------------


def write(sample, path):
    tables = {"strata": sample.strata, "classes": sample.classes}
    return write_points(
        sample.points,
        path,
        legend=sample.legend,
        tables=tables,
        pixel_m=sample.pixel_m,
        title="T",
        created=CREATED,
    )


def test_the_file_holds_the_sample_and_its_style(tmp_path):
    sample = draw_sample(class_map(tmp_path / "class.tif"), Design(size=200))
    path = write(sample, tmp_path / "a" / "sample.gpkg")
    read = gpd.read_file(path, layer="sample")
    assert list(read.columns) == list(sample.points.columns)
    assert read.geometry.geom_equals(sample.points.geometry).all()
    assert read.reference_class.isna().all()
    for name in ("point_id", "stratum", "map_class", "weight_ha"):
        assert read[name].tolist() == sample.points[name].tolist()
    for name, table in (("strata", sample.strata), ("classes", sample.classes)):
        stored = pyogrio.read_dataframe(path, layer=name, read_geometry=False)
        assert stored.to_dict("list") == table.to_dict("list")
    info = pyogrio.read_info(path, layer="sample")
    dtype = dict(zip(info["fields"], info["dtypes"], strict=True))["reference_class"]
    assert dtype == "int32"  # an empty column keeps its type: QGIS offers classes for whole numbers
    with closing(sqlite3.connect(path)) as connection:
        styles = connection.execute(
            "SELECT f_table_name, f_geometry_column, useAsDefault, styleQML FROM layer_styles"
        ).fetchall()
        listed = connection.execute("SELECT table_name, data_type, last_change FROM gpkg_contents").fetchall()
    assert styles == [("sample", "geom", 1, qml_for_points(LEGEND, pixel_m=10))]
    assert sorted(listed) == [
        ("classes", "attributes", "2026-11-22T17:30:00.000Z"),
        ("layer_styles", "attributes", "2026-11-22T17:30:00.000Z"),
        ("sample", "features", "2026-11-22T17:30:00.000Z"),
        ("strata", "attributes", "2026-11-22T17:30:00.000Z"),
    ]
    assert write(sample, tmp_path / "b.gpkg").read_bytes() == path.read_bytes()


def test_a_sample_is_never_overwritten(tmp_path):
    sample = draw_sample(class_map(tmp_path / "class.tif"), Design(size=200))
    path = tmp_path / "sample.gpkg"
    path.write_text("labels of a week")
    with pytest.raises(OutputError, match="exists and may hold labels"):
        write(sample, path)
    assert path.read_text() == "labels of a week"
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Cannot write"):
        write(sample, tmp_path / "file" / "sample.gpkg")


def test_the_form_offers_the_classes_and_hides_the_strata():
    root = ElementTree.fromstring(qml_for_points(LEGEND, pixel_m=12.5))
    widgets = {
        f.get("name"): f.find("editWidget").get("type") for f in root.iterfind("fieldConfiguration/field")
    }
    assert widgets == {
        "fid": "Hidden", "point_id": "TextEdit", "reference_class": "ValueMap", "note": "TextEdit",
        **dict.fromkeys(["stratum", "stratum_name", "map_class", "map_class_name", "weight_ha"], "Hidden"),
    }  # fmt: skip
    offered = root.find(".//field[@name='reference_class']//Option[@type='List']").iter("Option")
    choices = {o.get("name"): o.get("value") for o in offered if o.get("type") == "QString"}
    assert list(choices.items())[1:] == [("water", "0"), ("tree", "1"), ("bare", "2"), ("built", "3")]
    shown = [c.get("name") for c in root.iter("column") if c.get("hidden") == "0"]
    assert shown == ["point_id", "reference_class", "note"]
    renderer = root.find("renderer-v2")
    assert renderer.get("attr") == "reference_class"
    labels = {c.get("value"): (c.get("label"), c.get("symbol")) for c in renderer.iter("category")}
    assert labels["1"] == ("tree", "2")
    marker = renderer.find("symbols/symbol[@name='2']/layer/Option")
    options = {o.get("name"): o.get("value") for o in marker}
    assert (options["outline_color"], options["size"]) == ("51,160,44,255", "12.5")


# --- size ----------------------------------------------------------------------------------------

_MEASURE = """
import resource, sys
from pathlib import Path
from geoseg.evaluation.areas.sampling import Design, draw_sample
sample = draw_sample(Path(sys.argv[1]), Design(size=500), legend=Path(sys.argv[2]))
# Not ru_maxrss: a process starts with the peak of the one that started it.
lines = open("/proc/self/status").read().splitlines()
peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
print(len(sample.points), sample.strata.pixels.sum(), peak // 1024)
"""


def test_a_country_is_sampled_in_flat_memory(tmp_path):
    """36,000 x 36,000 pixels, of which some blocks hold classes."""
    path, side = tmp_path / "big.tif", 36_000
    blocks = [(0, 0), (70, 70), (35, 3), (20, 60), (69, 1)]
    profile = {
        "driver": "GTiff", "width": side, "height": side, "count": 1, "dtype": "uint8", "nodata": 255,
        "crs": "EPSG:4326", "transform": Affine(1e-4, 0, 10, 0, -1e-4, 60), "tiled": True,
        "blockxsize": 512, "blockysize": 512, "compress": "deflate", "sparse_ok": True,
    }  # fmt: skip
    held = 0
    with rasterio.open(path, "w", **profile) as file:
        for number, (row, col) in enumerate(blocks):
            window = Window(col * 512, row * 512, min(512, side - col * 512), min(512, side - row * 512))
            pixels = np.full((window.height, window.width), number % 2, "uint8")
            file.write(pixels, 1, window=window)
            held += pixels.size
    (tmp_path / "legend.toml").write_text(
        "".join(f'[[classes]]\nvalue = {v}\nname = "c{v}"\n' for v in (0, 1))
    )
    command = [sys.executable, "-c", _MEASURE, path, tmp_path / "legend.toml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    n_points, pixels, peak_mb = map(int, done.stdout.split())
    assert (n_points, pixels) == (500, held)
    assert peak_mb < 700
