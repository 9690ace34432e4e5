"""Tiles: what a model sees at once, on one lattice that is the same for every area of a CRS."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geoseg.errors import RecipeError
from geoseg.grid.geobox import lattice_origin


@dataclass(frozen=True)
class Tile:
    """One input of the model, in pixels (row, col) of the plan's geobox."""

    core: Window
    """The pixels it owns; cores cover the lattice once. May reach outside the geobox."""
    window: Window
    """What it reads: the core and a halo on each side. May reach outside the geobox."""


@dataclass(frozen=True)
class TilePlan:
    """The tiles of a geobox.

    Core edges fall on whole multiples of ``stride`` counted from the origin of the CRS, not of the
    geobox, so that a place is predicted from the same tiles whatever area was asked for.

    Example:
        >>> from odc.geo.geobox import GeoBox
        >>> plan = TilePlan(GeoBox.from_bbox((0, 0, 1000, 1000), "EPSG:32725", resolution=10), 64, 8)
        >>> plan.stride, len(list(plan.tiles(Window(0, 0, 100, 100))))
        (48, 16)
    """

    geobox: GeoBox
    size: int
    """Side of a tile, pixels."""
    halo: int
    """Margin on each side that a tile reads and shares with its neighbours, pixels."""
    shift: int = 0
    """How far the lattice lies right of and below its place, pixels; 0 but to see what its place matters."""

    def __post_init__(self) -> None:
        if self.halo < 0:
            raise RecipeError(f"--halo {self.halo} is not a margin in pixels. Give 0 or more, such as 64.")
        least = max(4 * self.halo, 1)
        if self.size < least:
            raise RecipeError(
                f"Tiles of {self.size} pixels are too small for a halo of {self.halo} on each side. "
                f"Give --tile-size {least} or more{', or a smaller --halo' if self.halo else ''}."
            )

    @property
    def stride(self) -> int:
        """Side of a core, pixels."""
        return self.size - 2 * self.halo

    def shifted(self) -> "TilePlan":
        """The same tiles half a stride further right and down: each is centred where four of these meet."""
        return replace(self, shift=self.shift + self.stride // 2)

    def corners(self, window: Window) -> tuple[range, range]:
        """The rows, and the columns, at which the cores of the tiles begin that have a say in ``window``."""
        row0, col0 = (at - self.shift for at in lattice_origin(self.geobox))
        rows = self._corners(window.row_off, window.height, row0)
        return rows, self._corners(window.col_off, window.width, col0)

    def rows(self, window: Window) -> Iterator[list[Tile]]:
        """The tiles that have a say in ``window``, a list for each row of tiles, top to bottom."""
        rows, cols = self.corners(window)
        for row in rows:
            yield [self._tile(row, col) for col in cols]

    def tiles(self, window: Window) -> Iterator[Tile]:
        """The same tiles one by one, in row-major order."""
        for row in self.rows(window):
            yield from row

    def hull(self, window: Window) -> Window:
        """All pixels that these tiles read: a rectangle that holds ``window`` and its halo."""
        rows, cols = self.corners(window)
        return Window(
            cols[0] - self.halo,
            rows[0] - self.halo,
            cols[-1] - cols[0] + self.size,
            rows[-1] - rows[0] + self.size,
        )

    def _corners(self, start: int, length: int, origin: int) -> range:
        low, high = start + origin - self.halo, start + length + origin + self.halo
        first, end = low // self.stride, -(-high // self.stride)
        return range(first * self.stride - origin, end * self.stride - origin, self.stride)

    def _tile(self, row: int, col: int) -> Tile:
        return Tile(
            core=Window(col, row, self.stride, self.stride),
            window=Window(col - self.halo, row - self.halo, self.size, self.size),
        )


@dataclass(frozen=True)
class Block:
    """The unit of work of a job: a pixel rectangle of the geobox, numbered in row-major order."""

    index: int
    window: Window


def blocks_of(geobox: GeoBox, size: int) -> list[Block]:
    """The geobox cut into rectangles of at most ``size`` by ``size`` pixels."""
    if size < 1:
        raise RecipeError(f"--block-size {size} is not a number of pixels. Give, for instance, 2048.")
    height, width = geobox.shape
    corners = [(r, c) for r in range(0, height, size) for c in range(0, width, size)]
    return [
        Block(i, Window(c, r, min(size, width - c), min(size, height - r)))
        for i, (r, c) in enumerate(corners)
    ]
