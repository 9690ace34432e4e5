"""What a class map itself says: pixel-counted areas, whole and by region, and its classes at points."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyogrio.errors import DataLayerError, DataSourceError

from geoseg.errors import EvaluationError, one_line
from geoseg.evaluation.areas.frames import M2_PER_HA, SIDE, check_known, opened, plane_notes
from geoseg.evaluation.features import burner
from geoseg.evaluation.maps import legend_of
from geoseg.evaluation.reading import Reader, windows_of
from geoseg.grid.ground import row_areas_m2
from geoseg.legend import CLASS_NODATA, Legend

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_OVERLAP_SHARE = 1e-6
"""Regions that share less of their area share no more than crumbs of digitising."""


@dataclass(frozen=True)
class MapSurvey:
    """Areas by counting pixels, and classes and regions of points."""

    legend: Legend
    """The classes of the map."""
    pixels: Ints
    """(256,) pixels of each value."""
    area_ha: Floats
    """(256,) their hectares."""
    region_area_ha: Floats
    """(region, 256) hectares of each value in each region."""
    class_at: Ints
    """(point,) value of the map at each point; 255 for no class or outside."""
    region_at: Ints
    """(point,) number of the region that holds the point's pixel; -1 for none."""
    notes: tuple[str, ...]
    """What people should know about the areas."""


def survey_map(
    path: Path,
    *,
    legend: Path | None = None,
    places: gpd.GeoSeries | None = None,
    regions: gpd.GeoDataFrame | None = None,
) -> MapSurvey:
    """Read a class map once, block by block; memory does not grow with it.

    A pixel belongs to the region that holds its centre, the later one where two do.

    Args:
        path: uint8 classes, 255 = nodata.
        legend: names of its values, where it has none itself.
        places: points; without a CRS they are in that of the map. None for none.
        regions: polygons in the order of their numbers, see :func:`read_regions`; None for none.

    Raises:
        EvaluationError: the map cannot be used.
    """
    n_regions = 0 if regions is None else len(regions)
    area_m2, pixels = np.zeros((n_regions + 1, 256)), np.zeros(256, np.int64)
    with opened(path) as (geobox, read):
        own = legend_of(path, legend)
        rows, cols = _pixels_of(places, geobox)
        class_at, region_at = np.full(len(rows), CLASS_NODATA, np.int64), np.full(len(rows), -1, np.int64)
        burn, region_notes = _burner_of(regions, geobox)
        row_m2 = row_areas_m2(geobox)
        for window in windows_of(*geobox.shape, size=SIDE):
            top, left = window.row_off, window.col_off
            values = read(window)[1]
            burned = burn(window)  # (y, x), 0 for no region
            here = np.flatnonzero(
                (rows >= top) & (rows < top + window.height) & (cols >= left) & (cols < left + window.width)
            )
            at = rows[here] - top, cols[here] - left
            class_at[here], region_at[here] = values[at], burned[at] - 1
            if (values == CLASS_NODATA).all():
                continue
            pixels += np.bincount(values.ravel(), minlength=256)
            area_m2 += _areas(values, burned, row_m2[top : top + window.height], n_regions + 1)
    area_m2[:, CLASS_NODATA], pixels[CLASS_NODATA] = 0, 0
    check_known(np.flatnonzero(pixels).tolist(), own, path)
    return MapSurvey(
        legend=own,
        pixels=pixels,
        area_ha=area_m2.sum(axis=0) / M2_PER_HA,
        region_area_ha=area_m2[1:] / M2_PER_HA,
        class_at=class_at,
        region_at=region_at,
        notes=(*plane_notes(geobox), *region_notes),
    )


