"""Areas and accuracy from labelled points: published examples, independent formulas, laws, and repeated samples."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr
from shapely.geometry import MultiPoint, Point, box

from geoseg.errors import EvaluationError
from geoseg.evaluation.areas.estimate import Points, Stratum, estimate_areas, estimate_region
from geoseg.evaluation.areas.report import AreaRequest, report_areas
from geoseg.evaluation.areas.sampling import Design, draw_pixels, draw_sample
from geoseg.grid.ground import row_areas_m2
from geoseg.legend import Legend
from geoseg.writers.cog import write_cog
from geoseg.writers.points import write_points

REFERENCE = Path(__file__).parents[3] / "../shared/data/reference/scikit_eo_olofsson"
LEGEND = Legend.of(water="1F78B4", tree="33A02C", bare="C8AD7F", built="E31A1C")
FIGURES = ("area_ha", "area_se_ha", "users", "users_se", "producers", "producers_se")


def points_of(matrix, strata=None) -> Points:
    """As many points as an error matrix (map class, reference class) says; strata are the map's classes."""
    rows, cols = np.indices(np.shape(matrix)).reshape(2, -1).repeat(np.ravel(matrix), axis=1)
    return Points(rows if strata is None else strata, rows, cols)


# --- published examples --------------------------------------------------------------------------


def test_olofsson_2014_to_the_printed_digits(tmp_path):
    """The worked example of Remote Sensing of Environment 148: 42-57, from files to report."""
    if not REFERENCE.exists():
        pytest.skip("the reference data in ../shared/data are not here")
    table = pd.read_csv(REFERENCE / "confusion_matrix.csv", sep=";", index_col=0)
    names = list(table.columns[:4])
    matrix = table.loc[names, names].to_numpy(int)
    points = points_of(matrix)
    labels, areas = tmp_path / "labels.csv", tmp_path / "areas.csv"
    pd.DataFrame(
        {"stratum": np.array(names)[points.stratum], "reference_class": np.array(names)[points.reference]}
    ).to_csv(labels)
    pixels = table.loc[names, "Area_pixels"].to_numpy()
    pd.DataFrame({"stratum": names, "area_ha": pixels * 0.09, "pixels": pixels}).to_csv(areas)
    report = report_areas(AreaRequest(labels=labels, areas=areas))
    classes = report.whole.classes
    assert [c.class_name for c in classes] == names
    assert [f"{c.area_ha:.0f} {1.96 * c.area_se_ha:.0f}" for c in classes] == [
        "21158 6158", "11686 3756", "285770 15510", "581386 16282",
    ]  # fmt: skip
    assert [f"{c.interval_ha[0]:.0f}" for c in classes] == ["15000", "7930", "270260", "565104"]
    assert [f"{c.users_accuracy:.2f} {1.96 * c.users_accuracy_se:.2f}" for c in classes] == [
        "0.88 0.07", "0.73 0.10", "0.93 0.04", "0.96 0.02",
    ]  # fmt: skip
    assert [f"{c.users_accuracy:.3f}" for c in classes] == ["0.880", "0.733", "0.927", "0.963"]
    assert [f"{c.producers_accuracy:.3f}" for c in classes] == ["0.749", "0.847", "0.935", "0.962"]
    overall = report.whole.overall_accuracy, 1.96 * report.whole.overall_accuracy_se
    assert "{:.4f} {:.4f}".format(*overall) == "0.9465 0.0185"
    assert [c.mapped_ha for c in classes] == pytest.approx([18_000, 13_500, 288_000, 580_500])
    assert np.array_equal(report.whole.error_matrix.counts, matrix)


def stehman_example() -> tuple[Points, dict[int, Stratum]]:
    """Table 2 of Stehman 2014 (International Journal of Remote Sensing 35: 4923-4939): 40 pixels, 4 strata."""
    strata, mapped = "A" * 10 + "B" * 10 + "C" * 10 + "D" * 10, "A" * 7 + "B" * 3 + "A" + "B" * 11 + "C" * 6
    true = "AAAAACBABC" + "ABBBBBAABB" + "CCCCCDDBBA" + "DDDDDDDCCB"
    arrays = [np.array(["ABCD".index(c) for c in text]) for text in (strata, mapped + "BB" + "D" * 10, true)]
    return Points(*arrays), {h: Stratum(n, n) for h, n in enumerate([40_000, 30_000, 20_000, 10_000])}


