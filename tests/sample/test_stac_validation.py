"""The offline validator: it passes what is right and says what is wrong."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stac_validation import InvalidStacError, validate_item, validate_stac, vendored

SAMPLE = Path(__file__).parents[2] / "catalogs/sample/landsat7-olinda/l7-etm-olinda/item.json"
EXTENSION = "https://stac-extensions.github.io/{}/schema.json"
MODEL: dict[str, Any] = {
    "mlm:name": "tiny unet",
    "mlm:architecture": "U-Net",
    "mlm:tasks": ["semantic-segmentation"],
    "mlm:input": [
        {
            "name": "reflectance",
            "bands": ["red"],
            "input": {
                "shape": [-1, 1, 64, 64],
                "dim_order": ["batch", "bands", "height", "width"],
                "data_type": "float32",
            },
            "value_scaling": [{"type": "z-score", "mean": 0.1, "stddev": 0.05}],
            "pre_processing_function": {"format": "python", "expression": "package:function"},
        }
    ],
    "mlm:output": [
        {
            "name": "classes",
            "tasks": ["semantic-segmentation"],
            "result": {"shape": [-1, 1], "dim_order": ["batch", "class"], "data_type": "uint8"},
            "classification:classes": [{"value": 0, "name": "water", "description": "open water"}],
        }
    ],
}


@pytest.fixture
def item() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(SAMPLE.read_text())
    return loaded


@pytest.fixture
def model(item: dict[str, Any]) -> dict[str, Any]:
    item["stac_extensions"] += [EXTENSION.format("mlm/v1.5.0"), EXTENSION.format("classification/v2.0.0")]
    item["properties"] |= copy.deepcopy(MODEL)
    item["assets"]["model"] = {
        "href": "./weights.safetensors",
        "roles": ["mlm:model"],
        "mlm:artifact_type": "safetensors.torch.save_file",
        "eo:bands": [{"name": "red", "common_name": "red"}],
    }
    return item


def test_valid_items_pass_from_path_and_dict(item: dict[str, Any]) -> None:
    validate_item(SAMPLE)
    validate_item(str(SAMPLE))
    validate_item(item)


def test_valid_model_item_passes_with_all_its_references_offline(model: dict[str, Any]) -> None:
    validate_item(model)


BREAKS: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("eo", lambda i: i["properties"].update({"eo:cloud_cover": 120}), r"eo/v1.*eo:cloud_cover.*maximum"),
    ("proj", lambda i: i["properties"].update({"proj:code": 5}), r"projection/v2.*proj:code"),
    (
        "transform",
        lambda i: i["assets"]["red"]["proj:transform"].pop(),
        r"projection/v2.*red.*proj:transform",
    ),
    (
        "projjson",
        lambda i: i["properties"].update({"proj:projjson": {"a": 1}}),
        r"projection/v2.*proj:projjson",
    ),
    (
        "geojson",
        lambda i: i["properties"].update({"proj:geometry": {"type": "X"}}),
        r"projection/v2.*geometry",
    ),
    (
        "raster",
        lambda i: i["assets"]["red"]["raster:bands"][0].update(data_type="byte"),
        r"raster/v1.*data_type",
    ),
    ("core", lambda i: i["properties"].pop("datetime"), r"item\.json .*datetime"),
    ("collection", lambda i: i["links"].clear(), r"item\.json .*collection"),
    ("version", lambda i: i.update(stac_version="1.0.0"), r"stac_version is '1.0.0'"),
    ("kind", lambda i: i.update(type="Collection"), "not an item"),
    (
        "unknown",
        lambda i: i["stac_extensions"].append("https://x.org/s.json"),
        "x.org/s.json is not vendored",
    ),
]


@pytest.mark.parametrize(
    ("broken", "says"), [(b, s) for _, b, s in BREAKS], ids=[name for name, _, _ in BREAKS]
)
def test_what_is_wrong_is_said(
    item: dict[str, Any], broken: Callable[[dict[str, Any]], object], says: str
) -> None:
    broken(item)
    with pytest.raises(InvalidStacError, match=says):
        validate_item(item)


def test_model_without_required_fields_is_refused(model: dict[str, Any]) -> None:
    no_role = copy.deepcopy(model)
    no_role["assets"]["model"]["roles"] = ["data"]
    no_class_text = copy.deepcopy(model)
    del no_class_text["properties"]["mlm:output"][0]["classification:classes"][0]["description"]
    spaced = copy.deepcopy(model)
    spaced["properties"]["mlm:output"][0]["classification:classes"][0]["name"] = "open water"
    for broken in (no_role, no_class_text, spaced):
        with pytest.raises(InvalidStacError):
            validate_item(broken)


def test_every_vendored_schema_is_filed_under_its_own_address() -> None:
    found = vendored()
    assert len(found) >= 11
    for address, path in found.items():
        schema_id = json.loads(path.read_text())["$id"].rstrip("#")
        if "classification/v1.1.0" not in address:  # published with the $id of v1.0.0
            assert schema_id == address


def test_something_else_is_not_stac() -> None:
    with pytest.raises(InvalidStacError, match="not STAC"):
        validate_stac({"type": "FeatureCollection", "features": []})
