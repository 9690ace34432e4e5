"""SEN12MS (10 classes) and the contest that was built on it, DFC2020 (8 classes), with Sentinel-2 images.

Taken from the contest's baseline (github.com/lukasliebel/dfc2020_baseline): how the 17 IGBP classes become 10
from ``code/datasets.py`` (also in SEN12MS's own ``classification/dataset.py``), names and colours from
``code/utils.py``, folders and files from ``code/datasets.py``. Held-out scenes and the one broken patch are
those of github.com/schmitt-muc/SEN12MS (``splits/SEN12MS_holdOutScenes.txt``, README).

The contest's labels (``dfc``) hold the 10 classes as 1 to 10. Savanna and snow do not occur in them and are
not among the 8 classes that its baseline shows; where they should be met, they are not scored. Labels of
SEN12MS are MODIS's at 500 m: a weak reference.
"""

from functools import partial
from pathlib import Path

from geoseg.evaluation.benchmark import Benchmark, Sample, missing, register_benchmark
from geoseg.evaluation.label_files import Origin, legend_of, lookup
from geoseg.evaluation.label_rasters import SENTINEL2_L1C, Pair, read_classes, samples_of
from geoseg.legend import Legend

_SEN12MS = Origin("SEN12MS", "https://mediatum.ub.tum.de/1474000")
_DFC2020 = Origin("DFC2020", "https://ieee-dataport.org/competitions/2020-ieee-grss-data-fusion-contest")

_SIMPLIFIED = legend_of("""
    009900 Forest
    C6B044 Shrubland
    FBFF13 Savanna
    B6FF05 Grassland
    27FF87 Wetlands
    C24F44 Croplands
    A5A5A5 Urban/Built-up
    69FFF8 Snow/Ice
    F9FFA4 Barren
    1C0DFF Water
""")

_OF_IGBP = (1, 1, 1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 6, 8, 9, 10)
"""The simplified class, 1 to 10, of each IGBP class, 1 to 17."""
_IGBP = lookup({igbp: code - 1 for igbp, code in enumerate(_OF_IGBP, 1)}, ignored=[0])

_UNSCORED = (3, 8)
_CODES = [code for code in range(1, 11) if code not in _UNSCORED]
_CONTEST = Legend(
    classes=tuple(
        _SIMPLIFIED.classes[code - 1].model_copy(update={"value": value}) for value, code in enumerate(_CODES)
    )
)
_DFC = lookup({code: value for value, code in enumerate(_CODES)}, ignored=[0, *_UNSCORED])

_SEASONS = ("ROIs1158_spring", "ROIs1868_summer", "ROIs1970_fall", "ROIs2017_winter")
_HELD_OUT = {
    "ROIs1158_spring": (63, 146, 97, 124, 15, 17),
    "ROIs1868_summer": (43, 131, 19, 104, 72, 15, 79),
    "ROIs1970_fall": (120, 39, 144, 35, 61, 47, 30, 141),
    "ROIs2017_winter": (64, 146, 32, 107, 135),
}
_BROKEN = "ROIs1868_summer_s2_146_p202"


def _find_sen12ms(root: Path, split: str) -> list[Sample]:
    pairs = []
    for season in _SEASONS:
        scenes = {int(path.name[3:]): path for path in (root / season).glob("s2_*")}
        held_out = _HELD_OUT[season]
        wanted = held_out if split == "holdout" else [s for s in sorted(scenes) if s not in held_out]
        for scene in wanted:
            if scene not in scenes:
                raise missing(root, f"{season}/s2_{scene}", *_SEN12MS)
            pairs += _patches(scenes[scene], root / season / f"lc_{scene}", "lc", place=f"{season}_{scene}")
    what = "ROIs{1158_spring,1868_summer,1970_fall,2017_winter}/s2_*/*.tif"
    return samples_of(root, _SEN12MS, pairs, what=what, read_labels=partial(read_classes, table=_IGBP))


def _find_dfc2020(root: Path, split: str) -> list[Sample]:
    season, scene = {"val": ("ROIs0000_validation", "validation"), "test": ("ROIs0000_test", "0")}[split]
    pairs = _patches(root / season / f"s2_{scene}", root / season / f"dfc_{scene}", "dfc")
    what = f"{season}/s2_{scene}/*.tif"
    return samples_of(root, _DFC2020, pairs, what=what, read_labels=partial(read_classes, table=_DFC))


def _patches(images: Path, labels: Path, kind: str, *, place: str = "") -> list[Pair]:
    return [
        Pair(image.stem, place or image.stem, image, labels / image.name.replace("_s2_", f"_{kind}_"))
        for image in sorted(images.glob("*.tif"))
        if image.stem != _BROKEN
    ]


register_benchmark(
    Benchmark(
        name="dfc2020",
        title=_DFC2020.title,
        legend=_CONTEST,
        bands=SENTINEL2_L1C,
        splits=("test", "val"),
        home=_DFC2020.home,
        license="CC BY 4.0",
        layout=(
            "ROIs0000_test/s2_0/ROIs0000_test_s2_0_p{number}.tif\n"
            "ROIs0000_test/dfc_0/ROIs0000_test_dfc_0_p{number}.tif\n"
            "ROIs0000_validation/s2_validation/ROIs0000_validation_s2_{scene}_p{number}.tif\n"
            "ROIs0000_validation/dfc_validation/ROIs0000_validation_dfc_{scene}_p{number}.tif"
        ),
        find=_find_dfc2020,
        source="github.com/lukasliebel/dfc2020_baseline: code/datasets.py, code/utils.py, README",
        gsd_m=10,
        scale=1e-4,
        n_samples={"test": 5128, "val": 986},
        scoring="The contest ranked by average accuracy (mean_accuracy), the mean over classes that occur.",
    )
)
register_benchmark(
    Benchmark(
        name="sen12ms",
        title=_SEN12MS.title,
        legend=_SIMPLIFIED,
        bands=SENTINEL2_L1C,
        splits=("holdout", "train"),
        home=_SEN12MS.home,
        license="CC BY 4.0",
        layout=(
            "{season}/s2_{scene}/{season}_s2_{scene}_p{number}.tif\n"
            "{season}/lc_{scene}/{season}_lc_{scene}_p{number}.tif"
        ),
        find=_find_sen12ms,
        source="github.com/schmitt-muc/SEN12MS: splits, README; github.com/lukasliebel/dfc2020_baseline",
        gsd_m=10,
        scale=1e-4,
        n_samples={"holdout": 18106, "train": 162555},
    )
)
