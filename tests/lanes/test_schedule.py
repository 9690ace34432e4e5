"""Entries of ``geoseg schedule`` in the hands of what they are for: cron runs one, published schemas read the others."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import jsonschema
import pytest
import yaml

from lanes.services import GEOSEG, IS_CI, made, need

VENV = Path(os.environ.get("GEOSEG_MANIFESTS_VENV", "/tmp/geoseg-manifests-venv"))
CLUSTERS = Path(os.environ.get("GEOSEG_CLUSTERS_VENV", "/tmp/geoseg-clusters-venv"))
RECIPE = 'catalog = "sample"\naoi = "{aoi}"\nmodel = "spectral-rules"\nout = "map"\n'
WITHIN_S = 150
"""A minute until cron looks, then the map."""

pytestmark = pytest.mark.lane


@pytest.fixture
def folder(tmp_path):
    aoi = Path(__file__).parents[2] / "catalogs" / "sample" / "area.geojson"
    (tmp_path / "weekly water.toml").write_text(RECIPE.format(aoi=aoi))
    return tmp_path


def schedule(folder, to, *more, cron="* * * * *"):
    command = [GEOSEG, "schedule", "weekly water.toml", "--cron", cron, "--to", to, *more]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return [folder / line for line in done.stdout.splitlines()]


@pytest.fixture
def cron():
    """cron runs, and the user's own crontab is there again at the end."""
    program, crontab = need("cron", hint="apt-get install cron"), need("crontab", hint="apt-get install cron")
    if os.geteuid() != 0:
        pytest.skip("only root may start cron")
    before = subprocess.run([crontab, "-l"], capture_output=True)
    daemon = subprocess.Popen([program, "-f"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield lambda entry: subprocess.run([crontab, entry], check=True)
    if before.returncode == 0:
        subprocess.run([crontab, "-"], input=before.stdout, check=True)
    else:
        subprocess.run([crontab, "-r"], check=True)
    daemon.terminate()  # where another one ran already, this one has ended by itself
    daemon.wait(10)


def test_cron_makes_the_map(folder, cron):
    (entry,) = schedule(folder, "cron")
    cron(entry)
    log, until = folder / "weekly-water.log", time.monotonic() + WITHIN_S
    while not (folder / "map" / "manifest.json").exists() and time.monotonic() < until:
        time.sleep(0.5)
    assert (folder / "map" / "manifest.json").exists(), (
        log.read_text() if log.exists() else "cron ran nothing"
    )
    assert "class.tif" in json.loads((folder / "map" / "manifest.json").read_text())["files"]


def validator(name):
    return made(VENV / "bin" / name)


def test_kubernetes_knows_the_manifest(folder):
    sends_blocks, _ = schedule(folder, "kubernetes", "--dask-workers", "3", cron="0 3 1 * *")
    command = [validator("kubernetes-validate"), "--strict", sends_blocks]
    assert subprocess.run(command, capture_output=True).returncode == 0
    (entry,) = schedule(folder, "kubernetes", cron="0 3 1 * *")
    command = [validator("kubernetes-validate"), "--strict", entry]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    entry.write_text(entry.read_text().replace("concurrencyPolicy: Forbid", "concurrencyPolicies: Forbid"))
    assert subprocess.run(command, capture_output=True).returncode != 0, "it would have passed anything"


def crd_of(kind):
    """The schema that dask-kubernetes publishes for its operator."""
    found = list(CLUSTERS.glob(f"lib/python3*/site-packages/dask_kubernetes/**/crds/{kind}.yaml"))
    if not found:
        text = f"no dask-kubernetes in {CLUSTERS}: .ci/lane-venvs makes it"
        pytest.fail(text) if IS_CI else pytest.skip(text)
    (version,) = yaml.safe_load(found[0].read_text())["spec"]["versions"]
    assert version["name"] == "v1"
    return strict(version["schema"]["openAPIV3Schema"])


def strict(schema):
    """As ``kubectl apply --validate=strict`` reads it: a key that the schema does not know is a mistake."""
    if not isinstance(schema, dict):
        return schema
    schema = {key: strict(value) if key != "properties" else value for key, value in schema.items()}
    if "properties" in schema:
        schema["properties"] = {name: strict(value) for name, value in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
    return schema


def test_the_operator_of_dask_knows_its_cluster(folder):
    job, dask = schedule(folder, "kubernetes", "--dask-workers", "3", cron="0 3 1 * *")
    schema = crd_of("daskcluster")
    schema["properties"] |= dict.fromkeys(("apiVersion", "kind", "metadata"), True)
    manifest = yaml.safe_load(dask.read_text())
    check = jsonschema.Draft202012Validator(schema)
    assert not list(check.iter_errors(manifest))
    assert (manifest["apiVersion"], manifest["kind"]) == ("kubernetes.dask.org/v1", "DaskCluster")
    assert manifest["spec"]["worker"]["replicas"] == 3
    for right, wrong in (
        ("replicas: 3", "replicas: many"),
        ("workingDir", "workDir"),
        ("  scheduler:", "  schedulers:"),
    ):
        assert list(check.iter_errors(yaml.safe_load(dask.read_text().replace(right, wrong)))), wrong
    (container,) = yaml.safe_load(job.read_text())["spec"]["jobTemplate"]["spec"]["template"]["spec"][
        "containers"
    ]
    assert container["command"][-2:] == [
        "--scheduler",
        f"tcp://{manifest['metadata']['name']}-scheduler:8786",
    ]


def test_github_knows_the_workflow(folder):
    (entry,) = schedule(folder, "github-actions", cron="0 3 1 * *")
    command = [validator("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", entry]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    entry.write_text(entry.read_text().replace("runs-on:", "runs-by:"))
    assert subprocess.run(command, capture_output=True).returncode != 0, "it would have passed anything"


def test_systemd_knows_the_units(folder):
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze")
    units = schedule(folder, "systemd", cron="0 3 1 * *")
    done = subprocess.run([program, "verify", "--man=no", *units], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(folder) not in done.stderr
