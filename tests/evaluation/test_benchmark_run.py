"""A model on a benchmark: by the engine that makes maps, with the classes and bands put in their places."""

import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine
from builders import BANDS, as_image, model_folder, network, smooth
from odc.geo.geobox import GeoBox
from sklearn.metrics import log_loss

from geoseg import memory
from geoseg.errors import EvaluationError
from geoseg.evaluation import benchmark_run
from geoseg.evaluation.benchmark import BENCHMARKS, IGNORE, Benchmark, Sample
from geoseg.evaluation.benchmark_images import Part, image_and_labels, plan_for
from geoseg.evaluation.benchmark_run import Task, score_benchmark
from geoseg.evaluation.maps import Crosswalk
from geoseg.evaluation.scores import ORDER
from geoseg.inference.efficiency import flops_per_pixel, n_parameters
from geoseg.inference.predictor import predict, predict_probs
from geoseg.legend import Legend
from geoseg.models.zoo import create_model
from geoseg.report.scores import render_scores

SHAPE = (40, 44)
TURNED = tuple(reversed(BANDS))


def stored(seed):
    return np.rint(smooth(seed, SHAPE) * 10_000).astype(np.uint16)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(model_folder(tmp_path_factory.mktemp("model"), halo=8))


@cache
def labels(model, seed):
    """What the model says, with the classes in the opposite order, and a void."""
    image = as_image(stored(seed) * 1e-4, GeoBox(SHAPE, Affine.scale(1, -1), "EPSG:6933"))
    created = create_model(model)
    turned = 2 - predict(image, model=created, plan=plan_for(image, created.card)).class_id.to_numpy()
    turned[:5] = IGNORE
    return turned


@pytest.fixture
def task(model, tmp_path):
    """Four images in two places whose labels are what the model says of them."""
    samples = [
        Sample(f"i{n}", f"place{n // 2}", lambda n=n: stored(n)[::-1], lambda n=n: labels(model, n))
        for n in range(4)
    ]
    held_back = [Sample("x", "x", lambda: stored(0), None)]
    tiny = Benchmark(
        name="tiny",
        title="Tiny",
        legend=Legend.of(third="D7191C", second="33A02C", first="1F78B4"),
        bands=TURNED,
        splits=("val", "test"),
        home="nowhere",
        license="none",
        layout="",
        find=lambda root, split: samples if split == "val" else held_back,
        source="made up",
        scale=1e-4,
    )
    BENCHMARKS.register("tiny")(tiny)
    yield Task(Part("tiny", tmp_path), model)
    del BENCHMARKS._things["tiny"]


def test_the_engines_own_maps_score_one(task):
    seen = []
    evaluation = score_benchmark(task, on_image=lambda done, of: seen.append((done, of)))
    scores = evaluation.scores
    assert seen == [(n, 4) for n in range(1, 5)]
    assert all(scores.overall[name] == pytest.approx(1) for name in ORDER)
    assert scores.compared == 4 * 35 * 44
    assert [place.place for place in scores.places] == ["place0", "place1"]
    assert [c.class_name for c in scores.classes] == ["third", "second", "first"]
    assert scores.efficiency.parameters == n_parameters(network())
    assert scores.efficiency.latency_median_s <= scores.efficiency.latency_p95_s
    assert len(evaluation.cases) == 4
    assert "i0" in render_scores(evaluation)


def test_a_limit_is_spread_over_the_split(task):
    evaluation = score_benchmark(replace(task, part=replace(task.part, limit=2)))
    assert {case.name for case in evaluation.cases} == {"i0", "i3"}
    assert "part of the split" in evaluation.scores.notes[0]


def test_classes_may_be_joined_by_a_crosswalk(task):
    crosswalk = Crosswalk(prediction={"first": "third", "second": "second", "third": "ignore"})
    evaluation = score_benchmark(replace(task, crosswalk=crosswalk))
    scores, whole = evaluation.scores, score_benchmark(task).scores
    n_ignored = whole.classes[0].predicted
    assert n_ignored > 0
    assert (scores.compared, scores.left_out) == (whole.compared - n_ignored, whole.left_out + n_ignored)
    assert sum(scores.unpredicted) == 0
    assert scores.classes[2].predicted == 0


