"""Which places are learned from and which are held back: classes are spread as evenly as they can be."""

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import TrainingError

TRAIN, VAL, TEST = "train", "val", "test"
SPLITS = (TRAIN, VAL, TEST)

_LACKING = 10.0
"""What a split without a class costs, against the squares of shares that are off: more than all of those."""
_MOST_MOVES = 1000

Counts = NDArray[np.int64]


def choose_splits(
    counts: Mapping[str, Counts],
    *,
    val_share: float,
    test_share: float,
    fixed: Mapping[str, str] | None = None,
    seed: int = 0,
) -> dict[str, str]:
    """The split of each place; it follows from names, counts, shares and seed, in whatever order they come.

    The largest places are given out first, each to the split that lacks most of what it has; then places are
    moved while that makes the shares of the classes more even, or brings a split a class that it lacks.

    Args:
        counts: (class,) labelled pixels of each place.
        val_share: of all labelled pixels, to validate on; 0 for no such split.
        test_share: to be left alone until the end; 0 for no such split.
        fixed: places that have a split already and keep it, whether they are in ``counts`` or not.
        seed: places that are alike are ordered by it.

    Raises:
        TrainingError: there are fewer places than splits.
    """
    shares = {TRAIN: 1 - val_share - test_share, VAL: val_share, TEST: test_share}
    wanted = {split: share for split, share in shares.items() if share > 0}
    fixed = fixed or {}
    free = _in_order([place for place in counts if place not in fixed], counts, seed)
    if len(wanted) > len(free) + len(set(fixed.values()) & set(wanted)):
        raise TrainingError(
            f"{len(counts)} place{'s' * (len(counts) != 1)} cannot be parted into {', '.join(wanted)}, as a "
            "place is never in two. Give a smaller --block-m or --chip-size, or --val-share 0."
        )
    if not free:
        return {place: fixed[place] for place in counts}
    state = _State(np.array([counts[p] for p in free]), list(wanted.values()))
    for place, split in fixed.items():
        if place in counts and split in wanted:
            state.keep(counts[place], list(wanted).index(split))
    names = list(wanted)
    chosen = {place: names[s] for place, s in zip(free, state.settle(), strict=True)}
    return {place: chosen.get(place) or fixed[place] for place in counts}


def lacking(
    counts: Mapping[str, Counts], splits: Mapping[str, str], names: list[str]
) -> dict[str, list[str]]:
    """By split, the classes of ``names`` that it has not one pixel of; splits that lack none are left out."""
    found = {}
    for split in (s for s in SPLITS if s in splits.values()):
        total = sum(counts[place] for place in counts if splits[place] == split)
        gone = [name for name, n in zip(names, np.atleast_1d(total), strict=True) if not n]
        if gone:
            found[split] = gone
    return found


def _in_order(places: list[str], counts: Mapping[str, Counts], seed: int) -> list[str]:
    """The largest first, by what part of each class they have."""
    total = np.maximum(sum(counts.values()), 1)

    def key(place: str) -> tuple[float, bytes]:
        return -round(float((counts[place] / total).sum()), 9), hashlib.sha256(
            f"{seed} {place}".encode()
        ).digest()

    return sorted(places, key=key)


class _State:
    """What the splits have so far, (split, class), and what that costs."""

    def __init__(self, counts: Counts, shares: list[float]) -> None:
        everything = counts.sum(axis=1, keepdims=True)
        self._counts = np.hstack(
            [counts, everything]
        )  # (place, class + 1): all pixels are a class of their own
        self._shares = np.array(shares)[:, None]
        self._have = np.zeros((len(shares), self._counts.shape[1]), np.int64)
        self._kept = self._have.copy()
        self._n_kept = np.zeros(len(shares), np.int64)

    def keep(self, counts: Counts, split: int) -> None:
        """A place that has its split."""
        self._kept[split] += np.append(counts, counts.sum())
        self._n_kept[split] += 1

    def settle(self) -> list[int]:
        """The split of each place."""
        self._have = self._kept.copy()
        self._total = np.maximum(self._counts.sum(axis=0) + self._kept.sum(axis=0), 1)
        chosen = np.zeros(len(self._counts), np.int64)
        for n, count in enumerate(self._counts):
            need = (count / self._total * (self._shares - self._have / self._total)).sum(axis=1)
            chosen[n] = np.argmax(need)
            self._have[chosen[n]] += count
        for _ in range(_MOST_MOVES):
            if not self._move(chosen):
                break
        return [int(s) for s in chosen]

    def _move(self, chosen: NDArray[np.int64]) -> bool:
        """Move the one place whose move helps most; False where none helps."""
        before = self._cost(self._have, self._shares)  # (split,)
        at = np.arange(len(chosen))
        left = self._have[chosen] - self._counts  # (place, class): what a split has without the place
        gain = (before[chosen] - self._cost(left, self._shares[chosen]))[:, None]  # (place, 1)
        joined = self._have + self._counts[:, None]  # (place, split, class)
        gain = gain + before - self._cost(joined, self._shares)
        sizes = np.bincount(chosen, minlength=len(before)) + self._n_kept
        is_last = sizes[chosen] == 1
        gain -= (is_last * 1e6)[:, None]  # no split is emptied
        gain += ((sizes == 0) * 1e3)[None] * ~is_last[:, None]  # and an empty one comes first
        gain[at, chosen] = 0
        place, split = np.unravel_index(np.argmax(gain), gain.shape)
        if gain[place, split] <= 1e-12:
            return False
        self._have[chosen[place]] -= self._counts[place]
        self._have[split] += self._counts[place]
        chosen[place] = split
        return True

    def _cost(self, have: Counts, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., class) to (...): by how much shares are off, and how many classes are lacking."""
        off = ((have / self._total - shares) ** 2 / shares).sum(axis=-1)
        found: NDArray[np.float64] = off + _LACKING * (have == 0).sum(axis=-1)
        return found
