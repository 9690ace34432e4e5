"""How things lie on the ground: random fields, parcels, streets, rivers; arrays (y, x) of a square."""

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating]
"""(y, x)."""
Mask = NDArray[np.bool_]
Ids = NDArray[np.int64]


def random_fields(rng: np.random.Generator, n: int, *, side: int, slope: float) -> NDArray[np.float32]:
    """(n, y, x) Gaussian fields with a power spectrum that falls by ``slope``: 0 is noise, 4 is smooth.

    Natural patterns have about 2 to 3 (Turcotte 1997, Fractals and Chaos in Geology and Geophysics).
    """
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    radius[0, 0] = np.inf
    noise = rng.standard_normal((n, side, side), np.float32)
    waves = np.fft.rfft2(noise) * (radius ** (-slope / 2)).astype(np.float32)
    drawn = np.fft.irfft2(waves, (side, side)).astype(np.float32)
    found: NDArray[np.float32] = drawn / drawn.std(axis=(1, 2), keepdims=True)
    return found


def highest(field: Field, share: float) -> Mask:
    """The ``share`` of the square where the field is highest."""
    found: Mask = field > np.quantile(field, 1 - share)
    return found


def turned(rng: np.random.Generator, side: int) -> tuple[Field, Field]:
    """Coordinates in pixels along two axes at right angles, turned by a random angle about a random point."""
    angle, (top, left) = rng.uniform(0, np.pi), rng.uniform(0, side, 2)
    y, x = np.mgrid[:side, :side]
    u = (x - left) * np.cos(angle) + (y - top) * np.sin(angle)
    v = (y - top) * np.cos(angle) - (x - left) * np.sin(angle)
    return u, v


def parcels(rng: np.random.Generator, side: int, *, size: float) -> Ids:
    """Numbers of rectangular parcels in rows, about ``size`` pixels wide and as long or longer."""
    u, v = turned(rng, side)
    n = int(4 * side / size) + 4
    rows = np.cumsum(rng.gamma(6, size * rng.uniform(1, 3) / 6, n)) - 2 * side
    row = np.searchsorted(rows, v)
    cuts = np.cumsum(rng.gamma(4, size / 4, n)) - 2 * side
    found: Ids = row * 1000 + np.searchsorted(cuts, u + rng.uniform(0, size, n + 1)[row])
    return found


def pivots(rng: np.random.Generator, side: int, *, size: float) -> tuple[Ids, Mask]:
    """Round fields about ``size`` pixels across on a grid: their numbers, and where they are."""
    y, x = np.mgrid[:side, :side] + rng.uniform(0, size, 2)[:, None, None]
    row, col = (y // size).astype(int), (x // size).astype(int)
    distance = np.hypot(y - (row + 0.5) * size, x - (col + 0.5) * size)
    half = np.where(rng.random((row.max() + 1, col.max() + 1)) < 0.85, 0.48 * size, 0)[row, col]
    quarter = np.arctan2(y - (row + 0.5) * size, x - (col + 0.5) * size) // (np.pi / 2)
    parts = np.where(rng.random((row.max() + 1, col.max() + 1)) < 0.3, 1, 0)[row, col] * quarter
    return row * 1000 + col * 10 + parts.astype(int) + 5, distance < half


def streets(rng: np.random.Generator, side: int, *, size: float) -> tuple[Ids, Mask]:
    """Numbers of blocks about ``size`` pixels wide, and the streets between them, a pixel wide."""
    u, v = turned(rng, side)
    bend = random_fields(rng, 2, side=side, slope=4) * rng.choice([0.0, 1.5])
    u, v = (u + bend[0]) / size, (v + bend[1]) / (size * rng.uniform(0.6, 1))
    ids = np.floor(u).astype(int) * 1000 + np.floor(v).astype(int)
    return ids, np.minimum(u % 1, v % 1) < 1 / size


def river(rng: np.random.Generator, side: int, *, width: float, bends: float) -> Field:
    """Distance from a river's middle over half its width: below 1 is the river. ``bends`` in pixels."""
    u, v = turned(rng, side)
    u = u - side / 2 * np.sign(u.mean()) * rng.uniform(0, 0.5)
    at = np.linspace(-2 * side, 2 * side, 512)
    waves = side / rng.uniform([1, 2, 4], [2, 4, 8])
    sizes = np.minimum(bends, waves / 7) * np.array([1, 0.6, 0.4])
    middle = np.sum(sizes[:, None] * np.sin(2 * np.pi * (at / waves[:, None] + rng.random((3, 1)))), axis=0)
    steep = np.hypot(1, np.gradient(middle, at))
    found: Field = np.abs(u - np.interp(v, at, middle)) / np.interp(v, at, steep) / (width / 2)
    return found


def slopes_lit(rng: np.random.Generator, side: int, *, relief: float) -> Field:
    """A factor on all bands, 1 in the mean: the cosine of the sun's angle on hills.

    ``relief`` is the standard deviation of the slope's tangent; slopes away from the sun keep sky light.
    """
    height = random_fields(rng, 1, side=side, slope=rng.uniform(3.4, 4.5))[0]
    dy, dx = np.gradient(height)
    scale = relief / max(float(np.hypot(dy, dx).std()), 1e-9)
    zenith, azimuth = rng.uniform(0.35, 1.05), rng.uniform(0, 2 * np.pi)
    facing = (dx * np.cos(azimuth) + dy * np.sin(azimuth)) * scale
    cosine = (np.cos(zenith) + np.sin(zenith) * facing) / np.sqrt(1 + (dx**2 + dy**2) * scale**2)
    lit: Field = np.maximum(cosine / np.cos(zenith), 0) * 0.85 + 0.15
    return lit
