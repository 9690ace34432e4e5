"""Fewer polygons and fewer vertices, without gaps or overlaps."""

from heapq import heapify, heappop, heappush

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from geoseg.errors import OutputError
from geoseg.polygons.rings import Edges
from geoseg.polygons.stitch import NO_REGION, Ints, Nodes, Partition, Regions

Floats = npt.NDArray[np.float64]


def simplify_coverage(polygons: gpd.GeoDataFrame, *, tolerance_m: float) -> gpd.GeoDataFrame:
    """The polygons with simpler outlines that neighbours go on sharing: no gaps, no overlaps.

    Vertices go in the order of the area of the triangle they make with their two neighbours, while that area
    is below ``tolerance_m`` squared (Visvalingam and Whyatt 1993). So the tolerance is not a distance that
    outlines keep to. The stair of a diagonal outline has triangles of half a square pixel: below 0.71
    pixels nothing happens to it. Points where three polygons meet stay, and no polygon vanishes: what is
    smaller than the tolerance is drawn as a triangle, so merge the small ones first. Outlines along nodata
    are simplified too.

    Args:
        polygons: a coverage whose neighbours have the vertices of their common border in common, as
            ``polygonize`` gives. ``area_ha`` and ``confidence`` are kept: they are those of the pixels, and
            their sums remain exact while the drawn outlines move.
        tolerance_m: in metres, >= 0; 0 gives the polygons back. The work is done in memory, all at once.

    Raises:
        OutputError: the CRS is in degrees, or the tolerance is negative.

    Source: shapely.coverage_simplify, GEOS CoverageSimplifier.
    """
    check_tolerance(tolerance_m, polygons.crs)
    if tolerance_m == 0 or polygons.empty:
        return polygons.copy()
    tolerance = tolerance_m / polygons.crs.axis_info[0].unit_conversion_factor
    outlines = shapely.coverage_simplify(np.asarray(polygons.geometry.array), tolerance)
    return polygons.set_geometry(shapely.orient_polygons(outlines), crs=polygons.crs)


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


def merge_small(partition: Partition, edges: Edges, *, size: Floats, min_size: float, aspect: float) -> Ints:
    """The region that each region ends up in, (region,), when those below ``min_size`` are merged away.

    The smallest region goes first, into the neighbour with which it shares the longest border, whose class
    it takes; of equals the larger neighbour, and of equals everywhere the one whose first pixel comes first.
    What has grown to the minimum stays. Regions of one class that come to share an edge become one, so the
    outcome is again what ``polygonize`` makes of a class map. A region without neighbours, an island in
    nodata, stays however small.

    Args:
        partition: the regions and the nodes of their outlines.
        edges: the edges between the nodes.
        size: (region,) sizes, in any unit; in whole numbers ties are exact.
        min_size: in the same unit, > 0. A size equal to it is not small.
        aspect: height of a pixel over its width, on the ground.
    """
    pairs = _borders(partition.nodes, edges, is_small=size < min_size, aspect=aspect)
    return _Merger(partition.regions, size, min_size, pairs).run()


def _borders(
    nodes: Nodes, edges: Edges, *, is_small: npt.NDArray[np.bool_], aspect: float
) -> tuple[Ints, Ints, Floats]:
    """Region, neighbour and length of their border in pixel widths, both ways, if one of the two is small."""
    is_border = edges.right != NO_REGION
    is_border[is_border] = is_small[edges.left[is_border]] | is_small[edges.right[is_border]]
    start, end = edges.node[is_border], edges.ends()[is_border]
    length = np.abs(nodes.col[start] - nodes.col[end]) + aspect * np.abs(nodes.row[start] - nodes.row[end])
    pair, place = np.unique(
        edges.left[is_border] * len(is_small) + edges.right[is_border], return_inverse=True
    )
    total = np.zeros(len(pair))
    np.add.at(total, place, length)
    return pair // len(is_small), pair % len(is_small), total


class _Merger:
    """The state of ``merge_small``: which region went where, and the borders of those that are left."""

    def __init__(
        self, regions: Regions, size: Floats, min_size: float, pairs: tuple[Ints, Ints, Floats]
    ) -> None:
        self._class: list[int] = regions.class_id.tolist()
        self._first: list[int] = regions.first.tolist()
        self._size: list[float] = size.tolist()
        self._min_size = min_size
        self._root = np.arange(len(size))
        self._borders: dict[int, dict[int, float]] = {}
        for a, b, length in zip(*(p.tolist() for p in pairs), strict=True):
            self._borders.setdefault(a, {})[b] = length
        self._queue = [(self._size[i], self._first[i], i) for i in np.flatnonzero(size < min_size).tolist()]
        heapify(self._queue)

    def run(self) -> Ints:
        while self._queue:
            size, _, small = heappop(self._queue)
            is_current = self._root[small] == small and self._size[small] == size
            if is_current and (around := self._borders.get(small)):
                self._merge(small, max(around, key=lambda i: (around[i], self._size[i], -self._first[i])))
        while not np.array_equal(above := self._root[self._root], self._root):
            self._root = above
        return self._root

    def _merge(self, small: int, receiver: int) -> None:
        kin = [i for i in self._borders[small] if i != receiver and self._class[i] == self._class[receiver]]
        self._absorb(small, receiver)
        for other in kin:
            if len(self._borders.get(other, ())) > len(self._borders.get(receiver, ())):
                other, receiver = receiver, other
            self._absorb(other, receiver)
        if self._size[receiver] < self._min_size:
            heappush(self._queue, (self._size[receiver], self._first[receiver], receiver))

    def _absorb(self, gone: int, receiver: int) -> None:
        """Give the ground and borders of ``gone`` to ``receiver``, but for those among large regions."""
        self._root[gone] = receiver
        self._size[receiver] += self._size[gone]
        self._first[receiver] = min(self._first[receiver], self._first[gone])
        own = self._borders.setdefault(receiver, {})
        for other, length in self._borders.pop(gone, {}).items():
            theirs = self._borders[other]
            theirs.pop(gone)
            if other != receiver and min(self._size[other], self._size[receiver]) < self._min_size:
                own[other] = theirs[receiver] = own.get(other, 0.0) + length
