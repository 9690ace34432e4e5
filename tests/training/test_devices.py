"""Several devices: processes on the CPU here, as nothing of geoseg has run on several GPUs yet."""

import pytest
import torch
from conftest import recipe_text

from geoseg.models.zoo import create_model
from geoseg.training.data import EpochSampler
from geoseg.training.fitting import train
from geoseg.training.recipe import TrainRecipe


@pytest.mark.lane
def test_two_processes_train_one_model(chips, tmp_path):
    fit = "epochs = 2\nsteps_per_epoch = 3\nbatch_size = 4\nlearning_rate = 0.02\ndevices = 2"
    (tmp_path / "recipe.toml").write_text(recipe_text(chips, fit=fit))
    recipe = TrainRecipe.read(str(tmp_path / "recipe.toml"))
    models = {}
    for name, devices in (("two", 2), ("again", 2), ("one", 1)):
        own = recipe.model_copy(
            update={
                "out": str(tmp_path / name),
                "fit": recipe.fit.model_copy(update={"devices": devices}),
            }
        )
        models[name] = create_model(str(train(own))).module.state_dict()
        assert (tmp_path / name / "card.md").exists()
        assert len((tmp_path / name / "metrics.csv").read_text().splitlines()) == 3
    assert all(torch.equal(models["two"][k], models["again"][k]) for k in models["two"])
    assert any(not torch.equal(models["two"][k], models["one"][k]) for k in models["two"])


def test_each_process_draws_images_of_its_own(monkeypatch):
    import numpy as np

    weights = np.full(50, 1 / 50)
    alone = list(EpochSampler(weights, 40, seed=1))
    drawn = []
    for rank in (0, 1):
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        drawn.append(list(EpochSampler(weights, 40, seed=1)))
    assert drawn[0] == alone
    assert drawn[1] != alone
