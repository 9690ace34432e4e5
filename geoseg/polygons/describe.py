"""What the outlines in a strip are: shells or holes, of which class, how large, how far down they reach."""

from dataclasses import dataclass

import numpy as np

from geoseg.polygons.links import EAST, SOUTH, Links
from geoseg.polygons.nodes import NE, NO_WALL, NW, SE, SW, Bools, Classes, Ints, Labels, Strip

_NOWHERE = np.iinfo(np.int64).max
_IS_SADDLE = 1


@dataclass(frozen=True)
class Outlines:
    """What is known of the outlines in a strip; every array but the last is (outline,)."""

    class_id: Classes
    least: Ints
    last_row: Ints
    sums: Ints
    is_local: Bools
    """Closed, and without a gate."""
    is_hole: Bools
    parent: Ints
    """Of a hole: an outline of its region which begins before it and is no local hole; else itself."""
    vertices: Ints
    """(edge,) where each edge of ``Links`` begins."""


def describe(links: Links, strip: Strip, gates: Labels) -> Outlines:
    """What is known of the outlines in a strip with these upper gates."""
    n_upper = len(gates)
    begin = links.begin[:-1]
    length = np.diff(links.begin)
    if not len(begin):
        none = np.empty(0, np.int64)
        nothing = np.empty(0, bool)
        sums = np.empty((0, strip.sums.shape[1]), np.int64)
        return Outlines(none.astype(np.uint8), none, none, sums, nothing, nothing, none, none)
    passed = np.pad(_vertices(strip), (n_upper, len(strip.crossing)), constant_values=_NOWHERE)[links.node]
    least = np.minimum.reduceat(passed, begin)
    last_row = np.maximum.reduceat(np.where(links.is_gate, -1, passed), begin) >> 32
    is_local = ~(np.logical_or.reduceat(links.is_gate, begin) | links.is_path)
    parent, is_hole = np.arange(len(begin)), np.zeros(len(begin), bool)
    at = np.flatnonzero((passed == np.repeat(least, length)) & ~links.is_gate)
    at = at[links.direction[at] == EAST]
    wall = strip.wall[links.node[at] - n_upper]
    at, wall = at[wall != NO_WALL], wall[wall != NO_WALL]
    if len(at):
        holes = np.searchsorted(links.begin, at, side="right") - 1
        is_hole[holes] = True
        parent[holes] = _outline_at(links, strip, gates, row=strip.row[links.node[at] - n_upper], col=wall)
        up = np.where(is_hole & is_local, parent, np.arange(len(begin)))
        while not np.array_equal(above := up[up], up):
            up = above
        parent = up[parent]
    return Outlines(
        class_id=links.left[begin],
        least=least,
        last_row=last_row,
        sums=_sums(links, strip, n_upper),
        is_local=is_local,
        is_hole=is_hole,
        parent=parent,
        vertices=passed,
    )


def row_col(vertices: Ints) -> tuple[Ints, Ints]:
    """Lattice rows and columns of vertices."""
    return vertices >> 32, (vertices >> 1) & 0x7FFFFFFF


def is_saddle(vertices: Ints) -> Bools:
    """Whether an outline may touch itself in a vertex: two pixels of one class meet there diagonally."""
    return (vertices & _IS_SADDLE).astype(bool)


def _vertices(strip: Strip) -> Ints:
    """(node,) the vertex of each node."""
    ne, nw, sw, se = (strip.classes[:, corner] for corner in (NE, NW, SW, SE))
    is_saddle = ((ne == sw) | (nw == se)) & (ne != nw) & (ne != se) & (sw != nw) & (sw != se)
    vertices: Ints = (strip.row.astype(np.int64) << 32) | (strip.col.astype(np.int64) << 1) | is_saddle
    return vertices


def _outline_at(links: Links, strip: Strip, gates: Labels, *, row: Labels, col: Labels) -> Ints:
    """The outlines that run down the left sides of pixels."""
    n_lower = len(links.by_col) - len(gates) - len(strip.row)
    cols = np.concatenate([gates, strip.col, strip.crossing]).astype(np.int64)
    rows = np.pad(strip.row, (len(gates), n_lower), constant_values=(strip.start - 1, np.iinfo(np.int32).max))
    key = ((cols << 32) + rows)[links.by_col]
    node = links.by_col[np.searchsorted(key, (col.astype(np.int64) << 32) + row, side="right") - 1]
    found: Ints = links.outline_of[node * np.int64(4) + SOUTH].astype(np.int64)
    return found


def _sums(links: Links, strip: Strip, n_upper: int) -> Ints:
    """(outline, 1 or 3) Green's theorem: sums at the ends of its vertical edges, added or taken away."""
    weight = (links.direction & 1).astype(np.int8) - (links.arrival & 1).astype(np.int8)
    weight[links.is_gate] = 0
    at = np.flatnonzero(weight)
    parts = np.zeros((len(weight), strip.sums.shape[1]), np.int64)
    parts[at] = strip.sums[links.node[at] - n_upper] * weight[at, None]
    sums: Ints = np.add.reduceat(parts, links.begin[:-1], axis=0)
    return sums
