"""Real QGIS opens the points of ``geoseg area sample`` ready to be labelled, and what it saves is estimated.

Needs /usr/bin/python3 with PyQGIS (apt: qgis python3-qgis).
"""

import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr

from geoseg.legend import Legend
from geoseg.writers.cog import write_cog
from lanes.qgis_programs import ENVIRONMENT, PYTHON, need_qgis
from lanes.services import geoseg

LEGEND = Legend.of(water="1F78B4", tree="33A02C", built="E31A1C")
N_POINTS = 30

pytestmark = pytest.mark.lane


@pytest.fixture
def folder(tmp_path):
    """A sample of 30 points, and what QGIS should show of it."""
    need_qgis()
    classes = np.kron(np.arange(3, dtype="uint8"), np.ones((40, 14), "uint8"))
    geobox = GeoBox(classes.shape, Affine(10, 0, 500_000, 0, -10, 6_000_000), "EPSG:32633")
    write_cog(wrap_xr(classes, geobox), tmp_path / "class.tif", legend=LEGEND)
    size = ("--size", str(N_POINTS), "--min-per-stratum", "5")
    drawn = geoseg("area", "sample", tmp_path / "class.tif", "--out", tmp_path, *size)
    assert (drawn.code, drawn.stderr) == (0, "")
    expected = {"classes": [(c.value, c.name, c.color_hint) for c in LEGEND.classes], "pixel_m": 10}
    (tmp_path / "expected.json").write_text(json.dumps(expected))
    return tmp_path


def test_points_are_labelled_by_choice_and_estimated(folder):
    done = label_in_qgis(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": ok") == 36
    with closing(sqlite3.connect(folder / "sample.gpkg")) as connection:
        rows = connection.execute("SELECT reference_class, note FROM sample ORDER BY point_id").fetchall()
    # The label of the first point was taken back; the others were chosen in turn.
    assert rows == [(None if i == 0 else i % 3, "seen") for i in range(N_POINTS)]
    refused = geoseg("area", "estimate", folder / "sample.gpkg")
    assert "1 of 30 points have no reference_class" in refused.stderr
    estimated = geoseg("area", "estimate", folder / "sample.gpkg", "--allow-missing", "--json")
    assert estimated.code == 0, estimated.stderr
    found = json.loads(estimated.stdout)["whole"]["classes"]
    assert [c["class_name"] for c in found] == ["water", "tree", "built"]


def test_the_check_can_fail(folder):
    path = folder / "expected.json"
    path.write_text(path.read_text().replace("tree", "bush"))
    done = label_in_qgis(folder)
    assert done.returncode == 1
    assert "legend: got" in done.stderr


def label_in_qgis(folder: Path) -> subprocess.CompletedProcess:
    script = Path(__file__).with_name("qgis_sample_check.py")
    command = [PYTHON, script, folder, folder / "qgis.png"]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=180)
