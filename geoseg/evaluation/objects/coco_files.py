"""Data sets in COCO's JSON, scored as a whole: instances by average precision, panoptic segments by PQ.

Formats: cocodataset.org/#format-data and #format-results. An image without results has no instances; a
panoptic prediction has every image of the reference, as panopticapi asks.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.errors import EvaluationError
from geoseg.evaluation.objects.coco_entries import (
    Annotation,
    CategoryEntry,
    Image,
    Json,
    Result,
    Segment,
    refuse_malformed,
)
from geoseg.evaluation.objects.instances import MAX_PREDICTIONS, Instances, match_instances
from geoseg.evaluation.objects.matching import average_precision
from geoseg.evaluation.objects.panoptic import (
    NO_SEGMENTS,
    PanopticCounts,
    PanopticMap,
    Rule,
    count_panoptic,
    overlaps,
)
from geoseg.evaluation.objects.panoptic_files import BDD_CATEGORIES, read_bdd_panoptic, read_coco_panoptic
from geoseg.evaluation.objects.results import Category, InstanceScores, instances_of, panoptic_of
from geoseg.evaluation.objects.rle import Rle, burn_polygons, read_coco
from geoseg.evaluation.scores import Evaluation, Scores


def score_coco_instances(prediction: Sequence[Json], reference: Json, *, title: str) -> Evaluation:
    """Average precision of COCO results.

    Args:
        prediction: the results: ``image_id``, ``category_id``, ``segmentation`` and ``score`` each.
        reference: an instances file: ``images``, ``annotations``, ``categories``.
        title: for people.

    Raises:
        EvaluationError: a result is of an unknown image, or a mask is broken.
    """
    refuse_malformed(prediction, Result, "results")
    refuse_malformed(reference["images"], Image, "images")
    refuse_malformed(reference["annotations"], Annotation, "annotations")
    sizes = {image["id"]: (int(image["height"]), int(image["width"])) for image in reference["images"]}
    categories = _categories(reference)
    true, found = _by_image(reference["annotations"]), _by_image(prediction)
    _refuse_unknown(found, sizes)
    ids = [c.class_id for c in categories]
    matches = []
    for image_id in sorted(sizes, key=lambda key: (str(type(key)), key)):
        of_reference = instances_from(true[image_id], sizes[image_id])
        of_prediction = instances_from(found[image_id], sizes[image_id], is_prediction=True)
        matches.append(match_instances(of_reference, of_prediction, class_ids=ids))
    if not matches:
        raise EvaluationError(f"The reference of {title} lists no images. Give one that does.")
    scores = instances_of(average_precision(matches), categories, max_predictions=MAX_PREDICTIONS)
    n_crowds = sum(bool(entry.get("iscrowd")) for entry in reference["annotations"])
    notes = [f"COCO results of {len(prediction):,} masks against COCO instances of {len(sizes):,} images."]
    if n_crowds:
        notes.append(f"Crowds of the reference ({n_crowds:,}) are neither found nor missed.")
    strange = sum(entry["category_id"] not in ids for entry in prediction)
    if strange:
        notes.append(f"Masks of categories that the reference does not list ({strange:,}) are left out.")
    notes += absent_from(scores)
    compared = sum(c.support for c in scores.classes)
    return Evaluation(
        Scores(title=title, compared=compared, left_out=n_crowds, instances=scores, notes=tuple(notes)),
        unit="instances",
    )


def absent_from(scores: InstanceScores) -> list[str]:
    """A note on the classes that no mean counts; none where there are none."""
    absent = [c.class_name for c in scores.classes if not c.support]
    return [f"In no mean, since the reference has none: {', '.join(absent)}."] if absent else []


def instances_from(
    entries: Sequence[Json], size: tuple[int, int], *, is_prediction: bool = False
) -> Instances:
    """The instances of one image of (height, width) from their entries in COCO's JSON.

    Raises:
        EvaluationError: a mask is broken, or of another size than the image.
    """
    masks = [mask_of(entry, size) for entry in entries]
    return Instances(
        masks=masks,
        class_id=np.array([entry["category_id"] for entry in entries], np.int64),
        confidence=np.array([entry["score"] for entry in entries], np.float64) if is_prediction else None,
        is_crowd=None if is_prediction else np.array([bool(e.get("iscrowd")) for e in entries], bool),
    )


def mask_of(entry: Json, size: tuple[int, int] | None = None) -> Rle:
    """The mask of an entry: run lengths, or polygons burned to an image of (height, width).

    Raises:
        EvaluationError: it is broken, of another size than the image, or of polygons without a size.
    """
    segmentation = entry["segmentation"]
    if not isinstance(segmentation, Mapping) and size is not None:
        return burn_polygons(segmentation, height=size[0], width=size[1])
    rle = read_coco(segmentation if isinstance(segmentation, Mapping) else {})
    if size is not None and (rle.height, rle.width) != size:
        raise EvaluationError(
            f"A mask of image {entry['image_id']!r} is {rle.height} x {rle.width}, the image "
            f"{size[0]} x {size[1]}. Resample it to the size of the image."
        )
    return rle


def score_coco_panoptic(
    prediction: Json, reference: Json, *, folders: tuple[Path, Path], title: str
) -> Evaluation:
    """Panoptic quality of COCO's JSON with PNGs.

    Args:
        prediction: a panoptic file: ``annotations`` with ``segments_info``.
        reference: likewise, with ``categories``.
        folders: that hold the PNGs of the prediction and of the reference.
        title: for people.

    Raises:
        EvaluationError: a PNG cannot be read, or an image has no prediction.
    """
    categories = _categories(reference)
    for entry in (*prediction["annotations"], *reference["annotations"]):
        refuse_malformed(entry["segments_info"], Segment, "segments_info")
    found = {entry["image_id"]: entry for entry in prediction["annotations"]}
    lacking = [entry for entry in reference["annotations"] if entry["image_id"] not in found]
    if lacking:
        raise EvaluationError(
            f"{len(lacking):,} of {len(reference['annotations']):,} images have no prediction (first: "
            f"{lacking[0]['file_name']}). Predict all, also those without segments."
        )
    counts = []
    for entry in reference["annotations"]:
        true = read_coco_panoptic(folders[1] / entry["file_name"], entry)
        answer = found[entry["image_id"]]
        counts.append(
            _counted(true, read_coco_panoptic(folders[0] / answer["file_name"], answer), categories)
        )
    beside = f"PNGs in {folders[0].name}/ and {folders[1].name}/"
    notes = [f"COCO panoptic segments of {len(counts):,} images, {beside}."]
    return _panoptic(counts, categories, title=title, notes=notes)


def score_bitmasks(prediction: Path, reference: Path, *, title: str) -> Evaluation:
    """Panoptic quality of two folders of BDD100K's bitmasks, by its rules.

    An image without a prediction has no segments, so all of the reference's are missed.

    Raises:
        EvaluationError: a bitmask cannot be read, or there are none.
    """
    paths = sorted(reference.glob("*.png"))
    if not paths:
        raise EvaluationError(f"{reference} holds no PNGs. Give the folder of bitmasks.")
    counts, n_missing = [], 0
    for path in paths:
        true, answer = read_bdd_panoptic(path), prediction / path.name
        n_missing += not answer.is_file()
        empty = PanopticMap(np.zeros_like(true.numbers), NO_SEGMENTS)
        found = read_bdd_panoptic(answer) if answer.is_file() else empty
        counts.append(_counted(true, found, BDD_CATEGORIES, rule="bdd100k"))
    notes = [f"BDD100K bitmasks of {len(paths):,} images, scored by its rule for void and crowds."]
    if n_missing:
        notes.append(f"Images without a prediction: {n_missing:,}. All their segments are missed.")
    return _panoptic(counts, BDD_CATEGORIES, title=title, notes=notes)


def _counted(
    true: PanopticMap, found: PanopticMap, categories: Sequence[Category], rule: Rule = "coco"
) -> PanopticCounts:
    return count_panoptic(
        overlaps(true.numbers, found.numbers),
        true.segments,
        found.segments,
        class_ids=[c.class_id for c in categories],
        rule=rule,
    )


def _panoptic(
    counts: Sequence[PanopticCounts], categories: Sequence[Category], *, title: str, notes: Sequence[str]
) -> Evaluation:
    if not counts:
        raise EvaluationError(f"The reference of {title} lists no images. Give one that does.")
    scores = panoptic_of(counts, categories)
    compared = sum(c.true_positives + c.false_negatives for c in scores.classes)
    undefined = tuple(c.class_name for c in scores.classes if c.pq is None)
    return Evaluation(
        Scores(title=title, compared=compared, undefined=undefined, panoptic=scores, notes=tuple(notes)),
        unit="segments",
    )


def _categories(reference: Json) -> list[Category]:
    refuse_malformed(reference.get("categories", ()), CategoryEntry, "categories")
    found = [
        Category(
            class_id=int(c["id"]),
            class_name=str(c.get("name", c["id"])),
            color=bytes(c["color"]).hex().upper() if "color" in c else "808080",
            is_thing=bool(c.get("isthing", 1)),
        )
        for c in reference.get("categories", ())
    ]
    if not found:
        raise EvaluationError("The reference lists no categories. Give one with 'categories'.")
    return found


def _by_image(entries: Sequence[Json]) -> defaultdict[Any, list[Json]]:
    found: defaultdict[Any, list[Json]] = defaultdict(list)
    for entry in entries:
        found[entry["image_id"]].append(entry)
    return found


def _refuse_unknown(found: Mapping[Any, Any], known: Mapping[Any, Any]) -> None:
    unknown = [image_id for image_id in found if image_id not in known]
    if unknown:
        raise EvaluationError(
            f"The results are of {len(unknown):,} images that the reference does not list (first: image_id "
            f"{unknown[0]!r}). Give the reference that was predicted."
        )
