"""Entries that start jobs: the times that were asked for, in the words of each scheduler."""

import json
import shlex
import shutil
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import RecipeError
from geoseg.inference import backends
from geoseg.inference.backends import BACKENDS, Work
from geoseg.jobs.cron import fields_of, on_calendar
from geoseg.jobs.folders import dated
from geoseg.jobs.needs import needs_of
from geoseg.jobs.plan import plan_run
from geoseg.jobs.schedule import SCHEDULERS, Schedule
from geoseg.recipe import Recipe
from geoseg.resources import resource_folder
from geoseg.stac.signing import AWS_KEYS

MONTHLY = "0 3 1 * *"
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")


def job(**more):
    given = {"name": "Monthly land cover", "cron": MONTHLY, "recipe": "monthly.toml", "folder": "/srv/maps"}
    return Schedule(**given | more)


def entries(to, **more):
    return SCHEDULERS[to].entries(job(**more))


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("0 3 1 *", "has 4 fields, expected 5"),
        ("0 3 30,31 2 *", "never comes: its months have 29 days at most"),
        ("0 3 31 4-6/2 *", "never comes: its months have 30 days at most"),
        ("@monthly", "has 1 field, expected 5"),
        ("60 3 1 * *", "'60' is no minute from 0 to 59"),
        ("0 3 0 * *", "'0' is no day of the month from 1 to 31"),
        ("0 3 1 jan *", "'jan' is no month"),
        ("0 5-3 1 * *", "'5-3' is no hour from 0 to 23"),
        ("*/0 3 1 * *", "'\\*/0' is no minute"),
    ],
)
def test_what_is_no_time_is_one_line(cron, said):
    with pytest.raises(RecipeError, match=said):
        job(cron=cron)


@pytest.mark.parametrize(
    ("cron", "calendar"),
    [
        (MONTHLY, "*-*-01 03:00:00"),
        ("*/15 * * * *", "*-*-* *:00..59/15:00"),
        ("30 6 * * 1-5", "Mon,Tue,Wed,Thu,Fri *-*-* 06:30:00"),
        ("0 0 * * 7", "Sun *-*-* 00:00:00"),
        ("0 0 * * 0,6", "Sun,Sat *-*-* 00:00:00"),
        ("0 4 1,15 6-8 *", "*-06..08-01,15 04:00:00"),
        ("0,*/1 3 1 * *", "*-*-01 03:*:00"),
        ("5 1-23/2 * */3 *", "*-01..12/3-* 01..23/2:05:00"),
    ],
)
def test_times_in_the_words_of_systemd(cron, calendar):
    assert on_calendar(cron) == calendar


def test_what_systemd_cannot_say_is_refused():
    with pytest.raises(RecipeError, match="names days of the month and weekdays"):
        entries("systemd", cron="0 3 1 * 1")


def values(field, low, high):
    """What a field allows, read anew: by crontab(5), each part is a range with a step."""
    found = set()
    for first, last, step in field:
        low_, high_ = (low, high) if first is None else (first, first if last is None else last)
        found |= set(range(low_, high_ + 1, step))
    return found


@pytest.mark.parametrize("cron", ["0 3 29 2 *", "0 3 31 2-3 *", "0 3 31 2 1", "0 3 */31 2 *", "0 3 31 */2 *"])
def test_days_that_come_are_taken(cron):
    assert len(fields_of(cron)) == 5


@pytest.mark.parametrize(
    ("cron", "there"),
    [
        ("0 3 * * 7", "0 3 * * 0"), ("0 3 * * 5-7", "0 3 * * 0,5,6"), ("0 3 * * 1,7", "0 3 * * 0,1"),
        ("0 3 * * 0-7", "0 3 * * 0,1,2,3,4,5,6"), ("0 3 1 * *", "0 3 1 * *"), ("0 3 * * */7", "0 3 * * */7"),
    ],
)  # fmt: skip
def test_sunday_is_0_where_7_is_not_known(cron, there):
    (manifest,) = entries("kubernetes", cron=cron).values()
    assert yaml.safe_load(manifest)["spec"]["schedule"] == there
    (workflow,) = entries("github-actions", cron=cron).values()
    assert f"cron: {there}" in workflow.replace("'", "")
    assert cron in "".join(entries("cron", cron=cron).values())


def is_due(cron, moment):
    minute, hour, day, month, weekday = fields_of(cron)
    return (
        moment.minute in values(minute, 0, 59)
        and moment.hour in values(hour, 0, 23)
        and moment.day in values(day, 1, 31)
        and moment.month in values(month, 1, 12)
        and moment.isoweekday() % 7 in {n % 7 for n in values(weekday, 0, 7)}
    )


def field(low, high):
    number = st.integers(low, high)
    span = st.tuples(number, number).map(sorted).map(lambda ends: f"{ends[0]}-{ends[1]}")
    part = st.one_of(
        number.map(str),
        span,
        st.tuples(st.one_of(st.just("*"), span), st.integers(1, 7)).map(lambda p: f"{p[0]}/{p[1]}"),
    )
    return st.one_of(st.just("*"), st.lists(part, min_size=1, max_size=3).map(",".join))


