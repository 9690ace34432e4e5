"""What a map is compared with, brought to the map's grid: a raster, or polygons burned by pixel centre."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from geoseg.errors import EvaluationError
from geoseg.evaluation.confusion import IGNORED, table_of
from geoseg.evaluation.features import burner, classes_of, is_polygon
from geoseg.evaluation.maps import Compared, Crosswalk, meaning_of, names_in, unused_keys
from geoseg.evaluation.reading import Reader, by_cells, reading
from geoseg.grid.geobox import is_same_grid
from geoseg.legend import CLASS_NODATA

_COARSER = 1.5
"""A reference with pixels finer by this is brought to the map's by majority, else by the nearest pixel."""
_TOLERANCE_PX = 0.001
"""How far GDAL may be off when it warps; its own 0.125 gives some pixels to a neighbour."""


@dataclass(frozen=True)
class Reference:
    """A reference on the grid of a map."""

    read: Reader
    """Class indices (y, x) of a window; ``IGNORED`` where nothing is compared."""
    notes: tuple[str, ...]
    """What bringing it to the grid did."""
    unused: Callable[[], tuple[str, ...]] = tuple
    """A note on what the crosswalk names and was not in what was read so far; empty where there is none."""


@contextmanager
def raster_reference(
    path: Path, *, grid: GeoBox, classes: Compared, crosswalk: Crosswalk
) -> Iterator[Reference]:
    """A class raster of any CRS and grid.

    Where neither the file nor the crosswalk says what 255 means, it is no class in files of 8 bits.

    Raises:
        EvaluationError: it cannot be read, has no CRS, lies elsewhere, or holds values that mean no class.
    """
    with ExitStack() as stack:
        with reading(path):
            source = stack.enter_context(rasterio.open(path))
        refuse_unusable(source, str(path), grid)
        nodata = nodata_of(source, crosswalk)
        means = Meanings(source.dtypes[0], names_in(path), classes, crosswalk)
        means.leave_out(*(() if nodata is None else (nodata,)))
        if source.dtypes[0] == "uint8" and not crosswalk.reference:
            means.leave_out(CLASS_NODATA)
        values, note = stack.enter_context(on_grid(source, grid, nodata=nodata))

        def read(window: Window) -> NDArray[np.int32]:
            with reading(path):
                stored = stored_in(values, window)
            return means.of(*stored)

        def unused() -> tuple[str, ...]:
            return unused_keys(crosswalk.reference, means.seen(), path.name)

        notes = (
            () if source.count == 1 else (f"{path.name} has {source.count} layers: the first is compared.",)
        )
        if note is None:
            yield Reference(read, notes, unused)
        else:
            yield Reference(by_cells(read, grid.shape), (*notes, f"{path.name} {note}"), unused)


def refuse_unusable(source: DatasetReader, label: str, grid: GeoBox) -> None:
    """Check that a file is a class raster of the place of a map.

    Raises:
        EvaluationError: it has no CRS, lies elsewhere, is a picture, or holds no whole numbers of 8 or 16
            bits.
    """
    if ColorInterp.red in source.colorinterp:
        raise EvaluationError(f"{label} is a picture in red, green and blue, expected a raster of classes.")
    if source.crs is None:
        raise EvaluationError(
            f"{label} has no CRS, so nothing says where it lies. Assign one: gdal_edit -a_srs."
        )
    if np.dtype(source.dtypes[0]).kind not in "iu" or np.dtype(source.dtypes[0]).itemsize > 2:
        raise EvaluationError(
            f"{label} holds {source.dtypes[0]}, expected classes as integers of 8 or 16 bits. "
            "Convert it: gdal_translate -ot UInt16."
        )
    there = GeoBox.from_rio(source).extent.to_crs("EPSG:4326")
    if not there.intersects(grid.extent.to_crs("EPSG:4326")):
        raise EvaluationError(f"{label} and the map do not overlap. Check that they are of the same place.")


@contextmanager
def on_grid(
    source: DatasetReader, grid: GeoBox, *, nodata: int | None
) -> Iterator[tuple[DatasetReader | WarpedVRT, str | None]]:
    """A raster on the grid of a map, and how it was brought there; None where it is on it.

    Args:
        source: with a CRS.
        grid: of the map.
        nodata: the value that is none; None where no value is, then a mask says what the raster covers.
    """
    own = GeoBox.from_rio(source)
    if is_same_grid(own, grid):
        yield source, None
        return
    window = grid.project(own.extent).boundingbox
    size = float(
        np.sqrt(window.span_x * window.span_y / (own.shape[0] * own.shape[1]))
    )  # in the map's pixels
    resampling = Resampling.mode if size * _COARSER < 1 else Resampling.nearest
    how = "the majority of its pixels" if resampling is Resampling.mode else "its nearest pixel"
    with WarpedVRT(
        source,
        crs=str(grid.crs),
        transform=grid.affine,
        height=grid.shape[0],
        width=grid.shape[1],
        resampling=resampling,
        tolerance=_TOLERANCE_PX,
        src_nodata=nodata,
        nodata=nodata,
        add_alpha=nodata is None and ColorInterp.alpha not in source.colorinterp,
    ) as warped:
        yield (
            warped,
            f"({_name(own)}, pixels {size:.3g} times as wide as the map's) was brought to its grid: each "
            f"pixel takes {how}.",
        )


