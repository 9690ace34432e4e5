"""Points with a known class, such as field visits, against the pixels they fall into."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.io import DatasetReader
from rasterio.windows import Window

from geoseg.errors import EvaluationError
from geoseg.evaluation.confusion import Counts, count
from geoseg.evaluation.maps import Crosswalk
from geoseg.evaluation.references import classes_of, read_features
from geoseg.legend import Legend

_XY = (("x", "y"), ("lon", "lat"), ("longitude", "latitude"), ("easting", "northing"))
_STRIP = 512
"""Rows of the map that are read at a time."""


def read_points(path: Path, *, crs: str | None = None) -> gpd.GeoDataFrame:
    """Points of a CSV with x and y (or lon and lat), or of a vector file.

    Args:
        path: the file.
        crs: of a CSV's coordinates; None for degrees.

    Raises:
        EvaluationError: it cannot be read, or has no coordinates.
    """
    if path.suffix.lower() != ".csv":
        return read_features(path)
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{path} cannot be read: {' '.join(str(error).split())}.") from None
    lower = {str(c).lower(): c for c in table.columns}
    pair = next(((lower[x], lower[y]) for x, y in _XY if x in lower and y in lower), None)
    if pair is None:
        columns = ", ".join(map(str, table.columns))
        raise EvaluationError(f"{path.name} has no columns x and y, or lon and lat. It has: {columns}.")
    x, y = (pd.to_numeric(table[c], errors="coerce") for c in pair)
    if x.isna().any() or y.isna().any():
        raise EvaluationError(
            f"{path.name} has {int((x.isna() | y.isna()).sum())} rows without coordinates. Mend them."
        )
    if crs is None and ((x.abs() > 180) | (y.abs() > 90)).any():
        raise EvaluationError(
            f"{path.name} has coordinates that are no degrees. Say what they are: --crs EPSG:<code>."
        )
    return gpd.GeoDataFrame(table, geometry=gpd.points_from_xy(x, y), crs=crs or "EPSG:4326")


def count_points(
    points: gpd.GeoDataFrame,
    source: DatasetReader,
    *,
    legend: Legend,
    table: NDArray[np.int32],
    crosswalk: Crosswalk,
    field: str | None,
    label: str,
) -> tuple[Counts, int, tuple[str, ...]]:
    """The matrix of points against the pixels that hold them, points left out, and what was done.

    Args:
        points: with a CRS and a class each.
        source: the map.
        legend: the classes that are compared.
        table: (256,) class index of each value of the map.
        crosswalk: from the points' classes to them.
        field: which attribute says the class; None for the one with a usual name.
        label: what messages call the points.

    Raises:
        EvaluationError: a class is unknown, or no point lies in the map.
    """
    grid = GeoBox.from_rio(source)
    frame, classes = classes_of(points, label=label, legend=legend, crosswalk=crosswalk, field=field)
    frame = frame.to_crs(str(grid.crs))
    inverse = ~grid.affine
    x, y = frame.geometry.x.to_numpy(), frame.geometry.y.to_numpy()
    col = np.floor(inverse.a * x + inverse.b * y + inverse.c).astype(np.int64)
    row = np.floor(inverse.d * x + inverse.e * y + inverse.f).astype(np.int64)
    is_in = (row >= 0) & (row < source.height) & (col >= 0) & (col < source.width)
    if not is_in.any():
        raise EvaluationError(
            f"None of the {len(frame)} points of {label} lies in the map. Check their CRS and place."
        )
    row, col, classes = row[is_in], col[is_in], classes[is_in]
    stored = np.full(len(row), 255, np.uint8)
    for strip in np.unique(row // _STRIP):
        here = row // _STRIP == strip
        top, left = int(strip) * _STRIP, int(col[here].min())
        height = min(_STRIP, source.height - top)
        pixels = source.read(1, window=Window(left, top, int(col[here].max()) - left + 1, height))
        stored[here] = pixels[row[here] - top, col[here] - left]
    outside = int((~is_in).sum())
    notes = [f"{len(row):,} points of {label} were compared with the pixels that hold them."]
    if outside:
        notes.append(f"{outside:,} points of {label} lie outside the map, left out.")
    return count(classes, table[stored], n_classes=len(legend.classes)), len(points) - len(row), tuple(notes)