CRONS = st.one_of(
    st.tuples(field(0, 59), field(0, 23), field(1, 28), field(1, 12), st.just("*")),
    st.tuples(field(0, 59), field(0, 23), st.just("*"), field(1, 12), field(0, 7)),
).map(" ".join)


@needs_systemd
@given(CRONS)
@settings(max_examples=25, deadline=None)
def test_systemd_starts_it_when_cron_would(cron):
    """Its next times, by systemd itself, are times of crontab(5), and in the first days none lies between."""
    said = subprocess.run(
        ["systemd-analyze", "calendar", "--iterations=4", "--base-time=2026-01-31 22:58:30 UTC", on_calendar(cron)],
        capture_output=True, text=True, env={"TZ": "UTC", "PATH": "/usr/bin:/bin"}, check=True,
    ).stdout  # fmt: skip
    lines = [
        line
        for line in said.splitlines()
        if "Next elapse:" in line or "Iter. #" in line or "Iteration #" in line
    ]
    found = [datetime.strptime(" ".join(line.split()[-3:-1]), "%Y-%m-%d %H:%M:%S") for line in lines]
    assert len(found) == 4
    assert all(is_due(cron, moment) for moment in found), (cron, found)
    minutes = [datetime(2026, 1, 31, 22, 59) + timedelta(minutes=n) for n in range(4000)]
    due = [moment for moment in minutes if moment <= found[-1] and is_due(cron, moment)]
    assert due == [moment for moment in found if moment <= minutes[-1]], (cron, found)


@needs_systemd
def test_the_units_pass_systemd(tmp_path):
    files = entries("systemd", folder=str(tmp_path), program=shutil.which("true"))
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(tmp_path / name for name in files)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "geoseg" not in done.stderr


def test_a_line_of_cron_locks_and_runs(tmp_path):
    """By the shell that cron would use: once at a time, in its folder, all it says in the log."""
    folder = tmp_path / "maps of mine"
    folder.mkdir()
    program = tmp_path / "geo seg"
    program.write_text('#!/bin/sh\necho "$@ in $PWD"\nsleep 1\n')
    program.chmod(0o755)
    (text,) = entries("cron", folder=str(folder), program=str(program), recipe="100% land.toml").values()
    line = text.splitlines()[1]
    assert line.startswith(MONTHLY + " ")
    command = line.removeprefix(MONTHLY + " ").replace(r"\%", "%")
    first = subprocess.Popen(["sh", "-c", command], cwd="/")
    while not (folder / "monthly-land-cover.log").exists():
        assert first.poll() is None
    second = subprocess.run(["sh", "-c", command], cwd="/")
    assert (first.wait(), second.returncode) == (0, 0)
    assert (folder / "monthly-land-cover.log").read_text() == f"run 100% land.toml in {folder}\n"


def test_percent_is_not_a_new_line_for_cron():
    (text,) = entries("cron", recipe="100%.toml").values()
    assert r"100\%.toml" in text


def test_kubernetes_runs_one_at_a_time():
    ((name, text),) = entries("kubernetes", image="registry/geoseg:1").items()
    manifest = yaml.safe_load(text)
    assert name == "geoseg-monthly-land-cover.yaml"
    assert manifest["spec"]["concurrencyPolicy"] == "Forbid"
    pod = manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "registry/geoseg:1"
    assert container["command"] == ["geoseg", "run", "monthly.toml"]
    assert container["workingDir"] in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_kubernetes_sends_blocks_to_workers_that_share_its_volume():
    files = entries("kubernetes", image="registry/geoseg:1", dask_workers=4)
    job, dask = (yaml.safe_load(text) for text in files.values())
    pods = [job["spec"]["jobTemplate"]["spec"]["template"]["spec"]]
    pods += [dask["spec"][part]["spec"] for part in ("scheduler", "worker")]
    assert len({json.dumps(pod["volumes"]) for pod in pods}) == 1
    assert {pod["containers"][0]["image"] for pod in pods} == {"registry/geoseg:1"}
    name = dask["metadata"]["name"]
    command = pods[0]["containers"][0]["command"]
    assert command == ["geoseg", "run", "monthly.toml", "--scheduler", f"tcp://{name}-scheduler:8786"]
    assert dask["spec"]["scheduler"]["service"]["selector"]["dask.org/cluster-name"] == name
    assert dask["spec"]["worker"]["replicas"] == 4


def test_a_workflow_is_started_by_its_times_and_by_hand():
    ((name, text),) = entries("github-actions").items()
    workflow = yaml.safe_load(text)
    assert name.endswith(".yml")
    assert workflow["on"]["schedule"] == [{"cron": MONTHLY}]
    assert workflow["concurrency"]["cancel-in-progress"] is False
    assert ["run", "monthly.toml"] in [
        shlex.split(s.get("run", ""))[1:] for s in workflow["jobs"]["map"]["steps"]
    ]


