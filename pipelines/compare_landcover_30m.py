"""What the default model is worth: the tables of docs/models.md, beside a random forest and the rules.

    python pipelines/compare_landcover_30m.py FOLDER [--model landcover-30m]

FOLDER is the set of chips that pipelines/data/landcover-30m.toml describes. Needs scikit-learn. On each
place of val the default model answers by the one of its networks that has not seen the place, and the forests
learn from the places that this network learned from.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import xarray as xr
from sklearn.ensemble import RandomForestClassifier

from geoseg.evaluation import metrics
from geoseg.evaluation.benchmark_images import Part, image_and_labels, labelled_samples, plan_for
from geoseg.evaluation.bootstrap import bootstrap
from geoseg.evaluation.confusion import count
from geoseg.evaluation.labelled import benchmark_of
from geoseg.inference.predictor import predict
from geoseg.models.folds import Unseeing, folds_of
from geoseg.models.zoo import create_model

BENCHMARK = "landcover-30m"
N_CLASSES = 8
PIXELS_PER_PLACE = 3000
GROUPS = {"tree": 1, "shrub": 1, "grass": 1, "crop": 1, "wetland": 1, "built": 3, "bare": 2, "water": 0}
"""As spectral-rules has them: water, vegetation, bare, built."""

Maker = Callable[[str, xr.DataArray], np.ndarray]
"""Classes (y, x) of an image of a place."""


def chips(root: Path, split: str, model: str) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Place, the model's bands (band, y, x) and labels (y, x) of each chip."""
    benchmark, card = benchmark_of(BENCHMARK), create_model(model).card
    for sample in labelled_samples(benchmark, Part(BENCHMARK, root, split)):
        image, labels = image_and_labels(sample, benchmark, card)
        yield sample.place, image, labels


def features(pixels: np.ndarray) -> np.ndarray:
    """(pixel, feature): six bands, NDVI and NDWI."""
    blue, green, red, nir, swir16, swir22 = pixels
    ndvi, ndwi = (nir - red) / (nir + red + 1e-6), (green - nir) / (green + nir + 1e-6)
    stack = np.stack([blue, green, red, nir, swir16, swir22, ndvi.clip(-1, 1), ndwi.clip(-1, 1)])
    return np.nan_to_num(stack.reshape(len(stack), -1).T)


def forest(root: Path, model: str, *, is_balanced: bool) -> Maker:
    """Random forests, one for each fold; balanced: as many pixels of each place, else of each chip."""
    rng, member, pixels = np.random.default_rng(0), folds_of(model).member, []
    n_of = Counter(place for place, *_ in chips(root, "train,val", model))
    for place, image, labels in chips(root, "train,val", model):
        known = np.flatnonzero(labels.ravel() < N_CLASSES)
        wanted = -(-PIXELS_PER_PLACE // n_of[place]) if is_balanced else 500
        at = rng.choice(known, min(wanted, len(known)), replace=False)
        pixels.append((place, features(image.to_numpy())[at], labels.ravel()[at]))

    @cache
    def fitted(fold: int) -> RandomForestClassifier:
        x, y = zip(*((x, y) for place, x, y in pixels if member[place] != fold), strict=True)
        made = RandomForestClassifier(150, min_samples_leaf=5, n_jobs=-1, random_state=0)
        return made.fit(np.concatenate(x), np.concatenate(y))

    return lambda place, image: (
        fitted(member[place]).predict(features(image.to_numpy())).reshape(image.shape[1:])
    )


def network(model: str) -> Maker:
    """A geoseg model, by networks that have not seen the place."""
    made = create_model(model)
    unseeing = Unseeing(made, folds_of(model), BENCHMARK)
    return lambda place, image: predict(
        image, model=unseeing.of(place), plan=plan_for(image, made.card)
    ).class_id.to_numpy()


def scored(root: Path, model: str, make: Maker, groups: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """(class, class + 1) matrix of each place of val; with ``groups`` in the four classes of the rules."""
    n, counts = (N_CLASSES if groups is None else max(GROUPS.values()) + 1), {}
    for place, image, labels in chips(root, "val", model):
        expected = labels if groups is None else groups[labels]
        own = counts.setdefault(place, np.zeros((n, n + 1), np.int64))
        own += count(expected.astype(np.int32), make(place, image).astype(np.int32), n_classes=n)
    return counts


def line(name: str, counts: dict[str, np.ndarray]) -> str:
    """A row of a table: accuracy and mean IoU with 95 % intervals by places."""
    stack = np.stack(list(counts.values()))
    scores = (metrics.pixel_accuracy, metrics.miou)
    return f"| {name} | {' | '.join(ranged(stack, score)[0] for score in scores)} |"


def class_table(names: list[str], counts: dict[str, dict[str, np.ndarray]]) -> str:
    """IoU of each class by each model, with 95 % intervals by places."""
    stacks = [np.stack(list(found.values())) for found in counts.values()]
    columns = [ranged(stack, metrics.iou) for stack in stacks]
    pixels = stacks[0].sum(axis=(0, 2))
    head = f"| IoU of | {' | '.join(counts)} | pixels |\n|---|{'---|' * (len(counts) + 1)}"
    rows = (
        f"| {name} | {' | '.join(column[n] for column in columns)} | {pixels[n]:,} |"
        for n, name in enumerate(names)
    )
    return "\n".join([head, *rows])


def ranged(stack: np.ndarray, score: Callable[[np.ndarray], np.ndarray]) -> list[str]:
    """Each value of a score with its 95 % interval, as text."""
    found = bootstrap(stack, score)
    values = zip(found.value.ravel(), found.low.ravel(), found.high.ravel(), strict=True)
    return [f"{value:.3f} ({low:.3f} to {high:.3f})" for value, low, high in values]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--model", default="landcover-30m")
    given = parser.parse_args()
    names = [c.name for c in benchmark_of(BENCHMARK).legend.classes]
    groups = np.full(256, 255, np.uint8)
    groups[: len(names)] = [GROUPS[name] for name in names]
    makers = {
        given.model: network(given.model),
        "random forest, as many pixels of each place": forest(given.root, given.model, is_balanced=True),
        "random forest, as many pixels of each chip": forest(given.root, given.model, is_balanced=False),
    }
    counts = {name: scored(given.root, given.model, make) for name, make in makers.items()}
    print("| model | accuracy | mean IoU |\n|---|---|---|")
    for name, found in counts.items():
        print(line(name, found))
    print(f"\n{class_table(names, counts)}")
    print("\n| place | accuracy | mean IoU | pixels |\n|---|---|---|---|")
    for place, own in sorted(counts[given.model].items(), key=lambda item: int(item[0])):
        scores = f"{metrics.pixel_accuracy(own):.3f} | {metrics.miou(own):.3f}"
        print(f"| {place} | {scores} | {own.sum():,} |")
    grouped = {
        name: scored(
            given.root, given.model, lambda place, image, make=make: groups[make(place, image)], groups
        )
        for name, make in makers.items()
    }
    grouped["spectral-rules"] = scored(given.root, "spectral-rules", network("spectral-rules"), groups)
    print("\nIn the four classes of the rules:\n\n| model | accuracy | mean IoU |\n|---|---|---|")
    for name, found in grouped.items():
        print(line(name, found))
    print(f"\n{class_table(['water', 'vegetation', 'bare', 'built'], grouped)}")


if __name__ == "__main__":
    main()
