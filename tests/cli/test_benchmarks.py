"""``geoseg benchmarks`` as a person meets it."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from geoseg.cli.benchmarks import app
from geoseg.errors import EvaluationError
from geoseg.evaluation.benchmark import BENCHMARKS


def say(*args):
    done = CliRunner().invoke(app, list(args))
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0
    return done.stdout


@pytest.fixture
def cityscapes(tmp_path):
    """Two pictures of val, the label of one of them; one of train with its label."""
    for split, frame, with_label in (("val", 0, True), ("val", 1, False), ("train", 2, True)):
        for kind, suffix in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelIds")):
            path = tmp_path / f"{kind}/{split}/ulm/ulm_00000{frame}_000019_{suffix}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "leftImg8bit" or with_label:
                Image.fromarray(np.zeros((2, 2), np.uint8)).save(path)
    return tmp_path


def test_the_list_has_all(tmp_path):
    text = say("list")
    listed = json.loads(say("list", "--json"))
    assert [b["name"] for b in listed] == list(BENCHMARKS)
    assert all(name in text for name in BENCHMARKS)
    (voc,) = (b for b in listed if b["name"] == "pascal-voc-2012")
    assert voc["splits"] == {"val": 1449, "train": 1464, "trainval": 2913, "train_aug": 10582, "test": 1456}
    assert voc["n_classes"] == 21


def test_one_is_shown_with_what_it_needs():
    text = say("show", "bdd100k")
    for part in ("https://bdd-data.berkeley.edu/", "labels/sem_seg/masks/{train,val}/{image}.png", "val (1,000)",
                 "traffic light", "counts as wrong in every pixel"):  # fmt: skip
        assert part in text, part
    shown = json.loads(say("show", "ade20k", "--json"))
    assert shown["classes"][12] == {
        "value": 12,
        "name": "person",
        "color_hint": "96053D",
        "description": "individual, someone, somebody, mortal, soul",
    }


def test_square_brackets_of_a_layout_are_shown():
    assert "[VOCdevkit/VOC2012/]JPEGImages/{image}.jpg" in say("show", "pascal-voc-2012")


def test_a_folder_is_recognised_and_what_is_missing_named(cityscapes):
    found = {(s["benchmark"], s["split"]): s for s in json.loads(say("check", str(cityscapes), "--json"))}
    assert {name for name, _ in found} == {"cityscapes"}
    val, train = found["cityscapes", "val"], found["cityscapes", "train"]
    assert (val["n_images"], val["n_labels"], val["n_expected"], val["is_complete"]) == (2, 1, 500, False)
    assert "ulm_000001_000019_gtFine_labelIds.png" in val["missing"]
    assert (train["n_images"], train["n_labels"]) == (1, 1)
    assert "holds 1 of the 2,975 images" in train["missing"]
    text = say("check", str(cityscapes))
    assert "https://www.cityscapes-dataset.com/downloads/" in text
    assert "ulm_000001_000019_gtFine_labelIds.png" in text


def test_a_complete_split_is_said_to_be(tmp_path):
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "sa_1.jpg")
    (tmp_path / "sa_1.json").write_text('{"annotations": []}')
    (found,) = json.loads(say("check", str(tmp_path), "--json"))
    assert (found["benchmark"], found["n_images"], found["is_complete"], found["missing"]) == (
        "sa-1b",
        1,
        True,
        "",
    )
    assert "any" in say("check", str(tmp_path))


def test_images_of_ones_own_are_shown_and_checked_like_any(tmp_path):
    path = tmp_path / "made.toml"
    path.write_text(
        'name = "made"\ntitle = "Made chips"\nbands = ["red", "-"]\nscale = 1\nimages = "{chip}.png"\n'
        'labels = "truth/{chip}.png"\n[[classes]]\nname = "tree"\nvalues = [1]\n'
    )
    text = say("show", str(path))
    for part in ("Made chips", "truth/{chip}.png", "tree", "not stated"):
        assert part in text, part
    (tmp_path / "truth").mkdir()
    for file in ("a.png", "b.png", "truth/a.png"):
        Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / file)
    (found,) = json.loads(say("check", str(tmp_path), "--name", str(path), "--json"))
    assert (found["benchmark"], found["split"], found["n_images"], found["n_labels"]) == ("made", "all", 2, 1)
    assert "lacks 1 of 2 files (first: truth/b.png) of Made chips" in found["missing"]


def test_a_benchmark_asked_for_by_name_is_described_though_nothing_is_there(tmp_path):
    found = json.loads(say("check", str(tmp_path), "--name", "kitti-semantic", "--json"))
    assert [(s["split"], s["n_images"], s["is_complete"]) for s in found] == [
        ("train", 0, False),
        ("test", 0, False),
    ]
    assert "lacks training/image_2/*.png" in found[0]["missing"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["check", "{folder}"], "holds nothing of the"),
        (["check", "{folder}/absent"], "There is no folder"),
        (["check", "{folder}", "--name", "cityscape"], "did you mean cityscapes"),
        (["show", "cityscape"], "did you mean cityscapes"),
        (["show", "{folder}/absent.toml"], "absent.toml. Check the path."),
    ],
)
def test_what_cannot_be_answered_is_one_line(args, message, tmp_path):
    with pytest.raises(EvaluationError, match=message) as refused:
        say(*(a.format(folder=tmp_path) for a in args))
    assert "\n" not in str(refused.value)


def test_help_imports_nothing_heavy():
    probe = "import sys, geoseg.cli.benchmarks; print(sorted({'numpy','rasterio','PIL','rich.table'} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True).stdout.strip() == "[]"
    )
