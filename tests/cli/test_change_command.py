"""``geoseg change`` as a person meets it."""

import json
import sys

import geopandas as gpd
import numpy as np
import pytest
from change_builders import AT, LEGEND, UTM, patches, write_map
from odc.geo.geobox import GeoBox

from geoseg.cli.main import run
from geoseg.legend import Legend

SHAPE = (40, 60)


@pytest.fixture
def geoseg(tmp_path, monkeypatch, capsys):
    """Arguments -> exit code, standard output, standard error; in this process, which has its imports."""
    monkeypatch.chdir(tmp_path)

    def call(*args):
        monkeypatch.setattr(sys, "argv", ["geoseg", *map(str, args)])
        with pytest.raises(SystemExit) as ended:
            run()
        return ended.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def pair(tmp_path):
    before = patches(1, SHAPE)
    return write_map(tmp_path / "a.tif", before), write_map(tmp_path / "b.tif", patches(2, SHAPE, size=11))


def test_tables_on_the_terminal_and_files_in_the_folder(geoseg, pair, tmp_path):
    code, out, err = geoseg("change", *pair, "--out", "out")
    assert code == 0, err
    report = json.loads((tmp_path / "out" / "change.json").read_text())
    lines = [line.split() for line in out.splitlines()]
    for name, row in zip(report["matrix"]["names"], report["matrix"]["area_ha"], strict=True):
        assert [name, *(f"{ha:,.1f}" if ha else "-" for ha in row)] in lines
    for c in report["classes"]:
        shown = [f"{c[k]:,.1f}" for k in ("before_ha", "after_ha", "unchanged_ha", "gain_ha", "loss_ha")]
        assert ["■", c["class_name"], *shown, f"{c['net_ha']:+,.1f}"] in lines
    assert f"{report['changed_ha']:,.1f} of {report['compared_ha']:,.1f} ha changed" in out
    assert "Both maps lie on one grid." in err
    assert all(err.count(note) == 1 for note in report["notes"])
    assert "Matrix, map and polygons are in out/" in err


def test_many_classes_are_shown_by_their_largest_transitions_and_json_is_json(geoseg, tmp_path):
    legend = Legend.of(**{f"class_{n}": f"{n * 20:02X}8040" for n in range(9)})
    maps = [write_map(tmp_path / f"{seed}.tif", patches(seed, SHAPE, n=9), legend=legend) for seed in (1, 2)]
    code, out, err = geoseg("change", *maps)
    assert code == 0, err
    assert "Largest transitions" in out
    report = json.loads((tmp_path / "geoseg-out" / "change" / "change.json").read_text())
    first = report["transitions"][0]
    assert [first["before"], first["after"], f"{first['area_ha']:,.1f}"] == next(
        line.split()[:3] for line in out.splitlines() if line.strip().startswith("class_")
    )
    _, spoken, _ = geoseg("change", *maps, "--out", "again", "--json")
    assert {**json.loads(spoken), "created": ""} == {**report, "created": ""}


def test_a_labelled_sample_gives_areas_of_change(geoseg, pair, tmp_path):
    assert geoseg("change", *pair, "--out", "out")[0] == 0
    assert geoseg("area", "sample", "out/change.tif", "-q", "--size", "400")[:2] == (0, "")
    unlabelled = geoseg("change", *pair, "--sample", "sample.gpkg")
    assert unlabelled[0] == 2
    assert "400 of 400 points have no reference_class" in unlabelled[2]
    assert not (tmp_path / "geoseg-out" / "change").exists()
    points = gpd.read_file("sample.gpkg", layer="sample")
    points.assign(reference_class=points.stratum).drop(columns="geometry").to_csv("labels.csv", index=False)
    code, out, err = geoseg("change", *pair, "--sample", "labels.csv", "--out", "out", "--overwrite")
    assert code == 0, err
    assert "ha estimated" in out
    figures = json.loads((tmp_path / "out" / "change.json").read_text())["areas"]["whole"]
    assert figures["overall_accuracy"] == 1
    assert f"{figures['classes'][0]['area_ha']:,.1f}" in out


def test_a_crosswalk_file(geoseg, pair, tmp_path):
    other = write_map(
        tmp_path / "c.tif", patches(2, SHAPE, size=11), legend=Legend.of(lake="0000FF", trees="00FF00", town="FF0000")
    )  # fmt: skip
    walk = tmp_path / "walk.toml"
    walk.write_text('[after]\nlake = "water"\n1 = "forest"\ntown = "built"\n')
    code, out, err = geoseg("change", pair[0], other, "--crosswalk", walk, "--out", "named", "--json")
    assert code == 0, err
    _, plain, _ = geoseg("change", *pair, "--out", "plain", "--json")
    assert json.loads(out)["matrix"] == json.loads(plain)["matrix"]


def test_what_the_user_can_mend_is_one_line_and_exit_2(geoseg, pair, tmp_path):
    road = write_map(tmp_path / "road.tif", np.zeros(SHAPE), legend=Legend.of(road="000000"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("keep")
    far = GeoBox(SHAPE, AT, UTM).translate_pix(1000, 0)
    away = write_map(tmp_path / "away.tif", patches(1, SHAPE), at=far.affine, legend=LEGEND)
    for args, message in (
        ((pair[0], "nowhere.tif"), "There is no file nowhere.tif"),
        ((pair[0], road), "--crosswalk"),
        ((pair[0], away), "do not overlap"),
        ((*pair, "--crosswalk", "none.toml"), "There is no file none.toml"),
        ((*pair, "--out", "full"), "not a geoseg map"),
        ((pair[0],), "'after'"),
    ):
        code, _, err = geoseg("change", *args)
        assert code == 2, err
        assert message in err.splitlines()[-1]
        assert err.splitlines()[-1].startswith("geoseg: ")
        assert "Traceback" not in err
    assert not (tmp_path / "geoseg-out").exists()