def test_stehman_2014_to_the_printed_digits():
    """Pages 4932 to 4936, all figures but one: the standard error of B's producer's accuracy."""
    found = estimate_areas(*stehman_example(), n_classes=4)
    share = found.area_ha / 100_000, found.area_se_ha / 100_000
    assert (round(share[0][0], 3), round(share[1][0], 3)) == (0.350, 0.082)
    assert (round(share[0][2], 3), round(share[1][2], 3)) == (0.200, 0.064)
    assert (round(found.overall, 3), round(found.overall_se, 3)) == (0.630, 0.085)
    assert (round(found.users[1], 3), round(found.users_se[1], 3)) == (0.574, 0.125)
    assert round(found.producers[1], 3) == 0.794
    assert found.cells_ha[1, 2] / 100_000 == pytest.approx(0.08)
    # Printed is 0.114, as those report who recomputed it (accuracyAssessmentTools): the variance of x in stratum 4
    # was taken as 0 there instead of the 0.1 of the paper's table 3.
    assert round(found.producers_se[1], 3) == 0.117
    # What the manual of mapac (R package of D. Pflugmacher) shows for the same points.
    assert found.users_se[:3] == pytest.approx([0.1645627, 0.1248023, 0.2151657], abs=5e-8)
    assert found.producers_se[:2] == pytest.approx([0.1477318, 0.1165671], abs=5e-8)


# --- independent formulas ------------------------------------------------------------------------


def olofsson(matrix, areas):
    """Olofsson et al. 2014, equations 1 to 10, cell by cell."""
    n, q = np.asarray(matrix, float), len(matrix)
    total = sum(areas)
    w = [a / total for a in areas]
    p = [[w[i] * n[i][j] / n[i].sum() for j in range(q)] for i in range(q)]
    column = [sum(p[i][j] for i in range(q)) for j in range(q)]
    out = {"overall": sum(p[i][i] for i in range(q))}
    user = [n[i][i] / n[i].sum() for i in range(q)]
    out["users"] = user
    out["overall_se"] = sum(w[i] ** 2 * user[i] * (1 - user[i]) / (n[i].sum() - 1) for i in range(q)) ** 0.5
    out["users_se"] = [(user[i] * (1 - user[i]) / (n[i].sum() - 1)) ** 0.5 for i in range(q)]
    out["area_ha"] = [total * column[j] for j in range(q)]
    share = n / n.sum(axis=1, keepdims=True)
    out["area_se_ha"] = [  # the second form of equation 10, which loses no digits
        total * sum(w[i] ** 2 * share[i][j] * (1 - share[i][j]) / (n[i].sum() - 1) for i in range(q)) ** 0.5
        for j in range(q)
    ]
    out["producers"], out["producers_se"] = [], []
    for j in range(q):
        accuracy = p[j][j] / column[j] if column[j] else np.nan
        own = areas[j] ** 2 * (1 - accuracy) ** 2 * user[j] * (1 - user[j]) / (n[j].sum() - 1)
        other = sum(
            areas[i] ** 2 * (n[i][j] / n[i].sum()) * (1 - n[i][j] / n[i].sum()) / (n[i].sum() - 1)
            for i in range(q)
            if i != j
        )
        size = sum(areas[i] * n[i][j] / n[i].sum() for i in range(q)) or np.nan
        out["producers"].append(accuracy)
        out["producers_se"].append((own + accuracy**2 * other) ** 0.5 / size)
    return out


matrices = st.integers(2, 5).flatmap(
    lambda q: st.lists(
        st.lists(st.integers(0, 30), min_size=q, max_size=q).filter(lambda row: sum(row) > 1),
        min_size=q,
        max_size=q,
    )
)


@settings(max_examples=40, deadline=None)
@given(matrix=matrices, data=st.data())
def test_strata_that_are_classes_give_olofsson(matrix, data):
    areas = data.draw(st.lists(st.floats(1, 1e6), min_size=len(matrix), max_size=len(matrix)))
    found = estimate_areas(
        points_of(matrix), {h: Stratum(a) for h, a in enumerate(areas)}, n_classes=len(matrix)
    )
    for name, expected in olofsson(matrix, areas).items():
        scale = sum(areas) if name.startswith("area") else 1
        got, wanted = np.atleast_1d(getattr(found, name)) / scale, np.atleast_1d(expected) / scale
        close = np.isclose(got, wanted, rtol=0, atol=1e-12, equal_nan=True)
        assert close.all(), (name, got, wanted)


def stehman(points, sizes, q):
    """Stehman 2014, equations 2, 25, 27 and 28, stratum by stratum, with the variances of x, y and x y."""
    total = sum(sizes.values())

    def moments(values):
        return {h: values[points.stratum == h] for h in sizes}

    def mean(y):
        parts = moments(y)
        estimate = sum(sizes[h] * v.mean() for h, v in parts.items())
        variance = sum(
            sizes[h] ** 2 * (1 - len(v) / sizes[h]) * np.var(v, ddof=1) / len(v) for h, v in parts.items()
        )
        return estimate / total, variance**0.5 / total

    def ratio(y, x):
        size = mean(x)[0] * total
        if not size:
            return np.nan, np.nan
        r, variance = mean(y)[0] * total / size, 0
        for h, n in sizes.items():
            yh, xh = y[points.stratum == h], x[points.stratum == h]
            spread = np.var(yh, ddof=1) + r**2 * np.var(xh, ddof=1) - 2 * r * np.cov(xh, yh)[0, 1]
            variance += n**2 * (1 - len(yh) / n) * spread / len(yh)
        return r, max(variance, 0) ** 0.5 / size

    right = (points.map_class == points.reference) * 1.0
    out = {"overall": mean(right)}
    for name, of in (("users", points.map_class), ("producers", points.reference)):
        out[name] = np.transpose([ratio(right * (of == c), (of == c) * 1.0) for c in range(q)])
    out["area_ha"] = np.transpose([mean((points.reference == c) * 1.0) for c in range(q)]) * total
    return out


