"""Maps against references of all kinds and grids: the same counts as on plain arrays, whatever the blocks."""

import json
import re
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from affine import Affine
from builders import geobox_at
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_zeros

from geoseg.errors import EvaluationError, OutputError
from geoseg.evaluation import points, rasters
from geoseg.evaluation.boundary import boundary_iou, count_boundary, count_trimap
from geoseg.evaluation.boundary_width import BoundaryWidth
from geoseg.evaluation.confusion import count
from geoseg.evaluation.features import read_features
from geoseg.evaluation.maps import Crosswalk, legend_of
from geoseg.evaluation.metrics import iou
from geoseg.evaluation.rasters import Request, score
from geoseg.evaluation.scores import BOUNDARY_ORDER, ORDER
from geoseg.files import check_out
from geoseg.legend import Legend
from geoseg.report.scores import render_scores, write_scores
from geoseg.writers.cog import write_cog

LEGEND = Legend.of(water="1F78B4", tree="33A02C", built="D7191C")


def labels(seed, shape=(90, 110), *, n=3, hole=0.1):
    """(y, x) uint8 patches of classes with some 255."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, n, (shape[0] // 7 + 1, shape[1] // 7 + 1))
    found = coarse.repeat(7, 0).repeat(7, 1)[: shape[0], : shape[1]].astype(np.uint8)
    found[rng.random(shape) < hole] = 255
    return found


def write_map(path, values, geobox=None, legend=LEGEND):
    geobox = geobox or geobox_at(height=values.shape[0], width=values.shape[1])
    image = xr_zeros(geobox, dtype="uint8").copy(data=values)
    return write_cog(image, path, nodata=255, legend=legend)


def write_raw(path, values, geobox, *, nodata=None):
    crs = {"crs": str(geobox.crs)} if geobox.crs else {}
    with rasterio.open(
        path, "w", driver="GTiff", count=1, dtype=values.dtype, height=values.shape[0], width=values.shape[1],
        transform=geobox.affine, nodata=nodata, **crs,
    ) as target:  # fmt: skip
        target.write(values, 1)
    return path


def counted(prediction, reference, **options):
    scores = score(Request(prediction=prediction, reference=reference, **options)).scores
    return np.column_stack([scores.confusion, scores.unpredicted])


def expected_counts(prediction, reference):
    return count(np.where(prediction == 255, 255, reference), prediction, n_classes=3)


@given(st.integers(0, 1000), st.sampled_from([32, 64, 96]))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_blocks_do_not_show(tmp_path, monkeypatch, seed, block):
    monkeypatch.setattr(rasters, "windows_of", lambda h, w: windows(h, w, size=block))
    windows = _WINDOWS
    found, true = labels(seed), labels(seed + 1)
    made = write_map(tmp_path / f"{seed}.tif", found)
    against = write_map(tmp_path / f"{seed}-reference.tif", true)
    evaluation = score(Request(prediction=made, reference=against))
    matrix = np.column_stack([evaluation.scores.confusion, evaluation.scores.unpredicted])
    assert (matrix == expected_counts(found, true)).all()
    assert evaluation.compared.sum() == matrix.sum()
    assert evaluation.wrong.sum() == matrix.sum() - np.trace(matrix[:, :3])


_WINDOWS = rasters.windows_of


def test_nodata_of_the_map_is_left_out_or_wrong(tmp_path):
    found, true = labels(1), labels(2)
    made, against = write_map(tmp_path / "a.tif", found), write_map(tmp_path / "b.tif", true)
    assert (counted(made, against) == expected_counts(found, true)).all()
    wrong = counted(made, against, nodata_is_wrong=True)
    assert (wrong == count(true, found, n_classes=3)).all()
    assert wrong[:, 3].sum() > 0


def test_a_perfect_map_scores_one(tmp_path):
    made = write_map(tmp_path / "a.tif", labels(1))
    scores = score(Request(prediction=made, reference=made)).scores
    assert all(scores.overall[name] == pytest.approx(1) for name in ORDER)
    assert all(scores.overall[name] is None for name in BOUNDARY_ORDER)
    assert scores.intervals == {}
    assert scores.undefined == ()


def test_names_join_legends_whatever_their_numbers(tmp_path):
    found, true = labels(1), labels(2)
    made = write_map(tmp_path / "a.tif", found)
    other = Legend.of(built="D7191C", water="1F78B4", tree="33A02C")
    against = write_map(tmp_path / "b.tif", np.array([1, 2, 0, *[255] * 253], np.uint8)[true], legend=other)
    assert (counted(made, against) == expected_counts(found, true)).all()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int8"])
def test_a_crosswalk_says_what_values_mean(tmp_path, dtype):
    found, true = labels(1), labels(2, hole=0)
    codes = np.array([10, -7 if dtype.startswith("int") else 80, 50, 99])[np.where(true == 255, 3, true)]
    against = write_raw(tmp_path / "b.tif", codes.astype(dtype), geobox_at(height=90, width=110))
    crosswalk = Crosswalk(
        reference={"10": "water", str(codes[true == 1][0]): "tree", "50": "built", "99": "ignore"}
    )
    made = write_map(tmp_path / "a.tif", found)
    assert (counted(made, against, crosswalk=crosswalk) == expected_counts(found, true)).all()
    with pytest.raises(
        EvaluationError, match=r"has '-?\d+', which is no class of the map: .* --crosswalk file"
    ):
        counted(made, against)


def test_classes_are_merged_for_the_comparison(tmp_path):
    found, true = labels(1), labels(2)
    made, against = write_map(tmp_path / "a.tif", found), write_map(tmp_path / "b.tif", true)
    merge = {"tree": "land", "built": "land"}
    crosswalk = Crosswalk(prediction=merge, reference=merge)
    scores = score(Request(prediction=made, reference=against, crosswalk=crosswalk)).scores
    assert [c.class_name for c in scores.classes] == ["water", "land"]
    lut = np.array([0, 1, 1, *[255] * 253], np.uint8)
    assert (np.array(scores.confusion) == expected_counts(lut[found], lut[true])[:2, :2]).all()


def test_a_reference_on_another_grid_is_brought_to_the_maps(tmp_path):
    """Twice as fine, offset, in the same CRS: where whole blocks agree the majority is the class."""
    found, true = labels(1), labels(2, hole=0)
    made = write_map(tmp_path / "a.tif", found)
    fine = geobox_at(height=90, width=110).zoom_out(0.5)
    against = write_raw(tmp_path / "b.tif", true.repeat(2, 0).repeat(2, 1), fine)
    scores = score(Request(prediction=made, reference=against)).scores
    assert (np.array(scores.confusion) == expected_counts(found, true)[:, :3]).all()
    assert "0.5 times as wide" in scores.notes[0]
    assert "majority" in scores.notes[0]


def test_a_reference_in_degrees_agrees_but_at_borders(tmp_path):
    true = labels(2, shape=(140, 140), hole=0)
    geobox = geobox_at(height=140, width=140)
    made = write_map(tmp_path / "a.tif", true, geobox)
    degrees = GeoBox.from_bbox(geobox.extent.to_crs("EPSG:4326").boundingbox, shape=(500, 500))
    from rasterio.warp import reproject

    warped = np.full((500, 500), 255, np.uint8)
    reproject(
        true, warped, src_transform=geobox.affine, src_crs=str(geobox.crs), dst_transform=degrees.affine,
        dst_crs="EPSG:4326", init_dest_nodata=False,
    )  # fmt: skip
    against = write_raw(tmp_path / "b.tif", warped, degrees, nodata=255)
    scores = score(Request(prediction=made, reference=against)).scores
    assert scores.compared > 0.98 * true.size
    assert scores.overall["pixel_accuracy"] > 0.97
    assert "EPSG:4326" in scores.notes[0]


def _boxes(geobox, rng, n=40):
    height, width = geobox.shape
    shapes, classes = [], []
    for _ in range(n):
        col, row = rng.uniform(0, width), rng.uniform(0, height)
        a, b = (
            geobox.affine * (col, row),
            geobox.affine * (col + rng.uniform(3, 30), row + rng.uniform(3, 30)),
        )
        shapes.append(shapely.box(min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1])))
        classes.append(int(rng.integers(0, 3)))
    return shapes, classes


def test_polygons_are_burned_by_pixel_centre(tmp_path):
    found, geobox, rng = labels(1), geobox_at(height=90, width=110), np.random.default_rng(3)
    shapes, classes = _boxes(geobox, rng)
    names = [LEGEND.classes[c].name for c in classes]
    gpd.GeoDataFrame({"class_name": names}, geometry=shapes, crs="EPSG:32725").to_file(tmp_path / "b.gpkg")
    true = np.full((90, 110), 255, np.uint8)
    x, y = (np.arange(110) + 0.5) * 10 + 290_000, 9_110_000 - (np.arange(90) + 0.5) * 10
    xx, yy = np.meshgrid(x, y)
    for shape, c in zip(shapes, classes, strict=True):
        true[shapely.contains_xy(shape, xx, yy)] = c
    made = write_map(tmp_path / "a.tif", found)
    assert (counted(made, tmp_path / "b.gpkg") == expected_counts(found, true)).all()
    gpd.read_file(tmp_path / "b.gpkg").rename(columns={"class_name": "kind"}).assign(n=1).to_file(
        tmp_path / "c.gpkg"
    )
    with pytest.raises(
        EvaluationError, match=r"Which field of c\.gpkg says the class\? Give --field, one of: kind, n"
    ):
        counted(made, tmp_path / "c.gpkg")
    assert (counted(made, tmp_path / "c.gpkg", class_field="kind") == expected_counts(found, true)).all()


@pytest.mark.parametrize("kind", ["csv", "gpkg"])
def test_points_are_compared_with_their_pixels(tmp_path, kind):
    found, rng = labels(1), np.random.default_rng(3)
    rows, cols = rng.integers(-3, 93, 300), rng.integers(-3, 113, 300)
    x, y = 290_000 + (cols + rng.random(300)) * 10, 9_110_000 - (rows + rng.random(300)) * 10
    true = rng.integers(0, 3, 300)
    table = pd.DataFrame({"x": x, "y": y, "class_id": true})
    path = tmp_path / f"points.{kind}"
    if kind == "csv":
        table.to_csv(path, index=False)
    else:
        gpd.GeoDataFrame(table, geometry=gpd.points_from_xy(x, y), crs="EPSG:32725").to_file(path)
    is_in = (rows >= 0) & (rows < 90) & (cols >= 0) & (cols < 110)
    seen = found[rows[is_in], cols[is_in]]
    made = write_map(tmp_path / "a.tif", found)
    scores = score(
        Request(made, path, class_field="class_id", crs="EPSG:32725" if kind == "csv" else None)
    ).scores
    known = seen != 255
    assert (np.array(scores.confusion) == expected_counts(seen[known], true[is_in][known])[:, :3]).all()
    assert scores.compared == known.sum()
    assert sum(scores.unpredicted) == 0
    assert scores.left_out == 300 - known.sum()
    assert f"{(~known).sum():,} points of points.{kind} lie where the map has no class" in " ".join(
        scores.notes
    )
    assert f"{(~is_in).sum():,} points of points.{kind} lie outside the map" in " ".join(scores.notes)


def test_places_are_scored_one_by_one_and_resampled(tmp_path):
    found, true = labels(1, hole=0), labels(2, hole=0)
    made, against = write_map(tmp_path / "a.tif", found), write_map(tmp_path / "b.tif", true)
    edges = range(0, 110, 11)
    squares = [shapely.box(290_000 + c * 10, 9_109_100, 290_000 + (c + 11) * 10, 9_110_000) for c in edges]
    frame = gpd.GeoDataFrame({"name": [f"p{c}" for c in edges]}, geometry=squares, crs="EPSG:32725")
    frame.to_file(tmp_path / "places.gpkg")
    request = Request(prediction=made, reference=against, places=tmp_path / "places.gpkg", place_field="name")
    scores = score(request).scores
    assert (np.array(scores.confusion) == expected_counts(found, true)[:, :3]).all()
    for place, c in zip(scores.places, edges, strict=True):
        here = np.s_[:, c : c + 11]
        assert place.place == f"p{c}"
        assert place.pixel_accuracy == pytest.approx((found[here] == true[here]).mean())
    for name, (low, high) in scores.intervals.items():
        assert low < scores.overall[name] < high
    for c in scores.classes:
        low, high = c.iou_interval
        assert low < c.iou < high


def test_scores_with_places_are_those_of_the_places(tmp_path):
    found, true = labels(1, hole=0), labels(2, hole=0)
    made, against = write_map(tmp_path / "a.tif", found), write_map(tmp_path / "b.tif", true)
    square = [shapely.box(290_000, 9_109_100, 290_110, 9_110_000)]
    gpd.GeoDataFrame(geometry=square, crs="EPSG:32725").to_file(tmp_path / "places.gpkg")
    scores = score(Request(made, against, places=tmp_path / "places.gpkg")).scores
    here = np.s_[:90, :11]
    assert scores.compared == found[here].size
    assert any(f"{found.size - found[here].size:,} pixels lie in no place" in note for note in scores.notes)
    centre = gpd.GeoDataFrame(geometry=[square[0].centroid], crs="EPSG:32725")
    centre.to_file(tmp_path / "points.gpkg")
    with pytest.raises(EvaluationError, match=r"points\.gpkg has no polygons"):
        score(Request(made, against, places=tmp_path / "points.gpkg"))
    with pytest.raises(EvaluationError, match="--place-field names the polygons of --places"):
        score(Request(made, against, place_field="name"))


def test_a_value_that_means_nothing_stops_the_scoring(tmp_path):
    found = labels(1)
    found[3, 4] = 77
    made, against = write_map(tmp_path / "a.tif", found), write_map(tmp_path / "b.tif", labels(2))
    with pytest.raises(EvaluationError, match=r"a\.tif holds the value 77, which no class of it has"):
        score(Request(made, against))


@pytest.mark.parametrize("block", [32, 64, 2048])
def test_outlines_are_those_of_the_whole_map_whatever_the_blocks(tmp_path, monkeypatch, block):
    monkeypatch.setattr(rasters, "windows_of", lambda h, w: _WINDOWS(h, w, size=block))
    found, true = labels(1), labels(2)
    made, against = write_map(tmp_path / "a.tif", found), write_map(tmp_path / "b.tif", true)
    scores = score(Request(made, against, boundary=BoundaryWidth(30, "m"))).scores
    known = np.where(found == 255, 255, true)
    near = boundary_iou(count_boundary(known, found, n_classes=3, distance=3))
    band = iou(count_trimap(known, found, n_classes=3, distance=3, is_ignored_other=False))
    assert [c.boundary_iou for c in scores.classes] == pytest.approx(near, abs=1e-12)
    assert [c.trimap_iou for c in scores.classes] == pytest.approx(band, abs=1e-12)
    assert scores.overall["boundary_miou"] == pytest.approx(near.mean(), abs=1e-12)
    assert scores.overall["trimap_miou"] == pytest.approx(band.mean(), abs=1e-12)
    assert "3 pixels (30 m)" in scores.notes[-1]
    assert scores.overall["miou"] == pytest.approx(score(Request(made, against)).scores.overall["miou"])


def test_outlines_of_places_add_up_and_are_resampled(tmp_path):
    found, true = labels(1, hole=0), labels(2, hole=0)
    made, against = write_map(tmp_path / "a.tif", found), write_map(tmp_path / "b.tif", true)
    squares = [
        shapely.box(290_000 + c * 10, 9_109_100, 290_110 + c * 10, 9_110_000) for c in range(0, 110, 11)
    ]
    gpd.GeoDataFrame(geometry=squares, crs="EPSG:32725").to_file(tmp_path / "places.gpkg")
    width = BoundaryWidth(2, "px")
    whole = score(Request(made, against, boundary=width)).scores
    parts = score(Request(made, against, boundary=width, places=tmp_path / "places.gpkg")).scores
    for name in BOUNDARY_ORDER:
        assert parts.overall[name] == pytest.approx(whole.overall[name], abs=1e-12)
        low, high = parts.intervals[name]
        assert low < parts.overall[name] < high


def test_a_vector_reference_is_read_once(tmp_path, monkeypatch):
    geobox, n_read = geobox_at(height=90, width=110), []
    shapes, classes = _boxes(geobox, np.random.default_rng(3))
    gpd.GeoDataFrame({"class_id": classes}, geometry=shapes, crs="EPSG:32725").to_file(tmp_path / "b.gpkg")
    monkeypatch.setattr(points, "read_features", lambda path: n_read.append(path) or read_features(path))
    assert score(Request(write_map(tmp_path / "a.tif", labels(1)), tmp_path / "b.gpkg")).cases
    assert len(n_read) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [("30", "is no width of a boundary"), ("0m", "is no width"), ("40000m", "expected at most 512")],
)
def test_widths_of_boundaries_that_mean_nothing(tmp_path, text, message):
    made = write_map(tmp_path / "a.tif", labels(1))
    with pytest.raises(EvaluationError, match=message):
        score(Request(made, made, boundary=BoundaryWidth.read(text)))


def test_confidence_beside_the_map_is_checked(tmp_path):
    found, true = labels(1), labels(2)
    made, against = write_map(tmp_path / "class.tif", found), write_map(tmp_path / "b.tif", true)
    is_right = (found == true) & (found != 255)
    sure = np.where(found == 255, 255, np.where(is_right, 254, 0)).astype(np.uint8)
    write_raw(tmp_path / "confidence.tif", sure, geobox_at(height=90, width=110), nodata=255)
    reliability = score(Request(prediction=made, reference=against)).scores.reliability
    assert reliability.n == ((found != 255) & (true != 255)).sum()
    assert reliability.ece == pytest.approx(0)


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("missing", "There is no file .*none.tif. Check the path."),
        ("elsewhere", "do not overlap. Check that they are of the same place."),
        ("float", "holds float32, expected classes as integers"),
        ("no crs", "has no CRS, so nothing says where it lies"),
        ("nameless", "Nothing says what the values of raw.tif mean: it has no category names. Give --legend"),
        ("empty", "Not one pixel of a.tif has a reference in empty.tif"),
    ],
)
def test_what_cannot_be_compared_is_one_line(tmp_path, what, text):
    found, geobox = labels(1), geobox_at(height=90, width=110)
    made = write_map(tmp_path / "a.tif", found)
    far = GeoBox((90, 110), geobox.affine @ Affine.translation(9000, 0), geobox.crs)
    reference = {
        "missing": lambda: tmp_path / "none.tif",
        "elsewhere": lambda: write_raw(tmp_path / "far.tif", found, far),
        "float": lambda: write_raw(tmp_path / "float.tif", found.astype("float32"), geobox),
        "no crs": lambda: write_raw(tmp_path / "bare.tif", found, GeoBox((90, 110), geobox.affine, None)),
        "nameless": lambda: made,
        "empty": lambda: write_raw(tmp_path / "empty.tif", np.full_like(found, 255), geobox),
    }[what]()
    if what == "nameless":
        made = write_raw(tmp_path / "raw.tif", found, geobox)
    with pytest.raises(EvaluationError, match=text) as error:
        score(Request(prediction=made, reference=reference))
    assert "\n" not in str(error.value)


def test_a_legend_file_speaks_for_a_bare_map(tmp_path):
    raw = write_raw(tmp_path / "raw.tif", labels(1), geobox_at(height=90, width=110))
    (tmp_path / "legend.toml").write_text(
        '[[classes]]\nvalue = 0\nname = "water"\n[[classes]]\nvalue = 1\nname = "tree"\ncolor_hint = "33A02C"\n'
        '[[classes]]\nvalue = 2\nname = "built"\n'
    )
    assert [c.name for c in legend_of(raw, tmp_path / "legend.toml").classes] == ["water", "tree", "built"]
    with pytest.raises(EvaluationError, match=r"is no legend .* Give a TOML file with \[\[classes\]\]"):
        legend_of(raw, raw)


def test_the_page_needs_nothing_but_itself(tmp_path):
    found, true = labels(1), labels(2)
    made, against = write_map(tmp_path / "a.tif", found), write_map(tmp_path / "b<i>.tif", true)
    evaluation = score(Request(prediction=made, reference=against))
    page = render_scores(evaluation)
    assert "b&lt;i&gt;.tif" in page
    assert page.count("data:image/png;base64,") == 1 + len(evaluation.cases)
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    write_scores(evaluation, tmp_path / "out")
    stored = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert {
        "pixel_accuracy", "mean_accuracy", "miou", "fwiou", "dice", "kappa", "boundary_miou", "trimap_miou",
    } == set(stored["overall"])  # fmt: skip
    assert {"class_id", "class_name", "iou", "dice", "precision", "recall", "support"} <= set(
        stored["classes"][0]
    )
    assert stored["confusion"] == [list(row) for row in evaluation.scores.confusion]
    with pytest.raises(OutputError, match=r"holds scores\.json already"):
        check_out(tmp_path / "out", "scores.json", overwrite=False)
    check_out(tmp_path / "out", "scores.json", overwrite=True)


@pytest.mark.lane
def test_memory_does_not_grow_with_the_rasters(tmp_path):
    """A 36,000 x 36,000 pair of sparse rasters, with outlines, in under 1 GB."""
    script = f"""
