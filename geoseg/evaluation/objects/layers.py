"""Two vector files of polygons compared: which objects of the one are in the other."""

from collections.abc import Sequence
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ValidationError
from pyproj import CRS

from geoseg.errors import EvaluationError
from geoseg.evaluation.features import (
    NO_VALUE,
    PlacesOf,
    is_polygon,
    names_of,
    own_names,
    read_features,
    usual_field,
)
from geoseg.evaluation.maps import Compared, compared, legend_of, meaning_of, stac_beside, unused_keys
from geoseg.evaluation.objects.matching import average_precision
from geoseg.evaluation.objects.polygons import count_objects, match_polygons
from geoseg.evaluation.objects.results import Category, objects_of
from geoseg.evaluation.rasters import Request
from geoseg.evaluation.scores import Evaluation, Scores
from geoseg.legend import Legend, LegendClass

NO_CLASS = "object"
"""What features are called where no attribute says their class."""
_CONFIDENCE = ("confidence", "score")
_EQUAL_AREA = "EPSG:6933"
_WIDEST_DEGREES = 6
"""As wide as a UTM zone."""
_CLASS, _PLACE, _SURE = "_class", "_place", "_confidence"


@dataclass(frozen=True)
class _Layer:
    """Polygons, each with the name of its class."""

    frame: gpd.GeoDataFrame
    names: NDArray[np.object_]
    notes: tuple[str, ...]


def score_polygons(request: Request) -> Evaluation:
    """Objects found, made up and missed, per class, overall and per place.

    Classes that the reference has nowhere are left out: a file of buildings says nothing about trees. IoUs
    are taken in a projected CRS: the prediction's, else the reference's, else one for where they lie.

    Args:
        request: both files are vector files with polygons.

    Raises:
        EvaluationError: a file cannot be read or has no polygons, or a class is unknown.
    """
    found = _read(request, is_prediction=True)
    true = _read(request, is_prediction=False)
    classes, found_class = _predicted_classes(request, found)
    true_class = _reference_classes(request, true, classes)
    crs = _plane(found.frame, true.frame)
    tables = [
        gpd.GeoDataFrame({_CLASS: values}, geometry=layer.frame.geometry.to_crs(crs).to_numpy(), crs=crs)
        for layer, values in ((found, found_class), (true, true_class))
    ]
    sure = next((name for name in _CONFIDENCE if name in found.frame.columns), None)
    if sure is not None:
        tables[0][_SURE] = _confidence(found.frame[sure], f"{request.prediction.name}, {sure}")
    scored = [c for c in classes.legend.classes if (true_class == c.value).any()]
    left_out = [c.name for c in classes.legend.classes if c not in scored and (found_class == c.value).any()]
    unused = unused_keys(request.crosswalk.reference, set(true.names), request.reference.name)
    notes = [*found.notes, *true.notes, *unused, f"IoUs were taken in {CRS(crs).name}."]
    if left_out:
        notes.append(f"{request.reference.name} has no {', '.join(left_out)}: left out.")
    return Evaluation(_scores(request, tables, scored, notes, sure), unit="polygons")


def _confidence(column: pd.Series, label: str) -> NDArray[np.float64]:
    found: NDArray[np.float64] = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    if np.isnan(found).any():
        strange = column[np.isnan(found)].iloc[0]
        raise EvaluationError(f"{label} is {strange!r} somewhere, expected numbers. Mend it, or rename it.")
    return found


def _scores(
    request: Request,
    tables: Sequence[gpd.GeoDataFrame],
    scored: Sequence[LegendClass],
    notes: list[str],
    sure: str | None,
) -> Scores:
    n_all, ids = len(tables[1]), [c.value for c in scored]
    (found, true), place_names = _placed(request, [table[table[_CLASS].isin(ids)] for table in tables])
    counts = count_objects(
        true,
        found,
        thresholds=request.iou,
        class_ids=ids,
        class_column=_CLASS,
        place_column=None if place_names is None else _PLACE,
        n_places=1 if place_names is None else len(place_names),
    )
    precision = None
    if sure is not None:
        matches = match_polygons(true, found, class_ids=ids, class_column=_CLASS, confidence_column=_SURE)
        precision = average_precision([matches])
        notes = [*notes, f"Average precision ranks polygons by {sure}."]
    return Scores(
        title=f"{request.prediction.name} against {request.reference.name}",
        compared=len(true),
        left_out=n_all - len(true),
        objects=objects_of(
            {"": counts} if place_names is None else dict(zip(place_names, counts, strict=True)),
            precision,
            [Category(c.value, c.name, c.color_hint) for c in scored],
            request.iou,
            has_places=place_names is not None,
        ),
        notes=tuple(notes),
    )


def _placed(
    request: Request, tables: Sequence[gpd.GeoDataFrame]
) -> tuple[Sequence[gpd.GeoDataFrame], list[str] | None]:
    """The polygons in some place, with its number, and what the places are called; None without places."""
    names = None
    if request.places is not None:
        places = PlacesOf(request.places, crs=str(tables[0].crs), field=request.place_field)
        tables = [table.assign(**{_PLACE: places.at(table.representative_point())}) for table in tables]
        tables, names = [table[table[_PLACE] >= 0] for table in tables], places.names
    if not len(tables[1]):
        raise EvaluationError(
            f"Not one polygon of {request.reference.name} has a class and place that are compared. Check "
            "that the files are of the same place, and what the crosswalk ignores."
        )
    return tables, names


