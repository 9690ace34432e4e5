"""Strips of nodes to finished regions: what is not finished is kept as chains of nodes, and nothing else."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from geoseg.polygons.describe import Outlines, describe
from geoseg.polygons.links import Links, link
from geoseg.polygons.nodes import Bools, Classes, Ints, Strip


@dataclass(frozen=True)
class Regions:
    """4-connected regions, one class each, in the order of their last rows, then first pixels."""

    class_id: Classes
    """(region,) 0..254."""
    first: Ints
    """(region,) the upper left corner of its first pixel in row-major order, as a vertex. These too are in
    that order."""
    last_row: Ints
    """(region,) the lattice row of its lower end."""
    sums: Ints
    """(region, 1 or 3) size, sum of the known confidences, number of pixels where one is known."""
    vertices: Ints
    """(vertex,) of all rings one after the other. Sorted they are in row-major order; see
    ``describe.row_col``."""
    length: Ints
    """(ring,) number of its vertices."""
    region: Ints
    """(ring,) its region."""
    is_hole: Bools
    """(ring,) a hole of the region, or its outer border."""


def trace(strips: Iterable[Strip]) -> Iterator[Regions]:
    """The regions that end in each strip, the same in all for any cut into strips.

    Outlines keep to the left where two pixels of one class meet diagonally, so those of a region may touch
    themselves: ``rings.build_polygons`` takes them apart. Memory: a strip's edges, and a vertex (8 bytes) for
    each node on the outline of a region that has not ended.
    """
    tracer = _Tracer()
    for strip in strips:
        yield tracer.feed(strip)


@dataclass(eq=False)
class _Chain:
    """An outline, or part of one, that is not all in one strip."""

    class_id: int
    least: int
    """Its first vertex in row-major order."""
    sums: Ints
    last_row: int = 0
    is_hole: bool = False
    pieces: list[Ints] = field(default_factory=list)
    """Its vertices so far."""
    rings: list[Ints] = field(default_factory=list)
    """Holes of its region that are closed."""
    above: "_Chain | None" = None
    """Of a hole: an outline of the same region that begins before it."""
    merged: "_Chain | None" = None
    """What it has become a part of."""

    def found(self) -> "_Chain":
        chain = self
        while chain.merged is not None:
            chain = chain.merged
        if chain is not self:
            self.merged = chain
        return chain

    def absorb(self, other: "_Chain") -> None:
        self.sums = self.sums + other.sums
        self.last_row = max(self.last_row, other.last_row)
        self.rings += other.rings
        other.rings, other.pieces, other.merged = [], [], self


class _Tracer:
    def __init__(self) -> None:
        self._gates = np.empty(0, np.int32)
        self._sides = np.empty((0, 2), np.uint8)
        self._leave_of = np.empty(0, np.int32)
        self._chains: dict[int, _Chain] = {}
        """By the gate at which they come down."""

    def feed(self, strip: Strip) -> Regions:
        n_upper = len(self._gates)
        links = link(strip, self._gates, self._sides, self._leave_of)
        outlines = describe(links, strip, self._gates)
        is_drawn = ~links.is_gate
        if strip.is_kept is not None:
            is_drawn[is_drawn] = strip.is_kept[links.node[is_drawn] - n_upper]
        chains = self._chains_of(links, outlines, is_drawn)
        local = _local_regions(links, outlines, is_drawn, chains)
        self._gates, self._sides = strip.crossing, strip.sides
        closed = [chain for i, chain in chains.items() if not links.is_path[i]]
        return _in_order([local, *_chained_regions(closed)])

    def _chains_of(self, links: Links, outlines: Outlines, is_drawn: Bools) -> dict[int, _Chain]:
        """The outlines that have gates, by their number, joined to the chains from above."""
        found: dict[int, _Chain] = {}
        below: dict[int, _Chain] = {}
        fresh_holes: list[int] = []
        number = np.flatnonzero(~outlines.is_local)
        # From here on, places are those among the vertices that are drawn.
        vertices = outlines.vertices[is_drawn]
        place = np.append(0, np.cumsum(is_drawn))
        begin, end = place[links.begin[number]].tolist(), place[links.begin[number + 1]].tolist()
        gate_edges = np.flatnonzero(links.node < len(self._gates))
        gate_places, gates = place[gate_edges].tolist(), links.node[gate_edges].tolist()
        first_gate = np.searchsorted(gate_edges, links.begin[number]).tolist()
        last_gate = np.searchsorted(gate_edges, links.begin[number + 1]).tolist()
        exits = (links.end[links.begin[number + 1] - 1] - links.first_lower).tolist()
        for k, i in enumerate(number.tolist()):
            own_gates = slice(first_gate[k], last_gate[k])
            parts = [self._chains[gate] for gate in gates[own_gates]]
            pieces: list[Ints] = []
            at = begin[k]
            for part, stop in zip(parts, gate_places[own_gates], strict=True):
                if at < stop:
                    pieces.append(vertices[at:stop].copy())  # a view would keep the whole strip
                pieces += part.pieces
                at = stop
            if at < end[k]:
                pieces.append(vertices[at : end[k]].copy())
            chain = found[i] = _joined(parts, _new_chain(outlines, i))
            chain.pieces = pieces
            if links.is_path[i]:
                below[exits[k]] = chain
            if not parts and chain.is_hole:
                fresh_holes.append(i)
        self._leave_of, self._chains = links.returns(), below
        for i in fresh_holes:
            found[i].above = found[int(outlines.parent[i])]
        return found


def _joined(parts: list[_Chain], fresh: _Chain) -> _Chain:
    """The parts of an outline and what a strip adds to them; the one that begins first stands for all."""
    if not parts:
        return fresh
    chain = min(parts, key=lambda part: part.least)
    for part in parts:
        if part is not chain:
            chain.absorb(part)
    chain.absorb(fresh)
    return chain


def _new_chain(outlines: Outlines, i: int) -> _Chain:
    return _Chain(
        class_id=int(outlines.class_id[i]),
        least=int(outlines.least[i]),
        sums=outlines.sums[i],
        last_row=int(outlines.last_row[i]),
        is_hole=bool(outlines.is_hole[i]),
    )


def _local_regions(links: Links, outlines: Outlines, is_drawn: Bools, chains: dict[int, _Chain]) -> Regions:
    """The regions that are all in this strip; closed holes of others are handed to their chains."""
    is_shell = outlines.is_local & ~outlines.is_hole
    is_whole = is_shell[outlines.parent]
    for i in np.flatnonzero(outlines.is_local & ~is_whole).tolist():
        ring = slice(links.begin[i], links.begin[i + 1])
        holder = chains[int(outlines.parent[i])]
        holder.rings.append(outlines.vertices[ring][is_drawn[ring]])
        holder.sums = holder.sums + outlines.sums[i]
    is_whole &= outlines.is_local
    is_taken = np.repeat(is_whole, np.diff(links.begin)) & is_drawn
    number = np.cumsum(is_shell) - 1
    region = number[outlines.parent]
    sums = np.zeros((int(is_shell.sum()), outlines.sums.shape[1]), np.int64)
    np.add.at(sums, region[is_whole], outlines.sums[is_whole])
    n_drawn = np.diff(np.append(0, np.cumsum(is_taken))[links.begin])
    return Regions(
        class_id=outlines.class_id[is_shell],
        first=outlines.least[is_shell],
        last_row=outlines.last_row[is_shell],
        sums=sums,
        vertices=outlines.vertices[is_taken],
        length=n_drawn[is_whole],
        region=region[is_whole],
        is_hole=outlines.is_hole[is_whole],
    )


def _chained_regions(closed: list[_Chain]) -> Iterator[Regions]:
    """The regions whose outlines closed, one by one."""
    for chain in closed:
        if chain.is_hole and chain.above is not None:
            chain.rings.append(np.concatenate(chain.pieces))
            chain.above.found().absorb(chain)
    for chain in closed:
        if chain.merged is None:
            rings = [np.concatenate(chain.pieces), *chain.rings]
            yield Regions(
                class_id=np.array([chain.class_id], np.uint8),
                first=np.array([chain.least]),
                last_row=np.array([chain.last_row]),
                sums=chain.sums[None],
                vertices=np.concatenate(rings),
                length=np.array([len(ring) for ring in rings]),
                region=np.zeros(len(rings), np.int64),
                is_hole=np.arange(len(rings)) > 0,
            )


def _in_order(parts: list[Regions]) -> Regions:
    """All regions in their order."""
    first_region = np.cumsum([0, *(len(part.class_id) for part in parts[:-1])])
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in Regions.__annotations__
    }
    joined["region"] += np.repeat(first_region, [len(part.region) for part in parts])
    order = np.lexsort((joined["first"], joined["last_row"]))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    joined["region"] = place[joined["region"]]
    for name in ("class_id", "first", "last_row", "sums"):
        joined[name] = joined[name][order]
    return Regions(**joined)
