"""LandCover.ai (version 1): buildings, woodland, water and roads of Poland in orthophotos at 0.25 and 0.5 m.

Taken from the data set's own ``split.py`` (in the archive): tiles of 512 pixels, numbered row by row, those
cut short by the edge counted but not written; from its lists ``train.txt``, ``val.txt``, ``test.txt``, whose
lines are names of tiles; class numbers from its description (arXiv 2005.02264) and names and colours from
torchgeo 0.8.1 (``datasets/landcoverai.py``). Background is a class and is scored.

Where ``split.py`` was not run, the tiles are read as windows of the orthophotos: the same labels; the images
without the loss of the JPEGs that it writes.
"""

from functools import partial
from pathlib import Path

from rasterio.windows import Window

from geoseg.evaluation.benchmark import Benchmark, Labels, Pixels, Sample, missing, register_benchmark
from geoseg.evaluation.label_files import RGB, Origin, legend_of, lookup, read_names, read_rgb
from geoseg.evaluation.label_rasters import Pair, opened, read_bands, read_classes, samples_of

_ORIGIN = Origin("LandCover.ai", "https://landcover.ai.linuxpolska.com")

_LEGEND = legend_of("""
    000000 Background
    614A4A Building
    267300 Woodland
    00C5FF Water
    CFCFCF Road
""")

_TABLE = lookup({value: value for value in _LEGEND.values}, ignored=[])
_TILE_SIZE = 512


def _find(root: Path, split: str) -> list[Sample]:
    if not (root / f"{split}.txt").is_file():
        raise missing(root, f"{split}.txt", *_ORIGIN)
    names = read_names(root / f"{split}.txt")
    if not (root / "output").is_dir() and (root / "images").is_dir():
        return _windows(root, split, names)
    folder = root / "output"
    return samples_of(
        root,
        _ORIGIN,
        [Pair(n, _orthophoto(n), folder / f"{n}.jpg", folder / f"{n}_m.png") for n in names],
        what=f"tiles in {split}.txt",
        read_labels=partial(read_classes, table=_TABLE),
        read_image=read_rgb,
    )


def _windows(root: Path, split: str, names: list[str]) -> list[Sample]:
    photos = sorted(set(map(_orthophoto, names)))
    samples_of(  # refuses where an orthophoto or its mask is not there
        root,
        _ORIGIN,
        [Pair(p, p, root / "images" / f"{p}.tif", root / "masks" / f"{p}.tif") for p in photos],
        what=f"tiles in {split}.txt",
        read_labels=partial(read_classes, table=_TABLE),
    )
    return [
        Sample(
            id=name,
            place=_orthophoto(name),
            read_image=partial(_read_tile, root / "images", name),
            read_labels=partial(_read_tile_labels, root / "masks", name),
        )
        for name in names
    ]


def _orthophoto(name: str) -> str:
    return name.rpartition("_")[0]


def _read_tile(folder: Path, name: str) -> Pixels:
    path = folder / f"{_orthophoto(name)}.tif"
    return read_bands(path, _window(path, name))


def _read_tile_labels(folder: Path, name: str) -> Labels:
    path = folder / f"{_orthophoto(name)}.tif"
    return read_classes(path, _TABLE, window=_window(path, name))


def _window(path: Path, name: str) -> Window:
    """Where a tile lies; rows have as many numbers as it takes tiles to cover the width."""
    with opened(path) as source:
        n_columns = -(-source.width // _TILE_SIZE)
    row, column = divmod(int(name.rpartition("_")[2]), n_columns)
    return Window(column * _TILE_SIZE, row * _TILE_SIZE, _TILE_SIZE, _TILE_SIZE)


register_benchmark(
    Benchmark(
        name="landcover-ai",
        title=_ORIGIN.title,
        legend=_LEGEND,
        bands=RGB,
        splits=("test", "val", "train"),
        home=_ORIGIN.home,
        license="CC BY-NC-SA 4.0",
        layout=(
            "{train,val,test}.txt\n"
            "output/{orthophoto}_{number}.jpg\n"
            "output/{orthophoto}_{number}_m.png\n"
            "or, before split.py was run: images/{orthophoto}.tif and masks/{orthophoto}.tif"
        ),
        find=_find,
        source="split.py and lists of landcover.ai.v1.zip; arXiv 2005.02264; torchgeo 0.8.1",
        gsd_m=0.25,
        n_samples={"test": 1602, "val": 1602, "train": 7470},
    )
)
