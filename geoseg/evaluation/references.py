"""What a map is compared with, brought to the map's grid: a raster, or polygons burned by pixel centre."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyogrio.errors import DataSourceError
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.features import rasterize
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from geoseg.errors import EvaluationError
from geoseg.evaluation.confusion import IGNORED, table_of
from geoseg.evaluation.maps import Crosswalk, meaning_of, names_in
from geoseg.grid.geobox import window_geobox
from geoseg.legend import Legend

_COARSER = 1.5
"""A reference with pixels finer by this is brought to the map's by majority, else by the nearest pixel."""
_TOLERANCE_PX = 0.001
"""How far GDAL may be off when it warps; its own 0.125 gives some pixels to a neighbour."""
_FIELDS = ("class_name", "class_id", "class", "label", "reference_class")
NO_VALUE = 1 << 40
"""From here on names of classes are numbered where they have no values that a crosswalk could mean."""
VECTORS = (".gpkg", ".geojson", ".json", ".shp", ".parquet", ".fgb", ".kml")


@dataclass(frozen=True)
class Reference:
    """A reference on the grid of a map."""

    read: Callable[[Window], NDArray[np.int32]]
    """Class indices (y, x) of a window; ``IGNORED`` where nothing is compared."""
    notes: tuple[str, ...]
    """What bringing it to the grid did."""


@contextmanager
def raster_reference(
    path: Path, *, grid: GeoBox, legend: Legend, crosswalk: Crosswalk
) -> Iterator[Reference]:
    """A class raster of any CRS and grid.

    Raises:
        EvaluationError: it cannot be read, has no CRS, lies elsewhere, or holds values that mean no class.
    """
    try:
        with rasterio.open(path) as source:
            _refuse_unusable(source, path, grid)
            notes, resampling = _fit(source, path, grid)
            names = names_in(path)
            if notes:
                with WarpedVRT(
                    source,
                    crs=str(grid.crs),
                    transform=grid.affine,
                    height=grid.shape[0],
                    width=grid.shape[1],
                    resampling=resampling,
                    tolerance=_TOLERANCE_PX,
                    nodata=source.nodata if source.nodata is not None else 255,
                ) as warped:
                    yield Reference(_raster_reader(warped, names, legend, crosswalk), notes)
            else:
                yield Reference(_raster_reader(source, names, legend, crosswalk), ())
    except RasterioError as error:
        raise EvaluationError(f"{path} cannot be read: {' '.join(str(error).split())}.") from None


def _refuse_unusable(source: DatasetReader, path: Path, grid: GeoBox) -> None:
    if source.crs is None:
        raise EvaluationError(
            f"{path} has no CRS, so nothing says where it lies. Assign one: gdal_edit -a_srs."
        )
    if np.dtype(source.dtypes[0]).kind not in "iu" or np.dtype(source.dtypes[0]).itemsize > 2:
        raise EvaluationError(
            f"{path} holds {source.dtypes[0]}, expected classes as integers of 8 or 16 bits. "
            "Convert it: gdal_translate -ot UInt16."
        )
    there = GeoBox.from_rio(source).extent.to_crs("EPSG:4326")
    if not there.intersects(grid.extent.to_crs("EPSG:4326")):
        raise EvaluationError(f"{path} and the map do not overlap. Check that they are of the same place.")


def _fit(source: DatasetReader, path: Path, grid: GeoBox) -> tuple[tuple[str, ...], Resampling]:
    own = GeoBox.from_rio(source)
    if own.crs == grid.crs and own.shape == grid.shape and own.affine.almost_equals(grid.affine, 1e-6):
        return (), Resampling.nearest
    window = grid.project(own.extent).boundingbox
    size = float(
        np.sqrt(window.span_x * window.span_y / (own.shape[0] * own.shape[1]))
    )  # in the map's pixels
    resampling = Resampling.mode if size * _COARSER < 1 else Resampling.nearest
    how = "the majority of its pixels" if resampling is Resampling.mode else "its nearest pixel"
    return (
        f"{path.name} ({_name(own)}, pixels {size:.3g} times as wide as the map's) was brought to its grid: "
        f"each pixel takes {how}.",
    ), resampling


def _name(grid: GeoBox) -> str:
    if grid.crs is None:
        return "no CRS"
    return f"EPSG:{grid.crs.epsg}" if grid.crs.epsg else str(grid.crs.proj.name)