@pytest.mark.parametrize(
    ("recipe", "package", "secrets"),
    [
        ({"image": ("a.tif",)}, "geoseg", ()),
        ({"aoi": "a.gpkg"}, "geoseg", ()),
        ({"aoi": "a.gpkg", "collection": "naip"}, "geoseg", AWS_KEYS),
        ({"aoi": "a.gpkg", "catalog": "hls"}, "geoseg", ("EARTHDATA_TOKEN",)),
        ({"aoi": "a.gpkg", "catalog": "cdse", "out": "s3://bucket/maps"}, "geoseg", AWS_KEYS),
        (
            {"image": ("a.tif",), "out": "az://container/maps", "backend": "onnxruntime"},
            "geoseg[onnx]",
            ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCESS_KEY"),
        ),
        ({"image": ("s3://bucket/a.tif",), "backend": "openvino"}, "geoseg[openvino]", AWS_KEYS),
        (
            {
                "aoi": "a.gpkg",
                "catalog": "planetary-computer",
                "notify": ("env:MAIL", "json://host"),
                "cluster": "slurm",
            },
            "geoseg[jobqueue,notify,planetary-computer]",
            ("MAIL",),
        ),
    ],
)
def test_a_workflow_installs_and_is_given_what_the_recipe_needs(recipe, package, secrets):
    needs = needs_of(Recipe(**recipe))
    assert needs.package == package
    (text,) = entries("github-actions", needs=needs).values()
    *_, install, run, _ = yaml.safe_load(text)["jobs"]["map"]["steps"]
    assert shlex.split(install["run"]) == ["pip", "install", package]
    assert run.get("env", {}) == {name: f"${{{{ secrets.{name} }}}}" for name in secrets}


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_the_extra_of_a_backend_is_what_the_backend_says(backend, monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    needs = needs_of(Recipe(image=("a.tif",), backend=backend))
    work = Work(64, 1, torch.device("cuda" if backend == "tensorrt" else "cpu"))
    said = backends.why_not(backend, work) or ""
    assert needs.package in said if needs.extras else "pip install" not in said


CATALOG = str(resource_folder("catalogs") / "sample.toml")


@pytest.mark.parametrize(
    ("given", "paths"),
    [
        ({"aoi": "-35,-8,-34,-7", "model": "models/mine"}, ()),
        ({"aoi": "/data/a.gpkg|layername=north", "model": "/m"}, ("/data/a.gpkg", "/m")),
        ({"aoi": "a.gpkg", "catalog": CATALOG, "out": "/o/{month}"}, (CATALOG, "/o/{month}")),
        ({"aoi": "a.gpkg", "store": "file:///parts", "change_from": "/b"}, ("/parts", "/b")),
        ({"image": ("a.tif", "/i/a.tif", "s3://b/a.tif", "/vsicurl/https://h/x.tif?sig=x7")}, ("/i/a.tif",)),
    ],
)
def test_absolute_paths_have_to_lead_to_the_same(given, paths):
    assert needs_of(Recipe(**given)).paths == paths


@pytest.mark.parametrize("to", ["kubernetes", "github-actions"])
def test_paths_of_this_machine_are_refused_elsewhere(to):
    with pytest.raises(RecipeError, match="is a path of this machine"):
        entries(to, recipe="/home/me/monthly.toml")


@pytest.mark.parametrize("name", ["Été à Paris", "---", "a/b"])
@pytest.mark.parametrize("to", sorted(SCHEDULERS))
def test_names_are_file_names_that_stay_here(name, to):
    for file in entries(to, name=name):
        assert "/" not in file
        assert json.dumps(file).isascii()


def planned_out(tmp_path, out, dates):
    aoi = resource_folder("catalogs") / "sample" / "area.geojson"
    recipe = Recipe(
        aoi=str(aoi), catalog="sample", model="spectral-rules", datetime=dates, out=str(tmp_path / out)
    )
    return plan_run(recipe, say=lambda _: None).out.relative_to(tmp_path)


@pytest.mark.filterwarnings("ignore:l7-etm-olinda")
def test_each_month_may_have_its_map(tmp_path):
    dates = "2001-05-01/2001-08-31"
    assert planned_out(tmp_path, "maps/{month}", dates) == Path("maps/2001-05")
    assert planned_out(tmp_path, "{year}/{start}_{end}", dates) == Path("2001/2001-05-01_2001-08-31")
    with pytest.raises(RecipeError, match=r"--out maps/\{mnth\}: has \{mnth\} in it: .*month"):
        Recipe.resolve(None, aoi="0,0,1,1", out="maps/{mnth}")


@pytest.mark.parametrize(
    ("interval", "before"),
    [
        ("2026-01/2026-03", "2025-12 2025"),
        ("2026-12-05/2026-12-31", "2026-11 2025"),
        ("2024-03", "2024-02 2023"),
    ],
)
def test_the_month_and_the_year_before(interval, before):
    assert dated("{month-1} {year-1}", interval) == before


def test_no_month_without_a_start(tmp_path):
    with pytest.raises(RecipeError, match=r"\{month\} is of the dates, and \.\./2026-08 has none"):
        planned_out(tmp_path, "maps/{month}", "../2026-08")
