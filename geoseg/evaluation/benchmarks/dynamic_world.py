"""Dynamic World expert labels: tiles of 510 and 512 pixels of the world at 10 m, 9 classes, without images.

``test``: the experts' consensus on 409 tiles that Dynamic World's paper is judged by (Zenodo 4766508,
``dw_test.zip``). Of the layers of a label file, ``lulc`` is the experts', 1 to 9; ``label`` is Dynamic
World's own answer, 0 to 8, and is not read. ``train``: tiles marked by experts (PANGAEA 933475,
``Experts_tiles.zip``). 0 is unmarked, 10 is cloud (README of PANGAEA 933475); neither is scored. Names and
order are the model's (Brown et al. 2022, doi 10.1038/s41597-022-01307-4), colours those of its catalog page.

The releases say only which Sentinel-2 image a tile was drawn on. Put it, cut to the grid of the tile, into a
folder ``images`` of your own making: the nine bands that the model takes.

PANGAEA 933475 has another archive of labels, ``validation_set_tiles.zip``. It is not read: how the files in
it are named, and whether they are the tiles of ``test``, is in no source that was open to us.
"""

from functools import partial
from pathlib import Path

from geoseg.errors import EvaluationError
from geoseg.evaluation.benchmark import Benchmark, Pixels, Sample, missing, register_benchmark
from geoseg.evaluation.label_files import Origin, legend_of, lookup
from geoseg.evaluation.label_rasters import read_bands, read_classes

_ORIGIN = Origin(
    "Dynamic World expert labels",
    "https://zenodo.org/records/4766508 (test) and https://doi.org/10.1594/PANGAEA.933475 (train)",
)

_LEGEND = legend_of("""
    419BDF water
    397D49 trees
    88B053 grass
    7A87C6 flooded_vegetation
    E49635 crops
    DFC35A shrub_and_scrub
    C4281B built
    A59B8F bare
    B39FE1 snow_and_ice
""")

_TABLE = lookup({value + 1: value for value in _LEGEND.values}, ignored=[0, 10])
_BANDS = (
    "blue", "green", "red", "rededge071", "rededge075", "rededge078", "nir", "swir16", "swir22",
)  # fmt: skip
_SPLITS: dict[str, tuple[str, str | int]] = {
    "test": ("**/label_dw_*.tif", "lulc"),
    "train": ("Experts/**/dw_*.tif", 1),
}
"""The label files, and the layer of them that is read."""


def _find(root: Path, split: str) -> list[Sample]:
    pattern, layer = _SPLITS[split]
    files = sorted(root.glob(pattern))
    if not files:
        raise missing(root, pattern, *_ORIGIN)
    return [
        Sample(
            id=path.relative_to(root).with_suffix("").as_posix(),
            place=path.stem.removeprefix("label_"),
            read_image=partial(_read_image, root / "images" / path.name.removeprefix("label_")),
            read_labels=partial(read_classes, path, _TABLE, layer=layer),
        )
        for path in files
    ]


def _read_image(path: Path) -> Pixels:
    if not path.is_file():
        raise EvaluationError(
            f"There is no {path}: the release has labels only. Put the tile's Sentinel-2 image there, on the "
            f"grid of its labels, with the bands {', '.join(_BANDS)}."
        )
    return read_bands(path)


register_benchmark(
    Benchmark(
        name="dynamic-world-experts",
        title=_ORIGIN.title,
        legend=_LEGEND,
        bands=_BANDS,
        splits=tuple(_SPLITS),
        home=_ORIGIN.home,
        license="CC BY 4.0",
        layout=(
            "**/label_dw_{lon}_{lat}-{yyyymmdd}.tif (dw_test.zip)\n"
            "Experts/**/dw_{lon}_{lat}-{yyyymmdd}.tif (Experts_tiles.zip)\n"
            "images/dw_{lon}_{lat}-{yyyymmdd}.tif (yours)"
        ),
        find=_find,
        source="README of PANGAEA 933475, Zenodo 4766508; Brown et al. 2022",
        gsd_m=10,
        scale=1e-4,
        n_samples={"test": 409},
    )
)