def _raster_reader(
    source: DatasetReader | WarpedVRT, names: dict[int, str], legend: Legend, crosswalk: Crosswalk
) -> Callable[[Window], NDArray[np.int32]]:
    info = np.iinfo(source.dtypes[0])
    size = int(info.max) - int(info.min) + 1
    nodata = (
        {int(source.nodata)} if source.nodata is not None and float(source.nodata).is_integer() else set()
    )
    if source.dtypes[0] == "uint8" and not crosswalk.reference:
        nodata.add(255)
    table = np.full(size, IGNORED, np.int32)
    is_known = np.zeros(size, bool)
    is_known[[v - int(info.min) for v in nodata if info.min <= v <= info.max]] = True

    def learn(values: NDArray[np.int64]) -> None:
        found = {int(v): names.get(int(v), str(int(v))) for v in values}
        meant = meaning_of(found, crosswalk.reference, legend, what="reference")
        shifted = {v - int(info.min): c for v, c in meant.items()}
        table[:] = np.where(is_known, table, table_of(legend.values, shifted, size=size))
        is_known[[v - int(info.min) for v in found]] = True

    def read(window: Window) -> NDArray[np.int32]:
        stored = source.read(1, window=window)
        if info.min:
            stored = stored.astype(np.int32) - int(info.min)
        is_new = ~is_known[stored]
        if is_new.any():
            learn(np.unique(stored[is_new]).astype(np.int64) + int(info.min))
        found: NDArray[np.int32] = table[stored]
        return found

    return read


def vector_reference(
    features: gpd.GeoDataFrame,
    *,
    label: str,
    grid: GeoBox,
    legend: Legend,
    crosswalk: Crosswalk,
    field: str | None = None,
) -> Reference:
    """Polygons with a class each; a pixel belongs to the one that holds its centre, the later one of two.

    Args:
        features: polygons with a CRS; what else there is, is left out.
        label: what messages call them.
        grid: of the map.
        legend: the classes that are compared.
        crosswalk: from the field's values to them.
        field: which attribute says the class; None for the one with a usual name.

    Raises:
        EvaluationError: there are no polygons, or a class is unknown.
    """
    frame, values = classes_of(features, label=label, legend=legend, crosswalk=crosswalk, field=field)
    frame = frame.to_crs(str(grid.crs))
    is_area = is_polygon(frame)
    if not is_area.any():
        raise EvaluationError(f"{label} has no polygons with a class that is compared. Check what it holds.")
    frame, values = frame[is_area], values[is_area]
    notes = [f"{len(frame):,} polygons of {label} were burned by pixel centre."]
    if not is_area.all():
        notes.append(f"{(~is_area).sum():,} features of {label} are no polygons, left out.")
    index = frame.sindex
    shapes = frame.geometry.to_numpy()

    def read(window: Window) -> NDArray[np.int32]:
        there = window_geobox(grid, window)
        hits = np.sort(index.query(there.extent.geom))
        if not len(hits):
            return np.full((window.height, window.width), IGNORED, np.int32)
        return np.asarray(
            rasterize(
                zip(shapes[hits], values[hits].tolist(), strict=True),
                out_shape=(window.height, window.width),
                transform=there.affine,
                fill=int(IGNORED),
                dtype="int32",
            )
        )

    return Reference(read, tuple(notes))


def read_features(path: Path) -> gpd.GeoDataFrame:
    """All features of a vector file, with attributes.

    Raises:
        EvaluationError: it cannot be read, or has no CRS.
    """
    try:
        if path.suffix.lower() == ".parquet":
            frame = gpd.read_parquet(path)
        else:
            layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
            if len(layers) > 1:
                raise EvaluationError(
                    f"{path} has {len(layers)} layers ({', '.join(layers)}), expected one. Save the one that "
                    "is meant to a file of its own."
                )
            frame = pyogrio.read_dataframe(path, layer=layers[0] if layers else None)
    except (OSError, ValueError, DataSourceError) as error:
        raise EvaluationError(f"{path} cannot be read: {' '.join(str(error).split())}.") from None
    if not isinstance(frame, gpd.GeoDataFrame):
        raise EvaluationError(f"{path} is a table without geometries. Give a layer of polygons or points.")
    if frame.crs is None:
        raise EvaluationError(f"{path} does not say its CRS. Save it with one.")
    return frame


