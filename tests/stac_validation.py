"""Validates STAC JSON without a network: core schemas as pystac ships them, extensions as vendored here.

``tests/schemas`` mirrors the addresses of the schemas; its README says where each came from. A schema that
is not there is an error, never a download.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator, ValidationError
from pystac.validation.local_validator import get_local_schema_cache
from referencing import Registry
from referencing.jsonschema import DRAFT7

SCHEMAS = Path(__file__).parent / "schemas"
CORE_VERSION = "1.1.0"
_CORE = {"Feature": "item", "Collection": "collection", "Catalog": "catalog"}


class InvalidStacError(AssertionError):
    """The object breaks a schema, or names one that is not vendored."""


def validate_item(path_or_dict: Path | str | dict[str, Any]) -> None:
    """Raise unless this is a valid STAC item, by the core schema and by each extension that it names.

    Raises:
        InvalidStacError: naming the schema, the place in the item and what is wrong there.
    """
    item = _read(path_or_dict)
    if item.get("type") != "Feature":
        raise InvalidStacError(f"not an item: its type is {item.get('type')!r}, not 'Feature'")
    validate_stac(item)


def validate_stac(path_or_dict: Path | str | dict[str, Any]) -> None:
    """As `validate_item`, for an item, a collection or a catalog.

    Raises:
        InvalidStacError: naming the schema, the place in the object and what is wrong there.
    """
    thing = _read(path_or_dict)
    kind = _CORE.get(thing.get("type", ""))
    if kind is None:
        raise InvalidStacError(f"not STAC: its type is {thing.get('type')!r}, expected one of {list(_CORE)}")
    if thing.get("stac_version") != CORE_VERSION:
        raise InvalidStacError(
            f"stac_version is {thing.get('stac_version')!r}; pystac ships {CORE_VERSION} only"
        )
    core = f"https://schemas.stacspec.org/v{CORE_VERSION}/{kind}-spec/json-schema/{kind}.json"
    for schema in (core, *thing.get("stac_extensions", ())):
        _validate(thing, schema)


def vendored() -> dict[str, Path]:
    """Address to file, for every schema that is vendored."""
    return {
        f"https://{path.relative_to(SCHEMAS).as_posix()}": path for path in sorted(SCHEMAS.rglob("*.json"))
    }


def _read(path_or_dict: Path | str | dict[str, Any]) -> dict[str, Any]:
    if isinstance(path_or_dict, dict):
        return path_or_dict
    loaded: dict[str, Any] = json.loads(Path(path_or_dict).read_text(encoding="utf-8"))
    return loaded


def _validate(thing: dict[str, Any], schema: str) -> None:
    contents = _schemas().get(schema)
    if contents is None:
        raise InvalidStacError(f"{schema} is not vendored in tests/schemas: add it, or mend the address")
    # A reference that is not vendored raises referencing's Unresolvable: the registry cannot retrieve.
    errors = Draft7Validator({"$ref": schema}, registry=_registry()).iter_errors(thing)
    error = max((_innermost(error) for error in errors), key=_depth, default=None)
    if error is not None:
        raise InvalidStacError(f"{schema} at {error.json_path}: {error.message[:300]}")


def _innermost(error: ValidationError) -> ValidationError:
    """The deepest cause below a failed ``anyOf``: the one that says something."""
    while error.context:
        error = max(error.context, key=_depth)
    return error


def _depth(error: ValidationError) -> int:
    return len(error.absolute_path)


@cache
def _schemas() -> dict[str, dict[str, Any]]:
    found = {address: json.loads(path.read_text(encoding="utf-8")) for address, path in vendored().items()}
    return {**get_local_schema_cache(), **found}


@cache
def _registry() -> Registry[Any]:
    # By address, not by $id: classification v1.1.0 calls itself v1.0.0.
    known = _schemas().items()
    return Registry().with_resources((address, DRAFT7.create_resource(schema)) for address, schema in known)
