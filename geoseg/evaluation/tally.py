"""What is counted of a map that is read block by block."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geoseg.errors import EvaluationError
from geoseg.evaluation.boundary import core_of, count_boundary, count_trimap
from geoseg.evaluation.boundary_width import BoundaryWidth
from geoseg.evaluation.confusion import IGNORED, Counts, count, count_by_place
from geoseg.evaluation.features import PlacesOf
from geoseg.evaluation.scores import Outlines
from geoseg.grid.ground import row_areas_m2
from geoseg.grid.tiling import Tile

CELL = 32
"""Side of a cell of the map of errors, pixels; ``BLOCK`` is a multiple."""
_WIDEST = 512
"""Of a boundary, pixels: what is read around each block."""


class MapTally:
    """What is counted of a map, block by block: by place, near boundaries, and where the errors are."""

    def __init__(
        self,
        grid: GeoBox,
        n_classes: int,
        *,
        places: PlacesOf | None = None,
        boundary: BoundaryWidth | None = None,
    ) -> None:
        """Nothing counted yet.

        Args:
            grid: of the map.
            n_classes: how many there are.
            places: counted one by one; None for one that is everywhere.
            boundary: how wide boundaries are; None to count none.

        Raises:
            EvaluationError: boundaries are too wide for the map.
        """
        self._grid, self._n_classes = grid, n_classes
        self._places = places.on(grid) if places else None
        n_places = len(places.names) if places else 1
        self.counts: Counts = np.zeros((n_places, n_classes, n_classes + 1), np.int64)
        cells = (-(-grid.shape[0] // CELL), -(-grid.shape[1] // CELL))
        self.wrong, self.compared = np.zeros(cells, np.int64), np.zeros(cells, np.int64)
        self.halo, self.n_elsewhere, self._notes = 0, 0, list[str]()
        self.outlines: Outlines | None = None
        if boundary is not None:
            self.halo, note = _width_of(boundary, grid)
            self.outlines = Outlines(
                np.zeros((*self.counts.shape[:2], 3), np.int64), np.zeros_like(self.counts)
            )
            self._notes.append(note)

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know of the counts."""
        if not self.n_elsewhere:
            return tuple(self._notes)
        return (*self._notes, f"{self.n_elsewhere:,} pixels lie in no place: left out of all scores.")

    def feed(self, tile: Tile, found: NDArray[np.int32], expected: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Count the core of a tile; the arrays are its window. Returns what of it was compared."""
        window, core = tile.core, core_of(tile)
        places = self._places(window) if self._places else None
        if self.outlines is not None:
            self._feed_outlines(self.outlines, tile, found, expected, places)
        found, expected = found[core], expected[core]
        if places is None:
            self.counts[0] += count(expected, found, n_classes=self._n_classes)
        else:
            self.counts += count_by_place(
                expected, found, places, n_classes=self._n_classes, n_places=len(self.counts)
            )
        is_compared: NDArray[np.bool_] = expected != IGNORED
        if places is not None:
            self.n_elsewhere += int((is_compared & (places < 0)).sum())
            is_compared &= places >= 0
        at = (slice(window.row_off // CELL, None), slice(window.col_off // CELL, None))
        _add_cells(self.wrong[at], is_compared & (found != expected))
        _add_cells(self.compared[at], is_compared)
        return is_compared

    def _feed_outlines(
        self,
        outlines: Outlines,
        tile: Tile,
        found: NDArray[np.int32],
        expected: NDArray[np.int32],
        places: NDArray[np.int32] | None,
    ) -> None:
        given: dict[str, Any] = {
            "n_classes": self._n_classes,
            "distance": self.halo,
            "tile": tile,
            "shape": self._grid.shape,
            "places": places,
            "n_places": len(self.counts),
        }
        outlines.boundary[:] += count_boundary(expected, found, **given)
        # What is not compared ends the map; it is no outline, as the void of PASCAL VOC is.
        outlines.trimap[:] += count_trimap(expected, found, is_ignored_other=False, **given)


def _width_of(boundary: BoundaryWidth, grid: GeoBox) -> tuple[int, str]:
    """The width of boundaries in pixels of a map, and a note that says it."""
    height, width = grid.shape
    side_m = float(np.sqrt(np.median(row_areas_m2(grid))))
    pixels = boundary.pixels((height, width), gsd_m=side_m)
    if pixels > _WIDEST:
        raise EvaluationError(
            f"A boundary of {boundary} is {pixels:,} pixels wide on this map, expected at most {_WIDEST}. "
            "Give metres: --boundary 30m."
        )
    return pixels, (
        f"Boundary IoU and trimap IoU reach {pixels} pixels ({pixels * side_m:,.3g} m) from boundaries."
    )


def summed(cells: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Sums over squares of ``n`` cells."""
    if not cells.size:
        return cells
    rows, cols = (np.arange(0, size, n) for size in cells.shape)
    sums: NDArray[np.int64] = np.add.reduceat(np.add.reduceat(cells, rows, axis=0), cols, axis=1)
    return sums


def _add_cells(cells: NDArray[np.int64], pixels: NDArray[np.bool_]) -> None:
    """Count the True pixels of a block in the cells that it begins with."""
    sums = summed(pixels.astype(np.int64), CELL)
    cells[: sums.shape[0], : sums.shape[1]] += sums
