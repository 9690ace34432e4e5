"""Land-cover scenes drawn from a seed: reflectance by physics from published knowledge, labels that fit.

They teach a network which spectra, textures and layouts there are before it sees real images, among them
grounds that a set of chips may lack: deserts, salt, lava, dry grass, big cities. They are no reference:
scores on them say nothing about maps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoseg.evaluation.benchmark import Benchmark, Labels, Sample
from geoseg.evaluation.label_files import legend_of
from geoseg.evaluation.synthetic.covers import BIOMES, COVERS, SOIL, Biome
from geoseg.evaluation.synthetic.layouts import (
    Ids,
    highest,
    parcels,
    pivots,
    random_fields,
    river,
    slopes_lit,
    streets,
)
from geoseg.evaluation.synthetic.spectra import BANDS, KINDS, path_reflectance, spectra_of

NAME = "synthetic-landcover"
SIDE = 128
N_SCENES = {"val": 128, "train": 1024}

_LEGEND = legend_of("""
    006400 tree
    FFBB22 shrub
    FFFF4C grass
    F096FF crop
    FA0000 built
    B4B4B4 bare
    0064C8 water
    0096A0 wetland
""")
_CLASSES = [c.name for c in _LEGEND.classes]

Weights = dict[str, NDArray[np.float64]]
"""By cover, (y, x): how much of each pixel it takes; they add up to 1 in each pixel."""


@dataclass(frozen=True)
class Scene:
    """An image with what is on it."""

    biome: str
    image: NDArray[np.float32]
    """(band, y, x) reflectance, 0..1.2, in the order of :data:`BANDS`."""
    labels: Labels
    """(y, x) the class that covers most of each pixel."""


@lru_cache(maxsize=4)
def draw_scene(split: str, number: int, *, seed: int = 0, side: int = SIDE) -> Scene:
    """The scene of a number, the same every time; about 30 ms.

    Example:
        >>> scene = draw_scene("train", 7, side=32)
        >>> scene.image.shape, scene.labels.shape
        ((10, 32, 32), (32, 32))
    """
    rng = np.random.default_rng([seed, sorted(N_SCENES).index(split), number])
    odds = np.array([biome.weight for biome in BIOMES.values()])
    name = str(rng.choice(list(BIOMES), p=odds / odds.sum()))
    biome = BIOMES[name]
    weights, patches = _laid_out(biome, rng, side)
    image = _seen(_reflected(weights, patches, biome, rng), biome, rng)
    labels = _labelled(weights)
    image.flags.writeable = labels.flags.writeable = False
    return Scene(name, image, labels)


def _laid_out(biome: Biome, rng: np.random.Generator, side: int) -> tuple[Weights, NDArray[np.float64]]:
    """Which cover is where, and a number (y, x) that is one in each parcel or block."""
    weights = _nature(biome, rng, side)
    patches = np.zeros((side, side))
    smooth = random_fields(rng, 3, side=side, slope=3)
    if biome.crops and (share := rng.uniform(-0.3, 1) * biome.farmed) > 0.02:
        weights, patches = _with_fields(weights, highest(smooth[0], share), biome, rng)
    if rng.random() < 0.15 and biome.farmed:
        patch = highest(random_fields(rng, 1, side=side, slope=3)[0], rng.uniform(0.02, 0.2))
        weights = _lay(weights, "ash", patch * rng.uniform(0.4, 0.9))
    weights = _with_water(weights, smooth[1], biome, rng)
    if biome.towns and (share := rng.uniform(-0.5, 1) * biome.town) > 0.002:
        weights, patches = _with_town(weights, patches, smooth[2], share, biome, rng)
    if rng.random() < 0.5 and biome.town:
        road = river(rng, side, width=1.2, bends=rng.uniform(0, 6)) < 1
        weights = _lay(weights, "road", road * rng.uniform(0.15, 0.6))
    return weights, patches


def _lay(weights: Weights, cover: str, amount: NDArray[np.floating]) -> Weights:
    """The same with ``amount`` (y, x) of each pixel given to a cover."""
    kept = {name: weight * (1 - amount) for name, weight in weights.items()}
    kept[cover] = kept.get(cover, 0) + amount
    return kept


def _nature(biome: Biome, rng: np.random.Generator, side: int) -> Weights:
    """Open land: covers that pass into each other, softly or with sharp edges."""
    n = int(rng.integers(1, min(4, len(biome.nature)) + 1))
    chosen = list(dict.fromkeys(rng.choice(biome.nature, n, replace=False)))
    scores = random_fields(rng, len(chosen), side=side, slope=rng.uniform(1.5, 3.5))
    scores = (scores + rng.normal(0, 0.5, (len(chosen), 1, 1))) * rng.uniform(2, 12)
    shares = np.exp(scores - scores.max(axis=0))
    return dict(zip(map(str, chosen), shares / shares.sum(axis=0), strict=True))


def _with_fields(
    weights: Weights, farm: NDArray[np.bool_], biome: Biome, rng: np.random.Generator
) -> tuple[Weights, NDArray[np.float64]]:
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


def _by_id(
    ids: Ids, rng: np.random.Generator, *, mean_of: NDArray[np.bool_] | None = None, is_uniform: bool = False
) -> NDArray[np.float64]:
    """(y, x) a random number for each id, or the mean of something over its pixels."""
    _, index = np.unique(ids, return_inverse=True)
    index = index.reshape(ids.shape)
    n = int(index.max()) + 1
    if mean_of is not None:
        sums = np.bincount(index.ravel(), mean_of.ravel(), n) / np.bincount(index.ravel(), minlength=n)
    else:
        sums = rng.random(n) if is_uniform else rng.standard_normal(n)
    found: NDArray[np.float64] = sums[index]
    return found


def _with_water(
    weights: Weights, low: NDArray[np.float64], biome: Biome, rng: np.random.Generator
) -> Weights:
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
    patches: NDArray[np.float64],
    density: NDArray[np.float64],
    share: float,
    biome: Biome,
    rng: np.random.Generator,
) -> tuple[Weights, NDArray[np.float64]]:
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


def _labelled(weights: Weights) -> Labels:
    shape = next(iter(weights.values())).shape
    totals = np.zeros((len(_CLASSES), *shape))
    for name, weight in weights.items():
        if COVERS[name].class_name:
            totals[_CLASSES.index(COVERS[name].class_name)] += weight
    labels: Labels = totals.argmax(axis=0).astype(np.uint8)
    return labels


def _reflected(
    weights: Weights, patches: NDArray[np.float64], biome: Biome, rng: np.random.Generator
) -> NDArray[np.float64]:
    """(band, y, x) reflectance of the ground: each cover a mixture that varies within it."""
    side = len(patches)
    green = float(rng.uniform(*biome.green))
    soils = [str(s) for s in rng.choice(biome.soils, 2)]
    kept = {name: w for name, w in weights.items() if w.max() > 0.01}
    fields = random_fields(rng, 8, side=side, slope=rng.uniform(1.2, 3))
    grain = random_fields(rng, 2, side=side, slope=0.8)
    known: dict[str, NDArray[np.float64]] = {}
    image = np.zeros((len(BANDS), side, side))
    for name, weight in kept.items():
        shares = _parts(name, green, soils)
        known |= {m: spectra_of([m], rng)[0] for m in shares if m not in known}
        where = weight > 0.01
        which = rng.integers(0, len(fields), len(shares))
        loose = rng.uniform(0.2, 0.6)
        logits = np.log(list(shares.values()))[:, None] + loose * fields[which][:, where]
        logits += 0.35 * rng.standard_normal(len(shares))[:, None] * patches[where]
        parts = np.exp(logits)
        parts /= parts.sum(axis=0)  # (material, pixel)
        spectra = np.stack([known[m] for m in shares])  # (material, band)
        rough = 0.03 if COVERS[name].class_name == "water" else rng.uniform(0.03, 0.14)
        bright = np.exp(rough * grain[rng.integers(2)][where])
        image[:, where] += weight[where] * bright * (spectra.T @ parts)
    return image / np.maximum(sum(w * (w > 0.01) for w in kept.values()), 1e-6)


def _parts(name: str, green: float, soils: list[str]) -> Mapping[str, float]:
    """Shares of materials of a cover at a season, on the soils of the place; they add up to 1."""
    cover = COVERS[name]
    found: dict[str, float] = {}
    for part, share in cover.parts.items():
        if part == SOIL:
            pieces = [(soil, share / 2) for soil in soils]
        elif KINDS[part] == "leaf" and cover.fall:
            gone = cover.fall * (1 - green)
            pieces = [(part, share * (1 - gone)), (cover.dry, share * gone)]
        else:
            pieces = [(part, share)]
        for material, amount in pieces:
            found[material] = found.get(material, 0) + amount
    total = sum(found.values())
    return {material: max(amount / total, 1e-4) for material, amount in found.items()}


def _seen(ground: NDArray[np.float64], biome: Biome, rng: np.random.Generator) -> NDArray[np.float32]:
    """What a sensor sees of the ground: light on slopes, air in some scenes, blur, noise."""
    side = ground.shape[-1]
    seen = ground * slopes_lit(rng, side, relief=rng.uniform(0, biome.relief))
    seen = _blurred(seen, rng.uniform(0.3, 0.7))
    if rng.random() < 0.3:
        air = path_reflectance(rng.uniform(0.01, 0.09), rng.uniform(1.5, 4))
        seen = air[:, None, None] + seen * (1 - 1.5 * air)[:, None, None]
    else:  # what a correction leaves or takes too much
        seen = seen + path_reflectance(rng.normal(0, 0.004), rng.uniform(0, 2))[:, None, None]
    seen *= np.exp(rng.normal(0, 0.05) + rng.normal(0, 0.015, len(BANDS)))[:, None, None]
    noise = rng.standard_normal((len(BANDS), side, side), np.float32)
    return np.clip(seen + noise * (0.001 + 0.008 * seen), 0, 1.2).astype(np.float32)


def _blurred(image: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Blurred by a Gaussian point spread of ``sigma`` pixels, cut at the next neighbours."""
    beside = float(np.exp(-0.5 / sigma**2))
    for axis in (1, 2):
        width = [(0, 0), (0, 0), (0, 0)]
        width[axis] = (1, 1)
        padded = np.pad(image, width, mode="edge")
        size = image.shape[axis]
        before, after = (np.take(padded, range(k, k + size), axis) for k in (0, 2))
        image = (image + beside * (before + after)) / (1 + 2 * beside)
    return image


def _read_image(split: str, number: int) -> NDArray[np.float32]:
    return draw_scene(split, number).image


def _read_labels(split: str, number: int) -> Labels:
    return draw_scene(split, number).labels


def _find(root: Path, split: str) -> list[Sample]:
    return [
        Sample(
            id=f"{split}/{number:04}",
            place=f"{split}/{number:04}",
            read_image=partial(_read_image, split, number),
            read_labels=partial(_read_labels, split, number),
        )
        for number in range(N_SCENES[split])
    ]


SYNTHETIC = Benchmark(
    name=NAME,
    title="Synthetic land cover",
    legend=_LEGEND,
    bands=BANDS,
    splits=tuple(N_SCENES),
    home="geoseg itself, which draws it: any folder will do",
    license="CC0-1.0",
    layout="(no files)",
    find=_find,
    source=NAME,
    gsd_m=30,
    scale=1.0,
    n_samples=N_SCENES,
)
"""1,152 scenes that are made when they are read; scenes of ``val`` are drawn from other seeds."""
