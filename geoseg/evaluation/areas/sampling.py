"""A stratified random sample of a map's pixels, without replacement, for people to label.

Within a stratum a pixel enters the sample with a probability proportional to its area on the ground, exactly:
``points of the stratum * area of the pixel / area of the stratum``. In a projected CRS all pixels are alike
and this is simple random sampling. In degrees it is not: pixels shrink towards the poles, and drawing them
alike would over-represent high latitudes. With probabilities proportional to area every point stands for the
same area of its stratum, so the shares of the labels estimate shares of area without bias, and all published
equations of stratified estimation hold as they are, also in other programs that know nothing of weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geoseg.errors import EvaluationError
from geoseg.evaluation.areas.allocation import Allocation, allocate, expected_se, sample_size
from geoseg.evaluation.areas.frames import Frame, locate, read_frame
from geoseg.legend import Legend

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

DEFAULT_ACCURACY = 0.8
"""What is expected of a stratum of which nothing is said."""
_ORDER = 256
"""Key of the random stream that numbers the points; strata, 0..254, are the keys of the others."""


@dataclass(frozen=True)
class Design:
    """How many points, and where.

    Raises:
        EvaluationError: a value is out of its range.
    """

    size: int | None = None
    """Points in all; None for as many as ``target_se`` needs."""
    target_se: float = 0.02
    """Standard error of overall accuracy to aim at."""
    allocation: Allocation = "proportional"
    """See :data:`geoseg.evaluation.areas.allocation.Allocation`."""
    min_per_stratum: int = 50
    """Fewest points of a stratum, 2 or more; one with fewer pixels is taken whole."""
    accuracy: Mapping[str, float] = field(default_factory=dict)
    """Accuracy expected of the map in a stratum, by its name or value; 0.8 where nothing is said."""
    seed: int = 0
    """Same seed, same map: same points."""

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise EvaluationError(f"--size is {self.size}, expected 1 or more points.")
        if not 0 < self.target_se < 1:
            raise EvaluationError(f"--target-se is {self.target_se:g}, expected a share such as 0.02.")
        if self.allocation not in Allocation.__args__:  # type: ignore[attr-defined]
            raise EvaluationError(
                f"--allocation is {self.allocation!r}, expected proportional, equal or neyman."
            )
        if self.min_per_stratum < 2:
            raise EvaluationError(
                f"--min-per-stratum is {self.min_per_stratum}, expected 2 or more: one point has no variance."
            )
        if self.seed < 0:
            raise EvaluationError(f"--seed is {self.seed}, expected 0 or more.")
        for name, value in self.accuracy.items():
            if not 0 <= value <= 1:
                raise EvaluationError(f"The accuracy expected of {name} is {value:g}, expected 0 to 1.")


@dataclass(frozen=True)
class Sample:
    """Points to label, and what an estimate needs to know of the map."""

    points: gpd.GeoDataFrame
    """point_id (1, 2 ... in random order), stratum, stratum_name, map_class, map_class_name, weight_ha (the
    area that the point stands for), reference_class and note (both empty); pixel centres, CRS of the map."""
    strata: pd.DataFrame
    """stratum, stratum_name, pixels, area_ha, points, expected_accuracy; one row a stratum."""
    classes: pd.DataFrame
    """class_id, class_name, color, pixels, area_ha as counted from the map; one row a class of the legend."""
    legend: Legend
    """The classes of the map."""
    pixel_m: float
    """Side of a pixel on the ground, metres; the mean over the map."""
    expected_se: float
    """Standard error of overall accuracy, if the expected accuracies are true."""
    notes: tuple[str, ...]
    """What people should know."""


def draw_sample(
    map_path: Path, design: Design, *, strata: Path | None = None, legend: Path | None = None
) -> Sample:
    """Draw a stratified random sample of pixel centres from a class map.

    The map is read twice, block by block. The points depend on the pixels, the design and the seed only, not
    on how the file is cut into blocks.

    Args:
        map_path: uint8 classes, 255 = nodata, any CRS.
        design: how many points, and where.
        strata: uint8 strata on the grid of the map; None to take the map classes.
        legend: names of the map's values, where it has none itself.

    Raises:
        EvaluationError: the files or the design do not fit; it says how to mend it.

    Example:
        >>> import tempfile
        >>> from odc.geo.geobox import GeoBox
        >>> from odc.geo.xr import wrap_xr
        >>> from geoseg.writers.cog import write_cog
        >>> box = GeoBox.from_bbox((0, 0, 1000, 1000), "EPSG:32633", resolution=10)
        >>> classes = np.repeat([[0, 0, 0, 1]], 25, axis=1).repeat(100, axis=0).astype("uint8")
        >>> legend = Legend.of(water="1F78B4", land="B2DF8A")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = write_cog(wrap_xr(classes, box), Path(folder, "class.tif"), legend=legend)
        ...     sample = draw_sample(path, Design(size=200))
        >>> sample.strata[["stratum_name", "area_ha", "points"]].values.tolist()
        [['water', 75.0, 150], ['land', 25.0, 50]]
    """
    frame = read_frame(map_path, strata, legend=legend)
    table = _strata_table(frame, design)
    weights = (table.area_ha / table.area_ha.sum()).to_numpy()
    accuracy = table.expected_accuracy.to_numpy()
    capacity = np.array([_capacity(rows, frame.row_m2) for rows in frame.strata.values()])
    wanted = sample_size(weights, accuracy, design.target_se)
    least = int(np.minimum(design.min_per_stratum, capacity).sum())
    table["points"] = allocate(
        weights,
        capacity,
        size=design.size or int(np.clip(wanted, least, capacity.sum())),
        allocation=design.allocation,
        minimum=design.min_per_stratum,
        accuracy=accuracy,
    )
    expected = expected_se(weights, accuracy, table.points.to_numpy())
    return Sample(
        points=_points(frame, table, design.seed),
        strata=table,
        classes=_classes_table(frame),
        legend=frame.legend,
        pixel_m=_pixel_m(frame),
        expected_se=expected,
        notes=(*frame.notes, *_aim_notes(design, int(table.points.sum()), expected)),
    )


def draw_pixels(rows: Ints, row_m2: Floats, n: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Draw pixels without replacement, each with a probability of exactly ``n * its area / area of all``.

    Pixels of one area: simple random sampling. Otherwise Sampford's method (1967, Biometrika 54: 499-513):
    the first pixel by area, the others with replacement by p / (1 - n p), all of it again until no two are
    the same. Where that would often be in vain, the random systematic method of Hartley and Rao (1962, Annals
    of Mathematical Statistics 33: 350-374): all pixels in random order, every (1 / n)th of their cumulated
    area.

    Args:
        rows: (height,) pixels in each row.
        row_m2: (height,) area of one of them.
        n: how many to draw, at most the area of all over that of the largest.
        rng: source of chance.

    Returns:
        The row of each, and its rank among the pixels of its row; both (n,), in no useful order.
    """
    here = np.flatnonzero(rows)
    counts, areas = rows[here], row_m2[here]
    total = int(counts.sum())
    if (areas == areas[0]).all():
        picks = rng.choice(total, n, replace=False)
    elif n * n > 4 * total:
        picks = _draw_systematic(np.repeat(areas, counts), n, rng)
    else:
        picks = _draw_sampford(counts, areas, n, rng)
    ends = np.cumsum(counts)
    at = np.searchsorted(ends, picks, side="right")
    return here[at], picks - (ends - counts)[at]


