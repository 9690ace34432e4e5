"""Five-Billion-Pixels: 150 Gaofen-2 scenes of China at 4 m, 24 classes.

Taken from the authors' own tools (github.com/x-ytong/DPA): colours by index from ``dataloaders/utils.py``,
names of colours and the rule that 0, unlabelled, is not scored from ``evaluate.py``; folders and names of
files as public loaders of the archive have them. The order is that of the index files, not of
``evaluate.py``, which groups classes for printing. The authors publish no split of the scenes.

The 8-bit images are tagged as cyan, magenta, yellow and black and are near infrared, red, green and blue; a
scene takes 200 MB.
"""

from functools import partial
from pathlib import Path

from geoseg.evaluation.benchmark import Benchmark, Sample, register_benchmark
from geoseg.evaluation.label_files import Origin, legend_of, lookup
from geoseg.evaluation.label_rasters import Pair, read_classes, read_raw_bands, samples_of

_ORIGIN = Origin("Five-Billion-Pixels", "https://x-ytong.github.io/project/Five-Billion-Pixels.html")

_LEGEND = legend_of("""
    C80000 industrial area
    00C800 paddy field
    96FA00 irrigated field
    96C896 dry cropland
    C800C8 garden land
    9600FA arbor forest
    9696FA shrub forest
    C896C8 park land
    FAC800 natural meadow
    C8C800 artificial meadow
    0000C8 river
    FA0096 urban residential
    0096C8 lake
    00C8FA pond
    96C8FA fish pond
    FAFAFA snow
    C8C8C8 bareland
    C89696 rural residential
    FAC896 stadium
    969600 square
    FA9696 road
    FA9600 overpass
    FAC8FA railway station
    C89600 airport
""")

_TABLE = lookup({value + 1: value for value in _LEGEND.values}, ignored=[0])


def _find(root: Path, split: str) -> list[Sample]:
    images = sorted((root / "Image__8bit_NirRGB").glob("*.tif"))
    labels = root / "Annotation__index"
    return samples_of(
        root,
        _ORIGIN,
        [Pair(i.stem, i.stem, i, labels / f"{i.stem}_24label.png") for i in images],
        what="Image__8bit_NirRGB/*.tif",
        read_labels=partial(read_classes, table=_TABLE),
        read_image=read_raw_bands,
    )


register_benchmark(
    Benchmark(
        name="five-billion-pixels",
        title=_ORIGIN.title,
        legend=_LEGEND,
        bands=("nir", "red", "green", "blue"),
        splits=("all",),
        home=_ORIGIN.home,
        license="see its page",
        layout="Image__8bit_NirRGB/{scene}.tif\nAnnotation__index/{scene}_24label.png",
        find=_find,
        source="github.com/x-ytong/DPA: dataloaders/utils.py, evaluate.py",
        gsd_m=4,
        n_samples={"all": 150},
    )
)
