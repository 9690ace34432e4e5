"""THE grid of a map: which CRS, which pixel size, where pixel edges fall."""

import math
from collections.abc import Callable, Mapping

import shapely
from affine import Affine
from odc.geo import crs as odc_crs
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio.windows import Window

from geoseg.aoi import to_degrees
from geoseg.errors import RecipeError
from geoseg.grid.equal_area import equal_area_of
from geoseg.lonlat import WGS84, is_finite, join, polygons_of, reproject

_SNAP_TOLERANCE = 1e-4
"""Edges nearer than this part of a pixel to the grid count as on it."""
_LATTICE_TOLERANCE = 7.07e-4
"""Part of a pixel by which rounding may move a corner; no grid is anchored just this far off a pixel."""

_LONGEST_CODE = 20
_SAME_PIXEL = 1e-3
"""Part of a pixel by which corners may differ and still count as one."""


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
            ``equal-area`` for a CRS in which hectares are true (see ``equal_area_of``), or a projected CRS in
            metres.
        anchor: a point (x, y) in ``crs`` on which a pixel corner falls; Landsat's UTM grids need (15, 15).

    Raises:
        RecipeError: for an unknown CRS, one not in metres, one that cannot hold the area, or a ``gsd_m`` that
            is not positive.

    Example:
        >>> from odc.geo.geom import box
        >>> geobox_for(box(500003, 9100004, 500027, 9100031, "EPSG:32725"), gsd_m=10, crs="EPSG:32725").shape
        Shape2d(x=3, y=4)
    """
    if not 0 < gsd_m < math.inf:
        raise RecipeError(f"--gsd {gsd_m:g} is not a pixel size. Give metres, such as 10.")
    code = CRS_WORDS[crs](aoi) if crs in CRS_WORDS else _metric(crs)
    west, south, east, north = project(aoi, code).boundingbox.bbox
    left = math.floor((west - anchor[0]) / gsd_m + _SNAP_TOLERANCE)
    right = math.ceil((east - anchor[0]) / gsd_m - _SNAP_TOLERANCE)
    bottom = math.floor((south - anchor[1]) / gsd_m + _SNAP_TOLERANCE)
    top = math.ceil((north - anchor[1]) / gsd_m - _SNAP_TOLERANCE)
    shape = (max(top - bottom, 1), max(right - left, 1))
    transform = Affine(gsd_m, 0, anchor[0] + left * gsd_m, 0, -gsd_m, anchor[1] + top * gsd_m)
    return GeoBox(shape, transform, code)


def project(aoi: Geometry, crs: str) -> Geometry:
    """The area in ``crs`` with edges densified; halves on both sides of the antimeridian are joined.

    Raises:
        RecipeError: part of the area is too far from where ``crs`` holds.
    """
    if aoi.crs is None or aoi.crs == crs:
        return aoi
    target = odc_crs.CRS(crs)
    whole = join(aoi.geom) if aoi.crs.geographic and _is_continuous_at_180(target, aoi) else aoi.geom
    moved = reproject(whole, aoi.crs, target)
    if not is_finite(moved):
        raise RecipeError(
            f"Part of the area cannot be shown in {crs_title(crs)}: it is too far from where that CRS holds. "
            "Take a smaller area, or a --crs for all of it, such as equal-area."
        )
    return Geometry(polygons_of(moved), crs=target)


def utm_of(aoi: Geometry) -> str:
    """EPSG code of the UTM zone (WGS 84) that holds the centroid of ``aoi``, as ``EPSG:32725``."""
    lon, lat = join(to_degrees(aoi).geom).centroid.coords[0]
    if lat > 84:
        return "EPSG:3413"
    if lat < -80:
        return "EPSG:3031"
    zone = int((lon + 180) // 6) % 60 + 1
    return f"EPSG:{326 if lat >= 0 else 327}{zone:02d}"


CRS_WORDS: Mapping[str, Callable[[Geometry], str]] = {"utm": utm_of, "equal-area": equal_area_of}
"""What ``--crs`` takes beside codes: words that mean a CRS made for the area."""


def crs_title(crs: str) -> str:
    """A CRS for people: its code, or the name within its WKT where it has one."""
    name = "unknown" if len(crs) <= _LONGEST_CODE else str(CRS.from_user_input(crs).name)
    return crs if name == "unknown" else name


def window_geobox(geobox: GeoBox, window: Window) -> GeoBox:
    """The grid of a pixel rectangle of ``geobox``; it may lie partly or wholly outside."""
    transform = geobox.affine * Affine.translation(window.col_off, window.row_off)
    return GeoBox((window.height, window.width), transform, geobox.crs)


def lattice_origin(geobox: GeoBox) -> tuple[int, int]:
    """(row, col) of the geobox's first pixel, counted from the CRS origin, rows downwards."""
    a = geobox.affine
    return math.floor(a.f / a.e + _LATTICE_TOLERANCE), math.floor(a.c / a.a + _LATTICE_TOLERANCE)


