"""SA-1B: eleven million photographs with masks of anything, without classes.

Taken from the README of ``facebookresearch/segment-anything`` (section Dataset), as Datumaro's and TensorFlow
Datasets' loaders read it too: each ``sa_{n}.jpg`` has a ``sa_{n}.json`` beside it with ``image`` and
``annotations``, whose ``segmentation`` is COCO's run-length encoding. Masks overlap and leave pixels out, so
there are instances of one class and no labels. Any of the thousand archives will do.
"""

import json
from pathlib import Path

import numpy as np

from geoseg.errors import EvaluationError
from geoseg.evaluation.benchmark import Benchmark, Sample, missing, register_benchmark
from geoseg.evaluation.label_files import RGB, Origin, legend_of, names_of, pair
from geoseg.evaluation.objects.instances import Instances
from geoseg.evaluation.objects.rle import read_coco

_ORIGIN = Origin("SA-1B", "https://ai.meta.com/datasets/segment-anything-downloads/")


def _find(root: Path, split: str) -> list[Sample]:
    there = names_of(root, "{id}.jpg") | names_of(root, "{id}.json")
    ids = [name for name in there if name.rpartition("/")[2].startswith("sa_")]
    if not ids:
        raise missing(root, "sa_*.jpg with sa_*.json beside them", *_ORIGIN)
    return pair(root, _ORIGIN, images="{id}.jpg", labels="{id}.json", read_instances=_read, ids=ids)


def _read(path: Path) -> Instances:
    try:
        masks = [read_coco(entry["segmentation"]) for entry in json.loads(path.read_bytes())["annotations"]]
    except (ValueError, KeyError, TypeError) as error:
        raise EvaluationError(
            f"{path} holds no masks of SA-1B ({type(error).__name__}: {error}). Unpack its archive again."
        ) from error
    return Instances(masks, np.zeros(len(masks), np.int64))


register_benchmark(
    Benchmark(
        name="sa-1b",
        title=_ORIGIN.title,
        legend=legend_of("1F78B4 object"),
        bands=RGB,
        splits=("train",),
        home=_ORIGIN.home,
        license="SA-1B Dataset Research License",
        layout="[{archive}/]sa_{image}.jpg\n[{archive}/]sa_{image}.json",
        find=_find,
        source="README of facebookresearch/segment-anything, section Dataset",
        scoring="It has no tool of its own. Of an image, 1,000 masks are looked at, as in COCO's AR@1000.",
        max_predictions=1000,
    )
)
