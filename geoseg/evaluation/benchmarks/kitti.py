"""KITTI semantic segmentation (2015): street scenes around Karlsruhe, labelled and scored like Cityscapes.

Taken from the benchmark's page (cvlibs.net, ``eval_semseg.php``: 200 training and 200 test images, format and
metrics conform with Cityscapes) and from the folders of ``data_semantics.zip``. The PNGs in ``semantic`` hold
Cityscapes label ids.
"""

from functools import partial
from pathlib import Path

from geoseg.evaluation.benchmark import Benchmark, Sample, register_benchmark
from geoseg.evaluation.benchmarks.cityscapes import LEGEND, TABLE
from geoseg.evaluation.label_files import RGB, Origin, base_of, pair, read_labels

_ORIGIN = Origin(
    "KITTI semantic segmentation",
    "https://www.cvlibs.net/datasets/kitti/eval_semseg.php?benchmark=semantics2015",
)


def _find(root: Path, split: str) -> list[Sample]:
    base = base_of(root, "training", "data_semantics")
    folder = {"train": "training", "test": "testing"}[split]
    return pair(
        base,
        _ORIGIN,
        images=f"{folder}/image_2/{{id}}.png",
        labels=f"{folder}/semantic/{{id}}.png" if split == "train" else None,
        read=partial(read_labels, table=TABLE),
    )


register_benchmark(
    Benchmark(
        name="kitti-semantic",
        title=_ORIGIN.title,
        legend=LEGEND,
        bands=RGB,
        splits=("train", "test"),
        home=_ORIGIN.home,
        license="CC BY-NC-SA 3.0",
        layout="{training,testing}/image_2/{frame}_10.png\ntraining/semantic/{frame}_10.png",
        find=_find,
        source="cvlibs.net/datasets/kitti/eval_semseg.php; label ids of cityscapesscripts 2.3.0",
        n_samples={"train": 200, "test": 200},
    )
)
