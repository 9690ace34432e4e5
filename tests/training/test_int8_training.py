"""Training under the rounding of an int8 runtime: what the folder holds, means of weights, resume, members."""

import json
import re

import pytest
import torch
from conftest import recipe_text
from safetensors.torch import load_file

from geoseg.errors import TrainingError
from geoseg.models.int8 import read_int8
from geoseg.models.int8_network import rounded
from geoseg.models.zoo import create_model, load_model
from geoseg.training.fitting import train
from geoseg.training.recipe import TrainRecipe

FEW = "epochs = 2\nsteps_per_epoch = 6\nbatch_size = 4\nlearning_rate = 0.01\nema_decay = 0.3\nint8 = true"
SMALL = "width = 4, depth = 2"


def read(chips, folder, out="model", **options):
    (folder / "recipe.toml").write_text(recipe_text(chips, **{"options": SMALL, **options}))
    return TrainRecipe.read(str(folder / "recipe.toml")).model_copy(update={"out": str(folder / out)})


def ranges(folder):
    return read_int8(folder, weights_sha256=load_model(str(folder)).card.sha256)


@pytest.mark.parametrize(
    "averaging", ["ema", *(pytest.param(a, marks=pytest.mark.lane) for a in ("swa", "none"))]
)
def test_a_broken_training_goes_on_to_the_same_weights_and_ranges(chips, tmp_path, averaging):
    fit = f"{FEW}\naveraging = '{averaging}'\nseed = 1"
    told = []
    whole = train(read(chips, tmp_path, fit=fit), on_epoch=told.append)

    def stop(epoch):
        if epoch.number == 2:
            raise RuntimeError("power cut")

    again = read(chips, tmp_path, out="again", fit=fit)
    with pytest.raises(RuntimeError, match="power cut"):
        train(again, on_epoch=stop)
    train(again, resume=True)
    one, other = (load_file(folder / "weights.safetensors") for folder in (whole, tmp_path / "again"))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert ranges(whole) == ranges(tmp_path / "again")
    assert told[1].val_miou > told[0].val_miou, "the second epoch, which was broken, is the one that is kept"


def test_the_folder_is_plain_and_its_card_says_what_int8_costs(chips, tmp_path):
    told = []
    out = train(read(chips, tmp_path, fit=FEW), on_epoch=told.append)
    model = create_model(str(out))
    assert not any("parametrizations" in key for key in load_file(out / "weights.safetensors"))
    weight = model.module.network.down[0].first.weight
    steps = weight / (weight.abs().amax((1, 2, 3), keepdim=True) / 127)
    assert torch.allclose(steps, steps.round(), atol=1e-3), "weights stand on their steps"
    int8 = ranges(out)
    assert int8.how == "trained"
    assert rounded(model, int8)(torch.zeros(1, 4, 64, 64)).shape == (1, 4, 64, 64)
    text = (out / "card.md").read_text()
    _, miou = re.search(r"\| miou \| (0\.\d+) \| (0\.\d+) \|\n\n", text).groups()
    assert float(miou) == pytest.approx(max(e.val_miou for e in told), abs=0.005), "validated as it is kept"
    assert re.search(r"\d\d\.\d\d% of the pixels have the same class in both", text)
    assert json.loads((out / "recipe.json").read_text())["fit"]["int8"]


@pytest.mark.lane
def test_members_are_joined_with_their_ranges(chips, tmp_path):
    members = f"""{FEW}
[[member]]
[[member]]
network = {{ family = "context-mlp", hyperparameters = {{ width = 8 }} }}
"""
    out = train(read(chips, tmp_path, fit=members))
    int8 = ranges(out)
    assert {name.split(".")[1] for name in int8.layers} == {"0", "1"}
    assert rounded(create_model(str(out)), int8)(torch.zeros(1, 4, 64, 64)).shape == (1, 4, 64, 64)
    assert "What int8 costs" in (out / "card.md").read_text()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("[start]\nmodel = 'x'\nlora_rank = 2", "does not go with start.lora_rank"),
        ("[[member]]\n[[member]]\nfit = { int8 = false, seed = 1 }", "all members or none"),
    ],
)
def test_what_does_not_go_with_int8_is_refused(chips, tmp_path, extra, message):
    with pytest.raises(TrainingError, match=message):
        read(chips, tmp_path, fit=f"{FEW}\n{extra}")