@pytest.mark.parametrize("share", [0.002, 0.3])  # far below 5 % of the pixels, and above
def test_strata_that_are_not_classes_give_stehman(share):
    rng = np.random.default_rng(8)
    for _ in range(10):
        stratum = np.repeat(np.arange(3), rng.integers(5, 60, 3))
        mapped = rng.integers(0, 4, len(stratum))
        true = np.where(rng.random(len(stratum)) < 0.7, mapped, rng.integers(0, 5, len(stratum)))
        points = Points(stratum, mapped, true)
        sizes = {h: int((stratum == h).sum() / share) for h in range(3)}
        found = estimate_areas(points, {h: Stratum(n, n) for h, n in sizes.items()}, n_classes=5)
        expected = stehman(points, sizes, 5)
        # Stehman corrects for finite populations always, here only above 5 %.
        correction = 1 if share > 0.05 else (1 - share) ** 0.5
        for name in ("users", "producers", "area_ha", "overall"):
            value, error = expected[name]
            se = "area_se_ha" if name == "area_ha" else f"{name}_se"
            np.testing.assert_allclose(getattr(found, name), value, rtol=1e-9)
            slack = 2e-3 if share < 0.05 else 1e-9  # sizes are whole numbers of pixels
            np.testing.assert_allclose(getattr(found, se), error / correction, rtol=slack, atol=1e-7)


# --- laws ----------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(matrix=matrices, data=st.data())
def test_permuting_classes_permutes_results(matrix, data):
    q = len(matrix)
    order = np.array(data.draw(st.permutations(range(q))))
    points = points_of(matrix)
    strata = {h: Stratum(10.0 + h**2) for h in range(q)}
    found = estimate_areas(points, strata, n_classes=q)
    moved = estimate_areas(
        Points(order[points.stratum], order[points.map_class], order[points.reference]),
        {int(order[h]): s for h, s in strata.items()},
        n_classes=q,
    )
    for name in FIGURES:
        np.testing.assert_allclose(getattr(moved, name)[order], getattr(found, name), rtol=1e-9, atol=1e-9)
    assert moved.overall == pytest.approx(found.overall)
    assert np.array_equal(moved.counts[np.ix_(order, order)], found.counts)


@given(n=st.lists(st.integers(2, 40), min_size=1, max_size=5))
def test_perfect_labels_give_the_maps_own_areas_without_error(n):
    strata = {h: Stratum(3.7 * (h + 1)) for h in range(len(n))}
    found = estimate_areas(points_of(np.diag(n)), strata, n_classes=len(n))
    assert found.area_ha == pytest.approx([s.area_ha for s in strata.values()])
    assert (found.overall, found.overall_se) == (pytest.approx(1), 0)
    for name in ("area_se_ha", "users_se", "producers_se"):
        assert not getattr(found, name).any()
    assert found.users == pytest.approx(1)


def test_what_is_not_there_is_not_defined():
    found = estimate_areas(
        points_of([[9, 1, 0], [0, 9, 0], [2, 2, 0]]), dict.fromkeys(range(3), Stratum(5.0)), n_classes=3
    )
    assert np.isnan(found.producers[2])
    assert np.isnan(found.producers_se[2])
    assert found.users[2] == 0
    assert not np.isnan(found.users).any()


def test_one_point_has_no_variance_unless_it_is_all_there_is():
    matrix = [[9, 1], [0, 1]]
    found = estimate_areas(points_of(matrix), {0: Stratum(5.0, 10**6), 1: Stratum(5.0, 40)}, n_classes=2)
    assert found.area_ha == pytest.approx([4.5, 5.5])
    assert np.isnan(found.area_se_ha).all()
    assert np.isnan(found.overall_se)
    whole = estimate_areas(points_of(matrix), {0: Stratum(5.0, 10**6), 1: Stratum(5.0, 1)}, n_classes=2)
    assert whole.area_se_ha == pytest.approx(5 * np.sqrt(0.1 * 0.9 / 9))


def test_a_stratum_labelled_whole_adds_no_error():
    matrix = [[5, 5], [0, 9]]
    found = estimate_areas(points_of(matrix), {0: Stratum(10.0, 10), 1: Stratum(9.0, 9)}, n_classes=2)
    assert found.area_ha == pytest.approx([5, 14])
    assert not found.area_se_ha.any()


def test_a_stratum_without_points_is_refused():
    points = points_of([[5, 5], [0, 9]])
    with pytest.raises(EvaluationError, match=r"Stratum 2 \(7 ha\) has no labelled point"):
        estimate_areas(points, {h: Stratum(5.0 + h) for h in range(3)}, n_classes=2)
    with pytest.raises(EvaluationError, match="of stratum 1, whose area is not known"):
        estimate_areas(points, {0: Stratum(5.0)}, n_classes=2)


