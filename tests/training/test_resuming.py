"""What a broken training goes on from: its end, its best epoch, its recipe, its random numbers."""

import json
import shutil

import pandas as pd
import pytest
import torch
from conftest import recipe_text

from geoseg.errors import TrainingError
from geoseg.training import fitting
from geoseg.training.data import seed_of
from geoseg.training.fitting import train
from geoseg.training.module import Segmenter
from geoseg.training.recipe import TrainRecipe
from geoseg.training.trainer import BEST

TINY = "steps_per_epoch = 1\nbatch_size = 2\n"


def read(chips, folder, fit, out="model", **options):
    (folder / "recipe.toml").write_text(recipe_text(chips, fit=TINY + fit, options="width = 4, depth = 2"))
    return TrainRecipe.read(str(folder / "recipe.toml")).model_copy(update={"out": str(folder / out)})


def falling(self):
    """Scores that are best after the first epoch."""
    self.log("val_miou", 1.0 / (1 + self.current_epoch))
    self.log("val_accuracy", 0.5)


def broken(*args, **options):
    raise RuntimeError("power cut")


def test_a_training_that_patience_ended_stays_ended(chips, tmp_path, monkeypatch):
    monkeypatch.setattr(Segmenter, "on_validation_epoch_end", falling)
    recipe = read(chips, tmp_path, "epochs = 9\npatience = 2")
    with monkeypatch.context() as power:
        power.setattr(fitting, "_finish", broken)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="power cut"):
                train(recipe, resume=True)
    assert pd.read_csv(train(recipe, resume=True) / "metrics.csv").epoch.tolist() == [1, 2, 3]


def test_a_run_folder_that_was_moved_keeps_its_best_epoch(chips, tmp_path, monkeypatch):
    monkeypatch.setattr(Segmenter, "on_validation_epoch_end", falling)
    there = tmp_path / "there"
    there.mkdir()

    def stop(epoch):
        if epoch.number == 2:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train(read(chips, tmp_path, "epochs = 3"), on_epoch=stop)
    before = torch.load(tmp_path / "model.run" / BEST, weights_only=True)["state_dict"]
    shutil.move(tmp_path / "model.run", there / "other.run")
    kept = {}
    monkeypatch.setattr(fitting, "_best_model", lambda s, c, path: kept.update(path=path) or broken())
    with pytest.raises(RuntimeError, match="power cut"):
        train(read(chips, tmp_path, "epochs = 3", out="there/other"), resume=True)
    assert kept["path"] == there / "other.run" / BEST
    after = torch.load(kept["path"], weights_only=True)
    assert after["epoch"] == 0
    assert all(torch.equal(before[key], after["state_dict"][key]) for key in before)


def test_a_recipe_that_differs_is_told_by_its_keys(chips, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "_finish", broken)
    with pytest.raises(RuntimeError, match="power cut"):
        train(read(chips, tmp_path, "epochs = 1"))
    other = read(chips, tmp_path, "epochs = 1\nseed = 4\nclip = 2.0\nwarmup = 0.3\nlearning_rate = 0.1")
    with pytest.raises(
        TrainingError, match=r"another recipe .*fit\.clip, fit\.learning_rate, fit\.seed and 1 more"
    ):
        train(other, resume=True)
    there = tmp_path / "model.run" / "recipe.json"
    old = json.loads(there.read_text())
    del old["fit"]["clip"], old["augment"]["match"], old["beside"]  # as a version without these keys wrote it
    there.write_text(json.dumps(old))
    with pytest.raises(RuntimeError, match="power cut"):
        train(read(chips, tmp_path, "epochs = 1"), resume=True)


@pytest.mark.parametrize("seed", [20261128, 2**63, 0])
def test_any_seed_will_do(chips, tmp_path, seed):
    assert train(read(chips, tmp_path, f"epochs = 1\nseed = {seed}")).exists()


def test_no_two_batches_have_one_seed():
    every = [seed_of(s, e, r, b) for s in range(3) for e in range(3) for r in range(3) for b in range(1100)]
    assert len(set(every)) == len(every)
    assert 0 <= min(every) <= max(every) < 2**63
