"""Class maps as they are compared: what their numbers mean, and which class each is compared as."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar
from xml.etree import ElementTree

import rasterio
from pydantic import BaseModel, ConfigDict, ValidationError
from rasterio.errors import RasterioError

from geoseg.errors import EvaluationError
from geoseg.legend import Legend, LegendClass
from geoseg.registry import did_you_mean

Model = TypeVar("Model", bound=BaseModel)

IGNORE = "ignore"
"""In a crosswalk: what has this name is not compared."""
_GREY = "808080"


class Crosswalk(BaseModel):
    """Which class of a comparison the classes of a reference, and of a prediction, belong to; a TOML file.

    Keys are the values or names that a map has; what they map to is a class name, or ``ignore``. The key
    ``*`` stands for everything that is not named.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: dict[str, str] = {}
    """Empty: the reference's own names, or its values, are the prediction's."""
    prediction: dict[str, str] = {}
    """Empty: each class of the prediction stands for itself."""

    @classmethod
    def read(cls, path: Path) -> "Crosswalk":
        """The crosswalk of a TOML file.

        Raises:
            EvaluationError: there is no such file, or it is no crosswalk.
        """
        return read_crosswalk(path, cls, example='"10" = "tree"')


def read_crosswalk(path: Path, kind: type[Model], *, example: str) -> Model:
    """What a TOML file says, as a crosswalk of that kind.

    Args:
        path: the file.
        kind: its fields are the tables that the file may have.
        example: a line of a table, for the message.

    Raises:
        EvaluationError: there is no such file, or it is no crosswalk.
    """
    try:
        return kind(**tomllib.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        tables = " and ".join(f"[{table}]" for table in kind.model_fields)
        raise EvaluationError(
            f"{path} is no crosswalk ({_short(error)}). Give a TOML file with tables {tables} of lines such "
            f"as {example}; one of them may do."
        ) from None


def legend_of(path: Path, given: Path | None = None) -> Legend:
    """What the values of a class map mean.

    Args:
        path: the map.
        given: a TOML file with ``[[classes]]`` (value, name, color_hint), or a STAC item with
            ``classification:classes``; None for what lies beside the map: category names in
            ``.aux.xml``, then ``item.json``.

    Raises:
        EvaluationError: nothing says it.
    """
    if given is not None:
        return _legend_file(given)
    legend = _from_categories(path)
    if legend is None and (path.parent / "item.json").is_file():
        legend = _legend_file(path.parent / "item.json")
    if legend is None:
        raise EvaluationError(
            f"Nothing says what the values of {path.name} mean: it has no category names. "
            "Give --legend FILE.toml with [[classes]] of value, name and color_hint."
        )
    return legend


def shared_legend(own: Legend, crosswalk: Crosswalk) -> tuple[Legend, dict[int, str]]:
    """The classes that are compared, and the name of the one that each value of the prediction belongs to.

    Raises:
        EvaluationError: the crosswalk names a class that the prediction has not.
    """
    names = renamed({c.value: c.name for c in own.classes}, crosswalk.prediction, "prediction")
    classes: dict[str, LegendClass] = {}
    for c in own.classes:
        name = names[c.value]
        if name != IGNORE and name not in classes:
            classes[name] = c.model_copy(update={"name": name, "value": len(classes)})
    if names == {c.value: c.name for c in own.classes}:
        return own, names
    return Legend(classes=tuple(classes.values())), names


def meaning_of(
    values: Mapping[int, str], crosswalk: Mapping[str, str], legend: Legend, *, what: str
) -> dict[int, int]:
    """The class value of the comparison for each value of a reference; what is to be ignored is not in it.

    Args:
        values: the reference's values with its own names for them (the values as text where it has none).
        crosswalk: see :class:`Crosswalk`.
        legend: the classes that are compared.
        what: how messages call it.

    Raises:
        EvaluationError: a value means no class.
    """
    by_name = {c.name: c.value for c in legend.classes}
    found = {}
    for value, name in renamed(values, crosswalk, what).items():
        if name == IGNORE:
            continue
        if name not in by_name and not crosswalk and name == str(value) and value in legend.values:
            found[value] = value  # it has no names of its own: its values are the prediction's
        elif name in by_name:
            found[value] = by_name[name]
        else:
            raise EvaluationError(
                f"The {what} has {name!r}, which is no class of the map: {did_you_mean(name, list(by_name))} "
                f'Say it in a --crosswalk file: [reference] with "{name}" = a class, or "{IGNORE}".'
            )
    return found


def renamed(values: Mapping[int, str], crosswalk: Mapping[str, str], what: str) -> dict[int, str]:
    """The name that each value goes by in a comparison.

    Raises:
        EvaluationError: the crosswalk of a prediction names a class that it has not.
    """
    known = {*values.values(), *map(str, values), "*"}
    unknown = sorted(set(crosswalk) - known) if what == "prediction" else []
    if unknown:
        raise EvaluationError(
            f"The crosswalk names {unknown[0]!r}, which the {what} has not: "
            f"{did_you_mean(unknown[0], sorted(set(values.values())))}"
        )
    rest = crosswalk.get("*")
    return {v: crosswalk.get(name, crosswalk.get(str(v), rest or name)) for v, name in values.items()}


def names_in(path: Path) -> dict[int, str]:
    """Category names of a raster by value; empty where it has none."""
    try:
        return {
            c.value: c.name
            for c in (_from_categories(path) or Legend.of(none=_GREY)).classes
            if c.name != "none"
        }
    except EvaluationError:
        return {}


def _from_categories(path: Path) -> Legend | None:
    sidecar = path.with_name(path.name + ".aux.xml")
    if not sidecar.is_file():
        return None
    try:
        band = ElementTree.fromstring(sidecar.read_text("utf-8")).find("PAMRasterBand/CategoryNames")  # noqa: S314
    except (OSError, ElementTree.ParseError):
        return None
    colors = _colors(path)
    names = [c.text or "" for c in band] if band is not None else []
    classes = [(v, n, colors.get(v, (128, 128, 128))) for v, n in enumerate(names) if n and v < 255]
    return _legend(
        [{"value": v, "name": n, "color_hint": bytes(rgb[:3]).hex()} for v, n, rgb in classes], path
    )


def _colors(path: Path) -> dict[int, tuple[int, ...]]:
    """The colour table of a raster; empty where it has none."""
    try:
        with rasterio.open(path) as source:
            return dict(source.colormap(1))
    except (RasterioError, ValueError):
        return {}


def _legend_file(path: Path) -> Legend:
    try:
        text = path.read_text("utf-8")
        if path.suffix == ".json":
            assets = json.loads(text).get("assets", {}).values()
            entries = next(a["classification:classes"] for a in assets if "classification:classes" in a)
            return Legend(classes=tuple(LegendClass.from_stac(e) for e in entries if not e.get("nodata")))
        legend = _legend(tomllib.loads(text).get("classes", []), path)
    except (OSError, ValueError, KeyError, StopIteration, AttributeError) as error:
        raise EvaluationError(
            f"{path} is no legend ({_short(error)}). Give a TOML file with [[classes]] of value, name and "
            "color_hint, or the item.json of a map."
        ) from None
    if legend is None:
        raise EvaluationError(f"{path} names no classes. Give [[classes]] of value, name and color_hint.")
    return legend


def _legend(entries: list[dict[str, Any]], path: Path) -> Legend | None:
    if not entries:
        return None
    try:
        return Legend(classes=tuple(LegendClass(**{"color_hint": _GREY, **e}) for e in entries))
    except (ValidationError, TypeError) as error:
        raise EvaluationError(f"{path} is no legend: {_short(error)}.") from None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
