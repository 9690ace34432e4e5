"""Int8: what is rounded, that onnxruntime computes the same, and that ranges belong to weights."""

import copy
import functools

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from builders import BANDS, smooth
from torch import nn

from geoseg.errors import ModelError
from geoseg.models import int8_network
from geoseg.models.ensemble import ensemble_of
from geoseg.models.int8 import int8_of, joined_int8, read_int8, write_int8
from geoseg.models.int8_network import RUNTIME_OPTIONS, observe, rounded, write_int8_onnx
from geoseg.models.rounding import Range, RoundedWeight, Rounding, layers_of
from geoseg.models.zoo import FAMILIES, create_model, normalise, prepare_model, save_model

SIDE = 64
NETWORKS = {
    "small-unet": {"width": 8, "depth": 3},
    "context-mlp": {"width": 32, "dropout": 0.0, "noise": 0.0},
    "unet": {"encoder_name": "resnet18"},
    "deeplabv3plus": {"encoder_name": "resnet18"},
}


def card_of(family):
    return create_model("spectral-rules").card.model_copy(
        update={
            "name": "m", "family": family, "hyperparameters": NETWORKS[family], "bands": BANDS,
            "mean": (0.25,) * 4, "std": (0.15,) * 4, "tile_size": SIDE, "tile_multiple": 32,
        }
    )  # fmt: skip


TILES = [smooth(n, (SIDE, SIDE)).astype(np.float32) for n in range(4)]
PIXELS = normalise(torch.from_numpy(np.stack(TILES)), card_of("unet"))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@functools.cache
def learned(family, steps=20):
    """A network that has learned a little which band is brightest: answers of fresh ones are near ties."""
    torch.manual_seed(0)
    card = card_of(family)
    network = FAMILIES[family](card).train()
    optimizer = torch.optim.Adam(network.parameters(), 0.003)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(PIXELS), PIXELS.argmax(1)).backward()
        optimizer.step()
    return prepare_model(network, card)


def run_onnx(path, pixels):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.optimized_model_filepath = str(path.with_suffix(".run.onnx"))
    options.log_severity_level = 3
    for key, value in RUNTIME_OPTIONS.items():
        options.add_session_config_entry(key, value)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    nodes = [n.op_type for n in onnx.load(options.optimized_model_filepath).graph.node]
    return torch.from_numpy(session.run(["logits"], {"pixels": pixels.numpy()})[0]), nodes


@pytest.fixture(scope="module")
def small():
    return learned("small-unet")


@pytest.mark.parametrize(
    "family",
    [pytest.param(f, marks=[pytest.mark.lane] if "encoder_name" in o else []) for f, o in NETWORKS.items()],
)
def test_onnxruntime_rounds_as_the_network_does(family, tmp_path):
    # After 20 steps the large ones know little: noise of 1e-6 in the pixels changes 1 % of their classes.
    model = learned(family, 40 if "encoder_name" in NETWORKS[family] else 20)
    int8 = observe(model, TILES)
    path = write_int8_onnx(model, tmp_path / "m.onnx", int8=int8)
    expected = rounded(model, int8)(PIXELS)
    found, nodes = run_onnx(path, PIXELS)
    assert (found.argmax(1) == expected.argmax(1)).float().mean() >= 0.995
    assert (found - expected).abs().mean() < 0.01 * expected.std()
    assert not torch.equal(expected, model.module(PIXELS)), "something is rounded"
    assert nodes.count("QLinearConv") == len(int8.layers) - 1, "all but the last layer, which gives logits"
    n_bytes = sum(p.numel() for p in model.module.parameters())
    assert path.stat().st_size < 1.2 * n_bytes + 60_000, "weights are a byte each"
    assert all(value.data_type != onnx.TensorProto.FLOAT or len(value.dims) < 2 for value in weights(path))


