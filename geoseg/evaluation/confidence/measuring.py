"""``geoseg calibrate``: what a model's probabilities are worth, measured place by place."""

import math
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import EvaluationError, GeosegWarning
from geoseg.evaluation.benchmark import Benchmark
from geoseg.evaluation.benchmark_images import Part, image_and_labels, labelled_samples, plan_for
from geoseg.evaluation.confidence.calibration import fit_calibration
from geoseg.evaluation.confidence.conformal import CoverageCounter, fit_conformal
from geoseg.evaluation.confidence.reliability import Ints, ProbsReliability, log_probs
from geoseg.evaluation.confusion import table_of
from geoseg.evaluation.labelled import benchmark_of
from geoseg.evaluation.maps import IGNORE, Crosswalk, renamed
from geoseg.inference.predictor import predict_probs
from geoseg.inference.runner import AUTO, Inference
from geoseg.models.calibration import Calibration, Method, ModelCalibration, calibrated
from geoseg.models.card import ModelCard
from geoseg.models.conformal import Conformal, Coverage, Kind, Unit
from geoseg.models.folds import Unseeing, folds_of
from geoseg.models.zoo import Model, load_model

PIXELS_PER_PLACE = 20_000
"""At most so many labelled pixels of a place are drawn: neighbours say the same."""
_SEEN = 0.005
"""Share of the pixels from which on a class is one that the model gives."""
_MOST_VALUES = 50_000_000
"""Probabilities that are kept, of all places together: 200 MB."""
_N_FOLDS = 10
_MIN_PLACES = 4
"""Fewer places cannot be parted into some to fit scaling, some to fit sets and some to measure on."""
_SCALING_SHARE = 1 / 3
"""Of the places, for the one or few numbers of the scaling; the others are for the sets."""


@dataclass(frozen=True)
class CalibrationTask:
    """What is measured on what."""

    part: Part
    """It must not be what the model was trained on, unless it is an ensemble of folds: on places that such a
    model learned from, the network that has not seen them answers."""
    model: str
    """A model folder, or the name of a built-in model."""
    how: Inference = AUTO
    """As maps will be made."""
    crosswalk: Crosswalk = field(default_factory=Crosswalk)
    """``reference``: from the labels' classes to the model's."""
    method: Method = "temperature"
    coverage: float = 0.9
    """How often the sets shall hold the true class."""
    kind: Kind = "lac"
    by_class: bool = False
    """Whether that shall hold for each class."""
    seed: int = 0
    """Of the pixels drawn and of the order of places."""


@dataclass(frozen=True, eq=False)
class _Pixels:
    """Labelled pixels, place after place."""

    probs: NDArray[np.float32]
    """(n, class)"""
    labels: Ints
    """(n,) class indices of the model."""
    ends: dict[str, slice]
    """Where each place lies."""

    def of(self, names: Sequence[str]) -> "_Pixels":
        """Those of some places."""
        parts = [self.ends[name] for name in names]
        return _joined({n: (self.probs[at], self.labels[at]) for n, at in zip(names, parts, strict=True)})

    def every_second(self, start: int) -> "_Pixels":
        """Half of each place."""
        at = {name: slice(place.start + start, place.stop, 2) for name, place in self.ends.items()}
        return _joined({name: (self.probs[part], self.labels[part]) for name, part in at.items()})

    @property
    def places(self) -> NDArray[np.str_]:
        """(n,) the place of each."""
        return np.repeat(list(self.ends), [place.stop - place.start for place in self.ends.values()])


def _joined(places: dict[str, tuple[NDArray[np.float32], Ints]]) -> _Pixels:
    probs, labels = (np.concatenate(column) for column in zip(*places.values(), strict=True))
    stops = np.cumsum([len(y) for _, y in places.values()]).tolist()
    ends = {name: slice(*at) for name, at in zip(places, zip([0, *stops], stops, strict=False), strict=True)}
    return _Pixels(probs, labels, ends)


