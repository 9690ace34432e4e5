"""Images and their labels in rasters: class numbers, colours, parts of large files, burned footprints."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geom import Geometry
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.features import rasterize
from rasterio.io import DatasetReader
from rasterio.windows import Window

from geoseg.errors import EvaluationError, one_line
from geoseg.evaluation.benchmark import IGNORE, Labels, Pixels, Sample, missing
from geoseg.evaluation.features import read_features
from geoseg.evaluation.label_files import Origin, Table, classes_of
from geoseg.legend import Legend

SENTINEL2_L1C = (
    "coastal", "blue", "green", "red", "rededge071", "rededge075", "rededge078", "nir", "nir08", "nir09",
    "cirrus", "swir16", "swir22",
)  # fmt: skip
"""The 13 bands in the order of their numbers: B1 to B8, B8A, B9 to B12."""


class Pair(NamedTuple):
    """An image and its labels, by path."""

    id: str
    place: str
    image: Path
    labels: Path | None
    """None where they are held back."""
    ground: Geometry | None = None
    """What they cover, where that is said."""


def samples_of(
    root: Path,
    origin: Origin,
    pairs: Sequence[Pair],
    *,
    what: str,
    read_labels: Callable[[Path], Labels],
    read_image: Callable[[Path], Pixels] | None = None,
) -> list[Sample]:
    """The samples of a split, in the order given.

    Args:
        root: of the data set.
        origin: for messages.
        pairs: the split; each file of it must be there.
        what: what is missing when there are no pairs, such as ``val/*.png``.
        read_labels: the classes of a label file.
        read_image: the pixels of an image file; by default :func:`read_bands`.

    Raises:
        EvaluationError: no pairs, or files that are not there; says how many and the first.
    """
    if not pairs:
        raise missing(root, what, *origin)
    _refuse_lacking(root, origin, pairs)
    return [
        Sample(
            id=pair.id,
            place=pair.place,
            read_image=partial(read_image or read_bands, pair.image),
            read_labels=None if pair.labels is None else partial(read_labels, pair.labels),
            ground=pair.ground,
        )
        for pair in pairs
    ]


def _refuse_lacking(root: Path, origin: Origin, pairs: Sequence[Pair]) -> None:
    images = [pair.image for pair in pairs]
    labels = [pair.labels for pair in pairs if pair.labels is not None]
    folders = {file.parent for file in (*images, *labels)}
    there = {path for folder in folders if folder.is_dir() for path in folder.iterdir()}
    n_images, n_labels = (sum(file in there for file in files) for files in (images, labels))
    for files in (images, labels):
        lacking = [file for file in files if file not in there]
        if lacking:
            first = lacking[0].relative_to(root).as_posix()
            what = f"{len(lacking):,} of {len(files):,} files (first: {first})" if len(files) > 1 else first
            raise missing(root, what, *origin, n_images=n_images, n_labels=n_labels)


def read_bands(path: Path, window: Window | None = None) -> Pixels:
    """(band, y, x) of a raster as stored, or of a window of it.

    Raises:
        EvaluationError: it cannot be read.
    """
    with opened(path) as source:
        pixels: Pixels = source.read(window=window)
    return pixels


def read_raw_bands(path: Path) -> Pixels:
    """(band, y, x) of a GeoTIFF as stored, also where it says that four bands are cyan, magenta, yellow and
    black, which GDAL turns into RGBA unless it is asked not to (GDAL documentation, GTiff driver).

    Raises:
        EvaluationError: it cannot be read.
    """
    with opened(path, prefix="GTIFF_RAW:") as source:
        pixels: Pixels = source.read()
    return pixels


def read_classes(path: Path, table: Table, *, layer: str | int = 1, window: Window | None = None) -> Labels:
    """(y, x) classes of a raster of class numbers; -1 is looked up as 255.

    Args:
        path: the raster.
        table: see :func:`~geoseg.evaluation.label_files.lookup`.
        layer: the layer's number, counted from 1, or its description.
        window: the part that is read.

    Raises:
        EvaluationError: it cannot be read, has no such layer, or holds a number that the table does not know.
    """
    with opened(path) as source:
        number = layer if isinstance(layer, int) else _layer_called(layer, source, path)
        values = source.read(number, window=window)
    with np.errstate(invalid="ignore"):
        numbers = values.astype(np.int16)
    if (numbers != values).any() or numbers.min(initial=0) < -1 or numbers.max(initial=0) > IGNORE:
        raise EvaluationError(
            f"{path} holds {values.dtype} of {values.min()} to {values.max()}, expected class numbers of "
            "8 bits. Use the labels as the data set's makers distribute them."
        )
    return classes_of(numbers.astype(np.uint8), table, path)  # -1 becomes 255


def _layer_called(name: str, source: DatasetReader, path: Path) -> int:
    if name not in source.descriptions:
        raise EvaluationError(
            f"{path} has no layer called {name}; it has {', '.join(map(str, source.descriptions))}. "
            "Use the labels as the data set's makers distribute them."
        )
    return int(source.descriptions.index(name)) + 1


def classes_of_colors(rgb: Pixels, legend: Legend) -> Labels:
    """(y, x) classes of (3, y, x) uint8 red, green, blue; colours that no class has are not scored.

    Example:
        >>> legend = Legend.of(water="0000FF", land="FFFF00")
        >>> classes_of_colors(np.array([[[255, 0, 9]], [[255, 0, 9]], [[0, 255, 9]]], np.uint8), legend)
        array([[  1,   0, 255]], dtype=uint8)
    """
    colors = np.array([int(c.color_hint, 16) for c in legend.classes])
    order = np.argsort(colors)
    packed = (rgb[0].astype(np.int64) << 16) | (rgb[1].astype(np.int64) << 8) | rgb[2]
    at = np.searchsorted(colors[order], packed).clip(max=len(colors) - 1)
    values = np.array(legend.values, np.uint8)[order]
    labels: Labels = np.where(colors[order][at] == packed, values[at], np.uint8(IGNORE))
    return labels


def burn(footprints: Path, *, onto: Path) -> NDArray[np.bool_]:
    """(y, x) of an image: True where a pixel's centre lies in a polygon of a vector file.

    Files of no bytes and without features, as some tiles without objects have, hold no polygons.

    Raises:
        EvaluationError: one of the files cannot be read.
    """
    with opened(onto) as source:
        crs, shape, transform = source.crs, source.shape, source.transform
    if footprints.is_file() and footprints.stat().st_size == 0:
        return np.zeros(shape, bool)
    frame = read_features(footprints)
    areas = frame[frame.geom_type.isin(["Polygon", "MultiPolygon"]) & ~frame.is_empty]
    if areas.empty:
        return np.zeros(shape, bool)
    burned = rasterize(areas.to_crs(crs).geometry, out_shape=shape, transform=transform, dtype="uint8")
    return np.asarray(burned, bool)


@contextmanager
def opened(path: Path, *, prefix: str = "") -> Iterator[DatasetReader]:
    """The raster, open; images of benchmarks often lie nowhere on the Earth, which is not warned of.

    Raises:
        EvaluationError: it cannot be opened, or reading from it fails.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(f"{prefix}{path}") as source:
                yield source
    except RasterioError as error:
        reason = one_line(error)
        raise EvaluationError(f"{path} cannot be read as a raster: {reason}. Unpack it again.") from None
