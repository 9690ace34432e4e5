"""Exports: from reflectance to probabilities, checked on real tiles; and back again as imported models."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from builders import BANDS, as_image, geobox_at, network, smooth
from stac_validation import validate_item
from torch import nn

from geoseg.errors import GeosegError, ModelError
from geoseg.files import sha256_of
from geoseg.inference.backends import Work, prepare
from geoseg.inference.predictor import predict
from geoseg.models import exporting, formats
from geoseg.models.calibration import Calibration, ModelCalibration
from geoseg.models.deployed import Deployed
from geoseg.models.ensemble import ensemble_of
from geoseg.models.exporting import export
from geoseg.models.formats import FORMATS, Format
from geoseg.models.import_card import ImportCard, read_import_card
from geoseg.models.importing import import_model
from geoseg.models.sample_tiles import sample_tiles
from geoseg.models.zoo import create_model, probs_of, ready, save_model

SIDE = 64
SLOW = {"torch-export": [pytest.mark.lane]}


@pytest.fixture(scope="module")
def small():
    return network("small-unet")


@pytest.fixture(scope="module")
def onnx_file(small, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "m.onnx"
    export(small, path, format="onnx")
    return path


def run_onnx(path, pixels):
    return onnxruntime.InferenceSession(str(path)).run(None, {"pixels": pixels})[0]


def expected_probs(model, pixels):
    with torch.no_grad():
        return probs_of(model.module(ready(torch.from_numpy(pixels), model.card)), model.card).numpy()


@pytest.mark.parametrize("name", [pytest.param(n, marks=SLOW.get(n, [])) for n in FORMATS])
def test_each_format_is_written_and_agrees(name, small, tmp_path):
    form = FORMATS[name]
    if (reason := form.why_not()) is not None:
        with pytest.raises(ModelError, match=f"--format {name}"):
            export(small, tmp_path / f"m{form.suffix}", format=name)
        pytest.skip(f"{name} {reason}")
    path = tmp_path / f"m{form.suffix}"
    found = export(small, path, format=name)
    assert found.alike >= 0.9999
    assert found.difference < 1e-4
    pixels = np.stack([smooth(7, (SIDE, SIDE))]).astype(np.float32)
    assert np.allclose(form.load(path)(pixels), expected_probs(small, pixels), atol=1e-4)
    item = json.loads(found.item.read_text())
    validate_item(item)
    assert item["assets"]["weights"]["file:checksum"] == "1220" + sha256_of(path)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_nodata_is_filled_and_any_batch_taken(small, onnx_file):
    pixels = np.stack([smooth(n, (SIDE, SIDE)) for n in range(3)]).astype(np.float32)
    pixels[0, 1, :9] = np.nan
    pixels[1, :, :, :9] = np.nan
    zeros = np.nan_to_num(pixels[1:2])
    expected = expected_probs(small, pixels)
    assert np.allclose(run_onnx(onnx_file, pixels), expected, atol=1e-5)
    assert np.allclose(run_onnx(onnx_file, zeros), expected[1:2], atol=1e-5), "zeros in all bands are nodata"


def test_deepness_gives_the_same(small, tmp_path):
    """As src/deepness/processing/models/model_base.py feeds a layer of uint16, and map_processor_segmentation.py
    takes classes: numbers / 255, standardised, thresholded, the largest."""
    path = tmp_path / "m.onnx"
    export(small, path, format="onnx", scale=2e-4, offset=-0.1)
    told = {p.key: json.loads(p.value) for p in onnx.load(path).metadata_props}
    reflectance = smooth(3, (SIDE, SIDE))
    layer = np.rint((reflectance + 0.1) / 2e-4).astype(np.uint16)
    mean, std = (np.array(told[f"standardization_{k}"], np.float32) for k in ("mean", "std"))
    fed = ((np.float32(layer.transpose(1, 2, 0) * 1.0 / 255.0) - mean) / std).transpose(2, 0, 1)[None]
    answers = run_onnx(path, fed.astype(np.float32))
    answers[answers < told["seg_thresh"]] = 0
    expected = expected_probs(small, reflectance[None].astype(np.float32))
    assert (answers.argmax(1) == expected.argmax(1)).mean() > 0.995, "but for the rounding of the layer"
    assert told["model_type"] == "Segmentor"
    assert told["class_names"] == {"0": "first", "1": "second", "2": "third"}
    assert (told["resolution"], told["tile_size"], told["tiles_overlap"]) == (1000, SIDE, 50)
    assert told["seg_small_segment"] == 0


def test_the_file_is_whole_and_small(small, onnx_file):
    graph = onnx.load(onnx_file, load_external_data=False)
    onnx.checker.check_model(graph)
    assert graph.opset_import[0].version >= 17
    assert not any(v.data_location == onnx.TensorProto.EXTERNAL for v in graph.graph.initializer)
    assert not any(node.op_type == "BatchNormalization" for node in graph.graph.node)
    assert graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param


def test_a_calibration_and_members_are_in_the_file(small, tmp_path):
    model = ensemble_of([small, network("small-unet", seed=1)], name="both")
    calibration = Calibration.model_construct(method="vector", scale=(0.5, 1.5, 1.0), bias=(0.3, 0.0, -0.2))
    model = model.__class__(model.module, model.card, ModelCalibration.model_construct(scaling=calibration))
    export(model, tmp_path / "m.onnx", format="onnx")
    pixels = np.stack([smooth(5, (SIDE, SIDE))]).astype(np.float32)
    own = expected_probs(model, pixels)[0]
    expected = model.calibration.probs(own.reshape(3, -1).T).T.reshape(own.shape)
    assert np.allclose(run_onnx(tmp_path / "m.onnx", pixels)[0], expected, atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_what_says_something_else_is_not_written(small, tmp_path, monkeypatch, precision):
    form = FORMATS["onnx"]
    wrong = Format(
        form.suffix, form.framework, True, form.why_not, form.write,
        lambda path: lambda pixels: np.full((1, 3, SIDE, SIDE), 1 / 3, np.float32),
    )  # fmt: skip
    monkeypatch.setattr(exporting, "FORMATS", {"onnx": wrong})
    with pytest.raises(ModelError, match=r"says something else than in torch.*Nothing was written"):
        export(small, tmp_path / "m.onnx", format="onnx", precision=precision)
    assert not list(tmp_path.iterdir())


def test_answers_that_are_no_numbers_are_refused():
    with pytest.raises(ModelError, match="differ by nan"):
        exporting._refuse_other((float("nan"), 1.0), "float32", "onnx")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "onxn"}, "did you mean onnx"),
        ({"format": "torchscript", "precision": "int8"}, "has no int8"),
        ({"format": "openvino"}, r"written to a file \*.xml"),
        ({"tile_size": 50}, "--tile-size 50 is not a multiple of 32"),
        ({"format": "coreml"}, "on macOS"),
    ],
)
def test_what_cannot_be_exported_is_one_line(small, tmp_path, options, message):
    with pytest.raises(ModelError, match=message) as caught:
        export(small, tmp_path / "m.onnx", **{"format": "onnx", **options})
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_named(small, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r"needs openvino: pip install 'geoseg\[openvino\]'"):
        export(small, tmp_path / "m.xml", format="openvino")


def test_sample_tiles_are_real_and_fill_any_bands(small):
    card = small.card.model_copy(update={"bands": ("coastal", "nir", "rededge071", "vv"), "tile_size": 512})
    first, second = sample_tiles(card, 512)
    assert first.shape == second.shape == (4, 512, 512)
    assert 0.02 < np.nanmean(second) < 0.6
    assert np.isfinite(first).mean() > 0.5


def same_map(one, other):
    image = as_image(smooth(2, (90, 80)), geobox_at(height=90, width=80))
    first, second = (predict(image, model=model).class_id.to_numpy() for model in (one, other))
    return (first == second).mean() > 0.9999


def test_an_export_comes_back_as_a_model(small, onnx_file, tmp_path):
    model = import_model(onnx_file, ImportCard(), name="back")
    assert model.card.bands == BANDS
    assert model.card.legend == small.card.legend
    assert model.card.hyperparameters["output"] == "probabilities"
    save_model(model, tmp_path / "back")
    back = create_model(str(tmp_path / "back"))
    assert back.card.sha256
    validate_item(tmp_path / "back" / "item.json")
    assert same_map(back, small)


def test_what_an_export_says_itself_is_not_told_otherwise(onnx_file):
    for told in ({"classes": ("a", "b")}, {"bands": BANDS}, {"gsd_m": 20.0}):
        with pytest.raises(ModelError, match=f"says its {next(iter(told))} itself"):
            import_model(onnx_file, ImportCard(**told), name="back")


NETWORKS = {
    "logits": lambda: nn.Conv2d(4, 3, 1),
    "probabilities": lambda: nn.Sequential(nn.Conv2d(4, 3, 1), nn.Softmax(1)),
    "logit": lambda: nn.Conv2d(4, 1, 1),
    "probability": lambda: nn.Sequential(nn.Conv2d(4, 1, 1), nn.Sigmoid()),
}
GIVEN = ImportCard(
    bands=BANDS, classes=("land", "water", "cloud"), gsd_m=10, scale=1e-4, mean=(2000,), std=(1000.0,)
)
TWO = GIVEN.model_copy(update={"classes": ("land", "water")})


def write(module, path, size=32, **options):
    torch.manual_seed(0)
    nn.init.normal_((module if isinstance(module, nn.Conv2d) else module[0]).weight, std=3)
    torch.onnx.export(module, (torch.zeros(1, 4, size, size),), str(path), dynamo=False, **options)
    return path


@pytest.mark.parametrize("output", NETWORKS)
def test_what_a_file_gives_is_found_by_running_it(output, tmp_path):
    module = NETWORKS[output]()
    path = write(module, tmp_path / "m.onnx")
    given = TWO if output.startswith(("logit", "probability")) and output != "logits" else GIVEN
    model = import_model(path, given, name="m")
    assert model.card.hyperparameters["output"] == output
    assert (model.card.tile_size, model.card.tile_multiple) == (32, 32)
    assert model.card.mean == pytest.approx((0.2,) * 4)
    assert model.card.std == pytest.approx((0.1,) * 4)
    pixels = torch.rand(3, 4, 32, 32)  # more than its batch of one
    found, own = probs_of(model.module(pixels), model.card), module(pixels)
    expected = {
        "logits": lambda: own.softmax(1),
        "probabilities": lambda: own,
        "logit": lambda: torch.cat([1 - own.sigmoid(), own.sigmoid()], 1),
        "probability": lambda: torch.cat([1 - own, own], 1),
    }[output]()
    assert torch.allclose(found, expected, atol=1e-5)


def test_bands_last_is_found_from_the_shape(tmp_path):
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Conv2d(4, 3, 1)

        def forward(self, x):
            return self.inner(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    module = Last()
    torch.onnx.export(module, (torch.zeros(1, 32, 32, 4),), str(tmp_path / "m.onnx"), dynamo=False)
    model = import_model(tmp_path / "m.onnx", GIVEN, name="m")
    assert model.card.hyperparameters["layout"] == "nhwc"
    pixels = torch.rand(1, 4, 32, 32)
    assert torch.allclose(model.module(pixels), module.inner(pixels), atol=1e-5)


@pytest.mark.parametrize("suffix", [".pt", pytest.param(".pt2", marks=pytest.mark.lane)])
def test_programs_are_converted_when_trusted(suffix, tmp_path):
    module, path, zeros = nn.Conv2d(4, 3, 3, padding=1), tmp_path / f"m{suffix}", torch.zeros(1, 4, 32, 32)
    if suffix == ".pt":
        torch.jit.trace(module, zeros).save(str(path))
    else:
        torch.export.save(torch.export.export(module, (zeros,)), path)
    given = GIVEN.model_copy(update={"tile_size": 32})
    with pytest.raises(ModelError, match=r"holds a program.*Give --trust"):
        import_model(path, given, name="m")
    model = import_model(path, given, name="m", is_trusted=True)
    pixels = torch.rand(2, 4, 32, 32)
    assert torch.allclose(model.module(pixels), module(pixels), atol=1e-4)


def test_metadata_of_deepness_fills_the_card(tmp_path):
    path = write(nn.Conv2d(4, 3, 1), tmp_path / "m.onnx")
    graph = onnx.load(path)
    told = {
        "model_type": "Segmentor", "class_names": {0: "land", 1: "water", 2: "cloud"}, "resolution": 50,
        "tile_size": 32, "tiles_overlap": 25, "standardization_mean": [0.4] * 4, "standardization_std": [0.2] * 4,
    }  # fmt: skip
    for key, value in told.items():
        graph.metadata_props.add(key=key, value=json.dumps(value))
    onnx.save(graph, path)
    card = import_model(path, ImportCard(bands=BANDS), name="m").card
    assert [c.name for c in card.legend.classes] == ["land", "water", "cloud"]
    assert (card.gsd_m, card.tile_size, card.halo) == (0.5, 32, 4)
    assert card.mean == pytest.approx((0.4,) * 4)
    assert card.std == pytest.approx((0.2,) * 4)
    with pytest.raises(ModelError, match="give --bands"):
        import_model(path, ImportCard(), name="m")


@pytest.mark.parametrize(
    ("module", "given", "message"),
    [
        (nn.Conv2d(4, 3, 1), TWO, "gives 3 classes, --classes names 2"),
        (nn.Conv2d(4, 3, 1, stride=2), GIVEN, "expected a value of each class for each pixel"),
        (nn.Sequential(nn.Conv2d(4, 3, 1), nn.Sigmoid()), GIVEN, "do not add up to 1.*--output"),
        (nn.Conv2d(4, 3, 1), GIVEN.model_copy(update={"bands": BANDS[:3]}), "takes 4 bands, --bands names 3"),
        (nn.Conv2d(4, 3, 1), GIVEN.model_copy(update={"mean": (1.0, 2.0)}), "mean has 2 values for 4 bands"),
    ],
)
def test_what_does_not_fit_is_one_line(module, given, message, tmp_path):
    with pytest.raises(ModelError, match=message) as caught:
        import_model(write(module, tmp_path / "m.onnx"), given, name="m")
    assert "\n" not in str(caught.value)


def test_broken_files_and_cards_are_explained(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"not an ONNX file")
    with pytest.raises(ModelError, match="onnxruntime cannot read the ONNX file"):
        import_model(tmp_path / "m.onnx", GIVEN, name="m")
    (tmp_path / "m.pt").write_bytes(b"not a program")
    with pytest.raises(ModelError, match="cannot be read or run"):
        import_model(tmp_path / "m.pt", GIVEN, name="m", is_trusted=True)
    (tmp_path / "card.toml").write_text("bandz = ['red']\n")
    with pytest.raises(ModelError, match=r"card.toml cannot be used as a card: bandz"):
        read_import_card(tmp_path / "card.toml", {})
    (tmp_path / "card.toml").write_text("bands = ['red']\nmean = [0.5]\n")
    assert read_import_card(tmp_path / "card.toml", {"mean": [0.2], "std": None}).mean == (0.2,)


def test_an_imported_model_is_not_traced_into_a_constant(onnx_file, tmp_path):
    """What runs in onnxruntime leaves no trace in torch's graphs but its answer to zeros."""
    model = import_model(onnx_file, ImportCard(), name="back")
    with pytest.raises(GeosegError, match="is an ONNX file already"):
        export(model, tmp_path / "m.onnx", format="onnx")
    for name in ("openvino", "torch-compiled"):
        with pytest.raises(GeosegError, match="onnxruntime"):
            prepare(name, model, Work(SIDE))
    with pytest.raises(ModelError, match=r"takes .* got \[1, 4, 96, 96\]"):
        model.module(torch.zeros(1, 4, 96, 96))
    assert isinstance(Deployed(network("small-unet")), nn.Module)
