"""Networks to measure with."""

from pathlib import Path

import numpy as np
import pytest
import torch

from geoseg.bench.networks import BANDS, make_network, model_for
from geoseg.errors import ModelError
from geoseg.models.zoo import create_model, save_model


def test_built_in_models_and_folders_are_taken_as_they_are(tmp_path: Path) -> None:
    new = tmp_path / "new"
    assert model_for("spectral-rules", new) == "spectral-rules"
    assert model_for("spectral-rules-vnir", new) == "spectral-rules-vnir"
    assert Path(model_for(str(tmp_path), new)).samefile(tmp_path)
    assert not new.exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("spectral-rulez", "did you mean spectral-rules"),
        ("unet", "No model named 'unet'"),
        ("unet-resnet181", "no encoder named 'resnet181': did you mean resnet18"),
        ("vnet-resnet18", "No model named 'vnet-resnet18'"),
    ],
)
def test_unknown_names_are_refused(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=said):
        model_for(name, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_network_is_the_same_every_time_and_runs_from_its_folder(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second = (make_network("unet", "resnet18", n_steps=1) for _ in range(2))
    torch.testing.assert_close(torch.rand(3), expected, msg="the caller's random numbers were touched")
    for a, b in zip(first.module.state_dict().values(), second.module.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)
    untrained = make_network("unet", "resnet18", n_steps=0).module.parameters()
    assert not any(torch.equal(a, b) for a, b in zip(first.module.parameters(), untrained, strict=True))
    save_model(first, tmp_path)
    model = create_model(str(tmp_path))
    assert (model.card.bands, model.card.tile_size, model.card.halo, model.card.tile_multiple) == (
        BANDS,
        512,
        64,
        32,
    )
    assert model.card.hyperparameters == {"encoder_name": "resnet18"}
    with torch.no_grad():
        logits = model.module(torch.zeros(1, 6, 64, 96))
    assert tuple(logits.shape) == (1, 4, 64, 96)
    assert np.isfinite(logits.numpy()).all()