def _read(request: Request, *, is_prediction: bool) -> _Layer:
    path = request.prediction if is_prediction else request.reference
    frame = read_features(path)
    is_area = is_polygon(frame)
    if len(frame) and not is_area.any():
        raise EvaluationError(f"{path.name} has no polygons. Compare polygons with polygons.")
    field = request.class_field
    if field is not None and field not in frame.columns and not is_prediction:
        columns = ", ".join(str(c) for c in frame.columns if c != frame.geometry.name)
        raise EvaluationError(f"{path.name} has no field {field!r}. It has: {columns or 'none'}.")
    field = field if field in frame.columns else usual_field(frame)
    if field is not None:
        is_area = is_area & frame[field].notna().to_numpy()
    n_out = int((~is_area).sum())
    frame = frame[is_area]
    names = (
        np.full(len(frame), NO_CLASS, object) if field is None else names_of(frame, field).to_numpy(object)
    )
    by = f"classes by {field}" if field else f"no field says a class: all are {NO_CLASS}"
    notes = [f"{len(frame):,} polygons of {path.name}, {by}."]
    if n_out:
        notes.append(f"{n_out:,} features of {path.name} are no polygons or have no class, left out.")
    return _Layer(frame, names, tuple(notes))


def _predicted_classes(request: Request, layer: _Layer) -> tuple[Compared, NDArray[np.int64]]:
    """The classes that are compared, and the value of each predicted polygon's; -1 for what is ignored."""
    own = _own_legend(request, layer)
    classes = compared(own, request.crosswalk)
    by_name = {c.name: c.value for c in classes.legend.classes}
    value_of = {c.name: c.value for c in own.classes} | {str(c.value): c.value for c in own.classes}
    unknown = sorted(set(layer.names) - set(value_of))
    if unknown:
        raise EvaluationError(
            f"{request.prediction.name} has {unknown[0]!r}, which its legend has not: "
            f"{', '.join(c.name for c in own.classes)}. Give another --legend."
        )
    meant = {n: by_name.get(classes.names[value_of[n]], -1) for n in set(layer.names)}
    return classes, np.array([meant[n] for n in layer.names], np.int64)


def _own_legend(request: Request, layer: _Layer) -> Legend:
    """What says the classes: --legend, STAC beside the file, or the features themselves."""
    is_of_map = stac_beside(request.prediction) is not None
    if request.legend is not None or (is_of_map and set(layer.names) != {NO_CLASS}):
        return legend_of(request.prediction, request.legend)
    names = sorted(set(layer.names)) or [NO_CLASS]
    try:
        classes = [
            LegendClass(value=value, name=name, color_hint="808080")
            for value, name in zip(_values(layer, names), names, strict=True)
        ]
        return Legend(classes=tuple(classes))
    except ValidationError:
        raise EvaluationError(
            f"{request.prediction.name} has {len(names)} classes such as {names[0]!r}, expected up to 255 of "
            "letters and digits. Which field says the class? Give --field."
        ) from None


def _values(layer: _Layer, names: Sequence[str]) -> Sequence[int]:
    """The class_id that goes with each name, else the name if it is a number, else 0, 1, 2 ..."""
    if set(layer.names) == set(names) and "class_id" in layer.frame.columns:
        pairs = set(zip(layer.names.tolist(), layer.frame["class_id"].tolist(), strict=True))
        ids = dict(pairs)
        if len(pairs) == len(names) == len(set(ids.values())) and all(
            isinstance(n, int) for n in ids.values()
        ):
            return [ids[name] for name in names]
    return [int(name) for name in names] if all(map(str.isdigit, names)) else range(len(names))


def _reference_classes(request: Request, layer: _Layer, classes: Compared) -> NDArray[np.int64]:
    """The value of each reference polygon's class; -1 for what is ignored."""
    crosswalk = request.crosswalk
    kinds = sorted(set(layer.names))
    named = own_names(kinds, classes, crosswalk)
    if not crosswalk.reference and kinds == [NO_CLASS] and len(classes.legend.classes) == 1:
        named = {NO_VALUE: classes.legend.classes[0].name}
    meant = meaning_of(named, crosswalk.reference, classes, what="reference")
    value_of = {kind: meant.get(n, -1) for n, kind in enumerate(kinds, NO_VALUE)}
    return np.array([value_of[n] for n in layer.names], np.int64)


def _plane(found: gpd.GeoDataFrame, true: gpd.GeoDataFrame) -> str:
    """The CRS in which areas are taken."""
    for frame in (found, true):
        if not CRS(frame.crs).is_geographic:
            return str(CRS(frame.crs).to_wkt())
    frame = true if len(true) else found
    west, _, east, _ = frame.to_crs("EPSG:4326").total_bounds
    if len(frame) and east - west < _WIDEST_DEGREES:
        return str(frame.estimate_utm_crs().to_wkt())
    return _EQUAL_AREA
