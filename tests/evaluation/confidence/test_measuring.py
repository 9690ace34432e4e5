"""``geoseg calibrate`` on labels drawn from a network's own probabilities, so that what is right is known."""

import csv
import json

import numpy as np
import pytest
import rasterio
from affine import Affine
from builders import BANDS, as_image, geobox_at, model_folder, smooth, write_image
from commands import geoseg
from odc.geo.geobox import GeoBox

from geoseg.errors import EvaluationError, GeosegWarning
from geoseg.evaluation.benchmark_images import Part, bands_for
from geoseg.evaluation.confidence import measuring
from geoseg.evaluation.confidence.calibration import fit_calibration
from geoseg.evaluation.confidence.conformal import fit_conformal
from geoseg.evaluation.confidence.measuring import CalibrationTask, measure
from geoseg.evaluation.confidence.reliability import log_probs
from geoseg.evaluation.labelled import benchmark_of
from geoseg.evaluation.maps import Crosswalk
from geoseg.grid.tiling import TilePlan
from geoseg.inference.predictor import predict_probs
from geoseg.inference.runner import Inference
from geoseg.models.calibration import calibrated
from geoseg.models.zoo import create_model, load_model

SIDE, TEMPERATURE = 64, 2.5
TOML = """
name = "drawn"
bands = ["green", "red", "nir", "swir16"]
scale = 0.0001
nodata = 0
index = "index.csv"
images = "{n}.tif"
labels = "{n}-labels.tif"
place = "place"
"""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """24 images of 16 places, with labels drawn from the model's probabilities at a temperature of 2.5."""
    folder = tmp_path_factory.mktemp("drawn")
    model = load_model(str(model_folder(folder / "model", family="small-unet", halo=8)))
    rng, rows = np.random.default_rng(0), []
    grid = geobox_at(height=SIDE, width=SIDE)
    plane = GeoBox((SIDE, SIDE), Affine.scale(1, -1), "EPSG:6933")  # where images of benchmarks lie
    for n in range(24):
        pixels = smooth(n, (SIDE, SIDE))
        pixels[:, :3] = np.nan
        write_image(folder / f"{n}.tif", pixels, grid)
        with rasterio.open(folder / f"{n}.tif") as source:
            stored = np.where(source.read() == 0, np.nan, source.read() * 1e-4)
        probs = predict_probs(as_image(stored, plane), model=model, plan=TilePlan(plane, SIDE, 0)) ** (
            1 / TEMPERATURE
        )
        probs /= probs.sum(0)
        labels = (np.cumsum(probs, 0) < rng.random((1, SIDE, SIDE))).sum(0).clip(max=2)
        labels[:3] = 0
        labels[10:12] = 9
        profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "height": SIDE, "width": SIDE}
        with rasterio.open(folder / f"{n}-labels.tif", "w", **profile) as sink:
            sink.write(labels.astype(np.uint8), 1)
        rows.append({"n": n, "place": f"place{n % 16}"})
    with (folder / "index.csv").open("w", newline="") as sink:
        table = csv.DictWriter(sink, ["n", "place"])
        table.writeheader()
        table.writerows(rows)
    classes = "".join(
        f'[[classes]]\nname = "{name}"\ncolor_hint = "1F78B{n}"\nvalues = [{n}]\n'
        for n, name in enumerate(("first", "second", "third"))
    )
    (folder / "drawn.toml").write_text(TOML + classes + "[[ignore]]\nvalues = [9]\n")
    return folder


def task(folder, limit=None, **options):
    return CalibrationTask(
        Part(str(folder / "drawn.toml"), folder, limit=limit),
        str(folder / "model"),
        how=Inference(),
        **options,
    )


@pytest.mark.parametrize("method", ["temperature", "vector"])
def test_what_the_labels_were_drawn_with_is_found(drawn, method):
    found = measure(task(drawn, method=method))
    assert 1 / np.mean(found.scaling.scale) == pytest.approx(TEMPERATURE, rel=0.08)
    assert found.ece_after < 0.02 < found.ece_before
    assert found.weights_sha256 == create_model(str(drawn / "model")).card.sha256
    assert found.measured_on == "drawn, all"


def test_places_are_parted_and_coverage_is_measured_on_others(drawn):
    found = measure(task(drawn, coverage=0.75))
    assert not set(found.scaling.places) & set(found.conformal.places)
    assert len(found.scaling.places) + len(found.conformal.places) == 16
    assert found.conformal.unit == "place"
    assert {p.place for p in found.coverage.places} == {f"place{n}" for n in range(16)}
    n_known = (SIDE - 5) * SIDE  # without nodata and ignored rows
    assert found.coverage.n == 24 * n_known
    assert 0.75 <= found.coverage.coverage <= 0.9
    assert found.coverage.coverage == pytest.approx(
        np.average([p.coverage for p in found.coverage.places], weights=[p.n for p in found.coverage.places])
    )


def test_few_places_are_told_so(drawn):
    """3 images are 3 places: none is left to measure on, and no promise can be made for a new one."""
    found = measure(task(drawn, limit=3))
    assert (found.coverage, found.ece_before, found.conformal.unit) == (None, None, "pixel")
    assert "not measured on other places" in found.text()
    one = measure(task(drawn, limit=1))
    assert one.scaling.places == one.conformal.places == ("place0",)
    assert one.scaling.n + one.conformal.n == (SIDE - 5) * SIDE


