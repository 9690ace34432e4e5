"""What is known of a network from elsewhere: told by its user, or by the metadata of its file."""

import ast
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geoseg.errors import ModelError, one_line
from geoseg.legend import Legend, LegendClass
from geoseg.models.card import ModelCard, from_item
from geoseg.models.deepness import CARD_KEY
from geoseg.models.onnx_network import FAMILY, Layout, Output

_COLORS = ("1F78B4", "33A02C", "E6C27A", "D7191C", "6A3D9A", "FB9A99", "B2DF8A", "FF7F00", "A6761D", "666666")
_FULL = 255
_TILE_SIZE, _TILE_MULTIPLE = 512, 32
_OF_THE_TILE = {"tile_size", "tile_multiple", "halo"}
_HALO_SHARE = 8
"""Of the tile, where nothing is known of it."""
Positive = Annotated[float, Field(gt=0)]


class ImportCard(BaseModel):
    """The keys of the TOML file of ``--card``, and the flags of the same names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str | None = None
    description: str = ""
    bands: tuple[str, ...] | None = None
    """Common names, in the order of the input."""
    classes: tuple[str, ...] | dict[str, str] | None = None
    """Names in the order of the output, or names and colours (``RRGGBB``)."""
    mean: tuple[float, ...] | None = None
    """Per band, or one for all, in the numbers that ``scale`` is of."""
    std: tuple[Positive, ...] | None = None
    """See ``mean``."""
    scale: Positive | None = None
    """Reflectance = number * ``scale``, of the numbers that the network learned from: 0.0001 where those were
    reflectance times 10000. None counts as 1, or for files with the metadata of Deepness as 1/255."""
    gsd_m: Positive | None = None
    gsd_range_m: tuple[Positive, Positive] | None = None
    """None for half to twice ``gsd_m``."""
    value_range: tuple[float, float] | None = None
    tile_size: Annotated[int, Field(gt=0)] | None = None
    tile_multiple: Annotated[int, Field(gt=0)] | None = None
    halo: Annotated[int, Field(ge=0)] | None = None
    layout: Layout | None = None
    """``nhwc`` for most networks of TensorFlow."""
    output: Output | None = None
    license: str | None = None
    """SPDX identifier of the weights' licence; None counts as ``other``, as in STAC."""


def read_import_card(path: Path | None, flags: Mapping[str, object]) -> ImportCard:
    """The file's keys, with those flags over them that are not None.

    Raises:
        ModelError: the file cannot be read, or a key or flag cannot be used.
    """
    try:
        told = tomllib.loads(path.read_text("utf-8")) if path else {}
        return ImportCard.model_validate(told | {k: v for k, v in flags.items() if v is not None})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise ModelError(f"{path or 'The flags'} cannot be used as a card: {one_line(error)}.") from None


def own_item(metadata: Mapping[str, str]) -> ModelCard | None:
    """The card in an ONNX file that geoseg exported: it takes reflectance and gives probabilities."""
    if CARD_KEY not in metadata:
        return None
    try:
        card = from_item(json.loads(metadata[CARD_KEY]))
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ModelError(f"The card in the file's metadata cannot be used: {one_line(error)}.") from None
    return card.model_copy(update={"mean": None, "std": None, "activation": "softmax", "sha256": None})


def refuse_said(given: ImportCard) -> None:
    """Refuse to be told what a file that geoseg exported says itself.

    Raises:
        ModelError: something was told.
    """
    told = [key for key in given.model_fields_set - _OF_THE_TILE if getattr(given, key)]
    if told:
        raise ModelError(
            f"geoseg exported this file, which says its {', '.join(sorted(told))} itself. Leave them out, or "
            "edit the item.json of the new folder."
        )


def completed(given: ImportCard, metadata: Mapping[str, str], shape: Sequence[Any]) -> ImportCard:
    """What is given, completed by the file's metadata and the shape of its input.

    Raises:
        ModelError: the shape does not fit the bands, or the metadata cannot be read.
    """
    try:
        found = _deepness(metadata, given) if CARD_KEY not in metadata else {"output": "probabilities"}
    except (ValueError, TypeError, KeyError, SyntaxError, AttributeError) as error:
        raise ModelError(f"The file's metadata cannot be read: {one_line(error)}.") from None
    layout = given.layout
    if len(shape) == 4:
        if layout is None:
            layout = _layout(shape, len(given.bands) if given.bands else None)
        sides = shape[1:3] if layout == "nhwc" else shape[2:4]
        if isinstance(sides[0], int):
            found |= {"tile_size": sides[0], "tile_multiple": sides[0]}
            if sides[0] != sides[1]:
                raise ModelError(f"The file takes tiles of {sides[0]} x {sides[1]} pixels; expected squares.")
    elif shape:
        raise ModelError(f"The file takes {list(shape)}; expected (n, band, y, x) or (n, y, x, band).")
    told = {k: v for k, v in given.model_dump().items() if v is not None}
    return ImportCard.model_validate({**found, **told, "layout": layout or "nchw"})


