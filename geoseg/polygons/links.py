"""The edges of the outlines in one strip, and the order in which outlines run through them.

Directions of travel are 0 east, 1 north, 2 west, 3 south, with the region on the left, so shells run
counter-clockwise as seen on a map whose north is up. The pixel to the left of an edge that leaves a node in
direction ``d`` is column ``d`` of ``Strip.classes``, the one to its right is column ``d - 1``.

Where an outline crosses the upper or lower end of a strip there is a *gate*, a node that is not drawn. Nodes
are numbered: upper gates, nodes of the strip, lower gates.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geoseg.legend import CLASS_NODATA
from geoseg.polygons.cycles import Indices, walk
from geoseg.polygons.nodes import Classes, Ints, Labels, Strip

EAST, NORTH, WEST, SOUTH = range(4)


def _turns() -> npt.NDArray[np.uint8]:
    """(arms, direction of arrival) direction in which the outline goes on, where bit ``d`` of arms is an arm.

    As far to the left as it can, so that pixels which touch at a corner only stay apart.
    """
    turns = np.zeros((16, 4), np.uint8)
    for arms in range(16):
        for heading in range(4):
            ways = [(heading + turn) % 4 for turn in (1, 0, -1)]
            turns[arms, heading] = next((way for way in ways if arms >> way & 1), heading)
    return turns


_TURNS = _turns()


@dataclass(frozen=True)
class Links:
    """Edges in the order of travel: outlines that are closed, and paths from lower gate to lower gate."""

    node: Indices
    """(edge,) the node it leaves."""
    end: Indices
    """(edge,) the node at which it arrives."""
    direction: npt.NDArray[np.uint8]
    """(edge,) in which it leaves the node."""
    arrival: npt.NDArray[np.uint8]
    """(edge,) the direction of the edge before it."""
    left: Classes
    """(edge,) class of its region."""
    begin: Ints
    """(outline + 1,) where each outline begins; a path begins at its gate."""
    is_path: npt.NDArray[np.bool_]
    """(outline,)"""
    outline_of: Indices
    """(node * 4 + direction,) the outline of the edge that leaves a node in a direction, or -1."""
    by_col: Indices
    """(node,) all nodes in the order of columns, then rows."""
    is_gate: npt.NDArray[np.bool_]
    """(edge,) whether it leaves a gate."""
    first_lower: int
    """The number of the first lower gate."""

    def returns(self) -> Labels:
        """(lower gate,) the gate by which a path ends that begins at this one; 0 where none does."""
        returns = np.zeros(len(self.by_col) - self.first_lower, np.int32)
        start, last = self.begin[:-1][self.is_path], self.begin[1:][self.is_path] - 1
        returns[self.node[start] - self.first_lower] = self.end[last] - self.first_lower
        return returns


def link(strip: Strip, upper: Labels, upper_sides: Classes, leave_of: Labels) -> Links:
    """All outlines in a strip, followed from edge to edge.

    Args:
        strip: nodes, and the gates at its lower end.
        upper: (gate,) columns of the gates at its upper end.
        upper_sides: (gate, 2) as ``Strip.sides``.
        leave_of: (gate,) the upper gate by which an outline comes back that leaves upwards by this one.
    """
    n_upper, first_lower = len(upper), len(upper) + len(strip.row)
    arms, classes = _arms(strip, upper_sides)
    by_col, neighbour = neighbours(np.concatenate([upper, strip.col, strip.crossing]))
    is_edge = ((arms[:, None] >> np.arange(4, dtype=np.uint8)) & 1).astype(bool) & (classes != CLASS_NODATA)
    slot = np.flatnonzero(is_edge)
    node, direction = (slot >> 2).astype(np.int32), (slot & 3).astype(np.uint8)
    number = np.full(is_edge.size, -1, np.int32)
    number[slot] = np.arange(len(slot), dtype=np.int32)
    end = neighbour.ravel()[slot]
    goes_on = _TURNS[arms[end], direction]
    is_upwards = end < n_upper
    goes_on[is_upwards] = SOUTH
    resumes = end.copy()
    resumes[is_upwards] = leave_of[end[is_upwards]]
    follower = number[resumes * np.int64(4) + goes_on]
    # Paths are closed from lower gate to lower gate in any order, and are cut again where they begin.
    is_start = node >= first_lower
    follower[end >= first_lower] = np.flatnonzero(is_start)
    arrival = np.empty(len(slot), np.uint8)
    arrival[follower] = direction
    order, begin, is_path = _outlines(follower, is_start)
    number[slot[order]] = np.repeat(np.arange(len(is_path), dtype=np.int32), np.diff(begin))
    return Links(
        node=node[order],
        end=end[order],
        direction=direction[order],
        arrival=arrival[order],
        left=classes.ravel()[slot[order]],
        begin=begin,
        is_path=is_path,
        outline_of=number,
        by_col=by_col,
        is_gate=((node < n_upper) | is_start)[order],
        first_lower=first_lower,
    )


def arms_of(classes: Classes) -> npt.NDArray[np.uint8]:
    """(node,) bit ``d`` is set where an outline leaves in direction ``d``; ``classes`` as in ``Strip``."""
    arms = np.zeros(len(classes), np.uint8)
    for d in range(4):
        arms |= (classes[:, d] != classes[:, d - 1]).astype(np.uint8) << np.uint8(d)
    return arms


def _arms(strip: Strip, upper_sides: Classes) -> tuple[npt.NDArray[np.uint8], Classes]:
    """Of gates and nodes: (node,) a bit for each direction with an outline, (node, 4) the classes around."""
    n_upper, n_nodes = len(upper_sides), len(strip.row)
    arms = np.full(n_upper + n_nodes + len(strip.crossing), 1 << NORTH, np.uint8)
    arms[:n_upper] = 1 << SOUTH
    arms[n_upper : n_upper + n_nodes] = arms_of(strip.classes)
    west_east = [1, 0, 0, 1]  # to NE, NW, SW, SE
    return arms, np.concatenate([upper_sides[:, west_east], strip.classes, strip.sides[:, west_east]])


def neighbours(col: npt.NDArray[np.integer]) -> tuple[Indices, Indices]:
    """Nodes in the order of columns, and (node, direction) the next node where there is an arm."""
    n = len(col)
    is_narrow = n > 0 and col.max() < 2**16  # numpy sorts those by radix
    by_col = np.argsort(col.astype(np.uint16) if is_narrow else col, kind="stable").astype(np.int32)
    neighbour = np.empty((n, 4), np.int32)
    neighbour[:, EAST] = np.arange(1, n + 1)
    neighbour[:, WEST] = np.arange(-1, n - 1)
    neighbour[by_col[1:], NORTH] = by_col[:-1]
    neighbour[by_col[:-1], SOUTH] = by_col[1:]
    return by_col, neighbour


def _outlines(
    follower: Indices, is_start: npt.NDArray[np.bool_]
) -> tuple[Indices, Ints, npt.NDArray[np.bool_]]:
    """Edges in the order of travel, where outlines begin, and which of them are paths."""
    order, begin = walk(follower)
    if not is_start.any():
        return order, begin, np.zeros(len(begin) - 1, bool)
    starts = np.flatnonzero(is_start[order])
    # A cycle that holds paths is turned so that it begins with one of them.
    cycle = np.searchsorted(begin, starts, side="right") - 1
    cycles, where = np.unique(cycle, return_index=True)
    shift = np.zeros(len(begin) - 1, np.int64)
    shift[cycles] = starts[where] - begin[cycles]
    length = np.diff(begin)
    at = np.arange(len(order)) - np.repeat(begin[:-1], length) + np.repeat(shift, length)
    wide = np.repeat(length, length)
    order = order[np.where(at >= wide, at - wide, at) + np.repeat(begin[:-1], length)]
    is_begin = is_start[order]
    is_begin[begin[:-1]] = True
    begin = np.append(np.flatnonzero(is_begin), len(order))
    return order, begin, is_start[order[begin[:-1]]]
