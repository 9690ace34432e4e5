"""How memory grows with the area: the same run on ever larger scenes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from geoseg.bench.prediction import Asked, Run
from geoseg.bench.prediction import benchmark as predictions
from geoseg.bench.processes import Say


@dataclass(frozen=True)
class Growth:
    """One size, beside the smallest."""

    model: str
    width: int
    height: int
    wall_s: float
    network_s: float | None
    km2_per_s: float
    hardware_share: float | None
    peak_memory_mb: float
    """Largest resident memory of the whole run."""
    ratio: float
    """``peak_memory_mb`` over that of the smallest scene."""
    mb_per_mpx: float | None
    """What each further megapixel took; None for the smallest."""
    raster_peak_mb: float
    """Until the rasters were written: without polygons, which are as many as there are."""
    raster_ratio: float
    raster_mb_per_mpx: float | None
    n_polygons: int
    load: float

    @property
    def label(self) -> str:
        """The scene in a column's head."""
        return f"{self.width} x {self.height}"


def benchmark(sizes: Sequence[int], asked: Asked, *, say: Say = lambda text: None) -> Iterator[Growth]:
    """Map a scene of each size, from the smallest, and compare each with the first.

    Args:
        sizes: sides in pixels.
        asked: the model, and how it is run.
        say: told what is being done.

    Raises:
        GeosegError: see :func:`geoseg.bench.prediction.benchmark`.
    """
    first: Run | None = None
    for run in predictions(sorted(set(sizes)), asked, repeat=1, say=say):
        first = first or run
        yield _growth(run, first)


def _growth(run: Run, first: Run) -> Growth:
    more_mpx = (run.width * run.height - first.width * first.height) / 1e6
    more_mb, more_raster_mb = (
        run.peak_memory_mb - first.peak_memory_mb,
        run.raster_peak_mb - first.raster_peak_mb,
    )
    return Growth(
        model=run.model,
        width=run.width,
        height=run.height,
        wall_s=run.wall_s,
        network_s=run.network_s,
        km2_per_s=run.km2_per_s,
        hardware_share=run.hardware_share,
        peak_memory_mb=run.peak_memory_mb,
        ratio=round(run.peak_memory_mb / first.peak_memory_mb, 3),
        mb_per_mpx=round(more_mb / more_mpx, 2) if more_mpx else None,
        raster_peak_mb=run.raster_peak_mb,
        raster_ratio=round(run.raster_peak_mb / first.raster_peak_mb, 3),
        raster_mb_per_mpx=round(more_raster_mb / more_mpx, 2) if more_mpx else None,
        n_polygons=run.n_polygons,
        load=run.load,
    )
