"""Labelled points as they come back from people: checked, and in names instead of numbers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError

from geoseg.errors import EvaluationError, one_line
from geoseg.evaluation.areas.estimate import Stratum
from geoseg.evaluation.areas.facts import StratumFacts
from geoseg.evaluation.features import single_points
from geoseg.legend import Legend
from geoseg.registry import did_you_mean

_LAYER = "sample"
_HOW = "Give the sample.gpkg that geoseg area sample wrote, labelled, or a CSV with its columns."


@dataclass(frozen=True)
class LabelTable:
    """What a file of points says; all series have one element a point, as text, None where nothing stands."""

    name: str
    """Of the file."""
    stratum: pd.Series
    """As written: a value or a name."""
    map_class: pd.Series | None
    """As written; None where the file does not say it: then strata are the classes."""
    reference: pd.Series
    """As written."""
    places: gpd.GeoSeries | None
    """Where the points are; None where the file does not say it; no CRS where it is that of the map."""
    strata: pd.DataFrame | None
    """The file's own table of strata: stratum, stratum_name, pixels, area_ha, points."""
    classes: pd.DataFrame | None
    """The file's own table of the map: class_id, class_name, color, pixels, area_ha."""

    @property
    def class_names(self) -> dict[str, str]:
        """What the values of its classes mean, as text; empty where the file does not say it."""
        if self.classes is None:
            return {}
        ids = [str(int(value)) for value in self.classes.class_id]
        return dict(zip(ids, self.classes.class_name, strict=True))


def read_labels(path: Path) -> LabelTable:
    """The points of a GeoPackage or CSV.

    Args:
        path: layer ``sample`` (or the only one) of a GeoPackage or another vector file, or a CSV; columns
            ``stratum``, ``reference_class`` and, where strata are not the map's classes, ``map_class``. A CSV
            may have ``x`` and ``y`` in the CRS of the map.

    Raises:
        EvaluationError: it cannot be read, lacks a column, has no points, or holds a point twice.
    """
    if not path.is_file():
        raise EvaluationError(f"There is no file {path}. {_HOW}")
    try:
        is_csv = path.suffix.lower() == ".csv"
        frame = pd.read_csv(path, dtype=str) if is_csv else _read_layer(path)
        tables = [None, None] if is_csv else [_read_table(path, name) for name in ("strata", "classes")]
    except (OSError, ValueError, DataSourceError, DataLayerError) as error:
        raise EvaluationError(f"Cannot read {path}: {one_line(error)}. {_HOW}") from None
    frame.columns = [str(c).strip().lower() for c in frame.columns]
    lacking = [c for c in ("stratum", "reference_class") if c not in frame.columns]
    if lacking or frame.empty:
        lack = f"column {' and '.join(lacking)}" if lacking else "points"
        raise EvaluationError(
            f"{path.name} has no {lack}; its columns are {', '.join(map(str, frame.columns))}. {_HOW}"
        )
    if "point_id" in frame.columns and frame.point_id.duplicated().any():
        twice = frame.point_id[frame.point_id.duplicated()].iloc[0]
        raise EvaluationError(f"{path.name} holds point {twice} more than once. Delete the copies.")
    return LabelTable(
        name=path.name,
        stratum=_as_text(frame.stratum),
        map_class=_as_text(frame.map_class) if "map_class" in frame.columns else None,
        reference=_as_text(frame.reference_class),
        places=_places(frame),
        strata=tables[0],
        classes=tables[1],
    )


def refuse_unlabelled(table: LabelTable, *, allow: bool) -> None:
    """Raises EvaluationError where points have no label and that is not allowed."""
    missing = int(table.reference.isna().sum())
    if missing and not allow:
        raise _unlabelled(missing, len(table.reference), table)