def test_sets_are_fitted_on_what_maps_are_made_of():
    """Ties at the threshold would fall out of sets made in another precision, or in another order of memory."""
    rng = np.random.default_rng(1)
    few = rng.dirichlet(np.ones(9), 4).astype(np.float32)
    drawn_ = rng.integers(0, 4, 4000)
    probs, labels = few[drawn_], (np.cumsum(few, 1)[drawn_] < rng.random((4000, 1))).sum(1).clip(max=8)
    scaling = fit_calibration(log_probs(probs), labels, places=["a"])
    conformal = fit_conformal(calibrated(probs, scaling), labels, alpha=0.2, places=["a"])
    as_maps_do = calibrated(np.asfortranarray(probs), scaling)
    covered = conformal.sets(as_maps_do)[np.arange(4000), labels].mean()
    assert covered >= 0.8


def test_scaling_that_turns_a_class_around_is_refused(drawn, monkeypatch):
    def turned(*args, **kwargs):
        found = fit_calibration(*args, **kwargs)
        return found.model_copy(update={"scale": (1.0, -0.1, 1.0)})

    monkeypatch.setattr(measuring, "fit_calibration", turned)
    with pytest.raises(EvaluationError, match=r"would turn second around.*--method temperature"):
        measure(task(drawn, method="vector", limit=4))


def test_classes_that_vanish_are_warned_of(drawn, monkeypatch):
    def biased(*args, **kwargs):
        return fit_calibration(*args, **kwargs).model_copy(update={"bias": (0.0, -50.0, 0.0)})

    monkeypatch.setattr(measuring, "fit_calibration", biased)
    with pytest.warns(GeosegWarning, match="will hardly show second any more"):
        measure(task(drawn, method="vector", limit=4))


def test_the_same_task_gives_the_same_numbers(drawn):
    assert measure(task(drawn, limit=6)) == measure(task(drawn, limit=6))


def test_classes_are_matched_by_the_crosswalk(drawn):
    some = Crosswalk(reference={"first": "first", "second": "second", "third": "ignore"})
    found, everything = measure(task(drawn, limit=8, crosswalk=some)), measure(task(drawn, limit=8))
    assert found.conformal.class_n == (*everything.conformal.class_n[:2], 0)
    assert found.scaling.n < everything.scaling.n
    with pytest.raises(EvaluationError, match=r"has .*, which model .* does not give .*--crosswalk"):
        measure(task(drawn, crosswalk=Crosswalk(reference={"first": "meadow", "*": "second"})))


def test_the_other_near_infrared_stands_in(drawn):
    card, benchmark = load_model(str(drawn / "model")).card, benchmark_of(str(drawn / "drawn.toml"))
    narrow = card.model_copy(update={"bands": ("green", "nir08")})
    assert bands_for(card, benchmark) == BANDS
    assert bands_for(narrow, benchmark) == ("green", "nir")
    with pytest.raises(EvaluationError, match="needs blue"):
        bands_for(card.model_copy(update={"bands": ("blue", "nir")}), benchmark)


def test_a_model_is_calibrated_and_its_maps_say_so(drawn, tmp_path):
    data = ("--benchmark", drawn / "drawn.toml", "--root", drawn)
    made = geoseg("calibrate", "--model", drawn / "model", *data, "--out", tmp_path / "sure")
    assert made.returncode == 0, made.stderr
    for words in ("temperature", "too sure", "on other places", "of a new place"):
        assert words in made.stdout
    assert {p.name for p in (tmp_path / "sure").iterdir()} == {
        "calibration.json",
        "item.json",
        "weights.safetensors",
    }
    assert not (drawn / "model" / "calibration.json").exists()
    again = geoseg("calibrate", "--model", tmp_path / "sure", *data)
    assert again.returncode == 2
    assert "has a calibration already. Give --overwrite" in again.stderr
    mapped = geoseg(
        "predict",
        "--image",
        drawn / "0.tif",
        "--model",
        tmp_path / "sure",
        "--uncertainty",
        "conformal,entropy",
        "--out",
        tmp_path / "map",
        "--scale",
        "0.0001",
    )
    assert mapped.returncode == 0, mapped.stderr
    report = json.loads((tmp_path / "map" / "report.json").read_text())
    assert "sets promise 90%" in report["model"]["calibration"]
    item = json.loads((tmp_path / "map" / "item.json").read_text())
    assert {"entropy", "set_size"} <= set(item["assets"])
    assert "epistemic" not in item["assets"]
    manifest = json.loads((tmp_path / "map" / "manifest.json").read_text())
    found = create_model(str(tmp_path / "sure"))
    assert manifest["model"]["calibration_sha256"] == found.calibration.fingerprint
    assert {"entropy.tif", "set_size.tif"} <= set(manifest["files"])
    with rasterio.open(tmp_path / "map" / "set_size.tif") as source:
        sizes = np.unique(source.read(1))
    assert set(sizes) <= {0, 1, 2, 3, 255}


def test_a_built_in_model_needs_a_folder_of_its_own(drawn):
    done = geoseg("calibrate", "--model", "spectral-rules", "--benchmark", "x", "--root", drawn)
    assert done.returncode == 2
    assert "is built in: it has no folder for a calibration. Give --out FOLDER." in done.stderr


def test_several_models_become_one(drawn, tmp_path):
    model_folder(tmp_path / "b", family="small-unet", halo=8, seed=1)
    done = geoseg("models", "ensemble", drawn / "model", tmp_path / "b", "--out", tmp_path / "Both of them")
    assert done.returncode == 0, done.stderr
    card = create_model(str(tmp_path / "Both of them")).card
    assert (card.name, card.hyperparameters["members"]) == ("both-of-them", 2)
    again = geoseg("models", "ensemble", drawn / "model", tmp_path / "b", "--out", tmp_path / "Both of them")
    assert "exists already" in again.stderr
