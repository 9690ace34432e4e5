"""Test-time augmentation: a tile seen in several ways, the probabilities of which are averaged."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch.nn import functional as F  # noqa: N812  (torch's own name for it)

from geoseg.errors import RecipeError
from geoseg.models.card import ModelCard

SCALES = (Fraction(1), Fraction(3, 4), Fraction(5, 4))
"""The tile as it is and the two scales next to it of those that DeepLabv3 is tested at, 0.5 to 1.75 (Chen et
al. 2017, arXiv:1706.05587, section 4.1): a tile of half the side has lost the roads, one of 1.75 times the
side costs as much as the three of these."""
_KNOWN = 0.5
"""Weight of known pixels from which on a resampled one is known."""


@dataclass(frozen=True)
class View:
    """One way to see a tile, and the way back. It depends on nothing but the tile."""

    quarters: int = 0
    """Turns by 90 degrees, after mirroring."""
    is_mirrored: bool = False
    scale: Fraction = Fraction(1)
    """Side of what the network sees / side of the tile, after turning."""
    multiple: int = 1
    """Sides that the network takes are whole multiples of it."""

    def there(self, tiles: torch.Tensor) -> torch.Tensor:
        """(n, band, y, x) reflectance, NaN = nodata, as this view shows it.

        Where a side has no such whole multiple, nodata is added below and to the right.
        """
        turned = torch.rot90(tiles.flip(-1) if self.is_mirrored else tiles, self.quarters, (-2, -1))
        if self.scale == 1:
            return turned
        (height, rows), (width, cols) = (self._sides(side) for side in turned.shape[-2:])
        lack = (0, width - turned.shape[-1], 0, height - turned.shape[-2])
        padded = F.pad(turned, lack, value=float("nan"))
        is_known = padded.isfinite().all(1, keepdim=True)  # as for the network: half a pixel is none
        weight = _resampled(is_known.float(), rows, cols)
        # Of known pixels alone: the edge of a hole keeps the colours beside it.
        values = _resampled(torch.where(is_known, padded, 0.0), rows, cols) / weight
        return torch.where(weight >= _KNOWN, values, float("nan"))

    def back(self, probs: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        """(n, class, y, x) of this view laid over the tile again, whose ``shape`` is (y, x)."""
        if self.scale != 1:
            height, width = shape if self.quarters % 2 == 0 else reversed(shape)
            probs = _resampled(probs, self._sides(height)[0], self._sides(width)[0])[..., :height, :width]
        probs = torch.rot90(probs, -self.quarters, (-2, -1))
        return probs.flip(-1) if self.is_mirrored else probs

    def _sides(self, side: int) -> tuple[int, int]:
        """What ``side`` pixels of a tile are filled up to, and how many pixels the network sees of that.

        Both are whole, so that a part of a tile is scaled as all of it is; whole tiles need no filling.
        """
        times, of = self.scale.as_integer_ratio()
        step = self.multiple * of // math.gcd(times, self.multiple * of)
        filled = -(-side // step) * step
        return filled, filled * times // of


def _resampled(layers: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Bilinear; where it shrinks, every pixel counts."""
    shrinks = height < layers.shape[-2] or width < layers.shape[-1]
    return F.interpolate(layers, (height, width), mode="bilinear", align_corners=False, antialias=shrinks)


_AS_IT_IS = (View(),)
_D4 = tuple(View(quarters, is_mirrored) for is_mirrored in (False, True) for quarters in range(4))
_FLIPS = _D4[::2]
_TURNS = {"none": _AS_IT_IS, "flip": _FLIPS, "d4": _D4, "scale": _AS_IT_IS, "scale-flip": _FLIPS}
"""By what ``--tta`` takes (:data:`geoseg.recipe.Tta`)."""


def views_of(tta: str, *, size: int, card: ModelCard) -> tuple[View, ...]:
    """How a tile of ``size`` pixels is seen; first as it is.

    Scaled sides are the nearest whole multiples of the card's ``tile_multiple`` but the tile's own.

    Raises:
        RecipeError: the network takes no smaller tiles.
    """
    turns = _TURNS[tta]
    if not tta.startswith("scale"):
        return turns
    multiple = card.tile_multiple
    if size <= multiple:
        raise RecipeError(
            f"--tta {tta} needs tiles of less than {size} pixels too, but model {card.name} takes whole "
            f"multiples of {multiple} only. Give --tta flip or d4, or a larger --tile-size if it takes one."
        )
    smaller, larger = (round(size * scale / multiple) * multiple for scale in SCALES[1:])
    sides = (size, min(smaller, size - multiple), max(larger, size + multiple))
    return tuple(
        replace(turn, scale=Fraction(max(side, multiple), size), multiple=multiple)
        for side in sides
        for turn in turns
    )


def sizes_of(views: Sequence[View], size: int) -> tuple[int, ...]:
    """The sides of what the network sees of whole tiles, the tile's own first."""
    return tuple(dict.fromkeys(int(size * view.scale) for view in views))


def times_of(views: Sequence[View]) -> float:
    """So many times the pixels of a tile go through the network."""
    return float(sum(view.scale**2 for view in views))
