"""DeepGlobe land cover (2018): satellite images at 0.5 m, 6 classes and what is unknown.

Taken from the challenge's description (data and evaluation pages, as public copies repeat them, and
``class_dict.csv`` of the archive): the colours; that channels are split at 128, as the masks were compressed;
that unknown pixels are not scored, so that the mean is over 6 classes. Only the training images have labels.
"""

from pathlib import Path

import numpy as np

from geoseg.evaluation.benchmark import Benchmark, Labels, Sample, register_benchmark
from geoseg.evaluation.label_files import RGB, Origin, legend_of, pair, read_rgb
from geoseg.evaluation.label_rasters import classes_of_colors

_ORIGIN = Origin(
    "DeepGlobe land cover",
    "https://www.kaggle.com/datasets/balraj98/deepglobe-land-cover-classification-dataset",
)

_LEGEND = legend_of("""
    00FFFF urban_land
    FFFF00 agriculture_land
    FF00FF rangeland
    00FF00 forest_land
    0000FF water
    FFFFFF barren_land
""")

_THRESHOLD = 128


def _find(root: Path, split: str) -> list[Sample]:
    return pair(
        root,
        _ORIGIN,
        images=f"{split}/{{id}}_sat.jpg",
        labels=f"{split}/{{id}}_mask.png" if split == "train" else None,
        read=_read_mask,
    )


def _read_mask(path: Path) -> Labels:
    full = np.uint8(255) * (read_rgb(path) >= _THRESHOLD)
    return classes_of_colors(full, _LEGEND)


register_benchmark(
    Benchmark(
        name="deepglobe-land-cover",
        title=_ORIGIN.title,
        legend=_LEGEND,
        bands=RGB,
        splits=("train", "valid", "test"),
        home=_ORIGIN.home,
        license="DeepGlobe terms: research and education, not commercial",
        layout="{train,valid,test}/{number}_sat.jpg\ntrain/{number}_mask.png",
        find=_find,
        source="DeepGlobe 2018 land cover challenge, data and evaluation pages; class_dict.csv",
        gsd_m=0.5,
        n_samples={"train": 803, "valid": 171, "test": 172},
    )
)
