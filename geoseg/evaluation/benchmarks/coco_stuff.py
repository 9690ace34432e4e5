"""COCO-Stuff 164k: photographs of COCO 2017, 80 things and 91 stuffs.

Taken from the data set's own repository (``nightrome/cocostuff``): ids and names from ``labels.txt``; the
folders, the eleven COCO things that were never segmented, and the offset of the PNGs from ``README.md``;
scores from ``models/deeplab/evaluate_performance.py``. The PNGs of ``stuffthingmaps_trainval2017.zip`` hold
the id less 1, 0 to 181, and 255 for unlabelled; classes here are the 171 that occur, in that order. The
repository has no colours for things: colours here are PASCAL VOC's, by id.
"""

from functools import partial
from pathlib import Path

from geoseg.evaluation.benchmark import IGNORE, Benchmark, Sample, register_benchmark
from geoseg.evaluation.label_files import RGB, Origin, legend_of, lookup, pair, read_labels, voc_color

_ORIGIN = Origin("COCO-Stuff 164k", "https://github.com/nightrome/cocostuff#downloads")

_NAMES = """
    person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, -,
    stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, -,
    backpack, umbrella, -, -, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite,
    baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, -, wine glass, cup, fork,
    knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake,
    chair, couch, potted plant, bed, -, dining table, -, -, toilet, -, tv, laptop, mouse, remote,
    keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, -, book, clock, vase, scissors,
    teddy bear, hair drier, toothbrush, -, banner, blanket, branch, bridge, building-other, bush, cabinet,
    cage, cardboard, carpet, ceiling-other, ceiling-tile, cloth, clothes, clouds, counter, cupboard,
    curtain, desk-stuff, dirt, door-stuff, fence, floor-marble, floor-other, floor-stone, floor-tile,
    floor-wood, flower, fog, food-other, fruit, furniture-other, grass, gravel, ground-other, hill, house,
    leaves, light, mat, metal, mirror-stuff, moss, mountain, mud, napkin, net, paper, pavement, pillow,
    plant-other, plastic, platform, playingfield, railing, railroad, river, road, rock, roof, rug, salad,
    sand, sea, shelf, sky-other, skyscraper, snow, solid-other, stairs, stone, straw, structural-other,
    table, tent, textile-other, towel, tree, vegetable, wall-brick, wall-concrete, wall-other, wall-panel,
    wall-stone, wall-tile, wall-wood, water-other, waterdrops, window-blind, window-other, wood
"""
"""Of ids 1 to 182; ``-`` for things that COCO names but has no masks of."""

_CLASSES = [(id_, n) for id_, n in enumerate(map(str.strip, _NAMES.split(",")), start=1) if n != "-"]
_TABLE = lookup({id_ - 1: value for value, (id_, _) in enumerate(_CLASSES)}, ignored=[IGNORE])


def _find(root: Path, split: str) -> list[Sample]:
    return pair(
        root,
        _ORIGIN,
        images=f"images/{split}2017/{{id}}.jpg",
        labels=f"annotations/{split}2017/{{id}}.png",
        read=partial(read_labels, table=_TABLE),
    )


register_benchmark(
    Benchmark(
        name="coco-stuff-164k",
        title=_ORIGIN.title,
        legend=legend_of("\n".join(f"{voc_color(id_)} {name}" for id_, name in _CLASSES)),
        bands=RGB,
        splits=("val", "train"),
        home=_ORIGIN.home,
        license="annotations CC BY 4.0; pictures: Flickr terms of use",
        layout="images/{train,val}2017/{image}.jpg\nannotations/{train,val}2017/{image}.png",
        find=_find,
        source="nightrome/cocostuff: labels.txt, README.md, models/deeplab/evaluate_performance.py",
        n_samples={"val": 5000, "train": 118287},
        scoring="Its mIoU is the mean over the classes of the reference only.",
    )
)