# --- repeated samples ----------------------------------------------------------------------------


def test_intervals_cover_the_truth_in_95_of_100_samples():
    """2000 stratified samples of one map whose truth is known pixel by pixel."""
    truth = np.array([[36_000, 3_000, 1_000], [2_500, 20_000, 2_500], [500, 1_000, 8_500]])  # (map, true)
    strata = {h: Stratum(float(n), int(n)) for h, n in enumerate(truth.sum(axis=1))}
    rng, n_samples, sizes = np.random.default_rng(3), 2000, (220, 160, 100)
    draws = [rng.multivariate_hypergeometric(truth[h], n, size=n_samples) for h, n in enumerate(sizes)]
    found = [
        estimate_areas(points_of(matrix), strata, n_classes=3)
        for matrix in np.stack(draws, axis=1)  # (sample, map, true)
    ]
    true_users, true_producers = truth.diagonal() / truth.sum(axis=1), truth.diagonal() / truth.sum(axis=0)
    for name, se, true in [
        ("area_ha", "area_se_ha", truth.sum(axis=0)),
        ("overall", "overall_se", truth.trace() / truth.sum()),
        ("users", "users_se", true_users),
        ("producers", "producers_se", true_producers),
    ]:
        values, errors = (np.array([getattr(f, which) for f in found]) for which in (name, se))
        noise = values.std(axis=0) / np.sqrt(n_samples)
        if name == "area_ha":
            assert np.abs(truth.sum(axis=1) - true).min() > 20 * noise.max()  # pixel counts are far off
        if name != "producers":  # a ratio: unbiased only in large samples
            assert (np.abs(values.mean(axis=0) - true) < 4 * noise).all(), name
        assert np.sqrt((errors**2).mean(axis=0)) == pytest.approx(values.std(axis=0), rel=0.06), name
        covered = (np.abs(values - true) <= 1.96 * errors).mean(axis=0)
        if name in ("area_ha", "overall"):  # of accuracies near 1 such intervals are known to fall short
            assert ((covered > 0.93) & (covered < 0.97)).all(), (name, covered)


@pytest.mark.parametrize("counts", [40, 4])  # pixels of a stratum in a row: two ways of drawing
def test_pixels_that_shrink_towards_the_pole_do_not_bias(counts):
    """In degrees; the truth follows latitude, so that drawing pixels alike would be far off."""
    geobox = GeoBox((60, 2 * counts), Affine(1, 0, 0, 0, -1, 75), "EPSG:4326")
    row_ha = row_areas_m2(geobox) / 1e4
    rows = np.full(60, counts)
    is_north = np.arange(60) < 25  # true class 1 there, 0 elsewhere; each map class is right by that much
    strata = {h: Stratum(float(rows @ row_ha), int(rows.sum())) for h in (0, 1)}
    true_ha = 2 * counts * row_ha[is_north].sum()
    rng, values, errors, inside = np.random.default_rng(11), [], [], []
    region_ha = 2 * counts * row_ha[40:].sum()
    for _ in range(400):
        drawn = [draw_pixels(rows, row_ha, 50, rng)[0] for _ in strata]
        mapped = np.repeat([0, 1], 50)
        row = np.concatenate(drawn)
        points = Points(mapped, mapped, is_north[row].astype(int))
        found = estimate_areas(points, strata, n_classes=2)
        values.append(found.area_ha[1])
        errors.append(found.area_se_ha[1])
        half = np.full(2, region_ha / 2)
        inside.append(estimate_region(points, strata, inside=row >= 40, mapped_ha=half).area_ha[1])
    noise = np.std(values) / 20
    assert np.mean(values) == pytest.approx(true_ha, abs=4 * noise)
    by_count = 2 * strata[0].area_ha * is_north.mean()
    assert abs(by_count - true_ha) > 20 * noise  # what drawing pixels alike would have given
    covered = np.mean(np.abs(np.array(values) - true_ha) <= 1.96 * np.array(errors))
    assert (
        0.92 < covered < 0.985
    )  # 400 samples: the binomial interval around 0.95; without replacement is better
    assert np.mean(inside) == pytest.approx(0, abs=4 * np.std(inside) / 20)


# --- regions -------------------------------------------------------------------------------------


