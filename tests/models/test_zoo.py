"""Models: cards round-trip and are valid STAC, weights are checked, every built-in keeps its contract."""

import json

import pytest
import torch
from builders import BANDS, model_folder, network
from stac_validation import validate_item

from geoseg.errors import ModelError
from geoseg.models.card import read_card, to_item, write_card
from geoseg.models.zoo import FAMILIES, card_of, create_model, model_names, prepare_model, ready


@pytest.mark.parametrize("name", model_names())
def test_every_built_in_keeps_its_contract(name, tmp_path):
    card = card_of(name)
    model = prepare_model(FAMILIES[card.family](card), card)  # without weights that would be fetched
    logits = model.module(torch.rand(2, len(card.bands), 64, 64))
    assert logits.shape == (2, len(card.legend.classes), 64, 64)
    assert torch.isfinite(logits).all()
    validate_item(to_item(card))
    write_card(card, tmp_path)
    assert read_card(tmp_path) == card
    assert card.license
    assert card.description


@pytest.mark.parametrize("family", ["unet", "deeplabv3plus"])
@pytest.mark.parametrize("encoder", ["resnet18", "mobilenet_v2"])
def test_families_take_any_number_of_bands(family, encoder):
    card = network(family).card.model_copy(
        update={"hyperparameters": {"encoder_name": encoder}, "bands": ("a",) * 7, "mean": None, "std": None}
    )
    module = FAMILIES[family](card).eval()
    assert module(torch.rand(1, 7, 64, 64)).shape == (1, 3, 64, 64)


def test_a_saved_folder_comes_back_the_same(tmp_path):
    model = network()
    folder = model_folder(tmp_path / "model")
    back = create_model(str(folder))
    validate_item(folder / "item.json")
    pixels = torch.rand(1, len(BANDS), 64, 64)
    assert torch.equal(back.module(pixels), model.module(pixels))
    assert back.card.sha256
    assert back.card.model_copy(update={"sha256": None}) == model.card
    assert not back.module.training


def test_weights_that_were_changed_are_refused(tmp_path):
    folder = model_folder(tmp_path / "model")
    with (folder / "weights.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    with pytest.raises(ModelError, match=r"sha256 .* its card says .* Fetch the folder again"):
        create_model(str(folder))


def test_a_pickle_is_never_loaded(tmp_path):
    folder = model_folder(tmp_path / "model")
    torch.save({"x": torch.zeros(1)}, folder / "weights.safetensors")
    card = read_card(folder).model_copy(update={"sha256": None})
    write_card(card, folder)
    with pytest.raises(ModelError, match="not a safetensors file"):
        create_model(str(folder))


def test_weights_of_another_network_are_refused(tmp_path):
    folder = model_folder(tmp_path / "model")
    write_card(read_card(folder).model_copy(update={"family": "deeplabv3plus"}), folder)
    with pytest.raises(ModelError, match="does not fit the deeplabv3plus of its card"):
        create_model(str(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda item: item["properties"].pop("mlm:name"), "lacks 'mlm:name'"),
        (lambda item: item["properties"].update({"mlm:architecture": "unett"}), "did you mean unet"),
        (lambda item: item["properties"]["mlm:input"][0].update({"bands": ["red"]}), "4 values for 1 bands"),
        (
            lambda item: item["properties"]["mlm:hyperparameters"].update({"encoder_name": "resnet19"}),
            "resnet18",
        ),
    ],
)
def test_a_broken_card_is_explained(tmp_path, change, message):
    folder = model_folder(tmp_path / "model")
    item = json.loads((folder / "item.json").read_text())
    change(item)
    (folder / "item.json").write_text(json.dumps(item))
    with pytest.raises(ModelError, match=message) as caught:
        create_model(str(folder))
    assert "\n" not in str(caught.value)


def test_unknown_names_get_the_nearest():
    with pytest.raises(ModelError, match="did you mean spectral-rules"):
        create_model("spectral-rulez")


def test_rules_know_textbook_spectra():
    """green, red, nir, swir16 of clear water, dense grass, dry sand, and a mixed roof-and-garden pixel."""
    model = create_model("spectral-rules")
    spectra = [
        [0.06, 0.04, 0.02, 0.01],
        [0.09, 0.06, 0.45, 0.2],
        [0.28, 0.34, 0.4, 0.5],
        [0.12, 0.12, 0.2, 0.2],
    ]
    pixels = torch.tensor(spectra).T[None, :, :, None]  # (1, band, 4, 1)
    names = [c.name for c in model.card.legend.classes]
    found = [names[i] for i in model.module(pixels)[0, :, :, 0].argmax(0)]
    assert found == ["water", "vegetation", "bare", "built"]


def test_nodata_is_in_no_mean_of_the_context_mlp():
    """Pixels beside nodata are answered as if the image ended there, but for how an edge is continued."""
    torch.manual_seed(0)
    card = network("small-unet").card.model_copy(update={"family": "context-mlp", "hyperparameters": {}})
    module = FAMILIES["context-mlp"](card).eval()
    pixels = torch.full((1, len(card.bands), 96, 96), 0.7)
    alone = module(pixels)
    pixels[..., 48:] = 0  # as nodata comes out of the normalisation
    beside = module(pixels)
    assert torch.allclose(beside[..., :48], alone[..., :48], atol=1e-4)


def test_a_pixel_that_lacks_one_band_is_nodata_to_its_neighbours():
    """Bands of one sensor end at different places: what is beyond must not be in the means of what is not."""
    card = network("small-unet").card.model_copy(
        update={"family": "context-mlp", "hyperparameters": {}, "mean": (0.2,) * 4, "std": (0.1,) * 4}
    )
    module = FAMILIES["context-mlp"](card).eval()
    pixels = torch.rand(1, 4, 64, 64)
    pixels[..., 40:] = float("nan")
    partial = pixels.clone()
    partial[:, 3, :, 40:] = 0.9
    with torch.no_grad():
        whole, part = (module(ready(image, card))[..., :40] for image in (pixels, partial))
    assert torch.equal(whole, part)
