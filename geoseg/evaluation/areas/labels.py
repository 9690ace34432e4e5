"""Labelled points as they come back from people: checked, and in names instead of numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
from pyogrio.errors import DataLayerError, DataSourceError

from geoseg.errors import EvaluationError, one_line
from geoseg.evaluation.areas.estimate import Stratum
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


def count_by(names: Sequence[str], values: pd.Series) -> list[int]:
    """How often each name stands in a series."""
    counts = values.value_counts()
    return [int(counts.get(name, 0)) for name in names]


def _read_layer(path: Path) -> gpd.GeoDataFrame:
    layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
    if _LAYER not in layers and len(layers) != 1:
        raise ValueError(f"it has no layer {_LAYER!r} but {', '.join(layers) or 'none with points'}")
    frame = pyogrio.read_dataframe(path, layer=_LAYER if _LAYER in layers else layers[0])
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