def is_polygon(frame: gpd.GeoDataFrame) -> NDArray[np.bool_]:
    """(feature,) whether it has an area."""
    found: NDArray[np.bool_] = frame.geom_type.isin(["Polygon", "MultiPolygon"]).to_numpy()
    return found


def usual_field(frame: gpd.GeoDataFrame) -> str | None:
    """The attribute with a usual name for classes; None where there is none."""
    return next((name for name in _FIELDS if name in frame.columns), None)


def names_of(frame: gpd.GeoDataFrame, field: str) -> pd.Series:
    """A field's values as text, whole numbers without a point."""
    return frame[field].map(lambda v: str(int(v)) if isinstance(v, float) and v.is_integer() else str(v))


class PlacesOf:
    """Polygons that are scored one by one: their names, and which of them holds a pixel or a point."""

    def __init__(self, path: Path, *, crs: str, field: str | None = None) -> None:
        """Places of a vector file.

        Args:
            path: polygons.
            crs: of what is placed.
            field: the attribute that names them; None for their numbers.

        Raises:
            EvaluationError: it cannot be read, or has no such field.
        """
        self._frame = read_features(path).to_crs(crs).reset_index(drop=True)
        if field is not None and field not in self._frame.columns:
            columns = ", ".join(str(c) for c in self._frame.columns if c != self._frame.geometry.name)
            raise EvaluationError(f"{path.name} has no field {field!r}. It has: {columns}.")
        self.names = [str(v) for v in (self._frame[field] if field else self._frame.index)]

    def burn(self, there: GeoBox) -> NDArray[np.int32]:
        """(y, x) number of the place that holds a pixel's centre, the later one of two; -1 for none."""
        hits = np.sort(self._frame.sindex.query(there.extent.geom))
        if not len(hits):
            return np.full(there.shape, -1, np.int32)
        shapes = zip(self._frame.geometry.to_numpy()[hits], hits.tolist(), strict=True)
        burned: NDArray[np.int32] = rasterize(
            shapes, out_shape=there.shape, transform=there.affine, fill=-1, dtype="int32"
        )
        return burned

    def at(self, points: gpd.GeoSeries) -> NDArray[np.int32]:
        """(point,) number of the place that holds it, the later one of two; -1 for none."""
        point, place = self._frame.sindex.query(points, predicate="intersects")
        found = np.full(len(points), -1, np.int32)
        np.maximum.at(found, point, place.astype(np.int32))
        return found


def classes_of(
    frame: gpd.GeoDataFrame, *, label: str, legend: Legend, crosswalk: Crosswalk, field: str | None
) -> tuple[gpd.GeoDataFrame, NDArray[np.int32]]:
    """Features with a class that is compared, and its index.

    Raises:
        EvaluationError: there is no such field, or a class is unknown.
    """
    name = _field_of(frame, field, label)
    frame = frame[frame.geometry.notna() & frame[name].notna()]
    texts = names_of(frame, name)
    known = {c.name: c.name for c in legend.classes} | {str(c.value): c.name for c in legend.classes}
    kinds = sorted(texts.unique())
    named = {
        n: kind if crosswalk.reference else known.get(kind, kind) for n, kind in enumerate(kinds, NO_VALUE)
    }
    meant = meaning_of(named, crosswalk.reference, legend, what="reference")
    order = {value: n for n, value in enumerate(legend.values)}
    lookup = {kind: order[meant[n]] if n in meant else IGNORED for n, kind in enumerate(kinds, NO_VALUE)}
    classes = texts.map(lookup).to_numpy(np.int32)
    kept = classes != IGNORED
    return frame[kept], classes[kept]


def _field_of(frame: gpd.GeoDataFrame, field: str | None, label: str) -> str:
    columns = [str(c) for c in frame.columns if c != frame.geometry.name]
    if field is not None and field not in columns:
        raise EvaluationError(f"{label} has no field {field!r}. It has: {', '.join(columns) or 'none'}.")
    usual = field or usual_field(frame) or (columns[0] if len(columns) == 1 else None)
    if usual is None:
        raise EvaluationError(
            f"Which field of {label} says the class? Give --field, one of: {', '.join(columns) or 'none'}."
        )
    return usual
