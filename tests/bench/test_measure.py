"""A run measured from outside agrees with what is known of it."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from geoseg.bench import measure as measuring
from geoseg.bench.measure import Run, benchmark, measure
from geoseg.bench.memory import MemoryWatch
from geoseg.cli.bench import bench
from geoseg.errors import OutputError, RecipeError

SIZE = 256
app = typer.Typer()
app.command()(bench)


@pytest.fixture(scope="module")
def real_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, float, list[str]]]:
    """A real run, how long it took as seen from here, and what was said."""
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("bench")
        patch.setattr(tempfile, "tempdir", str(folder))
        started = time.perf_counter()
        (run,) = benchmark([SIZE], model="spectral-rules", repeat=1, say=said.append)
        yield run, time.perf_counter() - started, said
        assert list(folder.iterdir()) == []


def test_times_add_up(real_run: tuple[Run, float, list[str]]) -> None:
    run, seen_s, _ = real_run
    stages = [
        run.start_s,
        run.check_s,
        run.read_s,
        run.predict_s,
        run.rasters_s,
        run.polygons_s,
        run.report_s,
    ]
    assert min(stages) > 0
    assert (
        0.7 * run.wall_s < sum(stages) < 1.02 * run.wall_s
    )  # threads and moves between stages are not counted
    assert run.wall_s < seen_s
    assert run.cpu_s > 1  # imports alone take more
    assert run.mpx_per_s == pytest.approx(SIZE**2 / 1e6 / run.wall_s, abs=0.001)
    assert run.km2_per_s == pytest.approx(2.56**2 / run.wall_s, abs=0.01)


def test_memory_and_counts_are_of_the_run(real_run: tuple[Run, float, list[str]]) -> None:
    run, _, said = real_run
    assert 200 < run.raster_peak_mb <= run.peak_mb < 4000
    assert 200 < run.n_polygons < 5000
    assert 0.1 < run.scene_mb < 2
    assert (run.model, run.size) == ("spectral-rules", SIZE)
    assert said[1:] == ["making a scene of 256 x 256 pixels with 4 bands", "geoseg predict on 256 x 256"]


_HOLD = "import time; a = bytearray(%d << 20); time.sleep(0.3); del a; time.sleep(0.3)"


@pytest.mark.parametrize("n_mb", [50, 300])
def test_memory_that_was_given_back_is_remembered(n_mb: int) -> None:
    process = subprocess.Popen([sys.executable, "-S", "-c", _HOLD % n_mb])
    watch = MemoryWatch(process.pid)
    process.wait()
    watch.join(5)
    assert not watch.is_alive()
    assert n_mb < watch.peaks[-1][1] < n_mb + 40
    assert [mb for _, mb in watch.peaks] == sorted(mb for _, mb in watch.peaks)


def test_memory_of_children_counts() -> None:
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {_HOLD % 200!r}])"
    process = subprocess.Popen([sys.executable, "-S", "-c", child])
    watch = MemoryWatch(process.pid)
    process.wait()
    watch.join(5)
    assert 200 < watch.peaks[-1][1] < 280


def test_memory_of_the_starting_process_does_not_count() -> None:
    ballast = bytearray(b"x") * (600 << 20)
    process = subprocess.Popen([sys.executable, "-S", "-c", _HOLD % 1])
    watch = MemoryWatch(process.pid)
    process.wait()
    watch.join(5)
    assert watch.peaks[-1][1] < 100
    del ballast


def test_a_run_that_fails_says_what_predict_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import sys; print('reading', *sys.argv[1:3]); print('geoseg: the disk is full', file=sys.stderr); sys.exit(2)"
    monkeypatch.setattr(measuring, "_PROGRAM", program)
    with pytest.raises(
        OutputError, match=r"on 64 x 64 pixels ended with exit code 2: geoseg: the disk is full"
    ):
        measure(tmp_path / "scene.tif", size=64, model="spectral-rules", name="x", out=tmp_path / "out")
    assert "reading predict --image" in (tmp_path / "out.log").read_text()


@pytest.mark.parametrize(
    ("sizes", "repeat", "said"),
    [([], 1, "--sizes"), ([256, 63], 1, "--sizes 256,63: expected sides of 64"), ([256], 0, "--repeat 0")],
)
def test_senseless_options_are_refused(sizes: list[int], repeat: int, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        list(benchmark(sizes, model="spectral-rules", repeat=repeat))


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Three runs that the command is given instead of measuring; the second is the fastest of its size."""
    values = {f.name: 1.0 for f in fields(Run)} | {
        "model": "m",
        "size": 512,
        "wall_s": 40.0,
        "n_polygons": 1234,
    }
    slow = Run(**values)  # type: ignore[arg-type]
    made = [slow, replace(slow, wall_s=31.5), replace(slow, size=64, wall_s=7.25, peak_mb=2345)]
    monkeypatch.setattr(measuring, "benchmark", lambda sizes, **_: iter(made))
    return made


def test_json_holds_every_run(runs: list[Run]) -> None:
    result = CliRunner().invoke(app, ["--json"])
    assert json.loads(result.stdout) == [asdict(run) for run in runs]


def test_table_shows_the_fastest_run_of_each_size_in_order(runs: list[Run]) -> None:
    lines = CliRunner().invoke(app, ["--model", "m"]).stdout.splitlines()
    rows = {line[:35].strip(): line[35:].split() for line in lines}
    assert "geoseg predict, m" in rows
    assert rows["scene, pixels square"] == ["64", "512"]
    assert rows["wall time, s"] == ["7.2", "31.5"]
    assert rows["peak memory, MB"] == ["2,345", "1"]
    assert rows["polygons, number"] == ["1,234", "1,234"]


def test_sizes_that_are_no_numbers_are_refused_in_one_line() -> None:
    result = CliRunner().invoke(app, ["--sizes", "512,big"])
    assert isinstance(result.exception, RecipeError)
    assert str(result.exception) == "--sizes holds 'big', expected whole numbers as in 2048,4096."


def test_command_imports_no_torch_before_it_runs() -> None:
    code = "import sys, geoseg.cli.bench; sys.exit(bool({'torch', 'rasterio', 'pyogrio'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
