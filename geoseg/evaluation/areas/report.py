"""From labelled points to ``areas.json``: error-adjusted areas with intervals, whole and by region."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geoseg.errors import EvaluationError
from geoseg.evaluation.areas.estimate import Points, Stratum, estimate_areas, estimate_region
from geoseg.evaluation.areas.facts import AreaFigures, AreaReport, figures_of
from geoseg.evaluation.areas.labels import (
    LabelTable,
    check_labels,
    legend_names,
    named,
    read_areas,
    read_labels,
    strata_of,
)
from geoseg.evaluation.areas.mapped import MapSurvey, read_regions, survey_map

Floats = NDArray[np.float64]
_SAME_AREA = 1e-3
"""A map and a sample whose areas differ by a larger share are of different ground."""


@dataclass(frozen=True)
class AreaRequest:
    """What is estimated from what."""

    labels: Path
    """See :func:`geoseg.evaluation.areas.labels.read_labels`."""
    map: Path | None = None
    """The map to assess: its class at each point and its pixel-counted areas are read. None for the map that
    the sample was drawn from, as the sample remembers it."""
    areas: Path | None = None
    """See :func:`geoseg.evaluation.areas.labels.read_areas`; None for the strata that the sample remembers,
    or the map's classes."""
    legend: Path | None = None
    """See :func:`geoseg.evaluation.maps.legend_of`."""
    regions: str | None = None
    """See :func:`geoseg.evaluation.areas.mapped.read_regions`."""
    region_field: str | None = None
    """Attribute that names the regions."""
    allow_missing: bool = False
    """Leave points without a label out, instead of refusing them."""


@dataclass(frozen=True)
class _Population:
    """Strata and classes, in names."""

    stratum_names: dict[str, str]
    strata: dict[str, Stratum]
    class_names: dict[str, str]
    """By value as text, in the order of the legend; empty where there is no legend."""
    mapped_ha: dict[str, float] | None
    """Pixel-counted area by class; None where nothing says it."""
    notes: tuple[str, ...] = ()


def report_areas(request: AreaRequest) -> AreaReport:
    r"""Areas and accuracies with standard errors and 95 % intervals, from labelled points.

    Raises:
        EvaluationError: a file cannot be read, or they do not fit together; labels are missing and
            ``allow_missing`` is not set; a stratum has no labelled point.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     labels, areas = Path(folder, "points.csv"), Path(folder, "strata.csv")
        ...     rows = "water,water\n" * 9 + "water,land\n" + "land,land\n" * 10
        ...     _ = labels.write_text("stratum,reference_class\n" + rows)
        ...     _ = areas.write_text("stratum,area_ha\nwater,40\nland,60\n")
        ...     report = report_areas(AreaRequest(labels=labels, areas=areas))
        >>> [(c.class_name, c.mapped_ha, c.area_ha, c.area_se_ha) for c in report.whole.classes]
        [('water', 40.0, 36.0, 4.0), ('land', 60.0, 64.0, 4.0)]
    """
    table = read_labels(request.labels)
    regions = None if request.regions is None else read_regions(request.regions, request.region_field)
    if regions is not None and (request.map is None or table.places is None):
        lack = "no --map" if request.map is None else f"{table.name} does not say where the points are"
        raise EvaluationError(
            f"Regions need a map and places of points: {lack}. Give --map and the GeoPackage of the sample."
        )
    survey = (
        None
        if request.map is None
        else survey_map(request.map, legend=request.legend, places=table.places, regions=regions)
    )
    population = _population(request, table, survey)
    frame = _points_frame(table, survey, population, request)
    is_labelled = frame.reference.notna().to_numpy()
    strata, notes = check_labels(
        table, population.strata, frame.stratum, is_labelled, allow=request.allow_missing
    )
    labelled = frame[is_labelled]
    classes = _classes(population, labelled)
    order = {name: i for i, name in enumerate(population.strata)}
    points = Points(
        stratum=labelled.stratum.map(order).to_numpy(np.int64),
        map_class=labelled.map_class.map(classes.index).to_numpy(np.int64),
        reference=labelled.reference.map(classes.index).to_numpy(np.int64),
    )
    sizes = dict(enumerate(population.strata.values()))
    ids = {name: int(value) for value, name in population.class_names.items() if value.isdigit()}
    named_classes = [(ids.get(name), name) for name in classes]
    mapped = None if population.mapped_ha is None else [population.mapped_ha.get(c, 0.0) for c in classes]
    whole = figures_of(
        estimate_areas(points, sizes, n_classes=len(classes)),
        name=request.map.name if request.map else table.name,
        classes=named_classes,
        mapped_ha=None if mapped is None else np.array(mapped),
        total_ha=sum(s.area_ha for s in population.strata.values()),
    )
    return AreaReport(
        whole=whole,
        regions=_regions(regions, survey, points, sizes, named_classes, is_labelled, population),
        strata=strata,
        n_points=len(frame),
        n_missing=int((~is_labelled).sum()),
        notes=(*population.notes, *notes),
        geoseg_version=version("geoseg"),
    )


