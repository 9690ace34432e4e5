"""Two class maps made comparable: one set of classes, by name, and one grid, that of the earlier map."""

import colorsys
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pydantic import BaseModel, ConfigDict, ValidationError
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT

from geoseg.aoi import to_degrees
from geoseg.errors import EvaluationError, one_line, some
from geoseg.evaluation.maps import IGNORE, legend_of, read_crosswalk
from geoseg.grid.geobox import is_same_grid, offset_between
from geoseg.legend import CLASS_NODATA, LegendClass
from geoseg.registry import did_you_mean

_FINER = 1.5
"""A later map whose pixels are this much smaller is brought over by majority, else by the nearest pixel."""
_TOLERANCE = 1e-3
"""Part of a pixel by which GDAL may err in places; its default, an eighth, gave 2 % of pixels of noise to a
neighbour and took as long, exact places took eight times as long."""


class ChangeCrosswalk(BaseModel):
    """The common names of the classes of two maps; a TOML file.

    Keys are the names or the values that a map has, what they map to are the common names; several may share
    one. The name ``ignore`` takes a class out of the comparison. The key ``*`` stands for all that is not
    named; without it those keep their names.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    before: dict[str, str] = {}
    """Of the earlier map."""
    after: dict[str, str] = {}
    """Of the later map."""

    @classmethod
    def read(cls, path: Path) -> "ChangeCrosswalk":
        """The crosswalk of a TOML file.

        Raises:
            EvaluationError: there is no such file, or it is no crosswalk.
        """
        return read_crosswalk(path, cls, example='"dense forest" = "forest"')


@dataclass(frozen=True)
class ClassMap:
    """An open class map and what its values mean."""

    label: str
    """How messages call it."""
    source: DatasetReader
    grid: GeoBox
    nodata: frozenset[int]
    """Values that are no class."""
    classes: tuple[tuple[int, str, str], ...]
    """(value, name in the comparison, colour ``RRGGBB``); classes to be ignored have the name ``ignore``."""


@dataclass(frozen=True)
class CommonClasses:
    """The classes of a comparison and the values that they have in both maps."""

    names: tuple[str, ...]
    colors: tuple[str, ...]
    """``RRGGBB``."""
    before: NDArray[np.int64]
    """(256,) class index of each value of the earlier map; ``len(names)`` for no class."""
    after: NDArray[np.int64]
    """(256,) likewise of the later map."""
    notes: tuple[str, ...]
    """Where the legends differ."""


@contextmanager
def open_map(path: Path, renames: dict[str, str], *, table: str) -> Iterator[ClassMap]:
    """A class map to be compared.

    Args:
        path: uint8, nodata 255 or what the file declares; its legend in it or beside it.
        renames: the map's part of a crosswalk.
        table: the name of that part, ``before`` or ``after``.

    Raises:
        EvaluationError: it cannot be read, has no CRS, or nothing says what its values mean.
    """
    if not path.exists():
        raise EvaluationError(f"There is no file {path}. Check the path.")
    try:
        source = rasterio.open(path)
    except RasterioError as error:
        raise EvaluationError(f"{path} cannot be read: {one_line(error)}.") from None
    with source:
        if source.dtypes[0] != "uint8":
            raise EvaluationError(f"{path} holds {source.dtypes[0]}, expected a class map of uint8.")
        if source.crs is None:
            raise EvaluationError(
                f"{path} has no CRS, so nothing says where it lies. Assign one: gdal_edit -a_srs EPSG:..."
            )
        nodata = {CLASS_NODATA}
        if source.nodata is not None and 0 <= source.nodata <= CLASS_NODATA:
            nodata.add(int(source.nodata))
        classes = tuple(c for c in _classes(path, source, renames, table) if c[0] not in nodata)
        yield ClassMap(str(path), source, GeoBox.from_rio(source), frozenset(nodata), classes)


def _classes(
    path: Path, source: DatasetReader, renames: dict[str, str], table: str
) -> list[tuple[int, str, str]]:
    """(value, common name, colour) of the legend and of what the crosswalk names by value."""
    by_value = {int(key) for key in renames if re.fullmatch(r"[0-9]{1,3}", key) and int(key) < CLASS_NODATA}
    if "*" in renames:
        by_value = set(range(CLASS_NODATA))
    try:
        own = {c.value: (c.name, c.color_hint) for c in legend_of(path).classes}
    except EvaluationError as error:
        if not by_value:
            raise EvaluationError(
                f"{path} has no class names that can be used, in category names or an item.json beside it. "
                f'Name its values: --crosswalk FILE.toml with [{table}] and lines such as 10 = "tree".'
            ) from error
        own = {}
    colors = source.colormap(1) if source.colorinterp[0].name == "palette" else {}
    for value in by_value - own.keys():
        own[value] = (str(value), bytes(colors.get(value, (128, 128, 128))[:3]).hex().upper())
    names = [name for name, _ in own.values()]
    if unknown := sorted(renames.keys() - {*names, *map(str, own), "*"}):
        raise EvaluationError(
            f"The crosswalk's [{table}] names {unknown[0]!r}, which {path} has not: "
            f"{did_you_mean(unknown[0], names)}"
        )
    rest = renames.get("*")
    return [
        (value, renames.get(name, renames.get(str(value), rest or name)), color)
        for value, (name, color) in sorted(own.items())
    ]


def unite(before: ClassMap, after: ClassMap) -> CommonClasses:
    """The classes of both maps, matched by name; case, hyphens and underscores do not matter, nor do values.

    Raises:
        EvaluationError: no class is in both maps, or a name cannot be written into a legend.
    """
    spelled: dict[str, tuple[str, str]] = {}
    for _, name, color in (*before.classes, *after.classes):
        if name != IGNORE:
            spelled.setdefault(_key(name), (_writable(name), color))
    values = [{_key(name) for _, name, _ in m.classes if name != IGNORE} for m in (before, after)]
    if not values[0] & values[1]:
        shown = " and ".join(f"{m.label} has {_listed(m)}" for m in (before, after))
        raise EvaluationError(
            f"No class is in both maps: {shown}. Give --crosswalk FILE.toml with tables [before] and [after] "
            "that map their names to common ones."
        )
    order = {key: n for n, key in enumerate(spelled)}
    names, colors = zip(*spelled.values(), strict=True)
    if len(set(colors)) == 1 < len(names):
        colors = tuple(_hue(n / len(names)) for n in range(len(names)))
    notes = []
    if {(v, _key(n)) for v, n, _ in before.classes} != {(v, _key(n)) for v, n, _ in after.classes}:
        notes.append("The legends differ: classes were matched by name.")
    for one, missing in ((before, values[0] - values[1]), (after, values[1] - values[0])):
        if only := [spelled[key][0] for key in spelled if key in missing]:
            notes.append(f"Only {one.label} has {', '.join(only)}: that must show as change.")
    return CommonClasses(names, colors, _table(before, order), _table(after, order), tuple(notes))


def refuse_unnamed(values: set[int], class_map: ClassMap, *, table: str) -> None:
    """Check that a map holds nothing but what its legend knows.

    Raises:
        EvaluationError: a value has no name.
    """
    known = {value for value, _, _ in class_map.classes} | class_map.nodata
    if unknown := sorted(values - known):
        raise EvaluationError(
            f"{class_map.label} holds the {some(unknown, 'value')}, which its legend does not "
            f'know. Name them: --crosswalk FILE.toml with [{table}] and lines such as {unknown[0]} = "tree".'
        )


@contextmanager
def on_grid_of(before: ClassMap, after: ClassMap) -> Iterator[tuple[DatasetReader | WarpedVRT, str]]:
    """The later map on the earlier one's grid, and what that did, in words.

    Read as it is where the grids are one. Else each pixel takes the class of the later map's pixel at its
    centre, or, where those are finer by more than 1.5, the most frequent one of those it covers.

    Raises:
        EvaluationError: the maps do not overlap.
    """
    here, there = before.grid, after.grid
    if is_same_grid(here, there):
        yield after.source, "Both maps lie on one grid."
        return
    size = _relative_size(before, after)
    resampling = Resampling.mode if size * _FINER < 1 else Resampling.nearest
    if offset_between(here, there) is not None:
        words = (
            f"{after.label} lies on the pixels of {before.label}, over another extent: it was cut to that."
        )
    else:
        how = "most frequent class it covers" if resampling is Resampling.mode else "class at its centre"
        words = (
            f"{after.label} ({_grid_text(there)}; its pixels are {size:.3g} times as wide) was brought onto "
            f"the grid of {before.label} ({_grid_text(here)}): each pixel took the {how}. Borders of classes "
            f"move by up to half {'one of its pixels' if size > 1 else 'a pixel'}, which shows as change."
        )
    with WarpedVRT(
        after.source,
        crs=before.source.crs,
        transform=here.affine,
        height=here.shape[0],
        width=here.shape[1],
        resampling=resampling,
        src_nodata=CLASS_NODATA if after.source.nodata is None else after.source.nodata,
        nodata=CLASS_NODATA,
        tolerance=_TOLERANCE,
    ) as warped:
        yield warped, words


def crs_text(grid: GeoBox) -> str:
    """``EPSG:32633``, or the whole CRS as WKT where it has no code."""
    return "" if grid.crs is None else f"EPSG:{grid.crs.epsg}" if grid.crs.epsg else grid.crs.to_wkt()


def _relative_size(before: ClassMap, after: ClassMap) -> float:
    """Side of the later map's pixels in pixels of the earlier map's, in the middle of what they share."""
    both = to_degrees(before.grid.extent) & to_degrees(after.grid.extent)
    if both.is_empty or not both.geom.area:
        raise EvaluationError(f"{before.label} and {after.label} do not overlap. Give two maps of one place.")
    here, there = before.grid, after.grid
    if here.crs is None or there.crs is None or both.crs is None:
        raise EvaluationError(f"{before.label} or {after.label} has no CRS.")
    middle = both.geom.representative_point()
    x, y = both.crs.transformer_to_crs(there.crs)([middle.x], [middle.y])
    col, row = ~there.affine * (float(x[0]), float(y[0]))
    corners = [there.affine * (col + i, row + j) for i, j in ((0, 0), (1, 0), (0, 1))]
    xs, ys = there.crs.transformer_to_crs(here.crs)(*np.transpose(corners))
    (x0, x1, x2), (y0, y1, y2) = (~here.affine) * (np.asarray(xs), np.asarray(ys))
    return float(np.sqrt(abs((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0))))


def _table(class_map: ClassMap, order: dict[str, int]) -> NDArray[np.int64]:
    table = np.full(256, len(order), np.int64)
    for value, name, _ in class_map.classes:
        if name != IGNORE:
            table[value] = order[_key(name)]
    return table


def _key(name: str) -> str:
    return " ".join(re.split(r"[\s_-]+", name.casefold())).strip()


def _writable(name: str) -> str:
    try:
        return LegendClass(value=0, name=name, color_hint="000000").name
    except ValidationError:
        raise EvaluationError(
            f"The name {name!r} in the crosswalk cannot be used: give letters, digits, spaces and _ , / -."
        ) from None


def _listed(class_map: ClassMap) -> str:
    return ", ".join(dict.fromkeys(name for _, name, _ in class_map.classes if name != IGNORE)) or "none"


def _hue(part: float) -> str:
    return bytes(round(255 * c) for c in colorsys.hsv_to_rgb(part, 0.65, 0.85)).hex().upper()


def _grid_text(grid: GeoBox) -> str:
    return f"{grid.crs.proj.name if grid.crs else None}, {grid.shape[1]} x {grid.shape[0]} px"
