"""Synthetic class maps to trace: as patchy as a trained network's, and always the same."""

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.bench.scenes import BLOCK, CRS, GSD_M, field
from geoseg.legend import CLASS_NODATA, Legend, LegendClass

N_CLASSES = 4
"""Classes 0..3, none of it nodata."""
_SCALES_PX = (256, 64, 16, 4)
_ORIGIN_M = (420_000.0, 5_460_000.0)
_GREY = "808080"


def write_class_map(path: Path, *, size: int) -> Path:
    """Patches of 4 to 256 pixels: 82,141 polygons where ``size`` is 4096; north up, 10 m, UTM 33 N.

    uint8 in blocks of 512 pixels, DEFLATE, nodata 255, none of it nodata. Small maps are the upper left
    corner of large ones.

    Args:
        path: the file to write.
        size: its side, pixels.
    """
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=size,
        height=size,
        count=1,
        dtype="uint8",
        crs=CRS,
        transform=Affine.translation(*_ORIGIN_M) @ Affine.scale(GSD_M, -GSD_M),
        nodata=CLASS_NODATA,
        tiled=True,
        blockxsize=BLOCK,
        blockysize=BLOCK,
        compress="deflate",
    ) as sink:
        for row in range(0, size, BLOCK):
            for col in range(0, size, BLOCK):
                window = Window(col, row, min(BLOCK, size - col), min(BLOCK, size - row))
                sink.write(class_pixels(window), 1, window=window)
    return path


def class_pixels(window: Window) -> NDArray[np.uint8]:
    """(y, x) the class of each pixel of a window: that of the largest of four random fields."""
    fields = [field(window, _SCALES_PX, seed=1000 + 10 * i) for i in range(N_CLASSES)]
    classes: NDArray[np.uint8] = np.argmax(fields, axis=0).astype(np.uint8)
    return classes


def legend_of(values: list[int]) -> Legend:
    """A legend that names these values of a class map."""
    return Legend(classes=tuple(LegendClass(value=v, name=f"class {v}", color_hint=_GREY) for v in values))
