"""Points with a known class, such as field visits, against the pixels they fall into."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj.exceptions import CRSError
from rasterio.windows import Window

from geoseg.errors import EvaluationError, one_line
from geoseg.evaluation.confusion import Counts, count_by_place
from geoseg.evaluation.features import PlacesOf, classes_of, read_features, single_points
from geoseg.evaluation.maps import Compared, Crosswalk
from geoseg.legend import CLASS_NODATA

_XY = (("x", "y"), ("lon", "lat"), ("longitude", "latitude"), ("easting", "northing"))
_STRIP = 512
"""Rows of the map that are read at a time."""


def read_points(path: Path, *, crs: str | None = None) -> gpd.GeoDataFrame:
    """Points of a CSV with x and y (or lon and lat), or features of a vector file; multipoints one by one.

    Args:
        path: the file.
        crs: of a CSV's coordinates; None for degrees.

    Raises:
        EvaluationError: it cannot be read, or has no coordinates.
    """
    if path.suffix.lower() != ".csv":
        frame = read_features(path)
        return single_points(frame) if are_points(frame) else frame
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{path} cannot be read: {one_line(error)}.") from None
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
    try:
        return gpd.GeoDataFrame(table, geometry=gpd.points_from_xy(x, y), crs=crs or "EPSG:4326")
    except CRSError:
        raise EvaluationError(f"--crs {crs} is no CRS. Give a code such as EPSG:32633.") from None


def are_points(frame: gpd.GeoDataFrame) -> bool:
    """Whether all features that have a geometry are points."""
    kinds = frame.geom_type.dropna()
    return len(kinds) > 0 and bool(kinds.isin(["Point", "MultiPoint"]).all())


@dataclass(frozen=True)
class PointCounts:
    """What became of points."""

    counts: Counts
    """(place, class, class + 1)"""
    left_out: int
    """Points that were not compared."""
    notes: tuple[str, ...]


def count_points(
    points: gpd.GeoDataFrame,
    grid: GeoBox,
    read: Callable[[Window], NDArray[np.uint8]],
    *,
    classes: Compared,
    crosswalk: Crosswalk,
    field: str | None,
    label: str,
    places: PlacesOf | None = None,
    nodata_is_wrong: bool = False,
) -> PointCounts:
    """Points against the pixels that hold them.

    Args:
        points: with a CRS and a class each.
        grid: of the map.
        read: stored values of a window of it.
        classes: that are compared.
        crosswalk: from the points' classes to them.
        field: which attribute says the class; None for the one with a usual name.
        label: what messages call the points.
        places: counted one by one, in the CRS of the map; None for one that is everywhere.
        nodata_is_wrong: count points where the map has no class as wrong, instead of leaving them out.

    Raises:
        EvaluationError: a class is unknown, or no point lies where the map has a class that is compared.
    """
    frame, expected, unused = classes_of(
        points, label=label, classes=classes, crosswalk=crosswalk, field=field
    )
    frame = frame.to_crs(str(grid.crs))
    is_in, stored = _values_at(frame.geometry, grid, read)
    if not is_in.any():
        raise EvaluationError(
            f"None of the {len(frame)} points of {label} lies in the map. Check their CRS and place."
        )
    place = np.zeros(len(frame), np.int32) if places is None else places.at(frame.geometry)
    is_bare = is_in & (stored == CLASS_NODATA) & (not nodata_is_wrong)
    is_compared = is_in & ~is_bare & ~classes.is_ignored()[stored] & (place >= 0)
    if not is_compared.any():
        raise EvaluationError(
            f"None of the {is_in.sum()} points of {label} in the map lies where it has a class that is "
            "compared. Check the map, the crosswalk and the places."
        )
    counts = count_by_place(
        expected[is_compared],
        classes.table()[stored[is_compared]],
        place[is_compared],
        n_classes=len(classes.legend.classes),
        n_places=1 if places is None else len(places.names),
    )
    n = int(is_compared.sum())
    left_out = {
        "lie outside the map": ~is_in,
        "lie where the map has no class": is_bare,
        "lie in no place": is_in & (place < 0),
    }
    notes = [f"{n:,} points of {label} were compared with the pixels that hold them.", *unused]
    notes += [f"{v.sum():,} points of {label} {k}, left out." for k, v in left_out.items() if v.any()]
    return PointCounts(counts, len(points) - n, tuple(notes))


def _values_at(
    points: gpd.GeoSeries, grid: GeoBox, read: Callable[[Window], NDArray[np.uint8]]
) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """(point,) whether it lies in the map, and the stored value, read in strips; 255 outside."""
    col, row = (np.floor(v) for v in ~grid.affine * (points.x.to_numpy(), points.y.to_numpy()))
    is_in = (row >= 0) & (row < grid.shape[0]) & (col >= 0) & (col < grid.shape[1])
    stored = np.full(len(points), CLASS_NODATA, np.uint8)
    for strip in np.unique(row[is_in] // _STRIP).astype(int):
        here = is_in & (row // _STRIP == strip)
        top, left, right = strip * _STRIP, int(col[here].min()), int(col[here].max()) + 1
        pixels = read(Window(left, top, right - left, min(_STRIP, grid.shape[0] - top)))
        stored[here] = pixels[row[here].astype(int) - top, col[here].astype(int) - left]
    return is_in, stored
