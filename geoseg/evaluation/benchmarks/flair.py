"""FLAIR #1: land cover of France from the air at 0.2 m, in 13 classes and in all 19.

Taken from the data set's own repository (github.com/IGNF/FLAIR-1): classes and colours from
``py_module/data_display.py``; that masks hold 1 to 19 and that what is above 13 is 13, ``other``, in the
baseline nomenclature from ``py_module/generate_miou.py`` and ``dataset.py``; folders from ``csv_full``. The
test has folders of its own; which of the training images are for validation is said by the lists
``flair-1-paths-val.csv`` and ``flair-1-paths-train.csv``, which lie in the repository, not in the archives.
"""

from functools import partial
from pathlib import Path

from geoseg.evaluation.benchmark import Benchmark, Sample, missing, register_benchmark
from geoseg.evaluation.label_files import Origin, Table, legend_of, lookup, read_names
from geoseg.evaluation.label_rasters import Pair, read_classes, samples_of
from geoseg.legend import Legend, LegendClass

_ORIGIN = Origin("FLAIR #1", "https://ignf.github.io/FLAIR/ (its lists from https://github.com/IGNF/FLAIR-1)")

_FULL = legend_of("""
    DB0E9A building
    938E7B pervious surface
    F80C00 impervious surface
    A97101 bare soil
    1553AE water
    194A26 coniferous
    46E483 deciduous
    F3A60D brushwood
    660082 vineyard
    55FF00 herbaceous vegetation
    FFF30D agricultural land
    E4DF7C plowed land
    3DE6EB swimming_pool
    FFFFFF snow
    8AB3A0 clear cut
    6B714F mixed
    C5DC42 ligneous
    9999FF greenhouse
    000000 other
""")

_OTHER = 12
_BASELINE = Legend(
    classes=(*_FULL.classes[:_OTHER], LegendClass(value=_OTHER, name="other", color_hint="000000"))
)


def _find(root: Path, split: str, *, table: Table) -> list[Sample]:
    pairs = _tested(root) if split == "test" else _listed(root, f"flair-1-paths-{split}.csv")
    what = "flair_1_aerial_test/D*/Z*/img/IMG_*.tif" if split == "test" else f"paths in its list of {split}"
    return samples_of(root, _ORIGIN, pairs, what=what, read_labels=partial(read_classes, table=table))


def _tested(root: Path) -> list[Pair]:
    folder = root / "flair_1_aerial_test"
    return [
        _pair(root, image, Path("flair_1_labels_test", *_mask_of(image)))
        for image in sorted(folder.glob("D*/Z*/img/IMG_*.tif"), key=lambda path: path.name)
    ]


def _mask_of(image: Path) -> tuple[str, str, str, str]:
    domain, zone = image.parts[-4:-2]
    return domain, zone, "msk", image.name.replace("IMG_", "MSK_")


def _listed(root: Path, name: str) -> list[Pair]:
    """The pairs of a list; its paths start at the folder of the repository."""
    found = [path for path in (root / name, root / "csv_full" / name) if path.is_file()]
    if not found:
        raise missing(root, f"csv_full/{name}", *_ORIGIN)
    rows = (row.split(",") for row in read_names(found[0]))
    return [
        _pair(root, root.joinpath(*Path(image).parts[-5:]), Path(*Path(mask).parts[-5:]))
        for image, mask in rows
    ]


def _pair(root: Path, image: Path, mask: Path) -> Pair:
    return Pair(image.stem.removeprefix("IMG_"), image.parts[-4], image, root / mask)


def _register(
    name: str, title: str, legend: Legend, table: Table, scoring: str, unaveraged: tuple[str, ...] = ()
) -> None:
    register_benchmark(
        Benchmark(
            name=name,
            title=title,
            legend=legend,
            bands=("red", "green", "blue", "nir", "elevation"),
            splits=("test", "val", "train"),
            home=_ORIGIN.home,
            license="Licence Ouverte 2.0 (etalab-2.0)",
            layout=(
                "flair_1_aerial_test/{domain}/{zone}/img/IMG_{number}.tif\n"
                "flair_1_labels_test/{domain}/{zone}/msk/MSK_{number}.tif\n"
                "flair_aerial_train/{domain}/{zone}/img/IMG_{number}.tif\n"
                "flair_labels_train/{domain}/{zone}/msk/MSK_{number}.tif\n"
                "csv_full/flair-1-paths-{train,val}.csv"
            ),
            find=partial(_find, table=table),
            source="github.com/IGNF/FLAIR-1: py_module/data_display.py, generate_miou.py, csv_full",
            gsd_m=0.2,
            n_samples={"test": 15700},
            scoring=scoring,
            unaveraged=unaveraged,
        )
    )


_register(
    "flair-1",
    _ORIGIN.title,
    _BASELINE,
    lookup({stored: min(stored - 1, _OTHER) for stored in range(1, 20)}, ignored=[]),
    "Its mIoU is the mean of the first 12 classes: other is left out of the mean, though pixels of other "
    "that are taken for a class count against that class, as they do here.",
    unaveraged=("other",),
)
_register(
    "flair-1-full",
    f"{_ORIGIN.title}, all 19 classes",
    _FULL,
    lookup({stored: stored - 1 for stored in range(1, 20)}, ignored=[]),
    "Later versions of its tools take clear cut, mixed, ligneous and other out of the matrix first.",
)
