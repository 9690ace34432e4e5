"""Each family of networks, trained on sixteen chips by the whole loop, learns them by heart."""

import numpy as np
import pytest
from builders import BANDS
from conftest import recipe_text, write_chips

from geoseg.models.zoo import FAMILIES
from geoseg.training.fitting import train
from geoseg.training.recipe import TrainRecipe

SIDE, BLOCK, N = 64, 32, 16
NETWORKS = {
    "small-unet": "width = 16, depth = 3",
    "context-mlp": "width = 64, dropout = 0.0, noise = 0.0",
    "unet": 'encoder_name = "resnet18"',
    "deeplabv3plus": 'encoder_name = "resnet18"',
}
WITHOUT = {"spectral-rules", "spectral-rules-vnir", "ensemble", "dynamic-world", "onnx"}
"""No weights, networks of these, and one whose weights others trained (its network is trained here too)."""

pytestmark = pytest.mark.lane


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    """Sixteen chips of squares; the same again under other places, to validate on."""
    rng, images, rows = np.random.default_rng(0), [], []
    colours = rng.uniform(0.05, 0.5, (len(BANDS), len(BANDS)))
    for n in range(N):
        labels = rng.integers(0, len(BANDS), (SIDE // BLOCK,) * 2).repeat(BLOCK, 0).repeat(BLOCK, 1)
        pixels = colours[labels].transpose(2, 0, 1) + rng.normal(0, 0.02, (len(BANDS), SIDE, SIDE))
        images.append((pixels, labels))
        rows += [{"n": n, "place": f"{split}{n}", "split": split} for split in ("train", "val")]
    return write_chips(tmp_path_factory.mktemp("heart"), "heart", images, rows)


def test_every_family_is_here():
    assert {*NETWORKS, *WITHOUT} == set(FAMILIES)


@pytest.mark.parametrize("family", NETWORKS)
def test_sixteen_chips_are_learned_by_heart(family, squares, tmp_path):
    fit = "epochs = 12\nsteps_per_epoch = 16\nbatch_size = 8\nlearning_rate = 0.005\nema_decay = 0.9"
    text = recipe_text(squares, name="heart", family=family, options=NETWORKS[family], fit=fit)
    (tmp_path / "recipe.toml").write_text(text)
    recipe = TrainRecipe.read(str(tmp_path / "recipe.toml")).model_copy(
        update={"out": str(tmp_path / "model")}
    )
    told = []
    train(recipe, on_epoch=told.append)
    assert max(epoch.val_miou for epoch in told) > 0.95
