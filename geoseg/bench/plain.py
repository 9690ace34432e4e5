"""What geoseg is compared with: rasterio and shapely as anyone would write it.

It imports nothing of geoseg, so that a process that runs it holds no more than these two need.
"""

import time

import numpy as np
import rasterio
from rasterio.features import shapes
from rasterio.windows import Window
from shapely.geometry import shape

_CONNECTIVITY = 4
_NODATA = 255


def trace_by_rasterio(path: str) -> dict[str, float]:
    """Seconds and number of polygons, of rasterio and shapely."""
    started = time.perf_counter()
    with rasterio.open(path) as source:
        classes = source.read(1)
        traced = shapes(
            classes, mask=classes != _NODATA, connectivity=_CONNECTIVITY, transform=source.transform
        )
        polygons = [(shape(outline), int(value)) for outline, value in traced]
    return {"seconds": time.perf_counter() - started, "n_polygons": len(polygons)}


def read_by_rasterio(path: str, *numbers: str) -> dict[str, float]:
    """Seconds that rows of the file's own blocks take, of those bands; and how much that is."""
    indexes = [int(number) for number in numbers]
    started = time.perf_counter()
    with rasterio.open(path) as source:
        n_rows = source.block_shapes[0][0]
        for row in range(0, source.height, n_rows):
            source.read(indexes, window=Window(0, row, source.width, min(n_rows, source.height - row)))
        seconds = time.perf_counter() - started
        item_size = sum(np.dtype(source.dtypes[i - 1]).itemsize for i in indexes)
        mb = item_size * source.width * source.height / 1e6
        size = {"width": source.width, "height": source.height}
    return {"seconds": seconds, "mb": mb, "n_bands": len(indexes), **size}
