"""Synthetic class maps to trace: as patchy as a trained network's, and always the same."""

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.bench.scenes import BLOCK, COVERS, CRS, GSD_M, cover_shares
from geoseg.legend import CLASS_NODATA, Legend, LegendClass

_ORIGIN_M = (420_000.0, 5_460_000.0)
_GREY = "808080"


def write_class_map(path: Path, *, size: int) -> Path:
    """The strongest cover of each pixel of the synthetic scene: six classes, north up, 10 m, UTM 33 N.

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
    """(y, x) the class of each pixel of a window: an index of :data:`geoseg.bench.scenes.COVERS`."""
    classes: NDArray[np.uint8] = cover_shares(window).argmax(axis=0).astype(np.uint8)
    return classes


def legend_of(values: list[int]) -> Legend:
    """A legend that names these values of a class map."""
    names = dict(enumerate(COVERS))
    return Legend(
        classes=tuple(
            LegendClass(value=value, name=names.get(value, f"class {value}"), color_hint=_GREY)
            for value in values
        )
    )
