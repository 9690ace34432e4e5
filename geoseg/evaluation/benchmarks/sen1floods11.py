"""Sen1Floods11 (v1.1): water in 446 hand-labelled chips of 11 floods, with Sentinel-2 and with Sentinel-1.

Taken from the data set's own repository (github.com/cloudtostreet/Sen1Floods11): layers, bands and label
numbers from its README; folders, lists and the rule that -1 is not scored from ``Train.ipynb`` (as uint8 it
is 255, the loss's ignore index). Each list names the Sentinel-1 and the label file of a chip; Bolivia is a
flood held out as a whole. Colours are geoseg's.
"""

from functools import partial
from pathlib import Path

from geoseg.evaluation.benchmark import Benchmark, Sample, missing, register_benchmark
from geoseg.evaluation.label_files import Origin, base_of, legend_of, lookup, read_names
from geoseg.evaluation.label_rasters import SENTINEL2_L1C, Pair, read_classes, samples_of

_ORIGIN = Origin("Sen1Floods11", "gs://sen1floods11/v1.1 (see https://github.com/cloudtostreet/Sen1Floods11)")

_LEGEND = legend_of("""
    B2DF8A not water
    1F78B4 water
""")

_TABLE = lookup({value: value for value in _LEGEND.values}, ignored=[255])
_DATA = "data/flood_events/HandLabeled"
_SPLITS = {"test": "test", "bolivia": "bolivia", "val": "valid", "train": "train"}


def _find(root: Path, split: str, *, sensor: str) -> list[Sample]:
    base = base_of(root, "splits", "v1.1")
    csv = f"splits/flood_handlabeled/flood_{_SPLITS[split]}_data.csv"
    if not (base / csv).is_file():
        raise missing(base, csv, *_ORIGIN)
    chips = [line.partition("_S1Hand.tif")[0] for line in read_names(base / csv)]
    images, labels = base / _DATA / sensor, base / _DATA / "LabelHand"
    return samples_of(
        base,
        _ORIGIN,
        [
            Pair(c, c.partition("_")[0], images / f"{c}_{sensor}.tif", labels / f"{c}_LabelHand.tif")
            for c in chips
        ],
        what=f"chips in {csv}",
        read_labels=partial(read_classes, table=_TABLE),
    )


def _register(name: str, title: str, sensor: str, bands: tuple[str, ...]) -> None:
    register_benchmark(
        Benchmark(
            name=name,
            title=title,
            legend=_LEGEND,
            bands=bands,
            splits=tuple(_SPLITS),
            home=_ORIGIN.home,
            license="see its repository",
            layout=(
                "splits/flood_handlabeled/flood_{train,valid,test,bolivia}_data.csv\n"
                f"{_DATA}/{sensor}/{{event}}_{{chip}}_{sensor}.tif\n"
                f"{_DATA}/LabelHand/{{event}}_{{chip}}_LabelHand.tif"
            ),
            find=partial(_find, sensor=sensor),
            source="github.com/cloudtostreet/Sen1Floods11: README, Train.ipynb",
            gsd_m=10,
            scale=1e-4 if sensor == "S2Hand" else 1.0,
            n_samples={"test": 90, "bolivia": 15, "val": 89, "train": 252},
        )
    )


_register("sen1floods11", f"{_ORIGIN.title}, Sentinel-2", "S2Hand", SENTINEL2_L1C)
_register("sen1floods11-s1", f"{_ORIGIN.title}, Sentinel-1", "S1Hand", ("vv", "vh"))
