"""The system's Python with PyQGIS, which the lanes that open QGIS run."""

import os
import subprocess
from pathlib import Path

import pytest

from lanes.services import IS_CI

PYTHON = "/usr/bin/python3"
ENVIRONMENT = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}


def need_qgis() -> None:
    """Where PyQGIS is missing the test is skipped, but fails in CI, which installs it."""
    probe = [PYTHON, "-c", "import qgis.core"]
    has_qgis = (
        Path(PYTHON).exists()
        and not subprocess.run(probe, env=ENVIRONMENT, capture_output=True, timeout=120).returncode
    )
    if not has_qgis:
        text = f"{PYTHON} cannot import qgis.core: apt-get install qgis python3-qgis"
        pytest.fail(text) if IS_CI else pytest.skip(text)
