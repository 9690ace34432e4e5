"""Where class maps and their confidence are read from: arrays or files, rows by rows, on one grid."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import odc.geo.xr  # noqa: F401  registers DataArray.odc
import rasterio
import xarray as xr
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError
from rasterio.windows import Window

from geoseg.errors import ImageryError, OutputError, one_line
from geoseg.legend import CLASS_NODATA, CONFIDENCE_NODATA, CONFIDENCE_SCALE
from geoseg.polygons.areas import crs_of
from geoseg.polygons.nodes import Classes, Labels, Read
from geoseg.polygons.rings import to_map

FLOAT_UNIT = 2.0**-24
"""Confidences in floats are summed in whole multiples of this, so that no order of adding shows."""

ROUNDING = 1e-5
"""How far above 1 a float probability may lie by rounding."""


@dataclass(frozen=True)
class Source:
    """A class map that can be read any number of times."""

    read: Read
    geobox: GeoBox
    has_confidence: bool
    unit: float
    """What the integers of the confidence are multiples of."""


def from_arrays(class_id: xr.DataArray, confidence: xr.DataArray | None, *, n_rows: int) -> Source:
    """Arrays, of which ``n_rows`` rows are computed at a time; see ``trace.polygonize``."""
    geobox = _geobox_of(class_id, "class map")
    _check_classes(class_id.dtype)
    if confidence is not None:
        _check_confidence(confidence.dtype)
        _check_same_grid(geobox, _geobox_of(confidence, "confidence"))
    classes = _Slab(class_id, n_rows)
    sure = None if confidence is None else _Slab(confidence, n_rows)

    def read(rows: slice) -> tuple[Classes, Labels | None]:
        return classes.read(rows), None if sure is None else _whole(sure.read(rows))

    unit = 1.0 if confidence is None else _unit(confidence.dtype)
    return Source(read, geobox, has_confidence=confidence is not None, unit=unit)


@contextmanager
def from_files(class_tif: Path, confidence_tif: Path | None) -> Iterator[Source]:
    """Band 1 of files; see ``trace.polygonize_files``."""
    with ExitStack() as stack:
        source = _open(class_tif, stack)
        _check_classes(source.dtypes[0])
        geobox = _georeferenced(GeoBox.from_rio(source), f"class map {class_tif.name}")
        sure = None if confidence_tif is None else _open(confidence_tif, stack)
        if sure is not None:
            _check_confidence(sure.dtypes[0])
            _check_same_grid(geobox, GeoBox.from_rio(sure))

        def read(rows: slice) -> tuple[Classes, Labels | None]:
            classes = _read_rows(source, rows, CLASS_NODATA)
            if sure is None:
                return classes, None
            nodata = CONFIDENCE_NODATA if sure.dtypes[0] == "uint8" else np.nan
            return classes, _whole(_read_rows(sure, rows, nodata))

        unit = 1.0 if sure is None else _unit(sure.dtypes[0])
        yield Source(read, geobox, has_confidence=sure is not None, unit=unit)


class _Slab:
    """Rows of an array, computed ``n_rows`` at a time, so that no chunk of a lazy one is computed twice."""

    def __init__(self, array: xr.DataArray, n_rows: int) -> None:
        self._array, self._n_rows = array, n_rows
        self._start, self._values = 0, np.empty((0, array.shape[1]), array.dtype)

    def read(self, rows: slice) -> npt.NDArray[Any]:
        parts, at = [], rows.start
        while at < rows.stop:
            if not self._start <= at < self._start + len(self._values):
                self._start = at - at % self._n_rows
                self._values = np.asarray(self._array[self._start : self._start + self._n_rows])
            part = self._values[at - self._start : rows.stop - self._start]
            parts.append(part)
            at += len(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _whole(confidence: npt.NDArray[Any]) -> Labels:
    """Confidence in whole units, so that sums are exact in any order; nodata -1."""
    if confidence.dtype == np.uint8:
        return np.where(confidence == CONFIDENCE_NODATA, -1, confidence.astype(np.int32))
    if ((confidence < 0) | (confidence > 1 + ROUNDING)).any():
        worst = float(confidence.flat[np.nanargmax(np.abs(confidence - 0.5))])
        raise OutputError(
            f"The confidence holds {worst:g}, expected 0 to 1 (or uint8 0..254). Divide it by its scale."
        )
    units = np.rint(np.minimum(np.nan_to_num(confidence.astype(np.float64)), 1) / FLOAT_UNIT)
    return np.where(np.isnan(confidence), -1, units).astype(np.int32)


def _unit(dtype: npt.DTypeLike) -> float:
    return CONFIDENCE_SCALE if np.dtype(dtype) == np.uint8 else FLOAT_UNIT


def _open(path: Path, stack: ExitStack) -> rasterio.DatasetReader:
    try:
        return stack.enter_context(rasterio.open(path))
    except RasterioError as error:
        raise ImageryError(
            f"{path.name} cannot be read as a raster ({error}), expected a GeoTIFF. Check the path."
        ) from error


def _read_rows(source: rasterio.DatasetReader, rows: slice, nodata: float) -> npt.NDArray[Any]:
    try:
        window = Window.from_slices(rows, slice(0, source.width))
        values: npt.NDArray[Any] = source.read(1, window=window)
    except RasterioError as error:
        raise ImageryError(
            f"{source.name} is damaged at row {rows.start}: {one_line(error)}. Write it again."
        ) from error
    if source.nodata is not None:
        values[values == source.nodata] = nodata
    return values


def _geobox_of(array: xr.DataArray, what: str) -> GeoBox:
    if array.ndim != 2:
        raise OutputError(
            f"The {what} has dimensions {array.dims}, expected (y, x). Select one band and time."
        )
    return _georeferenced(array.odc.geobox, what)


def _georeferenced(geobox: object, what: str) -> GeoBox:
    if not isinstance(geobox, GeoBox) or geobox.crs is None:
        raise OutputError(
            f"The {what} has no CRS or no transform, expected both. Assign them: gdal_edit.py -a_srs EPSG:..."
        )
    return geobox


def _check_classes(dtype: npt.DTypeLike) -> None:
    if np.dtype(dtype) != np.uint8:
        raise OutputError(
            f"The class map is {np.dtype(dtype)}, expected uint8 classes 0..254 with nodata 255."
        )


def _check_confidence(dtype: npt.DTypeLike) -> None:
    if np.dtype(dtype) != np.uint8 and np.dtype(dtype).kind != "f":
        raise OutputError(f"The confidence is {np.dtype(dtype)}, expected uint8 0..254 or floats 0..1.")


def _check_same_grid(classes: GeoBox, confidence: GeoBox) -> None:
    height, width = classes.shape
    pixel = np.hypot(classes.transform.a, classes.transform.d)
    here, there = (to_map(g.transform, [0, width, 0], [0, 0, height]) for g in (classes, confidence))
    is_same = np.allclose(here, there, rtol=0, atol=0.01 * pixel)
    if classes.shape != confidence.shape or classes.crs != confidence.crs or not is_same:
        raise OutputError(
            f"The confidence is {_grid_text(confidence)}, expected the class map's {_grid_text(classes)}. "
            "Take both from one run."
        )


def _grid_text(geobox: GeoBox) -> str:
    a, _, c, _, e, f = geobox.transform[:6]
    size = f"{geobox.shape[1]} x {geobox.shape[0]} pixels of {a:g} x {e:g}"
    return f"{size} from ({c:.10g}, {f:.10g}) in {crs_of(geobox).name}"