def read_areas(path: Path) -> pd.DataFrame:
    """A CSV of the strata of the population: stratum, area_ha and, if known, stratum_name and pixels.

    Raises:
        EvaluationError: it cannot be read, lacks a column, or an area is not above 0.
    """
    columns = (
        "Give a CSV with the columns stratum and area_ha (hectares), and if known stratum_name and pixels."
    )
    try:
        table = pd.read_csv(path, dtype={"stratum": str, "stratum_name": str}, skipinitialspace=True)
    except (OSError, ValueError) as error:
        raise EvaluationError(f"Cannot read {path}: {one_line(error)}. {columns}") from None
    lacking = [c for c in ("stratum", "area_ha") if c not in table.columns]
    if lacking or table.empty:
        raise EvaluationError(f"{path.name} has no {' and '.join(lacking) or 'rows'}. {columns}")
    areas = pd.to_numeric(table.area_ha, errors="coerce")
    if not (areas > 0).all():
        wrong = int(np.argmin(areas.to_numpy() > 0))
        raise EvaluationError(
            f"{path.name}: stratum {table.stratum[wrong]} has area_ha {table.area_ha[wrong]}, expected "
            "hectares above 0. Correct it, or leave the stratum out if it has no pixels."
        )
    if table.stratum.duplicated().any():
        twice = table.stratum[table.stratum.duplicated()].iloc[0]
        raise EvaluationError(f"{path.name} holds stratum {twice} more than once. Add its areas up.")
    return table


def strata_of(table: pd.DataFrame) -> tuple[dict[str, str], dict[str, Stratum]]:
    """Names of strata by value, and their sizes by name, from a table of strata.

    Raises:
        EvaluationError: two strata share a name.
    """
    values = _as_text(table.stratum)
    names = _as_text(table.stratum_name) if "stratum_name" in table.columns else values
    named = {v: n or v for v, n in zip(values, names, strict=True)}
    pixels = table.pixels if "pixels" in table.columns else [None] * len(table)
    sizes = {
        named[v]: Stratum(float(area), None if pd.isna(count) else int(count))
        for v, area, count in zip(values, table.area_ha, pixels, strict=True)
    }
    if len(sizes) < len(table):
        raise EvaluationError(
            f"Two strata share a name: {', '.join(named.values())}. Give each its own, or none of them any."
        )
    return named, sizes


def named(tokens: pd.Series, names: Mapping[str, str], *, column: str, source: str) -> pd.Series:
    """Values or names as names.

    Args:
        tokens: text, None where nothing stands.
        names: name by value, as text; empty where nothing is known, then tokens stay what they are.
        column: how messages call them.
        source: the file they are from.

    Raises:
        EvaluationError: a token is neither.
    """
    if not names:
        return tokens
    known = {**{n: n for n in names.values()}, **names}
    if unknown := sorted(set(tokens.dropna()) - set(known)):
        raise EvaluationError(
            f"{source} has {column} {unknown[0]!r} ({int((tokens == unknown[0]).sum())} points), which is "
            f"not known: {did_you_mean(unknown[0], list(names.values()))} Correct it, or name it in a "
            "--legend file."
        )
    return tokens.map(known, na_action="ignore")


def legend_names(legend: Legend | None) -> dict[str, str]:
    """Names of classes by value, as text."""
    return {} if legend is None else {str(c.value): c.name for c in legend.classes}


def check_labels(
    table: LabelTable,
    strata: dict[str, Stratum],
    stratum: pd.Series,
    is_labelled: NDArray[np.bool_],
    *,
    allow: bool,
) -> tuple[tuple[StratumFacts, ...], tuple[str, ...]]:
    """The strata with their counts, and what is to be said of missing labels.

    Args:
        table: the labels as they were read.
        strata: the sizes of all strata, by name.
        stratum: (point,) name of each point's stratum.
        is_labelled: (point,) whether its reference is known.
        allow: leave points without a label out, instead of refusing them.

    Raises:
        EvaluationError: labels are missing, or a stratum has none, or more than pixels.
    """
    names = list(strata)
    labelled = _count_by(names, stratum[is_labelled])
    drawn = _count_by(names, stratum)
    if table.strata is not None and "points" in table.strata.columns:
        by_name = dict(zip(strata_of(table.strata)[1], table.strata.points.astype(int), strict=True))
        drawn = [max(n, by_name.get(name, 0)) for name, n in zip(names, drawn, strict=True)]
    missing = sum(drawn) - sum(labelled)
    if missing and not allow:
        raise _unlabelled(missing, sum(drawn), table, n_gone=sum(drawn) - len(stratum))
    facts = tuple(
        StratumFacts(stratum=name, area_ha=s.area_ha, pixels=s.pixels, n_labelled=n, n_missing=of - n)
        for (name, s), n, of in zip(strata.items(), labelled, drawn, strict=True)
    )
    _refuse_impossible(facts)
    return facts, tuple(_label_notes(facts))


