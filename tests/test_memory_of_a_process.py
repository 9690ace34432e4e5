"""What a process keeps: one heap, and few blocks of files. Each test in a process of its own, as these are set once."""

import ctypes
import json
import os
import subprocess
import sys

import pytest

MB = 2**20


def said_by(program, **environment):
    """What a program prints, as JSON."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GDAL_CACHE"))} | environment
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=env
    )
    return json.loads(done.stdout)


CACHE = """
import json, threading
import rasterio
from rasterio._env import get_gdal_config
from geoseg.imagery.reading import gdal_env
from geoseg.memory import bound_gdal_cache, gdal_cache
bound_gdal_cache()
seen = []
def read():
    with gdal_env():
        seen.append(get_gdal_config("GDAL_CACHEMAX"))
with gdal_env():
    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
seen.append(get_gdal_config("GDAL_CACHEMAX"))
with gdal_cache(7):
    seen.append(get_gdal_config("GDAL_CACHEMAX"))
seen.append(get_gdal_config("GDAL_CACHEMAX"))
print(json.dumps(seen))
"""


def test_blocks_of_files_are_kept_within_a_bound_whatever_threads_do():
    assert said_by(CACHE) == [128 * MB, 128 * MB, 7 * MB, 128 * MB]


def test_what_the_user_says_of_the_cache_counts():
    assert said_by(CACHE, GDAL_CACHEMAX="32") == [32 * MB, 32 * MB, 7 * MB, 32 * MB]


HEAP = """
import ctypes, json
calls = []
class Libc:
    def mallopt(self, *given):
        calls.append(given)
ctypes.CDLL = lambda _: Libc()
from geoseg.memory import one_heap
one_heap()
one_heap()
print(json.dumps(calls))
"""
SET = {
    "MALLOC_ARENA_MAX": [-8, 1],
    "MALLOC_MMAP_THRESHOLD_": [-3, 32 * MB],
    "MALLOC_TRIM_THRESHOLD_": [-1, MB // 8],
}


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc")
@pytest.mark.parametrize("name", [None, *SET])
def test_what_the_environment_says_of_malloc_stays(name):
    environment = {} if name is None else {name: "1000000"}
    assert said_by(HEAP, **environment) == [pair for key, pair in SET.items() if key != name]


HOLES = """
import json
from geoseg.memory import give_back, held_memory_mb, one_heap
one_heap()
small = [bytearray(100_000) for _ in range(2000)]
kept = small[1::50]
del small
before = held_memory_mb()
give_back()
print(json.dumps([before, held_memory_mb()]))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc")
def test_what_lies_free_between_what_is_used_goes_back():
    before, after = said_by(HOLES)
    assert before - after > 100
