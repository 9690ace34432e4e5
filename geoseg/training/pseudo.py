"""Images without labels that teach too: what a model is sure of stands for the truth."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from geoseg.errors import TrainingError
from geoseg.evaluation.benchmark import IGNORE, Benchmark, Labels, Sample
from geoseg.evaluation.benchmark_images import Part, image_and_labels, plan_for
from geoseg.evaluation.labelled import benchmark_of
from geoseg.inference.predictor import predict_probs
from geoseg.models.zoo import Model, create_model
from geoseg.training.beside import values_by_name
from geoseg.training.tables import Pseudo


def pseudo_labelled(pseudo: Pseudo, benchmark: Benchmark) -> tuple[Sample, ...]:
    """The images that ``pseudo`` names, with what a model is sure of as labels; predicted when read.

    Pixels of which the model is less sure than the threshold have no label (Lee 2013, ICML workshop on
    challenges in representation learning).

    Args:
        pseudo: which images, and whose classes.
        benchmark: the data set that they are learned with, whose bands and classes they must have.

    Raises:
        TrainingError: bands or classes are others.
        EvaluationError: the images are not there.
    """
    model, others = create_model(pseudo.model), benchmark_of(pseudo.benchmark)
    if others.bands != benchmark.bands:
        raise TrainingError(
            f"[pseudo] {others.title} has the bands {', '.join(others.bands)}, expected those of "
            f"{benchmark.title}: {', '.join(benchmark.bands)}."
        )
    legend = model.card.legend
    values = values_by_name(legend, benchmark, whose=f"[pseudo] {model.card.name}")[list(legend.values)]
    part = Part(pseudo.benchmark, Path(pseudo.root), pseudo.split)
    samples = [s for split in part.splits_of(others) for s in others.samples(part.root, split)]
    return tuple(
        replace(
            sample,
            id=f"pseudo/{sample.id}",
            read_labels=partial(_labels, sample, others, model, values, pseudo.threshold),
        )
        for sample in samples
    )


def _labels(sample: Sample, benchmark: Benchmark, model: Model, values: Labels, threshold: float) -> Labels:
    shape = sample.read_image().shape[1:]
    blank = replace(sample, read_labels=lambda: np.zeros(shape, np.uint8))
    image, _ = image_and_labels(blank, benchmark, model.card)
    probs = predict_probs(image, model=model, plan=plan_for(image, model.card))  # (class, y, x)
    is_sure = np.nan_to_num(probs.max(0)) >= threshold
    found: Labels = np.where(is_sure, values[np.nan_to_num(probs).argmax(0)], np.uint8(IGNORE))
    return found
