"""A recipe from the data themselves, with the reason for each value.

In the spirit of nnU-Net (Isensee et al. 2021, Nature Methods 18:203): a fingerprint of the data decides what
can be decided from it, by rules that stand here and with the values, so that a person can change them.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from geoseg.errors import TrainingError
from geoseg.evaluation.benchmark import Benchmark
from geoseg.training.fingerprint import Fingerprint

_FEW_IMAGES = 2000
"""Below this a network of a million weights learns all there is."""
_MULTIPLE = 8
_COARSEST = 8
"""Side of the coarsest level of a network, pixels: less holds no shape."""
_BYTES_PER_PIXEL = {"small-unet": 4500, "unet": 1700}
"""Of memory for a pixel of a batch while it trains in float32: what the resident set grew by from 2 to 18
images of 128 pixels on the CPU, at width 24 and depth 4, and with a ResNet-34. bfloat16 takes half."""
_MEMORY_SHARE = 0.4
_MOST_BATCH, _LEAST_BATCH = 16, 2
_DATA_SHARE = 0.05
"""A batch holds no more than this part of all pixels, as in nnU-Net, but for the least batch."""
_DOMINANT = 0.2
"""A place with a larger part of the images is drawn too often if images are drawn."""
_RARE = 0.05
"""A class with a smaller part of the labelled pixels is rare."""


@dataclass(frozen=True)
class Choice:
    """A value of a recipe, and why."""

    table: str
    """Of the recipe; empty for its top."""
    key: str
    value: Any
    why: str


def choose(found: Fingerprint, *, memory_mb: float, has_gpu: bool) -> tuple[Choice, ...]:
    """What a training on such images should be like.

    Args:
        found: what they are like.
        memory_mb: there is for a training.
        has_gpu: whether it runs on one.
    """
    choices = _splits(found)
    is_small = found.n_images < _FEW_IMAGES or not has_gpu
    family = "small-unet" if is_small else "unet"
    largest = 512 if has_gpu else 256
    crop = max(min(found.side, largest) // _MULTIPLE * _MULTIPLE, _MULTIPLE)
    multiple = _MULTIPLE if is_small else 32
    crop = max(crop // multiple * multiple, multiple)
    depth = max(2, min(4, int(math.log2(max(crop // _COARSEST, 2))) + 1))
    of_what = f"{found.n_images} images" + ("" if has_gpu else " and no GPU")
    choices.append(
        Choice("network", "family", family, f"{of_what}: {'few weights' if is_small else 'many weights'}")
    )
    if is_small:
        why = f"the coarsest of {depth} levels of a {crop} px square is {crop // 2 ** (depth - 1)} px wide"
        choices.append(
            Choice("network", "hyperparameters", {"width": 24, "depth": depth, "dropout": 0.1}, why)
        )
    choices.append(Choice("network", "tile_multiple", multiple, "sides that the network can halve so often"))
    tile = 512 // multiple * multiple
    choices.append(Choice("network", "tile_size", tile, "of maps: large tiles waste little on margins"))
    halo = 4 * 2**depth if is_small else 64
    why = (
        f"a pixel sees no further through {depth} levels"
        if is_small
        else "five levels see further, but little"
    )
    choices.append(Choice("network", "halo", halo, why))
    choices += _loss(found) + _augment(found, crop)
    free_mb = memory_mb if has_gpu else max(memory_mb - found.memory_mb, 0)
    by_memory = int(free_mb * 1e6 * _MEMORY_SHARE / (_BYTES_PER_PIXEL[family] * crop**2))
    by_data = int(_DATA_SHARE * found.n_pixels / crop**2)
    batch = max(min(by_memory, max(by_data, _LEAST_BATCH), _MOST_BATCH), 1)
    why = f"{by_memory} squares of {crop} px fit into {_MEMORY_SHARE:.0%} of {free_mb:,.0f} MB"
    if not has_gpu:
        why += f", which {memory_mb:,.0f} MB are without {found.memory_mb:,.0f} MB of images"
    if batch < by_memory:
        why += f"; not more than {_MOST_BATCH}, nor than {_DATA_SHARE:.0%} of all pixels ({by_data} squares)"
    choices.append(Choice("fit", "batch_size", batch, why))
    squares = max(found.n_pixels // crop**2, 1)
    steps = max(min(squares // batch, 100), 20)
    epochs = max(min(3000 // steps, 100), 20)
    choices.append(
        Choice("fit", "steps_per_epoch", steps, f"{squares:,} squares, {batch} at a time, at most 100")
    )
    choices.append(
        Choice("fit", "epochs", epochs, f"some {epochs * steps:,} steps; patience ends it earlier")
    )
    choices.append(Choice("fit", "patience", max(epochs // 4, 5), "a quarter of them"))
    rate = round(2e-3 * math.sqrt(batch / _MOST_BATCH), 5)
    choices.append(Choice("fit", "learning_rate", rate, "2e-3 for 16 images, by the root of the batch"))
    return tuple(choices)


def write_recipe(
    found: Fingerprint, benchmark: Benchmark, source: Path, choices: tuple[Choice, ...], path: Path
) -> Path:
    """The recipe as TOML, each value with its reason.

    Raises:
        TrainingError: something lies there, or it cannot be written.
    """
    if path.exists():
        raise TrainingError(f"{path} exists already. Give another --out, or remove it.")
    rarest = min(found.class_shares, key=lambda name: found.class_shares[name])
    ranges = zip(found.bands, found.low, found.high, strict=True)
    lines = [
        f"# {found.n_images} images of {found.n_places} places, {found.side} px, {found.n_pixels:,} pixels; "
        f"{found.unlabelled:.1%} have no label, {found.nodata:.1%} no value.",
        f"# Rarest class: {rarest}, {found.class_shares[rarest]:.2%} of the labelled pixels.",
        f"# Percentiles 1 and 99: {', '.join(f'{b} {lo:g}..{hi:g}' for b, lo, hi in ranges)}.",
        "# Mean and deviation of each band are taken from the images when it is run.",
        "",
        f"name = {_toml(f'{benchmark.name}-model')}",
        f"title = {_toml(f'A model of {benchmark.title}')}",
        f"license = {_toml(benchmark.license)}  # of the weights: think of what the data allow",
    ]
    fixed = {
        "data": [
            f"benchmark = {_toml(str(source.resolve()))}",
            f"root = {_toml(str(source.parent.resolve()))}",
        ]
    }
    for table in ("data", "network", "loss", "augment", "fit"):
        own = [c for c in choices if c.table == table]
        if table == "loss":
            for c in own:
                terms = "\n".join(f"{k} = {_toml(v)}" for k, v in c.value.items())
                lines += ["", "[[loss]]", f"# {c.why}", terms]
            continue
        rows = [*fixed.get(table, []), *(f"{c.key} = {_toml(c.value)}  # {c.why}" for c in own)]
        if rows:
            lines += ["", f"[{table}]", *rows]
    try:
        path.write_text("\n".join(lines) + "\n", "utf-8")
    except OSError as error:
        raise TrainingError(f"{path} cannot be written: {error.strerror}. Give another --out.") from None
    return path


def memory_for_training() -> tuple[float, bool]:
    """Megabytes that are free where a training would run, and whether that is a GPU."""
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        return free / 1e6, True
    try:
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
        return next(float(line.split()[1]) / 1e3 for line in lines if line.startswith("MemAvailable")), False
    except (OSError, StopIteration):
        return 8000.0, False


def _splits(found: Fingerprint) -> list[Choice]:
    choices = []
    if found.train_split != "train":
        choices.append(Choice("data", "train_split", found.train_split, "the only one that the data have"))
    if not found.has_val:
        choices.append(
            Choice("data", "val_share", 0.25, "the data have no split val: whole places are held back")
        )
    is_uneven = found.largest_place > _DOMINANT and found.n_places > 1
    why = f"the largest place has {found.largest_place:.0%} of the images"
    why += ": places are drawn, not images" if is_uneven else ""
    choices.append(Choice("data", "place_power", 0.0 if is_uneven else 0.5, why))
    rare = [name for name, share in found.class_shares.items() if 0 < share < _RARE]
    if rare:
        choices.append(Choice("data", "class_power", 0.3, f"rare: {', '.join(rare)}"))
    return choices


def _loss(found: Fingerprint) -> list[Choice]:
    smooth = {"name": "cross-entropy", "label_smoothing": 0.05}
    choices = [Choice("loss", "loss", smooth, "smoothed: labels have errors")]
    if any(0 < share < _RARE for share in found.class_shares.values()):
        why = "a rare class counts as much as others"
        choices.append(Choice("loss", "loss", {"name": "dice", "weight": 0.5}, why))
    return choices


def _augment(found: Fingerprint, crop: int) -> list[Choice]:
    choices = []
    if crop != found.side or not found.is_even:
        choices.append(Choice("augment", "crop", crop, f"squares of images of {found.side} px"))
    if found.n_places < 50:
        choices.append(Choice("augment", "cutmix", 0.5, f"{found.n_places} places: mixed, they are more"))
    return choices


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(v)}" for key, v in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)