def test_regions_add_up_and_the_map_is_corrected():
    rng = np.random.default_rng(2)
    stratum = np.repeat([0, 1, 2], [60, 50, 40])
    true = np.where(rng.random(150) < 0.8, stratum, rng.integers(0, 3, 150))
    points = Points(stratum, stratum, true)
    strata = {h: Stratum(a) for h, a in enumerate([100.0, 50.0, 20.0])}
    region = rng.integers(0, 2, 150)
    mapped = np.array([[70.0, 10, 15], [30, 40, 5]])
    whole = estimate_areas(points, strata, n_classes=3)
    parts = [estimate_region(points, strata, inside=region == r, mapped_ha=mapped[r]) for r in (0, 1)]
    assert parts[0].area_ha + parts[1].area_ha == pytest.approx(whole.area_ha)
    for part, ha in zip(parts, mapped, strict=True):
        assert part.area_ha.sum() == pytest.approx(ha.sum())
    # By hand: class 1 in region 0, mapped + expanded errors of omission - of commission.
    gained = sum(
        strata[h].area_ha * np.mean((true == 1) & (region == 0) & (stratum == h), where=stratum == h)
        for h in (0, 2)
    )
    lost = strata[1].area_ha * np.mean((true != 1) & (region == 0), where=stratum == 1)
    assert parts[0].area_ha[1] == pytest.approx(10 + gained - lost)
    perfect = estimate_region(
        Points(stratum, stratum, stratum), strata, inside=region == 0, mapped_ha=mapped[0]
    )
    assert perfect.area_ha == pytest.approx(mapped[0])
    assert not perfect.area_se_ha.any()
    everything = estimate_region(
        points, strata, inside=np.ones(150, bool), mapped_ha=np.array([100.0, 50, 20])
    )
    for name in (*FIGURES, "overall", "overall_se"):
        np.testing.assert_allclose(getattr(everything, name), getattr(whole, name), rtol=1e-9, atol=1e-9)


def test_a_region_is_estimated_without_bias_and_covered():
    """Truth known by (region, map class, true class); the sample knows nothing of regions."""
    truth = np.array(
        [[[9000, 1000], [500, 3500]], [[4000, 2000], [1500, 8500]]]
    )  # (region, map, true) pixels
    by_stratum = truth.transpose(1, 0, 2).reshape(2, 4)
    strata = {h: Stratum(float(n)) for h, n in enumerate(by_stratum.sum(axis=1))}
    rng, n_samples = np.random.default_rng(6), 1000
    draws = [rng.multivariate_hypergeometric(by_stratum[h], 150, size=n_samples) for h in (0, 1)]
    region, true = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    values, errors = [], []
    for first, second in zip(*draws, strict=True):
        cell = np.concatenate([np.repeat(range(4), first), np.repeat(range(4), second)])
        stratum = np.repeat([0, 1], 150)
        found = estimate_region(
            Points(stratum, stratum, true[cell]),
            strata,
            inside=region[cell] == 1,
            mapped_ha=truth[1].sum(axis=1).astype(float),
        )
        values.append(found.area_ha[0])
        errors.append(found.area_se_ha[0])
    expected = truth[1, :, 0].sum()
    noise = np.std(values) / np.sqrt(n_samples)
    assert np.mean(values) == pytest.approx(expected, abs=4 * noise)
    assert abs(truth[1, 0].sum() - expected) > 4 * noise  # what the map itself says
    covered = np.mean(np.abs(np.array(values) - expected) <= 1.96 * np.array(errors))
    assert 0.93 < covered < 0.97


# --- files ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A map, its sample, and the truth: everything in the right half is tree."""
    tmp_path = tmp_path_factory.mktemp("areas")
    geobox = GeoBox((100, 100), Affine(10, 0, 500_000, 0, -10, 6_000_000), "EPSG:32633")
    classes = np.kron(np.random.default_rng(0).integers(0, 3, (10, 10)), np.ones((10, 10))).astype("uint8")
    classes[:10] = 255
    write_cog(wrap_xr(classes, geobox), tmp_path / "class.tif", legend=LEGEND)
    sample = draw_sample(tmp_path / "class.tif", Design(size=240, min_per_stratum=40))
    truth = np.where(sample.points.geometry.x > 500_500, 1, sample.points.map_class)
    sample.points["reference_class"] = truth
    save(tmp_path / "sample.gpkg", sample, sample.points)
    return tmp_path


def save(path, sample, points):
    path.unlink(missing_ok=True)
    tables = {"strata": sample.strata, "classes": sample.classes}
    write_points(points, path, legend=LEGEND, tables=tables, pixel_m=10, title="T")


def edit(folder, change):
    """The sample with its points changed, in a new file."""
    sample = draw_sample(folder / "class.tif", Design(size=240, min_per_stratum=40))
    points = gpd.read_file(folder / "sample.gpkg", layer="sample")
    save(folder / "edited.gpkg", sample, change(points))
    return folder / "edited.gpkg"


def test_the_labelled_sample_is_all_that_is_needed(folder):
    report = report_areas(AreaRequest(labels=folder / "sample.gpkg"))
    points = gpd.read_file(folder / "sample.gpkg", layer="sample")
    strata = points.groupby("stratum").weight_ha.sum()
    direct = estimate_areas(
        Points(*(points[c].to_numpy() for c in ("stratum", "map_class", "reference_class"))),
        {h: Stratum(ha) for h, ha in strata.items()},
        n_classes=3,
    )
    assert [c.class_name for c in report.whole.classes] == ["water", "tree", "bare"]
    assert [c.class_id for c in report.whole.classes] == [0, 1, 2]
    assert [c.area_ha for c in report.whole.classes] == pytest.approx(direct.area_ha)
    assert report.whole.overall_accuracy == pytest.approx(direct.overall)
    assert sum(c.mapped_ha for c in report.whole.classes) == pytest.approx(90.0)
    assert report.whole.total_ha == pytest.approx(90.0)
    assert report.n_missing == 0
    spoken = json.loads(report.to_json())
    assert spoken["whole"]["classes"][1]["area_ha"] == report.whole.classes[1].area_ha
    assert "biased" in spoken["method"]
    assert any("10.1016/j.rse.2014.02.015" in r for r in spoken["references"])


