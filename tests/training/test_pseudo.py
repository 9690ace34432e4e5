"""Images without labels: what a model is sure of is learned, nothing else."""

from dataclasses import replace

import numpy as np
import pytest
from builders import BANDS, model_folder, network
from conftest import recipe_text

from geoseg.errors import EvaluationError, TrainingError
from geoseg.evaluation.benchmark_images import image_and_labels, plan_for
from geoseg.evaluation.labelled import benchmark_of
from geoseg.inference.predictor import predict_probs
from geoseg.legend import Legend
from geoseg.models.zoo import FAMILIES, create_model, prepare_model, save_model
from geoseg.training.data import Chips, Images
from geoseg.training.fitting import train
from geoseg.training.pseudo import pseudo_labelled
from geoseg.training.recipe import TrainRecipe
from geoseg.training.tables import Pseudo


@pytest.fixture
def teacher(chips, tmp_path):
    """An untrained network with the classes of the chips, in another order."""
    legend = benchmark_of(str(chips / "chips.toml")).legend
    turned = Legend(
        classes=tuple(c.model_copy(update={"value": n}) for n, c in enumerate(legend.classes[::-1]))
    )
    made = network("small-unet", width=8, depth=2)
    card = made.card.model_copy(update={"legend": turned})
    save_model(prepare_model(FAMILIES["small-unet"](card), card), tmp_path / "teacher")
    return tmp_path / "teacher"


def test_labels_are_the_classes_that_the_model_is_sure_of(chips, teacher):
    benchmark = benchmark_of(str(chips / "chips.toml"))
    pseudo = Pseudo(
        model=str(teacher), benchmark=str(chips / "chips.toml"), root=str(chips), split="val", threshold=0.26
    )
    model = create_model(str(teacher))
    originals = benchmark.samples(chips, "val")
    for sample, original in zip(pseudo_labelled(pseudo, benchmark, BANDS), originals, strict=True):
        image, _ = image_and_labels(original, benchmark, model.card)
        probs = predict_probs(image, model=model, plan=plan_for(image, model.card))
        names = np.array([c.name for c in model.card.legend.classes])
        labels = sample.read_labels()
        sure = np.nan_to_num(probs.max(0)) >= 0.26
        assert (labels == 255).any()
        assert ((labels != 255) == sure).all()
        ids = {c.name: c.value for c in benchmark.legend.classes}
        expected = np.vectorize(ids.get)(names[np.nan_to_num(probs).argmax(0)])
        assert (labels[sure] == expected[sure]).all()
        assert (sample.id, sample.place) == (f"pseudo/{original.id}", original.place)


def test_images_of_another_scale_and_order_come_as_the_main_set_stores_its_own(chips, teacher):
    """The student sees reflectance whatever the numbers were stored as, and their places stay apart."""
    benchmark = benchmark_of(str(chips / "chips.toml"))
    stored = replace(benchmark, bands=BANDS[::-1], scale=1e-4, source="elsewhere")
    pseudo = Pseudo(model=str(teacher), benchmark=str(chips / "chips.toml"), root=str(chips), split="val")
    own = benchmark.samples(chips, "val")[0]
    sample = pseudo_labelled(pseudo, stored, BANDS)[0]
    assert sample.place == f"pseudo/{own.place}"
    card = create_model(str(teacher)).card
    found, _ = Chips(Images((sample,), stored), card).whole(0)
    expected, _ = Chips(Images((own,), benchmark), card).whole(0)
    assert np.allclose(found, expected, equal_nan=True)
    same = pseudo_labelled(pseudo, benchmark, BANDS)[0]
    assert (sample.read_labels() == same.read_labels()).all(), "the model is asked as before"


@pytest.mark.filterwarnings("ignore:Nothing says what")
def test_they_are_learned_from_and_may_not_leak(chips, teacher, tmp_path):
    table = (
        f'[pseudo]\nmodel = "{teacher}"\nbenchmark = "{chips / "chips.toml"}"\nroot = "{chips}"\n'
        "threshold = 0.2\nsplit = "
    )
    fit = "epochs = 1\nbatch_size = 4\n"
    (tmp_path / "leak.toml").write_text(recipe_text(chips, fit=f'{fit}{table}"val"'))
    with pytest.raises(TrainingError, match="4 places"):
        train(TrainRecipe.read(str(tmp_path / "leak.toml")).model_copy(update={"out": str(tmp_path / "m")}))
    (tmp_path / "good.toml").write_text(recipe_text(chips, fit=f'{fit}{table}"train"'))
    read = TrainRecipe.read(str(tmp_path / "good.toml")).model_copy(update={"out": str(tmp_path / "n")})
    assert "32 images of 8 places" in (train(read) / "card.md").read_text()


def test_other_classes_and_bands_are_refused(chips, tmp_path):
    benchmark = benchmark_of(str(chips / "chips.toml"))
    asked = {"benchmark": str(chips / "chips.toml"), "root": str(chips), "split": "val"}
    with pytest.raises(TrainingError, match=f"which {benchmark.title} has not"):
        pseudo_labelled(Pseudo(model="spectral-rules", **asked), benchmark, BANDS)
    other = Pseudo(model="spectral-rules", **{**asked, "benchmark": "landcover-30m"})
    with pytest.raises(TrainingError, match=r"\[pseudo\] .* has pixels of 30 m"):
        pseudo_labelled(other, benchmark, BANDS)
    with pytest.raises(TrainingError, match=r"\[pseudo\] .* has no rededge071"):
        pseudo_labelled(other, benchmark, ("rededge071",))
    lacking = model_folder(tmp_path / "six", bands=("coastal", *BANDS))
    with pytest.raises(EvaluationError, match="needs coastal"):
        pseudo_labelled(Pseudo(model=str(lacking), **asked), benchmark, BANDS)
