"""How well outlines are met: boundary IoU, and scores within a band around the reference's boundaries.

Distances are in whole pixels along rows and columns (Chebyshev), as erosion by a 3 x 3 square measures them.
Both scores are counted window by window: with a halo as wide as the distance, the counts of any tiling add up
to those of the whole raster.
"""

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.errors import EvaluationError
from geoseg.evaluation.confusion import IGNORED, Counts, count, count_by_place
from geoseg.evaluation.metrics import ratio
from geoseg.grid.tiling import Tile

Bools = NDArray[np.bool_]
Codes = NDArray[np.int16]
Floats = NDArray[np.float64]
Labels = NDArray[np.integer] | Bools
BoundaryCounts = NDArray[np.int64]
"""(class, 3): boundary pixels of both maps, of the reference, of the prediction. Counts of places may be
stacked in front: (place, class, 3)."""
Slices = tuple[slice, slice]

Places = NDArray[np.integer]
"""(y, x) number of the place that a pixel belongs to; below 0 for none, which is not counted."""

_BLANK = -1
_ABOVE_ALL = np.iinfo(np.int16).max


def boundary_distance(shape: tuple[int, int], *, ratio_of_diagonal: float = 0.02) -> int:
    """Pixels that a boundary is wide on an image of (height, width) (Cheng et al. 2021): at least 1.

    Example:
        >>> boundary_distance((480, 640))
        16
    """
    return max(round(ratio_of_diagonal * float(np.hypot(*shape))), 1)


def distance_in_pixels(distance_m: float, *, gsd_m: float) -> int:
    """A distance on the ground in pixels, at least 1.

    Example:
        >>> distance_in_pixels(25, gsd_m=10)
        2
    """
    return max(round(distance_m / gsd_m), 1)


def with_halo(core: Window, shape: tuple[int, int], *, halo: int) -> Tile:
    """A core of a raster of (height, width) with a halo that ends where the raster ends."""
    return Tile(core=core, window=_clipped(_grown(core, halo), shape))


def core_of(tile: Tile) -> tuple[slice, slice]:
    """(rows, columns) of the core in an array of the tile's window."""
    return _slices(tile.core, tile.window)


def count_boundary(
    reference: Labels,
    prediction: Labels,
    *,
    n_classes: int,
    distance: int,
    tile: Tile | None = None,
    shape: tuple[int, int] | None = None,
    places: Places | None = None,
    n_places: int = 1,
) -> BoundaryCounts:
    """Counts of boundary IoU (Cheng et al. 2021, CVPR), of a raster or of the core of one tile.

    The boundary of a class is what of it lies within ``distance`` of another class or of the raster's edge
    (``mask_to_boundary`` of the reference implementation pads with zeros). Pixels that are not compared count
    like what is beyond the edge, in both maps.

    Args:
        reference: (y, x) class indices, 0 to ``n_classes`` - 1; other values are not compared.
        prediction: (y, x); other values mean that no class was predicted.
        n_classes: how many there are.
        distance: pixels, 1 or more: :func:`boundary_distance` or :func:`distance_in_pixels`.
        tile: the arrays are its window, the counts those of its core; None for the whole raster.
        shape: (height, width) of the raster; needed with ``tile``.
        places: of the core, or of the whole raster; the counts are then (place, class, 3). A place's edge
            is no boundary.
        n_places: how many there are.

    Raises:
        EvaluationError: the shapes do not fit, or the tile's halo is narrower than ``distance``.

    Example:
        >>> square = np.zeros((6, 6), int)
        >>> square[1:5, 1:5] = 1
        >>> counts = count_boundary(square, np.roll(square, 1, axis=1), n_classes=2, distance=1)
        >>> counts[1], boundary_iou(counts)[1].round(3).item()
        (array([ 6, 12, 12]), 0.333)
    """
    inside, core = _place(reference, prediction, distance, tile, shape)
    truth, predicted = _codes(reference[inside], prediction[inside], n_classes)
    of_reference = np.where(_near_other(truth, distance), truth, _BLANK)[core]
    of_prediction = np.where(_near_other(predicted, distance), predicted, _BLANK)[core]
    of_both = np.where(of_reference == of_prediction, of_reference, _BLANK)
    three = (of_both, of_reference, of_prediction)
    counts = np.stack([_histogram(codes, n_classes, places, n_places) for codes in three], axis=-1)
    return counts[0] if places is None else counts


