"""Ground that is learned from and validated on, whatever its places are called."""

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geom import Geometry

from geoseg.aoi import to_degrees

_SHARE = 1e-4
"""Of the smaller image. Neighbours share an edge, which bends by less than that between two CRSs."""


def overlaps(
    one: Sequence[Geometry], other: Sequence[Geometry]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Which images lie on the same ground: (pair, 2) numbers in either list, and (pair,) the area they share.

    The area is a part of that of the smaller image; edges that touch are no overlap. Pairs are in order.

    Args:
        one: boxes, each in a CRS of its own.
        other: to compare them with.
    """
    is_one_crs = len({str(g.crs) for g in (*one, *other)}) <= 1
    first, second = (
        np.array([(g if is_one_crs else to_degrees(g)).geom for g in boxes], dtype=object)
        for boxes in (one, other)
    )
    pairs = shapely.STRtree(second).query(first, predicate="intersects").T
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    a, b = first[pairs[:, 0]], second[pairs[:, 1]]
    smaller = np.minimum(shapely.area(a), shapely.area(b))
    shares = shapely.area(shapely.intersection(a, b)) / np.maximum(smaller, 1e-300)
    return pairs[shares > _SHARE], shares[shares > _SHARE]
