"""Vector files in an evaluation: features, the class of each, and the places they are scored in."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyogrio.errors import DataSourceError
from rasterio.features import rasterize
from rasterio.windows import Window

from geoseg.errors import EvaluationError, one_line
from geoseg.evaluation.confusion import IGNORED
from geoseg.evaluation.maps import Compared, Crosswalk, meaning_of, unused_keys
from geoseg.evaluation.reading import Reader, by_cells

VECTORS = (".gpkg", ".geojson", ".json", ".shp", ".parquet", ".fgb", ".kml")
NO_VALUE = 1 << 40
"""From here on names of classes are numbered where they have no values that a crosswalk could mean."""
_FIELDS = ("class_name", "class_id", "class", "label", "reference_class")


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
        raise EvaluationError(f"{path} cannot be read: {one_line(error)}.") from None
    if not isinstance(frame, gpd.GeoDataFrame):
        raise EvaluationError(f"{path} is a table without geometries. Give a layer of polygons or points.")
    if frame.crs is None:
        raise EvaluationError(f"{path} does not say its CRS. Save it with one.")
    return frame


def single_points(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Multipoints as points with the same attributes; features without a geometry come first."""
    if not (frame.geom_type == "MultiPoint").any():
        return frame
    lacking = frame.geometry.isna()
    return pd.concat([frame[lacking], frame[~lacking].explode()], ignore_index=True)


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


def burner(shapes: NDArray[np.object_], values: NDArray[np.int32], *, grid: GeoBox, fill: int) -> Reader:
    """What reads the value of the shape that holds a pixel's centre, the later one of two; ``fill`` for none.

    Shapes are moved to pixels of the grid once, and from there by whole pixels, which rounds nothing.

    Args:
        shapes: polygons in the CRS of the grid.
        values: one for each.
        grid: whose windows are read.
        fill: where there is no shape.
    """
    to_pixels = ~grid.affine
    there = shapely.transform(shapes, lambda xy: np.column_stack(to_pixels * (xy[:, 0], xy[:, 1])))
    index = shapely.STRtree(there)

    def burn(window: Window) -> NDArray[np.int32]:
        left, top = window.col_off, window.row_off
        shape = (window.height, window.width)
        hits = np.sort(index.query(shapely.box(left, top, left + window.width, top + window.height)))
        if not len(hits):
            return np.full(shape, fill, np.int32)
        return np.asarray(
            rasterize(
                zip(there[hits], values[hits].tolist(), strict=True),
                out_shape=shape,
                transform=Affine.translation(left, top),
                fill=fill,
                dtype="int32",
            )
        )

    return by_cells(burn, grid.shape)


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
        frame = read_features(path)
        if not frame.geom_type.isin(["Polygon", "MultiPolygon"]).any():
            raise EvaluationError(f"{path.name} has no polygons. Places are areas: give polygons.")
        self._frame = frame.to_crs(crs).reset_index(drop=True)
        if field is not None and field not in self._frame.columns:
            columns = ", ".join(str(c) for c in self._frame.columns if c != self._frame.geometry.name)
            raise EvaluationError(f"{path.name} has no field {field!r}. It has: {columns}.")
        each = [str(v) for v in (self._frame[field] if field else self._frame.index)]
        self.names = list(dict.fromkeys(each))
        """Polygons of one name are one place."""
        self._number = np.array([self.names.index(name) for name in each], np.int32)

    def on(self, grid: GeoBox) -> Reader:
        """What reads the number of the place that holds a pixel's centre, the later one of two; -1 for none.

        Args:
            grid: in the CRS of the places.
        """
        return burner(self._frame.geometry.to_numpy(), self._number, grid=grid, fill=-1)

    def at(self, points: gpd.GeoSeries) -> NDArray[np.int32]:
        """(point,) number of the place that holds it, the later one of two; -1 for none."""
        point, place = self._frame.sindex.query(points, predicate="intersects")
        found = np.full(len(points), -1, np.int32)
        np.maximum.at(found, point, place.astype(np.int32))
        return np.where(found < 0, np.int32(-1), self._number[found])


def classes_of(
    frame: gpd.GeoDataFrame, *, label: str, classes: Compared, crosswalk: Crosswalk, field: str | None
) -> tuple[gpd.GeoDataFrame, NDArray[np.int32], tuple[str, ...]]:
    """Features with a class that is compared, its index, and what is to be said.

    Raises:
        EvaluationError: there is no such field, or a class is unknown.
    """
    if frame.empty:
        raise EvaluationError(f"{label} holds no features. Give the file that was labelled.")
    name, n = _field_of(frame, field, label), len(frame)
    frame = frame[frame.geometry.notna() & frame[name].notna()]
    texts = names_of(frame, name)
    kinds = sorted(texts.unique())
    meant = meaning_of(own_names(kinds, classes, crosswalk), crosswalk.reference, classes, what="reference")
    order = {value: n for n, value in enumerate(classes.legend.values)}
    lookup = {kind: order[meant[n]] if n in meant else IGNORED for n, kind in enumerate(kinds, NO_VALUE)}
    notes = unused_keys(crosswalk.reference, kinds, label)
    if len(frame) < n:
        notes = (*notes, f"{n - len(frame):,} features of {label} have no {name}, or no place: left out.")
    indices = texts.map(lookup).to_numpy(np.int32)
    kept = indices != IGNORED
    return frame[kept], indices[kept], notes


def own_names(kinds: list[str], classes: Compared, crosswalk: Crosswalk) -> dict[int, str]:
    """Names or values in a field, numbered from :data:`NO_VALUE`; values of the prediction by their name.

    A name goes before a value, and a crosswalk of the reference before both.
    """
    known = {str(value): name for value, name in classes.names.items()}
    known |= {c.name: c.name for c in classes.legend.classes}
    return {
        n: kind if crosswalk.reference else known.get(kind, kind) for n, kind in enumerate(kinds, NO_VALUE)
    }


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
