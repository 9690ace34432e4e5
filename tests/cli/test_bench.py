"""``geoseg bench`` as a person meets it."""

import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from geoseg.bench import growth, imports, prediction, reading, tracing
from geoseg.bench.imports import Import, Start
from geoseg.bench.prediction import Asked, Run
from geoseg.bench.records import COMMON
from geoseg.cli.bench import app
from geoseg.errors import ImageryError, RecipeError


def _made(kind: type, **values: Any) -> Any:
    """A record whose other numbers are 1 and whose words are ``m``."""
    plain = {f.name: "m" if "str" in str(f.type) else 1 for f in fields(kind)}
    return kind(**(plain | values))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Three runs that the command is given instead of measuring; the second is the fastest of its size."""
    slow = _made(Run, image="a.tif", width=512, height=512, wall_s=40.0, n_polygons=1234)
    small = replace(
        slow, width=64, height=64, wall_s=7.25, peak_memory_mb=2345, network_s=None, hardware_share=None
    )
    made = [small, slow, replace(slow, wall_s=31.5)]
    monkeypatch.setattr(prediction, "benchmark", lambda sizes, asked, **_: iter(made))
    return made


def _rows(text: str) -> dict[str, list[str]]:
    """The cells of a table by the label at the left."""
    rows = {}
    for line in text.splitlines():
        label, *cells = [part.strip() for part in line.split("  ") if part.strip()] or [""]
        rows[label] = cells
    return rows


def test_json_holds_every_run_and_the_common_keys(runs: list[Run]) -> None:
    found = json.loads(CliRunner().invoke(app, ["predict", "--json"]).stdout)
    assert [r["wall_s"] for r in found] == [7.25, 40.0, 31.5]
    assert [r["network_s"] for r in found] == [None, 1, 1]
    assert all(set(COMMON) <= set(r) for r in found)


def test_table_shows_the_fastest_run_of_each_image(runs: list[Run]) -> None:
    rows = _rows(CliRunner().invoke(app, ["predict", "--model", "m"], env={"COLUMNS": "120"}).stdout)
    assert "geoseg predict, m" in rows
    assert rows["wall time, s"] == ["7.2", "31.5"]
    assert rows["network"] == ["-", "1.0"]
    assert rows["peak memory, MB"] == ["2,345", "1"]
    assert rows["share of the faster limit"] == ["-", "100%"]
    assert rows["polygons, number"] == ["1,234", "1,234"]


def test_options_reach_predict(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    image = tmp_path / "mine.tif"
    image.touch()
    seen: dict[str, Any] = {}

    def fake(sizes: list[int], asked: Asked, **more: Any) -> list[Run]:
        seen.update(sizes=sizes, asked=asked, **more)
        return []

    monkeypatch.setattr(prediction, "benchmark", fake)
    options = [
        "--image",
        str(image),
        "--tile-size",
        "256",
        "--halo",
        "0",
        "--model",
        "m",
        "--",
        "--tta",
        "flip",
    ]
    result = CliRunner().invoke(app, ["predict", "--json", *options])
    assert result.exit_code == 0, result.output
    assert seen["asked"] == Asked("m", 256, 0, ("--tta", "flip"))
    assert seen["image"] == image


@pytest.mark.parametrize(
    ("verb", "module", "kind", "label"),
    [
        ("polygonize", tracing, tracing.Tracing, "times as fast"),
        ("read", reading, reading.Reading, "rasterio, MB/s"),
        ("memory", growth, growth.Growth, "until rasters are written, MB"),
    ],
)
def test_other_verbs_print_a_table_or_json(
    verb: str, module: Any, kind: type, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "benchmark", lambda *_, **__: iter([_made(kind, wall_s=2.5)]))
    table = CliRunner().invoke(app, [verb], env={"COLUMNS": "120"})
    assert label in _rows(table.stdout), table.output
    (record,) = json.loads(CliRunner().invoke(app, [verb, "--json"]).stdout)
    assert set(COMMON) <= set(record)
    assert record["wall_s"] == 2.5


def test_import_prints_starts_and_heaviest_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [Start("import geoseg", 0.3, 0.2, 30, 1.5), Start("import geoseg", 0.25, 0.2, 30, 1.5)]
    monkeypatch.setattr(imports, "benchmark", lambda **_: iter(made))
    monkeypatch.setattr(imports, "heaviest_imports", lambda: [Import("torch", 1.25, 800)])
    rows = _rows(CliRunner().invoke(app, ["import"], env={"COLUMNS": "120"}).stdout)
    assert rows["import geoseg"] == ["0.25", "0.20", "30", "1.5"]
    assert rows["torch"] == ["1.25", "800"]
    found = json.loads(CliRunner().invoke(app, ["import", "--json"]).stdout)
    assert [r.get("name", r.get("module")) for r in found] == ["import geoseg", "import geoseg", "torch"]
    assert all(set(COMMON) <= set(r) for r in found)


@pytest.mark.parametrize("verb", ["predict", "polygonize", "read", "memory"])
def test_sizes_that_are_no_numbers_are_refused_in_one_line(verb: str) -> None:
    result = CliRunner().invoke(app, [verb, "--sizes", "512,big"])
    assert isinstance(result.exception, RecipeError)
    assert str(result.exception) == "--sizes holds 'big', expected whole numbers as in 2048,4096."


@pytest.mark.parametrize(
    "arguments", [["predict", "--image", "no.tif"], ["polygonize", "no.tif"], ["read", "no.tif"]]
)
def test_a_file_that_is_not_there_is_refused_in_one_line(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, ImageryError)
    assert str(result.exception) == "There is no file no.tif. Check the path."


def test_command_imports_no_torch_before_it_runs() -> None:
    code = "import sys, geoseg.cli.bench; sys.exit(bool({'torch', 'rasterio', 'pyogrio'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
