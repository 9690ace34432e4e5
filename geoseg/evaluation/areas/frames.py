"""The pixels that a sample is drawn from: what a class map and its strata hold, counted row by row."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError  # GDAL's own errors, which rasterio lets out of some reads
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from geoseg.errors import EvaluationError, one_line, some
from geoseg.evaluation.maps import legend_of, names_in
from geoseg.evaluation.reading import windows_of
from geoseg.grid.geobox import is_same_grid
from geoseg.grid.ground import plane_to_ground, row_areas_m2
from geoseg.legend import CLASS_NODATA, Legend
from geoseg.memory import gdal_cache

Classes = NDArray[np.uint8]
Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
Read = Callable[[Window], tuple[Classes, Classes]]
"""Strata and map classes (y, x) of a window; both 255 where either is unknown."""

M2_PER_HA = 10_000.0
SIDE = 2048
"""Side of what is read at a time, pixels."""
_CACHE_MB = 256
"""GDAL's cache of blocks: a row of 512 px blocks, 500,000 pixels wide."""


@dataclass(frozen=True)
class Frame:
    """The population of a sample: all pixels with a map class and, if strata are given, a stratum."""

    map_path: Path
    """The class map."""
    strata_path: Path | None
    """A raster of strata on the same grid; None where the map classes are the strata."""
    geobox: GeoBox
    """The grid of both."""
    legend: Legend
    """The classes of the map."""
    stratum_names: Mapping[int, str]
    """By stratum, ascending; only strata that have pixels."""
    row_m2: Floats
    """(height,) m² of one pixel in each row."""
    strata: Mapping[int, Counts]
    """(height,) pixels of each stratum in each row."""
    classes: Mapping[int, Counts]
    """(height,) pixels of each map class in each row."""
    notes: tuple[str, ...]
    """What people should know about the areas."""

    def area_ha(self, rows: Counts) -> float:
        """Hectares of pixels counted by row."""
        return float(rows @ self.row_m2) / M2_PER_HA


def read_frame(map_path: Path, strata_path: Path | None = None, *, legend: Path | None = None) -> Frame:
    """Count a class map, block by block: memory grows with its height times its classes, not with its area.

    Args:
        map_path: uint8 classes; 255 and the file's own nodata value mean nothing.
        strata_path: uint8 strata on the same grid; None to take the map classes.
        legend: see :func:`geoseg.evaluation.maps.legend_of`.

    Raises:
        EvaluationError: a file cannot be read, is no class map, has no CRS, lies on another grid, holds a
            class that the legend does not know, or holds nothing at all.
    """
    with opened(map_path, strata_path) as (geobox, read):
        own = legend_of(map_path, legend)
        row_m2 = row_areas_m2(geobox)
        strata: dict[int, Counts] = {}
        classes: dict[int, Counts] = strata if strata_path is None else {}
        for window in windows_of(*geobox.shape, size=SIDE):
            found, mapped = read(window)
            _count_rows(found, window.row_off, strata, geobox.shape[0])
            if strata_path is not None:
                _count_rows(mapped, window.row_off, classes, geobox.shape[0])
    if not strata:
        raise EvaluationError(f"{map_path.name} has no pixel with a class. Give a map that holds some.")
    check_known(classes, own, map_path)
    names = {c.value: c.name for c in own.classes} if strata_path is None else names_in(strata_path)
    return Frame(
        map_path=map_path,
        strata_path=strata_path,
        geobox=geobox,
        legend=own,
        stratum_names={s: names.get(s, f"stratum {s}") for s in sorted(strata)},
        row_m2=row_m2,
        strata=dict(sorted(strata.items())),
        classes=dict(sorted(classes.items())),
        notes=plane_notes(geobox),
    )


def locate(frame: Frame, strata: Counts, rows: Counts, ranks: Counts) -> tuple[Counts, Counts]:
    """The column and the map class of pixels that are known by their place within stratum and row.

    Args:
        frame: where they lie.
        strata: (n,) stratum of each pixel.
        rows: (n,) its row.
        ranks: (n,) how many pixels of its stratum lie left of it in its row.

    Returns:
        Columns and map classes, both (n,).

    Raises:
        EvaluationError: a file cannot be read any more.
    """
    cols, classes = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    with opened(frame.map_path, frame.strata_path) as (geobox, read):
        for row in np.unique(rows):  # sorted, so that a block is decompressed once
            found, mapped = read(Window(0, int(row), geobox.shape[1], 1))
            here = np.flatnonzero(rows == row)
            for stratum in np.unique(strata[here]):
                chosen = here[strata[here] == stratum]
                cols[chosen] = np.flatnonzero(found[0] == stratum)[ranks[chosen]]
            classes[here] = mapped[0, cols[here]]
    return cols, classes


