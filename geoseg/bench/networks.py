"""Networks to measure with: any encoder, trained for seconds, so that their maps have natural patches.

A network with random weights gives noise, and its run then measures the polygons of noise. A few steps of
training on the cover that the synthetic scene was made from give a map like that of a
trained network; what the run costs otherwise does not depend on the weights.
"""

from pathlib import Path

import numpy as np
import torch
from rasterio.windows import Window
from torch import nn
from torch.nn import functional

from geoseg.bench.scenes import COVERS, GSD_M, SCALE, cover_shares, scene_pixels
from geoseg.legend import Legend
from geoseg.models.card import ModelCard
from geoseg.models.zoo import FAMILIES, Model, card_of, model_names, normalise, prepare_model, save_model

BANDS = ("blue", "green", "red", "nir", "swir16", "swir22")
N_STEPS = 40
_LEGEND = Legend.of(water="1F78B4", vegetation="33A02C", open="E6C27A", town="D7191C")
_CLASS_OF_COVER = {"water": 0, "forest": 1, "crop": 1, "dry": 2, "bare": 2, "town": 3}
_MEAN, _STD = (0.07, 0.09, 0.10, 0.23, 0.21, 0.14), (0.03, 0.04, 0.06, 0.12, 0.13, 0.11)
_SEED = 0
_LEARNING_RATE = 3e-3
_SAMPLE_PX, _SAMPLE_STEP_PX = 256, 700
"""The network learns from nine squares of the scene, three by three, this far apart."""
_BATCH, _CROP_PX = 6, 128


def model_for(name: str, folder: Path) -> str:
    """What ``geoseg predict --model`` takes for ``name``: the same, or a network that is made in ``folder``.

    Args:
        name: a built-in model, a model folder, or ``FAMILY-ENCODER`` such as ``unet-resnet18``.
        folder: where a network is written; not touched for the others.

    Raises:
        ModelError: there is no such model, family or encoder.
    """
    if Path(name).is_dir():
        return str(Path(name).resolve())
    family, _, encoder = name.partition("-")
    if name in model_names() or not encoder or family not in FAMILIES:
        return card_of(name).name
    save_model(make_network(family, encoder), folder)
    return str(folder)


def make_network(
    family: str,
    encoder: str,
    *,
    n_steps: int = N_STEPS,
    mean: tuple[float, ...] = _MEAN,
    std: tuple[float, ...] = _STD,
) -> Model:
    """A network of 6 bands and 4 classes for tiles of 512 pixels with a halo of 64; the seed is fixed.

    Args:
        family: a registered model family that takes ``encoder_name``.
        encoder: of segmentation-models-pytorch.
        n_steps: of training, about 0.4 s each for ``unet`` and ``resnet18`` on two cores.
        mean: subtracted from the reflectance of each of :data:`BANDS`.
        std: what it is divided by then.

    Raises:
        ModelError: there is no such family or encoder.
    """
    model_names()  # registers the families
    card = ModelCard(
        name=f"bench-{family}-{encoder}".lower(),
        title=f"Benchmark network: {family} on {encoder}, trained for {n_steps} steps",
        description="To measure speed and memory with. Its maps mean nothing.",
        family=family,
        hyperparameters={"encoder_name": encoder},
        bands=BANDS,
        mean=mean,
        std=std,
        gsd_m=GSD_M,
        gsd_range_m=(GSD_M / 2, GSD_M * 2),
        tile_size=512,
        tile_multiple=32,
        halo=64,
        legend=_LEGEND,
        license="Apache-2.0",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        module = FAMILIES[family](card)
        _train(module, card, n_steps)
    return prepare_model(module, card)


def _train(module: nn.Module, card: ModelCard, n_steps: int) -> None:
    pixels, classes = _samples(card)
    module.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(module.parameters(), lr=_LEARNING_RATE)
    for _ in range(n_steps):
        chosen = torch.randperm(len(pixels))[:_BATCH]
        row, col = torch.randint(_SAMPLE_PX - _CROP_PX + 1, (2,)).tolist()
        crop = (chosen, ..., slice(row, row + _CROP_PX), slice(col, col + _CROP_PX))
        batch = pixels[crop].contiguous(memory_format=torch.channels_last)  # (n, band, y, x)
        # float32: a CPU that only emulates bf16 takes more than ten times as long with it.
        logits = module(batch)  # (n, class, y, x)
        loss = functional.cross_entropy(logits, classes[crop])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _samples(card: ModelCard) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised squares of the scene (n, band, y, x), and the class of each pixel (n, y, x)."""
    corners = [(r * _SAMPLE_STEP_PX, c * _SAMPLE_STEP_PX) for r in range(3) for c in range(3)]
    windows = [Window(col, row, _SAMPLE_PX, _SAMPLE_PX) for row, col in corners]
    stored = np.stack([scene_pixels(w, card.bands) for w in windows]).astype(np.float32)
    class_of = np.array([_CLASS_OF_COVER[name] for name in COVERS])
    classes = np.stack([class_of[cover_shares(w).argmax(axis=0)] for w in windows])
    return normalise(torch.from_numpy(stored * np.float32(SCALE)), card), torch.from_numpy(classes)