def read_regions(source: str, field: str | None) -> gpd.GeoDataFrame:
    """Polygons, one row a region, with the column ``region``, their name.

    Args:
        source: a vector file, or ``file.gpkg|layername=districts``.
        field: attribute with the name of the region; features of one name are one region.

    Raises:
        EvaluationError: it cannot be read, has no such field, no polygons or no CRS.
    """
    name, _, layer = source.partition("|layername=")
    path = Path(name)
    hint = "Give --regions a vector file with polygons and --region-field the attribute that names them."
    try:
        with warnings.catch_warnings():  # of several layers, which the message below says better
            warnings.simplefilter("ignore")
            layers = [str(n) for n, kind in pyogrio.list_layers(path) if kind is not None]
            if not layer and len(layers) > 1:
                raise ValueError(
                    f"it has the layers {', '.join(layers)}; name one: '{name}|layername={layers[0]}'"
                )
            frame = pyogrio.read_dataframe(path, layer=layer or None)
    except (OSError, ValueError, DataSourceError, DataLayerError) as error:
        raise EvaluationError(f"Cannot read {name}: {one_line(error)}. {hint}") from None
    columns = [c for c in frame.columns if c != "geometry"]
    if field is None or field not in columns:
        asked = "No field names the regions" if field is None else f"{path.name} has no field {field!r}"
        raise EvaluationError(f"{asked}. It has: {', '.join(columns) or 'none'}. {hint}")
    if frame.crs is None:
        raise EvaluationError(f"{path.name} does not say its CRS. Save it with one.")
    is_area = frame.geom_type.isin(["Polygon", "MultiPolygon"]) & frame[field].notna()
    if not is_area.any():
        raise EvaluationError(f"{path.name} has no polygon with a {field}. {hint}")
    frame = frame.loc[is_area, [field, "geometry"]].rename(columns={field: "region"})
    frame["region"] = frame.region.astype(str)
    frame.geometry = shapely.make_valid(frame.geometry.to_numpy())
    return frame.dissolve(by="region", sort=False).reset_index()


def _burner_of(regions: gpd.GeoDataFrame | None, geobox: GeoBox) -> tuple[Reader, tuple[str, ...]]:
    """What reads numbers of regions, 1 .. n and 0 for none, and what is to be said of them."""
    shapes = np.empty(0, object) if regions is None else regions.to_crs(str(geobox.crs)).geometry.to_numpy()
    numbers = np.arange(1, len(shapes) + 1, dtype=np.int32)
    twice = shapely.area(shapes).sum() - shapely.union_all(shapes).area
    notes = []
    if len(shapes) and twice > _OVERLAP_SHARE * shapely.area(shapes).sum():
        notes.append("Some regions overlap: a pixel in two of them is counted in the one that comes later.")
    return burner(shapes, numbers, grid=geobox, fill=0), tuple(notes)


def _areas(values: NDArray[np.uint8], burned: NDArray[np.int32], row_m2: Floats, n_regions: int) -> Floats:
    """(region, 256) m² of each value in each region of a window."""
    joint = burned.astype(np.int64) * 256 + values
    if (row_m2 == row_m2[0]).all():
        counted = np.bincount(joint.ravel(), minlength=n_regions * 256) * row_m2[0]
    else:
        weights = np.repeat(row_m2, values.shape[1])
        counted = np.bincount(joint.ravel(), weights, minlength=n_regions * 256)
    return np.asarray(counted.reshape(n_regions, 256), np.float64)


def _pixels_of(places: gpd.GeoSeries | None, geobox: GeoBox) -> tuple[Ints, Ints]:
    """Rows and columns of points; -1 where a point has no coordinates."""
    if places is None:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    here = places if places.crs is None else places.to_crs(str(geobox.crs))
    if not here.geom_type.dropna().eq("Point").all():
        raise EvaluationError(
            "The sample holds geometries that are no single points. Give one point a label."
        )
    col, row = ~geobox.affine * (here.x.to_numpy(), here.y.to_numpy())
    is_there = np.isfinite(col) & np.isfinite(row)
    rows, cols = (np.where(is_there, np.floor(v), -1).astype(np.int64) for v in (row, col))
    return rows, cols
