"""SpaceNet building footprints: Rio (1), four cities (2) and monthly mosaics of the world (7), 2 classes.

File names are those of the tarballs and of the bucket ``s3://spacenet-dataset`` as torchgeo 0.8.1
(``datasets/spacenet``) and other public loaders have them. Footprints are burned by pixel centre, as torchgeo
does; GeoJSON files without features or without bytes are tiles without buildings. In SpaceNet 7, what the
unusable data mask (``*_UDM.geojson``) covers is not scored. Test labels are held back. Colours are geoseg's.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from geoseg.evaluation.benchmark import IGNORE, Benchmark, Labels, Pixels, Sample, register_benchmark
from geoseg.evaluation.label_files import RGB, Origin, legend_of
from geoseg.evaluation.label_rasters import Pair, burn, read_bands, samples_of

_HOME = "s3://spacenet-dataset/spacenet (see https://spacenet.ai/datasets)"

_LEGEND = legend_of("""
    F5F0E6 background
    E31A1C building
""")


def _find(
    root: Path, split: str, *, title: str, pairs: Callable[[Path, str], Iterator[Pair]]
) -> list[Sample]:
    found = sorted(pairs(root, split), key=lambda pair: (pair.place, _numbers(pair.id), pair.id))
    image_of = {pair.labels: pair.image for pair in found if pair.labels}
    return samples_of(
        root,
        Origin(title, _HOME),
        [pair if split == "train" else pair._replace(labels=None) for pair in found],
        what=f"images of {split}",
        read_labels=partial(_read_footprints, image_of=image_of),
        read_image=_read_rgb,
    )


def _numbers(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


def _read_rgb(path: Path) -> Pixels:
    return read_bands(path)[:3]


def _read_footprints(path: Path, *, image_of: Mapping[Path, Path]) -> Labels:
    image = image_of[path]
    labels = burn(path, onto=image).astype(np.uint8)
    unusable = path.with_name(path.name.replace("_Buildings.geojson", "_UDM.geojson"))
    if unusable != path and unusable.is_file():
        labels[burn(unusable, onto=image)] = IGNORE
    return labels


def _rio(root: Path, split: str) -> Iterator[Pair]:
    for image in (root / split / "3band").glob("3band_AOI_1_RIO_img*.tif"):
        name = image.stem.removeprefix("3band_")
        yield Pair(name, name, image, root / split / "geojson" / f"Geo_{name}.geojson")


def _cities(root: Path, split: str) -> Iterator[Pair]:
    """By folder of a city, as the tarballs have it and as the bucket has it."""
    for image in root.rglob("RGB-PanSharpen_AOI_*_img*.tif"):
        if f"_{split}" in image.parts[-3].lower():
            name = image.stem.removeprefix("RGB-PanSharpen_")
            labels = image.parents[1] / "geojson" / "buildings" / f"buildings_{name}.geojson"
            yield Pair(name, name.rpartition("_")[0], image, labels)
    for image in root.rglob(f"SN2_buildings_{split}*_AOI_*_PS-RGB_img*.tif"):
        name = image.stem[image.stem.index("AOI_") :].replace("_PS-RGB", "")
        file = image.stem.replace("PS-RGB", "geojson_buildings") + ".geojson"
        yield Pair(name, name.rpartition("_")[0], image, image.parents[1] / "geojson_buildings" / file)


def _mosaics(root: Path, split: str) -> Iterator[Pair]:
    for image in (root / split).rglob("images_masked/global_monthly_*.tif"):
        labels = image.parents[1] / "labels" / f"{image.stem}_Buildings.geojson"
        yield Pair(image.stem, image.parts[-3], image, labels)


def _register(
    name: str, title: str, pairs: Callable[[Path, str], Iterator[Pair]], gsd_m: float, layout: str
) -> None:
    register_benchmark(
        Benchmark(
            name=name,
            title=title,
            legend=_LEGEND,
            bands=RGB,
            splits=("train", "test"),
            home=_HOME,
            license="CC BY-SA 4.0",
            layout=layout,
            find=partial(_find, title=title, pairs=pairs),
            source="torchgeo 0.8.1: datasets/spacenet; names of files in s3://spacenet-dataset",
            gsd_m=gsd_m,
            scoring="The challenges score footprints: F1 of polygons matched at IoU 0.5; here pixels.",
        )
    )


_register(
    "spacenet-1",
    "SpaceNet 1",
    _rio,
    0.5,
    "{train,test}/3band/3band_AOI_1_RIO_img{number}.tif\ntrain/geojson/Geo_AOI_1_RIO_img{number}.geojson",
)
_register(
    "spacenet-2",
    "SpaceNet 2",
    _cities,
    0.3,
    "**/{AOI}_{Train,Test_public}/RGB-PanSharpen/RGB-PanSharpen_{AOI}_img{number}.tif\n"
    "**/{AOI}_Train/geojson/buildings/buildings_{AOI}_img{number}.geojson\n"
    "or **/PS-RGB/SN2_buildings_train_{AOI}_PS-RGB_img{number}.tif\n"
    "and **/geojson_buildings/SN2_buildings_train_{AOI}_geojson_buildings_img{number}.geojson",
)
_register(
    "spacenet-7",
    "SpaceNet 7",
    _mosaics,
    4,
    "{train,test}/**/{aoi}/images_masked/global_monthly_{year}_{month}_mosaic_{aoi}.tif\n"
    "train/**/{aoi}/labels/global_monthly_{year}_{month}_mosaic_{aoi}_{Buildings,UDM}.geojson",
)
