"""Other models that teach: what they learned from is not validated on."""

import json
import shutil

import pytest
from builders import model_folder
from conftest import recipe_text

from geoseg.errors import GeosegWarning, TrainingError
from geoseg.models.folds import Folds, write_folds
from geoseg.models.zoo import card_of
from geoseg.training.fitting import train
from geoseg.training.recipe import TrainRecipe
from geoseg.training.seen import refuse_seen, seen_by

FIT = "epochs = 1\nsteps_per_epoch = 1\nbatch_size = 2\n"


def read(chips, folder, extra="", *, split="train", name="a"):
    text = recipe_text(chips, fit=FIT + extra, options="width = 4, depth = 2")
    text = text.replace("[network]", f'train_split = "{split}"\nval_split = "val"\n[network]', 1)
    (folder / f"{name}.toml").write_text(text)
    return TrainRecipe.read(str(folder / f"{name}.toml")).model_copy(update={"out": str(folder / name)})


@pytest.fixture
def model(chips, tmp_path):
    """A model that learned from the split train, as its recipe says."""
    return train(read(chips, tmp_path, name="model"))


def learned_from(folder, **data):
    """The same, as if it had learned from others."""
    recipe = json.loads((folder / "recipe.json").read_text())
    recipe["data"] |= data
    (folder / "recipe.json").write_text(json.dumps(recipe))


@pytest.mark.parametrize(
    ("key", "table"),
    [
        ("start.model", '[start]\nmodel = "{m}"'),
        ("distill.teachers", '[distill]\nteachers = ["spectral-rules", "{m}"]'),
        (
            "pseudo.model",
            '[pseudo]\nmodel = "{m}"\nbenchmark = "{c}/chips.toml"\nroot = "{c}"\nsplit = "train"',
        ),
    ],
)
def test_a_model_that_learned_from_what_is_validated_on_is_refused(chips, tmp_path, model, key, table):
    recipe = read(chips, tmp_path, table.format(m=model, c=chips))
    refuse_seen(recipe)
    learned_from(model, val_split="train", train_split="val")
    with pytest.raises(
        TrainingError, match=rf"{key}: .*model has learned from 4 of the 4 places .*brightest"
    ):
        train(recipe)


def test_what_its_own_teachers_and_folds_learned_from_counts_too(chips, tmp_path, model):
    second = tmp_path / "second"
    shutil.copytree(model, second)
    kept = json.loads((second / "recipe.json").read_text())
    kept["start"]["model"] = str(model)
    (second / "recipe.json").write_text(json.dumps(kept))
    recipe = read(chips, tmp_path, f'[start]\nmodel = "{second}"')
    refuse_seen(recipe)
    folds = Folds(weights_sha256=None, benchmark="brightest", member={"17": 0})
    write_folds(folds, model, weights_sha256=card_of(str(model)).sha256)
    with pytest.raises(TrainingError, match=r"second has learned from 1 of the 4 places .*first: 17"):
        refuse_seen(recipe)


def test_a_model_that_says_nothing_is_warned_of(chips, tmp_path):
    silent = model_folder(tmp_path / "silent")
    recipe = read(chips, tmp_path, f'[distill]\nteachers = ["{silent}", "spectral-rules"]')
    with pytest.warns(GeosegWarning, match=rf"Nothing says what {silent} learned from"):
        refuse_seen(recipe)
    assert seen_by("spectral-rules").is_all
    assert ("landcover-30m", "10") in seen_by("landcover-30m").places


def test_the_card_names_the_models_that_taught(chips, tmp_path, model):
    out = train(read(chips, tmp_path, f'[start]\nmodel = "{model}"\n[distill]\nteachers = ["{model}"]'))
    assert f"- **Other models** begun with {model}; taught by {model}.\n" in (out / "card.md").read_text()
