"""Images without labels that teach too: what a model is sure of stands for the truth."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from geoseg.evaluation.benchmark import IGNORE, Benchmark, Labels, Sample
from geoseg.evaluation.benchmark_images import Part, bands_for, image_and_labels, plan_for
from geoseg.evaluation.labelled import benchmark_of
from geoseg.inference.predictor import predict_probs
from geoseg.models.zoo import Model, create_model
from geoseg.training.beside import adopted, refuse_unlike, values_by_name
from geoseg.training.tables import Pseudo


def pseudo_labelled(pseudo: Pseudo, benchmark: Benchmark, bands: Sequence[str]) -> tuple[Sample, ...]:
    """The images that ``pseudo`` names, with what a model is sure of as labels; predicted when read.

    Pixels of which the model is less sure than the threshold have no label (Lee 2013, ICML workshop on
    challenges in representation learning). The student gets the images as the main data set stores its own.

    Args:
        pseudo: which images, and whose classes.
        benchmark: the data set that they are learned with, whose classes they must have.
        bands: those that the student takes.

    Raises:
        TrainingError: a class is unknown, or see :func:`geoseg.training.beside.refuse_unlike`.
        EvaluationError: the images are not there, or lack a band of the model that labels them.
    """
    model, others = create_model(pseudo.model), benchmark_of(pseudo.benchmark)
    refuse_unlike(others, benchmark, bands, table="pseudo")
    bands_for(model.card, others)  # whatever lacks one is refused now, not when labels are made
    part = Part(pseudo.benchmark, Path(pseudo.root), pseudo.split)
    samples = [s for split in part.splits_of(others) for s in others.samples(part.root, split)]
    pairs = adopted(samples, others, benchmark, table="pseudo")
    legend = model.card.legend
    values = values_by_name(legend, benchmark, whose=f"[pseudo] {model.card.name}")[list(legend.values)]
    return tuple(
        replace(own, read_labels=partial(_labels, sample, others, model, values, pseudo.threshold))
        for sample, own in pairs
    )


def _labels(sample: Sample, benchmark: Benchmark, model: Model, values: Labels, threshold: float) -> Labels:
    shape = sample.read_image().shape[1:]
    blank = replace(sample, read_labels=lambda: np.zeros(shape, np.uint8))
    image, _ = image_and_labels(blank, benchmark, model.card)
    probs = predict_probs(image, model=model, plan=plan_for(image, model.card))  # (class, y, x)
    is_sure = np.nan_to_num(probs.max(0)) >= threshold
    found: Labels = np.where(is_sure, values[np.nan_to_num(probs).argmax(0)], np.uint8(IGNORE))
    return found
