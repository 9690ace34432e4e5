"""BDD100K, semantic segmentation: dash-cam pictures from the USA, the 19 classes of Cityscapes.

Taken from the data set's own toolkit (PyPI ``bdd100k`` 1.0.1): train ids, names and colours from
``label/label.py`` (equal to those of Cityscapes; its ``configs/sem_seg.toml`` has the colours of wall and
fence the other way round), 255 as not scored from ``label/to_mask.py``, scores and the rule for missing
predictions from ``eval/seg.py``; folders from ``doc/source/download.rst``. The PNGs in ``masks`` hold train
ids.
"""

from functools import partial
from pathlib import Path

from geoseg.evaluation.benchmark import IGNORE, Benchmark, Sample, register_benchmark
from geoseg.evaluation.benchmarks.cityscapes import LEGEND
from geoseg.evaluation.label_files import RGB, Origin, base_of, lookup, pair, read_labels

_ORIGIN = Origin("BDD100K", "https://bdd-data.berkeley.edu/")
_TABLE = lookup({value: value for value in LEGEND.values}, ignored=[IGNORE])


def _find(root: Path, split: str) -> list[Sample]:
    base = base_of(root, "images/10k", "bdd100k")
    return pair(
        base,
        _ORIGIN,
        images=f"images/10k/{split}/{{id}}.jpg",
        labels=None if split == "test" else f"labels/sem_seg/masks/{split}/{{id}}.png",
        read=partial(read_labels, table=_TABLE),
    )


register_benchmark(
    Benchmark(
        name="bdd100k",
        title=_ORIGIN.title,
        legend=LEGEND,
        bands=RGB,
        splits=("val", "train", "test"),
        home=_ORIGIN.home,
        license="BDD100K licence: education, research and other purposes without profit",
        layout="images/10k/{train,val,test}/{image}.jpg\nlabels/sem_seg/masks/{train,val}/{image}.png",
        find=_find,
        source="bdd100k 1.0.1: label/label.py, label/to_mask.py, eval/seg.py; doc/source/download.rst",
        n_samples={"val": 1000, "train": 7000, "test": 2000},
        scoring=(
            "Its mIoU is the mean over the classes of the reference only. What it calls accuracy of a class "
            "is geoseg's precision, and its mean accuracy the mean of that over the same classes."
        ),
        is_missing_wrong=True,
    )
)
