"""Reading, tracing, starting, growing: each against what is known of it."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from geoseg.bench import growth, plain, reading, tracing
from geoseg.bench.class_maps import N_CLASSES, class_pixels, write_class_map
from geoseg.bench.imports import HEAVIEST, STARTS, heaviest_imports, read_import_times
from geoseg.bench.prediction import Asked, Run
from geoseg.bench.processes import Ran, call
from geoseg.bench.records import turn
from geoseg.bench.scenes import write_scene
from geoseg.errors import ImageryError, OutputError

SIZE = 200


def test_both_tracers_find_the_same_polygons(tmp_path: Path) -> None:
    path = str(write_class_map(tmp_path / "classes.tif", size=SIZE))
    ours, theirs = tracing.trace_by_geoseg(path), plain.trace_by_rasterio(path)
    assert ours["n_polygons"] == theirs["n_polygons"] > 50
    assert min(ours["seconds"], theirs["seconds"]) > 0


def test_class_map_is_the_same_in_any_window_and_has_no_nodata(tmp_path: Path) -> None:
    with rasterio.open(write_class_map(tmp_path / "classes.tif", size=SIZE)) as source:
        found = source.read(1)
        assert (source.nodata, source.res) == (255, (10, 10))
    window = rasterio.windows.Window(30, 50, 70, 60)
    np.testing.assert_array_equal(found[50:110, 30:100], class_pixels(window))
    assert set(np.unique(found)) == set(range(N_CLASSES))


def test_a_map_of_the_user_is_traced_in_processes_of_their_own(tmp_path: Path) -> None:
    path = write_class_map(tmp_path / "mine.tif", size=SIZE)
    (run,) = tracing.benchmark([], repeat=1, image=path)
    assert (run.image, run.width, run.height) == ("mine.tif", SIZE, SIZE)
    assert run.n_polygons == run.n_polygons_rasterio
    assert run.ratio == pytest.approx(run.rasterio_s / run.wall_s, rel=0.2)
    assert run.km2_per_s is not None
    assert run.peak_memory_mb > 50
    assert path.exists()


def test_simplification_is_compared_with_that_of_geos(tmp_path: Path) -> None:
    path = write_class_map(tmp_path / "mine.tif", size=SIZE)
    (run,) = tracing.benchmark([], repeat=1, image=path, simplify_m=15)
    assert run.n_polygons == run.n_polygons_rasterio > 50
    assert min(run.wall_s, run.rasterio_s) > 0


def test_what_is_no_raster_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "classes.tif"
    path.write_text("no raster")
    with pytest.raises(ImageryError, match="cannot be read as a raster"):
        list(tracing.benchmark([], repeat=1, image=path))


def test_both_readers_read_the_same_bands(tmp_path: Path) -> None:
    path = str(
        write_scene(tmp_path / "scene.tif", size=SIZE, bands=("swir16", "blue", "nir", "red", "green"))
    )
    bands = reading.bands_of(path, "spectral-rules")
    assert bands == ["1", "3", "4", "5"]
    ours, theirs = reading.read_by_geoseg(path, "spectral-rules"), plain.read_by_rasterio(path, *bands)
    assert theirs["n_bands"] == 4
    assert theirs["mb"] == pytest.approx(4 * 2 * SIZE**2 / 1e6)
    assert ours["km2"] == pytest.approx(4)
    assert min(ours["seconds"], theirs["seconds"]) > 0


def test_a_pair_of_readings_is_one_record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    order = []

    def answer(module: str, function: str, *_: str, log: Path) -> tuple[Ran, dict[str, float]]:
        order.append(function)
        ours = {"seconds": 2.0, "km2": 8.0}
        theirs = {"seconds": 1.0, "mb": 50.0, "n_bands": 3, "width": 4000, "height": 1000}
        return Ran(5.0, 5.0, [(0.0, 99.6)]), ours if "geoseg" in function else theirs

    monkeypatch.setattr(reading, "call", answer)
    monkeypatch.setattr(reading, "bands_of", lambda *_: ["1"])
    first, second = reading.benchmark([], model="spectral-rules", repeat=2, image=tmp_path / "mine.tif")
    assert order == ["read_by_geoseg", "read_by_rasterio", "read_by_rasterio", "read_by_geoseg"]
    assert replace(second, load=first.load) == first
    assert (first.ratio, first.mb_per_s, first.mpx_per_s, first.km2_per_s) == (0.5, 25.0, 2.0, 4.0)
    assert first.peak_memory_mb == 100


def test_turns_alternate() -> None:
    assert [turn(n) for n in range(3)] == [(True, False), (False, True), (True, False)]


def test_a_function_that_fails_says_so(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"loads ended with exit code 1: .*JSONDecodeError"):
        call("json", "loads", "{", log=tmp_path / "log")


def test_growth_is_told_against_the_smallest(monkeypatch: pytest.MonkeyPatch, made_run: Run) -> None:
    def runs(sizes: list[int], *_: object, **__: object) -> list[Run]:
        return [
            replace(made_run, width=n, height=n, peak_memory_mb=1000 + n, raster_peak_mb=900.0) for n in sizes
        ]

    monkeypatch.setattr(growth, "predictions", runs)
    small, large = growth.benchmark([2000, 1000, 2000], Asked("m"))
    assert (small.width, small.ratio, small.mb_per_mpx) == (1000, 1, None)
    assert large.ratio == pytest.approx(3000 / 2000)
    assert large.mb_per_mpx == pytest.approx(1000 / 3, abs=0.01)
    assert (large.raster_ratio, large.raster_mb_per_mpx) == (1, 0)


def test_import_times_are_summed_by_outermost_module() -> None:
    text = "import time: self [us] | cumulative | imported package\n" + "\n".join(
        f"import time: {own:9} | {own:10} | {'  ' * depth}{name}"
        for own, depth, name in [(300, 1, "a.b.c"), (200, 0, "a"), (50, 2, "zipimport")]
    )
    found = {i.module: (i.wall_s, i.n_modules) for i in read_import_times(text)}
    assert found == {"a": (0.0005, 2), "zipimport": (0.00005, 1)}


def test_heaviest_imports_come_first() -> None:
    found = heaviest_imports(program="import json, geoseg", n_heaviest=3)
    assert len(found) == 3
    assert [i.wall_s for i in found] == sorted((i.wall_s for i in found), reverse=True)


@pytest.mark.parametrize("name", [n for n in STARTS if n != HEAVIEST])
def test_what_is_started_can_be_started(name: str) -> None:
    line, *arguments = STARTS[name]
    ended = subprocess.run([sys.executable, "-P", "-c", line, *arguments], capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr
