"""ISPRS 2D semantic labelling: Potsdam (0.05 m) and Vaihingen (0.09 m) from the air, 6 classes.

Colours and class order are those of the contest's reference (also in mmsegmentation,
``mmseg/datasets/potsdam.py``); training and test tiles those of the contest as mmsegmentation
(``tools/dataset_converters/potsdam.py``, ``vaihingen.py``) and torchgeo 0.8.1 (``datasets/potsdam.py``,
``vaihingen.py``) list them. The contest scores labels whose boundaries were eroded (``noBoundary``): black is
not scored. The splits ``test_full`` and ``train_full`` have the labels with boundaries. Colours that are not
in the code, as a tile of Potsdam has, are not scored either; mmsegmentation leaves them out as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from geoseg.evaluation.benchmark import Benchmark, Labels, Sample, register_benchmark
from geoseg.evaluation.label_files import Origin, legend_of
from geoseg.evaluation.label_rasters import Pair, classes_of_colors, read_bands, samples_of

_LEGEND = legend_of("""
    FFFFFF impervious surfaces
    0000FF building
    00FFFF low vegetation
    00FF00 tree
    FFFF00 car
    FF0000 clutter/background
""")

_UNAVERAGED = ("clutter/background",)
_SCORING = (
    "Most published means of F1 and IoU are of the five classes without clutter, which counts in overall "
    "accuracy, and so are those here; mmsegmentation averages all six."
)


@dataclass(frozen=True)
class _Town:
    origin: Origin
    tiles: Mapping[str, tuple[str, ...]]
    image: str
    eroded: str
    full: str

    def find(self, root: Path, split: str) -> list[Sample]:
        """The tiles of ``test`` or ``train``, each as a whole."""
        part, _, kind = split.partition("_")
        labels = self.full if kind == "full" else self.eroded
        pairs = [
            Pair(tile, tile, _file(root, self.image, tile), _file(root, labels, tile))
            for tile in self.tiles[part]
        ]
        return samples_of(root, self.origin, pairs, what="its tiles", read_labels=_read_mask)


def _file(root: Path, pattern: str, tile: str) -> Path:
    """The archives of labels unpack without a folder; either way will do."""
    path = root / pattern.format(tile)
    return path if path.parent.is_dir() or not (root / path.name).is_file() else root / path.name


def _read_mask(path: Path) -> Labels:
    return classes_of_colors(read_bands(path)[:3], _LEGEND)


POTSDAM = _Town(
    Origin("ISPRS Potsdam", "https://www.isprs.org/education/benchmarks/UrbanSemLab/2d-sem-label-potsdam.aspx"),
    {
        "test": (
            "2_13", "2_14", "3_13", "3_14", "4_13", "4_14", "4_15", "5_13", "5_14", "5_15", "6_13", "6_14",
            "6_15", "7_13",
        ),
        "train": (
            "2_10", "2_11", "2_12", "3_10", "3_11", "3_12", "4_10", "4_11", "4_12", "5_10", "5_11", "5_12",
            "6_7", "6_8", "6_9", "6_10", "6_11", "6_12", "7_7", "7_8", "7_9", "7_10", "7_11", "7_12",
        ),
    },
    image="4_Ortho_RGBIR/top_potsdam_{}_RGBIR.tif",
    eroded="5_Labels_all_noBoundary/top_potsdam_{}_label_noBoundary.tif",
    full="5_Labels_all/top_potsdam_{}_label.tif",
)  # fmt: skip

_VAIHINGEN_LABELS = "ISPRS_semantic_labeling_Vaihingen_ground_truth"
VAIHINGEN = _Town(
    Origin(
        "ISPRS Vaihingen",
        "https://www.isprs.org/education/benchmarks/UrbanSemLab/2d-sem-label-vaihingen.aspx",
    ),
    {
        "test": tuple(map(str, (2, 4, 6, 8, 10, 12, 14, 16, 20, 22, 24, 27, 29, 31, 33, 35, 38))),
        "train": tuple(map(str, (1, 3, 5, 7, 11, 13, 15, 17, 21, 23, 26, 28, 30, 32, 34, 37))),
    },
    image="top/top_mosaic_09cm_area{}.tif",
    eroded=f"{_VAIHINGEN_LABELS}_eroded_COMPLETE/top_mosaic_09cm_area{{}}_noBoundary.tif",
    full=f"{_VAIHINGEN_LABELS}_COMPLETE/top_mosaic_09cm_area{{}}.tif",
)


def _register(town: _Town, name: str, bands: tuple[str, ...], gsd_m: float) -> None:
    n_samples = {part: len(tiles) for part, tiles in town.tiles.items()}
    register_benchmark(
        Benchmark(
            name=name,
            title=town.origin.title,
            legend=_LEGEND,
            bands=bands,
            splits=("test", "train", "test_full", "train_full"),
            home=town.origin.home,
            license="ISPRS terms: research, on request",
            layout="\n".join(pattern.format("{tile}") for pattern in (town.image, town.eroded, town.full)),
            find=town.find,
            source="ISPRS contest; mmsegmentation tools/dataset_converters; torchgeo 0.8.1",
            gsd_m=gsd_m,
            n_samples={**n_samples, **{f"{part}_full": n for part, n in n_samples.items()}},
            scoring=_SCORING,
            unaveraged=_UNAVERAGED,
        )
    )


_register(POTSDAM, "isprs-potsdam", ("red", "green", "blue", "nir"), 0.05)
_register(VAIHINGEN, "isprs-vaihingen", ("nir", "red", "green"), 0.09)
