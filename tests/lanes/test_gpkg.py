"""GDAL's own validator accepts the polygons' file. Needs Debian's python3-gdal."""

import subprocess
from pathlib import Path

import geopandas as gpd
import pytest
from shapely.geometry import MultiPolygon, Polygon, box

from geoseg.legend import Legend
from geoseg.writers.gpkg import write_gpkg
from lanes.conftest import SAMPLE
from lanes.services import IS_CI, geoseg

pytestmark = pytest.mark.lane

PYTHON = "/usr/bin/python3"
VALIDATOR = Path("/usr/share/doc/python3-gdal/examples/validate_gpkg.py")
LEGEND = Legend.of(water="1F78B4", tree="33A02C")
HOLED = Polygon([(0, 0), (90, 0), (90, 90), (0, 90)], [[(30, 30), (60, 30), (60, 60), (30, 60)]])
PARTS = MultiPolygon([box(30, 30, 60, 60), box(100, 0, 130, 30)])


@pytest.fixture(scope="module", autouse=True)
def _validator() -> None:
    if not VALIDATOR.exists():
        text = f"no {VALIDATOR}: apt-get install python3-gdal"
        pytest.fail(text) if IS_CI else pytest.skip(text)


@pytest.mark.parametrize("geometries", [[], [HOLED], [HOLED, PARTS]])
def test_what_is_written_is_valid(geometries: list[Polygon | MultiPolygon], tmp_path: Path) -> None:
    assert faults(written(tmp_path, geometries)) == ""


def test_the_map_of_the_sample_is_valid(tmp_path: Path) -> None:
    out = tmp_path / "map"
    made = geoseg("predict", "-q", "--aoi", SAMPLE / "area.geojson", "--catalog", "sample", "--out", out)
    assert (made.code, made.stderr) == (0, "")
    assert faults(out / "classes.gpkg") == ""


def test_the_check_can_fail(tmp_path: Path) -> None:
    path = written(tmp_path, [HOLED])
    with path.open("r+b") as file:
        file.seek(68)  # application_id of SQLite's header (sqlite.org/fileformat.html)
        file.write(b"XXXX")
    assert "application_id" in faults(path)


def written(folder: Path, geometries: list[Polygon | MultiPolygon]) -> Path:
    """A GeoPackage of those polygons, each of a class of its own."""
    n = len(geometries)
    frame = gpd.GeoDataFrame(
        {
            "class_id": [*range(n)],
            "class_name": [c.name for c in LEGEND.classes[:n]],
            "area_ha": [g.area / 1e4 for g in geometries],
            "confidence": [0.5] * n,
        },
        geometry=geometries,
        crs="EPSG:32725",
    )
    return write_gpkg(frame, folder / "classes.gpkg", legend=LEGEND, title="T")


def faults(path: Path) -> str:
    """What the validator finds wrong, all of it; empty for a valid file."""
    done = subprocess.run([PYTHON, VALIDATOR, "-k", path], capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr if done.returncode else ""
