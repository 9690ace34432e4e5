"""The command line as a person meets it: fast help, one-line errors, right exit codes."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
import typer
from builders import geobox_at, smooth, write_image
from commands import ROOT, geoseg, geoseg_process
from rasterio.errors import NotGeoreferencedWarning

from geoseg.cli import main
from geoseg.cli.options import takes_recipe
from geoseg.recipe import Recipe
from geoseg.resources import resource_folder
from geoseg.training.recipe import TrainRecipe

SAMPLE = ROOT / "catalogs" / "sample"


@pytest.fixture
def image(tmp_path):
    return write_image(tmp_path / "scene.tif", smooth(1, (80, 90)), geobox_at(height=80, width=90))


def test_help_is_fast_and_imports_no_torch():
    """CPU time, which on an idle machine is the time that passes: others may be at work here."""
    times = []
    for _ in range(5):
        before = os.times()
        assert geoseg_process("--help").returncode == 0
        after = os.times()
        times.append(
            after.children_user - before.children_user + after.children_system - before.children_system
        )
    assert min(times) < 1.0  # measured: 0.5 to 0.8
    probe = "import sys, geoseg, geoseg.cli.main; print(sorted({'torch','rasterio','geopandas','dask'} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True).stdout.strip() == "[]"
    )


WORDS = {
    "aoi": "1,2,3,4", "image": "a.tif", "date": "2024-07-01", "max_memory": "2GB", "uncertainty": "entropy",
    "scale": "0.1,0.2", "offset": "1,2", "bands": "red,-", "composite": "first", "datetime": "last month",
    "cluster": "slurm", "notify": "json://127.0.0.1", "store": "s3://bucket/parts", "scheduler": "tcp://host:8786",
}  # fmt: skip
"""Values of keys that take only some texts, as they are typed."""
NEEDS = {
    "cluster_options": ("--cluster", "slurm"),
    "feature": ("--per-feature", "name"),
    **dict.fromkeys(("scale", "offset", "bands"), ("--image", "a.tif")),
}


def typed(key):
    """A flag with a value that is not the default, and the value."""
    annotation, flag = Recipe.model_fields[key].annotation, f"--{key.replace('_', '-')}"
    kind = str(annotation)
    if key == "cluster_options":
        return [flag, "queue=main,cores=2"], {"queue": "main", "cores": 2}
    if text := WORDS.get(key):
        parts = tuple(float(part) if "float" in kind else part for part in text.split(","))
        return [flag, text], parts if "tuple[" in kind else text
    if get_origin(annotation) is Literal:
        return [flag, get_args(annotation)[-1]], get_args(annotation)[-1]
    if "bool" in kind:
        return [flag], True
    text = "0.5" if "float" in kind else "77" if re.search(r"\bint\b", kind) else "some-text"
    return [flag, text], {"0.5": 0.5, "77": 77}.get(text, text)


@pytest.mark.parametrize("key", list(Recipe.model_fields))
def test_every_key_of_a_recipe_is_set_by_the_flag_of_its_name(key):
    heard = []
    app = typer.Typer()
    app.command()(takes_recipe(lambda recipe: heard.append(recipe)))
    args, value = typed(key)
    needs = [] if key in ("aoi", "image") else list(NEEDS.get(key, ()))
    area = [] if "--image" in needs or key in ("aoi", "image") else ["--aoi", "1,1,2,2"]
    app([*args, *needs, *area], standalone_mode=False)
    assert getattr(heard[0], key) == value
    assert value != Recipe.model_fields[key].default
    asked = {key, *(flag.removeprefix("--").replace("-", "_") for flag in (*needs[:1], *area[:1]))}
    assert set(heard[0].changed()) == {k for k in asked if not Recipe.model_fields[k].exclude}  # secrets


def test_predict_and_run_take_every_key():
    for command, without in (("predict", set()), ("run", {"resume"}), ("plan", {"resume"}), ("check", set())):
        words = set(geoseg(command, "--help").stdout.replace(",", " ").split())
        flags = {f"--{key.replace('_', '-')}" for key in Recipe.model_fields if key not in without}
        assert flags <= words, flags - words


def test_predict_ends_with_a_table_and_json_is_json(image, tmp_path):
    shown = geoseg(
        "predict", "--image", str(image), "--model", "spectral-rules", "--out", str(tmp_path / "a")
    )
    assert shown.returncode == 0, shown.stderr
    assert "hectares" in shown.stdout
    assert "vegetation" in shown.stdout
    assert "composite: median (--composite)" in shown.stderr
    spoken = geoseg(
        "predict",
        "--image",
        str(image),
        "--model",
        "spectral-rules",
        "--out",
        str(tmp_path / "b"),
        "--json",
        "--quiet",
    )
    assert spoken.stderr == ""
    assert json.loads(spoken.stdout) == json.loads((tmp_path / "b" / "report.json").read_text())
    silent = geoseg(
        "predict", "--image", str(image), "--model", "spectral-rules", "--out", str(tmp_path / "c"), "--quiet"
    )
    assert (silent.stdout, silent.stderr) == ("", "")


def test_geojson_on_standard_input(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO((SAMPLE / "area.geojson").read_text()))
    out = tmp_path / "map"
    done = geoseg(
        "predict", "--aoi", "-", "--catalog", "sample", "--model", "spectral-rules", "--out", out, "-q"
    )
    assert done.returncode == 0, done.stderr
    assert (out / "class.tif").exists()


def test_dry_run_says_what_it_will_cost_and_makes_nothing(tmp_path):
    out = tmp_path / "map"
    done = geoseg(
        "predict",
        "--aoi",
        str(SAMPLE / "area.geojson"),
        "--catalog",
        "sample",
        "--model",
        "spectral-rules",
        "--out",
        str(out),
        "--dry-run",
    )
    assert done.returncode == 0, done.stderr
    for word in ("item", "grid", "tiles", "to read", "memory", "time"):
        assert word in done.stdout
    assert not out.exists()
    facts = geoseg(
        "predict",
        "--aoi",
        str(SAMPLE / "area.geojson"),
        "--catalog",
        "sample",
        "--model",
        "spectral-rules",
        "--tile",  # another spelling of --tile-size
        "64",
        "--dry-run",
        "--json",
        "-q",
    )
    estimate = json.loads(facts.stdout)["estimate"]
    assert estimate["n_tiles"] >= 25
    assert estimate["read_mb"] > 0


def test_dry_run_says_when_memory_cannot_be_kept():
    area = ("--aoi", str(SAMPLE / "area.geojson"), "--catalog", "sample", "--model", "spectral-rules")
    done = geoseg("predict", *area, "--dry-run", "--max-memory", "50MB")
    assert done.returncode == 2
    assert "--max-memory 50MB: this run takes" in done.stderr


def test_check_says_what_was_adapted(tmp_path):
    done = geoseg("check", "--aoi", str(SAMPLE / "area.geojson"), "--catalog", "sample")
    assert done.returncode == 0, done.stderr
    assert "model: landcover-30m" in done.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["predict"], "no area"),
        (["predict", "--aoi", "nowhere.geojson"], "nowhere.geojson does not exist"),
        (["predict", "--bbox", "1,2,3"], "has 3 numbers, expected 4"),
        (["predict", "--foo"], "No such option"),
        (["predict", "--aoi", "1,2,3,4", "--max-items", "0"], "--max-items 0: expected 1 or more."),
        (["predict", "--aoi", "1,2,3,4", "--gsd", "ten"], "'--gsd'"),
        (["predict", "--recipe", "nope"], "No recipe 'nope'"),
        (["predict", "--bbox", "1,5,2,4"], "give --bbox west,south,east,north"),
        (["predict", "--bbox", "0,0,9,9", "--catalog", "sample"], "--max-area-km2"),
        (["predict", "--image", "none.tif"], "none.tif"),
        (["models", "show", "nope"], "No model named 'nope'"),
        (["predikt"], "predikt"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_exit_2(args, message):
    done = geoseg(*args, "--out", "unused") if args[0] == "predict" and "--foo" not in args else geoseg(*args)
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("geoseg: ")
    assert message.lower() in last.lower()
    assert "Traceback" not in done.stderr
    assert "Input should" not in last  # pydantic's words


@pytest.mark.parametrize(
    ("line", "args", "message"),
    [
        ("tries = 0", (), "{file}: tries 0: expected 1 or more."),
        ("tries = 2", ("--tries", "0"), "--tries 0: expected 1 or more."),
        ("tries = true", (), "{file}: tries true: expected a number, not true or false."),
        ("scale = [true]", (), "{file}: scale true: expected a number, not true or false."),
        ("polygons = false", (), "{file}: polygons false: expected 'gpkg', 'geoparquet' or 'none'."),
        ("trys = 3", (), "{file}: unknown key 'trys': did you mean tries?"),
        (
            "cluster = 'slurm'\ncluster_options = 'password=x7'",
            (),
            "{file}: cluster_options: expected a table.",
        ),
        ("keep_clouds = 3", (), "{file}: keep_clouds 3: expected true or false."),
        ("out = 'maps/{mont}'", (), "{file}: out maps/{{mont}}: has {{mont}} in it: did you mean month?"),
    ],
)
def test_mistakes_are_named_where_they_were_made(line, args, message, tmp_path):
    file = tmp_path / "r.toml"
    file.write_text(f"aoi = '1,2,3,4'\n{line}\n", "utf-8")
    done = geoseg("plan", str(file), *args)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "geoseg: " + message.format(file=file)


def test_a_bug_is_a_traceback_and_exit_1(tmp_path):
    code = (
        "from geoseg.jobs import plan; plan.card_of = lambda name: 1 / 0\n"
        "from geoseg.cli.main import run; import sys\n"
        f"sys.argv = ['geoseg', 'predict', '--aoi', '1,2,3,4', '--out', {str(tmp_path / 'x')!r}]; run()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_an_unreachable_catalog_names_the_sample(tmp_path):
    """Nothing listens on the discard port."""
    done = geoseg(
        "predict",
        "--aoi",
        "1,2,1.1,2.1",
        "--catalog",
        "http://127.0.0.1:9/stac",
        "--out",
        str(tmp_path / "x"),
    )
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert "--catalog sample" in last
    assert list(tmp_path.iterdir()) == []


def test_models_catalogs_and_doctor():
    cards = json.loads(geoseg("models", "list", "--json").stdout)
    assert cards[0]["name"] == "landcover-30m"
    assert (
        json.loads(geoseg("models", "show", "spectral-rules").stdout)["properties"]["mlm:name"]
        == "spectral-rules"
    )
    names = [c["name"] for c in json.loads(geoseg("catalogs", "--json").stdout)]
    assert {"earth-search", "planetary-computer", "hls", "cdse", "sample"} <= set(names)
    doctor = json.loads(geoseg("doctor", "--json").stdout)
    assert doctor["GDAL"]["COG"] == "yes"
    assert doctor["GDAL"]["GPKG"] == "yes"
    assert doctor["catalogs"]["sample"] == "here"


def test_flags_win_over_the_recipe_and_both_are_in_the_manifest(image, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'image = ["{image}"]\nmodel = "spectral-rules-vnir"\nmin_area_ha = 0.05\n')
    done = geoseg(
        "predict", "--recipe", str(recipe), "--min-area-ha", "0.1", "--out", str(tmp_path / "map"), "-q"
    )
    assert done.returncode == 0, done.stderr
    resolved = json.loads((tmp_path / "map" / "manifest.json").read_text())["recipe"]
    assert resolved["min_area_ha"] == 0.1
    assert resolved["model"] == "spectral-rules-vnir"


@pytest.mark.parametrize("path", sorted(resource_folder("pipelines").glob("*.toml")), ids=lambda p: p.stem)
def test_every_shipped_pipeline_is_a_recipe(path):
    if path.stem.startswith("train-"):
        assert TrainRecipe.read(path.stem).name == path.stem.removeprefix("train-")
    else:
        assert Recipe.resolve(str(path)).changed()


def test_unknown_keys_of_a_recipe_get_the_nearest(tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('aoi = "1,2,3,4"\nmax_item = 3\n')
    done = geoseg("predict", "--recipe", str(recipe))
    assert done.returncode == 2
    assert "did you mean max_items" in done.stderr


def test_a_run_that_is_stopped_says_so(tmp_path):
    """SIGINT in the middle: one line, exit code 130, nothing left."""
    out = tmp_path / "map"
    command = [sys.executable, "-c", "from geoseg.cli.main import run; run()", "predict", "--out", str(out)]
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the question and never answers
        catalog = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        command += ["--aoi", str(SAMPLE / "area.geojson"), "--catalog", catalog]
        heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background job ignores it
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, preexec_fn=heard)
        assert process.stderr is not None
        with silent.accept()[0] as question:
            question.recv(1)  # it has asked: it is in the middle
            process.send_signal(signal.SIGINT)
            rest = process.stderr.read()
    assert process.wait(timeout=60) == 130, rest
    assert rest.splitlines()[-1] == "geoseg: Stopped: no map was written."
    assert "Traceback" not in rest
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--aoi", "a.geojson", "--bbox", "0,0,1,1"], "--aoi and --bbox both say the area"),
        (
            ["--image", "a.tif", "--datetime", "2024", "--catalog", "sample"],
            "--catalog and --datetime would choose",
        ),
    ],
)
def test_flags_that_exclude_each_other_are_refused(args, text):
    done = geoseg("predict", *args)
    assert done.returncode == 2
    assert text in done.stderr


def test_a_job_is_planned_made_and_left_alone(tmp_path):
    """The recipe by its name; flags win over its keys."""
    common = ("sample", "--model", "spectral-rules", "--out", str(tmp_path / "map"))
    planned = geoseg("plan", *common)
    assert planned.returncode == 0, planned.stderr
    assert "tiles" in planned.stdout
    assert "so far" not in planned.stdout
    assert not (tmp_path / "map").exists()
    for expected in ("Map, polygons and report are in", "nothing has changed: nothing to do"):
        done = geoseg("run", *common)
        assert done.returncode == 0, done.stderr
        assert expected in done.stderr
    assert "made, 1 of 1 blocks: geoseg run makes what is missing" in geoseg("plan", *common).stdout
    assert geoseg("run").returncode == 2


def test_a_schedule_is_written_and_says_what_to_do_with_it(tmp_path):
    done = geoseg("schedule", "sample", "--cron", "0 3 1 * *", "--to", "systemd", "--entries", str(tmp_path))
    assert done.returncode == 0, done.stderr
    service, timer = (Path(line) for line in done.stdout.splitlines())
    assert "geoseg run sample" in service.read_text()
    assert "OnCalendar=*-*-01 03:00:00" in timer.read_text()
    assert "systemctl --user enable --now geoseg-sample.timer" in done.stderr
    fixed = tmp_path / "summer.toml"
    fixed.write_text('catalog = "sample"\naoi = "6,49,6.1,49.1"\ndatetime = "2024-06/2024-08"\n')
    kept = geoseg("schedule", str(fixed), "--cron", "0 3 1 * *", "--to", "cron", "--entries", str(tmp_path))
    assert "Its dates are 2024-06/2024-08 whenever it runs" in kept.stderr
    for text, said in (
        ('aoi = "none.geojson"\n', "none.geojson does not exist"),
        ('aoi = "6,49,6.1,49.1"\nout = "{month}"\n', "Give --datetime"),
    ):
        fixed.write_text(f'catalog = "sample"\n{text}')
        never = geoseg(
            "schedule", str(fixed), "--cron", "0 3 1 * *", "--to", "cron", "--entries", str(tmp_path)
        )
        assert never.returncode == 2
        assert said in never.stderr
    airflow = geoseg("schedule", "sample", "--cron", "0 3 1 * *", "--to", "airflow").stderr
    assert airflow.count("airflow") == 1
    assert airflow.endswith("'github-actions'.\n")
    refused = geoseg("schedule", "sampel", "--cron", "0 3 1 * *", "--to", "cron")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)


@pytest.mark.parametrize(("name", "there"), [("sample", False), ("here.toml", False), ("there.toml", True)])
def test_absolute_paths_are_named_to_who_schedules_elsewhere(name, there, tmp_path):
    area = (SAMPLE / "area.geojson").read_text()
    (tmp_path / "area.geojson").write_text(area)
    for file, folder in (("here.toml", ""), ("there.toml", f"{tmp_path}/")):
        (tmp_path / file).write_text(
            f'catalog = "sample"\naoi = "{folder}area.geojson"\nout = "{folder}map"\n'
        )
    for to in ("kubernetes", "github-actions", "cron"):
        done = geoseg("schedule", name, "--cron", "0 3 1 * *", "--to", to, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        said = f"names absolute paths: {tmp_path}/area.geojson, {tmp_path}/map."
        assert (said in done.stderr) == (there and to != "cron")
        assert there or "absolute paths" not in done.stderr


def test_what_rasterio_says_of_its_own_arrays_is_not_shown(monkeypatch):
    shown = []
    monkeypatch.setattr(main, "_python_shows", lambda message, *where: shown.append(str(message)))
    for text in ("Dataset has no geotransform, gcps, or rpcs.", "Disks are full."):
        main._show_warning(NotGeoreferencedWarning(text), NotGeoreferencedWarning, __file__, 1)
    assert shown == ["Disks are full."]
