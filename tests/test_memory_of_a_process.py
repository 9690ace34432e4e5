"""What a process keeps: one heap, and few blocks of files."""

import ctypes
import json
import subprocess
import sys

import numpy as np
import pytest
import rasterio
from builders import geobox_at
from rasterio._env import get_gdal_config

from geoseg.imagery.reading import gdal_env
from geoseg.memory import gdal_cache
from geoseg.polygons.sources import from_files

MB = 2**20


@pytest.fixture
def class_tif(tmp_path):
    grid, path = geobox_at(height=64, width=64), tmp_path / "class.tif"
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": 64, "width": 64}
    with rasterio.open(path, "w", **profile, crs=str(grid.crs), transform=grid.affine) as sink:
        sink.write(np.zeros((64, 64), np.uint8), 1)
    return path


def test_blocks_of_files_are_kept_within_a_bound(class_tif):
    with gdal_cache(7):
        assert get_gdal_config("GDAL_CACHEMAX") == 7 * MB
    with gdal_env():
        assert get_gdal_config("GDAL_CACHEMAX") == 128 * MB
    with gdal_cache(7), from_files(class_tif, None):
        assert get_gdal_config("GDAL_CACHEMAX") == 128 * MB


def test_what_the_user_says_of_the_cache_counts(monkeypatch):
    monkeypatch.setenv("GDAL_CACHEMAX", "32")
    assert "GDAL_CACHEMAX" not in gdal_env().options


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc")
@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_"])
def test_what_the_environment_says_of_malloc_stays(name):
    program = (
        "import ctypes, os\ncalls = []\nclass Libc:\n    def mallopt(self, *given):\n        calls.append(given)\n"
        f"os.environ[{name!r}] = '1'\nctypes.CDLL = lambda _: Libc()\n"
        "from geoseg.memory import one_heap\none_heap()\none_heap()\nimport json; print(json.dumps(calls))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    parameter = {"MALLOC_ARENA_MAX": -8, "MALLOC_MMAP_THRESHOLD_": -3}[name]
    assert [p for p, _ in json.loads(done.stdout)] == [p for p in (-8, -3, -1) if p != parameter]
