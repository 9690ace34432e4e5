"""Equal-area CRSs: one plane in which hectares are true, for areas wider than a UTM zone."""

from functools import cache

from odc.geo.geom import Geometry
from pyproj import CRS
from pyproj.crs import ProjectedCRS
from pyproj.crs.coordinate_operation import LambertAzimuthalEqualAreaConversion

from geoseg.aoi import to_degrees
from geoseg.lonlat import join

_OFFICIAL = (3035, 5070, 3577)
"""Europe (INSPIRE), the conterminous United States (NLCD) and Australia: what maps there are usually in."""
_NORTH, _SOUTH = "EPSG:6931", "EPSG:6932"
"""EASE-Grid 2.0, centred on the poles."""
_POLAR_DEG = 80.0
_STEP_DEG = 5
"""Centres lie on multiples of this, so that neighbours share a CRS; it costs 0.1 % in shapes at most."""


def equal_area_of(aoi: Geometry) -> str:
    """The equal-area CRS for an area: an official one where it lies within its bounds, else one of its own.

    That is a Lambert azimuthal equal-area projection (Snyder 1987, USGS Professional Paper 1395, chapter 24)
    on WGS 84, centred near the centroid on multiples of 5 degrees: areas that have the same centre have the
    same pixels.

    Returns:
        ``EPSG:3035``, say, or WKT 2 where there is no code.

    Example:
        >>> from odc.geo.geom import box
        >>> equal_area_of(box(2, 44, 14, 49, "EPSG:4326"))
        'EPSG:3035'
        >>> CRS(equal_area_of(box(2, -4, 18, 4, "EPSG:4326"))).name
        'WGS 84 / LAEA 0N 10E'
    """
    whole = join(to_degrees(aoi).geom)
    lon, lat = whole.centroid.coords[0]
    if abs(lat) > _POLAR_DEG:
        return _NORTH if lat > 0 else _SOUTH
    west, south, east, north = whole.bounds
    for code, (left, bottom, right, top) in _bounds().items():
        if left <= west and east <= right and bottom <= south and north <= top:
            return code
    return _centred(
        round(lat / _STEP_DEG) * _STEP_DEG, (round(lon / _STEP_DEG) * _STEP_DEG + 180) % 360 - 180
    )


@cache
def _bounds() -> dict[str, tuple[float, float, float, float]]:
    """Where official ones are meant to be used, (west, south, east, north) in degrees, by code."""
    areas = {f"EPSG:{code}": CRS.from_epsg(code).area_of_use for code in _OFFICIAL}
    return {code: area.bounds for code, area in areas.items() if area is not None}


@cache
def _centred(lat: int, lon: int) -> str:
    place = f"{abs(lat)}{'S' if lat < 0 else 'N'} {abs(lon)}{'W' if lon < 0 else 'E'}"
    conversion = LambertAzimuthalEqualAreaConversion(
        latitude_natural_origin=lat, longitude_natural_origin=lon
    )
    crs = ProjectedCRS(conversion, name=f"WGS 84 / LAEA {place}", geodetic_crs="EPSG:4326")
    return str(crs.to_wkt())
