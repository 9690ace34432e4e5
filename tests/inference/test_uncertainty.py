"""Laws of uncertainty: it adds layers and changes nothing, each layer is its formula, cuts do not show."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from builders import as_image, geobox_at, measured, network, smooth
from law_models import one_tile
from rasterio.windows import Window
from torch import nn

from geoseg.errors import ModelError
from geoseg.grid.tiling import TilePlan, blocks_of
from geoseg.inference.predictor import predict, predict_probs
from geoseg.inference.runner import Inference
from geoseg.inference.uncertainty import _Dropped, _SeededDropout
from geoseg.legend import CONFIDENCE_SCALE
from geoseg.models.ensemble import ensemble_of
from geoseg.models.zoo import Model, create_model, normalise, save_model

SHAPE = (70, 90)
IMAGE = as_image(smooth(3, SHAPE), geobox_at(3, 5, height=SHAPE[0], width=SHAPE[1]))


def asked(*names, **more):
    return Inference(uncertainty=names, dropout_passes=3, **more)


def small(**options):
    """A small network with dropout."""
    return network("small-unet", **options)


def evidential(seed=0, **options):
    model = small(seed=seed, **options)
    return Model(model.module, model.card.model_copy(update={"activation": "evidential"}))


def members(**options):
    return [small(seed=seed, **options) for seed in range(3)]


def calibrated(model, **options):
    return Model(model.module, model.card, measured(None, len(model.card.legend.classes), **options))


MODELS = {
    "entropy": (small, "entropy"),
    "conformal": (lambda: calibrated(small()), "set_size"),
    "mc-dropout": (small, "epistemic"),
    "ensemble": (lambda: ensemble_of(members(), name="three"), "epistemic"),
    "evidential": (evidential, "epistemic"),
}
EACH = pytest.mark.parametrize("name", list(MODELS))


@EACH
def test_asking_adds_a_layer_and_changes_nothing(name):
    make, layer = MODELS[name]
    model = make()
    plain, more = predict(IMAGE, model=model), predict(IMAGE, model=model, how=asked(name))
    assert set(more) - set(plain) == {layer}
    for kept in plain:
        assert more[kept].values.tobytes() == plain[kept].values.tobytes()
    found = more[layer].values
    assert found.dtype == np.uint8
    assert len(np.unique(found)) > (1 if layer == "set_size" else 5)
    assert found.max() <= (len(model.card.legend.classes) if layer == "set_size" else 254)


@EACH
def test_blocks_and_nodata_do_not_show(name):
    make, layer = MODELS[name]
    model, how = make(), asked(name)
    image = IMAGE.copy()
    image[:, 20:30, 40:60] = np.nan
    whole = predict(image, model=model, how=how)[layer].values
    assert (whole[20:30, 40:60] == 255).all()
    assert (whole == 255).sum() == 200
    plan = TilePlan(image.odc.geobox, model.card.tile_size, model.card.halo)
    parts = np.zeros(SHAPE, np.uint8)
    for block in blocks_of(image.odc.geobox, 50):
        w = block.window
        at = np.s_[w.row_off : w.row_off + w.height, w.col_off : w.col_off + w.width]
        parts[at] = predict(image, model=model, plan=plan, window=w, how=how)[layer]
    assert parts.tobytes() == whole.tobytes()


def test_entropy_is_scipys_as_a_share_of_its_largest():
    model = small()
    probs = predict_probs(IMAGE, model=model)
    expected = scipy.stats.entropy(probs, axis=0) / np.log(3)
    found = predict(IMAGE, model=model, how=asked("entropy")).entropy.values * CONFIDENCE_SCALE
    assert found == pytest.approx(expected, abs=0.51 * CONFIDENCE_SCALE)


def test_layers_are_those_of_calibrated_probabilities():
    model = calibrated(small(), temperature=3.0)
    probs = model.calibration.probs(predict_probs(IMAGE, model=model).reshape(3, -1).T)
    found = predict(IMAGE, model=model, how=asked("entropy", "conformal"))
    assert found.confidence.values.ravel() * CONFIDENCE_SCALE == pytest.approx(probs.max(1), abs=0.002)
    entropy = scipy.stats.entropy(probs, axis=1) / np.log(3)
    assert found.entropy.values.ravel() * CONFIDENCE_SCALE == pytest.approx(entropy, abs=0.0021)
    assert (found.set_size.values.ravel() == (1 - probs.astype(float) <= 0.7).sum(1)).mean() > 0.999
    hot = predict(IMAGE, model=Model(model.module, model.card)).confidence.values
    assert (found.confidence.values <= hot).all()  # a temperature above 1 makes no pixel surer


def test_an_ensemble_is_the_mean_of_its_members_and_their_disagreement():
    models = members()
    each = np.stack([predict_probs(IMAGE, model=m) for m in models]).astype(float)
    ensemble = ensemble_of(models, name="three")
    assert predict_probs(IMAGE, model=ensemble) == pytest.approx(each.mean(0), abs=1e-5)
    image, models = one_tile(), members(halo=0)
    ensemble = ensemble_of(models, name="three")
    each = np.stack([predict_probs(image, model=m) for m in models]).astype(float)
    total = scipy.stats.entropy(each.mean(0), axis=0) - scipy.stats.entropy(each, axis=1).mean(0)
    found = predict(image, model=ensemble, how=asked("ensemble")).epistemic.values * CONFIDENCE_SCALE
    assert found == pytest.approx(total / np.log(3), abs=0.003)
    same = ensemble_of([models[0], models[0]], name="one")
    assert not predict(image, model=same, how=asked("ensemble")).epistemic.values.any()


def test_an_ensemble_is_a_model_folder(tmp_path):
    ensemble = ensemble_of(members(), name="three")
    save_model(ensemble, tmp_path)
    again = create_model(str(tmp_path))
    assert again.card.hyperparameters["members"] == 3
    assert (
        predict(IMAGE, model=again).identical(predict(IMAGE, model=ensemble))
        or (
            predict(IMAGE, model=again).class_id.values == predict(IMAGE, model=ensemble).class_id.values
        ).all()
    )


def test_members_must_be_alike():
    one, other = small(), network()
    with pytest.raises(ModelError, match="at least 2"):
        ensemble_of([one], name="x")
    both = ensemble_of([one, other], name="x")
    assert both.card.hyperparameters["member_family"] == f"{one.card.family},{other.card.family}"
    shifted = replace(other, card=other.card.model_copy(update={"mean": (0.2,) * len(other.card.bands)}))
    with pytest.raises(ModelError, match="differ in mean"):
        ensemble_of([one, shifted], name="x")
    with pytest.raises(ModelError, match="softmax"):
        ensemble_of([evidential(), evidential(1)], name="x")


def test_evidence_is_a_dirichlet_distribution():
    model, image = evidential(halo=0), one_tile()
    with torch.inference_mode():
        logits = model.module(normalise(torch.from_numpy(image.values)[None], model.card))[0].numpy()
    alpha = np.log1p(np.exp(logits.astype(float))) + 1
    assert predict_probs(image, model=model) == pytest.approx(alpha / alpha.sum(0), abs=1e-5)
    found = predict(image, model=model, how=asked("evidential")).epistemic.values * CONFIDENCE_SCALE
    assert found == pytest.approx(3 / alpha.sum(0), abs=0.51 * CONFIDENCE_SCALE)


@pytest.mark.parametrize(("kind", "is_elementwise"), [(nn.Dropout, True), (nn.Dropout2d, False)])
def test_dropped_are_as_many_as_said_and_the_mean_stays(kind, is_elementwise):
    dropout = _SeededDropout(0.3, is_elementwise, torch.Generator().manual_seed(0))
    x = torch.ones(2, 4000, 5, 5)
    y = dropout(x)
    share = (y == 0).float().mean().item()
    assert share == pytest.approx(0.3, abs=0.02)
    assert y.mean().item() == pytest.approx(1, abs=0.03)
    whole = (y == 0).flatten(2).float().mean(2)
    assert bool(((whole == 0) | (whole == 1)).all()) == (kind is nn.Dropout2d)
    assert y.unique().tolist() == pytest.approx([0, 1 / 0.7])


def test_dropout_leaves_the_network_as_it_is():
    model = small()
    dropped = _Dropped(model.module, model.card, 3)
    assert not any(isinstance(m, _SeededDropout) for m in model.module.modules())
    assert sum(isinstance(m, _SeededDropout) for m in dropped._module.modules()) == 5
    pixels = torch.rand(1, 4, 64, 64)
    first, again = (dropped(pixels, pixels[None], Window(0, 64, 64, 64)) for _ in range(2))
    elsewhere = dropped(pixels, pixels[None], Window(0, 128, 64, 64))
    assert torch.equal(first, again)
    assert not torch.equal(first, elsewhere)
    shared = {p.data_ptr() for p in model.module.parameters()}
    assert {p.data_ptr() for p in dropped._module.parameters()} == shared


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("conformal", "has no calibration.*geoseg calibrate"),
        ("mc-dropout", "has no dropout"),
        ("ensemble", "is a single network.*geoseg models ensemble"),
        ("evidential", "was trained with softmax"),
    ],
)
def test_what_a_model_cannot_say_is_refused(name, message):
    with pytest.raises(ModelError, match=message):
        predict(IMAGE, model=network(), how=asked(name))


def turned(image, quarters, is_mirrored):
    pixels = image.values[..., ::-1] if is_mirrored else image.values
    return image.copy(data=np.rot90(pixels, quarters, (-2, -1)))


@pytest.mark.parametrize(
    ("tta", "turns"), [("flip", [(0, True), (2, False), (2, True)]), ("d4", [(1, False), (3, True)])]
)
def test_augmented_maps_turn_with_the_image(tta, turns):
    """What test-time augmentation is for: the map of the turned image is the turned map."""
    model = small(size=64, halo=0)
    image = one_tile()
    plain, how = predict_probs(image, model=model), Inference(tta=tta)
    augmented = predict_probs(image, model=model, how=how)
    assert np.abs(augmented - plain).max() > 0.01
    for quarters, is_mirrored in turns:
        found = predict_probs(turned(image, quarters, is_mirrored), model=model, how=how)
        back = np.rot90(found, -quarters, (-2, -1))
        assert (back[..., ::-1] if is_mirrored else back) == pytest.approx(augmented, abs=1e-4)


def test_augmentation_is_the_mean_of_the_turned_maps():
    model = small(size=64, halo=0)
    image = one_tile()
    maps = []
    for is_mirrored in (False, True):
        for quarters in range(4):
            back = np.rot90(
                predict_probs(turned(image, quarters, is_mirrored), model=model), -quarters, (-2, -1)
            )
            maps.append(back[..., ::-1] if is_mirrored else back)
    assert predict_probs(image, model=model, how=Inference(tta="d4")) == pytest.approx(
        np.mean(maps, 0), abs=1e-5
    )


def test_a_layer_that_is_used_twice_drops_in_both_places():
    shared = nn.Dropout2d(0.5)
    module = nn.Sequential(nn.Conv2d(4, 8, 1), shared, nn.Conv2d(8, 3, 1), nn.Identity())
    module.add_module("again", shared)
    dropped = _Dropped(module.eval(), small().card, 4)
    kinds = [type(m).__name__ for m in dropped._module.children()]
    assert kinds.count("_SeededDropout") == 2
    pixels = torch.rand(1, 4, 8, 8)
    assert dropped(pixels, pixels[None], Window(0, 0, 8, 8)).max() > 1e-3


def test_dropout_of_evidence_is_of_its_probabilities():
    plain, card = small(), evidential().card
    pixels = torch.rand(1, 4, 64, 64)
    found = _Dropped(plain.module, card, 4)(pixels, pixels[None], Window(0, 0, 64, 64))
    softmax = _Dropped(plain.module, plain.card, 4)(pixels, pixels[None], Window(0, 0, 64, 64))
    assert not torch.allclose(found, softmax)


def test_a_network_that_breaks_is_not_a_map():
    model = small()
    model.module.network.head.bias.fill_(float("nan"))
    with pytest.raises(ModelError, match="no numbers"):
        predict(IMAGE, model=model)
