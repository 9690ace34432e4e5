"""Images of another data set beside one's own: seen as often as asked, validated on never."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import recipe_text

from geoseg.errors import TrainingError
from geoseg.evaluation.benchmark import IGNORE
from geoseg.evaluation.labelled import benchmark_of
from geoseg.legend import Legend
from geoseg.training.beside import beside_samples
from geoseg.training.data import with_beside
from geoseg.training.fitting import train
from geoseg.training.recipe import TrainRecipe
from geoseg.training.tables import Beside

DRAWN = Beside(benchmark="synthetic-landcover")
SIX = ("blue", "green", "red", "nir08", "swir16", "swir22")


@pytest.fixture
def landcover():
    return benchmark_of("landcover-30m")


def test_drawn_scenes_take_the_place_of_real_chips(landcover, tmp_path):
    samples = beside_samples(DRAWN.model_copy(update={"root": str(tmp_path)}), landcover, SIX)
    drawn = benchmark_of("synthetic-landcover")
    original = drawn.samples(tmp_path, "train")[3]
    image = samples[3].read_image()
    assert np.isnan(image[landcover.bands.index("coastal")]).all()
    for band in SIX:
        assert (image[landcover.bands.index(band)] == original.read_image()[drawn.bands.index(band)]).all()
    assert (samples[3].read_labels() == original.read_labels()).all()


def test_classes_are_told_by_name_and_values_are_scaled(landcover, tmp_path):
    turned = Legend(
        classes=tuple(
            c.model_copy(update={"value": n}) for n, c in enumerate(reversed(landcover.legend.classes))
        )
    )
    stored = replace(landcover, legend=turned, scale=1e-4)
    beside = DRAWN.model_copy(update={"root": str(tmp_path)})
    sample = beside_samples(beside, stored, SIX)[0]
    original = benchmark_of("synthetic-landcover").samples(tmp_path, "train")[0]
    assert (sample.read_labels() == 7 - original.read_labels()).all()
    assert IGNORE not in sample.read_labels()
    assert np.nanmax(sample.read_image()) == pytest.approx(
        original.read_image()[[0, 1, 2, 7, 8, 9]].max() * 1e4
    )


def test_a_band_or_class_that_the_other_lacks_is_refused(landcover, tmp_path):
    beside = DRAWN.model_copy(update={"root": str(tmp_path)})
    with pytest.raises(TrainingError, match="has no coastal: it has blue"):
        beside_samples(beside, landcover, landcover.bands)
    few = replace(landcover, legend=Legend.of(tree="006400", water="0064C8"))
    with pytest.raises(TrainingError, match=r"has shrub, grass, .* which HLS chips"):
        beside_samples(beside, few, SIX)


def test_they_are_so_much_of_what_is_seen():
    weights = with_beside(np.array([0.25, 0.75]), n=4, share=0.2)
    assert weights.sum() == pytest.approx(1)
    assert weights == pytest.approx([0.2, 0.6, 0.05, 0.05, 0.05, 0.05])


def test_they_are_learned_from_and_may_not_leak(chips, tmp_path):
    def read(split):
        table = f'[beside]\nbenchmark = "{chips / "chips.toml"}"\nroot = "{chips}"\nshare = 0.5\n'
        fit = f'epochs = 1\nbatch_size = 4\n{table}split = "{split}"'
        (tmp_path / "recipe.toml").write_text(recipe_text(chips, fit=fit))
        out = tmp_path / split
        return TrainRecipe.read(str(tmp_path / "recipe.toml")).model_copy(update={"out": str(out)})

    with pytest.raises(TrainingError, match="4 places"):
        train(read("val"))
    card = (train(read("train")) / "card.md").read_text()
    assert "16 images of 8 places (split train)" in card
    assert "16 images of" in card.split("And from")[1]
    assert "50% of what it saw" in card
