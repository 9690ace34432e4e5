"""Class maps on disk to compare, and the transition matrix found the slow and obvious way."""

from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr

from geoseg.legend import Legend
from geoseg.writers.cog import write_cog

LEGEND = Legend.of(water="1F78B4", forest="33A02C", built="D7191C")
UTM = "EPSG:32633"
AT = Affine(10, 0, 500_000, 0, -10, 5_000_000)


def write_map(path: Path, values, *, legend=LEGEND, at: Affine = AT, crs: str | None = UTM) -> Path:
    """A class map with its legend, as geoseg predict writes it."""
    values = np.asarray(values, np.uint8)
    return write_cog(wrap_xr(values, GeoBox(values.shape, at, crs)), path, legend=legend)


def patches(seed: int, shape: tuple[int, int], *, n: int = 3, size: int = 8, nodata: float = 0.1):
    """Square patches of classes 0 .. n - 1, some of them 255."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, n, (-(-shape[0] // size), -(-shape[1] // size)))
    coarse[rng.random(coarse.shape) < nodata] = 255
    return coarse.repeat(size, 0).repeat(size, 1)[: shape[0], : shape[1]].astype(np.uint8)


def brute_force(before, after, row_ha, n: int):
    """Pixels and hectares, (class + 1, class + 1), one pixel at a time; classes are 0 .. n - 1."""
    pixels, area_ha = np.zeros((n + 1, n + 1), int), np.zeros((n + 1, n + 1))
    for row in range(before.shape[0]):
        for b, a in zip(before[row].tolist(), after[row].tolist(), strict=True):
            pixels[min(b, n), min(a, n)] += 1
            area_ha[min(b, n), min(a, n)] += row_ha[row]
    return pixels, area_ha