def _draw_systematic(areas: Floats, n: int, rng: np.random.Generator) -> Ints:
    """Hartley and Rao: indices into ``areas``, one for each pixel."""
    order = rng.permutation(len(areas))
    ends = np.cumsum(areas[order])
    hits = (rng.random() + np.arange(n)) * ends[-1] / n
    return np.asarray(order[np.minimum(np.searchsorted(ends, hits, side="right"), len(areas) - 1)])


def _draw_sampford(counts: Ints, areas: Floats, n: int, rng: np.random.Generator) -> Ints:
    """Sampford: numbers of pixels, counted through the rows."""
    share = areas / (counts @ areas)
    first, others = counts * share, counts * share / (1 - n * share)
    starts = np.cumsum(counts) - counts
    while True:
        rows = np.concatenate([_draw_rows(first, 1, rng), _draw_rows(others, n - 1, rng)])
        picks: Ints = starts[rows] + rng.integers(0, counts[rows])
        if len(np.unique(picks)) == n:
            return picks


def _draw_rows(weights: Floats, n: int, rng: np.random.Generator) -> Ints:
    ends = np.cumsum(weights)
    return np.asarray(np.searchsorted(ends, rng.random(n) * ends[-1], side="right"))


def _capacity(rows: Ints, row_m2: Floats) -> int:
    """Most points whose probabilities can be proportional to area: none may exceed 1."""
    areas = row_m2[rows > 0]
    return int(rows.sum() if (areas == areas[0]).all() else np.floor(rows @ row_m2 / areas.max()))


