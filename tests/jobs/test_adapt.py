"""Norms that know other imagery."""

import numpy as np
import pytest
import torch
from builders import BANDS, geobox_at, model_folder, smooth, write_image

from geoseg.errors import ModelError
from geoseg.jobs.adapt import adapt
from geoseg.models.zoo import create_model, normalise
from geoseg.recipe import Recipe
from geoseg.training.norms import adapted


def test_an_image_gives_its_statistics_to_the_norms_and_weights_stay(tmp_path):
    folder = model_folder(tmp_path / "model")
    image = write_image(tmp_path / "scene.tif", smooth(1, (200, 150)) + 0.2, geobox_at(height=200, width=150))
    recipe = Recipe(image=(str(image),), bands=BANDS, scale=(0.0001,), offset=(0.0,), model=str(folder))
    adapt(recipe, tmp_path / "out")
    before, after = (create_model(str(f)).module.state_dict() for f in (folder, tmp_path / "out"))
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed
    assert all("running" in key or "num_batches" in key for key in changed)
    with pytest.raises(ModelError, match="exists already"):
        adapt(recipe, tmp_path / "out")


def test_the_tiles_that_the_norms_came_from_are_standard_after_them(tmp_path):
    model = create_model(str(model_folder(tmp_path / "model")))
    tiles = [smooth(seed, (64, 64)) * 2 + 0.3 * seed for seed in range(6)]
    found = adapted(model, tiles)
    seen = []
    norm = next(m for m in found.module.modules() if isinstance(m, torch.nn.BatchNorm2d))
    norm.register_forward_hook(lambda module, given, output: seen.append((given[0], module)))
    with torch.no_grad():
        for tile in tiles:
            found.module(normalise(torch.from_numpy(tile)[None], found.card))
    inputs = torch.cat([x for x, _ in seen])
    assert norm.running_mean.numpy() == pytest.approx(inputs.mean((0, 2, 3)).numpy(), abs=1e-4)
    assert norm.running_var.numpy() == pytest.approx(inputs.var((0, 2, 3)).numpy(), rel=1e-3)
    with pytest.raises(ModelError, match="No tile"):
        adapted(model, [])
    with pytest.raises(ModelError, match="no batch norms"):
        adapted(create_model("spectral-rules"), [np.zeros((4, 8, 8), np.float32)])
