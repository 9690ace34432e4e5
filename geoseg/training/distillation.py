"""Learning from what other models say, beside the labels."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from geoseg.errors import TrainingError
from geoseg.models.card import ModelCard
from geoseg.models.zoo import create_model, logits_of, probs_of, ready
from geoseg.training.tables import Distill

Teacher = Callable[[torch.Tensor], torch.Tensor]
"""(n, band, y, x) reflectance, NaN = nodata, to (n, class, y, x) probabilities."""

_LEAST = 1e-6


def teacher_of(distill: Distill, card: ModelCard) -> Teacher:
    """The mean of what the teachers say, of the student's classes in its order.

    Raises:
        TrainingError: a teacher's bands or classes are not the student's, or it cannot be run.
    """
    teachers = [
        _onnx(path, card) if path.endswith(".onnx") else _model(path, card) for path in distill.teachers
    ]

    @torch.no_grad()
    def mean(pixels: torch.Tensor) -> torch.Tensor:
        return torch.stack([teacher(pixels) for teacher in teachers]).mean(0)

    return mean


def soft_loss(
    logits: torch.Tensor, probs: torch.Tensor, is_known: torch.Tensor, *, temperature: float
) -> torch.Tensor:
    """Kullback-Leibler divergence of softened answers, a mean over known pixels times temperature squared.

    Hinton et al. 2015 (arXiv:1503.02531), section 2.

    Args:
        logits: (n, class, y, x) the student's.
        probs: (n, class, y, x) the teacher's.
        is_known: (n, y, x) where the image is not nodata.
        temperature: above 1 looks at the order of unlikely classes too.
    """
    target = (probs.clamp_min(_LEAST).log() / temperature).log_softmax(1)
    found = (logits.float() / temperature).log_softmax(1)
    divergence = (target.exp() * (target - found)).sum(1) * is_known
    return divergence.sum() / is_known.sum().clamp_min(1) * temperature**2


def _model(name: str, card: ModelCard) -> Teacher:
    model = create_model(name)
    theirs = [c.name for c in model.card.legend.classes]
    names = [c.name for c in card.legend.classes]
    _refuse_other(name, "bands", model.card.bands, card.bands)
    _refuse_other(name, "classes", names, theirs)
    _refuse_other(name, "classes", theirs, names)
    take = [card.bands.index(band) for band in model.card.bands]
    order = [theirs.index(c) for c in names]

    def say(pixels: torch.Tensor) -> torch.Tensor:
        module = model.module.to(pixels.device)
        return probs_of(logits_of(module, pixels[:, take], model.card), model.card)[:, order]

    return say


def _refuse_other(name: str, what: str, needed: Sequence[str], there: Sequence[str]) -> None:
    if missing := [v for v in needed if v not in there]:
        raise TrainingError(
            f"Teacher {name} and the student differ in {what}: {', '.join(missing)}. A teacher must know the "
            "same classes and take bands that the student has."
        )


def _onnx(path: str, card: ModelCard) -> Teacher:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise TrainingError(f"{path} needs onnxruntime: pip install 'geoseg[onnx]'.") from None
    if not Path(path).is_file():
        raise TrainingError(f"There is no file {path}. Check distill.teachers.")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name, n_classes = session.get_inputs()[0].name, len(card.legend.classes)

    def say(pixels: torch.Tensor) -> torch.Tensor:
        (logits, *_) = session.run(None, {name: ready(pixels, card).contiguous().cpu().numpy()})
        if logits.shape[1] != n_classes:
            raise TrainingError(f"{path} gives {logits.shape[1]} classes, expected {n_classes}.")
        return torch.from_numpy(logits).to(pixels).softmax(1)

    return say
