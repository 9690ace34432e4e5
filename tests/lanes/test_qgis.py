"""Real QGIS opens the outputs styled. Needs /usr/bin/python3 with PyQGIS (apt: qgis python3-qgis)."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr
from rasterio.features import shapes
from shapely.geometry import shape

from geoseg.jobs.run import run
from geoseg.legend import Legend
from geoseg.recipe import Recipe
from geoseg.report.facts import AreaAsked, ModelFacts, RunFacts
from geoseg.report.summary import summarize
from geoseg.writers.cog import write_cog
from geoseg.writers.gpkg import write_gpkg
from geoseg.writers.qml import write_qml
from lanes.qgis_programs import ENVIRONMENT, PYTHON, need_qgis

LEGEND = Legend.of(water="1F78B4", tree="33A02C", bare="C8AD7F", built="E31A1C")

pytestmark = pytest.mark.lane


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    need_qgis()
    folder = tmp_path_factory.mktemp("out")
    _write_outputs(folder)
    return folder


def test_qgis_opens_the_outputs_styled(folder):
    done = _check(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": ok") == 12
    assert (folder / "qgis.png").stat().st_size > 1000


def test_qgis_opens_the_map_of_the_sample_styled(folder, tmp_path):
    sample = Path(__file__).parents[2] / "catalogs" / "sample" / "area.geojson"
    out = run(Recipe(aoi=str(sample), catalog="sample", out=str(tmp_path / "map"))).out
    done = _check(out)
    assert done.returncode == 0, done.stdout + done.stderr


def test_qgis_opens_a_map_in_sheets_styled_and_in_an_equal_area_crs(tmp_path):
    sample = Path(__file__).parents[2] / "catalogs" / "sample" / "area.geojson"
    recipe = Recipe(
        aoi=str(sample), catalog="sample", model="spectral-rules", gsd=10, max_file_gb=1e-4, crs="equal-area"
    )
    out = run(recipe.model_copy(update={"out": str(tmp_path / "map")})).out
    done = _check(out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("class.vrt") == 6


def test_the_check_can_fail(folder):
    qml = folder / "class.qml"
    text = qml.read_text()
    try:
        qml.write_text(text.replace("#33a02c", "#33a02d"))
        done = _check(folder)
    finally:
        qml.write_text(text)
    assert done.returncode == 1
    assert "class.tif legend: got" in done.stderr


def _check(folder: Path) -> subprocess.CompletedProcess:
    script = Path(__file__).with_name("qgis_check.py")
    command = [PYTHON, script, folder, folder / "qgis.png"]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=180)


def _write_outputs(folder: Path) -> None:
    rng = np.random.default_rng(0)
    class_id = np.kron(rng.integers(0, 3, (12, 12)), np.ones((50, 50))).astype("uint8")
    class_id[:150, :200] = 255
    box = GeoBox.from_bbox((280_000, 9_110_000, 286_000, 9_116_000), "EPSG:32725", resolution=10)
    class_tif = write_cog(wrap_xr(class_id, box), folder / "class.tif", legend=LEGEND, description="class")
    write_qml(folder / "class.qml", LEGEND)
    found = [(shape(s), int(v)) for s, v in shapes(class_id, class_id != 255, transform=box.affine)]
    gdf = gpd.GeoDataFrame(
        {
            "class_id": [v for _, v in found],
            "class_name": [LEGEND.classes[v].name for _, v in found],
            "area_ha": [s.area / 1e4 for s, _ in found],
            "confidence": [0.5] * len(found),
        },
        geometry=[s for s, _ in found],
        crs=str(box.crs),
    )
    write_gpkg(gdf, folder / "classes.gpkg", legend=LEGEND, title="Land cover")
    report = summarize(
        class_tif,
        LEGEND,
        title="Land cover",
        aoi=AreaAsked(source="area.geojson", area_km2=36.0),
        covered_km2=36.0,
        items=(),
        model=ModelFacts(name="spectral-rules"),
        run=RunFacts(geoseg_version="0.1.0", created=datetime(2026, 11, 22, tzinfo=UTC)),
    )
    (folder / "report.json").write_text(report.to_json(), "utf-8")
