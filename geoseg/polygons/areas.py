"""How large a region is on the ground."""

import numpy as np
import numpy.typing as npt
import pyproj
from odc.geo.geobox import GeoBox

from geoseg.errors import OutputError
from geoseg.grid.ground import row_areas_m2
from geoseg.polygons.rings import Edges
from geoseg.polygons.stitch import Nodes, Regions

Floats = npt.NDArray[np.float64]


def sizes(regions: Regions, nodes: Nodes, edges: Edges, geobox: GeoBox) -> tuple[Floats, float]:
    """(region,) the sizes of regions, and the m² of a unit of them.

    In a projected CRS the unit is a pixel of the grid, so sizes are whole and add up exactly. In a CRS of
    degrees it is a m² on the ellipsoid, where a pixel is the smaller the nearer it lies to a pole.

    Raises:
        OutputError: the grid is in degrees and not north-up.
    """
    crs = crs_of(geobox)
    if not crs.is_geographic:
        unit_m = crs.axis_info[0].unit_conversion_factor
        return regions.pixels.astype(np.float64), abs(geobox.transform.determinant) * unit_m**2
    # Green's theorem: the integral of x over the cumulated area of parallels, along each outline.
    strip = _cumulated_strip_m2(geobox)
    start, end = edges.node, edges.ends()
    part = nodes.col[start] * (strip[nodes.row[start]] - strip[nodes.row[end]])
    m2 = np.zeros(len(regions.pixels))
    np.add.at(m2, edges.left, part)
    return m2, 1.0


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


def _cumulated_strip_m2(geobox: GeoBox) -> Floats:
    """(height + 1,) m² of one column of pixels from its top to each lattice row."""
    if geobox.transform.b or geobox.transform.d:
        raise OutputError(
            "The class map lies rotated on a grid in degrees, expected north up. Warp it: gdalwarp -t_srs"
        )
    strip: Floats = np.concatenate([[0.0], np.cumsum(row_areas_m2(geobox))])
    return strip
