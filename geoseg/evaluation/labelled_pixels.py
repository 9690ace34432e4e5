"""Pixels of labelled images of one's own: bands as reflectance, labels as classes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import EvaluationError
from geoseg.evaluation.benchmark import IGNORE, Labels, Pixels
from geoseg.evaluation.label_rasters import opened
from geoseg.evaluation.labelled_document import SKIP, IgnoreRule, LabelledImages


def read_reflectance(path: Path, *, document: LabelledImages) -> Pixels:
    """(band, y, x) float32 reflectance of an image, NaN for nodata, without the layers that are left out.

    Raises:
        EvaluationError: it cannot be read, or has not as many layers as ``bands`` names.
    """
    taken = [i for i, band in enumerate(document.bands) if band != SKIP]
    with opened(path) as source:
        if source.count != len(document.bands):
            raise EvaluationError(
                f"{path} has {source.count} layers, bands names {len(document.bands)}: "
                f"{', '.join(document.bands)}. Write - for a layer to leave out."
            )
        stored = source.read([i + 1 for i in taken])
        declared = [source.nodatavals[i] for i in taken]
    factors = (np.asarray(v, np.float32) for v in (document.scale, document.offset))
    scales, offsets = (np.broadcast_to(v, len(document.bands)) for v in factors)
    reflectance: Pixels = stored.astype(np.float32)
    for n, i in enumerate(taken):
        reflectance[n] = reflectance[n] * scales[i] + offsets[i]
        nodata = declared[n] if document.nodata is None else document.nodata
        if nodata is not None:
            reflectance[n][stored[n] == nodata] = np.nan
    return reflectance


def read_labels(path: Path, *, document: LabelledImages) -> Labels:
    """(y, x) classes of a label file.

    Raises:
        EvaluationError: it cannot be read, lacks a layer, or holds a value that is neither class nor ignored.
    """
    numbers = sorted({document.label_layer, *(r.layer or document.label_layer for r in document.ignore)})
    with opened(path) as source:
        if numbers[-1] > source.count:
            raise EvaluationError(f"{path} has {source.count} layers, layer {numbers[-1]} is asked for.")
        layers = dict(zip(numbers, source.read(numbers), strict=True))
        nodata = source.nodatavals[document.label_layer - 1]
    return classes_of(layers, document, nodata=nodata, path=path)


def classes_of(
    layers: Mapping[int, NDArray[Any]], document: LabelledImages, *, nodata: float | None, path: Path
) -> Labels:
    """(y, x) classes that the layers of a label file mean; :data:`IGNORE` where nothing is scored.

    Args:
        layers: (y, x) by number; NaN and ``nodata`` in that of the labels mean that a pixel has none.
        document: the classes and what is ignored.
        nodata: what the file declares.
        path: for messages.

    Raises:
        EvaluationError: a value is neither a class nor ignored, or a layer asked for bits has fractions.
    """
    values = layers[document.label_layer]
    labels = _classes(values, document)
    ignored = labels == IGNORE if document.other == "ignore" else np.isnan(values)
    if nodata is not None:
        ignored |= (values == nodata) & (labels == IGNORE)
    by_name = {c.name: c.value for c in document.legend.classes}
    for rule in document.ignore:
        number = rule.layer or document.label_layer
        is_met = _meets(layers[number], rule, f"layer {number} of {path}")
        if rule.only or rule.unless:
            is_named = np.isin(labels, [by_name[name] for name in rule.only or rule.unless])
            is_met &= is_named if rule.only else ~is_named
        ignored |= is_met
    strange = np.unique(values[(labels == IGNORE) & ~ignored])
    if strange.size:
        raise EvaluationError(
            f"{path} holds {', '.join(f'{v:g}' for v in strange[:5])}, which is no class and not ignored. "
            'Name it in [[classes]] or [[ignore]], or set other = "ignore".'
        )
    labels[ignored] = IGNORE
    return labels


def _classes(values: NDArray[Any], document: LabelledImages) -> Labels:
    table = sorted((v, number) for number, c in enumerate(document.classes) for v in c.values)
    known, numbers = np.array(table).T
    at = np.searchsorted(known, values).clip(max=len(known) - 1)
    return np.where(known[at] == values, numbers[at], IGNORE).astype(np.uint8)


def _meets(layer: NDArray[Any], rule: IgnoreRule, label: str) -> NDArray[np.bool_]:
    if not rule.bits:
        return np.isin(layer, rule.values)
    if not np.issubdtype(layer.dtype, np.integer):
        raise EvaluationError(f"{label} holds {layer.dtype}, which has no bits. Ignore by values.")
    is_set: NDArray[np.bool_] = (layer.astype(np.int64) & sum(1 << bit for bit in set(rule.bits))) != 0
    return is_set
