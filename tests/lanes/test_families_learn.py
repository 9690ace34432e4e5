"""Each family of networks, trained on sixteen chips by the whole loop, learns them by heart."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from builders import BANDS, geobox_at, write_image

from geoseg.models.zoo import FAMILIES
from geoseg.training.fitting import train
from geoseg.training.recipe import TrainRecipe

sys.path.append(str(Path(__file__).parents[1] / "training"))
from conftest import recipe_text

SIDE, BLOCK, N = 64, 32, 16
NETWORKS = {
    "small-unet": "width = 16, depth = 3",
    "context-mlp": "width = 64, dropout = 0.0, noise = 0.0",
    "unet": 'encoder_name = "resnet18"',
    "deeplabv3plus": 'encoder_name = "resnet18"',
}
WITHOUT = {"spectral-rules", "spectral-rules-vnir", "ensemble", "dynamic-world"}
"""No weights, networks of these, and one whose weights others trained (its network is trained here too)."""

pytestmark = pytest.mark.lane


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    """Sixteen chips of squares; the same again under other places, to validate on."""
    folder = tmp_path_factory.mktemp("heart")
    rng, rows = np.random.default_rng(0), []
    colours = rng.uniform(0.05, 0.5, (len(BANDS), len(BANDS)))
    for n in range(N):
        labels = rng.integers(0, len(BANDS), (SIDE // BLOCK,) * 2).repeat(BLOCK, 0).repeat(BLOCK, 1)
        pixels = colours[labels].transpose(2, 0, 1) + rng.normal(0, 0.02, (len(BANDS), SIDE, SIDE))
        write_image(folder / f"{n}.tif", pixels, geobox_at(height=SIDE, width=SIDE))
        profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "height": SIDE, "width": SIDE}
        with rasterio.open(folder / f"{n}-labels.tif", "w", **profile) as sink:
            sink.write(labels.astype(np.uint8), 1)
        rows += [{"n": n, "place": f"{split}{n}", "split": split} for split in ("train", "val")]
    with (folder / "index.csv").open("w", newline="") as sink:
        table = csv.DictWriter(sink, ["n", "place", "split"])
        table.writeheader()
        table.writerows(rows)
    classes = "".join(
        f'[[classes]]\nname = "{band}"\ncolor_hint = "1F78B{n}"\nvalues = [{n}]\n'
        for n, band in enumerate(BANDS)
    )
    (folder / "chips.toml").write_text(
        f'name = "heart"\nbands = {list(BANDS)}\ngsd_m = 10\nscale = 0.0001\nnodata = 0\nindex = "index.csv"\n'
        'images = "{n}.tif"\nlabels = "{n}-labels.tif"\nplace = "place"\nsplit = "split"\n'
        f'splits = ["val", "train"]\n{classes}'
    )
    return folder


def test_every_family_is_here():
    assert {*NETWORKS, *WITHOUT} == set(FAMILIES)


@pytest.mark.parametrize("family", NETWORKS)
def test_sixteen_chips_are_learned_by_heart(family, chips, tmp_path):
    fit = "epochs = 12\nsteps_per_epoch = 16\nbatch_size = 8\nlearning_rate = 0.005\nema_decay = 0.9"
    text = recipe_text(chips, name="heart", family=family, options=NETWORKS[family], fit=fit)
    (tmp_path / "recipe.toml").write_text(text)
    recipe = TrainRecipe.read(str(tmp_path / "recipe.toml")).model_copy(
        update={"out": str(tmp_path / "model")}
    )
    told = []
    train(recipe, on_epoch=told.append)
    assert max(epoch.val_miou for epoch in told) > 0.95
