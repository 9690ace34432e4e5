"""Class maps to measure polygons with: patches as natural land has them, always the same."""

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.bench.scenes import field

N_CLASSES = 4
"""Classes 0..3, none of it nodata."""

_SCALES_PX = (256, 64, 16, 4)
_ROWS = 512


def class_map(size: int) -> NDArray[np.uint8]:
    """(size, size) classes 0..3 in patches of 4 to 256 pixels: 82,141 4-connected regions where size is 4096.

    The class is that of the largest of four random fields. Small maps are the upper left corner of large
    ones.
    """
    classes = np.empty((size, size), np.uint8)
    for row in range(0, size, _ROWS):
        window = Window(0, row, size, min(_ROWS, size - row))
        fields = [field(window, _SCALES_PX, seed=1000 + 10 * i) for i in range(N_CLASSES)]
        classes[row : row + _ROWS] = np.argmax(fields, axis=0)
    return classes
