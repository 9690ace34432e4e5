"""How large pixels are on the ground."""

from typing import cast

import numpy as np
import pyproj
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

Floats = NDArray[np.float64]


def row_areas_m2(geobox: GeoBox) -> Floats:
    """(height,) m² of one pixel in each row.

    In a projected CRS the area is taken in its plane and all rows are alike, so areas of classes add up
    exactly; :func:`plane_to_ground` says how far that is from the ground. In degrees it is the area on the
    ellipsoid between parallels: Snyder 1987 (USGS Professional Paper 1395), equation 3-12.

    Args:
        geobox: north-up where its CRS is in degrees; without a CRS its unit is taken as a metre.
    """
    transform, height = geobox.transform, geobox.shape[0]
    if geobox.crs is None or not geobox.crs.geographic:
        unit_m = geobox.crs.proj.axis_info[0].unit_conversion_factor if geobox.crs else 1.0
        return np.full(height, abs(transform.determinant) * unit_m**2)
    crs = geobox.crs.proj
    radian = crs.axis_info[0].unit_conversion_factor
    geod = cast(pyproj.Geod, crs.get_geod())  # a CRS of degrees has an ellipsoid
    e = np.sqrt(1 - (geod.b / geod.a) ** 2)
    latitude = np.clip((transform.f + transform.e * np.arange(height + 1)) * radian, -np.pi / 2, np.pi / 2)
    s = np.sin(latitude)
    zone = s / (1 - (e * s) ** 2) + (np.arctanh(e * s) / e if e else s)
    areas: Floats = geod.b**2 / 2 * np.abs(np.diff(zone)) * abs(transform.a) * radian
    return areas


def plane_to_ground(geobox: GeoBox) -> float:
    """How many times its area on the ground a pixel measures in the plane of the CRS, where that is worst.

    1 for degrees and equal-area CRSs, 0.9992 to 1.002 within a UTM zone, 4 in Web Mercator at 60° latitude.
    Taken at nine points of the grid.
    """
    if geobox.crs is None or geobox.crs.geographic:
        return 1.0
    (height, width), transform = geobox.shape, geobox.transform
    corners = [transform * (col * width / 2, row * height / 2) for row in range(3) for col in range(3)]
    projection = pyproj.Proj(geobox.crs.proj)
    x, y = np.transpose(corners)
    lon, lat = projection(x, y, inverse=True)
    scales = np.asarray(projection.get_factors(lon, lat).areal_scale)
    return float(scales[np.argmax(np.abs(np.log(scales)))])


def is_true(ratio: float) -> bool:
    """Whether areas that are measured so many times too large may still be called hectares: within 1 %."""
    return 0.99 <= ratio <= 1.01
