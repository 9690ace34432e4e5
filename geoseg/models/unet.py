"""A small residual U-Net for a few hundred images: pixels first, surroundings second."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  (torch's own name for it)

from geoseg.models.card import ModelCard
from geoseg.models.hyperparameters import options_of
from geoseg.models.zoo import register_family

_PAIRS = (
    ("nir08", "red"),  # NDVI, Rouse et al. 1974
    ("green", "nir08"),  # NDWI, McFeeters 1996
    ("green", "swir16"),  # MNDWI, Xu 2006
    ("swir16", "nir08"),  # NDBI, Zha et al. 2003
    ("swir16", "swir22"),  # NDTI, van Deventer et al. 1997
    ("nir08", "swir22"),  # NBR, Key and Benson 2006
)
_DARK = 1e-3
_DEFAULTS = {"width": 24, "depth": 4, "dropout": 0.1, "indices": True, "deep_supervision": False}


class SmallUNet(nn.Module):
    """U-Net (Ronneberger et al. 2015) of residual blocks with batch norm, SiLU and dropout of layers."""

    HEADS = ("head", "coarse_heads")
    """Its layers that give the classes."""

    def __init__(
        self,
        n_inputs: int,
        n_classes: int,
        *,
        width: int,
        depth: int,
        dropout: float,
        has_coarse_heads: bool = False,
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth)]
        self.stem = nn.Sequential(nn.Conv2d(n_inputs, width, 1), nn.SiLU())
        inputs = [width, *widths[:-1]]
        self.down = nn.ModuleList(_Block(i, o, dropout) for i, o in zip(inputs, widths, strict=True))
        pairs = list(pairwise(widths))
        self.up = nn.ModuleList(_Block(fine + coarse, fine, dropout) for fine, coarse in reversed(pairs))
        self.head = nn.Conv2d(width, n_classes, 1)
        coarse = [fine for fine, _ in pairs[1:]] if has_coarse_heads else []
        self.coarse_heads = nn.ModuleList(nn.Conv2d(fine, n_classes, 1) for fine in reversed(coarse))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """(n, input, y, x) to logits (n, class, y, x).

        With coarse heads, and while it trains, to a list of them: this one, then those at half, a quarter ...
        of its size.
        """
        x, skips = self.stem(inputs), []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        levels = []
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = block(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skip], 1))
            levels.append(x)
        logits: torch.Tensor = self.head(x)
        if not self.training or not len(self.coarse_heads):
            return logits
        coarse = [head(level) for head, level in zip(self.coarse_heads, levels, strict=False)]
        return [logits, *reversed(coarse)]


class WithIndices(nn.Module):
    """A network that sees normalised differences of bands beside the bands themselves."""

    _mean: torch.Tensor
    _std: torch.Tensor

    def __init__(self, network: nn.Module, card: ModelCard) -> None:
        super().__init__()
        self.network = network
        self._pairs = index_pairs(card.bands)
        shape = (len(card.bands), 1, 1)
        mean, std = card.mean or (0.0,) * shape[0], card.std or (1.0,) * shape[0]
        self.register_buffer("_mean", torch.tensor(mean).reshape(shape), persistent=False)
        self.register_buffer("_std", torch.tensor(std).reshape(shape), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Normalised reflectance (n, band, y, x) to what the network makes of it."""
        found: torch.Tensor | list[torch.Tensor] = self.network(self.with_indices(pixels))
        return found

    def at(self, inputs: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        """What the network says of some pixels, if it is one that can be asked so."""
        found: torch.Tensor = self.network.at(self.with_indices(inputs), pixels)  # type: ignore[operator]
        return found

    def with_indices(self, pixels: torch.Tensor) -> torch.Tensor:
        """(n, band, y, x) to (n, band and index, y, x)."""
        reflectance = pixels * self._std + self._mean
        indices = [
            2 * _difference(reflectance[:, first], reflectance[:, second]) for first, second in self._pairs
        ]
        return torch.cat([pixels, torch.stack(indices, 1)], 1)


def index_pairs(bands: tuple[str, ...]) -> list[tuple[int, int]]:
    """Which of the bands make indices; either near infrared will do."""
    at = {band: n for n, band in enumerate(bands)}
    for one, other in (("nir", "nir08"), ("nir08", "nir")):
        if other in at:
            at.setdefault(one, at[other])
    return [(at[first], at[second]) for first, second in _PAIRS if first in at and second in at]


def _difference(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return ((a - b) / (a + b).clamp_min(_DARK)).clamp(-1, 1)


class _Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, n_inputs: int, n_outputs: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Conv2d(n_inputs, n_outputs, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(n_outputs)
        self.dropout = nn.Dropout2d(dropout)
        self.second = nn.Conv2d(n_outputs, n_outputs, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(n_outputs)
        is_same = n_inputs == n_outputs
        self.shortcut = nn.Identity() if is_same else nn.Conv2d(n_inputs, n_outputs, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.dropout(F.silu(self.first_norm(self.first(x))))
        return F.silu(self.second_norm(self.second(inner)) + self.shortcut(x))


@register_family("small-unet")
def small_unet(card: ModelCard) -> nn.Module:
    """Some 1 million weights at ``width`` 24 and ``depth`` 4; ``indices`` adds six normalised differences.

    Hyperparameters: width, depth, dropout, indices; ``deep_supervision`` also asks the coarser levels for
    classes while it learns. Sides of tiles must be multiples of 2 to the depth - 1.
    """
    options = options_of(card, _DEFAULTS)
    pairs = index_pairs(card.bands) if options["indices"] else []
    network = SmallUNet(
        len(card.bands) + len(pairs),
        len(card.legend.classes),
        width=int(options["width"]),
        depth=int(options["depth"]),
        dropout=float(options["dropout"]),
        has_coarse_heads=bool(options["deep_supervision"]),
    )
    return WithIndices(network, card) if pairs else network
