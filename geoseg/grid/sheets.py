"""Sheets: the files of a map that is too large for one, on one lattice for every map of a CRS."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import shapely
from odc.geo.geobox import GeoBox
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from geoseg.grid.geobox import lattice_origin

SHEET_STEP = 512
"""Sides of sheets are multiples of this many pixels, which is what blocks of a COG have."""
_WITH_OVERVIEWS = 4 / 3
_BYTES_PER_GB = 1e9


@dataclass(frozen=True)
class Sheet:
    """A rectangle of the map that is a file of its own."""

    name: str
    """Row and column among the sheets of the map, as ``r0000-c0012``."""
    window: Window
    """Its pixels; of sheets at the edge of the map, those that the map has."""


def sheets_of(geobox: GeoBox, *, max_file_gb: float | None, area_px: BaseGeometry | None) -> list[Sheet]:
    """The sheets that hold part of the area, in row-major order; none where one file holds the map.

    Edges fall on multiples of a side that follows from ``max_file_gb`` alone, counted from the origin of the
    CRS: sheets of two maps of one grid coincide. What counts is the size before compression, a byte a pixel
    with overviews, so that neither content nor blocks matter.

    Args:
        geobox: of the map.
        max_file_gb: what no file is to be larger than, GB of 10**9 bytes, down to a sheet of 512 pixels;
            None: one file.
        area_px: the area in pixels (col, row) of the geobox; None for all of it.

    Example:
        >>> geobox = GeoBox.from_bbox((0, 0, 7000, 6000), "EPSG:32725", resolution=10)
        >>> [sheet.name for sheet in sheets_of(geobox, max_file_gb=4e-4, area_px=None)]
        ['r0000-c0000', 'r0000-c0001', 'r0001-c0000', 'r0001-c0001']
    """
    height, width = geobox.shape
    if max_file_gb is None or height * width * _WITH_OVERVIEWS <= max_file_gb * _BYTES_PER_GB:
        return []
    side = math.isqrt(int(max_file_gb * _BYTES_PER_GB / _WITH_OVERVIEWS)) // SHEET_STEP * SHEET_STEP
    row0, col0 = lattice_origin(geobox)
    rows, cols = (_spans(*of, max(side, SHEET_STEP)) for of in ((row0, height), (col0, width)))
    sheets = [
        Sheet(f"r{i:04d}-c{j:04d}", Window(left, top, right - left, bottom - top))
        for i, (top, bottom) in enumerate(rows)
        for j, (left, right) in enumerate(cols)
    ]
    return sheets if area_px is None else _within(sheets, area_px)


def _spans(origin: int, length: int, side: int) -> list[tuple[int, int]]:
    """First and end of each sheet along one side of the map, which begins ``origin`` pixels from zero."""
    first, last = origin // side, -(-(origin + length) // side)
    edges = [min(max(n * side - origin, 0), length) for n in range(first, last + 1)]
    return list(itertools.pairwise(edges))


def _within(sheets: list[Sheet], area_px: BaseGeometry) -> list[Sheet]:
    left, top, width, height = np.array([sheet.window.flatten() for sheet in sheets]).T
    boxes = shapely.box(left, top, left + width, top + height)
    shapely.prepare(area_px)
    touches = shapely.intersects(area_px, boxes)
    return [sheet for sheet, is_in in zip(sheets, touches, strict=True) if is_in]
