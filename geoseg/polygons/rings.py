"""Nodes of outlines to rings, and rings to valid polygons, all in whole lattice coordinates.

Directions of travel are 0 east, 1 north, 2 west, 3 south, with the region on the left, so shells run
counter-clockwise as seen on a map whose north is up. The pixel to the left of an edge that leaves a node in
direction ``d`` is column ``d`` of ``Nodes.label``, the one to its right is column ``d - 1``.
"""

from array import array
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine

from geoseg.polygons.stitch import NO_REGION, Ints, Nodes

Coordinates = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Edges:
    """The directed edges of all outlines from node to node, in row-major order of where they begin."""

    node: Ints
    """(edge,) the node it leaves."""
    left: Ints
    """(edge,) the region whose outline it is."""
    right: Ints
    """(edge,) the region on the other side; nodata -1."""
    follower: Ints
    """(edge,) the next edge of the same outline: it leaves the node at which this one arrives."""

    def ends(self) -> Ints:
        """(edge,) the node at which each edge arrives."""
        return self.node[self.follower]


def find_edges(nodes: Nodes) -> Edges:
    """All edges, linked to outlines.

    The edges along one lattice line with their regions on the same side are disjoint: in the order of the
    line, the k-th that leaves a node is the k-th that arrives at one.

    Where a region meets itself diagonally, its outline comes twice to the node. A ring must not touch itself,
    but two rings of a polygon may touch in a point (OGC 06-103r4, 6.1.11), so there the outline turns
    right, from one of the pixels to the other. This closes a loop before the node is reached again.
    """
    owner = nodes.label  # (node, direction)
    right = np.roll(owner, 1, axis=1)
    found = np.flatnonzero((owner != right) & (owner != NO_REGION))
    node, direction = found >> 2, found & 3
    left, right = owner.ravel()[found], right.ravel()[found]
    second = owner[node, (direction + 1) & 3]
    third = owner[node, (direction + 2) & 3]
    turn = np.where(left == third, 1, np.where(left == second, 0, -1))  # right, straight on, left
    arrival = (direction + turn) & 3
    by_row = np.arange(len(found))
    by_col = np.argsort(nodes.col[node], kind="stable")
    follower = np.empty(len(found), np.int64)
    for heading, order in enumerate((by_row, by_col, by_row, by_col)):
        follower[order[direction[order] == heading]] = order[arrival[order] == heading]
    return Edges(node, left.astype(np.int64), right.astype(np.int64), follower)


def walk(follower: Ints) -> tuple[Ints, Ints]:
    """The cycles of a permutation one after the other, each from its least member, the least cycle first.

    Returns:
        (n,) the members in the order of the walk, and (cycle + 1,) where each cycle begins.
    """
    follows = memoryview(np.ascontiguousarray(follower).data)
    is_seen = bytearray(len(follower))
    members = array("q", bytes(8 * len(follower)))
    begins = array("q")
    n = 0
    for start in range(len(follower)):
        if is_seen[start]:
            continue
        begins.append(n)
        i = start
        while not is_seen[i]:
            is_seen[i] = 1
            members[n] = i
            n += 1
            i = follows[i]
    begins.append(n)
    return np.frombuffer(members, np.int64), np.frombuffer(begins, np.int64)


def to_map(transform: Affine, col: npt.ArrayLike, row: npt.ArrayLike) -> tuple[Coordinates, Coordinates]:
    """Map coordinates x and y of lattice points."""
    a, b, c, d, e, f = transform[:6]
    col, row = np.asarray(col, np.float64), np.asarray(row, np.float64)
    return a * col + b * row + c, d * col + e * row + f


def build_polygons(nodes: Nodes, edges: Edges, transform: Affine, n_regions: int) -> npt.NDArray[np.object_]:
    """(region,) shapely polygons in map coordinates, valid, in the order of the regions.

    Rings begin at their first node in row-major order; shells run counter-clockwise, holes clockwise, on
    the map (RFC 7946); holes come in the order of their first nodes. The transform is applied once, to whole
    numbers.
    """
    order, offset = walk(edges.follower)
    begin, length = offset[:-1], np.diff(offset)
    node = edges.node[order]
    region = edges.left[order[begin]]
    rank = np.lexsort((begin, region))  # the first node of a region is its shell's
    begin, length = begin[rank], length[rank]
    ring_offset = np.append(0, np.cumsum(length + 1))
    step = np.arange(ring_offset[-1]) - np.repeat(ring_offset[:-1], length + 1)
    size = np.repeat(length, length + 1)
    step = step % size if transform.determinant < 0 else (size - step) % size
    at = np.repeat(begin, length + 1) + step
    x, y = to_map(transform, nodes.col[node[at]], nodes.row[node[at]])
    polygon_offset = np.append(0, np.cumsum(np.bincount(region, minlength=n_regions)))
    offsets = (ring_offset, polygon_offset)
    polygons: npt.NDArray[np.object_] = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, np.column_stack([x, y]), offsets
    )
    return polygons
