"""The part of a tile that holds pixels."""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float32]


def known_part(pixels: Pixels, multiple: int) -> tuple[slice, slice]:
    """Rows and columns of a tile (band, y, x) without the rims that have no pixel with all its bands.

    Begins and ends at whole multiples of ``multiple``, and holds at least one. It depends on nothing but the
    tile's pixels, and so does what the network says of them.
    """
    is_known = np.asarray(np.isfinite(pixels).all(axis=0))
    return _span(is_known, 1, multiple), _span(is_known, 0, multiple)


def _span(is_known: NDArray[np.bool_], across: int, multiple: int) -> slice:
    at = np.flatnonzero(is_known.any(axis=across))
    if not len(at):
        return slice(0, multiple)
    return slice(int(at[0]) // multiple * multiple, -(-(int(at[-1]) + 1) // multiple) * multiple)
