"""A perceptron that looks at each pixel and at the means around it: little to learn by heart."""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  (torch's own name for it)

from geoseg.models.card import ModelCard
from geoseg.models.hyperparameters import options_of
from geoseg.models.unet import WithIndices, index_pairs
from geoseg.models.zoo import register_family

_SHRINK = 4
"""The wide mean is taken on pixels so many times as large: it is smooth."""
_SIGMA = 2.0
"""Of the near mean in pixels, of the wide one in larger pixels: 8 pixels."""
_REACH = 3
"""Standard deviations after which a Gaussian ends."""
_LITTLE = 1e-6
_FEW = 5.0
"""Features further out than so many standard deviations say no more than those there."""
_DEFAULTS = {"width": 128, "dropout": 0.2, "noise": 0.1, "indices": True}


class ContextMLP(nn.Module):
    """Two hidden layers over a pixel's inputs, their Gaussian means and deviations at two scales.

    Pixels that are 0 in all bands are nodata and in no mean: the edge of the data is as that of an image.
    Inputs are standardised by running statistics; while it trains, ``noise`` times a normal number is added
    to each feature (Bishop 1995, Neural Computation 7:108: the same as a penalty on steep answers).
    """

    _kernel: torch.Tensor

    def __init__(
        self, n_inputs: int, n_classes: int, *, n_bands: int, width: int, dropout: float, noise: float
    ) -> None:
        super().__init__()
        self._n_bands, self._noise = n_bands, noise
        n_features = 5 * n_inputs
        self.standard = nn.BatchNorm2d(n_features, affine=False)
        self.layers = nn.Sequential(
            *_layer(n_features, width, dropout),
            *_layer(width, width, dropout),
            nn.Conv2d(width, n_classes, 1),
        )
        self.register_buffer("_kernel", _gaussian(_SIGMA), persistent=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(n, input, y, x) to logits (n, class, y, x)."""
        known = (inputs[:, : self._n_bands] != 0).any(1, keepdim=True).to(inputs.dtype)
        small, share = (F.avg_pool2d(x, _SHRINK, ceil_mode=True) for x in (inputs * known, known))
        small = small / share.clamp_min(_LITTLE)
        far = torch.cat(_moments(small, (share > 0).to(inputs.dtype), self._kernel), 1)
        far = F.interpolate(far, size=inputs.shape[-2:], mode="bilinear", align_corners=False)
        features = self.standard(torch.cat([inputs, *_moments(inputs, known, self._kernel), far], 1)).clamp(
            -_FEW, _FEW
        )
        if self.training and self._noise:
            features = features + self._noise * torch.randn_like(features)
        logits: torch.Tensor = self.layers(features)
        return logits


def _layer(n_inputs: int, n_outputs: int, dropout: float) -> list[nn.Module]:
    norm = nn.BatchNorm2d(n_outputs)
    return [nn.Conv2d(n_inputs, n_outputs, 1, bias=False), norm, nn.SiLU(), nn.Dropout(dropout)]


def _gaussian(sigma: float) -> torch.Tensor:
    at = torch.arange(-round(_REACH * sigma), round(_REACH * sigma) + 1)
    weights = torch.exp(-0.5 * (at / sigma) ** 2)
    return weights / weights.sum()


def _moments(x: torch.Tensor, known: torch.Tensor, kernel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each layer around each pixel, of pixels that are ``known``."""
    weight = _blur(known, kernel).clamp_min(_LITTLE)
    mean, square = (_blur(torch.cat([x * known, x**2 * known], 1), kernel) / weight).chunk(2, 1)
    return mean, (square - mean**2).clamp_min(0).sqrt()


def _blur(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    n, reach = int(x.shape[1]), len(kernel) // 2  # int: a number where the network is traced, too
    weights = kernel.to(x.dtype).expand(n, 1, -1)
    across, down = weights[:, :, None, :].contiguous(), weights[:, :, :, None].contiguous()
    x = F.conv2d(F.pad(x, (reach, reach, 0, 0), mode="replicate"), across, groups=n)
    return F.conv2d(F.pad(x, (0, 0, reach, reach), mode="replicate"), down, groups=n)


@register_family("context-mlp")
def context_mlp(card: ModelCard) -> nn.Module:
    """Some 30,000 weights at ``width`` 128; ``indices`` adds normalised differences of bands.

    Hyperparameters: width, dropout, noise, indices. It looks 24 pixels far.
    """
    options = options_of(card, _DEFAULTS)
    pairs = index_pairs(card.bands) if options["indices"] else []
    network = ContextMLP(
        len(card.bands) + len(pairs),
        len(card.legend.classes),
        n_bands=len(card.bands),
        width=int(options["width"]),
        dropout=float(options["dropout"]),
        noise=float(options["noise"]),
    )
    return WithIndices(network, card) if pairs else network
