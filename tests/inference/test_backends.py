"""Backends: each gives torch's logits, whatever the batch; and the fastest that does is chosen by measuring."""

import copy
import functools
import subprocess
import sys

import numpy as np
import pytest
import torch
from builders import network, smooth
from torch import nn

from geoseg.errors import ModelError, RecipeError
from geoseg.inference import backends
from geoseg.inference.backends import BACKENDS, EAGER, PRECISIONS, Work, prepare, why_not
from geoseg.inference.backends.choosing import choose
from geoseg.models.ensemble import ensemble_of
from geoseg.models.folding import folded
from geoseg.models.int8_network import observe, rounded
from geoseg.models.zoo import prepare_model, ready

SIDE = 64
TILES = [smooth(n, (SIDE, SIDE)).astype(np.float32) for n in range(3)]


@functools.cache
def small():
    """It has learned a little which band is brightest: answers of a fresh network are near ties."""
    model = network("small-unet")
    module = copy.deepcopy(model.module).requires_grad_(True).train()
    optimizer = torch.optim.Adam(module.parameters(), 0.003)
    batch = batch_of(model)
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(batch), batch[:, :3].argmax(1)).backward()
        optimizer.step()
    return prepare_model(module, model.card)


@functools.cache
def both():
    other = network("small-unet", seed=1)
    return ensemble_of([small(), other], name="both")


MODELS = {"small-unet": small, "ensemble": both}


def batch_of(model):
    return ready(torch.from_numpy(np.stack(TILES)), model.card)


def slow_marks(name):
    return [pytest.mark.lane] if name == "torch-compiled" else []  # a minute of C++


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", [pytest.param(n, marks=slow_marks(n)) for n in BACKENDS])
def test_each_backend_says_what_torch_says(name, precision, kind):
    model = MODELS[kind]()
    int8 = observe(model, TILES) if precision == "int8" else None
    work = Work(SIDE, batch_size=2, precision=precision, int8=int8)
    if (reason := why_not(name, work)) is not None:
        pytest.skip(f"{name} {precision}: {reason}")
    batch, before = batch_of(model), batch_of(model)
    reference = rounded(model, int8) if int8 else model.module
    with torch.inference_mode():
        expected = reference(batch)
        run = prepare(name, model, work)
        two, one = run(batch[:2]), run(batch[2:])
    found = torch.cat([two, one])
    assert torch.equal(batch, before)
    assert found.shape == expected.shape
    assert found.dtype == torch.float32
    least = {"float32": 0.9999, "bf16": 0.98, "int8": 0.9}[precision]
    assert (found.argmax(1) == expected.argmax(1)).float().mean() >= least
    if precision == "float32":
        assert (found - expected).abs().max() < 1e-3
    kept = two.clone()
    run(batch[2:])
    assert torch.equal(two, kept), "an answer is the caller's: later ones do not overwrite it"


def test_norms_are_folded_and_the_model_is_left_alone():
    model = network("unet")
    before = {k: v.clone() for k, v in model.module.state_dict().items()}
    module = folded(model)
    batch = batch_of(model)
    assert not any(type(m) is nn.BatchNorm2d for m in module.modules())
    assert torch.allclose(module(batch), model.module(batch), atol=1e-4)
    assert all(torch.equal(v, before[k]) for k, v in model.module.state_dict().items())


def test_folding_that_would_change_logits_is_not_done(monkeypatch):
    monkeypatch.setattr("geoseg.models.folding.TOLERANCE", -1.0)
    model = small()
    assert folded(model) is model.module


def test_what_cannot_run_here_says_what_to_install(monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda _: None)
    assert why_not("openvino", Work(SIDE)) == "needs openvino: pip install 'geoseg[openvino]'"
    with pytest.raises(
        RecipeError, match=r"--backend onnxruntime needs onnxruntime: pip install 'geoseg\[onnx\]'"
    ):
        prepare("onnxruntime", small(), Work(SIDE))
    with pytest.raises(RecipeError, match="did you mean openvino"):
        why_not("openvinno", Work(SIDE))


def test_int8_needs_ranges():
    with pytest.raises(RecipeError, match="int8 needs ranges"):
        prepare("onnxruntime", small(), Work(SIDE, precision="int8"))


@pytest.fixture
def fake(monkeypatch):
    """A registry with torch and backends that are as slow, wrong or broken as a test wants."""
    table = {EAGER: BACKENDS[EAGER]}
    monkeypatch.setattr(backends, "BACKENDS", table)
    monkeypatch.setattr("geoseg.inference.backends.choosing.BACKENDS", table)

    def add(name, prepare_network, *, prepare_s=0.0, not_worth=()):
        table[name] = backends.Backend(prepare_network, lambda _: None, ("float32",), prepare_s, not_worth)

    return add


def instantly(model, work):
    batch = batch_of(model)
    with torch.no_grad():
        answers = {float(b.sum()): model.module(b[None]) for b in batch}
    return lambda asked: answers[float(asked[0].sum())]


def test_the_fastest_is_chosen(fake):
    fake("instant", instantly)
    found = choose(small(), TILES, Work(SIDE), n_tiles=10_000)
    assert found.name == "instant"
    assert [m.name for m in found.measured] == ["instant", EAGER]
    assert "1" in found.measured[0].text()
    assert found.measured[1].reason.endswith("times as long")


def test_the_fastest_is_not_chosen_when_it_says_something_else(fake):
    fake("instant", lambda model, work: lambda batch: torch.zeros(1, 3, SIDE, SIDE))
    found = choose(small(), TILES, Work(SIDE), n_tiles=10_000)
    assert found.name == EAGER
    assert "its classes differ: 99.9% must be alike" in found.measured[1].text()


def test_what_takes_long_to_prepare_is_not_tried_for_little(fake):
    fake("instant", instantly, prepare_s=1000)
    found = choose(small(), TILES, Work(SIDE), n_tiles=3)
    assert found.name == EAGER
    assert found.measured[1].text().startswith("instant float32: not tried: in torch all tiles take 0 s")


def test_what_is_not_worth_a_try_here_is_tried_when_named(fake):
    fake("instant", instantly, not_worth=("cpu",))
    assert [m.name for m in choose(small(), TILES, Work(SIDE), n_tiles=10_000).measured] == [EAGER]
    assert choose(small(), TILES, Work(SIDE), n_tiles=10_000, names=["instant"]).name == "instant"


def test_preparation_counts(fake, monkeypatch):
    def slowly(model, work):
        torch.mm(torch.rand(3000, 3000), torch.rand(3000, 3000))
        return instantly(model, work)

    fake("instant", slowly)
    found = choose(small(), TILES, Work(SIDE), n_tiles=1)
    assert found.name == EAGER
    assert found.measured[1].reason == "faster, but 1 tiles do not make up for the time to make it ready"


def test_what_fails_is_told(fake):
    def broken(model, work):
        raise ModelError("The network cannot be written as ONNX: no such operator.")

    fake("broken", broken)
    found = choose(small(), TILES, Work(SIDE), n_tiles=10_000)
    assert found.name == EAGER
    assert "no such operator" in found.measured[1].text()


def test_openvino_tells_nobody_that_it_is_used():
    asked = "from geoseg.models.openvino_runtime import openvino; print(openvino().tools.ovc.telemetry)"
    ran = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert "telemetry_stub.Telemetry" in ran.stdout
