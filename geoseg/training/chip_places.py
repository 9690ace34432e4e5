"""Where chips were taken: places by an attribute or by blocks of ground, and the split of each."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from rasterio.windows import Window

from geoseg.errors import TrainingError
from geoseg.evaluation.features import PlacesOf, read_features
from geoseg.evaluation.reading import Reader
from geoseg.registry import did_you_mean
from geoseg.resources import path_exists
from geoseg.training.chip_folder import Chip
from geoseg.training.label_sources import is_vector
from geoseg.training.leaks import overlaps
from geoseg.training.splits import choose_splits, lacking

NO_PLACE = -1


class Places:
    """The place of each chip of a grid."""

    def __init__(
        self, grid: GeoBox, *, field: str | None, labels: str, aoi: str | None, block_m: float
    ) -> None:
        """Places of polygons or of blocks.

        Args:
            grid: of the chips.
            field: attribute that names the polygons; None for blocks.
            labels: polygons that may have it.
            aoi: else those of the area.
            block_m: side of a block, metres, counted from the origin of the CRS.

        Raises:
            TrainingError: neither has such an attribute.
        """
        self._grid, self._field, self._block_m = grid, field, float(block_m)
        self._names: list[str] = []
        self._read: Reader | None = None
        if field is not None:
            found = PlacesOf(_source_of(field, labels, aoi), crs=str(grid.crs), field=field)
            self._names, self._read = found.names, found.on(grid)

    @property
    def rule(self) -> str:
        """What a place is, as the index of a folder keeps it."""
        return f"block_m={self._block_m!r}" if self._field is None else f"place_field={self._field}"

    def numbers(self, window: Window) -> NDArray[np.int32] | None:
        """(y, x) which place each pixel is in, :data:`NO_PLACE` for none; None where places are blocks."""
        return None if self._read is None else self._read(window)

    def number(self, window: Window, is_labelled: NDArray[np.bool_]) -> int:
        """The place of most of a chip's labelled pixels; :data:`NO_PLACE` for none, and for blocks."""
        numbers = self.numbers(window)
        if numbers is None:
            return NO_PLACE
        here = numbers[is_labelled & (numbers != NO_PLACE)]
        return int(np.bincount(here).argmax()) if here.size else NO_PLACE

    def name(self, window: Window, number: int) -> str | None:
        """What the place of a chip is called; None where it lies in none."""
        if self._read is not None:
            return None if number == NO_PLACE else self._names[number]
        x, y = self._grid.affine * (window.col_off + window.width / 2, window.row_off + window.height / 2)
        west, south = (math.floor(v / self._block_m) * self._block_m for v in (x, y))
        crs = self._grid.crs
        code = crs.epsg if crs and crs.epsg else hashlib.sha256(str(crs).encode()).hexdigest()[:8]
        return f"{code}_{west:.12g}_{south:.12g}"


def _source_of(field: str, labels: str, aoi: str | None) -> Path:
    """The file whose polygons have the attribute: the labels, else the area."""
    files = [Path(labels)] if is_vector(labels) else []
    if aoi is not None and is_vector(aoi) and path_exists(Path(aoi)):
        files.append(Path(aoi))
    columns: list[str] = []
    for file in files:
        frame: gpd.GeoDataFrame = read_features(file)
        own = [str(c) for c in frame.columns if c != frame.geometry.name]
        if field in own:
            return file
        columns += own
    if not files:
        raise TrainingError(
            "--place-field is of polygons: give --labels or --aoi as a vector file, or --block-m."
        )
    raise TrainingError(
        f"{' and '.join(f.name for f in files)} have no attribute {field!r}: {did_you_mean(field, columns)}"
    )


def known_ground(boxes: Sequence[Geometry], rows: Sequence[Chip]) -> list[str | None]:
    """For each new chip the place of the ground that it lies on, ``""`` for new ground.

    None where it lies on ground of two splits: it can be in neither.
    """
    found: list[str | None] = [""] * len(boxes)
    if not rows:
        return found
    pairs, shares = overlaps(boxes, [row.box for row in rows])
    for n in np.unique(pairs[:, 0]):
        here = pairs[:, 0] == n
        under = [rows[i] for i in pairs[here, 1]]
        is_one = len({row.split for row in under}) == 1
        found[int(n)] = under[int(np.argmax(shares[here]))].place if is_one else None
    return found


def with_splits(
    new: Sequence[Chip], before: Sequence[Chip], names: Sequence[str], *,
    val_share: float, test_share: float, seed: int, say: Callable[[str], None],
) -> list[Chip]:  # fmt: skip
    """New chips with a split each; places that were there keep theirs.

    Args:
        new: without splits.
        before: with splits.
        names: of the classes.
        val_share: see :func:`geoseg.training.splits.choose_splits`.
        test_share: likewise.
        seed: likewise.
        say: told which classes a split lacks.

    Raises:
        TrainingError: there are fewer places than splits.
    """
    counts: dict[str, NDArray[np.int64]] = {}
    for row in (*before, *new):
        counts[row.place] = counts.get(row.place, 0) + row.counts(names)
    fixed = {row.place: row.split for row in before}
    splits = choose_splits(counts, val_share=val_share, test_share=test_share, fixed=fixed, seed=seed)
    for split, gone in lacking(counts, splits, list(names)).items():
        say(f"split {split} has no pixel of {', '.join(gone)}: no place is left that has it.")
    rows = [replace(row, split=splits[row.place]) for row in new]
    _refuse_overlap([*before, *rows])
    return rows


def _refuse_overlap(rows: Sequence[Chip]) -> None:
    """No ground of one split lies within chips of another one."""
    for split in {row.split for row in rows}:
        own, others = ([r for r in rows if (r.split == split) == is_own] for is_own in (True, False))
        pairs, _ = overlaps([r.box for r in own], [r.box for r in others])
        if len(pairs):
            one, other = own[pairs[0, 0]], others[pairs[0, 1]]
            raise TrainingError(
                f"Chip {one.chip} of split {one.split} overlaps {other.chip} of split {other.split}. Give "
                "them one split in the index."
            )