def _points(frame: Frame, table: pd.DataFrame, seed: int) -> gpd.GeoDataFrame:
    """The points in random order."""
    drawn = [
        draw_pixels(frame.strata[s], frame.row_m2, n, np.random.default_rng((seed, s)))
        for s, n in zip(table.stratum, table.points, strict=True)
    ]
    number = np.repeat(np.arange(len(table)), table.points)
    strata = table.stratum.to_numpy()[number]
    rows, ranks = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    cols, classes = locate(frame, strata, rows, ranks)
    a, b, c, d, e, f = frame.geobox.affine[:6]
    x, y = a * (cols + 0.5) + b * (rows + 0.5) + c, d * (cols + 0.5) + e * (rows + 0.5) + f
    names = {c.value: c.name for c in frame.legend.classes}
    points = gpd.GeoDataFrame(
        {
            "stratum": strata.astype(np.int32),
            "stratum_name": table.stratum_name.to_numpy()[number],
            "map_class": classes.astype(np.int32),
            "map_class_name": [names[c] for c in classes.tolist()],
            "weight_ha": (table.area_ha / table.points).to_numpy()[number],
            "reference_class": pd.array([None] * len(strata), dtype="Int32"),
            "note": pd.array([None] * len(strata), dtype="string"),
        },
        geometry=gpd.points_from_xy(x, y),
        crs=str(frame.geobox.crs),
    )
    order = np.random.default_rng((seed, _ORDER)).permutation(len(points))
    points = points.iloc[order].reset_index(drop=True)
    points.insert(0, "point_id", np.arange(1, len(points) + 1, dtype=np.int32))
    return points


def _strata_table(frame: Frame, design: Design) -> pd.DataFrame:
    names = frame.stratum_names
    unknown = sorted(set(design.accuracy) - {*names.values(), *map(str, names)})
    if unknown:
        raise EvaluationError(
            f"An accuracy is expected of {unknown[0]!r}, which is no stratum. "
            f"The strata are: {', '.join(names.values())}."
        )
    expected = {
        s: design.accuracy.get(name, design.accuracy.get(str(s), DEFAULT_ACCURACY))
        for s, name in names.items()
    }
    return pd.DataFrame(
        {
            "stratum": list(names),
            "stratum_name": list(names.values()),
            "pixels": [int(rows.sum()) for rows in frame.strata.values()],
            "area_ha": [frame.area_ha(rows) for rows in frame.strata.values()],
            "points": 0,
            "expected_accuracy": [float(expected[s]) for s in names],
        }
    )


def _classes_table(frame: Frame) -> pd.DataFrame:
    nothing = np.zeros(frame.geobox.shape[0], np.int64)
    rows = [frame.classes.get(c.value, nothing) for c in frame.legend.classes]
    return pd.DataFrame(
        {
            "class_id": [c.value for c in frame.legend.classes],
            "class_name": [c.name for c in frame.legend.classes],
            "color": [c.color_hint for c in frame.legend.classes],
            "pixels": [int(r.sum()) for r in rows],
            "area_ha": [frame.area_ha(r) for r in rows],
        }
    )


def _pixel_m(frame: Frame) -> float:
    rows = np.sum(list(frame.strata.values()), axis=0)
    return float(np.sqrt(rows @ frame.row_m2 / rows.sum()))


def _aim_notes(design: Design, size: int, expected: float) -> tuple[str, ...]:
    if design.size is not None or expected <= design.target_se * 1.001:
        return ()
    needed = int(np.ceil(size * (expected / design.target_se) ** 2))
    return (
        f"The size is reckoned for Neyman's allocation; with this one the standard error is expected to be "
        f"{expected:.4f} instead of {design.target_se:g}. Give --size {needed} to come near that.",
    )
