"""A recipe as it is kept: a TOML file, a shipped one by its name, or the manifest of a map; its mistakes."""

import json
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from geoseg.aoi_source import AoiSource
from geoseg.errors import RecipeError, expected
from geoseg.redaction import redact
from geoseg.registry import did_you_mean
from geoseg.resources import find_resource, path_exists, resource_folder


def read_recipe(name: str) -> dict[str, Any]:
    """The keys of a recipe; files beside it that they name are seen from here.

    Raises:
        RecipeError: there is none of that name, or it cannot be read.
    """
    path = find_resource("pipelines", name, ".toml")
    if path is None:
        every = (p.stem for p in resource_folder("pipelines").glob("*.toml"))
        known = sorted(stem for stem in every if not stem.startswith("train-"))
        raise RecipeError(f"No recipe {name!r}: {did_you_mean(name, known)} Or give a TOML file.")
    try:
        text = path.read_text("utf-8")
        data = dict(json.loads(text)["recipe"] if path.suffix == ".json" else tomllib.loads(text))
    except (ValueError, KeyError, TypeError, IsADirectoryError) as error:
        kind = "the manifest.json of a map" if path.suffix == ".json" else "TOML"
        raise RecipeError(f"{path} is not {kind}: {error}.") from None
    for key in ("aoi", "out", "change_from", "model"):
        if isinstance(value := data.get(key), str):
            data[key] = _beside(
                path, value, file=AoiSource.parse(value).file if key == "aoi" else _fixed(value)
            )
    data |= {key: [data[key]] for key in ("image", "notify", "uncertainty") if isinstance(data.get(key), str)}
    if isinstance(images := data.get("image"), list):
        data["image"] = [_beside(path, str(image), file=str(image)) for image in images]
    return data


def _fixed(folder: str) -> str:
    """The part of a folder's name before what is filled in: ``maps`` of ``maps/{month}``."""
    before, brace, _ = folder.partition("{")
    return before.rpartition("/")[0] or folder if brace else folder


def _beside(recipe: Path, value: str, *, file: str) -> str:
    """Seen from the folder of the recipe, where the file that the value names is there."""
    return str(recipe.parent / value) if path_exists(recipe.parent / file) else value


def mistake(
    error: ValidationError, known: Mapping[str, FieldInfo], *, file: str | None, written: Collection[str]
) -> str:
    """The first mistake, in the words of who made it: a flag, or a key ``written`` in ``file``.

    Args:
        error: of a recipe.
        known: its keys. Of those without ``repr``, which may be secrets, no value is shown.
        file: name of the recipe, as it was given.
        written: its keys that no flag has replaced.
    """
    first = error.errors()[0]
    key = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "extra_forbidden":
        hint = f"key {key!r}: {did_you_mean(key, list(known))}"
        return f"{file}: unknown {hint}" if key in written else f"Unknown {hint}"
    message, got = expected(first), first["input"]
    end = "" if message.endswith(("?", ".")) else "."
    if not key:
        return f"{message[0].upper()}{message[1:]}{end}"
    name = f"{file}: {key}" if key in written else f"--{key.replace('_', '-')}"
    value = redact(str(got).lower() if isinstance(got, bool) else str(got))
    return f"{name} {value}: {message}{end}" if known[key].repr else f"{name}: {message}{end}"
