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
from geoseg.evaluation.synthetic.layouts import Field, random_fields, slopes_lit
from geoseg.evaluation.synthetic.placing import Weights, lay_out
from geoseg.evaluation.synthetic.spectra import BANDS, KINDS, Spectrum, draw_spectrum, path_reflectance

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


Image = NDArray[np.floating]
"""(band, y, x) reflectance."""


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
    """The scene of a number, the same every time; about 40 ms.

    Example:
        >>> scene = draw_scene("train", 7, side=32)
        >>> scene.image.shape, scene.labels.shape
        ((10, 32, 32), (32, 32))
    """
    rng = np.random.default_rng([seed, sorted(N_SCENES).index(split), number])
    odds = np.array([biome.weight for biome in BIOMES.values()])
    name = str(rng.choice(list(BIOMES), p=odds / odds.sum()))
    biome = BIOMES[name]
    weights, patches = lay_out(biome, rng, side)
    image = _seen(_reflected(weights, patches, biome, rng), biome, rng)
    labels = _labelled(weights)
    image.flags.writeable = labels.flags.writeable = False
    return Scene(name, image, labels)


def _labelled(weights: Weights) -> Labels:
    shape = next(iter(weights.values())).shape
    totals = np.zeros((len(_CLASSES), *shape))
    for name, weight in weights.items():
        if COVERS[name].class_name:
            totals[_CLASSES.index(COVERS[name].class_name)] += weight
    labels: Labels = totals.argmax(axis=0).astype(np.uint8)
    return labels


def _reflected(weights: Weights, patches: Field, biome: Biome, rng: np.random.Generator) -> Image:
    """Reflectance of the ground: each cover a mixture that varies within it."""
    side = len(patches)
    green, soils = float(rng.uniform(*biome.green)), [str(s) for s in rng.choice(biome.soils, 2)]
    fields = random_fields(rng, 5, side=side, slope=rng.uniform(1.2, 3))
    grains = random_fields(rng, 3, side=side, slope=0.6)
    known: dict[str, Spectrum] = {}
    image: Image = np.zeros((len(BANDS), side, side), np.float32)
    total: Field = np.full((side, side), 1e-6, np.float32)
    for name, weight in weights.items():
        where = weight > 0.01
        if not where.any():
            continue
        shares = _parts(name, green, soils)
        known |= {m: draw_spectrum(m, rng) for m in shares if m not in known}
        spectra = np.stack([known[m] for m in shares]).astype(np.float32)  # (material, band)
        is_built = COVERS[name].class_name == "built"
        among = grains if is_built else fields
        mixed = _mixed(shares, among[:, where], patches[where], 0.8 if is_built else 0.35, rng)
        rough = 0.03 if COVERS[name].class_name == "water" else rng.uniform(0.03, 0.14)
        part = weight[where] * np.exp(rough * grains[rng.integers(3)][where])
        image[:, where] += (part * (spectra.T @ mixed)).astype(np.float32)
        total[where] += weight[where]
    return image / total


def _mixed(
    shares: Mapping[str, float], fields: Image, patches: Field, by_patch: float, rng: np.random.Generator
) -> Image:
    """(material, pixel) shares that vary about those of a cover, smoothly and from patch to patch."""
    n = len(shares)
    logits = np.log(np.array(list(shares.values()), np.float32))[:, None]
    smooth = np.float32(rng.uniform(0.2, 0.7)) * fields[rng.integers(0, len(fields), n)]
    mixed = np.exp(logits + smooth + by_patch * rng.standard_normal((n, 1), np.float32) * patches)
    found: Image = mixed / mixed.sum(axis=0)
    return found


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


def _seen(ground: Image, biome: Biome, rng: np.random.Generator) -> NDArray[np.float32]:
    """What a sensor sees of the ground: light on slopes, air in some scenes, blur, noise."""
    lit = ground * slopes_lit(rng, ground.shape[-1], relief=rng.uniform(0, biome.relief))
    seen = _blurred(lit.astype(np.float32), rng.uniform(0.3, 0.7))
    if rng.random() < 0.3:
        air = path_reflectance(rng.uniform(0.01, 0.09), rng.uniform(1.5, 4))
        gain = 1 - 1.5 * air
    else:  # what a correction leaves or takes too much
        air = path_reflectance(rng.normal(0, 0.004), rng.uniform(0, 2))
        gain = np.ones_like(air)
    gain *= np.exp(rng.normal(0, 0.05) + rng.normal(0, 0.015, len(gain)))
    seen = seen * gain.astype(np.float32)[:, None, None] + air.astype(np.float32)[:, None, None]
    noise = rng.standard_normal(seen.shape, np.float32)
    found: NDArray[np.float32] = np.clip(seen + noise * (0.001 + 0.008 * seen), 0, 1.2)
    return found


def _blurred(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Blurred by a Gaussian point spread of ``sigma`` pixels, cut at the next neighbours."""
    beside = np.float32(np.exp(-0.5 / sigma**2))
    padded = np.pad(image, [(0, 0), (1, 1), (1, 1)], mode="edge")
    rows = padded[:, 1:-1] + beside * (padded[:, :-2] + padded[:, 2:])
    found: NDArray[np.float32] = rows[..., 1:-1] + beside * (rows[..., :-2] + rows[..., 2:])
    return found / (1 + 2 * beside) ** 2


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
