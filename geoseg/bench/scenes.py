"""Synthetic scenes to measure with: as large as wanted, always the same, made with little memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.shutil import copy as copy_raster
from rasterio.windows import Window

from geoseg.bench.processes import Say
from geoseg.bench.records import check_sizes
from geoseg.errors import ModelError

Floats = NDArray[np.float32]
Hashes = NDArray[np.uint64]

GSD_M = 10.0
SCALE = 1e-4
"""Stored value times this is reflectance."""
BLOCK = 512
CRS = "EPSG:32633"
COVERS = ("water", "forest", "crop", "dry", "bare", "town")

_ORIGIN_M = (420_000.0, 5_460_000.0)
_NODATA = 0
_CACHE_ROWS = 4
"""Rows of blocks that GDAL may keep. With two, its COG driver unpacks blocks several times over."""
# Typical reflectances, per band in the order of COVERS. Rounded from what Sentinel-2 shows in summer.
_SPECTRA: dict[str, tuple[float, ...]] = {
    "coastal": (0.055, 0.020, 0.030, 0.060, 0.09, 0.10),
    "blue": (0.060, 0.025, 0.040, 0.080, 0.11, 0.11),
    "green": (0.050, 0.045, 0.075, 0.120, 0.15, 0.13),
    "red": (0.035, 0.028, 0.045, 0.150, 0.20, 0.14),
    "rededge": (0.030, 0.075, 0.110, 0.190, 0.23, 0.16),
    "rededge071": (0.030, 0.075, 0.110, 0.190, 0.23, 0.16),
    "rededge075": (0.025, 0.200, 0.280, 0.220, 0.25, 0.19),
    "rededge078": (0.025, 0.250, 0.360, 0.240, 0.27, 0.20),
    "nir": (0.020, 0.280, 0.380, 0.260, 0.28, 0.21),
    "nir08": (0.020, 0.300, 0.400, 0.280, 0.29, 0.22),
    "nir09": (0.020, 0.310, 0.410, 0.290, 0.30, 0.22),
    "swir16": (0.010, 0.140, 0.200, 0.320, 0.42, 0.22),
    "swir22": (0.008, 0.060, 0.100, 0.220, 0.36, 0.19),
}
# The score of each cover: a bias, and weights of (wetness, greenness, settlement, parcel).
_BIAS = (-3.2, 0.4, 0.4, 0.0, -1.0, -0.9)
_SCORES = (
    (4.0, 0.0, 0.0, 0.0),
    (0.4, 2.2, -0.4, 0.0),
    (0.0, 0.8, -0.2, 1.3),
    (-0.3, -0.8, 0.0, -1.3),
    (-1.2, -1.8, 0.3, -0.4),
    (0.0, -0.3, 2.6, 0.0),
)
_SHARPNESS = 3.0
_SCALES_PX = ((512, 256, 128, 32), (512, 128, 64, 16, 4), (512, 128, 32, 8, 3))
_DETAIL = 0.7
"""Amplitude of each scale of a field over that of the next larger one."""
_PARCEL_PX = (37, 23)
_SHADE, _GRAIN = 0.12, 0.025
"""Relief that all bands share, and noise of each band by itself; both are shares of the reflectance."""


def write_scene(path: Path, *, size: int, bands: Sequence[str]) -> Path:
    """A Cloud Optimized GeoTIFF of land that looks like land: lakes, woods, parcels, towns.

    Square, 10 m pixels in UTM 33 N, uint16 reflectance x 10000 (stated as scale 0.0001), nodata 0, none of it
    nodata, blocks of 512 pixels, DEFLATE with predictor 2, overviews. The same bytes every time. Small scenes
    are the upper left corner of large ones. Written block by block; memory is four rows of blocks.

    Args:
        path: the file to write.
        size: its side, pixels.
        bands: STAC common names of optical bands.

    Raises:
        ModelError: a band that has no synthetic spectrum.
    """
    plain = path.with_suffix(".plain.tif")
    with rasterio.Env(GDAL_CACHEMAX=_CACHE_ROWS * BLOCK * max(size, BLOCK) * len(bands) * 2):
        _write_plain(plain, size, bands)
        options = {"blocksize": BLOCK, "compress": "DEFLATE", "predictor": "YES", "level": 6}
        copy_raster(plain, path, driver="COG", num_threads="ALL_CPUS", bigtiff="IF_SAFER", **options)
    plain.unlink()
    return path


def scenes_of(folder: Path, sizes: Sequence[int], bands: Sequence[str], say: Say) -> Iterator[Path]:
    """Scenes of these sides, one after another; each is gone when the next is asked for.

    Raises:
        RecipeError: a side is too small.
        ModelError: see :func:`write_scene`.
    """
    check_sizes(sizes)
    for size in sizes:
        say(f"making a scene of {size} x {size} pixels with {len(bands)} bands")
        scene = write_scene(folder / f"scene-{size}.tif", size=size, bands=bands)
        yield scene
        scene.unlink()


def _write_plain(path: Path, size: int, bands: Sequence[str]) -> None:
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=size,
        height=size,
        count=len(bands),
        dtype="uint16",
        crs=CRS,
        transform=Affine.translation(*_ORIGIN_M) @ Affine.scale(GSD_M, -GSD_M),
        nodata=_NODATA,
        tiled=True,
        blockxsize=BLOCK,
        blockysize=BLOCK,
        compress="deflate",
        zlevel=1,
        predictor=2,
        bigtiff="if_safer",
    ) as scene:
        scene.descriptions = tuple(bands)
        scene.scales = (SCALE,) * len(bands)
        scene.update_tags(TIFFTAG_DATETIME="2024:07:01 10:00:00")
        for window in _blocks(size):
            scene.write(scene_pixels(window, bands), window=window)


def scene_pixels(window: Window, bands: Sequence[str]) -> NDArray[np.uint16]:
    """Reflectance x 10000 of a window of the scene, (band, y, x), 1..10000."""
    if unknown := [b for b in bands if b not in _SPECTRA]:
        raise ModelError(
            f"There is no synthetic spectrum for {', '.join(unknown)}; the benchmark's scenes have "
            f"{', '.join(_SPECTRA)}. Take a model of optical bands."
        )
    shares = cover_shares(window)  # (cover, y, x)
    spectra = np.array([_SPECTRA[b] for b in bands], np.float32)
    pixels: Floats = np.tensordot(spectra, shares, axes=1)  # (band, y, x)
    pixels *= 1 + _SHADE * field(window, (64, 16, 4), seed=90)
    for i, band in enumerate(bands):
        pixels[i] *= 1 + _GRAIN * _white(window, seed=100 + list(_SPECTRA).index(band))
    stored: NDArray[np.uint16] = np.clip(np.rint(pixels / np.float32(SCALE)), 1, 10_000).astype(np.uint16)
    return stored


def cover_shares(window: Window) -> Floats:
    """How much of each pixel is water, forest, crop, dry, bare, town: (cover, y, x), sums to 1."""
    drivers = [field(window, scales, seed=10 * i) for i, scales in enumerate(_SCALES_PX)]
    drivers.append(_parcels(window, seed=80))
    scores = np.tensordot(np.array(_SCORES, np.float32), np.stack(drivers), axes=1)
    scores += np.array(_BIAS, np.float32)[:, None, None]
    weights: Floats = np.exp(_SHARPNESS * (scores - scores.max(axis=0)))
    weights /= weights.sum(axis=0)
    return weights


def _blocks(size: int) -> Iterator[Window]:
    for row in range(0, size, BLOCK):
        for col in range(0, size, BLOCK):
            yield Window(col, row, min(BLOCK, size - col), min(BLOCK, size - row))


def field(window: Window, scales_px: Sequence[int], *, seed: int) -> Floats:
    """Value noise of several scales, (y, x), mean 0, standard deviation about 1 over a large area.

    Random values on a lattice, smoothly interpolated (after Perlin 1985). They hang on pixel coordinates
    only, so windows fit together.
    """
    total = np.zeros((window.height, window.width), np.float32)
    for octave, scale in enumerate(scales_px):
        rows, by_row = _weights(window.row_off, window.height, scale)
        cols, by_col = _weights(window.col_off, window.width, scale)
        values = _uniform(rows[:, None], cols[None, :], seed=seed + octave)
        total += np.float32(_DETAIL**octave) * (by_row @ values @ by_col.T)
    # A uniform value has variance 1/3; smooth interpolation keeps about half of that.
    spread = np.sqrt(sum(_DETAIL ** (2 * i) for i in range(len(scales_px))) / 6)
    return (total / np.float32(spread)).astype(np.float32, copy=False)


def _weights(start: int, length: int, scale: int) -> tuple[NDArray[np.int64], Floats]:
    """The lattice lines around pixels, and how much each pixel takes of each: (line,), (pixel, line)."""
    at = (np.arange(start, start + length) + 0.5) / scale
    line = np.floor(at).astype(np.int64)
    t = at - line
    smooth = t * t * (3 - 2 * t)
    lines = np.arange(line[0], line[-1] + 2)
    weights = np.zeros((length, len(lines)), np.float32)
    pixel = np.arange(length)
    weights[pixel, line - line[0]] = 1 - smooth
    weights[pixel, line - line[0] + 1] = smooth
    return lines, weights


def _parcels(window: Window, *, seed: int) -> Floats:
    """One value in -1..1 for each field of crops, constant within its rectangle, (y, x)."""
    rows = np.arange(window.row_off, window.row_off + window.height) // _PARCEL_PX[0]
    cols = np.arange(window.col_off, window.col_off + window.width) // _PARCEL_PX[1]
    return _uniform(rows[:, None], cols[None, :], seed=seed)


def _white(window: Window, *, seed: int) -> Floats:
    """Noise of each pixel by itself, (y, x), standard deviation 1."""
    rows = np.arange(window.row_off, window.row_off + window.height)
    cols = np.arange(window.col_off, window.col_off + window.width)
    return _uniform(rows[:, None], cols[None, :], seed=seed) * np.float32(np.sqrt(3))


def _uniform(rows: NDArray[np.int64], cols: NDArray[np.int64], *, seed: int) -> Floats:
    """Random values in -1..1 that hang on (row, col, seed) only: splitmix64 (Steele et al. 2014)."""
    salt = np.uint64((seed * 0x9E3779B97F4A7C15) % 2**64)
    mixed = _mix(_mix(rows.astype(np.uint64) + salt) + cols.astype(np.uint64))
    return (mixed >> np.uint64(40)).astype(np.float32) / np.float32(2**23) - np.float32(1)


def _mix(x: Hashes) -> Hashes:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
