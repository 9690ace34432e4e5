"""Small class maps, and what is true of their polygons, found the slow and obvious way."""

from collections import deque

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr
from rasterio.features import rasterize

from geoseg.legend import Legend

LEGEND = Legend.of(water="1F78B4", land="B2DF8A", wood="33A02C")
NODATA = 255

CHECKERBOARD = np.indices((6, 7)).sum(0).astype(np.uint8) % 2
# A hole of which two pixels touch at a corner, one that touches the shell, and one inside an island.
KNOTS = np.array(
    [
        [0, 0, 0, 0, 0, 0, 0, 1],
        [0, 1, 0, 0, 0, 0, 1, 0],
        [0, 0, 1, 0, 1, 1, 1, 0],
        [0, 0, 0, 0, 1, 0, 1, 0],
        [1, 0, 0, 0, 1, 1, 1, 0],
        [0, 1, 0, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 255],
    ],
    np.uint8,
)
NESTED = np.minimum.reduce([(i := np.indices((9, 11)))[0], 8 - i[0], i[1], 10 - i[1]]).astype(np.uint8) % 3


def class_maps(side: int = 9) -> st.SearchStrategy[np.ndarray]:
    shapes = st.tuples(st.integers(1, side), st.integers(1, side))
    kinds = st.sampled_from([(0, 1), (0, 255), (0, 1, 255), (0, 1, 2), (0, 1, 2, 255), (2,), (255,)])
    return kinds.flatmap(lambda k: hnp.arrays(np.uint8, shapes, elements=st.sampled_from(k)))


def on_ground(pixels, transform=Affine(10, 0, 500000, 0, -10, 4000000), crs="EPSG:32633"):
    return wrap_xr(pixels, GeoBox(pixels.shape, transform, crs))


def regions_of(classes: np.ndarray) -> np.ndarray:
    """Labels 1, 2, ... of the 4-connected regions in row-major order of their first pixels; nodata 0."""
    label = np.zeros(classes.shape, int)
    for start in zip(*np.nonzero(classes != NODATA), strict=True):
        if label[start]:
            continue
        label[start] = label.max() + 1
        queue = deque([start])
        while queue:
            row, col = queue.popleft()
            for at in ((row + 1, col), (row - 1, col), (row, col + 1), (row, col - 1)):
                is_inside = 0 <= at[0] < classes.shape[0] and 0 <= at[1] < classes.shape[1]
                if is_inside and not label[at] and classes[at] == classes[start]:
                    label[at] = label[start]
                    queue.append(at)
    return label


def burnt(table: gpd.GeoDataFrame, values, like) -> np.ndarray:
    """The polygons' values at pixel centres, nodata 255."""
    shapes = list(zip(table.geometry, values, strict=True))
    if not shapes:
        return np.full(like.shape, NODATA, int)
    geobox = like.odc.geobox
    return rasterize(shapes, geobox.shape, fill=NODATA, transform=geobox.transform, dtype="int32")


def same_bytes(one: gpd.GeoDataFrame, other: gpd.GeoDataFrame) -> bool:
    """Equal to the last bit: order, attributes, vertices."""
    rest = one.drop(columns="geometry").equals(other.drop(columns="geometry"))
    return rest and one.geometry.to_wkb().tolist() == other.geometry.to_wkb().tolist()


def useless_vertices(table: gpd.GeoDataFrame, like) -> int:
    """Vertices on a straight outline at which fewer than three regions meet."""
    label = np.pad(regions_of(like.values), 1)
    a, b, c, d, e, f = (~like.odc.geobox.transform)[:6]
    count = 0
    for polygon in table.geometry:
        for ring in (polygon.exterior, *polygon.interiors):
            points = [(round(a * x + b * y + c), round(d * x + e * y + f)) for x, y in ring.coords[:-1]]
            for (x0, y0), (x, y), (x1, y1) in zip(
                points[-1:] + points, points, points[1:] + points, strict=False
            ):
                is_straight = (x - x0) * (y1 - y) == (y - y0) * (x1 - x)
                count += is_straight and len(np.unique(label[y : y + 2, x : x + 2])) < 3
    return count


def pixels_united(like) -> list:
    """One geometry per region: the union of the squares of its pixels."""
    label = regions_of(like.values)
    a, _, c, _, e, f = like.odc.geobox.transform[:6]
    shapes = []
    for i in range(1, label.max() + 1):
        row, col = np.nonzero(label == i)
        shapes.append(
            shapely.union_all(shapely.box(c + a * col, f + e * (row + 1), c + a * (col + 1), f + e * row))
        )
    return shapes
