"""Class maps as they are compared: what their numbers mean, and which class each is compared as."""

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from xml.etree import ElementTree

import numpy as np
import rasterio
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from rasterio.errors import RasterioError

from geoseg.errors import EvaluationError, one_line
from geoseg.evaluation.confusion import table_of
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
    """Empty: each class of the prediction stands for itself. Where one is ``ignore``, nothing is compared."""

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
    if not path.exists():
        raise EvaluationError(f"There is no file {path}. Check the path.")
    try:
        return kind(**tomllib.loads(path.read_text("utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "extra_forbidden":
            table = str(first["loc"][0])
            near = did_you_mean(table, list(kind.model_fields))
            raise EvaluationError(f"{path} has a table [{table}]: {near}") from None
        where = ".".join(map(str, first["loc"]))
        raise EvaluationError(
            f"{path}: {where} is {first['input']!r}, expected a line such as {example}."
        ) from None
    except (OSError, ValueError) as error:
        tables = " and ".join(f"[{table}]" for table in kind.model_fields)
        raise EvaluationError(
            f"{path} is no crosswalk ({one_line(error)}). Give a TOML file with tables {tables} of lines "
            f"such as {example}; one of them may do."
        ) from None


def legend_of(path: Path, given: Path | None = None) -> Legend:
    """What the values of a class map mean.

    Args:
        path: the map.
        given: a TOML file with ``[[classes]]`` (value, name, color_hint), or a STAC item with
            ``classification:classes``; None for what lies beside the map: category names in
            ``.aux.xml`` (of a VRT: in itself), then its STAC item or collection.

    Raises:
        EvaluationError: nothing says it.
    """
    if given is not None:
        return _legend_file(given)
    legend = _from_categories(path)
    if legend is None and (beside := stac_beside(path)) is not None:
        legend = _legend_file(beside)
    if legend is None:
        raise EvaluationError(
            f"Nothing says what the values of {path.name} mean: it has no category names. "
            "Give --legend FILE.toml with [[classes]] of value, name and color_hint."
        )
    return legend


def stac_beside(path: Path) -> Path | None:
    """The STAC item of the map that a file is of, or the collection of one in sheets; None without any."""
    folder = path.parent
    if (folder / "item.json").is_file():
        return folder / "item.json"
    is_in_sheets = (folder / "class.vrt").is_file() and (folder / "collection.json").is_file()
    return folder / "collection.json" if is_in_sheets else None


@dataclass(frozen=True)
class Compared:
    """The classes of a comparison, and what the prediction's own values mean in it."""

    legend: Legend
    names: Mapping[int, str]
    """By value of the prediction: the name of the class that it is compared as, or ``ignore``."""

    def table(self) -> NDArray[np.int32]:
        """(256,) class index of each value; ``IGNORED`` for values that mean no class."""
        by_name = {c.name: c.value for c in self.legend.classes}
        return table_of(self.legend.values, {v: by_name[n] for v, n in self.names.items() if n in by_name})

    def is_ignored(self) -> NDArray[np.bool_]:
        """(256,) the values that are not compared."""
        found = np.zeros(256, bool)
        found[[value for value, name in self.names.items() if name == IGNORE]] = True
        return found


def compared(own: Legend, crosswalk: Crosswalk) -> Compared:
    """The classes that are compared; those of the prediction's own legend where a crosswalk changes nothing.

    Raises:
        EvaluationError: the crosswalk names a class that the prediction has not, or ignores all.
    """
    names = renamed({c.value: c.name for c in own.classes}, crosswalk.prediction, "prediction")
    if names == {c.value: c.name for c in own.classes}:
        return Compared(own, names)
    classes: dict[str, LegendClass] = {}
    for c in own.classes:
        name = names[c.value]
        if name != IGNORE and name not in classes:
            classes[name] = c.model_copy(update={"name": name, "value": len(classes)})
    if not classes:
        raise EvaluationError("The crosswalk's [prediction] ignores every class. Leave one to be compared.")
    return Compared(Legend(classes=tuple(classes.values())), names)


def meaning_of(
    values: Mapping[int, str], crosswalk: Mapping[str, str], classes: Compared, *, what: str
) -> dict[int, int]:
    """The class value of the comparison for each value of a reference; what is to be ignored is not in it.

    A reference without names of its own has the values of the prediction, before the crosswalk's
    ``[prediction]`` gives those another name.

    Args:
        values: the reference's values with its own names for them (the values as text where it has none).
        crosswalk: see :class:`Crosswalk`.
        classes: the classes that are compared.
        what: how messages call it.

    Raises:
        EvaluationError: a value means no class.
    """
    by_name = {c.name: c.value for c in classes.legend.classes}
    found = {}
    for value, name in renamed(values, crosswalk, what).items():
        is_nameless = not crosswalk and name == str(value) and value in classes.names
        meant = classes.names[value] if is_nameless else name
        if meant == IGNORE:
            continue
        if meant not in by_name:
            raise EvaluationError(
                f"The {what} has {meant!r}, which is no class of the map: "
                f"{did_you_mean(meant, list(by_name))} Say it in a --crosswalk file: [reference] with "
                f'"{meant}" = a class, or "{IGNORE}".'
            )
        found[value] = by_name[meant]
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


def unused_keys(crosswalk: Mapping[str, str], seen: Iterable[str], label: str) -> tuple[str, ...]:
    """A note on what a crosswalk names and a reference has not; nothing where there is none.

    Args:
        crosswalk: of the reference.
        seen: its values and names.
        label: how messages call it.
    """
    unused = [key for key in crosswalk if key not in {*seen, "*"}]
    if not unused:
        return ()
    more = f" and {len(unused) - 5} more" if len(unused) > 5 else ""
    return (
        f"The crosswalk names {', '.join(unused[:5])}{more}, which {label} has not where it is compared.",
    )


def names_in(path: Path) -> dict[int, str]:
    """Category names of a raster by value; empty where it has none."""
    try:
        legend = _from_categories(path)
    except EvaluationError:
        return {}
    return {} if legend is None else {c.value: c.name for c in legend.classes}


def _from_categories(path: Path) -> Legend | None:
    says = path if path.suffix.lower() == ".vrt" else path.with_name(path.name + ".aux.xml")
    if not says.is_file():
        return None
    try:
        band = ElementTree.fromstring(says.read_text("utf-8")).find("*/CategoryNames")  # noqa: S314
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
            f"{path} is no legend ({one_line(error)}). Give a TOML file with [[classes]] of value, name and "
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
        raise EvaluationError(f"{path} is no legend: {one_line(error)}.") from None