def weights(path):
    """Of the layers in int8; kernels of the Gaussians of context-mlp are constants."""
    return [v for v in onnx.load(path).graph.initializer if "parametrizations" in v.name]


def test_members_are_rounded_each(tmp_path, small):
    other = learned("context-mlp")
    model = ensemble_of([small, other], name="both")
    int8 = observe(model, TILES)
    assert int8.layers == joined_int8([observe(m, TILES) for m in (small, other)]).layers
    expected = rounded(model, int8)(PIXELS)
    assert torch.equal(
        expected,
        model.module.combined(torch.stack([rounded(m, observe(m, TILES))(PIXELS) for m in (small, other)])),
    )
    found, _ = run_onnx(write_int8_onnx(model, tmp_path / "m.onnx", int8=int8, batch_size=len(TILES)), PIXELS)
    assert (found.argmax(1) == expected.argmax(1)).float().mean() >= 0.995


def held(network):
    """The network's rounding, with ranges of the pixels."""
    rounding = Rounding(network, layers_of(network, n_bands=4, tile_multiple=32)).train()
    network(PIXELS)
    return rounding.eval()


def test_what_is_trained_is_what_a_runtime_computes(small, monkeypatch):
    """The norm is beside the layer while it trains and folded into it in the runtime, be its weight below 0 or 0.

    What is left between them is the int32 of the biases, which training leaves alone.
    """
    network = copy.deepcopy(small.module)
    norm = network.network.down[0].first_norm
    norm.weight[0], norm.weight[1] = -3.0, 0.0
    model = prepare_model(copy.deepcopy(network), small.card)
    int8 = int8_of(held(network))
    given, plain = network(PIXELS), model.module(PIXELS)

    def difference(other):
        return float((given - other).abs().mean() / plain.std())

    by_rounding, by_bias = difference(plain), difference(rounded(model, int8)(PIXELS))
    stored = int8_network._Stored
    monkeypatch.setattr(
        int8_network, "_Stored", lambda s, dtype: nn.Identity() if dtype == torch.int32 else stored(s, dtype)
    )
    assert difference(rounded(model, int8)(PIXELS)) < 1e-3 < by_bias < 0.02
    assert by_rounding > 0.01


@pytest.mark.lane
def test_training_under_rounding_beats_rounding_afterwards():
    """Channels of sizes 1 to 1000: uint8 by tensor leaves the small ones no steps, unless they learn to grow."""
    torch.manual_seed(0)
    size = torch.logspace(0, 3, 8)
    network = nn.Sequential(nn.Conv2d(4, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1))
    fit(network, 200, rate=0.02)
    with torch.no_grad():  # the same function
        network[0].weight *= size[:, None, None, None]
        network[0].bias *= size
        network[2].weight /= size[:, None, None]
    model = prepare_model(copy.deepcopy(network), card_of("unet"))
    longer, trained = copy.deepcopy(network), copy.deepcopy(network)
    rounding = Rounding(trained, layers_of(trained, n_bands=4, tile_multiple=1)).train()
    fit(trained, 400, rate=0.3)
    rounding.release()
    within = accuracy(rounded(prepare_model(settle(trained), model.card), int8_of(rounding)))
    fit(longer, 400, rate=0.3)
    control = prepare_model(longer, model.card)
    assert accuracy(model.module) > 0.9
    assert within > accuracy(rounded(model, observe(model, TILES))) + 0.15
    assert within > accuracy(rounded(control, observe(control, TILES))), "not only as it learned for longer"


def settle(network):
    for layer in (network[0], network[2]):
        nn.utils.parametrize.remove_parametrizations(layer, "weight")
    return network


def fit(network, steps, *, rate):
    pixels = PIXELS[:, :, ::2, ::2].contiguous()
    optimizer = torch.optim.Adam(network.train().parameters(), rate)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(pixels), pixels.argmax(1)).backward()
        optimizer.step()


