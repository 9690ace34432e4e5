"""``geoseg area`` as a person meets it: from a map to labelled points to areas."""

import json
import sqlite3
from contextlib import closing

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr
from typer.testing import CliRunner

from geoseg.cli.area import app
from geoseg.errors import EvaluationError, OutputError
from geoseg.legend import Legend
from geoseg.writers.cog import write_cog

LEGEND = Legend.of(water="1F78B4", tree="33A02C")


def geoseg_area(*args):
    return CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=False)


@pytest.fixture
def map_path(tmp_path):
    geobox = GeoBox((100, 100), Affine(10, 0, 500_000, 0, -10, 6_000_000), "EPSG:32633")
    classes = np.zeros((100, 100), "uint8")
    classes[:, 40:] = 1
    return write_cog(wrap_xr(classes, geobox), tmp_path / "class.tif", legend=LEGEND)


def label(path, sql):
    """What a person does in QGIS."""
    with closing(sqlite3.connect(path)) as connection, connection:
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:  # they need SpatiaLite's functions
            connection.execute(f'DROP TRIGGER "{name}"')
        connection.execute(f"UPDATE sample SET reference_class = {sql}")


def test_from_a_map_to_areas(map_path, tmp_path):
    drawn = geoseg_area("sample", map_path, "--out", tmp_path / "s", "--size", 200, "--expect", "water=0.9")
    assert drawn.exit_code == 0
    assert "200 points of class.tif" in drawn.stdout
    assert "water" in drawn.stdout
    assert "sample.gpkg in QGIS" in drawn.stdout
    path = tmp_path / "s" / "sample.gpkg"
    with pytest.raises(EvaluationError, match="200 of 200 points have no reference_class"):
        geoseg_area("estimate", path)
    label(path, "CASE WHEN point_id <= 20 THEN 0 ELSE map_class END")
    shown = geoseg_area("estimate", path, "--out", tmp_path / "e")
    assert shown.exit_code == 0
    assert "ha by pixel count (biased)" in shown.stdout
    assert "40.0" in shown.stdout
    saved = (tmp_path / "e" / "areas.json").read_text()
    assert geoseg_area("estimate", path, "--json").stdout == saved
    water, tree = json.loads(saved)["whole"]["classes"]
    assert (water["mapped_ha"], tree["mapped_ha"]) == pytest.approx((40, 60))
    assert water["area_ha"] > 40 > water["users_accuracy"] == 1
    assert water["interval_ha"][0] < water["area_ha"] < water["interval_ha"][1]
    assert water["area_ha"] + tree["area_ha"] == pytest.approx(100)
    assert f"{water['area_ha']:,.1f}" in shown.stdout


def test_same_options_same_points(map_path, tmp_path):
    first, again, other = (
        json.loads(geoseg_area("sample", map_path, "--out", tmp_path / n, "--seed", seed, "--json").stdout)
        for n, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert [s["stratum_name"] for s in first["strata"]] == ["water", "tree"]
    assert sum(s["points"] for s in first["strata"]) == first["n_points"] == 400

    def places(folder):
        with closing(sqlite3.connect(tmp_path / folder / "sample.gpkg")) as connection:
            return connection.execute("SELECT geom FROM sample ORDER BY point_id").fetchall()

    assert first["strata"] == again["strata"] == other["strata"]
    assert places("a") == places("b") != places("c")


def test_notes_go_to_standard_error(map_path, tmp_path):
    geoseg_area("sample", map_path, "--out", tmp_path)
    label(tmp_path / "sample.gpkg", "CASE WHEN point_id > 3 THEN map_class END")
    shown = geoseg_area("estimate", tmp_path / "sample.gpkg", "--allow-missing")
    assert "3 of 400 points have no label" in shown.stderr
    assert "The sample saw no error in water, tree" in shown.stderr
    assert "note" not in shown.stdout


def test_what_cannot_be_is_one_line(map_path, tmp_path):
    geoseg_area("sample", map_path, "--out", tmp_path)
    before = (tmp_path / "sample.gpkg").read_bytes()
    with pytest.raises(OutputError, match="exists and may hold labels"):
        geoseg_area("sample", map_path, "--out", tmp_path)
    assert (tmp_path / "sample.gpkg").read_bytes() == before
    for wrong in ("water", "water=much", "0.9"):
        with pytest.raises(EvaluationError, match=f"--expect is '{wrong}', expected a stratum"):
            geoseg_area("sample", map_path, "--out", tmp_path / "b", "--expect", wrong)
    with pytest.raises(EvaluationError, match=r"Cannot read .*missing\.tif"):
        geoseg_area("sample", tmp_path / "missing.tif", "--out", tmp_path / "b")
    label(tmp_path / "sample.gpkg", "map_class")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        geoseg_area("estimate", tmp_path / "sample.gpkg", "--out", tmp_path / "file" / "x")
