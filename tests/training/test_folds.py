"""Folds: a network for each share of the places, one model, and scores by those that have not seen a place."""

import json

import numpy as np
import pytest
import torch
from conftest import recipe_text

from geoseg.errors import GeosegError
from geoseg.evaluation.benchmark_images import Part, image_and_labels, labelled_samples, plan_for
from geoseg.evaluation.benchmark_run import Task, score_benchmark
from geoseg.evaluation.confidence.measuring import CalibrationTask, measure
from geoseg.evaluation.labelled import benchmark_of
from geoseg.inference.predictor import predict
from geoseg.models.ensemble import Ensemble
from geoseg.models.zoo import create_model
from geoseg.training.data import read_splits
from geoseg.training.fitting import train
from geoseg.training.recipe import TrainRecipe
from geoseg.training.tables import Data

N_FOLDS = 3
MLP = {"family": "context-mlp", "options": "width = 16, dropout = 0.0"}


def text(chips, **options):
    whole = recipe_text(chips, **MLP, **options)
    return whole.replace("[network]", f'train_split = "train,val"\nfolds = {N_FOLDS}\n[network]')


@pytest.fixture(scope="module")
def folder(chips, tmp_path_factory):
    where = tmp_path_factory.mktemp("folds")
    fit = "epochs = 3\nbatch_size = 4\npixels_per_image = 200\nlearning_rate = 0.02\nema_decay = 0.3"
    (where / "recipe.toml").write_text(text(chips, fit=fit))
    recipe = TrainRecipe.read(str(where / "recipe.toml"))
    return train(recipe.model_copy(update={"out": str(where / "model")}))


@pytest.mark.parametrize("n_folds", [2, 3, 12])
def test_each_place_is_held_back_once_and_never_learned_from_then(chips, n_folds):
    data = Data(benchmark=str(chips / "chips.toml"), root=str(chips), train_split="train,val", folds=n_folds)
    every = set(read_splits(data)[0].places)
    held = []
    for fold in range(n_folds):
        learned, validated = read_splits(data.model_copy(update={"fold": fold}))
        assert set(learned.places) | set(validated.places) == every
        assert not set(learned.places) & set(validated.places)
        held += sorted(set(validated.places))
    assert sorted(held) == sorted(every)
    assert len(every) == 12


def test_folds_become_one_model_that_knows_who_has_seen_what(chips, folder):
    model = create_model(str(folder))
    assert isinstance(model.module, Ensemble)
    assert len(model.module.members) == N_FOLDS
    folds = json.loads((folder / "folds.json").read_text())
    assert folds["benchmark"] == "brightest"
    assert len(folds["member"]) == 12
    assert set(folds["member"].values()) == set(range(N_FOLDS))
    card = (folder / "card.md").read_text()
    assert (
        "12 places that it has not learned from (each by the one network that has not, of 3 shares)" in card
    )
    assert "20 images of 12 places (split train,val)" in card


def test_scores_are_of_the_networks_that_have_not_seen_the_place(chips, folder):
    benchmark, model = benchmark_of(str(chips / "chips.toml")), create_model(str(folder))
    part = Part(str(chips / "chips.toml"), chips, "train,val")
    scored = score_benchmark(Task(part, str(folder))).scores
    member = json.loads((folder / "folds.json").read_text())["member"]
    matrix = np.zeros((4, 4), np.int64)
    for sample in labelled_samples(benchmark, part):
        image, labels = image_and_labels(sample, benchmark, model.card)
        alone = type(model)(model.module.members[member[sample.place]], model.card)
        found = predict(image, model=alone, plan=plan_for(image, model.card)).class_id.to_numpy()
        known = (labels < 4) & (found < 4)
        np.add.at(matrix, (labels[known], found[known]), 1)
    assert np.array_equal(np.array(scored.confusion), matrix)
    assert any("learned from 12 of the places" in note for note in scored.notes)


def test_calibration_asks_the_networks_that_have_not_seen_the_place(chips, folder, monkeypatch):
    asked = []

    def spy(image, *, model, plan, how):
        asked.append(type(model.module).__name__)
        return predict_probs(image, model=model, plan=plan, how=how)

    from geoseg.evaluation.confidence import measuring

    predict_probs = measuring.predict_probs
    monkeypatch.setattr(measuring, "predict_probs", spy)
    part = Part(str(chips / "chips.toml"), chips, "train,val")
    found = measure(CalibrationTask(part, str(folder)))
    assert len(asked) == 20
    assert "Ensemble" not in asked
    assert found.coverage is not None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("fold = 3", "data.fold is 3: give a number below data.folds, 3"),
        ("val_share = 0.2", "leave out val_split and val_share"),
        ('val_split = "val"', "leave out val_split and val_share"),
    ],
)
def test_folds_that_do_not_fit_are_one_line(chips, tmp_path, wrong, message):
    path = tmp_path / "recipe.toml"
    path.write_text(text(chips).replace("folds = 3", f"folds = 3\n{wrong}"))
    with pytest.raises(GeosegError, match=message):
        TrainRecipe.read(str(path))


