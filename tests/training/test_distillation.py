"""Teachers: what they say is learned."""

import numpy as np
import pytest
import torch
from builders import model_folder, network
from conftest import recipe_text
from scipy.special import log_softmax, softmax

from geoseg.errors import TrainingError
from geoseg.models.zoo import normalise, ready, save_model
from geoseg.training.distillation import soft_loss, teacher_of
from geoseg.training.fitting import train
from geoseg.training.recipe import TrainRecipe
from geoseg.training.tables import Distill

CARD = network("small-unet", width=8, depth=2).card


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_soft_loss_is_the_divergence_of_softened_answers(temperature):
    rng = np.random.default_rng(1)
    student, teacher = rng.normal(size=(2, 2, 5, 3, 4))
    is_known = torch.from_numpy(rng.random((2, 3, 4)) < 0.7)
    found = soft_loss(
        torch.tensor(student), torch.tensor(softmax(teacher, 1)), is_known, temperature=temperature
    )
    p, log_p = softmax(teacher / temperature, 1), log_softmax(teacher / temperature, 1)
    expected = (p * (log_p - log_softmax(student / temperature, 1))).sum(1)[is_known].mean() * temperature**2
    assert float(found) == pytest.approx(expected, rel=1e-5)
    same = soft_loss(torch.tensor(teacher), torch.tensor(softmax(teacher, 1)), is_known, temperature=2)
    assert float(same) < 1e-6


def test_teachers_are_averaged_in_the_students_order(tmp_path):
    folders = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = network("small-unet", width=8, depth=2)
        save_model(model, tmp_path / str(seed))
        folders.append((str(tmp_path / str(seed)), model))
    pixels = torch.rand(2, len(CARD.bands), 32, 32)
    found = teacher_of(Distill(teachers=tuple(f for f, _ in folders)), CARD)(pixels)
    expected = torch.stack([m.module(normalise(pixels, m.card)).softmax(1) for _, m in folders]).mean(0)
    assert torch.allclose(found, expected, atol=1e-6)
    turned = CARD.legend.model_copy(update={"classes": CARD.legend.classes[::-1]})
    student = CARD.model_copy(update={"legend": turned, "bands": CARD.bands[::-1]})
    again = teacher_of(Distill(teachers=tuple(f for f, _ in folders)), student)(pixels.flip(1))
    assert torch.allclose(again.flip(1), expected, atol=1e-6)


def test_a_teacher_sees_nodata_as_where_a_map_is_made(tmp_path):
    model = network("small-unet", width=8, depth=2)
    save_model(model, tmp_path / "t")
    pixels = torch.rand(1, len(CARD.bands), 32, 32)
    pixels[:, 1, :8] = float("nan")
    found = teacher_of(Distill(teachers=(str(tmp_path / "t"),)), CARD)(pixels)
    assert torch.allclose(found, model.module(ready(pixels, model.card)).softmax(1), atol=1e-6)


def test_an_onnx_file_teaches_as_the_network_it_was_made_from(tmp_path):
    model = network("small-unet", width=8, depth=2, indices=False)
    pixels = torch.rand(1, len(CARD.bands), 16, 16)
    path = tmp_path / "t.onnx"
    torch.onnx.export(model.module, (pixels,), str(path), dynamo=False)
    found = teacher_of(Distill(teachers=(str(path),)), model.card)(pixels)
    assert torch.allclose(found, model.module(normalise(pixels, model.card)).softmax(1), atol=1e-4)
    with pytest.raises(TrainingError, match="no file"):
        teacher_of(Distill(teachers=("none.onnx",)), model.card)


def test_other_bands_or_classes_are_refused(tmp_path):
    folder = model_folder(tmp_path / "six", bands=("coastal", *CARD.bands))
    for teacher, message in (
        (str(folder), "differ in bands: coastal"),
        ("spectral-rules", "differ in classes"),
    ):
        with pytest.raises(TrainingError, match=message):
            teacher_of(Distill(teachers=(teacher,)), CARD)


@pytest.mark.lane
def test_a_student_of_a_teacher_alone_learns_its_answers(chips, tmp_path):
    fit = "epochs = 12\nsteps_per_epoch = 16\nbatch_size = 4\nlearning_rate = 0.02\nema_decay = 0.9"

    def fitted(name, extra=""):
        (tmp_path / f"{name}.toml").write_text(recipe_text(chips, fit=fit + extra))
        read = TrainRecipe.read(str(tmp_path / f"{name}.toml"))
        told = []
        folder = train(read.model_copy(update={"out": str(tmp_path / name)}), on_epoch=told.append)
        return folder, max(e.val_miou for e in told)

    teacher, of_teacher = fitted("teacher")
    _, of_student = fitted(
        "student", f'\naveraging = "swa"\n[distill]\nteachers = ["{teacher}"]\nweight = 1.0'
    )
    assert of_student > 0.9 * of_teacher > 0.6
