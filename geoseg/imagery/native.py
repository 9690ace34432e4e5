"""The grid that items already lie on, so that their pixels can be taken as they are."""

from dataclasses import dataclass, field

import pystac
from odc.geo.geom import Geometry
from pyproj import CRS

from geoseg.errors import PreflightError
from geoseg.grid.geobox import utm_of
from geoseg.imagery.loader import CLOUDS

_METRES_PER_DEGREE = 111_320.0


@dataclass(frozen=True)
class NativeGrid:
    """Pixel size, CRS and anchor for a map, and a line for each departure from the items' own."""

    gsd_m: float
    crs: str
    anchor: tuple[float, float]
    adapted: list[str] = field(default_factory=list)


def grid_of(
    items: pystac.ItemCollection, aoi: Geometry, *, gsd_m: float | None, crs: str | None
) -> NativeGrid:
    """The grid on which to map: the items' finest own one where they share it, else UTM.

    Where an item lies on the chosen CRS and pixel size, the map's pixel corners fall on its pixel corners:
    Landsat's UTM grids, for instance, are half a pixel off the multiples of 30 m.

    Raises:
        PreflightError: the items do not say their CRS and transform, and no ``--gsd`` is given.
    """
    found = [g for item in items for g in _grids(item)]
    if not found and gsd_m is None:
        raise PreflightError("The items state no pixel size (proj:transform, gsd). Give --gsd in metres.")
    finest = min((size for size, _, _ in found), default=gsd_m)
    codes = {code for _, code, _ in found}
    chosen = crs or (codes.pop() if len(codes) == 1 and _is_metric(next(iter(codes))) else "utm")
    code = utm_of(aoi) if chosen == "utm" else chosen
    size = gsd_m or finest
    corners = [corner for s, c, corner in found if c == code and abs(s - size) < 1e-9 * size]
    anchor = (corners[0][0] % size, corners[0][1] % size) if corners else (0.0, 0.0)
    adapted = []
    if not corners:
        kinds = ", ".join(sorted({f"{c} at {s:.4g} m" for s, c, _ in found})) or "an unstated grid"
        adapted.append(f"resampled from {kinds} to {code} at {size:g} m")
    return NativeGrid(float(size), code, anchor, adapted)


def _grids(item: pystac.Item) -> list[tuple[float, str, tuple[float, float]]]:
    """(pixel size in metres, CRS, a corner) of each asset with pixels."""
    grids = []
    for key, asset in item.assets.items():
        stated = {**item.properties, **asset.extra_fields}
        transform = stated.get("proj:transform")
        code = _code(stated)
        if key == CLOUDS or transform is None or code is None:
            continue
        size = abs(transform[0])
        grids.append(
            (
                size if _is_metric(code) else _round(size * _METRES_PER_DEGREE),
                code,
                (transform[2], transform[5]),
            )
        )
    if not grids and item.properties.get("gsd"):
        grids.append((float(item.properties["gsd"]), _code(item.properties) or "unknown CRS", (0.0, 0.0)))
    return grids


def _code(stated: dict[str, object]) -> str | None:
    if stated.get("proj:code"):
        return str(stated["proj:code"])
    if stated.get("proj:epsg"):
        return f"EPSG:{stated['proj:epsg']}"
    wkt = stated.get("proj:wkt2")
    return str(wkt) if wkt else None


def _is_metric(code: str) -> bool:
    if code == "unknown CRS":
        return False
    crs = CRS.from_user_input(code)
    return bool(crs.is_projected and crs.axis_info[0].unit_name in ("metre", "meter"))


def _round(size_m: float) -> float:
    """Pixel sizes in degrees are never round in metres: 9.9998 m is meant as 10 m."""
    return float(f"{size_m:.3g}")
