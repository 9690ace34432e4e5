"""Class maps to polygons: geoseg against ``rasterio.features.shapes`` and shapely, turn by turn."""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import shapely

from geoseg.bench.class_maps import legend_of, write_class_map
from geoseg.bench.processes import Say, call
from geoseg.bench.records import check_repeat, check_sizes, turn
from geoseg.errors import ImageryError
from geoseg.legend import CLASS_NODATA
from geoseg.polygons.trace import polygonize_files

_BY_RASTERIO = ("geoseg.bench.plain", "trace_by_rasterio")
_BY_GEOSEG = ("geoseg.bench.tracing", "trace_by_geoseg")
_BY_SHAPELY = ("geoseg.bench.tracing", "simplify_by_shapely")
_M2_PER_KM2 = 1e6


@dataclass(frozen=True)
class Tracing:
    """A map traced by both, each in a process of its own; times are without Python's start and imports."""

    image: str
    width: int
    height: int
    n_polygons: int
    wall_s: float
    """File to a GeoDataFrame of polygons with class, area and neighbours' shared vertices."""
    rasterio_s: float
    """File to shapely polygons and their classes; with ``simplify_m`` one ``shapely.coverage_simplify`` of
    all polygons alone."""
    ratio: float
    """``rasterio_s`` over ``wall_s``: how many times as fast geoseg is."""
    km2_per_s: float | None
    """None where the map's CRS is in degrees."""
    peak_memory_mb: float
    """Of the whole process, imports (some 200 MB) included."""
    rasterio_peak_memory_mb: float
    n_polygons_rasterio: int
    """The same as ``n_polygons``: both trace 4-connected regions."""
    load: float
    """Load average of the machine at the end (1 min)."""

    @property
    def label(self) -> str:
        """The map in a column's head."""
        return f"{self.image} {self.width} x {self.height}"


def benchmark(
    sizes: Sequence[int],
    *,
    repeat: int,
    image: Path | None = None,
    simplify_m: float = 0.0,
    say: Say = lambda text: None,
) -> Iterator[Tracing]:
    """Trace a synthetic class map of each size, or one of the user's, ``repeat`` times by both.

    Args:
        sizes: sides in pixels; not heeded with ``image``.
        repeat: pairs of runs on the same file; who begins alternates.
        image: a GeoTIFF of uint8 classes.
        simplify_m: geoseg traces and simplifies; against it shapely simplifies what was traced before.
        say: told what is being done.

    Raises:
        RecipeError: a size or ``repeat`` is too small.
        ImageryError: the file cannot be read.
        OutputError: a run failed.
    """
    check_repeat(repeat)
    with tempfile.TemporaryDirectory(prefix="geoseg-bench-") as temporary:
        folder = Path(temporary)
        for path in [image] if image is not None else _maps(folder, sizes, say):
            for i in range(repeat):
                say(f"tracing {path.name}" + (f", {i + 1} of {repeat}" if repeat > 1 else ""))
                yield measure(path, number=i, simplify_m=simplify_m, log=folder / "log.txt")


def _maps(folder: Path, sizes: Sequence[int], say: Say) -> Iterator[Path]:
    check_sizes(sizes)
    for size in sizes:
        say(f"making a class map of {size} x {size} pixels")
        path = write_class_map(folder / f"classes-{size}.tif", size=size)
        yield path
        path.unlink()


def measure(image: Path, *, number: int, log: Path, simplify_m: float = 0.0) -> Tracing:
    """One pair of runs; geoseg begins if ``number`` is even.

    Raises:
        ImageryError: the file cannot be read.
        OutputError: a run failed.
    """
    width, height, km2 = _ground_of(image)
    tolerance = [str(simplify_m)] if simplify_m else []
    theirs_by = _BY_SHAPELY if simplify_m else _BY_RASTERIO
    done = {
        is_ours: call(*(_BY_GEOSEG if is_ours else theirs_by), str(image), *tolerance, log=log)
        for is_ours in turn(number)
    }
    (ours, found), (theirs, expected) = done[True], done[False]
    return Tracing(
        image=image.name,
        width=width,
        height=height,
        n_polygons=int(found["n_polygons"]),
        wall_s=round(found["seconds"], 3),
        rasterio_s=round(expected["seconds"], 3),
        ratio=round(expected["seconds"] / found["seconds"], 2),
        km2_per_s=None if km2 is None else round(km2 / found["seconds"], 2),
        peak_memory_mb=round(ours.peak_memory_mb),
        rasterio_peak_memory_mb=round(theirs.peak_memory_mb),
        n_polygons_rasterio=int(expected["n_polygons"]),
        load=round(os.getloadavg()[0], 1),
    )


def _ground_of(image: Path) -> tuple[int, int, float | None]:
    try:
        with rasterio.open(image) as source:
            unit = source.crs.linear_units_factor[1] if source.crs and source.crs.is_projected else None
            pixel = abs(source.transform.determinant)
            km2 = None if unit is None else source.width * source.height * pixel * unit**2 / _M2_PER_KM2
            return source.width, source.height, km2
    except rasterio.errors.RasterioError as error:
        raise ImageryError(f"{image} cannot be read as a raster ({error}). Check the path.") from None


def trace_by_geoseg(path: str, simplify_m: str = "0") -> dict[str, float]:
    """Seconds and number of polygons, of geoseg."""
    legend = legend_of(_values_of(path))
    started = time.perf_counter()
    polygons = polygonize_files(Path(path), legend=legend, simplify_m=float(simplify_m))
    return {"seconds": time.perf_counter() - started, "n_polygons": len(polygons)}


def simplify_by_shapely(path: str, simplify_m: str) -> dict[str, float]:
    """Seconds that GEOS needs to simplify all polygons of a map as one coverage, and their number."""
    polygons = polygonize_files(Path(path), legend=legend_of(_values_of(path))).geometry.to_numpy()
    started = time.perf_counter()
    shapely.coverage_simplify(polygons, float(simplify_m))
    return {"seconds": time.perf_counter() - started, "n_polygons": len(polygons)}


def _values_of(path: str) -> list[int]:
    """The classes of a map, read block by block."""
    with rasterio.open(path) as source:
        found = {int(v) for _, w in source.block_windows(1) for v in np.unique(source.read(1, window=w))}
        return sorted(found - {CLASS_NODATA, source.nodata})
