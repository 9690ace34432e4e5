import sqlite3
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import MultiPolygon, Polygon, box

from geoseg.errors import OutputError
from geoseg.legend import Legend
from geoseg.writers.gpkg import write_gpkg
from geoseg.writers.qml import qml_for_polygons, sld_for_polygons

LEGEND = Legend.of(water="1F78B4", tree="33A02C")
CREATED = datetime(2026, 11, 22, 17, 30, tzinfo=UTC)


def polygons(classes, geometries, crs="EPSG:32725") -> gpd.GeoDataFrame:
    names = [LEGEND.classes[i].name for i in classes]
    return gpd.GeoDataFrame(
        {
            "class_id": np.array(classes, "uint8"),
            "class_name": names,
            "area_ha": [g.area / 1e4 for g in geometries],
            "confidence": np.linspace(0, 1, len(classes)),
        },
        geometry=list(geometries),
        crs=crs,
    )


squares = st.lists(
    st.tuples(st.integers(0, 1), st.integers(1, 9), st.integers(0, 50), st.integers(0, 50)), max_size=8
)


@settings(max_examples=15, deadline=None)
@given(squares=squares, crs=st.sampled_from(["EPSG:32725", "EPSG:4326"]))
def test_what_is_read_back_is_what_was_given(squares, crs):
    gdf = polygons([s[0] for s in squares], [box(x, y, x + side, y + side) for _, side, x, y in squares], crs)
    with tempfile.TemporaryDirectory() as folder:
        path = write_gpkg(gdf, Path(folder, "classes.gpkg"), legend=LEGEND, title="T", created=CREATED)
        read = gpd.read_file(path, layer="classes")
    assert list(read.columns) == ["class_id", "class_name", "area_ha", "confidence", "geometry"]
    assert read.crs == gdf.crs
    assert list(read.class_id) == list(gdf.class_id)
    assert list(read.class_name) == list(gdf.class_name)
    np.testing.assert_array_equal(read.area_ha, gdf.area_ha)
    np.testing.assert_array_equal(read.confidence, gdf.confidence)
    assert all(
        a.equals_exact(b) for a, b in zip(read.geometry, gdf.geometry.normalize(), strict=True)
    ) or all(a.equals(b) for a, b in zip(read.geometry, gdf.geometry, strict=True))


@pytest.fixture
def gdf():
    hole = Polygon([(0, 0), (90, 0), (90, 90), (0, 90)], [[(30, 30), (60, 30), (60, 60), (30, 60)]])
    return polygons([0, 1], [hole, box(30, 30, 60, 60)])


@pytest.mark.parametrize("n", [0, 2])
def test_same_input_same_bytes(gdf, tmp_path, n):
    first = write_gpkg(gdf[:n], tmp_path / "a.gpkg", legend=LEGEND, title="T", created=CREATED).read_bytes()
    time.sleep(1.1)  # a forgotten clock has seconds in it
    second = write_gpkg(gdf[:n], tmp_path / "b.gpkg", legend=LEGEND, title="T", created=CREATED).read_bytes()
    assert first == second
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.gpkg", "b.gpkg"]


def test_style_is_the_default_and_listed(gdf, tmp_path):
    path = write_gpkg(gdf, tmp_path / "classes.gpkg", legend=LEGEND, title="Land cover", created=CREATED)
    with closing(sqlite3.connect(path)) as connection:
        contents = connection.execute(
            "SELECT table_name, data_type, identifier, last_change FROM gpkg_contents ORDER BY table_name"
        ).fetchall()
        style = connection.execute(
            "SELECT f_table_name, f_geometry_column, styleQML, styleSLD, useAsDefault FROM layer_styles"
        ).fetchall()
        geometry_column = connection.execute("SELECT column_name FROM gpkg_geometry_columns").fetchone()
        user_version = connection.execute("PRAGMA user_version").fetchone()
    stamp = "2026-11-22T17:30:00.000Z"
    assert contents == [
        ("classes", "features", "Land cover", stamp),
        ("layer_styles", "attributes", "layer_styles", stamp),
    ]
    assert style == [
        ("classes", "geom", qml_for_polygons(LEGEND), sld_for_polygons(LEGEND, layer="classes"), 1)
    ]
    assert geometry_column == ("geom",)
    assert user_version == (10300,)


def test_one_multipolygon_makes_the_layer_multi(gdf, tmp_path):
    many = polygons([0, 1], [MultiPolygon([box(0, 0, 1, 1), box(3, 0, 4, 1)]), box(5, 5, 6, 6)])
    for frame, kind in ((gdf, "Polygon"), (many, "MultiPolygon"), (gdf[:0], "Polygon")):
        path = write_gpkg(frame, tmp_path / "classes.gpkg", legend=LEGEND, title="T")
        assert pyogrio.read_info(path, layer="classes")["geometry_type"] == kind


def test_the_frame_given_is_not_changed(gdf, tmp_path):
    before = gdf.copy(deep=True)
    write_gpkg(gdf, tmp_path / "classes.gpkg", legend=LEGEND, title="T")
    assert gdf.equals(before)
    assert gdf.class_id.dtype == "uint8"


def test_errors_name_what_is_missing(gdf, tmp_path):
    with pytest.raises(OutputError, match="the polygons lack columns area_ha, confidence"):
        write_gpkg(gdf.drop(columns=["area_ha", "confidence"]), tmp_path / "a.gpkg", legend=LEGEND, title="T")
    with pytest.raises(OutputError, match="the polygons lack a CRS"):
        write_gpkg(gdf.set_crs(None, allow_override=True), tmp_path / "a.gpkg", legend=LEGEND, title="T")
    with pytest.raises(
        OutputError, match=r"Cannot write .*a\.gpkg: .*unable to open database file.*Check the folder"
    ):
        write_gpkg(gdf, tmp_path / "none" / "a.gpkg", legend=LEGEND, title="T")
    assert not list(tmp_path.iterdir())
