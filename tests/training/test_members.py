"""Ensembles in one recipe, places held back without a split, and means of weights."""

import pandas as pd
import pytest
import torch
from conftest import recipe_text

from geoseg.errors import GeosegError
from geoseg.models.ensemble import Ensemble
from geoseg.models.zoo import create_model
from geoseg.training.fitting import train
from geoseg.training.recipe import TrainRecipe

FEW = "epochs = 2\nbatch_size = 4\nlearning_rate = 0.01\nema_decay = 0.3"
MEMBERS = f"""{FEW}
[[member]]
[[member]]
fit = {{ seed = 1 }}
network = {{ family = "context-mlp", hyperparameters = {{ width = 16 }} }}
loss = [{{ name = "dice" }}]
"""


def read(chips, folder, out="model", **options):
    (folder / "recipe.toml").write_text(recipe_text(chips, **options))
    return TrainRecipe.read(str(folder / "recipe.toml")).model_copy(update={"out": str(folder / out)})


@pytest.mark.lane
def test_members_become_one_model_and_a_broken_training_goes_on(chips, tmp_path):
    told = []
    whole = train(read(chips, tmp_path, fit=MEMBERS), on_epoch=told.append)
    assert [(e.model, e.number) for e in told] == [
        (f"brightest-{member}", epoch) for member in (1, 2) for epoch in (1, 2)
    ]
    model = create_model(str(whole))
    assert isinstance(model.module, Ensemble)
    assert (model.card.name, model.card.title) == ("brightest", "The brightest band")
    assert model.card.hyperparameters["member_family"] == "small-unet,context-mlp"
    assert set(pd.read_csv(whole / "metrics.csv").member) == {"brightest-1", "brightest-2"}
    assert "4 places that it has not learned from" in (whole / "card.md").read_text()

    def stop(epoch):
        if epoch.model == "brightest-2":
            raise RuntimeError("power cut")

    again = read(chips, tmp_path, out="again", fit=MEMBERS)
    with pytest.raises(RuntimeError, match="power cut"):
        train(again, on_epoch=stop)
    rest = []
    train(again, resume=True, on_epoch=rest.append)
    assert {e.model for e in rest} == {"brightest-2"}
    one, other = (create_model(str(folder)).module.state_dict() for folder in (whole, tmp_path / "again"))
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ("[[member]]\n", "one .* is no ensemble"),
        ("[[member]]\n[[member]]\n", "Two members are the same"),
        ("[[member]]\n[[member]]\nfitt = { seed = 1 }\n", "member.fitt: did you mean fit"),
        ("[[member]]\n[[member]]\nfit = { sed = 1 }\n", "member: fit.sed"),
        ("[[member]]\n[[member]]\ndata = { root = 'x' }\n", "member.data"),
        ("[[member]]\n[[member]]\nloss = { name = 'dice' }\n", "must be a list of tables"),
        (
            "[[member]]\n[[member]]\nnetwork = { hyperparameters = { width = 16 } }\n",
            "differ in hyperparameters",
        ),
        ("[[member]]\n[[member]]\nnetwork = { family = 'context-mlp' }\n", "context-mlp has no 'depth'"),
        ("[[member]]\n[[member]]\nnetwork = { tile_multiple = 24 }\n", "multiple of"),
        (
            "pixels_per_image = 9\n[[member]]\nnetwork = { family = 'context-mlp', hyperparameters = { width = 8 } }\n"
            "[[member]]\n",
            "small-unet cannot",
        ),
        (
            "[[member]]\n[[member]]\nloss = [{ name = 'weighted-cross-entropy', weights = [1, 2] }]\n",
            "2 values for 4 classes",
        ),
        (
            "[distill]\nteachers = ['none.onnx']\n[[member]]\n[[member]]\nfit = { seed = 1 }\n",
            "no file none.onnx",
        ),
        ("[start]\nmodel = 'none'\n[[member]]\n[[member]]\nfit = { seed = 1 }\n", "has no weights"),
        ("[[member]]\n[[member]]\nfit = { batch_size = 99 }\n", "no batch of 99"),
    ],
)
def test_members_that_cannot_be_joined_are_refused_before_any_training(chips, tmp_path, members, message):
    with pytest.raises(GeosegError, match=message):
        train(read(chips, tmp_path, fit=f"{FEW}\n{members}"))
    assert not (tmp_path / "model.run").exists()


def test_places_held_back_by_share_are_those_of_the_card(chips, tmp_path):
    text = recipe_text(chips, fit=FEW).replace("[network]", "val_share = 0.25\n[network]")
    (tmp_path / "recipe.toml").write_text(text)
    out = train(
        TrainRecipe.read(str(tmp_path / "recipe.toml")).model_copy(update={"out": str(tmp_path / "model")})
    )
    card = (out / "card.md").read_text()
    assert "12 images of 6 places" in card
    assert "2 places that it has not learned from (25% of the places of train)" in card


def test_a_mean_over_the_last_epochs_is_of_trained_weights(chips, tmp_path):
    fit = "epochs = 5\nsteps_per_epoch = 12\nbatch_size = 4\nlearning_rate = 0.02\naveraging = 'swa'"
    told = []
    train(read(chips, tmp_path, fit=fit), on_epoch=told.append)
    assert len({e.val_miou for e in told}) > 3, "what is validated changes from the first epoch on"
    assert max(e.val_miou for e in told[2:]) > told[0].val_miou
