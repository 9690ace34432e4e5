"""A run measured from outside agrees with what is known of it."""

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from geoseg.bench import prediction
from geoseg.bench.hardware import Limit
from geoseg.bench.prediction import Asked, Run, benchmark, measure
from geoseg.bench.records import COMMON, as_record
from geoseg.errors import OutputError, RecipeError

SIZE = 256
LIMIT = Limit(bf16_tflops=0.5, float32_tflops=2.0)
RULES = Asked("spectral-rules", tile_size=128, halo=16)


@pytest.fixture(scope="module")
def real_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, float, list[str]]]:
    """A real run, how long it took as seen from here, and what was said."""
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("bench")
        patch.setattr(tempfile, "tempdir", str(folder))
        patch.setattr(prediction, "matrix_limit", lambda: LIMIT)
        started = time.perf_counter()
        (run,) = benchmark([SIZE], RULES, repeat=1, say=said.append)
        yield run, time.perf_counter() - started, said
        assert list(folder.glob("geoseg-*")) == []  # torch leaves its own


def test_times_are_parts_of_the_run(real_run: tuple[Run, float, list[str]]) -> None:
    run, seen_s, _ = real_run
    one_after_another = [run.start_s, run.check_s, run.write_s, run.polygonize_s, run.report_s]
    assert min(one_after_another) > 0
    assert sum(one_after_another) < 1.02 * run.wall_s
    assert 0 < run.read_s < run.wall_s
    assert 0 < run.predict_s < run.wall_s
    assert run.wall_s < seen_s
    assert run.cpu_s > 1  # imports alone take more
    assert run.mpx_per_s == pytest.approx(SIZE**2 / 1e6 / run.wall_s, abs=0.001)
    assert run.km2_per_s == pytest.approx(2.56**2 / run.wall_s, rel=0.02, abs=0.01)


def test_memory_and_counts_are_of_the_run(real_run: tuple[Run, float, list[str]]) -> None:
    run, _, said = real_run
    assert 200 < run.raster_peak_mb <= run.peak_memory_mb < 4000
    assert 200 < run.n_polygons < 5000
    assert 0.1 < run.image_mb < 2
    assert (run.model, run.image, run.width, run.height) == ("spectral-rules", "scene-256.tif", SIZE, SIZE)
    assert said[2:] == ["making a scene of 256 x 256 pixels with 4 bands", "geoseg predict on scene-256.tif"]


def test_rules_have_no_share_of_the_hardware(real_run: tuple[Run, float, list[str]]) -> None:
    record = as_record(real_run[0])
    assert list(record)[: len(COMMON)] == list(COMMON)
    assert record["hardware_share"] is None
    assert record["network_tflop"] == 0
    assert (record["limit_bf16_tflops"], record["limit_float32_tflops"]) == (0.5, 2.0)


def test_stages_that_a_report_may_hold_are_taken_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report with times of the network, of a map of two blocks."""
    out = _finished(tmp_path, {"network": 4.0, "blend": 0.5})
    monkeypatch.setattr(prediction, "watch", lambda *_, **__: prediction.Ran(20.0, 30.0, [(0.0, 900.0)]))
    monkeypatch.setattr(prediction, "flops_of", lambda model: 1e10)
    run = measure(tmp_path / "scene.tif", RULES, limit=LIMIT, out=out)
    assert (run.network_s, run.blend_s) == (4.0, 0.5)
    assert run.network_share == pytest.approx(4 / 8)  # total 12, of which 4 before reading and for polygons
    assert run.hardware_share == pytest.approx(2 / 4 / 2)
    assert run.start_s == pytest.approx(20 - 12 - run.report_s, abs=0.02)


def _finished(folder: Path, more: dict[str, float]) -> Path:
    """An output folder with what is read of it."""
    import geopandas as gpd
    from shapely.geometry import box

    out = folder / "out"
    out.mkdir()
    (folder / "scene.tif").write_bytes(b"1234")
    stages = {"search": 1, "check": 1, "read": 3, "predict": 5, "rasters": 1, "polygons": 2, "total": 12}
    grid = {"width": 10, "height": 20, "bounds": [0, 0, 100, 200], "crs": "EPSG:32633"}
    report = {"timings_s": stages | more, "grid": grid, "aoi": {"area_km2": 0.02}, "pixels_run": 200}
    for name in ("class.tif", "confidence.tif", "class.qml"):
        (out / name).touch()
    gpd.GeoDataFrame(geometry=[box(0, 0, 1, 1)], crs=32633).to_file(out / "classes.gpkg", layer="classes")
    (out / "report.json").write_text(json.dumps(report))
    (out / "manifest.json").write_text("{}")
    return out


def test_a_run_that_fails_says_what_predict_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import sys; print('reading', *sys.argv[1:3]); print('geoseg: the disk is full', file=sys.stderr); sys.exit(2)"
    monkeypatch.setattr(prediction, "GEOSEG", program)
    with pytest.raises(OutputError, match=r"on scene.tif ended with exit code 2: geoseg: the disk is full"):
        measure(tmp_path / "scene.tif", RULES, limit=LIMIT, out=tmp_path / "out")
    assert "reading predict --image" in (tmp_path / "out.log").read_text()


def test_options_are_those_of_predict() -> None:
    asked = Asked("m", tile_size=256, halo=0, options=("--tta", "flip"))
    assert asked.arguments() == ["--model", "m", "--tile-size", "256", "--halo", "0", "--tta", "flip"]
    assert Asked("m").arguments() == ["--model", "m"]


@pytest.mark.parametrize(
    ("sizes", "repeat", "said"),
    [([], 1, "--sizes"), ([256, 63], 1, "--sizes 256,63: expected sides of 64"), ([256], 0, "--repeat 0")],
)
def test_senseless_options_are_refused(sizes: list[int], repeat: int, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        list(benchmark(sizes, RULES, repeat=repeat))


@pytest.mark.lane
def test_a_network_has_a_share_of_the_hardware(tmp_path: Path) -> None:
    (run,) = benchmark([SIZE], Asked("unet-resnet18"), repeat=1)
    assert run.network_tflop > 0.01
    if run.network_s is not None:
        assert run.hardware_share is not None
        assert 0 < run.hardware_share < 1.5
