"""The seam score: how much of a map depends on where its tiles happen to lie."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.grid.tiling import TilePlan
from geoseg.inference.predictor import predict
from geoseg.inference.runner import Inference
from geoseg.legend import CLASS_NODATA
from geoseg.models.zoo import Model

TILES_PER_SPOT = 50
"""There is a spot for so many tiles of the map, so that the score costs about 2 % of them."""
MAX_SPOTS = 8
_LOOKS = 128
"""Spots looked at for those with enough of the map."""
_ENOUGH = 0.75
"""Of the pixels of a spot that have a class; others are taken where there are too few of them."""
_FEWEST = 256
"""Pixels with a class, without which a spot that large says nothing."""
ONE_TILE = "the area lies within one tile, which has no seams"
TOO_FEW = "too few pixels of the map lie where tiles meet"

ClassMap = NDArray[np.uint8]


@dataclass(frozen=True)
class SeamScore:
    """What came of predicting some spots of a map again, with the lattice shifted by half a stride."""

    n_spots: int = 0
    n_pixels: int = 0
    """Compared: all of the spots that have a class."""
    n_differ: int = 0
    """Those that got another class."""
    reason: str = ""
    """Why nothing was compared."""

    @property
    def share(self) -> float | None:
        """Of the compared pixels, 0..1, those that differ; None where none were compared."""
        return self.n_differ / self.n_pixels if self.n_pixels else None

    def text(self) -> str:
        """For people."""
        if self.share is None:
            return f"not measured: {self.reason}"
        at = "1 spot" if self.n_spots == 1 else f"{self.n_spots} spots"
        of = "of the one pixel" if self.n_pixels == 1 else f"of {self.n_pixels:,} pixels"
        share = f"{self.share:.2%}" if self.share >= 1e-4 or not self.n_differ else "less than 0.01%"
        return f"{share} {of} at {at} get another class when the tiles lie half a stride further"


def seam_score(
    image: xr.DataArray,
    class_id: xr.DataArray,
    *,
    model: Model,
    plan: TilePlan | None = None,
    how: Inference = Inference(),
) -> SeamScore:
    """How much of a map that :func:`geoseg.inference.predictor.predict` made depends on where its tiles lie.

    A few spots, where tiles of the map meet, are predicted again by tiles that are shifted by half a stride,
    so that those spots lie in their middle. A model that only looks at what is near scores 0.

    Args:
        image: the one that was predicted.
        class_id: uint8 (y, x), the map of all of ``image``.
        model: the one that made it.
        plan: its tiles; None for the card's, as in ``predict``.
        how: as it was predicted.

    Raises:
        ModelError: see ``predict``.

    Example:
        >>> from geoseg import create_model, predict, seam_score  # doctest: +SKIP
        >>> seam_score(image, predict(image, model=model).class_id, model=model).share  # doctest: +SKIP
        0.0021
    """
    plan = plan or TilePlan(image.odc.geobox, model.card.tile_size, model.card.halo)
    classes = class_id.to_numpy()
    whole = Window(0, 0, classes.shape[1], classes.shape[0])
    candidates, reason = spots_of(plan, whole)
    picked = pick(candidates, lambda spot: _n_known(classes[spot.toslices()]), plan=plan)
    counts = []
    for spot in picked:
        before = classes[spot.toslices()]
        again = predict(
            image, model=model, plan=plan.shifted(), window=spot, mask=before != CLASS_NODATA, how=how
        )
        counts.append(compared(before, again.class_id.to_numpy()))
    return score_of(counts, reason)


def spots_of(plan: TilePlan, whole: Window) -> tuple[list[Window], str]:
    """All spots of a map that can be predicted again, or none and why.

    Each is where one tile of the shifted lattice alone has a say, so it costs that tile; halos that leave no
    such spot make it a stride wide, which takes four tiles.

    Args:
        plan: the tiles of the map.
        whole: the map, in pixels of the plan's geobox.
    """
    if len(list(plan.tiles(whole))) == 1:
        return [], ONE_TILE
    side = _side(plan)
    found = []
    for tile in plan.shifted().tiles(whole):
        top, left = tile.core.row_off + plan.halo, tile.core.col_off + plan.halo
        first, last = max(top, whole.row_off), min(top + side, whole.row_off + whole.height)
        west, east = max(left, whole.col_off), min(left + side, whole.col_off + whole.width)
        if first < last and west < east:
            found.append(Window(west, first, east - west, last - first))
    return found, TOO_FEW


def _side(plan: TilePlan) -> int:
    return plan.size - 4 * plan.halo if _is_of_one_tile(plan) else plan.stride


def _is_of_one_tile(plan: TilePlan) -> bool:
    return plan.size - 4 * plan.halo >= max(plan.halo, 1)


def n_spots_of(n_tiles: int) -> int:
    """How many spots a map of that many tiles has."""
    return min(max(n_tiles // TILES_PER_SPOT, 1), MAX_SPOTS)


def pick(candidates: Sequence[Window], n_known: Callable[[Window], int], *, plan: TilePlan) -> list[Window]:
    """Spots drawn by a fixed seed among those with enough of the map: about one for 50 tiles, 1 to 8 in all.

    Args:
        candidates: as :func:`spots_of` gives them, where the map may have pixels.
        n_known: the number of pixels of a spot that have a class.
        plan: the tiles of the map.
    """
    side = _side(plan)
    n_tiles = 1 if _is_of_one_tile(plan) else 4
    n = n_spots_of(len(candidates) // n_tiles)
    good, rest = list[Window](), list[tuple[int, Window]]()
    for at in np.random.default_rng(0).permutation(len(candidates))[:_LOOKS]:
        known = n_known(candidates[at])
        if known >= _ENOUGH * side**2:
            good.append(candidates[at])
        elif known >= min(_FEWEST, side**2 // 4):
            rest.append((known, candidates[at]))
        if len(good) == n:
            break
    rest.sort(key=lambda found: -found[0])
    return [*good, *(spot for _, spot in rest)][:n]


def compared(before: ClassMap, again: ClassMap) -> tuple[int, int]:
    """Pixels of a spot that have a class both times, and those of them whose class differs."""
    is_known = (before != CLASS_NODATA) & (again != CLASS_NODATA)
    return int(is_known.sum()), int((before != again)[is_known].sum())


def score_of(counts: Sequence[tuple[int, int]], reason: str) -> SeamScore:
    """The score of spots as :func:`compared` found them; ``reason`` is why there are none."""
    n_pixels, n_differ = (sum(numbers) for numbers in zip(*counts, strict=True)) if counts else (0, 0)
    return SeamScore(len(counts), n_pixels, n_differ, "" if n_pixels else reason)


def _n_known(classes: ClassMap) -> int:
    return int((classes != CLASS_NODATA).sum())
