"""How large a region is on the ground."""

import numpy as np
import numpy.typing as npt
import pyproj
from odc.geo.geobox import GeoBox

from geoseg.errors import OutputError
from geoseg.grid.ground import row_areas_m2

Ints = npt.NDArray[np.int64]

_UNITS = 2**60
"""Of a map in degrees, so that every sum fits into 63 bits."""


def column_sizes(geobox: GeoBox) -> tuple[Ints, float]:
    """(height + 1,) the size of a column of pixels from the top to each lattice row, and the m² of its unit.

    Sizes are whole, so they add up exactly in any order. In a projected CRS the unit is a pixel of the
    grid; in one of degrees, where a pixel is the smaller the nearer it lies to a pole, it is a 2**60th of
    the map on the ellipsoid.

    Raises:
        OutputError: the grid is in degrees and not north-up.
    """
    height, width = geobox.shape
    crs = crs_of(geobox)
    if not crs.is_geographic:
        unit_m = crs.axis_info[0].unit_conversion_factor
        return np.arange(height + 1), abs(geobox.transform.determinant) * unit_m**2
    if geobox.transform.b or geobox.transform.d:
        raise OutputError(
            "The class map lies rotated on a grid in degrees, expected north up. Warp it: gdalwarp -t_srs"
        )
    m2 = np.append(0.0, np.cumsum(row_areas_m2(geobox)))
    unit_m2 = m2[-1] * width / _UNITS
    return np.rint(m2 / unit_m2).astype(np.int64), float(unit_m2)


def pixel_aspect(geobox: GeoBox) -> float:
    """Height over width of a pixel on the ground, in the middle of the grid."""
    a, b, _, d, e, f = geobox.transform[:6]
    aspect = float(np.hypot(b, e) / np.hypot(a, d))
    crs = crs_of(geobox)
    if crs.is_geographic:
        y = f + d * geobox.shape[1] / 2 + e * geobox.shape[0] / 2
        aspect /= max(float(np.cos(y * crs.axis_info[0].unit_conversion_factor)), 1e-9)
    return aspect


def crs_of(geobox: GeoBox) -> pyproj.CRS:
    """The CRS of a grid.

    Raises:
        OutputError: it has none.
    """
    if geobox.crs is None:
        raise OutputError("The class map has no CRS, expected one. Assign it: gdal_edit -a_srs EPSG:...")
    return geobox.crs.proj
