"""Fields of The World (FTW): field boundaries in two dates of Sentinel-2, in 3 classes and in 2.

The dates are called windows: A is about when crops are planted, B about when they are harvested. A band's
name ends with its window (``red_a``, ``red_b``), so that a model of both says by its card which is which:
FTW's own tools stack B before A, torchgeo A before B. For models of one date there is each window by itself,
with plain names.

Taken from the data set's own tools (github.com/fieldsoftheworld/ftw-baselines): what the windows and their
bands are from ``README.md``; files, splits by the column ``split`` of ``chips_{country}.parquet``, that chips
which lack one of four files are left out and that windows are used together or one by one from
``ftw_tools/training/datasets.py``; that 3 is not scored from ``training/eval.py``. 3 is unlabelled: only
where fields are is known in Brazil, India, Kenya and Rwanda (torchgeo 0.8.1, ``datasets/ftw.py``, which has
the other order of windows too). All countries below the root are taken. Colours are geoseg's.
"""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from geoseg.errors import EvaluationError, one_line
from geoseg.evaluation.benchmark import Benchmark, Pixels, Sample, missing, register_benchmark
from geoseg.evaluation.label_files import Origin, legend_of, lookup
from geoseg.evaluation.label_rasters import read_bands, read_classes
from geoseg.legend import Legend

_ORIGIN = Origin("Fields of The World", "https://source.coop/kerner-lab/fields-of-the-world")

_THREE = legend_of("""
    F5F0E6 background
    B2DF8A field
    E31A1C field boundary
""")
_TWO = Legend(classes=_THREE.classes[:2])

_UNLABELLED = 3
_BANDS = ("red", "green", "blue", "nir")
_WINDOWS = {"": ("b", "a"), "-window-a": ("a",), "-window-b": ("b",)}
"""The windows of an image, by what a benchmark's name ends with."""
_NEEDED = (
    "s2_images/window_b",
    "s2_images/window_a",
    "label_masks/semantic_2class",
    "label_masks/semantic_3class",
)


def _find(root: Path, split: str, *, masks: str, legend: Legend, windows: tuple[str, ...]) -> list[Sample]:
    table = lookup({value: value for value in legend.values}, ignored=[_UNLABELLED])
    countries = [path.parent for path in sorted(root.glob("*/chips_*.parquet"))]
    if not countries:
        raise missing(root, "{country}/chips_{country}.parquet", *_ORIGIN)
    samples = [
        Sample(
            id=f"{country.name}/{chip}",
            place=country.name,
            read_image=partial(_read_windows, country / "s2_images", chip, windows),
            read_labels=partial(read_classes, country / "label_masks" / masks / f"{chip}.tif", table),
        )
        for country in countries
        for chip in _chips(country, split)
    ]
    if not samples:
        raise missing(root, f"chips of split {split} with {', '.join(_NEEDED)}", *_ORIGIN)
    return samples


def _chips(country: Path, split: str) -> list[str]:
    """The chips of a split of which all files are there, in the order of the list."""
    path = country / f"chips_{country.name}.parquet"
    try:
        chips = pd.read_parquet(path, columns=["aoi_id", "split"])
    except (OSError, ValueError, KeyError) as error:
        raise EvaluationError(f"{path} cannot be read: {one_line(error)}.") from None
    names = [{file.stem for file in (country / folder).glob("*.tif")} for folder in _NEEDED]
    there = set.intersection(*names)
    return [chip for chip in chips.loc[chips["split"] == split, "aoi_id"].astype(str) if chip in there]


def _read_windows(folder: Path, chip: str, windows: tuple[str, ...]) -> Pixels:
    return np.concatenate([read_bands(folder / f"window_{w}" / f"{chip}.tif") for w in windows])


def _register(name: str, title: str, masks: str, legend: Legend, windows: tuple[str, ...]) -> None:
    suffixes = [f"_{w}" for w in windows] if len(windows) > 1 else [""]
    register_benchmark(
        Benchmark(
            name=name,
            title=title,
            legend=legend,
            bands=tuple(band + suffix for suffix in suffixes for band in _BANDS),
            splits=("test", "val", "train"),
            home=_ORIGIN.home,
            license="by country, CC BY and others; see its README",
            layout=(
                "{country}/chips_{country}.parquet\n"
                "{country}/s2_images/{window_a,window_b}/{chip}.tif\n"
                "{country}/label_masks/{semantic_2class,semantic_3class}/{chip}.tif"
            ),
            find=partial(_find, masks=masks, legend=legend, windows=windows),
            source="github.com/fieldsoftheworld/ftw-baselines: ftw_tools/training/datasets.py, eval.py",
            gsd_m=10,
            scale=1e-4,
            scoring=(
                "Its tool reports IoU, precision and recall of field alone, after predicted boundaries were "
                "taken for background, and scores fields as objects at IoU 0.5."
            ),
        )
    )


for _suffix, _windows in _WINDOWS.items():
    _of = f", window {_windows[0].upper()}" if _suffix else ""
    _register(f"ftw{_suffix}", f"{_ORIGIN.title}, field boundaries{_of}", "semantic_3class", _THREE, _windows)
    _register(f"ftw-2class{_suffix}", f"{_ORIGIN.title}, fields{_of}", "semantic_2class", _TWO, _windows)
