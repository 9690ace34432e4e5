"""The grid that items already lie on, so that their pixels can be taken as they are."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import pystac
from odc.geo.geom import Geometry
from pyproj import CRS
from pyproj.exceptions import CRSError

from geoseg.errors import PreflightError, RecipeError
from geoseg.grid.equal_area import equal_area_of
from geoseg.grid.geobox import CRS_WORDS, crs_title, geobox_for, utm_of
from geoseg.grid.ground import is_true, plane_to_ground
from geoseg.imagery.loader import CLOUDS

_METRES_PER_DEGREE = 111_320.0
_SAME = 1e-6
"""Pixel sizes that differ by less than this part are one."""


@dataclass(frozen=True)
class NativeGrid:
    """Pixel size, CRS and anchor for a map, and a line for each departure from the items' own."""

    gsd_m: float
    crs: str
    anchor: tuple[float, float]
    adapted: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Own:
    """The grid of one asset."""

    size_m: float
    crs: str | None
    corner: tuple[float, float] | None
    """A pixel corner in ``crs``; None where no map can have this grid, for the reason of ``oddity``."""
    oddity: str = ""

    def __str__(self) -> str:
        return f"{_short(self.crs)} at {self.size_m:.4g} m{self.oddity}"


def grid_of(
    items: pystac.ItemCollection, aoi: Geometry, *, gsd_m: float | None, crs: str | None
) -> NativeGrid:
    """The grid on which to map: the items' finest own one where they share it, else UTM, else equal-area.

    The last one where UTM would be off by more than a hundredth: where the area reaches over several zones.

    Where an item lies on the chosen CRS and pixel size, the map's pixel corners fall on its pixel corners:
    Landsat's UTM grids, for instance, are half a pixel off the multiples of 30 m.

    Raises:
        PreflightError: the items do not say their pixel size, and no ``--gsd`` is given.
    """
    found = [own for item in items for own in _grids(item)]
    if not found and gsd_m is None:
        raise PreflightError("The items state no pixel size (proj:transform, gsd). Give --gsd in metres.")
    size = float(gsd_m or min(own.size_m for own in found))
    codes = {own.crs for own in found}
    shared = codes.pop() if len(codes) == 1 else None
    why: list[str] = []
    if crs is not None:
        code = CRS_WORDS[crs](aoi) if crs in CRS_WORDS else _plain(crs)
    elif shared is not None and _is_metric(shared):
        code = shared
    else:
        code, why = _of_area(aoi, size)
    corners = [o.corner for o in found if o.corner and o.crs == code and abs(o.size_m / size - 1) < _SAME]
    if corners:
        anchor = (corners[0][0] % size, corners[0][1] % size)
        return NativeGrid(size, code, anchor, why + _others(found, code, size))
    kinds = ", ".join(sorted({str(own) for own in found})) or "an unstated grid"
    resampled = f"resampled from {kinds} to {crs_title(code)} at {size:g} m"
    return NativeGrid(size, code, (0.0, 0.0), [*why, resampled])


def _of_area(aoi: Geometry, size: float) -> tuple[str, list[str]]:
    """The CRS of an area whose items share none, and why it is not UTM."""
    utm = utm_of(aoi)
    try:
        ratio = plane_to_ground(geobox_for(aoi, gsd_m=size, crs=utm))
    except RecipeError:  # it is too wide for that zone
        ratio = math.inf
    if is_true(ratio):
        return utm, []
    code, off = equal_area_of(aoi), f"up to {ratio:.3g} times those on the ground"
    reason = f"areas in {utm} would be {off}" if math.isfinite(ratio) else f"{utm} cannot hold the area"
    return code, [f"mapped on {crs_title(code)}, which is equal-area: {reason} (--crs)"]


def _others(found: list[_Own], code: str, size: float) -> list[str]:
    """What is said of assets in another CRS, or finer, than the map; that some bands are coarser is usual."""
    kinds = sorted({str(own) for own in found if own.crs != code or own.size_m < size * (1 - _SAME)})
    return [f"resampled from {', '.join(kinds)} to {crs_title(code)} at {size:g} m"] if kinds else []


def _grids(item: pystac.Item) -> list[_Own]:
    """The grid of each asset with pixels, as far as the item states it."""
    stated = [
        {**item.properties, **asset.extra_fields} for key, asset in item.assets.items() if key != CLOUDS
    ]
    placed = [_placed(s) for s in stated if s.get("proj:transform") and _code(s)]
    if placed:
        return placed
    return [_Own(float(s["gsd"]), _code(s), None) for s in stated if s.get("gsd")]


def _placed(stated: Mapping[str, Any]) -> _Own:
    a, b, c, d, e, f = (float(v) for v in stated["proj:transform"][:6])
    code = _code(stated)
    sides = math.hypot(a, d), math.hypot(b, e)
    size = min(sides)
    if code is None or not _is_metric(code):
        return _Own(_round(size * _unit_m(code)), code, None)
    if b or d:
        return _Own(size, code, None, ", turned against the CRS,")
    if abs(sides[0] / sides[1] - 1) > _SAME:
        return _Own(size, code, None, f" by {max(sides):.4g} m")
    return _Own(size, code, (c, f))


def _code(stated: Mapping[str, Any]) -> str | None:
    if stated.get("proj:epsg"):
        return f"EPSG:{stated['proj:epsg']}"
    code = stated.get("proj:code") or stated.get("proj:wkt2")
    return _plain(str(code)) if code else None


@lru_cache
def _plain(crs: str) -> str:
    """The CRS as items name it (``epsg:32725`` is ``EPSG:32725``); what is none is refused by the grid."""
    try:
        return str(CRS.from_user_input(crs).to_string())
    except CRSError:
        return crs


def _short(crs: str | None) -> str:
    return "an unstated CRS" if crs is None else crs_title(crs)


@lru_cache
def _is_metric(code: str) -> bool:
    try:
        crs = CRS.from_user_input(code)
    except CRSError:
        return False
    return bool(crs.is_projected and crs.axis_info[0].unit_name in ("metre", "meter"))


def _unit_m(code: str | None) -> float:
    """Metres per unit of the CRS, at the equator where that is degrees."""
    crs = CRS.from_user_input(code or "EPSG:4326")
    return _METRES_PER_DEGREE if crs.is_geographic else float(crs.axis_info[0].unit_conversion_factor)


def _round(size_m: float) -> float:
    """Pixel sizes in other units are never round in metres: 9.9998 m is meant as 10 m."""
    return float(f"{size_m:.3g}")