def measure(
    task: CalibrationTask, *, on_image: Callable[[int, int], None] = lambda done, of: None
) -> ModelCalibration:
    """Scaling and sets of a model, and how well both do on places that they were not fitted on.

    Places are parted: a third is for the scaling, the others are for the sets, since sets must be fitted on
    pixels that the scaling has not seen. For the coverage all is fitted again without a tenth of the places,
    ten times, and measured on those. Where enough places are left, sets promise their coverage for a pixel
    of a new place (:func:`~geoseg.evaluation.confidence.conformal.fit_conformal`), else for pixels of these.

    Args:
        task: what is asked for.
        on_image: told how many images are done, of how many.

    Raises:
        EvaluationError: no labels, classes that do not fit, or a coverage outside 0..1.
    """
    if not 0 < task.coverage < 1:
        raise EvaluationError(f"--coverage is {task.coverage:g}, expected between 0 and 1, such as 0.9.")
    benchmark, model = benchmark_of(task.part.benchmark), load_model(task.model)
    pixels = _pixels(task, benchmark, model, on_image)
    order = np.random.default_rng(task.seed).permutation(sorted(pixels.ends)).tolist()
    unit = _unit(len(order), task.coverage)
    scaling, conformal = _fit(pixels, order, task, unit)
    _refuse_turned(scaling, model.card)
    _warn_of_vanished(pixels, scaling, model.card)
    held = _held_out(pixels, order, task, unit) if len(order) >= _MIN_PLACES else None
    return ModelCalibration(
        weights_sha256=model.card.sha256,
        measured_on=task.part.title(benchmark) + _who_answered(pixels, task, model, benchmark),
        tta=task.how.tta,
        scaling=scaling,
        conformal=conformal,
        coverage=held[0] if held else None,
        ece_before=held[1] if held else None,
        ece_after=held[2] if held else None,
    )


def _who_answered(pixels: _Pixels, task: CalibrationTask, model: Model, benchmark: Benchmark) -> str:
    n = Unseeing(model, folds_of(task.model), benchmark.name).n_seen(set(pixels.ends))
    return f"; on {n} of its places by the one network that has not seen the place" if n else ""


