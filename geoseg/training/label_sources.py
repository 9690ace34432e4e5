"""What labels come from: a class raster, polygons or a product, read on the grid of the chips."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from rasterio.windows import Window

from geoseg.aoi import to_degrees
from geoseg.errors import EvaluationError, TrainingError
from geoseg.evaluation.confusion import IGNORED
from geoseg.evaluation.features import VECTORS, burner, is_polygon, names_of, read_features, usual_field
from geoseg.evaluation.maps import Compared, Crosswalk, legend_of
from geoseg.evaluation.products import product_of, product_reference
from geoseg.evaluation.reading import Reader, by_cells, reading
from geoseg.evaluation.references import nodata_of, on_grid, refuse_unusable, stored_in
from geoseg.evaluation.wall_to_wall import Product
from geoseg.legend import CLASS_NODATA, LegendClass
from geoseg.registry import did_you_mean

NOTHING = int(IGNORED)
"""The number of a pixel without a label."""
CONFLICT = NOTHING - 1
"""That of a pixel in polygons of different classes."""


@dataclass(frozen=True)
class Labels:
    """Labels on a grid."""

    read: Reader
    """(y, x) numbers of a window; ``NOTHING`` or ``CONFLICT`` where there is no label."""
    names: Mapping[int, str] = field(default_factory=dict)
    """By number; numbers that are not in it are called by themselves."""
    colors: Mapping[str, str] = field(default_factory=dict)
    """``RRGGBB`` by name, as far as the source says."""
    notes: tuple[str, ...] = ()
    """What bringing them to the grid did."""


def is_vector(source: str) -> bool:
    """Whether labels are polygons."""
    return Path(source).suffix.lower() in VECTORS


@contextmanager
def labels_on(
    grid: GeoBox, source: str, *, class_field: str | None, legend: Path | None, catalog: str | None
) -> Iterator[Labels]:
    """Labels of a file or a product on the grid of chips.

    Args:
        grid: of the chips.
        source: a class raster or polygons, in any CRS; or the name of a product such as ``worldcover``.
        class_field: attribute that says a polygon's class; None for one with a usual name.
        legend: names and colours of a raster's values, where it has none itself.
        catalog: where a product is searched; None for where its makers have it.

    Raises:
        EvaluationError: they cannot be read, have no CRS, or are no classes.
        TrainingError: they lie elsewhere, or have no such attribute.
    """
    path = Path(source)
    product = None if path.exists() else product_of(source.partition(":")[0])
    if product is not None:
        yield _product(product, source, grid, catalog)
        return
    if not path.exists():
        raise EvaluationError(f"There is no file {source}. Check the path of --labels.")
    if is_vector(source):
        yield _polygons(path, grid, class_field)
        return
    if class_field is not None:
        raise EvaluationError(f"--label-field is of polygons, and {path.name} is a raster. Leave it out.")
    with ExitStack() as stack:
        yield _raster(path, grid, legend, stack)


def _product(product: Product, source: str, grid: GeoBox, catalog: str | None) -> Labels:
    classes = Compared(product.legend, {c.value: c.name for c in product.legend.classes})
    found = product_reference(source, grid=grid, classes=classes, crosswalk=Crosswalk(), catalog=catalog)
    named = product.legend.classes
    return Labels(
        found.read,
        {n: c.name for n, c in enumerate(named)},
        {c.name: c.color_hint for c in named},
        found.notes,
    )


def _raster(path: Path, grid: GeoBox, legend: Path | None, stack: ExitStack) -> Labels:
    with reading(path):
        source = stack.enter_context(rasterio.open(path))
    if source.crs is not None:
        _refuse_apart(path.name, GeoBox.from_rio(source).extent, grid)
    refuse_unusable(source, path.name, grid)
    nodata = nodata_of(source, Crosswalk())
    named: tuple[LegendClass, ...] = ()
    try:
        named = legend_of(path, legend).classes
    except EvaluationError:
        if legend is not None:
            raise
    values, note = stack.enter_context(on_grid(source, grid, nodata=nodata))
    none = [
        value
        for value in (nodata, CLASS_NODATA if source.dtypes[0] == "uint8" else None)
        if value is not None
    ]

    def read(window: Window) -> NDArray[np.int32]:
        with reading(path):
            stored, is_there = stored_in(values, window)
        is_label = ~np.isin(stored, none)
        if is_there is not None:
            is_label &= is_there
        return np.where(is_label, stored.astype(np.int32), np.int32(NOTHING))

    notes = [f"{path.name} has {source.count} layers: the first is taken."] if source.count > 1 else []
    if note is not None:
        notes.append(f"{path.name} {note}".replace("the map's", "the chips'"))
    names = {c.value: c.name for c in named}
    return Labels(by_cells(read, grid.shape), names, {c.name: c.color_hint for c in named}, tuple(notes))


def _polygons(path: Path, grid: GeoBox, class_field: str | None) -> Labels:
    frame = read_features(path)
    name = field_of(frame, class_field, path.name, flag="--label-field")
    frame, notes = _usable(frame, name, path.name)
    _refuse_apart(path.name, Geometry(shapely.box(*frame.total_bounds), crs=str(frame.crs)), grid)
    texts = names_of(frame, name)
    classes = sorted(set(texts))
    number = texts.map({text: n for n, text in enumerate(classes)}).to_numpy(np.int32)
    shapes = frame.to_crs(str(grid.crs)).geometry.to_numpy()
    up = np.argsort(number, kind="stable")
    highest, lowest = (
        burner(shapes[order], number[order], grid=grid, fill=NOTHING) for order in (up, up[::-1])
    )

    def read(window: Window) -> NDArray[np.int32]:
        top = highest(window)
        return np.where(top == lowest(window), top, np.int32(CONFLICT))

    return Labels(
        read, dict(enumerate(classes)), {}, (f"{len(frame):,} polygons of {path.name} by {name}.", *notes)
    )


def field_of(frame: gpd.GeoDataFrame, asked: str | None, label: str, *, flag: str) -> str:
    """The attribute that was asked for, or the one with a usual name.

    Raises:
        TrainingError: there is no such attribute.
    """
    columns = [str(c) for c in frame.columns if c != frame.geometry.name]
    if asked is not None and asked not in columns:
        raise TrainingError(f"{label} has no attribute {asked!r}: {did_you_mean(asked, columns)}")
    found = asked or usual_field(frame) or (columns[0] if len(columns) == 1 else None)
    if found is None:
        raise TrainingError(
            f"Which attribute of {label} says the class? Give {flag}, one of: {', '.join(columns) or 'none'}."
        )
    return found


def _usable(frame: gpd.GeoDataFrame, name: str, label: str) -> tuple[gpd.GeoDataFrame, list[str]]:
    """Valid polygons with a class, and what was done to the others."""
    is_there = ~(shapely.is_missing(frame.geometry.values) | shapely.is_empty(frame.geometry.values))
    is_whole = is_there & frame[name].notna() & is_polygon(frame)
    n_left, frame = int((~is_whole).sum()), frame[is_whole].reset_index(drop=True)
    if frame.empty:
        raise TrainingError(
            f"{label} has no polygon with a {name}: {n_left:,} features are empty, no polygons, or have "
            "none. Give a layer of labelled polygons."
        )
    notes = [f"{n_left:,} features of {label} are empty, no polygons, or have no {name}: left out."] * (
        n_left > 0
    )
    broken = ~frame.geometry.is_valid
    if broken.any():
        frame = frame.set_geometry(frame.geometry.make_valid())
        notes.append(f"{int(broken.sum()):,} polygons of {label} cross themselves and were repaired.")
    return frame, notes


def _refuse_apart(label: str, there: Geometry, grid: GeoBox) -> None:
    extents = to_degrees(there), to_degrees(grid.extent)
    if not extents[0].intersects(extents[1]):
        boxes = (",".join(f"{v:.4f}" for v in e.boundingbox.bbox) for e in extents)
        raise TrainingError(
            f"{label} (west,south,east,north {next(boxes)}) and the imagery ({next(boxes)}) do not overlap. "
            "Give labels and imagery of one place."
        )
