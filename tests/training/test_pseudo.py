"""Images without labels: what a model is sure of is learned, nothing else."""

import numpy as np
import pytest
from builders import BANDS, network
from conftest import recipe_text

from geoseg.errors import TrainingError
from geoseg.evaluation.benchmark_images import image_and_labels, plan_for
from geoseg.evaluation.labelled import benchmark_of
from geoseg.inference.predictor import predict_probs
from geoseg.legend import Legend
from geoseg.models.zoo import FAMILIES, create_model, prepare_model, save_model
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
    for sample, original in zip(pseudo_labelled(pseudo, benchmark), originals, strict=True):
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
        assert sample.id == f"pseudo/{original.id}"


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
        pseudo_labelled(Pseudo(model="spectral-rules", **asked), benchmark)
    with pytest.raises(TrainingError, match=f"expected those of .*: {', '.join(BANDS)}"):
        pseudo_labelled(Pseudo(model="spectral-rules", **{**asked, "benchmark": "landcover-30m"}), benchmark)
