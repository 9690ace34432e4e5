"""Memory does not grow with the area: blocks, strips, blending and mosaic, measured in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from builders import BANDS, geobox_at
from rasterio.windows import Window

from geoseg.jobs.listener import Silence
from geoseg.jobs.run import run
from geoseg.recipe import Recipe

WIDTH, BLOCK, TILE, HALO = 1024, 1024, 512, 64
LOW, HIGH = 2048, 18432
GROWTH_MB = 48
"""Of some 900. Measured: 28 at most, up or down, from what threads happen to do at the same time. It is 3 bytes
for each pixel more: less than a pixel's input (12), its probabilities (16) or its confidence as float32 (4)."""
LIMITS = {
    # Freed arrays go back to the system at once, so that what is measured is what is held. Else malloc keeps
    # them for later, in some runs 200 MB more than in others (mallopt(3), M_MMAP_THRESHOLD).
    "MALLOC_MMAP_THRESHOLD_": "65536",
    # GDAL's cache has a bound of its own, a share of the machine's memory. Here both heights reach it.
    "GDAL_CACHEMAX": "16",
}


@pytest.mark.lane
def test_memory_until_the_rasters_are_written_does_not_grow_with_the_area(tmp_path):
    low, high = (_peak_mb(_write_bands(tmp_path / f"{h}.tif", h), tmp_path / f"map{h}") for h in (LOW, HIGH))
    assert high - low <= GROWTH_MB, f"{low:.0f} MB for {LOW} rows, {high:.0f} MB for {HIGH}"


def _write_bands(path: Path, height: int) -> Path:
    """An image of broad horizontal stripes, written in pieces and small on disk."""
    grid = geobox_at(height=height, width=WIDTH)
    with rasterio.open(
        path, "w", driver="GTiff", count=len(BANDS), dtype="uint16", height=height, width=WIDTH,
        crs=str(grid.crs), transform=grid.affine, nodata=0, tiled=True, compress="deflate",
    ) as target:  # fmt: skip
        target.descriptions = BANDS
        for row in range(0, height, 256):
            piece = np.full((len(BANDS), 256, WIDTH), 900, np.uint16)
            piece[2] += 3000 * (row // 256 % 2)  # forest and water
            target.write(piece, window=Window(0, row, WIDTH, 256))
    return path


def _peak_mb(image: Path, out: Path) -> float:
    env = {**os.environ, **LIMITS, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, __file__, image, out], env=env, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


class _UntilRasters(Silence):
    """Says the peak when the rasters are written, and leaves: polygons are made in memory, 2.4 kB each."""

    def start(self, stage: str, total: int) -> None:
        if stage == "tracing polygons":
            # Not ru_maxrss: a process starts with the peak of the one that started it, pytest.
            status = Path("/proc/self/status").read_text().splitlines()
            print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024)
            raise SystemExit


if __name__ == "__main__":
    run(
        Recipe(
            image=(sys.argv[1],),
            model="spectral-rules",
            out=sys.argv[2],
            block_size=BLOCK,
            tile_size=TILE,
            halo=HALO,
        ),
        listener=_UntilRasters(),
    )