def test_map_csv_and_tables_lead_to_the_same(folder):
    expected = report_areas(AreaRequest(labels=folder / "sample.gpkg")).whole.classes
    points = gpd.read_file(folder / "sample.gpkg", layer="sample")
    csv, areas = folder / "points.csv", folder / "areas.csv"
    names = {c.value: c.name for c in LEGEND.classes}
    points.drop(columns="geometry").assign(reference_class=points.reference_class.map(names)).to_csv(
        csv, index=False
    )
    strata = gpd.read_file(folder / "sample.gpkg", layer="strata")
    strata[["stratum", "stratum_name", "area_ha", "pixels"]].to_csv(areas, index=False)
    for request in (
        AreaRequest(labels=folder / "sample.gpkg", map=folder / "class.tif"),
        AreaRequest(labels=csv, map=folder / "class.tif"),
        AreaRequest(labels=csv, areas=areas),
    ):
        assert report_areas(request).whole.classes == expected


def test_names_written_into_the_sample_are_names(folder):
    """SQLite keeps text in a column of numbers; GDAL reads it as 0."""
    expected = report_areas(AreaRequest(labels=folder / "sample.gpkg")).whole.classes
    names = {c.value: c.name for c in LEGEND.classes}
    with closing(sqlite3.connect(folder / "sample.gpkg")) as connection, connection:
        for (trigger,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            connection.execute(f'DROP TRIGGER "{trigger}"')
        for value, name in names.items():
            connection.execute(
                "UPDATE sample SET reference_class = ? WHERE reference_class = ?", (name, value)
            )
    assert report_areas(AreaRequest(labels=folder / "sample.gpkg")).whole.classes == expected


def test_another_map_is_assessed_with_the_same_points(folder):
    """Strata are the first map's classes, map classes the second's: Stehman's case."""
    geobox = GeoBox((100, 100), Affine(10, 0, 500_000, 0, -10, 6_000_000), "EPSG:32633")
    other = np.where(np.arange(100) >= 50, 1, 3) * np.ones((100, 1), int)
    other[:10] = 255
    write_cog(wrap_xr(other.astype("uint8"), geobox), folder / "other.tif", legend=LEGEND)
    report = report_areas(AreaRequest(labels=folder / "sample.gpkg", map=folder / "other.tif"))
    same = report_areas(AreaRequest(labels=folder / "sample.gpkg"))
    assert [c.area_ha for c in report.whole.classes[:3]] == pytest.approx(
        [c.area_ha for c in same.whole.classes]
    )
    tree, built = report.whole.classes[1], report.whole.classes[3]
    assert (tree.mapped_ha, built.mapped_ha) == pytest.approx((45, 45))
    assert tree.users_accuracy == pytest.approx(1)
    assert built.users_accuracy == 0
    assert built.producers_accuracy is None
    assert report.whole.overall_accuracy < 1
    turned = Legend.of(built="E31A1C", bare="C8AD7F", tree="33A02C", water="1F78B4")
    renumbered = np.where(other == 255, 255, 3 - other).astype("uint8")
    write_cog(wrap_xr(renumbered, geobox), folder / "turned.tif", legend=turned)
    again = report_areas(AreaRequest(labels=folder / "sample.gpkg", map=folder / "turned.tif")).whole
    by_name = {c.class_name: c.model_copy(update={"class_id": 0}) for c in again.classes}
    assert by_name == {c.class_name: c.model_copy(update={"class_id": 0}) for c in report.whole.classes}
    road = Legend.of(a="000000", b="111111", c="222222", road="333333")
    write_cog(wrap_xr(other.astype("uint8"), geobox), folder / "road.tif", legend=road)
    with pytest.raises(EvaluationError, match=r"which road\.tif does not"):
        report_areas(AreaRequest(labels=folder / "sample.gpkg", map=folder / "road.tif"))
    other[:, :50] = 255
    write_cog(wrap_xr(other.astype("uint8"), geobox), folder / "half.tif", legend=LEGEND)
    with pytest.raises(EvaluationError, match=r"points lie where half\.tif has no class"):
        report_areas(AreaRequest(labels=folder / "sample.gpkg", map=folder / "half.tif"))


def test_regions_of_a_layer(folder):
    squares = [box(500_000, 5_999_000, 500_500, 6_000_000), box(500_500, 5_999_000, 501_000, 6_000_000)]
    tiny = box(500_000, 5_999_000, 500_020, 5_999_020)
    far = box(0, 0, 1, 1)
    gpd.GeoDataFrame(
        {"district": ["west", "east", "tiny", "far"]}, geometry=[*squares, tiny, far], crs="EPSG:32633"
    ).to_crs("EPSG:4326").to_file(folder / "districts.gpkg", layer="d")
    request = AreaRequest(
        labels=folder / "sample.gpkg",
        map=folder / "class.tif",
        regions=f"{folder / 'districts.gpkg'}|layername=d",
        region_field="district",
    )
    report = report_areas(request)
    assert [r.name for r in report.regions] == ["west", "east", "tiny", "far"]
    west, east, tiny, far = report.regions
    assert west.n_points + east.n_points + tiny.n_points == 240
    assert west.total_ha + tiny.total_ha == pytest.approx(45, abs=0.5)  # edges moved a little by degrees
    assert west.overall_accuracy == pytest.approx(1)  # the truth is the map there
    assert [c.area_ha for c in west.classes] == pytest.approx([c.mapped_ha for c in west.classes])
    assert [c.area_se_ha for c in west.classes] == [0, 0, 0]
    assert any("no error in water" in note for note in west.notes)
    whole = [c.area_ha for c in report.whole.classes]
    parts = [[c.area_ha or c.mapped_ha for c in r.classes] for r in report.regions]
    assert np.sum(parts, axis=0) == pytest.approx(whole, abs=0.5)
    assert tiny.notes[0].startswith(("Only", "No labelled point"))
    assert far.n_points == 0
    assert far.overall_accuracy is None
    assert all(c.area_ha is None and c.interval_ha is None for c in far.classes)
    assert far.notes == ("No labelled point lies here: nothing can be estimated.",)
    assert any("overlap" in note for note in report.notes)
    for change, message in [
        ({"map": None}, "Regions need a map"),
        ({"region_field": "name"}, "has no field 'name'. It has: district"),
        ({"region_field": None}, "No field names the regions. It has: district"),
        ({"regions": "nowhere.gpkg"}, "Cannot read nowhere.gpkg"),
    ]:
        with pytest.raises(EvaluationError, match=message):
            report_areas(AreaRequest(**{**vars(request), **change}))


def test_areas_in_degrees_are_those_on_the_ground(tmp_path):
    geobox = GeoBox((40, 60), Affine(0.5, 0, 5, 0, -0.5, 65), "EPSG:4326")
    classes = np.where(np.arange(40)[:, None] < 15, 0, np.where(np.arange(60) < 25, 1, 2))
    path = write_cog(wrap_xr(classes.astype("uint8"), geobox), tmp_path / "class.tif", legend=LEGEND)
    sample = draw_sample(path, Design(size=200))
    sample.points["reference_class"] = sample.points.map_class
    save(tmp_path / "sample.gpkg", sample, sample.points)
    halves = gpd.GeoDataFrame({"half": ["north", "south"]}, geometry=[box(5, 55, 35, 65), box(5, 45, 35, 55)])
    halves.set_crs("EPSG:4326").to_file(tmp_path / "halves.gpkg")
    report = report_areas(
        AreaRequest(
            labels=tmp_path / "sample.gpkg",
            map=path,
            regions=str(tmp_path / "halves.gpkg"),
            region_field="half",
        )
    )
    pixel_ha = np.broadcast_to(row_areas_m2(geobox)[:, None] / 1e4, classes.shape)
    for figures, rows in zip((report.whole, *report.regions), ((0, 40), (0, 20), (20, 40)), strict=True):
        within = slice(*rows)
        expected = [pixel_ha[within][classes[within] == c].sum() for c in range(3)]
        assert [c.mapped_ha for c in figures.classes] == pytest.approx(expected)
        assert [c.area_ha for c in figures.classes] == pytest.approx(expected)  # labels are perfect
        assert all(c.area_se_ha == pytest.approx(0, abs=1e-6) for c in figures.classes)


def test_missing_labels_are_refused_or_counted(folder):
    def blank(points):
        points["reference_class"] = points.reference_class.astype("Int32")
        points.loc[points.point_id <= 7, "reference_class"] = pd.NA
        return points

    path = edit(folder, blank)
    with pytest.raises(EvaluationError, match=r"7 of 240 points have no reference_class in edited\.gpkg"):
        report_areas(AreaRequest(labels=path))
    report = report_areas(AreaRequest(labels=path, allow_missing=True))
    assert (report.n_missing, report.whole.n_points) == (7, 233)
    assert sum(s.n_missing for s in report.strata) == 7
    assert "7 of 240 points have no label and were left out" in report.notes[0]
    assert sum(c.area_ha for c in report.whole.classes) == pytest.approx(90)


def test_deleted_points_are_missing_labels_too(folder):
    path = edit(folder, lambda points: points[points.point_id > 5])
    with pytest.raises(EvaluationError, match=r"5 of 240 points \(5 of them are no longer in the file\)"):
        report_areas(AreaRequest(labels=path))


def test_a_stratum_with_one_label_has_estimates_but_no_errors(folder):
    def thin(points):
        points["reference_class"] = points.reference_class.astype("Int32")
        rest = points.point_id[points.stratum == 0].to_numpy()[1:]
        points.loc[points.point_id.isin(rest), "reference_class"] = pd.NA
        return points

    path = edit(folder, thin)
    report = report_areas(AreaRequest(labels=path, allow_missing=True))
    assert any("Only one point is labelled in water" in note for note in report.notes)
    assert all(c.area_ha is not None and c.area_se_ha is None for c in report.whole.classes)
    assert report.whole.overall_accuracy_se is None
    assert '"area_se_ha": null' in report.to_json()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stratum,label\nwater,1\n", "no column reference_class; its columns are stratum, label"),
        ("stratum,reference_class\n", "has no points"),
        ("stratum,reference_class\nwater,tre\n", r"reference_class 'tre'.*did you mean tree"),
        ("stratum,reference_class\nlava,tree\n", "stratum 'lava'"),
        ("stratum,reference_class\n,tree\n", "1 points without a stratum"),
        ("point_id,stratum,reference_class\n4,water,tree\n4,water,tree\n", "holds point 4 more than once"),
        ("stratum,reference_class\nwater,tree\nwater,water\n", "No point is labelled in stratum tree"),
    ],
)
def test_labels_that_cannot_be(folder, text, message):
    path = folder / "labels.csv"
    path.write_text(text)
    with pytest.raises(EvaluationError, match=message):
        report_areas(AreaRequest(labels=path, map=folder / "class.tif"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stratum,ha\nwater,1\n", "has no area_ha"),
        ("stratum,area_ha\nwater,0\n", "stratum water has area_ha 0, expected hectares"),
        ("stratum,area_ha\nwater,1\nwater,2\n", "holds stratum water more than once"),
        ("stratum,stratum_name,area_ha\n1,water,1\n2,water,2\n", "Two strata share a name"),
    ],
)
def test_areas_that_cannot_be(folder, text, message):
    labels, areas = folder / "labels.csv", folder / "areas.csv"
    labels.write_text("stratum,reference_class\nwater,water\n")
    areas.write_text(text)
    with pytest.raises(EvaluationError, match=message):
        report_areas(AreaRequest(labels=labels, areas=areas))
    with pytest.raises(EvaluationError, match="does not say how large its strata are"):
        report_areas(AreaRequest(labels=labels))
    with pytest.raises(EvaluationError, match="There is no file"):
        report_areas(AreaRequest(labels=folder / "none.gpkg"))
    with pytest.raises(EvaluationError, match="Cannot read"):
        report_areas(AreaRequest(labels=folder / "class.tif"))


