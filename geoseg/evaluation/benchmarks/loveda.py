"""LoveDA: land cover of cities and countryside in Nanjing, Changzhou and Wuhan, 7 classes at 0.3 m.

Taken from the data set's own repository (github.com/Junjue-Wang/LoveDA): classes and colours from
``Semantic_Segmentation/data/loveda.py`` and ``render.py``, the rule that 0 is no data and is not scored from
``data/loveda.py`` (labels less one) and ``eval.py`` (what is then -1 is left out); folders as torchgeo 0.8.1
(``datasets/loveda.py``) finds them in the archives of Zenodo 5706578. Background is a class and is scored.
"""

from functools import partial
from pathlib import Path

from geoseg.evaluation.benchmark import Benchmark, Sample, register_benchmark
from geoseg.evaluation.label_files import RGB, Origin, legend_of, lookup, pair, read_labels

_ORIGIN = Origin("LoveDA", "https://zenodo.org/records/5706578")

_LEGEND = legend_of("""
    FFFFFF Background
    FF0000 Building
    FFFF00 Road
    0000FF Water
    9F81B7 Barren
    00FF00 Forest
    FFC380 Agricultural
""")

_TABLE = lookup({value + 1: value for value in _LEGEND.values}, ignored=[0])
_FOLDERS = {"val": "Val", "train": "Train", "test": "Test"}


def _find(root: Path, split: str) -> list[Sample]:
    samples = []
    for scene in ("Urban", "Rural"):
        folder = f"{_FOLDERS[split]}/{scene}"
        samples += pair(
            root,
            _ORIGIN,
            images=f"{folder}/images_png/{{id}}.png",
            labels=None if split == "test" else f"{folder}/masks_png/{{id}}.png",
            read=partial(read_labels, table=_TABLE),
        )
    return samples


register_benchmark(
    Benchmark(
        name="loveda",
        title=_ORIGIN.title,
        legend=_LEGEND,
        bands=RGB,
        splits=tuple(_FOLDERS),
        home=_ORIGIN.home,
        license="CC BY-NC-SA 4.0",
        layout=(
            "{Train,Val,Test}/{Urban,Rural}/images_png/{number}.png\n"
            "{Train,Val}/{Urban,Rural}/masks_png/{number}.png"
        ),
        find=_find,
        source="github.com/Junjue-Wang/LoveDA: data/loveda.py, render.py, eval.py; torchgeo 0.8.1",
        gsd_m=0.3,
        n_samples={"val": 1669, "train": 2522, "test": 1796},
    )
)
