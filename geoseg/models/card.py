"""What a model expects and gives, as a frozen value and as a STAC MLM item."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from geoseg.errors import ModelError
from geoseg.legend import Legend, LegendClass

CARD_NAME = "item.json"
WEIGHTS_NAME = "weights.safetensors"
MLM_SCHEMA = "https://stac-extensions.github.io/mlm/v1.5.0/schema.json"
_SCHEMAS = [
    MLM_SCHEMA,
    "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
]
_SHA256_MULTIHASH = "1220"
Activation = Literal["softmax", "evidential"]


class ModelCard(BaseModel):
    """The contract between imagery and a model: what goes in, what comes out, under which licence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    """What ``--model`` takes, such as ``spectral-rules``."""
    title: str
    """One line for people."""
    description: str = ""
    """What it is good for and where it fails."""
    family: str
    """The registered architecture that builds it, such as ``unet``."""
    hyperparameters: dict[str, str | int | float | bool] = {}
    """What the family needs besides bands and classes, such as ``encoder_name``."""
    bands: Annotated[tuple[str, ...], Field(min_length=1)]
    """Input bands by STAC common name, in the order of the input layers."""
    mean: tuple[float, ...] | None = None
    """Per band, subtracted from the reflectance; None means 0."""
    std: tuple[float, ...] | None = None
    """Per band, the divisor after the mean is subtracted; None means 1."""
    value_range: tuple[float, float] = (-0.2, 2.0)
    """Where the values of nearly all pixels must lie after scale and offset (reflectance: about 0 to 1)."""
    gsd_m: Annotated[float, Field(gt=0)]
    """The pixel size it is best at, metres."""
    gsd_range_m: tuple[float, float]
    """The pixel sizes at which its map can still be used, metres."""
    tile_size: Annotated[int, Field(gt=0)] = 512
    """Side of its input, pixels."""
    tile_multiple: Annotated[int, Field(gt=0)] = 1
    """Sides must be a multiple of this (32 for most encoders)."""
    halo: Annotated[int, Field(ge=0)] = 64
    """Margin whose prediction is poor for want of context, pixels; 0 for a pointwise model."""
    legend: Legend
    """Its classes, in the order of the output layers."""
    activation: Activation = "softmax"
    """How its logits become probabilities. ``evidential``: softplus makes them evidence, and evidence + 1 the
    parameters of a Dirichlet distribution (Sensoy et al. 2018, arXiv:1806.01768, equation 1)."""
    license: str
    """SPDX identifier of the weights' licence."""
    sha256: str | None = None
    """Of the weights file; None for a model without weights."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for what, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != len(self.bands):
                raise ValueError(f"{what} has {len(values)} values for {len(self.bands)} bands")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError("std must be above 0")
        if self.tile_size % self.tile_multiple:
            raise ValueError(f"tile_size {self.tile_size} is not a multiple of {self.tile_multiple}")
        return self


def read_card(folder: Path) -> ModelCard:
    """The card of a model folder.

    Raises:
        ModelError: when ``item.json`` is missing, is not JSON or is not an MLM item that geoseg can run.
    """
    path = folder / CARD_NAME
    if not path.is_file():
        raise ModelError(f"{folder} is not a model folder: it has no {CARD_NAME} (a STAC MLM item).")
    try:
        item = json.loads(path.read_text("utf-8"))
        return from_item(item)
    except json.JSONDecodeError as error:
        raise ModelError(f"{path} is not JSON: {error}.") from None
    except (KeyError, IndexError, TypeError) as error:
        raise ModelError(f"{path} lacks {error} of a STAC MLM item with a geoseg family.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "card"
        raise ModelError(f"{path}: {where}: {first['msg']}.") from None


def write_card(card: ModelCard, folder: Path) -> Path:
    """Write ``item.json`` into ``folder``."""
    path = folder / CARD_NAME
    path.write_text(json.dumps(to_item(card), indent=2) + "\n", "utf-8")
    return path


def to_item(card: ModelCard) -> dict[str, Any]:
    """The card as a STAC item with the MLM extension (github.com/stac-extensions/mlm, v1.5)."""
    properties = {
        "datetime": "1970-01-01T00:00:00Z",
        "title": card.title,
        "description": card.description,
        "license": card.license,
        "mlm:name": card.name,
        "mlm:architecture": card.family,
        "mlm:tasks": ["semantic-segmentation"],
        "mlm:framework": "pytorch",
        "mlm:accelerator": None,
        "mlm:hyperparameters": dict(card.hyperparameters),
        "mlm:input": [_input(card)],
        "mlm:output": [_output(card)],
        "geoseg:value_range": list(card.value_range),
        "geoseg:gsd_m": card.gsd_m,
        "geoseg:gsd_range_m": list(card.gsd_range_m),
        "geoseg:tile_multiple": card.tile_multiple,
        "geoseg:halo": card.halo,
        "geoseg:activation": card.activation,
    }
    for key in ("description", "mlm:hyperparameters"):
        if not properties[key]:
            del properties[key]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": _SCHEMAS,
        "id": card.name,
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]],
        },
        "bbox": [-180, -90, 180, 90],
        "properties": properties,
        "links": [],
        "assets": {"weights": _weights_asset(card)},
    }


def _input(card: ModelCard) -> dict[str, Any]:
    value_scaling = None
    if card.mean is not None or card.std is not None:
        mean, std = card.mean or (0.0,) * len(card.bands), card.std or (1.0,) * len(card.bands)
        value_scaling = [{"type": "z-score", "mean": m, "stddev": s} for m, s in zip(mean, std, strict=True)]
    return {
        "name": "reflectance",
        "bands": list(card.bands),
        "input": {
            "shape": [-1, len(card.bands), card.tile_size, card.tile_size],
            "dim_order": ["batch", "bands", "height", "width"],
            "data_type": "float32",
        },
        "value_scaling": value_scaling,
        "resize_type": None,
    }


def _output(card: ModelCard) -> dict[str, Any]:
    return {
        "name": "logits",
        "tasks": ["semantic-segmentation"],
        "result": {
            "shape": [-1, len(card.legend.classes), card.tile_size, card.tile_size],
            "dim_order": ["batch", "class", "height", "width"],
            "data_type": "float32",
        },
        "classification:classes": [c.to_stac() for c in card.legend.classes],
    }


def _weights_asset(card: ModelCard) -> dict[str, Any]:
    asset: dict[str, Any] = {
        "href": f"./{WEIGHTS_NAME}",
        "type": "application/octet-stream; framework=safetensors",
        "title": "Weights",
        "roles": ["mlm:model", "mlm:weights"],
        "mlm:artifact_type": "safetensors",
        "raster:bands": [{"name": band} for band in card.bands],
    }
    if card.sha256:
        asset["file:checksum"] = _SHA256_MULTIHASH + card.sha256
    return asset


def from_item(item: dict[str, Any]) -> ModelCard:
    """The card that an MLM item holds; raises KeyError and the like where it is not one of geoseg."""
    properties = item["properties"]
    given, result = properties["mlm:input"][0], properties["mlm:output"][0]
    scaling = given.get("value_scaling")
    checksum = item["assets"]["weights"].get("file:checksum")
    return ModelCard(
        name=properties["mlm:name"],
        title=properties.get("title", properties["mlm:name"]),
        description=properties.get("description", ""),
        family=properties["mlm:architecture"],
        hyperparameters=properties.get("mlm:hyperparameters", {}),
        bands=tuple(b if isinstance(b, str) else b["name"] for b in given["bands"]),
        mean=tuple(s["mean"] for s in scaling) if scaling else None,
        std=tuple(s["stddev"] for s in scaling) if scaling else None,
        value_range=tuple(properties["geoseg:value_range"]),
        gsd_m=properties["geoseg:gsd_m"],
        gsd_range_m=tuple(properties["geoseg:gsd_range_m"]),
        tile_size=given["input"]["shape"][-1],
        tile_multiple=properties["geoseg:tile_multiple"],
        halo=properties["geoseg:halo"],
        activation=properties.get("geoseg:activation", "softmax"),
        legend=Legend(classes=tuple(LegendClass.from_stac(c) for c in result["classification:classes"])),
        license=properties["license"],
        sha256=checksum.removeprefix(_SHA256_MULTIHASH) if checksum else None,
    )
