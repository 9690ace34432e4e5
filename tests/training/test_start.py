"""Weights to begin with: other bands, frozen parts, low-rank steps."""

import numpy as np
import pytest
import torch
from builders import network
from conftest import recipe_text
from safetensors.torch import load_file

from geoseg.errors import TrainingError
from geoseg.legend import Legend
from geoseg.models.zoo import FAMILIES, create_model, save_model
from geoseg.training.fitting import train
from geoseg.training.recipe import TrainRecipe
from geoseg.training.start import begin, fit_stem, settle
from geoseg.training.tables import Start

RGB = ("red", "green", "blue")
SIX = ("blue", "green", "red", "nir08", "swir16", "swir22")


@pytest.fixture
def rgb(tmp_path):
    """A trained network for red, green and blue, in a folder."""
    model = network("unet", encoder_name="resnet18", bands=RGB)
    save_model(model, tmp_path / "rgb")
    return tmp_path / "rgb", model


def fresh(bands, family="unet", **options):
    torch.manual_seed(3)
    card = network(family, bands=bands, **options).card
    return FAMILIES[family](card), card


@pytest.mark.parametrize("stem", ["mean", "cycle", "zero"])
def test_a_stem_keeps_the_size_of_what_grey_pixels_give(stem):
    weight = torch.randn(8, 3, 7, 7)
    fitted = fit_stem(weight, RGB, SIX, stem)
    assert fitted.shape == (8, 6, 7, 7)
    assert torch.allclose(fitted.sum(1), weight.sum(1), atol=1e-5)


def test_stems_are_what_their_names_say():
    weight = torch.randn(2, 3, 1, 1)
    assert torch.equal(fit_stem(weight, RGB, SIX, "cycle")[:, 3:], fit_stem(weight, RGB, SIX, "cycle")[:, :3])
    assert torch.equal(fit_stem(weight, RGB, SIX, "zero")[:, :3], weight[:, [2, 1, 0]])
    assert not fit_stem(weight, RGB, SIX, "zero")[:, 3:].any()
    with pytest.raises(TrainingError, match="None of nir08 is a band"):
        fit_stem(weight, RGB, ("nir08",), "zero")


def test_weights_are_taken_and_the_first_layer_is_fitted(rgb):
    folder, model = rgb
    own, card = fresh(SIX, encoder_name="resnet18")
    own, left = begin(own, card, Start(model=str(folder), stem="cycle"))
    assert left == ()
    mine, theirs = own.state_dict(), model.module.state_dict()
    assert [k for k in theirs if mine[k].shape != theirs[k].shape] == ["encoder.conv1.weight"]
    assert all(torch.equal(mine[k], theirs[k]) for k in theirs if k != "encoder.conv1.weight")


def test_a_learned_projection_begins_as_the_bands_it_knows_and_ends_as_plain_weights(rgb):
    folder, model = rgb
    own, card = fresh(SIX, encoder_name="resnet18")
    own, _ = begin(own, card, Start(model=str(folder), stem="projection"))
    pixels = torch.randn(1, 6, 64, 64)
    own.eval()
    with torch.no_grad():
        expected = model.module(pixels[:, [2, 1, 0]])
        assert torch.allclose(own(pixels), expected, atol=1e-4)
    own(pixels).sum().backward()
    names = [name for name, p in own.named_parameters() if p.grad is not None and "mix" in name]
    assert len(names) == 1
    settled = settle(own)
    with torch.no_grad():
        assert torch.allclose(settled(pixels), expected, atol=1e-4)
    assert set(settled.state_dict()) == set(model.module.state_dict())


