"""Networks to measure with: any encoder, hardly trained, and yet maps with patches of a natural size.

A network with random weights gives noise, and its run measures the polygons of noise. Here the encoder and
the decoder stay random, and only the last convolution is fitted, by least squares in one step, to the cover
that the synthetic scene was made from. It costs what a trained network costs, and its map looks like one.
"""

from pathlib import Path

import numpy as np
import torch
from rasterio.windows import Window
from torch import nn
from torch.nn import functional

from geoseg.bench.scenes import COVERS, GSD_M, SCALE, cover_shares, scene_pixels
from geoseg.errors import ModelError
from geoseg.legend import Legend
from geoseg.models.card import ModelCard
from geoseg.models.zoo import FAMILIES, Model, card_of, model_names, normalise, save_model

BANDS = ("blue", "green", "red", "nir", "swir16", "swir22")
_LEGEND = Legend.of(water="1F78B4", vegetation="33A02C", open="E6C27A", town="D7191C")
_CLASS_OF_COVER = {"water": 0, "forest": 1, "crop": 1, "dry": 2, "bare": 2, "town": 3}
_MEAN, _STD = (0.07, 0.09, 0.10, 0.23, 0.21, 0.14), (0.03, 0.04, 0.06, 0.12, 0.13, 0.11)
_SEED = 0
_GAIN = 8.0
"""The fitted head gives about 0 or 1 for each class; this makes logits of it."""
_RIDGE = 1e-4
_SAMPLE_PX = 256
_SAMPLES_AT = ((0, 0), (0, 300), (300, 0), (300, 700), (700, 300), (700, 700), (1000, 1500), (1500, 1000))
"""First row and column of the squares of the scene that the head is fitted to."""


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


def make_network(family: str, encoder: str) -> Model:
    """A network of 6 bands and 4 classes, tiles of 512 pixels with a halo of 64; the same every time.

    Raises:
        ModelError: the family has no encoders and no single last convolution, or the encoder is unknown.
    """
    card = ModelCard(
        name=f"bench-{family}-{encoder}".lower(),
        title=f"Benchmark network {family} with {encoder}, its last layer fitted, the others random",
        description="To measure speed and memory with. Its maps mean nothing.",
        family=family,
        hyperparameters={"encoder_name": encoder},
        bands=BANDS,
        mean=_MEAN,
        std=_STD,
        gsd_m=GSD_M,
        gsd_range_m=(GSD_M / 2, GSD_M * 2),
        tile_size=512,
        tile_multiple=32,
        halo=64,
        legend=_LEGEND,
        license="Apache-2.0",
    )
    model_names()  # registers the families
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        module = FAMILIES[family](card)
    head = getattr(module, "segmentation_head", None)
    if not isinstance(head, nn.Sequential) or not isinstance(head[0], nn.Conv2d):
        raise ModelError(f"Family {family} cannot be benchmarked by name. Give the folder of a model of it.")
    with torch.no_grad():
        _fit(module, head[0], card)
    return Model(module.eval().requires_grad_(False), card)


def _fit(module: nn.Module, last: nn.Conv2d, card: ModelCard) -> None:
    """Set the statistics of the normalising layers and the weights of the last convolution."""
    windows = [Window(col, row, _SAMPLE_PX, _SAMPLE_PX) for row, col in _SAMPLES_AT]
    stored = np.stack([scene_pixels(w, card.bands) for w in windows])
    pixels = normalise(torch.from_numpy(stored.astype(np.float32) * np.float32(SCALE)), card)
    targets = torch.from_numpy(np.stack([_targets(w) for w in windows]))  # (n, class, y, x)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # running statistics become the plain mean over what is seen
    module.train()(pixels)
    seen: list[torch.Tensor] = []
    hook = last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    module.eval()(pixels)
    hook.remove()
    columns = functional.unfold(seen[0], last.kernel_size, padding=last.padding)  # (n, tap, pixel)
    x = columns.transpose(1, 2).flatten(0, 1).double()  # (n * pixel, tap)
    x = torch.cat([x, torch.ones_like(x[:, :1])], 1)
    small = functional.adaptive_avg_pool2d(targets, seen[0].shape[-2:])
    y = small.flatten(2).transpose(1, 2).flatten(0, 1).double()
    gram = x.T @ x
    gram += _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    solution = _GAIN * torch.linalg.solve(gram, x.T @ y)  # (tap + 1, class)
    last.weight.copy_(solution[:-1].T.reshape(last.weight.shape))
    if last.bias is not None:
        last.bias.copy_(solution[-1])


def _targets(window: Window) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """(class, y, x) 1 where the class covers the most of a pixel, else 0."""
    cover = cover_shares(window).argmax(axis=0)
    classes = np.array([_CLASS_OF_COVER[name] for name in COVERS])[cover]
    return np.stack([classes == i for i in range(len(_LEGEND.classes))]).astype(np.float32)