def test_a_model_is_built_once(task, monkeypatch):
    built = []
    monkeypatch.setattr(benchmark_run, "create_model", lambda name: built.append(name) or create_model(name))
    assert score_benchmark(task).scores.title == "tiny-unet on Tiny, val"
    assert len(built) == 1


def test_memory_is_known_without_proc(monkeypatch):
    with_proc = memory.peak_memory_mb()
    monkeypatch.setattr(memory, "Path", lambda name: Path("/nowhere") / name.lstrip("/"))
    assert with_proc / 3 < memory.peak_memory_mb() < 3 * with_proc


def test_what_a_model_costs_is_sane(task):
    started = time.perf_counter()
    cost = score_benchmark(task).scores.efficiency
    took_s = time.perf_counter() - started
    assert 0 < cost.latency_median_s * 4 <= took_s * 2
    assert 4 * 40 * 44 / took_s < cost.pixels_per_s <= 40 * 44 / (cost.latency_median_s / 4)
    assert 100 < cost.peak_memory_mb < 20_000


def test_operations_of_a_convolution_are_counted_exactly():
    """3 x 3 x 4 bands x 5 classes, two for each multiplication and addition, for each pixel."""
    model = network()
    conv = torch.nn.Conv2d(len(BANDS), 5, 3, padding=1)
    assert flops_per_pixel(replace(model, module=conv)) == 2 * 9 * len(BANDS) * 5
    strided = torch.nn.Conv2d(len(BANDS), 8, 2, stride=2)
    assert flops_per_pixel(replace(model, module=strided)) == 2 * 4 * len(BANDS) * 8 / 4
    assert n_parameters(replace(model, module=conv)) == 9 * len(BANDS) * 5 + 5


def test_probabilities_are_scored_in_the_sets_classes(task):
    """Brier and likelihood by scikit-learn, of probabilities added up by hand."""
    benchmark, model = BENCHMARKS[task.part.benchmark], create_model(task.model)
    probs, labels = [], []
    for sample in benchmark.samples(task.part.root):
        image, true = image_and_labels(sample, benchmark, model.card)
        found = predict_probs(image, model=model, plan=plan_for(image, model.card))
        known = (true != 255) & np.isfinite(found[0])
        probs.append(found[:, known].T)
        labels.append(true[known])
    probs, labels = np.concatenate(probs).astype(float), np.concatenate(labels)
    order = [[c.name for c in model.card.legend.classes].index(c.name) for c in benchmark.legend.classes]
    probs = probs[:, order] / probs.sum(1, keepdims=True)
    reliability = score_benchmark(task).scores.reliability
    truth = np.eye(len(order))[labels]
    assert reliability.n == len(labels)
    assert reliability.brier == pytest.approx(((probs - truth) ** 2).sum(1).mean(), rel=1e-5)
    assert reliability.nll == pytest.approx(log_loss(labels, probs, labels=range(len(order))), rel=1e-5)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"benchmark": "tini"}, "No benchmark named 'tini': did you mean tiny?"),
        ({"split": "test"}, "Split test of Tiny has no class labels to score"),
        ({"split": "train"}, "Tiny has no split 'train': give val, test"),
        (
            {"model": "spectral-rules"},
            "Model spectral-rules gives bare, built, vegetation, water, which Tiny has not",
        ),
        ({"root": Path("/nowhere")}, "There is no folder /nowhere. Get Tiny from nowhere"),
    ],
)
def test_what_does_not_fit_is_said(task, change, text):
    of_part = {name: value for name, value in change.items() if name != "model"}
    asked = replace(task, part=replace(task.part, **of_part), model=change.get("model", task.model))
    with pytest.raises(EvaluationError) as error:
        score_benchmark(asked)
    assert text in str(error.value)


def test_missing_bands_are_named(task, monkeypatch):
    lacking = replace(BENCHMARKS["tiny"], bands=("red", "green", "blue"))
    monkeypatch.setitem(BENCHMARKS._things, "tiny", lacking)
    with pytest.raises(EvaluationError, match="needs nir, swir16; Tiny has red, green, blue"):
        score_benchmark(task)


def test_operations_are_those_of_the_convolutions():
    model = network()
    assert (
        flops_per_pixel(model) > 2 * 64 * len(BANDS) * 49 / 4
    )  # the first convolution alone, at half the size
