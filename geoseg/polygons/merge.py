"""Fewer polygons: small regions become part of a neighbour."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import numpy as np
import numpy.typing as npt

from geoseg.polygons.describe import describe
from geoseg.polygons.links import NORTH, SOUTH, Links, link
from geoseg.polygons.nodes import SIZE, Classes, Ints, Labels, Strip

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Graph:
    """The regions of a class map and their borders, without their shapes."""

    class_id: Classes
    """(region,)"""
    first: Ints
    """(region,) a number in the order of their first pixels."""
    size: Ints
    """(region,) as ``areas.column_sizes``."""
    region_of: Ints
    """(outline,) the region of each outline in each strip, numbered through all strips."""
    one: Ints
    """(border,) a region; each border comes both ways."""
    other: Ints
    """(border,) its neighbour."""
    length: Floats
    """(border,) in pixel widths."""


def read_graph(strips: Iterable[Strip], *, aspect: float) -> Graph:
    """The regions and borders of a class map.

    Memory: some 60 bytes for each region and 30 for each border.

    Args:
        strips: of the map.
        aspect: height of a pixel over its width, on the ground.
    """
    parts: list[tuple[Classes, Ints, Ints]] = []
    links: list[tuple[Ints, Ints]] = []
    borders: list[tuple[Ints, Ints, Ints, Ints]] = []
    n_outlines = 0
    for gates, came_from, strip, linked in _linked(strips):
        outlines = describe(linked, strip, gates)
        parts.append((outlines.class_id, outlines.least, outlines.sums[:, SIZE]))
        own = n_outlines + np.arange(len(outlines.least))
        links.append((own, n_outlines + outlines.parent))
        at = np.flatnonzero(linked.node < len(gates))
        links.append((came_from[linked.node[at]], own[_outline_at(linked, at)]))
        borders.append(_borders(linked, strip, len(gates), n_outlines))
        n_outlines += len(own)
    a, b = (np.concatenate(ends) for ends in zip(*links, strict=True))
    kept, region_of = np.unique(connect(n_outlines, a, b), return_inverse=True)
    class_id, least, size = (np.concatenate(values) for values in zip(*parts, strict=True))
    first, total = np.full(len(kept), np.iinfo(np.int64).max), np.zeros(len(kept), np.int64)
    np.minimum.at(first, region_of, least)
    np.add.at(total, region_of, size)
    one, other, width, height = (np.concatenate(values) for values in zip(*borders, strict=True))
    pair, (width, height) = _summed(region_of[one] * len(kept) + region_of[other], width, height)
    return Graph(
        class_id=class_id[kept],
        first=first,
        size=total,
        region_of=region_of,
        one=pair // max(len(kept), 1),
        other=pair % max(len(kept), 1),
        length=width + aspect * height,
    )


def merge_small(graph: Graph, *, min_size: float) -> Ints:
    """The region that each region ends up in, (region,), when those below ``min_size`` are merged away.

    The smallest region goes first, into the neighbour with which it shares the longest border, whose class
    it takes; of equals the larger neighbour, and of equals everywhere the one whose first pixel comes first.
    What has grown to the minimum stays. Regions of one class that come to share an edge become one, so the
    outcome is again what ``polygonize`` makes of a class map. A region without neighbours, an island in
    nodata, stays however small.

    Which merges there are can depend on regions far away, so all of them are done at once, in memory: up to
    500 bytes for each small region.
    """
    return _Merger(graph, min_size).run()


def recoloured(strips: Iterable[Strip], width: int, class_of: Classes) -> Iterator[Classes]:
    """The rows of the class map of each strip, painted anew: (h, width).

    Args:
        strips: the same strips as ``read_graph`` was given.
        width: of the map.
        class_of: (outline,) the class of each outline in each strip, numbered through all strips.
    """
    n_outlines = 0
    for gates, _, strip, linked in _linked(strips):
        # Nodata is 0 in here, and each pixel the sum of the steps to the left of it (modulo 256).
        value = (class_of[n_outlines : n_outlines + len(linked.is_path)] + np.uint8(1)).astype(np.uint8)
        value = np.repeat(value, np.diff(linked.begin))
        step = np.zeros((strip.stop - strip.start) * (width + 1), np.uint8)
        row, col = _ends(strip, len(gates), gates)
        for direction in (NORTH, SOUTH):
            edge = np.flatnonzero(linked.direction == direction)
            a, b = row[linked.node[edge]], row[linked.end[edge]]
            length = np.abs(a - b)
            top = np.minimum(a, b) - strip.start
            down = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
            at = (np.repeat(top, length) + down) * (width + 1) + np.repeat(col[linked.node[edge]], length)
            step[at] += np.repeat(value[edge] if direction == SOUTH else -value[edge], length)
        painted = np.cumsum(step.reshape(-1, width + 1), axis=1, dtype=np.uint8)[:, :-1]
        yield painted - np.uint8(1)
        n_outlines += len(linked.is_path)


def connect(n: int, a: npt.NDArray[np.integer], b: npt.NDArray[np.integer]) -> Ints:
    """The least member of each thing's connected component, (n,), where ``a[i]`` is linked to ``b[i]``.

    Every round hooks roots to lesser neighbouring roots and flattens the trees (Shiloach and Vishkin 1982).
    """
    root = np.arange(n)
    while True:
        a, b = root[a], root[b]
        is_open = a != b
        if not is_open.any():
            return root
        a, b = a[is_open], b[is_open]
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(above := root[root], root):
            root = above


def _linked(strips: Iterable[Strip]) -> Iterator[tuple[Labels, Ints, Strip, Links]]:
    """Upper gates, the number of the outline that comes down by each (through all strips), strip, links."""
    gates, sides = np.empty(0, np.int32), np.empty((0, 2), np.uint8)
    returns, came_from = np.empty(0, np.int32), np.empty(0, np.int64)
    n_outlines = 0
    for strip in strips:
        linked = link(strip, gates, sides, returns)
        yield gates, came_from, strip, linked
        path = np.flatnonzero(linked.is_path)
        came_from = np.zeros(len(strip.crossing), np.int64)
        came_from[linked.end[linked.begin[1:][path] - 1] - linked.first_lower] = n_outlines + path
        gates, sides, returns = strip.crossing, strip.sides, linked.returns()
        n_outlines += len(linked.is_path)


def _outline_at(linked: Links, edge: Ints) -> Ints:
    return np.searchsorted(linked.begin, edge, side="right") - 1


def _ends(strip: Strip, n_upper: int, gates: Labels) -> tuple[Ints, Ints]:
    """(node,) row and column of gates and nodes; gates lie at the ends of the strip."""
    around = (n_upper, len(strip.crossing))
    row = np.pad(strip.row.astype(np.int64), around, constant_values=(strip.start, strip.stop))
    return row, np.concatenate([gates, strip.col, strip.crossing]).astype(np.int64)


def _borders(linked: Links, strip: Strip, n_upper: int, n_outlines: int) -> tuple[Ints, Ints, Ints, Ints]:
    """Outline, outline on the other side, and how long they run along each other: columns, rows."""
    back = linked.end * np.int64(4) + ((linked.direction + 2) & 3)
    right = linked.outline_of[back].astype(np.int64)
    left = np.repeat(np.arange(len(linked.is_path)), np.diff(linked.begin))
    row, col = _ends(strip, n_upper, np.zeros(n_upper, np.int32))
    is_vertical = (linked.direction & 1).astype(bool)
    width = np.where(is_vertical, 0, np.abs(col[linked.node] - col[linked.end]))
    height = np.where(is_vertical, np.abs(row[linked.node] - row[linked.end]), 0)
    is_border = right >= 0
    n = max(len(linked.is_path), 1)
    pair, (width, height) = _summed((left * n + right)[is_border], width[is_border], height[is_border])
    return n_outlines + pair // n, n_outlines + pair % n, width, height


def _summed(pair: Ints, *values: Ints) -> tuple[Ints, list[Ints]]:
    """Each pair once, with the sums of its values."""
    pairs, place = np.unique(pair, return_inverse=True)
    sums = [np.zeros(len(pairs), np.int64) for _ in values]
    for total, value in zip(sums, values, strict=True):
        np.add.at(total, place, value)
    return pairs, sums


class _Merger:
    """The state of ``merge_small``: which region went where, and the borders of those that are left."""

    def __init__(self, graph: Graph, min_size: float) -> None:
        self._class: list[int] = graph.class_id.tolist()
        self._first: list[int] = graph.first.tolist()
        self._size: list[int] = graph.size.tolist()
        self._min_size = min_size
        self._root = np.arange(len(graph.size))
        self._borders: dict[int, dict[int, float]] = {}
        is_small = graph.size < min_size
        concerns = is_small[graph.one] | is_small[graph.other]
        pairs = (values[concerns].tolist() for values in (graph.one, graph.other, graph.length))
        for a, b, length in zip(*pairs, strict=True):
            self._borders.setdefault(a, {})[b] = length
        self._queue = [(self._size[i], self._first[i], i) for i in np.flatnonzero(is_small).tolist()]
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
