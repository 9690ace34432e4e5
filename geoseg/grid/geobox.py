"""THE grid of a map: which CRS, which pixel size, where pixel edges fall."""

import math

import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from pyproj import CRS
from pyproj.aoi import AreaOfInterest
from pyproj.database import query_utm_crs_info
from pyproj.exceptions import CRSError
from rasterio.windows import Window

from geoseg.errors import RecipeError

_SNAP_TOLERANCE = 1e-4
"""Edges nearer than this part of a pixel to the grid count as on it."""


def geobox_for(
    aoi: Geometry, *, gsd_m: float, crs: str = "utm", anchor: tuple[float, float] = (0.0, 0.0)
) -> GeoBox:
    """The smallest grid of square pixels that covers ``aoi``, its edges on the lattice of all such grids.

    Two areas in one CRS with one ``gsd_m`` and ``anchor`` get pixels that coincide wherever they overlap,
    whatever their offsets.

    Args:
        aoi: a geometry in any CRS.
        gsd_m: side of a pixel, metres.
        crs: ``utm`` for the UTM zone of the area's centroid (polar stereographic beyond 84° N and 80° S),
            or a projected CRS in metres.
        anchor: a point (x, y) in ``crs`` on which a pixel corner falls; Landsat's UTM grids need (15, 15).

    Raises:
        RecipeError: for an unknown CRS, one in degrees, or a ``gsd_m`` that is not positive.

    Example:
        >>> from odc.geo.geom import box
        >>> geobox_for(box(500003, 9100004, 500027, 9100031, "EPSG:32725"), gsd_m=10, crs="EPSG:32725").shape
        Shape2d(x=3, y=4)
    """
    if not gsd_m > 0:
        raise RecipeError(f"--gsd {gsd_m:g} is not a pixel size. Give metres, such as 10.")
    code = utm_of(aoi) if crs == "utm" else _metric(crs)
    west, south, east, north = project(aoi, code).boundingbox.bbox
    left = math.floor((west - anchor[0]) / gsd_m + _SNAP_TOLERANCE)
    right = math.ceil((east - anchor[0]) / gsd_m - _SNAP_TOLERANCE)
    bottom = math.floor((south - anchor[1]) / gsd_m + _SNAP_TOLERANCE)
    top = math.ceil((north - anchor[1]) / gsd_m - _SNAP_TOLERANCE)
    shape = (max(top - bottom, 1), max(right - left, 1))
    transform = Affine(gsd_m, 0, anchor[0] + left * gsd_m, 0, -gsd_m, anchor[1] + top * gsd_m)
    return GeoBox(shape, transform, code)


def project(aoi: Geometry, crs: str) -> Geometry:
    """The area in ``crs`` with edges densified; halves on both sides of the antimeridian are joined."""
    if aoi.crs == crs:
        return aoi
    step = 0.01 if aoi.crs.geographic else 1000.0
    parts = [Geometry(p, crs=aoi.crs).to_crs(crs, resolution=step).geom for p in shapely.get_parts(aoi.geom)]
    # A millimetre closes the slit that rounding leaves along the antimeridian.
    merged = shapely.union_all(shapely.make_valid(np.array(parts, dtype=object)), grid_size=1e-3)
    return Geometry(merged, crs=crs)


def utm_of(aoi: Geometry) -> str:
    """EPSG code of the UTM zone (WGS 84) that holds the centroid of ``aoi``, as ``EPSG:32725``."""
    degrees = aoi if aoi.crs == "EPSG:4326" else aoi.to_crs("EPSG:4326")
    geometry = degrees.geom
    if geometry.bounds[2] - geometry.bounds[0] > 180:
        geometry = shapely.transform(geometry, lambda xy: np.column_stack([xy[:, 0] % 360, xy[:, 1]]))
    lon, lat = geometry.centroid.coords[0]
    lon = (lon + 180) % 360 - 180
    if lat > 84:
        return "EPSG:3413"
    if lat < -80:
        return "EPSG:3031"
    zones = query_utm_crs_info(datum_name="WGS 84", area_of_interest=AreaOfInterest(lon, lat, lon, lat))
    return f"EPSG:{zones[0].code}"


def window_geobox(geobox: GeoBox, window: Window) -> GeoBox:
    """The grid of a pixel rectangle of ``geobox``; it may lie partly or wholly outside."""
    transform = geobox.affine * Affine.translation(window.col_off, window.row_off)
    return GeoBox((window.height, window.width), transform, geobox.crs)


def lattice_origin(geobox: GeoBox) -> tuple[int, int]:
    """(row, col) of the geobox's first pixel, counted from the CRS origin, rows downwards."""
    a = geobox.affine
    return math.floor(a.f / a.e + 1e-3), math.floor(a.c / a.a + 1e-3)


def pixel_area_m2(geobox: GeoBox) -> float:
    """Area of one pixel in the plane of its CRS, m²."""
    return float(abs(geobox.affine.determinant))


def _metric(crs: str) -> str:
    try:
        parsed = CRS.from_user_input(crs)
    except CRSError:
        raise RecipeError(f"--crs {crs} is not a CRS. Give a code such as EPSG:32725, or utm.") from None
    if not parsed.is_projected or parsed.axis_info[0].unit_name not in ("metre", "meter"):
        raise RecipeError(
            f"--crs {crs} is not in metres. Areas need a projected CRS: give --crs utm or a metric code."
        )
    return parsed.to_string()


def snap_out(geobox: GeoBox, window: Window, cell: int) -> Window:
    """The smallest rectangle of whole cells that holds ``window``; cells are counted from the CRS origin."""
    row0, col0 = lattice_origin(geobox)
    top, left = (window.row_off + row0) // cell * cell, (window.col_off + col0) // cell * cell
    bottom = -(-(window.row_off + window.height + row0) // cell) * cell
    right = -(-(window.col_off + window.width + col0) // cell) * cell
    return Window(left - col0, top - row0, right - left, bottom - top)
