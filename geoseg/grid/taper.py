"""The weight with which a tile speaks for each of its pixels where tiles overlap."""

import numpy as np
from numpy.typing import NDArray


def taper(size: int, halo: int) -> NDArray[np.float32]:
    """Weights of one side of a tile: shape (size,), float32, above 0 and up to 1.

    They rise linearly over the first ``2 * halo`` pixels and fall over the last, so that the weights of
    two neighbours, ``size - 2 * halo`` pixels apart, sum to 1 at every pixel. No pixel has weight 0.

    Example:
        >>> taper(8, 1).tolist()
        [0.25, 0.75, 1.0, 1.0, 1.0, 1.0, 0.75, 0.25]
    """
    weights = np.ones(size, np.float32)
    if halo:
        ramp = (np.arange(2 * halo, dtype=np.float32) + 0.5) / np.float32(2 * halo)
        weights[: 2 * halo] = ramp
        weights[-2 * halo :] = ramp[::-1]
    return weights


def taper2d(size: int, halo: int) -> NDArray[np.float32]:
    """Weights of a whole tile, shape (size, size): the product of its two tapers."""
    side = taper(size, halo)
    return np.outer(side, side)