def boundary_iou(counts: BoundaryCounts) -> Floats:
    """(..., class) boundary IoU, 0..1; NaN for a class that is neither in the reference nor predicted."""
    return ratio(counts[..., 0], counts[..., 1] + counts[..., 2] - counts[..., 0])


def count_trimap(
    reference: Labels,
    prediction: Labels,
    *,
    n_classes: int,
    distance: int,
    is_ignored_other: bool = True,
    tile: Tile | None = None,
    shape: tuple[int, int] | None = None,
    places: Places | None = None,
    n_places: int = 1,
) -> Counts:
    """The confusion matrix of the pixels near a boundary of the reference, the trimap (Kohli et al. 2009;
    Chen et al. 2018, DeepLab). Trimap IoU is :func:`geoseg.evaluation.metrics.iou` of it.

    One band for all classes: the pixels that have another value of the reference within ``distance``. The
    raster's edge is no boundary.

    Args:
        reference: see :func:`count_boundary`.
        prediction: see :func:`count_boundary`.
        n_classes: how many there are.
        distance: half the width of the band, pixels, 1 or more.
        is_ignored_other: what is not compared bounds its neighbours, as the void outlines of PASCAL VOC do;
            False where it is only the end of what is known.
        tile: see :func:`count_boundary`.
        shape: see :func:`count_boundary`.
        places: see :func:`count_boundary`; the matrices are then (place, class, class + 1).
        n_places: see :func:`count_boundary`.

    Raises:
        EvaluationError: see :func:`count_boundary`.

    Example:
        >>> stripes = np.repeat([[0, 0, 0, 1, 1, 1]], 2, axis=0)
        >>> count_trimap(stripes, np.roll(stripes, 1, axis=1), n_classes=2, distance=1)
        array([[2, 0, 0],
               [2, 0, 0]])
    """
    inside, core = _place(reference, prediction, distance, tile, shape)
    truth, predicted = _codes(reference[inside], prediction[inside], n_classes)
    regions = np.where(truth == _BLANK, np.int16(n_classes), truth) if is_ignored_other else truth
    band = _near_other(regions, distance, is_blank_other=False)
    compared = np.where(band & (truth != _BLANK), truth.astype(np.int32), IGNORED)
    compared, predicted = compared[core], predicted[core]
    if places is None:
        return count(compared, predicted, n_classes=n_classes)
    return count_by_place(compared, predicted, places, n_classes=n_classes, n_places=n_places)


def _place(
    reference: Labels, prediction: Labels, distance: int, tile: Tile | None, shape: tuple[int, int] | None
) -> tuple[Slices, Slices]:
    """What of the arrays lies in the raster, and what of that is counted."""
    if reference.shape != prediction.shape or reference.ndim != 2:
        raise EvaluationError(
            f"The reference has the shape {reference.shape}, the prediction {prediction.shape}, expected the "
            "same two dimensions. Bring them to one grid."
        )
    if distance < 1:
        raise EvaluationError(f"A boundary cannot be {distance} pixels wide. Give a distance of 1 or more.")
    if tile is None and shape is None:
        everything = (slice(None), slice(None))
        return everything, everything
    if tile is None or shape is None:
        raise EvaluationError(
            "A tile is placed by the shape of its raster. Give both tile and shape, or neither."
        )
    read, core = _clipped(tile.window, shape), _clipped(tile.core, shape)
    if not core.width * core.height:
        nothing = (slice(0, 0), slice(0, 0))
        return nothing, nothing
    needed = _clipped(_grown(core, distance), shape)
    if (tile.window.height, tile.window.width) != reference.shape or _overlap(read, needed) != needed:
        raise EvaluationError(
            f"A tile of shape {reference.shape} was read as {tile.window}, expected its core {tile.core} and "
            f"{distance} pixels around it. Read it with_halo(core, shape, halo={distance})."
        )
    return _slices(read, tile.window), _slices(core, read)