def _unlabelled(missing: int, of: int, table: LabelTable, *, n_gone: int = 0) -> EvaluationError:
    deleted = f" ({n_gone} of them are no longer in the file)" if n_gone else ""
    return EvaluationError(
        f"{missing} of {of} points{deleted} have no reference_class in {table.name}. Label them, or give "
        "--allow-missing to leave them out: right only if they are like the labelled points of their stratum."
    )


def _count_by(names: Sequence[str], values: pd.Series) -> list[int]:
    """How often each name stands in a series."""
    counts = values.value_counts()
    return [int(counts.get(name, 0)) for name in names]


def _read_layer(path: Path) -> gpd.GeoDataFrame:
    layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
    if _LAYER not in layers and len(layers) != 1:
        raise ValueError(f"it has no layer {_LAYER!r} but {', '.join(layers) or 'none with points'}")
    layer = _LAYER if _LAYER in layers else layers[0]
    frame = pyogrio.read_dataframe(path, layer=layer)
    if "reference_class" in frame and path.suffix.lower() == ".gpkg":
        # SQLite keeps text in a column of numbers, where GDAL reads it as 0.
        quoted = layer.replace('"', '""')
        as_text = f'SELECT CAST(reference_class AS TEXT) AS said FROM "{quoted}"'  # noqa: S608  (quoted)
        said = pyogrio.read_dataframe(path, sql=as_text, read_geometry=False)
        frame["reference_class"] = said["said"].to_numpy()
    return single_points(frame) if isinstance(frame, gpd.GeoDataFrame) else frame


def _read_table(path: Path, name: str) -> pd.DataFrame | None:
    has_it = name in [str(n) for n, kind in pyogrio.list_layers(path) if kind is None]
    return pyogrio.read_dataframe(path, layer=name, read_geometry=False) if has_it else None


def _as_text(values: pd.Series) -> pd.Series:
    """Whole numbers without a point, text without blanks around it; None for nothing."""

    def one(value: object) -> str | None:
        if pd.isna(value):
            return None
        text = str(value).strip()
        whole = text.removesuffix(".0")
        return (whole if whole.isdigit() else text) or None

    return pd.Series([one(v) for v in values], dtype=object)


def _places(frame: pd.DataFrame) -> gpd.GeoSeries | None:
    if isinstance(frame, gpd.GeoDataFrame):
        return frame.geometry.reset_index(drop=True)
    if {"x", "y"} <= set(frame.columns):
        x, y = (pd.to_numeric(frame[c], errors="coerce") for c in "xy")
        return gpd.GeoSeries(gpd.points_from_xy(x, y))
    return None


def _refuse_impossible(strata: Sequence[StratumFacts]) -> None:
    for s in strata:
        if not s.n_labelled:
            raise EvaluationError(
                f"No point is labelled in stratum {s.stratum} ({s.area_ha:,.6g} ha), so nothing is known "
                "of it. Label points there, or draw a sample that covers it."
            )
        if s.pixels is not None and s.n_labelled > s.pixels:
            raise EvaluationError(
                f"Stratum {s.stratum} has {s.n_labelled} labelled points, but {s.pixels} pixels: expected "
                "each pixel once at most. Give the areas that the sample was drawn from, and each point once."
            )


def _label_notes(strata: Sequence[StratumFacts]) -> Iterator[str]:
    if missing := sum(s.n_missing for s in strata):
        where = ", ".join(f"{s.stratum} {s.n_missing}" for s in strata if s.n_missing)
        drawn = missing + sum(s.n_labelled for s in strata)
        yield (
            f"{missing} of {drawn} points have no label and were left out ({where}): the figures are "
            "right only if those are like the labelled points of their stratum. Points that are hard to "
            "label seldom are."
        )
    if lone := [s.stratum for s in strata if s.n_labelled == 1 and s.pixels != 1]:
        yield (
            f"Only one point is labelled in {', '.join(lone)}: one point has no variance, so there are no "
            "standard errors. Label 2 or more in each stratum."
        )