def test_members_go_round_the_folds(chips, tmp_path):
    path = tmp_path / "recipe.toml"
    seeds = "".join(f"[[member]]\nfit = {{ seed = {n} }}\n" for n in range(6))
    path.write_text(text(chips, fit=seeds))
    assert [member.data.fold for member in TrainRecipe.read(str(path)).members] == [0, 1, 2, 0, 1, 2]
    path.write_text(text(chips, fit=seeds[: seeds.index("[[", seeds.index("= 1"))]))
    with pytest.raises(GeosegError, match=r"2 .* tables for 3 folds"):
        TrainRecipe.read(str(path))


def test_pixels_that_teach_are_asked_as_in_the_whole_image():
    from geoseg.models.zoo import FAMILIES, create_model

    card = create_model("spectral-rules").card.model_copy(
        update={"family": "context-mlp", "hyperparameters": {"width": 16}}
    )
    network = FAMILIES["context-mlp"](card).eval()
    pixels, at = torch.rand(2, 4, 48, 40), torch.randint(0, 48 * 40, (2, 30))
    whole, some = network(pixels), network.at(pixels, at)
    assert some.shape == (2, len(card.legend.classes), 30, 1)
    expected = whole.flatten(2).gather(2, at[:, None].expand(-1, whole.shape[1], -1))
    assert torch.allclose(some[..., 0], expected, atol=1e-5)


def test_a_network_that_cannot_be_asked_for_some_pixels_is_refused(chips, tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_text(chips, fit="pixels_per_image = 100"))
    recipe = TrainRecipe.read(str(path)).model_copy(update={"out": str(tmp_path / "model")})
    with pytest.raises(GeosegError, match=r"pixels_per_image.*small-unet"):
        train(recipe)


def test_norms_that_are_adapted_see_whole_tiles(folder, monkeypatch):
    from geoseg.models import context
    from geoseg.training.norms import adapted

    model = create_model(str(folder))
    ramp = np.linspace(0, 1, 64, dtype=np.float32)[:, None].repeat(64, 1)
    tiles = [np.stack([ramp * (band + 1) / 4 + n / 50 for band in range(4)]) for n in range(4)]
    states = []
    for strip in (64, 10**9):
        monkeypatch.setattr(context, "_STRIP", strip)
        states.append(adapted(model, tiles).module.state_dict())
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def test_a_map_in_strips_is_the_map(folder, monkeypatch):
    from geoseg.models import context

    model, pixels = create_model(str(folder)), torch.rand(1, 4, 64, 64)
    found = []
    for strip in (64 * 5, 10**9):
        monkeypatch.setattr(context, "_STRIP", strip)
        with torch.no_grad():
            found.append(model.module(pixels))
    assert torch.equal(*found)


def test_networks_of_an_ensemble_share_features_and_say_what_they_say_alone(folder):
    model, pixels = create_model(str(folder)).module, torch.rand(1, 4, 64, 64)
    with torch.no_grad():
        together = model.member_logits(pixels)
        alone = torch.stack([member(pixels) for member in model.members])
    assert torch.equal(together, alone)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights_sha256": "0" * 64}, "other weights"),
        ({"member": {"1": -1}}, "expected 0 or more"),
        ({"member": {"1": 9}}, "names network 9, but it has 3"),
    ],
)
def test_folds_of_another_model_are_refused(chips, folder, tmp_path, change, message):
    import shutil

    there = tmp_path / "model"
    shutil.copytree(folder, there)
    own = json.loads((there / "folds.json").read_text()) | change
    (there / "folds.json").write_text(json.dumps(own))
    part = Part(str(chips / "chips.toml"), chips, "val")
    with pytest.raises(GeosegError, match=message):
        score_benchmark(Task(part, str(there)))


@pytest.mark.parametrize("split", ["train,", "train,train", ",val"])
def test_splits_are_named_once_each(chips, split):
    with pytest.raises(GeosegError, match="name each once"):
        labelled_samples(benchmark_of(str(chips / "chips.toml")), Part("x", chips, split))