def _grown(window: Window, margin: int) -> Window:
    return Window(
        window.col_off - margin,
        window.row_off - margin,
        window.width + 2 * margin,
        window.height + 2 * margin,
    )


def _overlap(one: Window, other: Window) -> Window:
    left, top = max(one.col_off, other.col_off), max(one.row_off, other.row_off)
    right = min(one.col_off + one.width, other.col_off + other.width)
    bottom = min(one.row_off + one.height, other.row_off + other.height)
    return Window(left, top, max(right - left, 0), max(bottom - top, 0))


def _clipped(window: Window, shape: tuple[int, int]) -> Window:
    return _overlap(window, Window(0, 0, shape[1], shape[0]))


def _slices(inner: Window, outer: Window) -> Slices:
    row, col = inner.row_off - outer.row_off, inner.col_off - outer.col_off
    return slice(row, row + inner.height), slice(col, col + inner.width)


def _codes(reference: Labels, prediction: Labels, n_classes: int) -> tuple[Codes, Codes]:
    """Class indices of both; -1 in both where nothing is compared, ``n_classes`` where none was predicted."""
    is_compared = (reference >= 0) & (reference < n_classes)
    is_class = (prediction >= 0) & (prediction < n_classes)
    truth = np.full(reference.shape, _BLANK, np.int16)
    np.copyto(truth, reference, where=is_compared, casting="unsafe")
    predicted = np.where(is_compared, np.int16(n_classes), np.int16(_BLANK))
    np.copyto(predicted, prediction, where=is_compared & is_class, casting="unsafe")
    return truth, predicted


def _near_other(codes: Codes, distance: int, *, is_blank_other: bool = True) -> Bools:
    """Whether another code lies within ``distance``; blanks and what is outside are another code, or none."""
    low = codes if is_blank_other else np.where(codes == _BLANK, np.int16(_ABOVE_ALL), codes)
    highest = _extreme(np.maximum, codes, distance, _BLANK)
    lowest = _extreme(np.minimum, low, distance, _BLANK if is_blank_other else _ABOVE_ALL)
    is_near: Bools = (highest != codes) | (lowest != codes)
    return is_near


def _extreme(extreme: np.ufunc, codes: Codes, distance: int, outside: int) -> Codes:
    """The extreme over squares of 2 x ``distance`` + 1 pixels, one axis after the other, by doubling."""
    values = codes
    for axis in (0, 1):
        margins = [(0, 0), (0, 0)]
        margins[axis] = (distance, distance)
        values = np.pad(values, margins, constant_values=outside)
        reach = 1
        while reach < 2 * distance + 1:
            step = min(reach, 2 * distance + 1 - reach)
            ahead = values[step:] if axis == 0 else values[:, step:]
            behind = values[:-step] if axis == 0 else values[:, :-step]
            values = extreme(behind, ahead)
            reach += step
    return values


def _histogram(codes: Codes, n_classes: int, places: Places | None, n_places: int) -> NDArray[np.int64]:
    """(place, class) pixels; -1 and ``n_classes`` are no class."""
    flat = codes.ravel().astype(np.int64) + 1
    if places is not None:
        is_there = places.ravel() >= 0
        flat = flat[is_there] + places.ravel()[is_there].astype(np.int64) * (n_classes + 2)
    counts = np.bincount(flat, minlength=n_places * (n_classes + 2)).reshape(n_places, n_classes + 2)
    return counts[:, 1 : n_classes + 1]
