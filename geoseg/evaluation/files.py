"""Two files compared: what they are is told from what is in them, and decides which scores there are."""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, UnidentifiedImageError

from geoseg.errors import EvaluationError, one_line
from geoseg.evaluation.features import VECTORS
from geoseg.evaluation.objects.coco_files import score_bitmasks, score_coco_instances, score_coco_panoptic
from geoseg.evaluation.objects.layers import score_polygons
from geoseg.evaluation.products import is_product
from geoseg.evaluation.rasters import Request, score
from geoseg.evaluation.scores import Evaluation

_GEOJSON = (
    "FeatureCollection",
    "Feature",
    "GeometryCollection",
    "Polygon",
    "MultiPolygon",
    "Point",
    "MultiPoint",
)


class Kind(StrEnum):
    """What a file holds, in the words of messages."""

    RASTER = "a class raster"
    VECTOR = "polygons or points"
    RESULTS = "COCO results"
    INSTANCES = "COCO instances"
    PANOPTIC = "COCO panoptic segments"
    BITMASKS = "a folder of BDD100K bitmasks"


class Opened(NamedTuple):
    """A file that was recognised."""

    path: Path
    kind: Kind
    content: Any
    """What a COCO JSON holds; None for all else."""


_MAP_OPTIONS = ("legend", "crosswalk", "class_field", "places", "place_field")
_OPTIONS = {
    Kind.RASTER: (*_MAP_OPTIONS, "crs", "nodata_is_wrong", "boundary", "reference_catalog"),
    Kind.VECTOR: (*_MAP_OPTIONS, "iou"),
}
"""What of a request means something for a kind of prediction; nothing for the others."""
_FLAGS = {"class_field": "field"}


def score_files(request: Request) -> Evaluation:
    """Compare a prediction with its reference, whatever they are.

    ============================ ============================ =====================================
    prediction                   reference                    scores
    ============================ ============================ =====================================
    class raster                 class raster, polygons,      of pixels, and of outlines
                                 points
    polygons                     polygons                     of objects
    COCO results                 COCO instances               average precision and recall of masks
    COCO panoptic (JSON, PNGs)   COCO panoptic                panoptic quality
    folder of BDD100K bitmasks   folder of them               panoptic quality by BDD100K's rule
    ============================ ============================ =====================================

    Raises:
        EvaluationError: a file is none of these, or the two do not go together.
    """
    prediction = recognise(request.prediction)
    is_named = prediction.kind is Kind.RASTER and is_product(request.reference)
    reference = Opened(request.reference, Kind.RASTER, None) if is_named else recognise(request.reference)
    if (prediction.kind, reference.kind) not in _SCORERS:
        fitting = sorted({str(true) for found, true in _SCORERS if found == prediction.kind})
        what = (
            f"expected a reference that is {' or '.join(fitting)}"
            if fitting
            else "the former can only be a --reference"
        )
        raise EvaluationError(
            f"{request.prediction.name} is {prediction.kind}, {request.reference.name} is {reference.kind}: "
            f"{what}."
        )
    _refuse_unused(request, prediction.kind)
    if request.reference_catalog is not None and not is_named:
        raise EvaluationError(
            "--reference-catalog is for products by name, such as worldcover. Leave it out."
        )
    return _SCORERS[prediction.kind, reference.kind](request, prediction, reference)


def recognise(path: Path) -> Opened:
    """What a file is.

    Raises:
        EvaluationError: it is not there, or none of what can be compared.
    """
    if not path.exists():
        raise EvaluationError(f"There is no file {path}. Check the path.")
    if path.is_dir():
        return Opened(path, _kind_of_folder(path), None)
    if path.suffix.lower() == ".json":
        return _recognise_json(path)
    is_vector = path.suffix.lower() in (*VECTORS, ".csv")
    return Opened(path, Kind.VECTOR if is_vector else Kind.RASTER, None)


