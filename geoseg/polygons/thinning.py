"""Which nodes outlines can do without: Visvalingam's order, many nodes at a time, and no crossings."""

import numpy as np
import numpy.typing as npt

from geoseg.polygons.cycles import Indices
from geoseg.polygons.links import EAST, NORTH, SOUTH, WEST, arms_of, neighbours
from geoseg.polygons.nodes import Bools, Classes, Ints, Strip

_NEVER = np.iinfo(np.int64).max
_MAX_POINTS = 1_000_000
"""Lattice points looked at together when triangles are searched."""


def thin(strip: Strip, is_kept: Bools, width: int, *, max_area_px: float) -> Bools:
    """(node,) ``is_kept`` with further nodes taken out; those with a neighbour outside the strip stay."""
    thinner = _Thinner(strip, is_kept, width, 2 * max_area_px)
    while thinner.advance():
        pass
    return thinner.is_kept


class _Thinner:
    """Outlines as a graph of nodes, each linked to the next kept one along each of its four arms."""

    def __init__(self, strip: Strip, is_kept: Bools, width: int, max_twice_area: float) -> None:
        self.is_kept = is_kept.copy()
        self._max_twice_area = max_twice_area
        self._row, self._col = strip.row.astype(np.int64) - strip.start, strip.col.astype(np.int64)
        self._width = width + 1
        self._map = np.zeros((strip.stop - strip.start + 1) * self._width, np.uint8)
        self._map[self._row * self._width + self._col] = is_kept
        arms = arms_of(strip.classes)
        self._head, self._back = _links(arms, self._col)
        self._way, self._is_free = _ways(arms)
        if not is_kept.all():
            self._pass_over(is_kept)
        self._is_free &= is_kept
        self._tie = _ties(strip, arms)
        self._key = np.full(len(arms), _NEVER)
        self._rank(np.flatnonzero(self._is_free))

    def advance(self) -> bool:
        """Take out nodes before all their neighbours in the order; False when there are no more."""
        node = np.flatnonzero(self._key < _NEVER)
        one, other = self._around(node)
        is_first = (self._key[node] < self._key[one]) & (self._key[node] < self._key[other])
        node, one, other = node[is_first], one[is_first], other[is_first]
        if not len(node):
            return False
        # Two outlines between the same two nodes must not become one line.
        is_blocked = (self._head.reshape(-1, 4)[one] == other[:, None]).any(axis=1)
        is_blocked |= ~self._is_empty(node, one, other)
        self._key[node[is_blocked]] = _NEVER  # until a neighbour goes
        node, one, other = node[~is_blocked], one[~is_blocked], other[~is_blocked]
        pair = np.minimum(one, other) * len(self._key) + np.maximum(one, other)
        order = np.argsort(self._key[node])
        _, where = np.unique(pair[order], return_index=True)
        self._take_out(node[order[where]])
        return True

    def _around(self, node: Ints) -> tuple[Ints, Ints]:
        """The two neighbours of nodes; -1 outside."""
        one, other = self._head[self._way[node]].T.astype(np.int64)
        return one, other

    def _take_out(self, node: Ints) -> None:
        one, other = self._around(node)
        back_one, back_other = self._back[self._way[node]].T
        self._head[back_one], self._head[back_other] = other, one
        self._back[back_one], self._back[back_other] = back_other, back_one
        self.is_kept[node] = False
        self._is_free[node] = False
        self._key[node] = _NEVER
        self._map[self._row[node] * self._width + self._col[node]] = 0
        touched = np.concatenate([one, other])
        self._rank(touched[self._is_free[touched]])

    def _rank(self, node: Ints) -> None:
        """Give free nodes their place in the order."""
        one, other = self._around(node)
        x, y = self._col[node], self._row[node]
        twice = np.abs(
            (self._col[one] - x) * (self._row[other] - y) - (self._col[other] - x) * (self._row[one] - y)
        )
        can_go = (one >= 0) & (other >= 0) & (twice < self._max_twice_area)
        self._key[node] = np.where(can_go, (twice << 33) | self._tie[node], _NEVER)

    def _pass_over(self, is_kept: Bools) -> None:
        """Link nodes to the next kept ones."""
        slot = np.arange(len(self._head))
        is_out = (self._head >= 0) & ~is_kept[self._head]
        on = slot.copy()
        # Arriving at a node that is out, go on by its other way.
        ways = self._way[self._head[is_out]]
        arrived = self._back[is_out]
        on[is_out] = np.where(ways[:, 0] == arrived, ways[:, 1], ways[:, 0])
        while not np.array_equal(further := on[on], on):
            on = further
        self._head, self._back = self._head[on], self._back[on]

    def _is_empty(self, node: Ints, one: Ints, other: Ints) -> Bools:
        """Whether a triangle holds no kept node, inside or on its border, but its own three."""
        corners = np.stack([node, one, other])
        rows, cols = self._row[corners], self._col[corners]
        n_rows = np.ptp(rows, axis=0) + 1
        cost = np.cumsum(n_rows + np.minimum(n_rows * (np.ptp(cols, axis=0) + 1), 2**20))
        count = np.zeros(len(node), np.int64)
        for part in np.split(np.arange(len(node)), np.flatnonzero(np.diff(cost // _MAX_POINTS)) + 1):
            count[part] = self._count(rows[:, part], cols[:, part], n_rows[part])
        is_empty: Bools = count == len(corners)
        return is_empty

    def _count(self, rows: Ints, cols: Ints, n_rows: Ints) -> Ints:
        """Kept nodes in triangles, whose corners are (3, triangle)."""
        line = np.repeat(np.arange(len(n_rows)), n_rows)
        begin = np.cumsum(n_rows) - n_rows
        y = np.arange(len(line)) - begin[line] + rows.min(axis=0)[line]
        first, last = _spans(rows, cols, line, y)
        size = np.maximum(last - first + 1, 0)
        point = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        found = self._map[np.repeat(y * self._width + first, size) + point]
        return np.bincount(np.repeat(line, size)[found > 0], minlength=len(n_rows))


def _spans(rows: Ints, cols: Ints, line: Ints, y: Ints) -> tuple[Ints, Ints]:
    """The first and last lattice column in triangle ``line`` at row ``y``, in whole numbers."""
    first, last = np.full(len(line), 2**40), np.full(len(line), -(2**40))
    for a, b in ((0, 1), (1, 2), (2, 0)):
        is_down = rows[a] <= rows[b]
        y0, y1 = np.where(is_down, rows[a], rows[b])[line], np.where(is_down, rows[b], rows[a])[line]
        x0, x1 = np.where(is_down, cols[a], cols[b])[line], np.where(is_down, cols[b], cols[a])[line]
        is_met = (y0 <= y) & (y <= y1)
        along, height = (y - y0) * (x1 - x0), np.maximum(y1 - y0, 1)
        is_level = y0 == y1
        low = np.where(is_level, np.minimum(x0, x1), x0 - (-along // height))
        high = np.where(is_level, np.maximum(x0, x1), x0 + along // height)
        first = np.where(is_met, np.minimum(first, low), first)
        last = np.where(is_met, np.maximum(last, high), last)
    return first, last


def _links(arms: npt.NDArray[np.uint8], col: Ints) -> tuple[Indices, Indices]:
    """(node * 4 + direction,) the node at the other end of each arm, or -1, and the arm that leads back."""
    by_col, neighbour = neighbours(col)
    is_next = np.diff(col[by_col]) == 0
    is_linked = ((arms[:, None] >> np.arange(4, dtype=np.uint8)) & 1).astype(bool)
    has_below, has_above = np.zeros(len(arms), bool), np.zeros(len(arms), bool)
    has_below[by_col[:-1]] = has_above[by_col[1:]] = is_next
    is_linked[:, SOUTH] &= has_below
    is_linked[:, NORTH] &= has_above
    head = np.where(is_linked, neighbour, -1)
    back = head * np.int32(4) + np.array([WEST, SOUTH, EAST, NORTH], np.int32)
    return head.ravel().astype(np.int32), back.ravel().astype(np.int32)


def _ways(arms: npt.NDArray[np.uint8]) -> tuple[Ints, Bools]:
    """(node, 2) the arms of nodes that have two, as node * 4 + direction, and which nodes those are."""
    pairs = np.zeros((16, 2), np.int64)
    is_pair = np.zeros(16, bool)
    for bits in range(16):
        directions = [d for d in range(4) if bits >> d & 1]
        if len(directions) == 2:
            pairs[bits], is_pair[bits] = directions, True
    return pairs[arms] + 4 * np.arange(len(arms))[:, None], is_pair[arms]


def _ties(strip: Strip, arms: npt.NDArray[np.uint8]) -> Ints:
    """(node,) 33 bits that decide between triangles of one area, whatever strip the node is in.

    The corners of the lower class come first, so that stairs become straight; after that, chance.
    """
    turn = np.zeros(16, np.int64)  # the pixel between the two arms of a corner
    for d in range(4):
        turn[1 << d | 1 << (d + 1) % 4] = d
    node = np.arange(len(arms))
    inner: Classes = strip.classes[node, turn[arms]]
    is_higher = inner > strip.classes[node, (turn[arms] + 2) & 3]
    mixed = strip.row.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(29))) + strip.col.astype(np.uint64) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0x94D049BB133111EB)
    ties: Ints = (is_higher.astype(np.int64) << 32) | (mixed >> np.uint64(32)).astype(np.int64)
    return ties
