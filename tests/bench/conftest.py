"""A run that nobody made."""

from dataclasses import fields

import pytest

from geoseg.bench.prediction import Run


@pytest.fixture
def made_run() -> Run:
    """All its numbers are 1."""
    values = {f.name: 1.0 for f in fields(Run)}
    words = {"model": "m", "image": "scene.tif", "width": 512, "height": 512, "n_polygons": 1234}
    return Run(**(values | words))  # type: ignore[arg-type]
