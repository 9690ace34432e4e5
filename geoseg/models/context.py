"""A perceptron that looks at each pixel and at the means around it: little to learn by heart."""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  (torch's own name for it)

from geoseg.models.card import ModelCard
from geoseg.models.hyperparameters import options_of
from geoseg.models.unet import WithIndices, index_pairs
from geoseg.models.zoo import register_family

_SCALES = ((1, 2.0), (4, 2.0), (8, 3.0))
"""How many times as large the pixels are that means are taken on, and the Gaussian's standard deviation in
such pixels: 2, 8 and 24 pixels of the image. Wide means are smooth, so coarse pixels will do."""
_REACH = 3
"""Standard deviations after which a Gaussian ends."""
_LITTLE = 1e-6
_STRIP = 16_384
"""Pixels whose classes are computed at once."""
_FEW = 5.0
"""Features further out than so many standard deviations say no more than those there."""
_DEFAULTS = {"width": 128, "dropout": 0.2, "noise": 0.1, "indices": True}


class ContextMLP(nn.Module):
    """Two hidden layers over a pixel's inputs, their Gaussian means and deviations at three scales.

    Pixels that are 0 in all bands are nodata and in no mean: the edge of the data is as that of an image.
    Inputs are standardised by running statistics; while it trains, ``noise`` times a normal number is added
    to each feature (Bishop 1995, Neural Computation 7:108: the same as a penalty on steep answers).
    """

    def __init__(
        self, n_inputs: int, n_classes: int, *, n_bands: int, width: int, dropout: float, noise: float
    ) -> None:
        super().__init__()
        self._n_bands, self._noise = n_bands, noise
        self.is_cut = True
        """Whether a map's classes are computed strip by strip; the answer is the same."""
        n_features = (1 + 2 * len(_SCALES)) * n_inputs
        self.standard = nn.BatchNorm2d(n_features, affine=False)
        self.layers = nn.Sequential(
            *_layer(n_features, width, dropout),
            *_layer(width, width, dropout),
            nn.Conv2d(width, n_classes, 1),
        )
        for n, (_, sigma) in enumerate(_SCALES):
            self.register_buffer(f"_kernel{n}", _gaussian(sigma), persistent=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(n, input, y, x) to logits (n, class, y, x)."""
        return self.answer(self.features(inputs))

    def at(self, inputs: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        """Logits (n, class, k, 1) of (n, k) of the pixels of (n, input, y, x), numbered row by row."""
        rows = self.features(inputs).permute(0, 2, 3, 1).flatten(1, 2)  # (n, y * x, feature)
        chosen = rows[torch.arange(len(rows), device=rows.device)[:, None], pixels]  # (n, k, feature)
        return self.answer(chosen.mT[..., None])

    def features(self, inputs: torch.Tensor) -> torch.Tensor:
        """(n, feature, y, x): the inputs, then their means and deviations.

        No weights are in them, so networks of an ensemble share them.
        """
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        known = (inputs[:, : self._n_bands] != 0).any(1, keepdim=True).to(inputs.dtype)
        context = [
            layer
            for n, (shrink, _) in enumerate(_SCALES)
            for layer in _context(inputs, known, shrink, self.get_buffer(f"_kernel{n}"))
        ]
        return torch.cat([inputs, *context], 1)

    def answer(self, features: torch.Tensor) -> torch.Tensor:
        """Logits (n, class, y, x) of features; a map's in strips, whose layers stay in the cache."""
        is_watched = any(module.training for module in self.modules())  # statistics are of whole tiles
        if is_watched or not self.is_cut or torch.onnx.is_in_onnx_export():
            return self._answer(features)
        height, width = features.shape[-2:]
        rows = max(_STRIP // width, 1)
        strips = (features[:, :, top : top + rows] for top in range(0, height, rows))
        return torch.cat([self._answer(strip) for strip in strips], 2)

    def _answer(self, features: torch.Tensor) -> torch.Tensor:
        features = self.standard(features).clamp(-_FEW, _FEW)
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


def _context(
    inputs: torch.Tensor, known: torch.Tensor, shrink: int, kernel: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation around each pixel, taken on pixels ``shrink`` times as large."""
    if shrink == 1:
        return _moments(inputs, known, kernel)
    large, share = (F.avg_pool2d(x, shrink, ceil_mode=True) for x in (inputs * known, known))
    moments = _moments(large / share.clamp_min(_LITTLE), (share > 0).to(inputs.dtype), kernel)
    fine = F.interpolate(
        torch.cat(moments, 1), scale_factor=float(shrink), mode="bilinear", align_corners=False
    )
    height, width = inputs.shape[-2:]
    mean, deviation = fine[..., :height, :width].chunk(2, 1)
    return mean, deviation


def _moments(x: torch.Tensor, known: torch.Tensor, kernel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each layer around each pixel, of pixels that are ``known``."""
    weight = _blur(known, kernel).clamp_min(_LITTLE)
    mean, square = (_blur(torch.cat([x * known, x**2 * known], 1), kernel) / weight).chunk(2, 1)
    return mean, (square - mean**2).clamp_min(0).sqrt()


def _blur(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    n, reach = int(x.shape[1]), len(kernel) // 2  # int: a number where the network is traced, too
    weights = kernel.to(x.dtype).expand(n, 1, -1)
    across, down = weights[:, :, None, :].contiguous(), weights[:, :, :, None].contiguous()
    x = F.conv2d(x, across, padding=(0, reach), groups=n)
    return F.conv2d(x, down, padding=(reach, 0), groups=n)


@register_family("context-mlp")
def context_mlp(card: ModelCard) -> nn.Module:
    """Some 30,000 weights at ``width`` 128; ``indices`` adds normalised differences of bands.

    Hyperparameters: width, dropout, noise, indices. It looks 72 pixels far, but little of that
    lies beyond 48.
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