def _pixels(
    task: CalibrationTask, benchmark: Benchmark, model: Model, on_image: Callable[[int, int], None]
) -> _Pixels:
    samples = labelled_samples(benchmark, task.part)
    table = _model_classes(benchmark, model.card, task.crosswalk)
    unseeing = Unseeing(model, folds_of(task.model), benchmark.name)
    rng = np.random.default_rng(task.seed)
    n_images = Counter(sample.place for sample in samples)
    n_classes = len(model.card.legend.classes)
    per_place = min(PIXELS_PER_PLACE, max(_MOST_VALUES // (len(n_images) * n_classes), 1))
    found: dict[str, list[tuple[NDArray[np.float32], Ints]]] = {}
    for number, sample in enumerate(samples):
        image, labels = image_and_labels(sample, benchmark, model.card)
        there = unseeing.of(sample.place)
        probs = predict_probs(image, model=there, plan=plan_for(image, model.card), how=task.how)
        index = table[labels]  # (y, x), probs (class, y, x)
        at = np.flatnonzero((index >= 0) & np.isfinite(probs[0]))
        most = -(-per_place // n_images[sample.place])
        if len(at) > most:
            at = rng.choice(at, most, replace=False)
        rows = probs.reshape(n_classes, -1)[:, at].T
        found.setdefault(sample.place, []).append((rows, index.ravel()[at].astype(np.int64)))
        on_image(number + 1, len(samples))
    places = {
        name: tuple(np.concatenate(column) for column in zip(*parts, strict=True))
        for name, parts in found.items()
    }
    labelled = {name: (probs, labels) for name, (probs, labels) in places.items() if len(labels)}
    if not labelled:
        raise EvaluationError(
            f"Not one pixel of {benchmark.title} has both a class of {model.card.name} and a prediction. "
            "Check the crosswalk, and nodata of the images."
        )
    return _joined(labelled)


def _model_classes(benchmark: Benchmark, card: ModelCard, crosswalk: Crosswalk) -> NDArray[np.int32]:
    """(256,) the model's class index of each label."""
    names = renamed({c.value: c.name for c in benchmark.legend.classes}, crosswalk.reference, "reference")
    by_name = {c.name: c.value for c in card.legend.classes}
    unknown = sorted({name for name in names.values() if name not in by_name and name != IGNORE})
    if unknown:
        raise EvaluationError(
            f"{benchmark.title} has {', '.join(unknown[:5])}, which model {card.name} does not give "
            f"({', '.join(list(by_name)[:8])}). Say in a --crosswalk file: [reference] with "
            f'"{unknown[0]}" = a class of the model, or "ignore".'
        )
    return table_of(card.legend.values, {v: by_name[n] for v, n in names.items() if n in by_name})


def _unit(n_places: int, coverage: float) -> Unit:
    n_left = n_places - math.ceil(n_places / _N_FOLDS)
    n_for_sets = n_left - _n_scaling(n_left)
    return "place" if n_for_sets + 1 >= 1 / (1 - coverage) - 1e-9 else "pixel"


def _refuse_turned(scaling: Calibration, card: ModelCard) -> None:
    turned = [c.name for c, scale in zip(card.legend.classes, scaling.scale, strict=True) if scale <= 0]
    if turned:
        raise EvaluationError(
            f"Vector scaling would turn {', '.join(turned)} around: on these images, the more {card.name} is "
            "for it, the less it is there. Give --method temperature, or take a better model."
        )


def _warn_of_vanished(pixels: _Pixels, scaling: Calibration, card: ModelCard) -> None:
    n = len(card.legend.classes)
    before = np.bincount(pixels.probs.argmax(axis=1), minlength=n)
    after = np.bincount(calibrated(pixels.probs, scaling).argmax(axis=1), minlength=n)
    gone = (before >= _SEEN * len(pixels.labels)) & (after < before / 10)
    if gone.any():
        names = ", ".join(c.name for c, is_gone in zip(card.legend.classes, gone, strict=True) if is_gone)
        warnings.warn(
            f"With this scaling, maps of {card.name} will hardly show {names} any more. --method temperature "
            "changes no class.",
            GeosegWarning,
            stacklevel=3,
        )


def _n_scaling(n_places: int) -> int:
    return max(round(n_places * _SCALING_SHARE), 1)


def _fit(
    pixels: _Pixels, places: Sequence[str], task: CalibrationTask, unit: Unit
) -> tuple[Calibration, Conformal]:
    """Scaling on the first places, sets on the others; a single place is halved by pixels."""
    n = _n_scaling(len(places))
    if len(places) > 1:
        first, second = pixels.of(places[:n]), pixels.of(places[n:])
    else:
        first, second = pixels.every_second(0), pixels.every_second(1)
    scaling = fit_calibration(
        log_probs(first.probs), first.labels, places=list(first.ends), method=task.method
    )
    return scaling, fit_conformal(
        calibrated(second.probs, scaling),
        second.labels,
        alpha=round(1 - task.coverage, 12),
        places=second.places,
        kind=task.kind,
        unit=unit,
        by_class=task.by_class,
    )


def _held_out(
    pixels: _Pixels, places: Sequence[str], task: CalibrationTask, unit: Unit
) -> tuple[Coverage, float | None, float | None]:
    """Coverage of sets, and calibration errors before and after scaling, on places left out of the fit."""
    n_classes = pixels.probs.shape[1]
    counted = CoverageCounter(alpha=round(1 - task.coverage, 12), n_classes=n_classes)
    before, after = ProbsReliability(n_classes), ProbsReliability(n_classes)
    for fold in range(min(_N_FOLDS, len(places))):
        out = places[fold::_N_FOLDS]
        scaling, conformal = _fit(pixels, [p for p in places if p not in out], task, unit)
        for name in out:
            there = pixels.of([name])
            probs = calibrated(there.probs, scaling)
            counted.feed(conformal.sets(probs), there.labels, place=name)
            before.feed(there.probs, there.labels)
            after.feed(probs, there.labels)
    return counted.coverage(), before.reliability().ece, after.reliability().ece
