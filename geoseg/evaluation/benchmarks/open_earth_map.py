"""OpenEarthMap: land cover of 97 regions in 44 countries at 0.25 to 0.5 m, 8 classes.

Taken from the data set's own repository (github.com/bao18/open_earth_map): class numbers and colours from
``oem/utils.py``, pairs of files from ``oem/dataset.py`` (``images`` and ``labels`` beside each other in the
folder of a region), lists ``train.txt``, ``val.txt``, ``test.txt`` from ``data``. Names are the paper's (Xia
et al. 2023, WACV), which differ from the code's for grass, pavement, cropland and buildings. 0 is unknown and
is not scored. Labels of the test list are held back.

Images from xBD are not in the archive; ``data/compile_xbd.py`` of the repository adds them. Without them the
lists are incomplete, and a shorter split would not be the published one, so it is refused.
"""

from functools import partial
from pathlib import Path

from geoseg.evaluation.benchmark import Benchmark, Sample, missing, register_benchmark
from geoseg.evaluation.label_files import RGB, Origin, base_of, legend_of, lookup, read_names
from geoseg.evaluation.label_rasters import Pair, read_classes, samples_of

_ORIGIN = Origin(
    "OpenEarthMap",
    "https://zenodo.org/records/7223446, and images of xBD by its compile_xbd.py",
)

_LEGEND = legend_of("""
    800000 Bareland
    00FF24 Rangeland: Called Grass in oem/utils.py.
    949494 Developed space: Called Pavement in oem/utils.py.
    FFFFFF Road
    226126 Tree
    0045FF Water
    4BB549 Agriculture land: Called Cropland in oem/utils.py.
    DE1F07 Building: Called buildings in oem/utils.py.
""")

_TABLE = lookup({value + 1: value for value in _LEGEND.values}, ignored=[0])


def _find(root: Path, split: str) -> list[Sample]:
    base = base_of(root, f"{split}.txt", "OpenEarthMap_wo_xBD")
    if not (base / f"{split}.txt").is_file():
        raise missing(root, f"{split}.txt", *_ORIGIN)
    return samples_of(
        base,
        _ORIGIN,
        [_pair(base, name, has_labels=split != "test") for name in read_names(base / f"{split}.txt")],
        what=f"names in {split}.txt",
        read_labels=partial(read_classes, table=_TABLE),
    )


def _pair(root: Path, name: str, *, has_labels: bool) -> Pair:
    region = name.rpartition("_")[0]
    labels = root / region / "labels" / name if has_labels else None
    return Pair(name.removesuffix(".tif"), region, root / region / "images" / name, labels)


register_benchmark(
    Benchmark(
        name="open-earth-map",
        title=_ORIGIN.title,
        legend=_LEGEND,
        bands=RGB,
        splits=("val", "train", "test"),
        home=_ORIGIN.home,
        license="labels CC BY-NC-SA 4.0 or stricter by region; images under their owners' licences",
        layout=(
            "{train,val,test}.txt\n{region}/images/{region}_{number}.tif\n{region}/labels/{region}_{number}.tif"
        ),
        find=_find,
        source="github.com/bao18/open_earth_map: oem/utils.py, oem/dataset.py, data/*.txt; Xia et al. 2023",
        n_samples={"val": 500, "train": 3000, "test": 1500},
        scoring="Its scripts shrink images to 512 x 512 before they are scored; here they are not.",
    )
)