def _population(request: AreaRequest, table: LabelTable, survey: MapSurvey | None) -> _Population:
    """Strata of --areas, the sample, or the map's classes; classes of the map, or the sample."""
    notes: list[str] = list(survey.notes) if survey else []
    mapped = None
    class_names: dict[str, str] = {}
    if survey is not None:
        class_names = legend_names(survey.legend)
        mapped = {c.name: float(survey.area_ha[c.value]) for c in survey.legend.classes}
    elif table.classes is not None:
        class_names = table.class_names
        mapped = dict(zip(table.classes.class_name, table.classes.area_ha.astype(float), strict=True))
    own = read_areas(request.areas) if request.areas else table.strata
    if own is not None:
        stratum_names, strata = strata_of(own)
    elif survey is not None:
        stratum_names = class_names
        strata = {
            c.name: Stratum(float(survey.area_ha[c.value]), int(survey.pixels[c.value]))
            for c in survey.legend.classes
            if survey.pixels[c.value]
        }
    else:
        raise EvaluationError(
            f"{table.name} does not say how large its strata are. Give --map class.tif, whose classes are "
            "the strata, or --areas FILE.csv with the columns stratum and area_ha."
        )
    if _strata_are_classes(table):
        class_names = class_names or stratum_names
        mapped = mapped or {name: s.area_ha for name, s in strata.items()}
    if mapped is not None:
        notes += _area_notes(sum(mapped.values()), sum(s.area_ha for s in strata.values()), request)
    return _Population(stratum_names, strata, class_names, mapped, tuple(notes))


def _strata_are_classes(table: LabelTable) -> bool:
    return table.map_class is None or bool((table.map_class == table.stratum).all())


def _area_notes(mapped_ha: float, strata_ha: float, request: AreaRequest) -> list[str]:
    if abs(mapped_ha - strata_ha) <= _SAME_AREA * strata_ha:
        return []
    text = (
        f"The map has {mapped_ha:,.6g} ha with a class, but the strata of the sample have {strata_ha:,.6g} ha"
    )
    if request.regions is not None:
        raise EvaluationError(
            f"{text}: areas of regions cannot be estimated. Give the map that the sample was drawn from, or "
            "one of the same ground."
        )
    return [f"{text}: areas are estimated for the latter, pixels are counted on the former."]


def _points_frame(
    table: LabelTable, survey: MapSurvey | None, population: _Population, request: AreaRequest
) -> pd.DataFrame:
    """Strata, map classes and references in names."""
    stratum = named(table.stratum, population.stratum_names, column="stratum", source=table.name)
    if stratum.isna().any():
        raise EvaluationError(f"{table.name} has {int(stratum.isna().sum())} points without a stratum.")
    if survey is not None and table.places is not None and request.map is not None:
        if (survey.class_at == 255).any():
            raise EvaluationError(
                f"{int((survey.class_at == 255).sum())} of {len(stratum)} points lie where "
                f"{request.map.name} has no class. Give a map that covers the sample."
            )
        names = {c.value: c.name for c in survey.legend.classes}
        map_class = pd.Series([names[v] for v in survey.class_at.tolist()], dtype=object)
    else:
        tokens = table.stratum if table.map_class is None else table.map_class
        map_class = named(tokens, population.class_names, column="map_class", source=table.name)
        if map_class.isna().any():
            raise EvaluationError(
                f"{table.name} has {int(map_class.isna().sum())} points without a map_class."
            )
    # Values are those of the map that the sample was drawn from; another one may number its classes anew.
    own = {name: name for name in population.class_names.values()} | table.class_names
    known = own if table.class_names else population.class_names
    reference = named(table.reference, known, column="reference_class", source=table.name)
    _refuse_strangers(set(reference.dropna()), population, table, request)
    return pd.DataFrame({"stratum": stratum, "map_class": map_class, "reference": reference})


def _refuse_strangers(
    labelled: set[str], population: _Population, table: LabelTable, request: AreaRequest
) -> None:
    """Labels whose names the map does not know are of another legend, unless the map could have them."""
    there = set(population.class_names.values())
    gone = sorted(labelled - there)
    if request.map is not None and there and gone and set(gone) <= set(table.class_names.values()):
        raise EvaluationError(
            f"Labels of {table.name} name {', '.join(gone[:5])}, which {request.map.name} does not: it has "
            f"{', '.join(sorted(there)[:8])}. Give the map that the sample is of, or one of the same classes."
        )


def _classes(population: _Population, labelled: pd.DataFrame) -> list[str]:
    """Classes on the map or at a point: in the order of the legend, then by name."""
    seen = {*labelled.map_class, *labelled.reference}
    seen |= {name for name, ha in (population.mapped_ha or {}).items() if ha > 0}
    ordered = [name for name in population.class_names.values() if name in seen]
    return ordered + sorted(seen - set(ordered))


def _regions(
    regions: "pd.DataFrame | None",
    survey: MapSurvey | None,
    points: Points,
    sizes: dict[int, Stratum],
    classes: list[tuple[int | None, str]],
    is_labelled: NDArray[np.bool_],
    population: _Population,
) -> tuple[AreaFigures, ...]:
    if regions is None or survey is None:
        return ()
    values = {c.name: c.value for c in survey.legend.classes}
    figures = []
    for number, name in enumerate(regions.region):
        inside = survey.region_at[is_labelled] == number
        by_value: Floats = survey.region_area_ha[number]
        mapped = np.array([by_value[values[c]] if c in values else 0.0 for _, c in classes])
        figures.append(
            figures_of(
                estimate_region(points, sizes, inside=inside, mapped_ha=mapped),
                name=name,
                classes=classes,
                mapped_ha=mapped,
                total_ha=float(mapped.sum()),
            )
        )
    return tuple(figures)
