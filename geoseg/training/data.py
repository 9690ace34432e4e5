"""Labelled images as batches: what is learned from, how often each image is seen, what it looks like."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from geoseg.errors import TrainingError
from geoseg.evaluation.benchmark import IGNORE, Benchmark, Sample
from geoseg.evaluation.benchmark_images import Part, labelled_samples, pixels_and_labels
from geoseg.evaluation.labelled import benchmark_of
from geoseg.models.card import ModelCard
from geoseg.training.leaks import overlaps
from geoseg.training.tables import Data

_RAREST = 10.0
"""No image is drawn more often than this for its rare classes, times the mean image."""

Visit = tuple[int, int]
"""Which image, and the seed of what is cut from it."""


@dataclass(frozen=True)
class Images:
    """The samples of one split."""

    samples: tuple[Sample, ...]
    benchmark: Benchmark
    n_beside: int = 0
    """The last so many are of another data set, to be learned from only."""

    @property
    def places(self) -> list[str]:
        """Of each sample."""
        return [sample.place for sample in self.samples]


@dataclass(frozen=True)
class Statistics:
    """What the images that are learned from look like; each weighs as often as it is seen."""

    mean: tuple[float, ...]
    """Per band, reflectance."""
    std: tuple[float, ...]
    class_shares: tuple[float, ...]
    """Of the labelled pixels, per class."""
    value_range: tuple[float, float]
    """Between these lie 99.8 % of the values of each image, with a margin of a tenth."""


def read_splits(data: Data) -> tuple[Images, Images]:
    """The images to learn from and those to validate on; see :func:`refuse_leaks` for what is in both.

    Raises:
        TrainingError: there are too few places.
        EvaluationError: the data set is incomplete, or has no such split.
    """
    train, val = _splits(data)
    if data.max_places is not None:
        if data.max_places > len(set(train.places)):
            raise TrainingError(
                f"data.max_places is {data.max_places}, but there are {len(set(train.places))}. Leave it out."
            )
        kept = set(_shuffled(train.places)[: data.max_places])
        train = replace(train, samples=tuple(s for s in train.samples if s.place in kept))
    return train, val


def _splits(data: Data) -> tuple[Images, Images]:
    benchmark = benchmark_of(data.benchmark)
    if data.val_share is not None or data.folds is not None:
        part = Part(data.benchmark, Path(data.root), data.train_split)
        images = Images(tuple(labelled_samples(benchmark, part)), benchmark)
        if data.folds is not None and data.fold is None:
            return images, images
        held = _held_back(images, data)
        return (
            replace(images, samples=tuple(s for s in images.samples if s.place not in held)),
            replace(images, samples=tuple(s for s in images.samples if s.place in held)),
        )
    train, val = (
        Images(tuple(labelled_samples(benchmark, Part(data.benchmark, Path(data.root), split))), benchmark)
        for split in (data.train_split, data.val_split)
    )
    return train, val


def refuse_leaks(train: Images, val: Images) -> None:
    """Raises TrainingError where a place, or ground by whatever name, is learned from and validated on."""
    both = sorted(set(train.places) & set(val.places))
    if both:
        raise TrainingError(
            f"{len(both)} places (first: {both[0]}) are learned from and validated on, so validation would "
            "reward what is learned by heart. Give each place to one split."
        )
    learned, held = ([s for s in images.samples if s.ground is not None] for images in (train, val))
    pairs, shares = overlaps(*([s.ground for s in some if s.ground] for some in (learned, held)))
    if len(pairs):
        worst = int(np.argmax(shares))
        one, other = learned[pairs[worst, 0]], held[pairs[worst, 1]]
        raise TrainingError(
            f"{len(set(pairs[:, 1].tolist()))} images to validate on lie on ground that is learned from: "
            f"{other.id} ({other.place}) shares {shares[worst]:.0%} with {one.id} ({one.place}). Give them "
            "one place and one split."
        )


def _held_back(images: Images, data: Data) -> set[str]:
    """The places to validate on; which, follows from their names alone."""
    places = _shuffled(images.places)
    if len(places) < (data.folds or 2):
        raise TrainingError(
            f"The images are of {len(places)} places, so none is left to validate on, or not one for each of "
            f"{data.folds or 2} shares. Describe their places, or give a split of its own."
        )
    if data.folds is not None:
        return set(places[data.fold :: data.folds])
    return set(places[: min(max(round((data.val_share or 0) * len(places)), 1), len(places) - 1)])


def _shuffled(places: Sequence[str]) -> list[str]:
    return sorted(set(places), key=lambda place: hashlib.sha256(place.encode()).digest())


class Chips(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Images of one split as tensors: (band, y, x) float32 reflectance with NaN, (y, x) uint8 labels.

    A pixel that lacks a band of the model has no label.

    Each is read once and kept in memory. With ``crop``, a square is cut at each visit, where its seed
    says; without, what an image lacks of whole tiles is filled with nodata.
    """

    def __init__(self, images: Images, card: ModelCard, *, crop: int | None = None) -> None:
        self._images, self._card, self._crop = images, card, crop
        values = images.benchmark.legend.values
        self._index = np.full(256, IGNORE, np.uint8)
        self._index[list(values)] = np.arange(len(values))
        self._kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __len__(self) -> int:
        return len(self._images.samples)

    def __getitem__(self, visit: Visit | int) -> tuple[torch.Tensor, torch.Tensor]:
        n, seed = visit if isinstance(visit, tuple) else (visit, 0)
        pixels, labels = self.whole(n)
        multiple = self._card.tile_multiple
        rows, columns = (self._crop or -(-size // multiple) * multiple for size in labels.shape)
        lack = [0, max(columns - labels.shape[1], 0), 0, max(rows - labels.shape[0], 0)]
        if any(lack):
            pixels = torch.nn.functional.pad(pixels, lack, value=float("nan"))
            labels = torch.nn.functional.pad(labels, lack, value=IGNORE)
        if self._crop is None:
            return pixels, labels
        rng = np.random.default_rng(seed)
        top, left = (int(rng.integers(size - self._crop + 1)) for size in labels.shape)
        at = (slice(top, top + self._crop), slice(left, left + self._crop))
        return pixels[:, *at], labels[*at]

    def whole(self, n: int) -> tuple[torch.Tensor, torch.Tensor]:
        """An image and its labels, uncut.

        Raises:
            EvaluationError: they differ in size, or a band is missing.
        """
        if n not in self._kept:
            pixels, labels = pixels_and_labels(self._images.samples[n], self._images.benchmark, self._card)
            known = np.isfinite(pixels).all(0)  # where no network can answer, nothing is taught or scored
            indices = np.where(known, self._index[labels], np.uint8(IGNORE))
            self._kept[n] = torch.from_numpy(pixels), torch.from_numpy(indices)
        return self._kept[n]

    def shapes(self) -> set[tuple[int, int]]:
        """(height, width) of the images."""
        return {(int(y.shape[0]), int(y.shape[1])) for _, y in map(self.whole, range(len(self)))}

    def class_counts(self) -> NDArray[np.int64]:
        """(image, class) labelled pixels."""
        n_classes = len(self._images.benchmark.legend.classes)
        each = (self.whole(n)[1] for n in range(len(self)))
        return np.stack([np.bincount(y[y != IGNORE].numpy(), minlength=n_classes) for y in each])


def image_weights(places: Sequence[str], class_counts: NDArray[np.int64], data: Data) -> NDArray[np.float64]:
    """(image,) how likely each image is to be drawn; they add up to 1.

    A place with k images is drawn in proportion to k to the ``place_power``, whatever classes it has. Among
    the images of a place, one is drawn as often as its classes are rare: where each image is a place of its
    own, among all.
    """
    _, place, sizes = np.unique(np.asarray(places), return_inverse=True, return_counts=True)
    shares = sizes[place] ** (data.place_power - 1.0)
    group = place if sizes.max() > 1 else np.zeros_like(place)
    rarity = _rarity(class_counts, data.class_power)
    weights = shares * rarity / (np.bincount(group, rarity) / np.bincount(group))[group]
    found: NDArray[np.float64] = weights / weights.sum()
    return found


def _rarity(class_counts: NDArray[np.int64], power: float) -> NDArray[np.float64]:
    """(image,) the mean over labelled pixels of their class's share of all pixels to the power -``power``.

    Between 1, also of images without labels, and ``_RAREST`` times the mean of all.
    """
    shares = class_counts.sum(axis=0) / max(class_counts.sum(), 1)
    of_class = np.where(shares > 0, shares, 1.0) ** -power
    of_image = class_counts @ of_class / class_counts.sum(axis=1).clip(min=1)
    found: NDArray[np.float64] = of_image.clip(min=1.0, max=_RAREST * max(float(shares @ of_class), 1.0))
    return found


def with_beside(weights: NDArray[np.float64], *, n: int, share: float) -> NDArray[np.float64]:
    """The same for ``n`` images more, which are drawn alike and are ``share`` of what is seen."""
    return np.concatenate([weights * (1 - share), np.full(n, share / n)])


def statistics(chips: Chips, weights: NDArray[np.float64]) -> Statistics:
    """Of all pixels, images weighing as often as they are seen.

    Raises:
        TrainingError: no pixel has a value, or none a label.
    """
    n_bands = len(chips.whole(0)[0])
    sums = torch.zeros(3, n_bands, dtype=torch.float64)  # values, squares, pixels
    low, high = [], []
    for n, weight in enumerate(weights):
        pixels = chips.whole(n)[0].double()
        is_known = ~pixels.isnan()
        filled = pixels.nan_to_num(0.0)
        sums += weight * torch.stack([v.sum((1, 2)) for v in (filled, filled**2, is_known.double())])
        if is_known.any():
            low.append(float(np.quantile(pixels[is_known].numpy(), 0.001)))
            high.append(float(np.quantile(pixels[is_known].numpy(), 0.999)))
    counts = (chips.class_counts() * weights[:, None]).sum(axis=0)
    if not low or not counts.sum():
        what = "label" if low else "value"
        raise TrainingError(
            f"Not one pixel of the images has a {what}. Check how the data are described: geoseg benchmarks "
            "show."
        )
    mean = sums[0] / sums[2]
    std = (sums[1] / sums[2] - mean**2).clamp_min(1e-12).sqrt()
    margin = 0.1 * (max(high) - min(low))
    return Statistics(
        mean=tuple(round(v, 6) for v in mean.tolist()),
        std=tuple(round(v, 6) for v in std.tolist()),
        class_shares=tuple((counts / counts.sum()).tolist()),
        value_range=(round(min(low) - margin, 3), round(max(high) + margin, 3)),
    )


def seed_of(*numbers: int) -> int:
    """A seed below 2^63 that follows from numbers of 0 or more; zeros at their end make no other one."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


class EpochSampler(Sampler[Visit]):
    """So many images an epoch, drawn by weight; an epoch's draw depends on the seed and its number only.

    Where several processes train, each draws images of its own.
    """

    def __init__(self, weights: NDArray[np.float64], n: int, *, seed: int) -> None:
        self._weights, self._n, self._seed, self._epoch = torch.from_numpy(weights), n, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning says which epoch begins."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[Visit]:
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        generator = torch.Generator().manual_seed(seed_of(self._seed, self._epoch, rank))
        drawn = torch.multinomial(self._weights, self._n, replacement=True, generator=generator)
        seeds = torch.randint(2**31, (self._n,), generator=generator)
        yield from zip(drawn.tolist(), seeds.tolist(), strict=True)
