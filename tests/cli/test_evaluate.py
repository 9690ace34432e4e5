"""``geoseg evaluate`` as a person meets it."""

import json

import numpy as np
import pytest
from builders import geobox_at
from commands import geoseg
from odc.geo.xr import xr_zeros
from typer.testing import CliRunner

from geoseg.cli.main import app
from geoseg.legend import Legend
from geoseg.writers.cog import write_cog


@pytest.fixture
def pair(tmp_path):
    legend = Legend.of(water="1F78B4", land="33A02C")
    rng = np.random.default_rng(1)
    for name in ("a", "b"):
        image = xr_zeros(geobox_at(height=60, width=70), dtype="uint8")
        write_cog(
            image.copy(data=rng.integers(0, 2, (60, 70)).astype(np.uint8)),
            tmp_path / f"{name}.tif",
            nodata=255,
            legend=legend,
        )
    return tmp_path / "a.tif", tmp_path / "b.tif"


def test_a_table_and_two_files(pair, tmp_path):
    done = geoseg("evaluate", "--prediction", pair[0], "--reference", pair[1], "--out", tmp_path / "scores")
    assert done.returncode == 0, done.stderr
    assert "water" in done.stdout
    assert "Mean IoU" in done.stdout
    assert {p.name for p in (tmp_path / "scores").iterdir()} == {"scores.json", "scores.html"}
    spoken = geoseg(
        "evaluate",
        "--prediction",
        pair[0],
        "--reference",
        pair[1],
        "--out",
        tmp_path / "scores",
        "--overwrite",
        "--json",
    )
    assert json.loads(spoken.stdout) == json.loads((tmp_path / "scores" / "scores.json").read_text())


def test_outlines_are_scored_when_asked_for(pair, tmp_path):
    args = [
        "evaluate",
        "--prediction",
        pair[0],
        "--reference",
        pair[1],
        "--boundary",
        "20m",
        "--out",
        tmp_path / "s",
    ]
    done = CliRunner().invoke(app, list(map(str, args)))
    assert done.exit_code == 0, done.output
    scores = json.loads((tmp_path / "s/scores.json").read_text())
    for name in ("boundary", "trimap"):
        of_classes = [c[f"{name}_iou"] for c in scores["classes"]]
        assert scores["overall"][f"{name}_miou"] == pytest.approx(sum(of_classes) / 2)
        assert f"{name} IoU" in done.output
        assert f"Mean {name} IoU" in (tmp_path / "s/scores.html").read_text()


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        (["--reference", "none.tif"], "There is no file none.tif"),
        (["--crosswalk", "none.toml"], "There is no file none.toml"),
        (["--places", "none.gpkg"], "none.gpkg cannot be read"),
        (["--legend", "none.toml"], "none.toml is no legend"),
    ],
)
def test_what_the_user_can_mend_is_one_line(pair, tmp_path, extra, text):
    args = {"--prediction": pair[0], "--reference": pair[1], "--out": tmp_path / "scores", **dict([extra])}
    done = geoseg("evaluate", *[part for item in args.items() for part in item])
    assert done.returncode == 2, done.stderr
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "scores").exists()
