"""The metadata of ONNX files: what the QGIS plugin Deepness reads, and the model's own card.

Deepness (github.com/PUTvision/qgis-plugin-deepness, src/deepness/processing/models/model_base.py) feeds a
network with (number of the layer / 255 - ``standardization_mean``) / ``standardization_std``, sets answers
below ``seg_thresh`` to 0 and takes the largest. So with the values here it feeds reflectance, and takes the
largest probability. Releases before the standardisation only divide by 255.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from geoseg.models.card import ModelCard, to_item

CARD_KEY = "geoseg_item"
_FULL = 255.0
"""What Deepness divides the numbers of a layer by."""
_METADATA_FIELD = 14
"""``metadata_props`` of ModelProto (onnx/onnx.proto)."""


def deepness_metadata(card: ModelCard, *, scale: float, offset: float) -> dict[str, str]:
    """By key, as JSON.

    Args:
        card: ``tile_size`` is that of the graph.
        scale: reflectance = number of the QGIS layer * ``scale`` + ``offset``.
        offset: see ``scale``.
    """
    n_bands = len(card.bands)
    values: dict[str, Any] = {
        "model_type": "Segmentor",
        "class_names": {str(n): c.name for n, c in enumerate(card.legend.classes)},
        "resolution": card.gsd_m * 100,
        "tile_size": card.tile_size,
        "tiles_overlap": math.ceil(100 * 2 * card.halo / card.tile_size),
        "standardization_mean": [-offset / scale / _FULL] * n_bands,
        "standardization_std": [1 / scale / _FULL] * n_bands,
        "seg_thresh": 0.0,
        "seg_small_segment": 0,
        CARD_KEY: to_item(card),
    }
    return {key: json.dumps(value) for key, value in values.items()}


def with_metadata(graph: bytes, metadata: Mapping[str, str]) -> bytes:
    """An ONNX file with more metadata; needs no package.

    Parts of a protocol buffer may be appended, a repeated field then has more entries
    (protobuf.dev/programming-guides/encoding, "Last One Wins").
    """
    return graph + b"".join(
        _field(_METADATA_FIELD, _field(1, key.encode()) + _field(2, value.encode()))
        for key, value in metadata.items()
    )


def _field(number: int, contents: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(contents)) + contents


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
