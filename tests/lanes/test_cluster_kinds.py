"""Kinds of clusters that nobody can start here: what geoseg says to their classes is what those take.

Their packages live in a venv of their own (.ci/lane-venvs).
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from geoseg.jobs.clusters import KINDS
from lanes.services import made

PYTHON = Path(os.environ.get("GEOSEG_CLUSTERS_VENV", "/tmp/geoseg-clusters-venv")) / "bin" / "python"
SCRIPT = """
import importlib, inspect, json, sys
path, names = json.loads(sys.argv[1])
module, _, name = path.partition(":")
made_by = getattr(importlib.import_module(module), name)
inspect.signature(made_by).bind(**dict.fromkeys(names))
missing = [name for name in ("scale", "close") if not hasattr(made_by, name)]
assert not missing, missing
"""
pytestmark = pytest.mark.lane


def bind(made_by: str, names: list[str]) -> subprocess.CompletedProcess[str]:
    command = [made(PYTHON), "-c", SCRIPT, json.dumps([made_by, names])]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("name", ["kubernetes", "gateway", "coiled"])
def test_the_class_is_there_and_takes_what_is_said(name):
    kind = KINDS[name]
    said = [*kind.defaults, *(() if kind.is_open else ("n_workers",))]
    done = bind(kind.made_by, said)
    assert done.returncode == 0, done.stderr


def test_the_cluster_that_schedule_writes_can_be_given_to_kubernetes():
    assert bind(KINDS["kubernetes"].made_by, ["custom_cluster_spec", "n_workers"]).returncode == 0


def test_a_wrong_word_would_be_found():
    assert bind(KINDS["coiled"].made_by, ["n_wrokers"]).returncode != 0