def accuracy(network):
    with torch.no_grad():
        return float((network.eval()(PIXELS).argmax(1) == PIXELS.argmax(1)).float().mean())


def test_layers_are_found_with_their_norms_and_activations():
    found = {layer.name: layer for layer in layers_of(learned("unet", 1).module, n_bands=4, tile_multiple=32)}
    first, second = found["encoder.layer1.0.conv1"], found["encoder.layer1.0.conv2"]
    assert (first.norm, first.has_relu, first.gives) == ("encoder.layer1.0.bn1", True, False)
    assert (second.norm, second.has_relu, second.gives) == ("encoder.layer1.0.bn2", False, True), "then a sum"
    assert not found["segmentation_head.0"].gives, "logits"
    assert len(found) == 31


def test_weights_stand_on_254_steps_per_channel_and_gradients_pass():
    weight = torch.randn(3, 5, 3, 3) * torch.tensor([1e-3, 1.0, 50.0])[:, None, None, None]
    weight.requires_grad_(True)
    found = RoundedWeight()(weight)
    scale = weight.detach().abs().amax((1, 2, 3), keepdim=True) / 127
    assert torch.allclose(found / scale, (weight / scale).round(), atol=1e-3)
    assert torch.allclose(RoundedWeight()(found), found, rtol=1e-5), (
        "rounding what is rounded changes nothing"
    )
    found.sum().backward()
    assert torch.equal(weight.grad, torch.ones_like(weight))


def test_a_range_follows_its_batches_and_cuts_gradients_off_outside():
    watched = Range(rounds=True).train()
    for high in (1.0, 3.0):
        watched(torch.tensor([-1.0, high]))
    assert (float(watched.low), float(watched.high)) == (-1, 2)
    watched.eval()
    x = torch.tensor([-9.0, -0.5, 0.0, 1.5, 9.0], requires_grad=True)
    found = watched(x)
    assert float(found.detach()[2]) == 0, "0, with which images are padded, is on a step"
    assert torch.allclose(found.detach(), x.detach().clamp(-1, 2), atol=3 / 255)
    found.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0]
    assert (float(watched.low), float(watched.high)) == (-1, 2), "watched while it trains only"


def test_ranges_of_other_weights_are_refused(tmp_path, small):
    card = save_model(small, tmp_path)
    int8 = observe(create_model(str(tmp_path)), TILES)
    assert int8.weights_sha256 == card.sha256
    write_int8(int8, tmp_path)
    assert read_int8(tmp_path, weights_sha256=card.sha256) == int8
    with pytest.raises(ModelError, match=r"holds ranges of weights .*, those here are .*fit.int8") as error:
        read_int8(tmp_path, weights_sha256="0" * 64)
    assert "\n" not in str(error.value)
    (tmp_path / "int8.json").write_text('{"layers": {}}')
    with pytest.raises(ModelError, match=r"int8.json: .*remove it"):
        read_int8(tmp_path, weights_sha256=card.sha256)
    (tmp_path / "int8.json").unlink()
    assert read_int8(tmp_path, weights_sha256=card.sha256) is None


def test_what_cannot_be_rounded_is_refused(small, tmp_path):
    int8 = observe(small, TILES)
    with pytest.raises(ModelError, match="has 3 others"):
        rounded(learned("context-mlp", 1), int8)
    changed = prepare_model(small.module, small.card.model_copy(update={"sha256": "0" * 64}))
    with pytest.raises(ModelError, match="Observe them again"):
        rounded(changed, int8.model_copy(update={"weights_sha256": "1" * 64}))
    with pytest.raises(ModelError, match="No tiles"):
        observe(small, [])
    with pytest.raises(ModelError, match="no convolution"):
        observe(create_model("spectral-rules"), TILES)
    with pytest.raises(ModelError, match="not a multiple of 32"):
        write_int8_onnx(small, tmp_path / "m.onnx", int8=int8, tile_size=40)
