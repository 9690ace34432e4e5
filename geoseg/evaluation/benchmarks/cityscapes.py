"""Cityscapes: street scenes of 50 cities, 19 classes, fine and coarse labels.

Taken from the data set's own scripts (PyPI ``cityscapesscripts`` 2.3.0): ids, train ids, names and colours
from ``helpers/labels.py``, file names and numbers of images from the README, rules from
``evaluation/evalPixelLevelSemanticLabeling.py``. The distributed ``labelIds`` PNGs hold ids, not train ids;
groups that were not told apart (``cargroup``) are drawn in them as the class itself, so they are scored.
The PNGs of the test split are dummies.
"""

from functools import partial
from pathlib import Path

from geoseg.evaluation.benchmark import Benchmark, Sample, register_benchmark
from geoseg.evaluation.label_files import RGB, Origin, legend_of, lookup, pair, read_labels

ORIGIN = Origin("Cityscapes", "https://www.cityscapes-dataset.com/downloads/")

LEGEND = legend_of("""
    804080 road
    F423E8 sidewalk
    464646 building
    66669C wall
    BE9999 fence
    999999 pole
    FAAA1E traffic light
    DCDC00 traffic sign
    6B8E23 vegetation
    98FB98 terrain
    4682B4 sky
    DC143C person
    FF0000 rider
    00008E car
    000046 truck
    003C64 bus
    005064 train
    0000E6 motorcycle
    770B20 bicycle
""")

IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The label id of each class, in their order."""
TABLE = lookup(
    {label_id: value for value, label_id in enumerate(IDS)}, ignored=(i for i in range(34) if i not in IDS)
)
"""The classes of label ids 0 to 33; void, parking, rail track, bridge, caravan and others are not scored."""

_SPLITS = {
    "val": ("val", "gtFine"),
    "train": ("train", "gtFine"),
    "test": ("test", None),
    "val_coarse": ("val", "gtCoarse"),
    "train_coarse": ("train", "gtCoarse"),
    "train_extra": ("train_extra", "gtCoarse"),
}


def _find(root: Path, split: str) -> list[Sample]:
    folder, kind = _SPLITS[split]
    return pair(
        root,
        ORIGIN,
        images=f"leftImg8bit/{folder}/{{id}}_leftImg8bit.png",
        labels=kind and f"{kind}/{folder}/{{id}}_{kind}_labelIds.png",
        read=partial(read_labels, table=TABLE),
        place=_city,
    )


def _city(name: str) -> str:
    return name.partition("/")[0]


register_benchmark(
    Benchmark(
        name="cityscapes",
        title=ORIGIN.title,
        legend=LEGEND,
        bands=RGB,
        splits=tuple(_SPLITS),
        home=ORIGIN.home,
        license="Cityscapes terms: non-commercial, after registration",
        layout=(
            "leftImg8bit/{train,val,test,train_extra}/{city}/{city}_{seq}_{frame}_leftImg8bit.png\n"
            "gtFine/{train,val}/{city}/{city}_{seq}_{frame}_gtFine_labelIds.png\n"
            "gtCoarse/{train,val,train_extra}/{city}/{city}_{seq}_{frame}_gtCoarse_labelIds.png"
        ),
        find=_find,
        source="cityscapesscripts 2.3.0: helpers/labels.py, evaluation/evalPixelLevelSemanticLabeling.py",
        n_samples={
            "val": 500,
            "train": 2975,
            "test": 1525,
            "val_coarse": 500,
            "train_coarse": 2975,
            "train_extra": 19998,
        },
    )
)
