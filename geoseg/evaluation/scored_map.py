"""A class map that is scored: its pixels, what their values mean, and how sure it was of them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.io import DatasetReader
from rasterio.windows import Window

from geoseg.errors import EvaluationError, some
from geoseg.evaluation.confusion import IGNORED
from geoseg.evaluation.maps import Compared, Crosswalk, compared, legend_of
from geoseg.evaluation.reading import reading
from geoseg.grid.geobox import is_same_grid
from geoseg.legend import CLASS_NODATA
from geoseg.memory import gdal_cache
from geoseg.writers.vrt import raster_of

_CACHE_MB = 128
"""For blocks of the files; GDAL's own limit, a share of all memory, fills up on large rasters."""


@dataclass(frozen=True)
class ScoredMap:
    """The open map and what its values mean."""

    path: Path
    source: DatasetReader
    grid: GeoBox
    classes: Compared
    table: NDArray[np.int32]
    """(256,) class index of each value."""
    is_left_out: NDArray[np.bool_]
    """(256,) values that are not compared."""
    is_known: NDArray[np.bool_]
    """(256,) values that mean something: classes, and 255."""

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Stored values of a window.

        Raises:
            EvaluationError: they cannot be read, or one means no class.
        """
        with reading(self.path):
            stored: NDArray[np.uint8] = self.source.read(1, window=window)
        if not (known := self.is_known[stored]).all():
            values = np.unique(stored[~known]).tolist()
            raise EvaluationError(
                f"{self.path.name} holds the {some(values, 'value')}, which no class of it has. Is it a "
                "class map? Then name all of its values: --legend FILE.toml."
            )
        return stored

    def compared(self, stored: NDArray[np.uint8], expected: NDArray[np.int32]) -> NDArray[np.int32]:
        """The reference, without what the map leaves out."""
        return np.where(self.is_left_out[stored], np.int32(IGNORED), expected)


@contextmanager
def scored_map(
    path: Path, *, legend: Path | None, crosswalk: Crosswalk, nodata_is_wrong: bool
) -> Iterator[ScoredMap]:
    """The class map at ``path``, open, with GDAL's cache kept small.

    Raises:
        EvaluationError: it cannot be read, is no class map on the ground, or its classes do not fit.
    """
    if not path.exists():
        raise EvaluationError(f"There is no file {path}. Check the path.")
    with ExitStack() as stack:
        stack.enter_context(gdal_cache(_CACHE_MB))
        with reading(path):
            source = stack.enter_context(rasterio.open(path))
        _refuse_no_map(source, path)
        classes = compared(legend_of(path, legend), crosswalk)
        is_left_out, is_known = classes.is_ignored(), np.zeros(256, bool)
        is_left_out[CLASS_NODATA] = not nodata_is_wrong
        is_known[[*classes.names, CLASS_NODATA]] = True
        if source.nodata is not None and not is_known[int(source.nodata)]:
            is_known[int(source.nodata)], is_left_out[int(source.nodata)] = True, not nodata_is_wrong
        grid = GeoBox.from_rio(source)
        yield ScoredMap(path, source, grid, classes, classes.table(), is_left_out, is_known)


def confidence_of(made: ScoredMap, stack: ExitStack) -> DatasetReader | None:
    """The confidence that lies beside a map, kept open by ``stack``; None where none fits it."""
    beside = raster_of(made.path.parent, "confidence")
    if not beside.is_file():
        return None
    with reading(beside):
        confidence: DatasetReader = stack.enter_context(rasterio.open(beside))
    fits = is_same_grid(GeoBox.from_rio(confidence), made.grid)
    return confidence if fits and confidence.dtypes[0] == "uint8" else None


def _refuse_no_map(source: DatasetReader, path: Path) -> None:
    if source.dtypes[0] != "uint8":
        raise EvaluationError(
            f"{path} holds {source.dtypes[0]}, expected a class map of uint8, 255 = nodata."
        )
    if source.crs is None:
        raise EvaluationError(
            f"{path} has no CRS, so nothing says where it lies. Assign one: gdal_edit -a_srs."
        )
