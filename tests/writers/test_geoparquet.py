"""Polygons as a set of GeoParquet files."""

import itertools
import json
import tempfile
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from shapely.geometry import box

from geoseg.errors import OutputError
from geoseg.writers.geoparquet import write_geoparquet


def table(n: int, start: int = 0) -> gpd.GeoDataFrame:
    at = np.arange(start, start + n)
    return gpd.GeoDataFrame(
        {
            "class_id": (at % 3).astype(np.int32),
            "class_name": pd.Series([f"class {i % 3}" for i in at], dtype="str"),
            "area_ha": at / 7,
            "confidence": np.where(at % 4, at / 1000, np.nan),
        },
        geometry=[box(10 * i, 0, 10 * i + 10, 10) for i in at],
        crs="EPSG:32725",
    )


WHOLE = table(53)


@settings(max_examples=4, deadline=None)
@given(st.lists(st.integers(0, 53), max_size=6), st.integers(14, 60))
@example([20, 40], 26)  # one row is left over
@example([20, 40], 53)
def test_features_and_bytes_do_not_depend_on_the_tables(cuts, max_rows):
    edges = [0, *sorted(cuts), 53]
    parts = [WHOLE.iloc[a:b] for a, b in itertools.pairwise(edges)]
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        files = write_geoparquet(iter(parts), Path(one), name="classes", max_rows=max_rows)
        again = write_geoparquet([WHOLE], Path(other), name="classes", max_rows=max_rows)
        assert [f.name for f in files] == [f"classes-{i:04d}.parquet" for i in range(-(-53 // max_rows))]
        assert sorted(Path(one).iterdir()) == files
        assert [f.read_bytes() for f in files] == [f.read_bytes() for f in again]
        read = [gpd.read_parquet(f) for f in files]
        assert all(len(r) <= max_rows for r in read)
        found = pd.concat(read, ignore_index=True)
    assert found.crs == WHOLE.crs
    pd.testing.assert_frame_equal(pd.DataFrame(found), pd.DataFrame(WHOLE))


def test_a_file_says_all_that_geoparquet_1_1_asks_for(tmp_path):
    (path,) = write_geoparquet([WHOLE], tmp_path, name="classes")
    said = json.loads(pq.read_metadata(path).metadata[b"geo"])
    column = said["columns"]["geometry"]
    assert (said["version"], said["primary_column"], column["encoding"]) == ("1.1.0", "geometry", "WKB")
    assert column["geometry_types"] == ["Polygon"]
    assert column["crs"]["id"] == {"authority": "EPSG", "code": 32725}
    assert column["bbox"] == [0, 0, 530, 10]
    assert column["covering"]["bbox"]["xmin"] == ["bbox", "xmin"]
    assert len(gpd.read_parquet(path, bbox=(101, 1, 119, 9))) == 2


def test_a_map_without_polygons_has_one_empty_file(tmp_path):
    (path,) = write_geoparquet([table(0), table(0)], tmp_path, name="classes")
    read = gpd.read_parquet(path)
    assert (len(read), read.crs.to_epsg()) == (0, 32725)
    assert list(read.columns) == list(WHOLE.columns)


def test_what_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path):
    (tmp_path / "classes-0000.parquet").mkdir()
    with pytest.raises(OutputError, match=r"Cannot write .*classes-0000\.parquet: .*again") as caught:
        write_geoparquet([WHOLE], tmp_path, name="classes")
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["classes-0000.parquet"]


def test_errors_of_the_tables_pass_through(tmp_path):
    def broken():
        yield WHOLE
        raise KeyError("of the map")

    with pytest.raises(KeyError, match="of the map"):
        write_geoparquet(broken(), tmp_path, name="classes")
