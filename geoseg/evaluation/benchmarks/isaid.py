"""iSAID: objects in aerial and satellite images (those of DOTA), scored as 15 classes and background.

Taken from the data set's own tools (github.com/CAPTAIN-WHU/iSAID_Devkit): names, ids and colours from
``preprocess/cityscapesScripts/cityscapesscripts/helpers/labels.py``, files from its README. In spite of its
name, ``*_instance_color_RGB.png`` holds the colours of classes; ``*_instance_id_RGB.png`` holds one colour
for each object (black for none), whose class is that of most of its pixels; 1,000 predictions of an image are
looked at (``cocoapi/PythonAPI/pycocotools/cocoeval.py``). That background is a class, as in published mIoUs,
is from mmsegmentation (``mmseg/datasets/isaid.py``), which scores 896 x 896 pieces of the same images.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from geoseg.evaluation.benchmark import Benchmark, Labels, Sample, missing, register_benchmark
from geoseg.evaluation.label_files import RGB, Origin, legend_of, read_rgb
from geoseg.evaluation.label_rasters import Pair, classes_of_colors, samples_of
from geoseg.evaluation.objects.instances import Instances
from geoseg.evaluation.objects.rle import encode_each

_ORIGIN = Origin("iSAID", "https://captain-whu.github.io/iSAID/dataset.html")

_LEGEND = legend_of("""
    000000 background
    00003F ship
    003F3F storage_tank
    003F00 baseball_diamond
    003F7F tennis_court
    003FBF basketball_court
    003FFF Ground_Track_Field
    007F3F Bridge
    007F7F Large_Vehicle
    00007F Small_Vehicle
    0000BF Helicopter
    0000FF Swimming_pool
    00BF7F Roundabout
    007FBF Soccer_ball_field
    007FFF plane
    00649B Harbor
""")


def _find(root: Path, split: str) -> list[Sample]:
    folder = root / split / "images"
    images = sorted(path for path in folder.glob("P*.png") if "_instance_" not in path.name)
    labels = "{}_instance_color_RGB.png"
    samples = samples_of(
        root,
        _ORIGIN,
        [
            Pair(i.stem, i.stem, i, None if split == "test" else folder / labels.format(i.stem))
            for i in images
        ],
        what=f"{split}/images/P*.png",
        read_labels=_read_mask,
        read_image=read_rgb,
    )
    return [
        sample
        if sample.read_labels is None
        else replace(sample, read_instances=partial(_read_instances, folder, sample.id))
        for sample in samples
    ]


def _read_instances(folder: Path, name: str) -> Instances:
    path = folder / f"{name}_instance_id_RGB.png"
    if not path.is_file():
        raise missing(folder, path.name, *_ORIGIN)
    red, green, blue = read_rgb(path).astype(np.int64)
    numbers = (red << 16) + (green << 8) + blue
    labels = _read_mask(folder / f"{name}_instance_color_RGB.png")
    masks = encode_each(numbers)
    pairs, n = np.unique((numbers << 8) + labels, return_counts=True)
    order = np.argsort(n, kind="stable")
    class_of = dict(zip((pairs >> 8)[order].tolist(), (pairs & 255)[order].tolist(), strict=True))
    return Instances(list(masks.values()), np.array([class_of[number] for number in masks], np.int64))


def _read_mask(path: Path) -> Labels:
    return classes_of_colors(read_rgb(path), _LEGEND)


register_benchmark(
    Benchmark(
        name="isaid",
        title=_ORIGIN.title,
        legend=_LEGEND,
        bands=RGB,
        splits=("val", "train", "test"),
        home=_ORIGIN.home,
        license="academic use only; images are Google Earth's and others' (see DOTA)",
        layout=(
            "{train,val,test}/images/{P0000}.png\n"
            "{train,val}/images/{P0000}_instance_color_RGB.png\n"
            "{train,val}/images/{P0000}_instance_id_RGB.png (for instances)"
        ),
        find=_find,
        source="CAPTAIN-WHU/iSAID_Devkit: helpers/labels.py, README; mmsegmentation mmseg/datasets/isaid.py",
        n_samples={"val": 458, "train": 1411, "test": 937},
        scoring=(
            "Published mIoUs count pixels again where pieces of 896 x 896 overlap; here each counts once. "
            "Its own tool scores instances in pieces of 800 x 800; here they are those of whole images."
        ),
        max_predictions=1000,
    )
)