def stored_in(
    source: DatasetReader | WarpedVRT, window: Window
) -> tuple[NDArray[np.integer], NDArray[np.bool_] | None]:
    """(y, x) stored values of a window, and where a mask or an alpha band shows them; None without one."""
    flags = source.mask_flag_enums[0]
    is_masked = MaskFlags.alpha in flags or MaskFlags.per_dataset in flags
    is_there = source.read_masks(1, window=window) > 0 if is_masked else None
    return source.read(1, window=window), is_there


class Meanings:
    """The class index of each value of a raster; values are looked up when they are first seen."""

    def __init__(
        self,
        dtype: str,
        names: Mapping[int, str],
        classes: Compared,
        crosswalk: Crosswalk,
    ) -> None:
        """Nothing seen yet.

        Args:
            dtype: of the raster, whole numbers of 8 or 16 bits.
            names: what its values are called by itself.
            classes: the classes that are compared.
            crosswalk: from its values and names to them.
        """
        info = np.iinfo(dtype)
        self._lowest = int(info.min)
        self._names, self._classes, self._crosswalk = names, classes, crosswalk
        self._table = np.full(int(info.max) - self._lowest + 1, IGNORED, np.int32)
        self._is_known = np.zeros(len(self._table), bool)

    def leave_out(self, *values: int) -> None:
        """Take values to be no class."""
        self._is_known[[value - self._lowest for value in values]] = True

    def of(self, stored: NDArray[np.integer], is_there: NDArray[np.bool_] | None) -> NDArray[np.int32]:
        """Class indices of stored values; ``IGNORED`` where ``is_there`` is False.

        Raises:
            EvaluationError: a value means no class.
        """
        at = stored.astype(np.int32) - self._lowest if self._lowest else stored
        is_new = ~self._is_known[at] if is_there is None else ~self._is_known[at] & is_there
        if is_new.any():
            self._learn(np.unique(at[is_new]).astype(np.int64) + self._lowest)
        found = self._table[at]
        return found if is_there is None else np.where(is_there, found, np.int32(IGNORED))

    def seen(self) -> set[str]:
        """Values and names that came up, and those that were taken to be no class."""
        values = {int(v) + self._lowest for v in np.flatnonzero(self._is_known)}
        return {str(v) for v in values} | {self._names[v] for v in values & self._names.keys()}

    def _learn(self, values: NDArray[np.int64]) -> None:
        found = {int(v): self._names.get(int(v), str(int(v))) for v in values}
        meant = meaning_of(found, self._crosswalk.reference, self._classes, what="reference")
        shifted = {v - self._lowest: c for v, c in meant.items()}
        learnt = table_of(self._classes.legend.values, shifted, size=len(self._table))
        at = [v - self._lowest for v in found]
        self._table[at], self._is_known[at] = learnt[at], True


def vector_reference(
    features: gpd.GeoDataFrame,
    *,
    label: str,
    grid: GeoBox,
    classes: Compared,
    crosswalk: Crosswalk,
    field: str | None = None,
) -> Reference:
    """Polygons with a class each; a pixel belongs to the one that holds its centre, the later one of two.

    Args:
        features: polygons with a CRS; what else there is, is left out.
        label: what messages call them.
        grid: of the map.
        classes: the classes that are compared.
        crosswalk: from the field's values to them.
        field: which attribute says the class; None for the one with a usual name.

    Raises:
        EvaluationError: there are no polygons, or a class is unknown.
    """
    frame, values, unused = classes_of(
        features, label=label, classes=classes, crosswalk=crosswalk, field=field
    )
    frame = frame.to_crs(str(grid.crs))
    is_area = is_polygon(frame)
    if not is_area.any():
        raise EvaluationError(f"{label} has no polygons with a class that is compared. Check what it holds.")
    frame, values = frame[is_area], values[is_area]
    notes = [f"{len(frame):,} polygons of {label} were burned by pixel centre.", *unused]
    if not is_area.all():
        notes.append(f"{(~is_area).sum():,} features of {label} are no polygons, left out.")
    return Reference(burner(frame.geometry.to_numpy(), values, grid=grid, fill=int(IGNORED)), tuple(notes))


def nodata_of(source: DatasetReader, crosswalk: Crosswalk) -> int | None:
    """The value that is none: what the file declares, unless the crosswalk says what that means."""
    info = np.iinfo(source.dtypes[0])
    declared = source.nodata
    if declared is None and source.dtypes[0] == "uint8" and not crosswalk.reference:
        return CLASS_NODATA
    if declared is None or not float(declared).is_integer() or not info.min <= declared <= info.max:
        return None
    return None if str(int(declared)) in crosswalk.reference else int(declared)


def _name(grid: GeoBox) -> str:
    if grid.crs is None:
        return "no CRS"
    return f"EPSG:{grid.crs.epsg}" if grid.crs.epsg else str(grid.crs.proj.name)