def _kind_of_folder(path: Path) -> Kind:
    first = min(path.glob("*.png"), default=None)
    try:
        if first is not None:
            with Image.open(first) as image:
                if image.mode == "RGBA":
                    return Kind.BITMASKS
    except (OSError, UnidentifiedImageError):
        pass
    raise EvaluationError(
        f"{path} is a folder, but not one of BDD100K bitmasks (PNGs with red, green, blue and alpha). Class "
        "rasters by the name of the image are scored by --benchmark NAME --root FOLDER --prediction FOLDER."
    )


def _recognise_json(path: Path) -> Opened:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{path} is no JSON: {one_line(error)}.") from None
    if isinstance(content, list):
        if all(isinstance(entry, Mapping) and {"segmentation", "score"} <= entry.keys() for entry in content):
            return Opened(path, Kind.RESULTS, content)
    elif isinstance(content, Mapping):
        if content.get("type") in _GEOJSON:
            return Opened(path, Kind.VECTOR, None)
        entries = content.get("annotations")
        if isinstance(entries, list) and all(isinstance(entry, Mapping) for entry in entries):
            if _is_panoptic(path, entries):
                return Opened(path, Kind.PANOPTIC, content)
            wanted = {"image_id", "category_id", "segmentation"}
            if "images" in content and all(wanted <= entry.keys() for entry in entries):
                return Opened(path, Kind.INSTANCES, content)
    raise EvaluationError(
        f"{path} is JSON, but neither GeoJSON nor COCO's: results (a list with image_id, category_id, "
        "segmentation, score), instances (images, annotations, categories) or panoptic (segments_info)."
    )


def _is_panoptic(path: Path, entries: list[Mapping[str, Any]]) -> bool:
    """By what its entries have; a file without any by the folder of PNGs beside it."""
    if not entries:
        return path.with_suffix("").is_dir()
    return all({"segments_info", "image_id", "file_name"} <= entry.keys() for entry in entries)


def _refuse_unused(request: Request, kind: Kind) -> None:
    used = ("prediction", "reference", *_OPTIONS.get(kind, ()))
    plain = Request(request.prediction, request.reference)
    for field in fields(Request):
        if field.name not in used and getattr(request, field.name) != getattr(plain, field.name):
            flag = _FLAGS.get(field.name, field.name).replace("_", "-")
            raise EvaluationError(f"--{flag} means nothing where the prediction is {kind}. Leave it out.")


def _title(request: Request) -> str:
    return f"{request.prediction.name} against {request.reference.name}"


def _instances(request: Request, prediction: Opened, reference: Opened) -> Evaluation:
    return score_coco_instances(prediction.content, reference.content, title=_title(request))


def _panoptic(request: Request, prediction: Opened, reference: Opened) -> Evaluation:
    folders = (_pngs_of(prediction.path), _pngs_of(reference.path))
    return score_coco_panoptic(prediction.content, reference.content, folders=folders, title=_title(request))


def _pngs_of(path: Path) -> Path:
    """The folder beside a panoptic JSON, named as it is; COCO's tools look there."""
    folder = path.with_suffix("")
    if not folder.is_dir():
        raise EvaluationError(f"{path.name} needs its PNGs in {folder}/, which is not there.")
    return folder


_SCORERS: dict[tuple[Kind, Kind], Callable[[Request, Opened, Opened], Evaluation]] = {
    (Kind.RASTER, Kind.RASTER): lambda request, *_: score(request),
    (Kind.RASTER, Kind.VECTOR): lambda request, *_: score(request),
    (Kind.VECTOR, Kind.VECTOR): lambda request, *_: score_polygons(request),
    (Kind.RESULTS, Kind.INSTANCES): _instances,
    (Kind.PANOPTIC, Kind.PANOPTIC): _panoptic,
    (Kind.BITMASKS, Kind.BITMASKS): lambda request, *_: score_bitmasks(
        request.prediction, request.reference, title=_title(request)
    ),
}