def card_of(given: ImportCard, own: ModelCard | None, name: str) -> ModelCard:
    """The card of the model.

    Raises:
        ModelError: something is not known, or does not fit.
    """
    if own is not None:
        told = given.model_copy(update={"tile_size": given.tile_size or own.tile_size})
        halo = own.halo if given.halo is None else given.halo
        kept = {"name": name, "family": FAMILY, "hyperparameters": {}}
        return own.model_copy(update={**kept, **_sizes(told), "halo": halo})
    for key, flag in (("bands", "--bands"), ("classes", "--classes"), ("gsd_m", "--gsd")):
        if getattr(given, key) is None:
            raise ModelError(f"The file does not say its {key}: give {flag}, or a --card that has {key}.")
    bands, gsd_m = given.bands or (), given.gsd_m or 0
    scale = given.scale or 1.0
    try:
        return ModelCard(
            name=name,
            title=given.title or f"Imported: {name}",
            description=given.description,
            family=FAMILY,
            bands=bands,
            mean=_spread(given.mean, len(bands), scale),
            std=_spread(given.std or (1.0,), len(bands), scale),
            gsd_m=gsd_m,
            gsd_range_m=given.gsd_range_m or (gsd_m / 2, gsd_m * 2),
            legend=_legend(given.classes or ()),
            license=given.license or "other",
            value_range=given.value_range or ModelCard.model_fields["value_range"].default,
            **_sizes(given),
        )
    except ValidationError as error:
        raise ModelError(f"The card cannot be used: {one_line(error)}.") from None


def _sizes(given: ImportCard) -> dict[str, Any]:
    size = given.tile_size or _TILE_SIZE
    halo = size // _HALO_SHARE if given.halo is None else given.halo
    return {"tile_size": size, "tile_multiple": given.tile_multiple or _TILE_MULTIPLE, "halo": halo}


def _spread(values: Sequence[float] | None, n_bands: int, scale: float) -> tuple[float, ...] | None:
    if values is None:
        return None
    return tuple(v * scale for v in (tuple(values) * n_bands if len(values) == 1 else values))


def _legend(classes: Sequence[str] | Mapping[str, str]) -> Legend:
    named = (
        dict(classes)
        if isinstance(classes, Mapping)
        else {name: _COLORS[n % len(_COLORS)] for n, name in enumerate(classes)}
    )
    return Legend(
        classes=tuple(
            LegendClass(value=n, name=name, color_hint=color) for n, (name, color) in enumerate(named.items())
        )
    )


def _layout(shape: Sequence[Any], n_bands: int | None) -> Layout | None:
    """Where the bands are; None where the shape does not say."""
    fits = {"nchw": shape[1], "nhwc": shape[3]}
    if (
        n_bands is not None
        and n_bands not in fits.values()
        and all(isinstance(v, int) for v in fits.values())
    ):
        raise ModelError(
            f"The file takes {min(fits.values())} bands, --bands names {n_bands}. Name each, in its order."
        )
    likely = [layout for layout, n in fits.items() if n == n_bands] if n_bands else []
    if len(likely) > 1:
        raise ModelError(f"The file takes {list(shape)}: say where the bands are, --layout nchw or nhwc.")
    return likely[0] if likely else None  # type: ignore[return-value]


def _deepness(metadata: Mapping[str, str], given: ImportCard) -> dict[str, Any]:
    """What the metadata that Deepness reads say (:mod:`geoseg.models.deepness`)."""
    found: dict[str, Any] = {}
    names = metadata.get("class_names", metadata.get("names"))
    if names is not None:
        named = _value(names)
        named = named[0] if isinstance(named, list) else named
        ordered = sorted(named.items(), key=lambda item: int(item[0]))
        found["classes"] = tuple(str(name) for _, name in ordered)
    if "resolution" in metadata:
        found["gsd_m"] = float(_value(metadata["resolution"])) / 100
    if "tile_size" in metadata:
        size = int(_value(metadata["tile_size"]))
        overlap = float(_value(metadata.get("tiles_overlap", "0")))
        found |= {"tile_size": size, "halo": math.floor(size * overlap / 200)}
    if "standardization_mean" in metadata and "standardization_std" in metadata:
        found["mean"] = tuple(float(v) * _FULL for v in _value(metadata["standardization_mean"]))
        found["std"] = tuple(float(v) * _FULL for v in _value(metadata["standardization_std"]))
    elif found:
        found["std"] = (float(_FULL),)
    if found and given.scale is None:
        found["scale"] = 1 / _FULL
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return ast.literal_eval(text)  # as some exporters write dictionaries
