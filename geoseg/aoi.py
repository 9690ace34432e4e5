"""The area asked for: any vector file, a bounding box or GeoJSON text becomes one valid geometry."""

import warnings

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo import crs as odc_crs
from odc.geo.geom import Geometry
from pyproj import CRS
from pyproj.exceptions import CRSError
from shapely.geometry.base import BaseGeometry

from geoseg.errors import AoiError, GeosegWarning
from geoseg.lonlat import WGS84, area_m2, has_leap, is_finite, polygons_of, to_lonlat, wrap
from geoseg.recipe import MAX_AREA_KM2
from geoseg.vectors import read_features

_MAX_DEGREES = 360.0
_MAX_COORDINATE = 1e8
_MIN_AREA_KM2 = 1e-8


def read_aoi(source: str, *, crs: str | None = None, max_area_km2: float = MAX_AREA_KM2) -> Geometry:
    """The union of all polygons of ``source``, valid, with its CRS.

    Args:
        source: a vector file of any kind GDAL reads, GeoParquet, ``file.gpkg|layername=fields``,
            ``-`` for GeoJSON on standard input, GeoJSON text, or ``west,south,east,north`` in degrees
            (west > east crosses the antimeridian). Behind a file, ``|name=Olinda`` takes only the features
            whose attribute ``name`` is that.
        crs: the CRS of a source that does not say its own, such as ``EPSG:31985``.
        max_area_km2: a larger area is refused, so that a slip does not start a day of work.

    Returns:
        A polygon or multipolygon. In geographic CRSs longitudes lie in -180..180: an area across the
        antimeridian is split there (RFC 7946, section 3.1.9). Heights are dropped; a geographic CRS that
        does not count degrees from Greenwich becomes EPSG:4326.

    Raises:
        AoiError: one line that says what is wrong and how to mend it.

    Warns:
        GeosegWarning: when rings were repaired, features without polygons were left out, or ``crs`` was not
            needed.

    Example:
        >>> read_aoi("-34.95,-8.05,-34.85,-7.95").geom_type
        'Polygon'
    """
    frame, label = read_features(source)
    said = _crs_of(frame, crs, label)
    polygons = _polygons(frame, label)
    if said.is_geographic and not _is_in_degrees(said):
        polygons = shapely.get_parts([to_lonlat(p, odc_crs.CRS(said)) for p in polygons])
        said = WGS84.proj
    _check_coordinates(polygons, said, label)
    try:
        aoi = Geometry(_union(polygons, said, label), crs=said.to_string())
    except shapely.errors.GEOSException:
        raise AoiError(f"{label} has outlines that cannot be repaired. Redraw the polygon.") from None
    size_km2 = area_km2(aoi)
    if size_km2 < _MIN_AREA_KM2:
        raise AoiError(f"{label} encloses no area. Draw a polygon with at least three corners.")
    if size_km2 > max_area_km2:
        raise AoiError(
            f"{label} is {size_km2:,.0f} km², more than --max-area-km2 {max_area_km2:,.0f}. "
            "Take a smaller area, or raise the limit if that is what you want."
        )
    return aoi


def area_km2(aoi: Geometry) -> float:
    """Area on the WGS 84 ellipsoid, km²."""
    return area_m2(to_degrees(aoi).geom) / 1e6


def to_degrees(aoi: Geometry) -> Geometry:
    """The area in EPSG:4326, split at the antimeridian, edges densified so that they stay where they were.

    Raises:
        AoiError: it has coordinates that mean no place in its CRS.
    """
    if aoi.crs is None or aoi.crs == WGS84:
        return aoi
    moved = to_lonlat(aoi.geom, aoi.crs)
    if not is_finite(moved):
        raise AoiError(
            f"An area with coordinates such as {aoi.geom.bounds[0]:g}, {aoi.geom.bounds[1]:g} is nowhere in "
            f"{_name(aoi.crs.proj)}. Save it with its true CRS, then give it again."
        )
    return Geometry(moved, crs=WGS84)


def swapped(aoi: Geometry) -> Geometry | None:
    """The area with longitude and latitude exchanged, or None where that is not a place."""
    degrees = to_degrees(aoi).geom
    if max(abs(degrees.bounds[0]), abs(degrees.bounds[2])) > 90:
        return None
    return Geometry(shapely.transform(degrees, lambda xy: xy[:, ::-1]), crs=WGS84)


# --- checking and mending ------------------------------------------------------------------------