def test_low_rank_steps_begin_as_the_model_and_end_as_plain_weights(rgb):
    folder, model = rgb
    own, card = fresh(RGB, encoder_name="resnet18")
    own, _ = begin(own, card, Start(model=str(folder), lora_rank=2))
    n_trained = sum(p.numel() for p in own.parameters() if p.requires_grad)
    assert 0 < n_trained < 0.1 * sum(p.numel() for p in model.module.parameters())
    own.eval()
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(own(pixels), model.module(pixels), atol=1e-4)
        for name, p in own.named_parameters():
            if "lora_B" in name:
                p.add_(0.05 * torch.randn_like(p))
        moved = own(pixels)
        assert not torch.allclose(moved, model.module(pixels), atol=1e-3)
        settled = settle(own)
        assert torch.allclose(settled(pixels), moved, atol=1e-3)
    assert set(settled.state_dict()) == set(model.module.state_dict())


def test_heads_of_other_classes_begin_fresh_at_all_scales(tmp_path):
    options = {"width": 3, "depth": 4, "deep_supervision": True}  # some inner layers have 3 outputs too
    model = network("small-unet", **options)
    save_model(model, tmp_path / "theirs")
    own, card = fresh(model.card.bands, family="small-unet", **options)
    legend = Legend.of(third="D7191C", second="33A02C", first="1F78B4")
    _, left = begin(own, card.model_copy(update={"legend": legend}), Start(model=str(tmp_path / "theirs")))
    assert left == ("network.coarse_heads.0", "network.coarse_heads.1", "network.head")
    _, left = begin(own, card, Start(model=str(tmp_path / "theirs")))
    assert left == ()


def test_what_cannot_be_begun_with_is_said(rgb, tmp_path):
    own, card = fresh(RGB, encoder_name="resnet18")
    for start, message in (
        (Start(model=str(tmp_path / "none")), r"has no weights\.safetensors"),
        (Start(freeze=("encodr",)), r"no part 'encodr': did you mean encoder"),
        (Start(freeze=("encoder", "decoder", "segmentation_head")), "leaves nothing to train"),
    ):
        with pytest.raises(TrainingError, match=message):
            begin(own, card, start)
    other, other_card = fresh(RGB, family="small-unet", width=8, depth=2)
    with pytest.raises(TrainingError, match="is a unet, this network a small-unet"):
        begin(other, other_card, Start(model=str(rgb[0])))


@pytest.mark.parametrize("start", ['freeze = ["network.down"]', "lora_rank = 2"])
def test_what_is_frozen_stays_and_the_folder_is_plain(chips, tmp_path, start):
    fit = "epochs = 2\nbatch_size = 4\nlearning_rate = 0.01\nema_decay = 0.3"
    (tmp_path / "a.toml").write_text(recipe_text(chips, fit=fit))
    first = train(TrainRecipe.read(str(tmp_path / "a.toml")).model_copy(update={"out": str(tmp_path / "a")}))
    (tmp_path / "b.toml").write_text(recipe_text(chips, fit=f'{fit}\n[start]\nmodel = "{first}"\n{start}'))
    second = train(TrainRecipe.read(str(tmp_path / "b.toml")).model_copy(update={"out": str(tmp_path / "b")}))
    one, other = (load_file(folder / "weights.safetensors") for folder in (first, second))
    assert one.keys() == other.keys()
    changed = {k for k in one if not torch.allclose(one[k], other[k], rtol=0, atol=1e-6)}  # a mean of equals
    assert changed
    if "freeze" in start:
        assert not [k for k in changed if k.startswith("network.down")], "norms keep their statistics too"
    create_model(str(second))


def test_a_deeply_supervised_network_answers_at_all_scales_only_while_it_trains():
    model = network("small-unet", width=8, depth=4, deep_supervision=True)
    pixels = torch.randn(2, len(model.card.bands), 64, 64)
    assert model.module(pixels).shape[-2:] == (64, 64)
    model.module.train()
    assert [tuple(z.shape[-2:]) for z in model.module(pixels)] == [(64, 64), (32, 32), (16, 16)]
    model.module.eval()
    assert np.isfinite(model.module(pixels).numpy()).all()
