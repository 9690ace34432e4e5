"""calibration.json of a model folder: it belongs to the weights that it was measured on."""

import json

import numpy as np
import pytest
from builders import measured, model_folder
from pydantic import ValidationError

from geoseg.errors import ModelError
from geoseg.models.calibration import ModelCalibration, read_calibration, write_calibration
from geoseg.models.zoo import calibration_of, card_of, create_model, fingerprint_of, load_model


def test_the_file_gives_back_what_was_written(tmp_path):
    found = measured("ab" * 32)
    assert write_calibration(found, tmp_path) == tmp_path / "calibration.json"
    assert [p.name for p in tmp_path.iterdir()] == ["calibration.json"]
    assert read_calibration(tmp_path, weights_sha256="ab" * 32, n_classes=3) == found
    assert read_calibration(tmp_path / "nowhere", weights_sha256=None, n_classes=3) is None


def test_other_weights_make_it_stale(tmp_path):
    folder = model_folder(tmp_path / "m")
    write_calibration(measured(card_of(str(folder)).sha256), folder)
    before = create_model(str(folder))
    assert before.calibration is not None
    model_folder(folder, seed=1)
    with pytest.raises(ModelError, match=r"was measured on weights .* Make it again with geoseg calibrate"):
        create_model(str(folder))
    assert load_model(str(folder)).calibration is None  # which is how it can be made again


def test_weights_are_known_without_the_card_saying_so(tmp_path):
    folder = model_folder(tmp_path / "m")
    sha256 = card_of(str(folder)).sha256
    item = json.loads((folder / "item.json").read_text())
    del item["assets"]["weights"]["file:checksum"]
    (folder / "item.json").write_text(json.dumps(item))
    assert card_of(str(folder)).sha256 == sha256
    write_calibration(measured("ab" * 32), folder)
    with pytest.raises(ModelError, match="was measured on weights"):
        create_model(str(folder))


def test_other_classes_make_it_stale(tmp_path):
    folder = model_folder(tmp_path / "m")
    write_calibration(measured(card_of(str(folder)).sha256, n_classes=4), folder)
    with pytest.raises(ModelError, match=r"4 classes; those here are .* of 3"):
        calibration_of(str(folder))


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "Invalid JSON"), ('{"scaling": {}}', "Field required"), ("\xff", "JSON|decode")],
)
def test_a_file_that_is_something_else_is_named(tmp_path, text, message):
    (tmp_path / "calibration.json").write_text(text, "latin-1")
    with pytest.raises(ModelError, match=message):
        read_calibration(tmp_path, weights_sha256=None, n_classes=3)


def test_parts_of_different_classes_are_refused():
    three, four = measured(None), measured(None, n_classes=4)
    with pytest.raises(ValidationError, match="scaling is of 3 classes, conformal of 4"):
        ModelCalibration(**{**three.model_dump(), "conformal": four.conformal.model_dump()})


def test_the_fingerprint_tells_models_apart(tmp_path):
    folder = model_folder(tmp_path / "m")
    plain = create_model(str(folder)).fingerprint
    sha256 = card_of(str(folder)).sha256
    prints = {plain}
    for temperature in (2.0, 3.0):
        write_calibration(measured(sha256, temperature=temperature), folder)
        prints.add(create_model(str(folder)).fingerprint)
    assert len(prints) == 3
    assert fingerprint_of(card_of(str(folder)), None) == plain


def test_probabilities_are_those_of_divided_logits():
    logits = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    halved = np.exp(logits / 2) / np.exp(logits / 2).sum(1, keepdims=True)
    found = measured(None).probs(probs)
    assert found.dtype == np.float32
    assert found == pytest.approx(halved, abs=1e-6)
    sure = measured(None).probs(np.array([[1, 0, 0]], np.float32))
    assert np.isfinite(sure).all()
    assert sure[0, 0] > 0.999999
