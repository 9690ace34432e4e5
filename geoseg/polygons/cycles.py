"""The cycles of a permutation, without a step of Python for every member."""

from array import array

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]

_SMALL = 512
_HASH = np.uint32(0x9E3779B1)


def walk(follower: Indices) -> tuple[Indices, Ints]:
    """The cycles of a permutation one after the other.

    Large ones are shortened first: only every third member or so, chosen at random such that each cycle keeps
    one at least, is walked to, and then all stretches between those are followed at the same time
    (Anderson and Miller 1990, list ranking by random mates).

    Returns:
        (n,) the members in the order of the walk, and (cycle + 1,) where each cycle begins.
    """
    n = len(follower)
    is_alone = follower == np.arange(n, dtype=np.int32)
    if is_alone.any():
        rest = np.flatnonzero(~is_alone).astype(np.int32)
        new = np.cumsum(~is_alone, dtype=np.int32) - np.int32(1)
        order, begin = walk(new[follower[rest]])
        alone = np.flatnonzero(is_alone).astype(np.int32)
        return np.concatenate([rest[order], alone]), np.append(begin, begin[-1] + 1 + np.arange(len(alone)))
    return _walk_slowly(follower) if n <= _SMALL else _walk_shortened(follower)


def _walk_shortened(follower: Indices) -> tuple[Indices, Ints]:
    n = len(follower)
    heads = _local_minima(follower)
    heading = np.full(n, -1, np.int32)  # (member,) the place in ``heads`` of a member that is one
    heading[heads] = np.arange(len(heads), dtype=np.int32)
    stretches, head_follower, length = _follow(follower, heads, heading)
    head_order, head_begin = walk(head_follower)
    place = np.empty(len(heads), np.int64)
    ends = np.cumsum(length[head_order], dtype=np.int64)
    place[head_order] = ends - length[head_order]
    order = np.empty(n, np.int32)
    for step, (members, of_head) in enumerate(stretches):
        order[place[of_head] + step] = members
    return order, np.append(0, ends)[head_begin]


def _local_minima(follower: Indices) -> Indices:
    """Members whose random number is less than those before and after them; one at least in each cycle."""
    number = np.arange(len(follower), dtype=np.uint32) * _HASH  # odd factor: no two are the same
    is_less = number < number[follower]
    is_after_greater = np.empty(len(follower), bool)
    is_after_greater[follower] = ~is_less
    return np.flatnonzero(is_less & is_after_greater).astype(np.int32)


def _follow(
    follower: Indices, heads: Indices, heading: Indices
) -> tuple[list[tuple[Indices, Indices]], Indices, Indices]:
    """From all heads at once to the next head: the members at each step, the head found, and the steps."""
    steps = []
    head_follower = np.empty(len(heads), np.int32)
    length = np.empty(len(heads), np.int32)
    at, of_head = heads, np.arange(len(heads), dtype=np.int32)
    while len(at):
        steps.append((at, of_head))
        at = follower[at]
        found = heading[at]
        is_end = found >= 0
        head_follower[of_head[is_end]] = found[is_end]
        length[of_head[is_end]] = len(steps)
        is_open = ~is_end
        at, of_head = at[is_open], of_head[is_open]
    return steps, head_follower, length


def _walk_slowly(follower: Indices) -> tuple[Indices, Ints]:
    follows: list[int] = follower.tolist()
    is_seen = bytearray(len(follows))
    members = array("i")
    begins = array("q")
    for start in range(len(follows)):
        if is_seen[start]:
            continue
        begins.append(len(members))
        i = start
        while not is_seen[i]:
            is_seen[i] = 1
            members.append(i)
            i = follows[i]
    begins.append(len(members))
    return np.array(members, np.int32), np.array(begins, np.int64)
