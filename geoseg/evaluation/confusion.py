"""The confusion matrix that all scores of a class map come from: counted piece by piece, added up."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import EvaluationError

Counts = NDArray[np.int64]
"""(class, class + 1): rows the reference, columns the prediction; the last column counts reference pixels for
which the prediction has no class. Counts of places may be stacked in front: (place, class, class + 1)."""

IGNORED = np.iinfo(np.int32).max
"""The index of values that are not compared."""


def count(reference: NDArray[np.integer], prediction: NDArray[np.integer], *, n_classes: int) -> Counts:
    """The matrix of two arrays of class indices; matrices of parts add up to that of the whole.

    Args:
        reference: class indices, 0 to ``n_classes`` - 1, any shape; other values are left out.
        prediction: of the same shape; other values mean that no class was predicted, which is wrong.
        n_classes: how many there are.

    Raises:
        ValueError: the shapes differ (a mistake of the programmer's).

    Example:
        >>> count(np.array([0, 0, 1, 9]), np.array([0, 1, 7, 1]), n_classes=2)
        array([[1, 1, 0],
               [0, 0, 1]])
    """
    if reference.shape != prediction.shape:
        raise ValueError(f"Shapes differ: reference {reference.shape}, prediction {prediction.shape}.")
    is_compared = (reference >= 0) & (reference < n_classes)
    rows = reference[is_compared].astype(np.int64)
    columns = prediction[is_compared].astype(np.int64)
    columns[(columns < 0) | (columns > n_classes)] = n_classes
    flat = np.bincount(rows * (n_classes + 1) + columns, minlength=n_classes * (n_classes + 1))
    return flat.reshape(n_classes, n_classes + 1)


def count_by_place(
    reference: NDArray[np.integer],
    prediction: NDArray[np.integer],
    places: NDArray[np.integer],
    *,
    n_classes: int,
    n_places: int,
) -> Counts:
    """(place, class, class + 1) matrices of all places, counted at once.

    Args:
        reference: see :func:`count`.
        prediction: see :func:`count`.
        places: of the same shape, 0 to ``n_places`` - 1; below 0 for none, which is not counted.
        n_classes: how many there are.
        n_places: how many there are.

    Example:
        >>> count_by_place(np.array([0, 0]), np.array([0, 1]), np.array([1, -1]), n_classes=1, n_places=2)
        array([[[0, 0]],
        <BLANKLINE>
               [[1, 0]]])
    """
    is_compared = (reference >= 0) & (reference < n_classes) & (places >= 0)
    rows = reference[is_compared].astype(np.int64) + places[is_compared].astype(np.int64) * n_classes
    columns = prediction[is_compared].astype(np.int64)
    columns[(columns < 0) | (columns > n_classes)] = n_classes
    size = n_places * n_classes * (n_classes + 1)
    flat = np.bincount(rows * (n_classes + 1) + columns, minlength=size)
    return flat.reshape(n_places, n_classes, n_classes + 1)


def indices(values: NDArray[np.integer], ids: Sequence[int]) -> NDArray[np.int32]:
    """The index in ``ids`` of each value; :data:`IGNORED` for values that are not in it."""
    order = np.argsort(ids)
    known = np.asarray(ids)[order]
    at = np.searchsorted(known, values).clip(max=len(known) - 1)
    return np.where(known[at] == values, order[at], IGNORED).astype(np.int32)


def table_of(ids: Sequence[int], to: dict[int, int], *, size: int = 256) -> NDArray[np.int32]:
    """(size,) the class index that each stored value stands for; :data:`IGNORED` where it stands for none.

    Args:
        ids: the classes' ids, in order of their indices.
        to: the class id that a stored value means; values that are not in it mean none.
        size: stored values are 0 to ``size`` - 1.

    Raises:
        EvaluationError: a value lies outside ``size``, or is to mean a class that there is not.
    """
    index = {class_id: n for n, class_id in enumerate(ids)}
    table = np.full(size, IGNORED, np.int32)
    for value, class_id in to.items():
        if class_id not in index:
            known = ", ".join(map(str, ids))
            raise EvaluationError(f"Value {value} is to mean class {class_id}, but the classes are {known}.")
        if not 0 <= value < size:
            raise EvaluationError(f"Value {value} cannot be stored in pixels of 0 to {size - 1}.")
        table[value] = index[class_id]
    return table
