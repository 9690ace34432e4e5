"""A recipe from the data: it can be run, and says why."""

import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.cli.main import run
from geoseg.errors import TrainingError
from geoseg.training.auto import choose, write_recipe
from geoseg.training.fingerprint import Fingerprint, fingerprint_of
from geoseg.training.recipe import TrainRecipe

FOUND = Fingerprint(
    n_images=300,
    n_places=40,
    largest_place=0.1,
    side=300,
    n_pixels=300 * 90_000,
    gsd_m=10,
    bands=("red", "nir"),
    low=(0.0, 0.1),
    high=(0.3, 0.5),
    nodata=0.0,
    unlabelled=0.1,
    class_shares={"water": 0.5, "tree": 0.48, "road": 0.02},
    train_split="train",
    has_val=True,
    is_even=True,
)


def values(found, memory_mb=8000, has_gpu=False):
    return {f"{c.table}.{c.key}": c.value for c in choose(found, memory_mb=memory_mb, has_gpu=has_gpu)}


def test_the_fingerprint_is_that_of_the_images(chips):
    found, benchmark, source = fingerprint_of(chips)
    assert source == chips / "chips.toml"
    assert (found.n_images, found.n_places, found.side, found.gsd_m) == (16, 8, 64, 10)
    assert (found.n_pixels, found.largest_place, found.has_val) == (16 * 64 * 64, 1 / 8, True)
    assert found.unlabelled == pytest.approx(36 / 4096)
    assert found.nodata == pytest.approx(16 / 4096)
    assert sum(found.class_shares.values()) == pytest.approx(1)
    assert all(0 <= low < high < 1 for low, high in zip(found.low, found.high, strict=True))
    assert list(found.class_shares) == [c.name for c in benchmark.legend.classes]


def test_the_recipe_is_written_with_reasons_and_can_be_read(chips, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["geoseg", "train", "--auto", str(chips), "--out", str(tmp_path / "auto.toml")]
    )
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 0
    assert "fit.batch_size" in capsys.readouterr().err
    recipe = TrainRecipe.read(str(tmp_path / "auto.toml"))
    assert (recipe.network.family, recipe.data.place_power, recipe.augment.crop) == ("small-unet", 0.5, None)
    text = (tmp_path / "auto.toml").read_text()
    assert "# 16 images of 8 places, 64 px, 65,536 pixels; 0.9% have no label, 0.4% no value." in text
    found, benchmark, source = fingerprint_of(chips)
    with pytest.raises(TrainingError, match="exists already"):
        write_recipe(found, benchmark, source, (), tmp_path / "auto.toml")
    nameless = tmp_path / "nameless"
    nameless.mkdir()
    text = (chips / "chips.toml").read_text()
    (nameless / "chips.toml").write_text(text.replace("gsd_m = 10\n", ""))
    with pytest.raises(TrainingError, match="Add gsd_m"):
        fingerprint_of(nameless)
    with pytest.raises(TrainingError, match="must hold one TOML file"):
        fingerprint_of(tmp_path)


def test_values_follow_from_the_data():
    plain = values(FOUND)
    assert plain["data.place_power"] == 0.5
    assert "data.val_share" not in plain
    assert plain["data.class_power"] == 0.3
    assert plain["augment.crop"] == 256
    assert values(replace(FOUND, largest_place=0.6))["data.place_power"] == 0
    assert values(replace(FOUND, has_val=False))["data.val_share"] == 0.25
    assert "data.class_power" not in values(replace(FOUND, class_shares={"a": 0.5, "b": 0.5}))
    assert values(FOUND, has_gpu=True)["augment.crop"] == 296
    assert values(replace(FOUND, n_images=5000), has_gpu=True)["network.family"] == "unet"
    data_mb = 300 * 90_000 * (2 * 4 + 1) / 1e6
    assert values(FOUND, memory_mb=2000 + data_mb)["fit.batch_size"] == 2
    assert values(FOUND, memory_mb=2000)["fit.batch_size"] == 2
    assert values(FOUND, memory_mb=2 * data_mb)["fit.batch_size"] == 1, "images are held in memory"
    big = replace(FOUND, n_pixels=10**10)
    assert values(big, memory_mb=8000, has_gpu=True)["fit.batch_size"] == 8, "not in that of the GPU"
    whys = {c.key: c.why for c in choose(FOUND, memory_mb=2000, has_gpu=False)}
    assert "1,757 MB, which 2,000 MB are without 243 MB of images" in whys["batch_size"]


@given(
    st.integers(8, 3000), st.integers(1, 100_000), st.floats(500, 500_000), st.booleans(), st.floats(0.001, 1)
)
@settings(max_examples=80, deadline=None)
def test_every_recipe_holds_together(side, n_images, memory_mb, has_gpu, largest):
    found = replace(FOUND, side=side, n_images=n_images, n_pixels=n_images * side**2, largest_place=largest)
    got = values(found, memory_mb, has_gpu)
    multiple = got["network.tile_multiple"]
    crop = got.get("augment.crop", side)
    assert got["network.tile_size"] % multiple == 0
    assert crop % multiple == 0
    assert got["network.halo"] * 4 <= got["network.tile_size"]
    assert 1 <= got["fit.batch_size"] <= 16
    if "network.hyperparameters" in got:
        assert 2 <= got["network.hyperparameters"]["depth"] <= 4
    assert got["fit.epochs"] * got["fit.steps_per_epoch"] <= 10_000
