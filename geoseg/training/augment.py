"""Images varied as real ones vary: how they lie, how large things are in them, how bright each band is."""

import kornia.augmentation as K  # noqa: N812  (its own name for it)
import torch
from kornia.constants import DataKey, Resample
from torch import nn

from geoseg.evaluation.benchmark import IGNORE
from geoseg.training.tables import Augment

_WHOLE = 0.99
"""A pixel that is mixed of others is known where no more than rounding is missing of it."""


class Augmentation(nn.Module):
    """Batches of reflectance and labels, varied by torch's own random numbers.

    Geometry is kornia's, and is the same for image and labels; beyond the edges both are mirrored, as zeros
    would be a colour that no place has. A pixel that lacks a band has none, as where a map is made; it stays
    without, whatever is done to those beside it, and teaches nothing.
    """

    _mean: torch.Tensor

    def __init__(self, how: Augment, mean: torch.Tensor) -> None:
        super().__init__()
        self._how = how
        self.register_buffer("_mean", mean[:, None, None])
        steps: list[K.GeometricAugmentationBase2D] = []
        if how.flip:
            steps += [K.RandomHorizontalFlip(p=0.5), K.RandomRotation90((0, 3), p=1.0)]
        if how.scale != (1.0, 1.0):
            steps.append(K.RandomAffine(0.0, scale=how.scale, padding_mode="reflection", p=0.7))
        nearest = {DataKey.MASK: {"resample": Resample.NEAREST, "align_corners": False}}
        self._geometry = K.AugmentationSequential(*steps, data_keys=["input", "mask"], extra_args=nearest)
        self._has_geometry = bool(steps)

    @torch.no_grad()
    def forward(self, pixels: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, band, y, x) reflectance, NaN = nodata, and (n, y, x) labels; the same, varied."""
        is_known = pixels.isfinite().all(1, keepdim=True)  # (n, 1, y, x)
        pixels = torch.cat([torch.where(is_known, pixels, self._mean), is_known.to(pixels)], 1)
        if self._has_geometry:
            pixels, moved = self._geometry(pixels, labels[:, None].to(pixels))
            labels = moved[:, 0].round().long()
        if self._how.cutmix and torch.rand(()) < self._how.cutmix:
            pixels, labels = _cutmix(pixels, labels)
        pixels, is_known = pixels[:, :-1], pixels[:, -1:] > _WHOLE
        if self._how.match:
            matched = match_histograms(pixels, pixels[torch.randperm(len(pixels))])
            is_matched = (torch.rand(len(pixels), 1, 1, 1) < self._how.match).to(pixels.device)
            pixels = torch.where(is_matched, matched, pixels)
        varied = torch.where(is_known, self._radiometry(pixels), torch.nan)
        return varied, torch.where(is_known[:, 0], labels, IGNORE)

    def _radiometry(self, pixels: torch.Tensor) -> torch.Tensor:
        how, (n, bands) = self._how, pixels.shape[:2]
        gain = torch.exp(how.gain * torch.randn(n, 1, 1, 1) + how.band_gain * torch.randn(n, bands, 1, 1))
        haze = how.haze * torch.randn(n, 1, 1, 1) * torch.linspace(1, 0, bands)[:, None, None]
        varied = pixels * gain.to(pixels) + haze.to(pixels)
        varied = varied + how.noise * varied.abs() * torch.randn(varied.shape).to(pixels)
        if how.band_dropout:
            is_lost = (torch.rand(n, bands, 1, 1) < how.band_dropout).to(pixels.device)
            varied = torch.where(is_lost, self._mean, varied)
        return varied


def match_histograms(pixels: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Images whose bands have the values of other images' bands, in their own order: the same ranks.

    Args:
        pixels: (n, band, y, x).
        others: of the same shape.
    """
    ranks = pixels.flatten(2).argsort(-1).argsort(-1)
    return others.flatten(2).sort(-1).values.gather(-1, ranks).reshape(pixels.shape)


def _cutmix(pixels: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One rectangle, of a quarter to three quarters of each side, from another image of the batch."""
    n, _, height, width = pixels.shape
    other = torch.randperm(n)
    h, w = (int(size * (0.25 + 0.5 * float(torch.rand(())))) for size in (height, width))
    top, left = int(torch.randint(0, height - h + 1, ())), int(torch.randint(0, width - w + 1, ()))
    at = (slice(top, top + h), slice(left, left + w))
    pixels, labels = pixels.clone(), labels.clone()
    pixels[:, :, *at], labels[:, *at] = pixels[other][:, :, *at], labels[other][:, *at]
    return pixels, labels
