"""The whole loop: it learns, it can be killed, and what it leaves is a model folder."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from builders import smooth
from conftest import recipe_text, write_chips
from safetensors.torch import load_file

from geoseg.errors import ModelError, TrainingError
from geoseg.evaluation.labelled import benchmark_of
from geoseg.models.zoo import create_model
from geoseg.training.fitting import train
from geoseg.training.material import card_for
from geoseg.training.recipe import TrainRecipe

ROOT = Path(__file__).parents[2]
FEW = "epochs = 4\nbatch_size = 4\nlearning_rate = 0.01\nema_decay = 0.3"


def read(chips, folder, **options):
    (folder / "recipe.toml").write_text(recipe_text(chips, **options))
    return TrainRecipe.read(str(folder / "recipe.toml")).model_copy(update={"out": str(folder / "model")})


def geoseg(*args):
    return [sys.executable, "-c", "from geoseg.cli.main import run; run()", *map(str, args)]


def test_the_loop_learns(chips, tmp_path):
    fit = "epochs = 12\nsteps_per_epoch = 16\nbatch_size = 4\nlearning_rate = 0.02\nema_decay = 0.9"
    told = []
    out = train(read(chips, tmp_path, fit=fit), on_epoch=told.append)
    assert told[0].val_miou < 0.6
    assert max(e.val_miou for e in told) > 0.75, "test_families_learn, a lane, goes on to 0.95"
    assert [e.number for e in told] == list(range(1, 13))
    assert {p.name for p in out.iterdir()} == {
        "item.json",
        "weights.safetensors",
        "card.md",
        "curves.png",
        "metrics.csv",
        "recipe.json",
    }
    assert not (tmp_path / "model.run").exists()
    card = create_model(str(out)).card
    assert (card.name, card.gsd_m, len(card.legend.classes)) == ("brightest", 10, 4)
    text = (out / "card.md").read_text()
    assert "16 images of 8 places" in text
    assert "4 places that it has not learned from" in text
    assert all(f"\n- **{what}** " in text for what in ("Takes", "Gives", "Network", "Learned from", "Data"))
    assert text.count("too few places") == 4 + 4, "of four scores and of four classes"
    scores = pd.read_csv(out / "metrics.csv")
    scored = float(text.split("| miou | ")[1].split()[0])
    assert scored <= scores.val_miou.max() + 5e-4, "a map has no class where the image has no value"
    assert scored == pytest.approx(scores.val_miou.max(), abs=0.01), "the epoch that was best is kept"


@pytest.mark.lane
def test_killed_and_resumed_gives_the_same_weights(chips, tmp_path):
    whole = train(read(chips, tmp_path, fit=FEW))
    killed = tmp_path / "killed"
    again = geoseg("train", tmp_path / "recipe.toml", "--out", killed)
    process = subprocess.Popen(again, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("2/4"):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not killed.exists()
    recipe = TrainRecipe.read(str(tmp_path / "recipe.toml")).model_copy(update={"out": str(killed)})
    with pytest.raises(TrainingError, match=r"holds an interrupted training. Give --resume"):
        train(recipe)
    resumed = subprocess.run([*again, "--resume"], capture_output=True, text=True, timeout=300)
    assert resumed.returncode == 0, resumed.stderr
    assert "1/4" not in resumed.stderr
    one, other = (load_file(folder / "weights.safetensors") for folder in (whole, killed))
    assert one.keys() == other.keys()
    assert all((one[key] == other[key]).all() for key in one)
    curves = [pd.read_csv(folder / "metrics.csv") for folder in (whole, killed)]
    assert curves[0].epoch.tolist() == curves[1].epoch.tolist() == [1, 2, 3, 4]
    assert curves[0].val_miou.idxmax() >= 2, "what is kept was learned after the kill"
    assert np.allclose(curves[0], curves[1], rtol=0, atol=1e-7)


def test_another_recipe_is_not_resumed(chips, tmp_path):
    recipe = read(chips, tmp_path, fit=FEW)
    run = tmp_path / "model.run"
    run.mkdir()
    (run / "recipe.json").write_text("{}")
    with pytest.raises(TrainingError, match="another recipe"):
        train(recipe, resume=True)
    (tmp_path / "model").mkdir()
    with pytest.raises(ModelError, match="exists already"):
        train(recipe)


def test_places_in_both_splits_are_refused(chips, tmp_path):
    recipe = read(chips, tmp_path, fit=FEW)
    leaky = recipe.model_copy(update={"data": recipe.data.model_copy(update={"val_split": "train"})})
    with pytest.raises(TrainingError, match=r"8 places .* are learned from and validated on"):
        train(leaky)


def images_of_sides(folder, *sides):
    """As chips, the first of which validates."""
    folder.mkdir()
    images = [(smooth(n, (side, side)), smooth(n, (side, side)).argmax(0)) for n, side in enumerate(sides)]
    rows = [{"n": n, "place": n, "split": "train" if n else "val"} for n in range(len(sides))]
    return write_chips(folder, "sides", images, rows)


def test_sizes_that_make_no_batch_are_refused_before_anything_is_learned(tmp_path):
    uneven = images_of_sides(tmp_path / "chips", 32, 32, 64, 64)
    recipe = read(uneven, tmp_path, fit="epochs = 1\nbatch_size = 2")
    message = r"of 2 sizes \(32 x 32, 64 x 64\).*Give augment.crop"
    with pytest.raises(TrainingError, match=message):
        train(recipe)
    with pytest.raises(TrainingError, match=message):
        train(recipe.model_copy(update={"member": ({}, {"fit": {"seed": 1}}), "out": str(tmp_path / "two")}))
    assert not (tmp_path / "two.run").exists()
    cut = recipe.model_copy(update={"augment": recipe.augment.model_copy(update={"crop": 32})})
    assert train(cut.model_copy(update={"out": str(tmp_path / "cut")})).exists()


def test_images_that_are_no_whole_tiles_are_filled_up(tmp_path):
    recipe = read(images_of_sides(tmp_path / "chips", 40, 40, 40), tmp_path, fit="epochs = 1\nbatch_size = 2")
    assert train(recipe).exists()


def test_a_halo_that_no_map_could_be_made_with_is_refused(chips, tmp_path):
    """Before anything is learned; left out, it fits the tile."""
    recipe = read(chips, tmp_path, fit=FEW)

    def card(**network):
        changed = recipe.model_copy(update={"network": recipe.network.model_copy(update=network)})
        return card_for(changed, benchmark_of(str(chips / "chips.toml")))

    with pytest.raises(
        TrainingError, match=r"halo = 17 is too wide .* 64: .* 16 or less, or tiles of 96 or more"
    ):
        card(halo=17)
    assert [card(halo=None, tile_size=side).halo for side in (64, 128, 256, 512)] == [16, 32, 64, 64]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fit": "epoks = 3"}, "unknown key fit.epoks.*epochs"),
        ({"extra": "titel = 'x'"}, "unknown key titel.*title"),
        ({"fit": "epochs = 0"}, "fit.epochs"),
        ({"fit": FEW + '\n[[loss]]\nname = "crossentropy"'}, "cross-entropy"),
        ({"fit": FEW + '\n[[loss]]\nname = "evidential"'}, "go together"),
    ],
)
def test_a_wrong_recipe_is_told_what_is_wrong(chips, tmp_path, options, message):
    with pytest.raises(TrainingError, match=message):
        read(chips, tmp_path, **options)


def test_data_and_models_beside_the_recipe_are_found_there(chips, tmp_path):
    (tmp_path / "near").mkdir()
    tables = '[start]\nmodel = "near"\n[distill]\nteachers = ["near", "dynamic-world"]\n'
    recipe = read(chips, tmp_path, fit=f"{FEW}\n{tables}")
    assert recipe.start.model == recipe.distill.teachers[0] == str(tmp_path / "near")
    assert recipe.distill.teachers[1] == "dynamic-world"
