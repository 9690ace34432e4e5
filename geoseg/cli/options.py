"""Command-line options made from the fields of a recipe: one name, one meaning, one help text."""

import inspect
import json
import re
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from geoseg.errors import RecipeError
from geoseg.recipe import Recipe

_PANELS = {
    "Area": ("aoi", "aoi_crs", "per_feature", "feature", "max_area_km2"),
    "Imagery from a catalog": (
        "catalog", "collection", "datetime", "max_cloud_cover", "max_items", "min_coverage", "composite",
        "date", "keep_clouds",
    ),
    "Imagery from files": ("image", "bands", "scale", "offset"),
    "Model and grid": ("model", "gsd", "crs", "tile_size", "halo", "tta"),
    "Uncertainty": ("uncertainty", "dropout_passes"),
    "Where it runs": (
        "device", "backend", "precision", "threads", "batch_size", "block_size", "max_memory", "workers",
        "cluster", "cluster_options", "scheduler", "tries", "on_missing", "notify", "price_per_hour",
        "currency",
    ),
    "Output": (
        "out", "store", "change_from", "resume", "overwrite", "max_file_gb", "polygons", "min_area_ha",
        "simplify_m",
    ),
}  # fmt: skip
_VECTORS = (".gpkg", ".geojson", ".json", ".shp", ".parquet", ".fgb", ".kml")
_LISTS = ("bands", "scale", "offset", "uncertainty")
"""Given as one value with commas."""
_TABLES = ("cluster_options",)
"""Given as ``key=value`` with commas; what is no JSON is text."""
_OPTION = re.compile(r",(?=\s*\w+\s*=)")
"""The comma before the next key: those in lists and tables have none after them."""
_REPEATED = ("image", "notify")
"""Given once for each value, which may hold commas."""
_ALSO = {"tile_size": ("--tile",)}
"""Other spellings."""
FILE_HELP = "TOML file with these keys, the name of a shipped one, or the manifest.json of a map."
_BBOX = "Area as west,south,east,north in degrees; west > east crosses the antimeridian."


def takes_recipe(
    command: Callable[..., None],
    *,
    without: Sequence[str] = (),
    area_from: str | None = None,
    by_name: bool = False,
) -> Callable[..., None]:
    """Give a command that takes a :class:`Recipe` first an option for each of its keys.

    ``--recipe FILE`` is read first; options that were typed win over its keys.

    Args:
        command: what is called.
        by_name: the recipe is its argument and must be given, not an option.
        without: keys that mean nothing to it; they are no options.
        area_from: its own option whose polygons are the area where neither area, image nor recipe is given.
    """

    def wrapper(recipe: str | None, bbox: str | None, **values: Any) -> None:
        own = {k: values.pop(k) for k in list(values) if k in extra}
        given = {k: _as_given(k, v) for k, v in values.items() if v is not None}
        if bbox is not None and "aoi" in given:
            raise RecipeError("--aoi and --bbox both say the area. Give one of them.")
        if bbox is not None:
            given["aoi"] = bbox
        if area_from is not None and recipe is None and not {"aoi", "image"} & set(given):
            area = str(own[area_from])
            given |= {"aoi": area} if Path(area).suffix.lower() in _VECTORS else {}
        command(Recipe.resolve(recipe, **given), **own)

    own_parameters = list(inspect.signature(command).parameters.values())[1:]
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own_parameters]
    extra = {p.name for p in parameters}
    name = typer.Argument(metavar="NAME", help=FILE_HELP)
    file = name if by_name else typer.Option("--recipe", help=FILE_HELP)
    box = typer.Option("--bbox", help=_BBOX, rich_help_panel="Area")
    first = [
        _parameter("recipe", str if by_name else str | None, file, is_needed=by_name),
        _parameter("bbox", str | None, box),
    ]
    fields = [
        _parameter(name, _plain(name), _option(name, Recipe.model_fields[name], panel))
        for panel, names in _PANELS.items()
        for name in names
        if name not in without
    ]
    wrapper.__signature__ = inspect.Signature(first + fields + parameters)  # type: ignore[attr-defined]
    wrapper.__doc__ = command.__doc__
    wrapper.__name__ = command.__name__
    return wrapper


def _parameter(name: str, kind: Any, option: Any, *, is_needed: bool = False) -> inspect.Parameter:
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if is_needed else None,
        annotation=Annotated[kind, option],
    )


def _option(name: str, field: FieldInfo, panel: str) -> Any:
    flags = [f"--{name.replace('_', '-')}", *_ALSO.get(name, ())]
    text = " ".join((field.description or "").replace("``", "").split())
    default = field.default
    shown = default if default not in (None, False, ()) else False
    return typer.Option(*flags, help=text, rich_help_panel=panel, show_default=str(shown) if shown else False)


def _plain(name: str) -> Any:
    """The type typer understands for a field: its first plain member, a list for tuples, always optional."""
    if name in _REPEATED:
        return list[str] | None
    if name in _LISTS or name in _TABLES:
        return str | None
    annotation = Recipe.model_fields[name].annotation
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(a for a in get_args(annotation) if a is not type(None))
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation | None  # type: ignore[operator]


def _as_given(name: str, value: Any) -> Any:
    if name in _TABLES:
        return _table(name, value)
    return tuple(part for part in map(str.strip, value.split(",")) if part) if name in _LISTS else value


def _table(name: str, text: str) -> dict[str, Any]:
    table = {}
    for option in filter(None, _OPTION.split(text)):
        key, equals, value = (part.strip() for part in option.partition("="))
        if not equals or not key.isidentifier():
            raise RecipeError(
                f"--{name.replace('_', '-')} {option.strip()!r} is no key=value. Give, for instance, "
                "queue=main,cores=4,memory=16GiB."
            )
        try:
            table[key] = json.loads(value)
        except ValueError:
            table[key] = value  # 01:30:00, 4GiB, a name
    return table