def test_more_points_than_pixels_are_refused(tmp_path):
    """Ten points of five pixels left no uncertainty, since all was taken to be labelled."""
    (tmp_path / "points.csv").write_text(
        "stratum,reference_class\n" + "water,water\n" * 9 + "water,land\n" + "land,land\n" * 10
    )
    (tmp_path / "strata.csv").write_text("stratum,area_ha,pixels\nwater,40,5\nland,60,50\n")
    with pytest.raises(EvaluationError, match="Stratum water has 10 labelled points, but 5 pixels: expected"):
        report_areas(AreaRequest(labels=tmp_path / "points.csv", areas=tmp_path / "strata.csv"))
    with pytest.raises(EvaluationError, match="Stratum 0 has 3 points, but 2 pixels"):
        estimate_areas(points_of([[3, 0], [0, 3]]), {0: Stratum(1.0, 2), 1: Stratum(1.0, 3)}, n_classes=2)
    whole = estimate_areas(points_of([[2, 1], [0, 3]]), {0: Stratum(1.0, 3), 1: Stratum(1.0, 3)}, n_classes=2)
    assert (whole.area_se_ha == 0).all()


def test_multipoints_of_one_point_are_points(tmp_path):
    values = np.zeros((10, 10), np.uint8)
    values[5:] = 1
    geobox = GeoBox((10, 10), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32633")
    legend = Legend.of(water="1F78B4", land="33A02C")
    write_cog(wrap_xr(values, geobox), tmp_path / "map.tif", nodata=255, legend=legend)
    names = ["water"] * 3 + ["land"] * 3
    frame = gpd.GeoDataFrame(
        {"stratum": names, "reference_class": names},
        geometry=gpd.points_from_xy([500_005 + 10 * n for n in range(6)], [4_999_985] * 3 + [4_999_925] * 3),
        crs="EPSG:32633",
    )
    reports = []
    for name, made in (("points", Point), ("many", lambda point: MultiPoint([point]))):
        frame.set_geometry([made(point) for point in frame.geometry]).to_file(tmp_path / f"{name}.gpkg")
        reports.append(report_areas(AreaRequest(tmp_path / f"{name}.gpkg", map=tmp_path / "map.tif")))
    assert reports[0].whole.classes == reports[1].whole.classes