def _crs_of(frame: gpd.GeoDataFrame, crs: str | None, label: str) -> CRS:
    """The horizontal CRS of what was read, or the one given for it."""
    try:
        given = None if crs is None else CRS.from_user_input(crs)
    except CRSError:
        raise AoiError(f"--aoi-crs {crs} is not a CRS. Give a code such as EPSG:32725.") from None
    said = given if frame.crs is None else frame.crs
    if said is None:
        raise AoiError(f"{label} does not say its CRS. Add it: --aoi-crs EPSG:4326 (or what it is in).")
    if given is not None and not said.equals(given, ignore_axis_order=True):
        _warn(f"{label} says it is in {_name(said)}; --aoi-crs {crs} is not used.")
    flat = (said.sub_crs_list[0] if said.is_compound else said).to_2d()
    if not (flat.is_geographic or flat.is_projected):
        raise AoiError(f"{label} is in {_name(said)}, which is no map of the Earth. Save it in EPSG:4326.")
    return flat


def _name(crs: CRS) -> str:
    text = crs.to_string()
    return text if len(text) < 30 else crs.name


def _is_in_degrees(crs: CRS) -> bool:
    meridian = crs.prime_meridian
    return crs.axis_info[0].unit_name == "degree" and meridian is not None and meridian.longitude == 0


def _polygons(frame: gpd.GeoDataFrame, label: str) -> NDArray[np.object_]:
    """What has an area, or may have one once repaired; all coordinates are numbers."""
    if len(frame) == 0:
        raise AoiError(f"{label} has no features. Draw a polygon in it, or give --bbox.")
    geometries = frame.geometry.to_numpy()
    is_there = ~(shapely.is_missing(geometries) | shapely.is_empty(geometries))
    if not is_there.any():
        raise AoiError(f"{label}: none of its {len(frame)} features has a geometry. Draw a polygon in it.")
    if not is_there.all():
        _warn(f"{label}: {int((~is_there).sum())} of {len(frame)} features have no geometry, left out.")
    parts = shapely.force_2d(geometries[is_there])
    while (shapely.get_type_id(parts) > 3).any():  # multi-geometries and collections, which may be nested
        parts = shapely.get_parts(parts)
    far = np.abs(shapely.get_coordinates(parts)).max()
    if not np.isfinite(far):
        raise AoiError(f"{label} has coordinates that are not finite numbers. Mend or redraw the polygon.")
    if far > _MAX_COORDINATE:
        raise AoiError(
            f"{label} has coordinates up to {far:.3g}, beyond the Earth. Mend or redraw the polygon."
        )
    is_polygon = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
    if not is_polygon.any():
        kinds = sorted({g.geom_type for g in parts})
        raise AoiError(
            f"{label} holds {' and '.join(kinds)}, not polygons. Buffer it first (in QGIS: Vector, "
            "Geoprocessing Tools, Buffer), or give --bbox."
        )
    if not is_polygon.all():
        _warn(f"{label}: {int((~is_polygon).sum())} point(s) or line(s) have no area, left out.")
    # Numbers next to zero (1e-160) mean nothing, but overlay stumbles over them.
    return np.asarray(shapely.transform(parts[is_polygon], lambda xy: np.round(xy, 12)))


def _check_coordinates(polygons: NDArray[np.object_], crs: CRS, label: str) -> None:
    west, south, east, north = shapely.total_bounds(polygons)
    x, y = max(abs(west), abs(east)), max(abs(south), abs(north))
    if crs.is_projected:
        if x <= 180 and y <= 90:
            _warn(
                f"{label} says it is in {_name(crs)}, but its coordinates ({west:g} to {east:g}, {south:g} "
                f"to {north:g}) look like degrees: if it lands in the wrong place, save it with its true CRS."
            )
        return
    if max(x, y) > _MAX_DEGREES:
        raise AoiError(
            f"{label} says it is in {_name(crs)} (degrees), but has coordinates up to {max(x, y):.7g}, which "
            "look like metres. Save it with its true CRS, then give it again."
        )
    if y > 90:
        hint = "Longitude and latitude look swapped: coordinates" if x <= 90 else "Coordinates"
        raise AoiError(
            f"{label} has a latitude of {south if -south == y else north:g}, beyond 90. "
            f"{hint} are [longitude, latitude]; mend them and give it again."
        )


def _union(polygons: NDArray[np.object_], crs: CRS, label: str) -> BaseGeometry:
    """One valid geometry; in degrees within -180..180."""
    leaps = np.array([crs.is_geographic and has_leap(p) for p in polygons], bool)
    if leaps.any():
        _warn(f"{label} was read as crossing the antimeridian: {leaps.sum()} outline(s) leap across 180°.")
    plain = polygons[~leaps]
    broken = plain[~shapely.is_valid(plain)]
    if len(broken):
        _warn(f"{label}: repaired {len(broken)} polygon(s): {shapely.is_valid_reason(broken[0])}.")
    return wrap(polygons) if crs.is_geographic else polygons_of(polygons)


def _warn(text: str) -> None:
    warnings.warn(text, GeosegWarning, stacklevel=3)
