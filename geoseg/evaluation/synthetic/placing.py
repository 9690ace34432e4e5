"""Where a place has what: covers laid over each other, from open land to towns."""

import numpy as np
from numpy.typing import NDArray

from geoseg.evaluation.synthetic.covers import COVERS, Biome
from geoseg.evaluation.synthetic.layouts import (
    Field,
    Ids,
    Mask,
    highest,
    parcels,
    pivots,
    random_fields,
    river,
    streets,
)

Weights = dict[str, NDArray[np.floating]]
"""By cover, (y, x): how much of each pixel it takes; they add up to 1 in each pixel."""


def lay_out(biome: Biome, rng: np.random.Generator, side: int) -> tuple[Weights, Field]:
    """Which cover is where, and a number (y, x) that is one in each parcel or block."""
    weights = _nature(biome, rng, side)
    patches: Field = np.zeros((side, side))
    smooth = random_fields(rng, 3, side=side, slope=3)
    if biome.crops and rng.random() < 0.8:
        farm = highest(smooth[0], float(np.sqrt(rng.random())) * biome.farmed)
        weights, patches = _with_fields(weights, farm, biome, rng)
        weights = _with_copses(weights, biome, rng)
    if rng.random() < 0.15 and biome.farmed:
        patch = highest(random_fields(rng, 1, side=side, slope=3)[0], rng.uniform(0.02, 0.2))
        weights = _lay(weights, "ash", patch * rng.uniform(0.4, 0.9))
    weights = _with_water(weights, smooth[1], biome, rng)
    if biome.towns and (share := rng.uniform(-0.3, 1) * biome.town) > 0.002:
        weights, patches = _with_town(weights, patches, smooth[2], share, biome, rng)
    if rng.random() < 0.5 and biome.town:
        road = river(rng, side, width=1.2, bends=rng.uniform(0, 6)) < 1
        weights = _lay(weights, "road", road * rng.uniform(0.1, 0.5))
    return weights, patches


def _lay(weights: Weights, cover: str, amount: Field) -> Weights:
    """The same with ``amount`` (y, x) of each pixel given to a cover."""
    kept: Weights = {name: weight * (1 - amount) for name, weight in weights.items()}
    kept[cover] = kept.get(cover, 0) + amount
    return kept


def _nature(biome: Biome, rng: np.random.Generator, side: int) -> Weights:
    """Open land: covers that pass into each other, softly or with sharp edges."""
    n = int(rng.integers(1, min(4, len(biome.nature)) + 1))
    chosen = list(dict.fromkeys(rng.choice(biome.nature, n, replace=False)))
    scores: Field = random_fields(rng, len(chosen), side=side, slope=rng.uniform(1.5, 3.5))
    scores = (scores + rng.normal(0, 0.5, (len(chosen), 1, 1))) * rng.uniform(2, 12)
    shares = np.exp(scores - scores.max(axis=0))
    return dict(zip(map(str, chosen), shares / shares.sum(axis=0), strict=True))


def _with_fields(
    weights: Weights, farm: Mask, biome: Biome, rng: np.random.Generator
) -> tuple[Weights, Field]:
    """Fields, each in one state of growth, some with hedges between them."""
    side = len(farm)
    size = rng.uniform(3, 9) if rng.random() < 0.4 else rng.uniform(8, 26)
    if rng.random() < biome.pivot:
        ids, inside = pivots(rng, side, size=rng.choice([13.5, 27.0]))
    else:
        ids, inside = parcels(rng, side, size=size), np.ones((side, side), bool)
    patches = _by_id(ids, rng)
    farmed = _by_id(ids, rng, mean_of=farm) > 0.5
    crops = rng.choice(biome.crops, int(rng.integers(1, 5)))
    state = (_by_id(ids, rng, is_uniform=True) * len(crops)).astype(int)
    for k, crop in enumerate(crops):
        weights = _lay(weights, str(crop), (farmed & inside & (state == k)).astype(float))
    if rng.random() < 0.3 and size > 8:
        edge = (np.diff(ids, axis=0, prepend=ids[:1]) != 0) | (np.diff(ids, axis=1, prepend=ids[:, :1]) != 0)
        weights = _lay(weights, str(rng.choice(biome.nature)), edge * farmed * rng.uniform(0.1, 0.45))
    return weights, patches * farmed


