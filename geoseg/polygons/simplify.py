"""Fewer vertices, without gaps or overlaps: nodes that no outline needs are taken out."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pyproj

from geoseg.errors import OutputError
from geoseg.polygons.nodes import BAND, Strip
from geoseg.polygons.thinning import thin


def simplified(strips: Iterable[Strip], width: int, *, max_area_px: float) -> Iterator[Strip]:
    """The strips with ``is_kept``: which nodes are to be drawn.

    Nodes go in the order of the area of the triangle they make with their two neighbours on the outline,
    while
    that area is below ``max_area_px`` (Visvalingam and Whyatt 1993); of equals, the corners of the lower
    class go first. So the tolerance is not a distance that outlines keep to. The stair of a diagonal
    outline has
    triangles of half a pixel. Points where three polygons meet stay, and no polygon vanishes: what is smaller
    than the tolerance is drawn as a triangle, so merge the small ones first. Outlines along nodata are
    simplified too.

    A node goes only if no other node lies in its triangle, so no outline can come to cross another or itself.
    As it goes from both sides of an outline, neighbours go on sharing it: there are no gaps, no overlaps.

    The map is worked on in bands of 512 rows, two at a time: first 0 and 1, 2 and 3, ..., which leaves
    alone what reaches from one pair to the next, then 1 and 2, 3 and 4, ... So nodes at the borders of bands
    are as few as elsewhere, and results do not depend on how the map is cut into strips. Memory: the nodes of
    three bands and a byte for each pixel of two.
    """
    bands = _bands(strips)
    waiting: list[Strip] = []
    for i, band in enumerate(bands):
        waiting.append(band)
        if i % 2:
            waiting[-2:] = _thinned(waiting[-2:], width, max_area_px)
            if len(waiting) == 3:
                waiting[:2] = _thinned(waiting[:2], width, max_area_px)
            yield from waiting[:-1]
            del waiting[:-1]
    if len(waiting) == 2 or (waiting and waiting[0].start == 0):
        waiting[-1:] = _thinned(waiting[-1:], width, max_area_px)
    if len(waiting) == 2:
        waiting = _thinned(waiting, width, max_area_px)
    yield from waiting


def check_tolerance(tolerance_m: float, crs: pyproj.CRS | None) -> None:
    """Refuse a tolerance that means nothing: negative, or above 0 where the CRS has no metres."""
    if not tolerance_m >= 0:
        raise OutputError(
            f"simplify_m is {tolerance_m:g}, expected 0 or more metres. Leave it out to keep outlines."
        )
    if tolerance_m > 0 and (crs is None or crs.is_geographic):
        name = "no CRS" if crs is None else f"a CRS in degrees ({crs.name})"
        raise OutputError(
            f"simplify_m is in metres and the map has {name}, expected a projected CRS. "
            "Map in UTM or leave simplify_m out."
        )


def _bands(strips: Iterable[Strip]) -> Iterator[Strip]:
    """Strips joined so that each holds ``BAND`` rows, with all nodes kept."""
    parts: list[Strip] = []
    for strip in strips:
        if parts and strip.start % BAND == 0:
            yield _joined(parts)
            parts = []
        parts.append(strip)
    if parts:
        yield _joined(parts)


def _joined(parts: list[Strip]) -> Strip:
    return replace(
        parts[-1],
        start=parts[0].start,
        row=np.concatenate([part.row for part in parts]),
        col=np.concatenate([part.col for part in parts]),
        classes=np.concatenate([part.classes for part in parts]),
        wall=np.concatenate([part.wall for part in parts]),
        sums=np.concatenate([part.sums for part in parts]),
        is_kept=np.ones(sum(len(part.row) for part in parts), bool),
    )


def _thinned(bands: list[Strip], width: int, max_area_px: float) -> list[Strip]:
    """One or two bands with fewer nodes kept: of those only whose neighbours lie in these bands."""
    both = _joined(bands)
    kept = np.concatenate([band.is_kept for band in bands])
    is_kept = thin(both, kept, width, max_area_px=max_area_px)
    cut = len(bands[0].row)
    return [replace(band, is_kept=part) for band, part in zip(bands, np.split(is_kept, [cut]), strict=False)]