@contextmanager
def opened(map_path: Path, strata_path: Path | None = None) -> Iterator[tuple[GeoBox, Read]]:
    """The grid of a class map, and how to read it together with its strata.

    Raises:
        EvaluationError: a file cannot be read, is no class map, has no CRS or lies on another grid.
    """
    try:
        with ExitStack() as stack:
            stack.enter_context(gdal_cache(_CACHE_MB))
            mapped = stack.enter_context(rasterio.open(map_path))
            strata = stack.enter_context(rasterio.open(strata_path)) if strata_path else None
            geobox = _grid_of(mapped, map_path)
            if strata is not None and strata_path is not None:
                _refuse_another_grid(_grid_of(strata, strata_path), geobox, strata_path, map_path)
            yield geobox, _reader(mapped, strata)
    except (RasterioError, CPLE_BaseError) as error:
        named = f"{map_path} and {strata_path}" if strata_path else f"{map_path}"
        raise EvaluationError(
            f"Cannot read {named}: {one_line(error)}. Give a class map, uint8 with 255 for nodata."
        ) from None


def check_known(found: Iterable[int], legend: Legend, path: Path) -> None:
    """Refuse values without a name.

    Raises:
        EvaluationError: the map holds a value that its legend does not know.
    """
    if unknown := sorted(set(found) - set(legend.values)):
        raise EvaluationError(
            f"{path.name} holds the {some(unknown, 'value')}, expected only {some(legend.values, 'value')} "
            "of its legend. Give --legend FILE.toml that names all of them."
        )


def plane_notes(geobox: GeoBox) -> tuple[str, ...]:
    """What to know where the CRS stretches areas by more than 1 %; nothing elsewhere."""
    ratio = plane_to_ground(geobox)
    if 0.99 <= ratio <= 1.01:
        return ()
    return (
        f"Areas are measured in the plane of {_name(geobox)}, where a pixel has up to {ratio:.3g} times its "
        "area on the ground: warp the map to an equal-area CRS (gdalwarp -r near -t_srs EPSG:6933) before "
        "sampling it.",
    )


def _count_rows(values: Classes, top: int, totals: dict[int, Counts], height: int) -> None:
    """Add the pixels of each value in each row; uniform blocks, as in a sparse map, cost next to nothing."""
    n_rows, n_cols = values.shape
    low, high = int(values.min()), int(values.max())
    if low == high:
        found = {low: np.full(n_rows, n_cols)}
    else:
        keys = np.arange(n_rows)[:, None] * 256 + values  # a number for each row and value
        counts = np.bincount(keys.ravel(), minlength=n_rows * 256).reshape(n_rows, 256)
        found = {int(value): counts[:, value] for value in np.flatnonzero(counts.any(axis=0))}
    for value, rows in found.items():
        if value != CLASS_NODATA:
            totals.setdefault(value, np.zeros(height, np.int64))[top : top + n_rows] += rows


def _reader(mapped: DatasetReader, strata: DatasetReader | None) -> Read:
    def read_one(source: DatasetReader, window: Window) -> Classes:
        values: Classes = source.read(1, window=window)
        if source.nodata is not None and source.nodata != CLASS_NODATA:
            values[values == source.nodata] = CLASS_NODATA
        return values

    def read(window: Window) -> tuple[Classes, Classes]:
        classes = read_one(mapped, window)
        if strata is None:
            return classes, classes
        found = read_one(strata, window)
        is_unknown = (classes == CLASS_NODATA) | (found == CLASS_NODATA)
        classes[is_unknown] = found[is_unknown] = CLASS_NODATA
        return found, classes

    return read


def _grid_of(source: DatasetReader, path: Path) -> GeoBox:
    if source.dtypes[0] != "uint8":
        raise EvaluationError(
            f"{path} holds {source.dtypes[0]}, expected classes as uint8. Convert it: gdal_translate -ot "
            "Byte."
        )
    if source.crs is None:
        raise EvaluationError(f"{path} has no CRS, expected one. Assign it: gdal_edit -a_srs EPSG:...")
    geobox = GeoBox.from_rio(source)
    if source.crs.is_geographic and (source.transform.b or source.transform.d):
        raise EvaluationError(
            f"{path} lies rotated on a grid in degrees, expected north up. Warp it: gdalwarp -t_srs "
            f"{source.crs}"
        )
    return geobox


def _refuse_another_grid(own: GeoBox, wanted: GeoBox, path: Path, map_path: Path) -> None:
    if is_same_grid(own, wanted):
        return
    west, south, east, north = wanted.extent.boundingbox
    height, width = wanted.shape
    raise EvaluationError(
        f"{path.name} ({_name(own)}, {own.shape[1]} x {own.shape[0]}) lies on another grid than "
        f"{map_path.name} ({_name(wanted)}, {width} x {height}). Bring it there: gdalwarp -r near -t_srs "
        f"{_name(wanted)} -te {west:.12g} {south:.12g} {east:.12g} {north:.12g} -ts {width} {height}"
    )


def _name(geobox: GeoBox) -> str:
    """The CRS of a grid, in short."""
    crs = geobox.crs
    return "no CRS" if crs is None else f"EPSG:{crs.epsg}" if crs.epsg else str(crs.proj.name)