def offset_between(here: GeoBox, there: GeoBox) -> tuple[int, int] | None:
    """(row, col) in ``here`` of the first pixel of ``there``; None where their pixels do not coincide.

    Pixels coincide where no corner of ``there`` is off by more than a thousandth of a pixel.

    Example:
        >>> from odc.geo.geobox import GeoBox
        >>> here = GeoBox.from_bbox((0, 0, 1000, 1000), "EPSG:32725", resolution=10)
        >>> offset_between(here, window_geobox(here, Window(3, 2, 10, 10)))
        (2, 3)
    """
    if here.crs != there.crs:
        return None
    to_here = ~here.affine * there.affine
    col, row = round(to_here.c), round(to_here.f)
    height, width = there.shape
    for x, y in ((0, 0), (width, 0), (0, height), (width, height)):
        at_x, at_y = to_here * (x, y)
        if max(abs(at_x - x - col), abs(at_y - y - row)) > _SAME_PIXEL:
            return None
    return row, col


def is_same_grid(one: GeoBox, other: GeoBox) -> bool:
    """Whether two grids have the same pixels."""
    return one.shape == other.shape and offset_between(one, other) == (0, 0)


def snap_out(geobox: GeoBox, window: Window, cell: int) -> Window:
    """The smallest rectangle of whole cells that holds ``window``; cells are counted from the CRS origin."""
    row0, col0 = lattice_origin(geobox)
    top, left = (window.row_off + row0) // cell * cell, (window.col_off + col0) // cell * cell
    bottom = -(-(window.row_off + window.height + row0) // cell) * cell
    right = -(-(window.col_off + window.width + col0) // cell) * cell
    return Window(left - col0, top - row0, right - left, bottom - top)


def _metric(crs: str) -> str:
    try:
        parsed = CRS.from_user_input(crs)
    except CRSError:
        raise RecipeError(
            f"--crs {crs} is not a CRS. Give a code such as EPSG:32725, utm or equal-area."
        ) from None
    if not parsed.is_projected or parsed.axis_info[0].unit_name not in ("metre", "meter"):
        raise RecipeError(
            f"--crs {crs} is not in metres. Areas need a projected CRS: give --crs utm, equal-area or a "
            "metric code."
        )
    return parsed.to_string()


def _is_continuous_at_180(crs: odc_crs.CRS, aoi: Geometry) -> bool:
    """Whether ``crs`` shows both sides of the antimeridian side by side (Mercator does not)."""
    latitude = (aoi.geom.bounds[1] + aoi.geom.bounds[3]) / 2
    sides = shapely.LineString([(179.999, latitude), (-179.999, latitude)])
    there = shapely.transform(sides, WGS84.transformer_to_crs(crs), interleaved=False)
    return bool(there.length < 1e6)