import time
from pathlib import Path
import rasterio
from geoseg.evaluation.boundary_width import BoundaryWidth
from geoseg.evaluation.rasters import Request, score
started = time.perf_counter()
scores = score(Request(prediction=Path({str(tmp_path / "a.tif")!r}), reference=Path({str(tmp_path / "b.tif")!r}),
                       legend=Path({str(tmp_path / "legend.toml")!r}), boundary=BoundaryWidth(20, "px"))).scores
# Not ru_maxrss: a process starts with the peak of the one that started it.
lines = Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
print(peak // 1024, scores.compared, round(time.perf_counter() - started))
"""
    (tmp_path / "legend.toml").write_text(
        '[[classes]]\nvalue = 0\nname = "a"\n[[classes]]\nvalue = 1\nname = "b"\n'
    )
    side = 36_000
    for number, name in enumerate("ab"):
        with rasterio.open(
            tmp_path / f"{name}.tif", "w", driver="GTiff", count=1, dtype="uint8", height=side, width=side,
            crs="EPSG:32725", transform=geobox_at().affine, nodata=255, tiled=True, blockxsize=512, blockysize=512,
            compress="deflate", SPARSE_OK=True,
        ) as target:  # fmt: skip
            for corner in (0, side // 2, side - 2048):
                window = rasterio.windows.Window(corner, corner, 2048, 2048)
                target.write(np.full((2048, 2048), number, np.uint8), 1, window=window)
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    peak_mb, compared, seconds = map(int, done.stdout.split())
    print(f"36,000 x 36,000: {peak_mb} MB, {seconds} s")
    assert compared == 3 * 2048**2
    assert peak_mb < 1000