def _with_copses(weights: Weights, biome: Biome, rng: np.random.Generator) -> Weights:
    """What is left of nature between the fields."""
    side = len(next(iter(weights.values())))
    copses = highest(random_fields(rng, 1, side=side, slope=rng.uniform(1.5, 3))[0], rng.uniform(0, 0.12))
    return _lay(weights, str(rng.choice(biome.nature)), copses * rng.uniform(0.5, 1))


def _by_id(
    ids: Ids, rng: np.random.Generator, *, mean_of: Mask | None = None, is_uniform: bool = False
) -> Field:
    """(y, x) a random number for each id, or the mean of something over its pixels."""
    _, index = np.unique(ids, return_inverse=True)
    index = index.reshape(ids.shape)
    n = int(index.max()) + 1
    if mean_of is not None:
        sums = np.bincount(index.ravel(), mean_of.ravel(), n) / np.bincount(index.ravel(), minlength=n)
    else:
        sums = rng.random(n) if is_uniform else rng.standard_normal(n)
    found: Field = sums[index]
    return found


def _with_water(weights: Weights, low: Field, biome: Biome, rng: np.random.Generator) -> Weights:
    """Lakes or sea where the ground is low, rivers, and what grows or lies along the shores."""
    water = str(rng.choice(biome.waters))
    shore = str(rng.choice(biome.shores)) if biome.shores else water
    if (share := rng.uniform(-0.6, 1) * biome.wet) > 0.005:
        if biome.wet > 0.5:  # a sea lies to one side
            tilt = np.linspace(-2, 2, len(low))
            low = np.rot90(low * 0.7 + tilt, int(rng.integers(4)))
        weights = _lay(weights, shore, highest(low, min(share * rng.uniform(1, 1.6), 1)).astype(float))
        weights = _lay(weights, water, highest(low, share).astype(float))
    if rng.random() < biome.river:
        width, bends = rng.uniform(1.5, 14), rng.uniform(0, 25)
        distance = river(rng, len(low), width=width, bends=bends)
        weights = _lay(weights, shore, (distance < rng.uniform(1, 2.5)).astype(float))
        braided = distance + rng.choice([0, 0.6]) * random_fields(rng, 1, side=len(low), slope=2)[0]
        weights = _lay(weights, water, (braided < 1) * float(rng.uniform(0.7, 1)))
    return weights


def _with_town(
    weights: Weights,
    patches: Field,
    density: Field,
    share: float,
    biome: Biome,
    rng: np.random.Generator,
) -> tuple[Weights, Field]:
    """Blocks between streets, denser inside, with gardens and parks among them; not on water."""
    is_land = 1 - sum(weights[name] for name in weights if COVERS[name].class_name == "water")
    ids, street = streets(rng, len(density), size=rng.uniform(3, 9))
    blocks = _by_id(ids, rng)
    town = highest(density + 0.25 * blocks, share) * is_land
    kinds = rng.choice(biome.towns, int(rng.integers(1, 4)))
    kind = (_by_id(ids, rng, is_uniform=True) ** 2 * len(kinds)).astype(int)
    garden = np.clip(
        0.35 * random_fields(rng, 1, side=len(density), slope=1.2)[0] + rng.uniform(-0.3, 0.2), 0, 1
    )
    for k, name in enumerate(kinds):
        weights = _lay(weights, str(name), town * (kind == k) * (1 - garden))
    weights = _lay(weights, "road", town * street * rng.uniform(0.2, 0.6))
    return weights, np.where(town > 0, blocks, patches)
