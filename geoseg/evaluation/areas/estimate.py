"""Area and accuracy from a stratified sample of labelled points: the estimators, on arrays.

Every quantity is a total or a ratio of totals of 0s and 1s over the points (Stehman 2014, International
Journal of Remote Sensing 35: 4923-4939, equations 2, 3 and 14; variances by equations 25 to 28), which covers
strata that are not the map's classes. Where they are, the results are those of Olofsson et al. 2013 (Remote
Sensing of Environment 129: 122-131) and 2014 (148: 42-57, equations 1 to 11).

Two choices. The correction for finite populations, 1 - n / N, which Stehman has and Olofsson leaves out, is
applied in strata of which more than 5 % of the pixels are in the sample (Cochran 1977, section 2.6: below
that it may be ignored); thus a stratum that was labelled whole adds no uncertainty. And intervals are 1.96
standard errors to both sides, as in Olofsson et al. 2014, equation 11.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import EvaluationError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

Z_95 = 1.96
"""Standard errors from the middle of a 95 % interval to its end."""
_IGNORABLE_SHARE = 0.05


@dataclass(frozen=True)
class Stratum:
    """What is known of a stratum from the map."""

    area_ha: float
    """Hectares, more than 0."""
    pixels: int | None = None
    """How many pixels; None where it is not known, then they are taken to be very many."""


@dataclass(frozen=True)
class Points:
    """Labelled points, one element each; all arrays (point,)."""

    stratum: Ints
    """The stratum that it was drawn from."""
    map_class: Ints
    """What the map says, as an index 0 .. n_classes - 1."""
    reference: Ints
    """What is true, as an index 0 .. n_classes - 1."""


@dataclass(frozen=True)
class AreaEstimate:
    """Areas and accuracies; NaN where a figure, or its standard error, is not defined."""

    area_ha: Floats
    """(class,) estimated area of each reference class."""
    area_se_ha: Floats
    """(class,) its standard error."""
    users: Floats
    """(class,) user's accuracy: share of the mapped class that is right; NaN where no point is mapped so."""
    users_se: Floats
    """(class,) its standard error."""
    producers: Floats
    """(class,) producer's accuracy: share of the true class that is mapped so; NaN where no point is so."""
    producers_se: Floats
    """(class,) its standard error."""
    overall: float
    """Overall accuracy: share of the area where the map is right."""
    overall_se: float
    """Its standard error."""
    cells_ha: Floats
    """(map class, reference class) error matrix, estimated hectares."""
    counts: Ints
    """(map class, reference class) error matrix, points."""


def estimate_areas(points: Points, strata: Mapping[int, Stratum], *, n_classes: int) -> AreaEstimate:
    """Error-adjusted area of each class, and the map's accuracy, with standard errors.

    Args:
        points: a stratified random sample, labelled.
        strata: all strata of the population.
        n_classes: number of classes of map and reference together.

    Raises:
        EvaluationError: a point is of a stratum not given, or a stratum has no points, or more than pixels.

    Example:
        >>> points = Points(*np.array([[0, 0, 0, 1, 1], [0, 0, 0, 1, 1], [0, 0, 1, 1, 1]]))
        >>> areas = estimate_areas(points, {0: Stratum(30.0), 1: Stratum(70.0)}, n_classes=2)
        >>> areas.area_ha.tolist(), round(float(areas.area_se_ha[0]), 9), areas.users.round(3).tolist()
        ([20.0, 80.0], 10.0, [0.667, 1.0])
    """
    weighing = _Weighing(points, strata)
    is_true = _one_hot(points.reference, n_classes)
    return _estimate(
        points,
        weighing,
        np.ones(len(points.stratum), np.bool_),
        area_ha=weighing.totals(is_true),
        area_se_ha=weighing.errors(is_true),
    )


def estimate_region(
    points: Points, strata: Mapping[int, Stratum], *, inside: Bools, mapped_ha: Floats
) -> AreaEstimate:
    """The same within a region, from the sample of the whole map.

    Areas are the difference estimator (Särndal, Swensson and Wretman 1992, Model Assisted Survey Sampling,
    section 6.3): what the map says of the region, plus the estimated total of the map's errors in it. It is
    unbiased whatever the map is worth, its classes sum to the area of the region, its regions sum to the
    whole where the strata are the map's classes, and a map without errors gives its own areas. Accuracies are
    ratios over the points inside (Stehman 2014, equation 27).

    Args:
        points: all points of the sample, not only those inside.
        strata: all strata of the population.
        inside: (point,) True for points in the region.
        mapped_ha: (class,) pixel-counted hectares of each map class in the region.

    Raises:
        EvaluationError: as :func:`estimate_areas`.
    """
    n_classes = len(mapped_ha)
    weighing = _Weighing(points, strata)
    error = _one_hot(points.reference, n_classes) - _one_hot(points.map_class, n_classes)
    return _estimate(
        points,
        weighing,
        inside,
        area_ha=mapped_ha + weighing.totals(error * inside),
        area_se_ha=weighing.errors(error * inside),
    )


def _estimate(
    points: Points, weighing: "_Weighing", inside: Bools, *, area_ha: Floats, area_se_ha: Floats
) -> AreaEstimate:
    n_classes = len(area_ha)
    is_mapped = _one_hot(points.map_class, n_classes) * inside
    is_true = _one_hot(points.reference, n_classes) * inside
    is_right = is_mapped * is_true
    users, users_se = weighing.ratios(is_right, is_mapped)
    producers, producers_se = weighing.ratios(is_right, is_true)
    any_right: Floats = is_right.sum(axis=0, keepdims=True)
    overall, overall_se = weighing.ratios(any_right, inside[None].astype(np.float64))
    return AreaEstimate(
        area_ha=area_ha,
        area_se_ha=area_se_ha,
        users=users,
        users_se=users_se,
        producers=producers,
        producers_se=producers_se,
        overall=float(overall[0]),
        overall_se=float(overall_se[0]),
        cells_ha=np.asarray((is_mapped * weighing.weights) @ is_true.T),
        counts=np.asarray(is_mapped @ is_true.T).round().astype(np.int64),
    )


class _Weighing:
    """Totals over the population, estimated from values at the points, and their standard errors."""

    def __init__(self, points: Points, strata: Mapping[int, Stratum]) -> None:
        if unknown := sorted(set(points.stratum.tolist()) - set(strata)):
            raise EvaluationError(
                f"Points are of stratum {unknown[0]}, whose area is not known. Known are: "
                f"{', '.join(map(str, strata))}. Give the areas of all strata."
            )
        self._index = np.searchsorted(sorted(strata), points.stratum)  # (point,)
        ordered = [strata[s] for s in sorted(strata)]
        self._area_ha = np.array([s.area_ha for s in ordered])  # (stratum,)
        self._n = np.bincount(self._index, minlength=len(ordered))
        if not self._n.all():
            empty = sorted(strata)[int(np.argmin(self._n))]
            raise EvaluationError(
                f"Stratum {empty} ({strata[empty].area_ha:,.6g} ha) has no labelled point, so nothing is "
                "known of it. Label points there, or draw a sample that covers it."
            )
        for name, stratum in strata.items():
            n = int(self._n[sorted(strata).index(name)])
            if stratum.pixels is not None and n > stratum.pixels:
                raise EvaluationError(
                    f"Stratum {name} has {n} points, but {stratum.pixels} pixels: expected each pixel once "
                    "at most. Give the areas that the sample was drawn from, and each point once."
                )
        share = np.array([n / (s.pixels or np.inf) for n, s in zip(self._n, ordered, strict=True)])
        self._correction = np.where(share > _IGNORABLE_SHARE, np.maximum(1 - share, 0), 1.0)
        self.weights = (self._area_ha / self._n)[self._index]
        """(point,) hectares that it stands for."""

    def totals(self, values: Floats) -> Floats:
        """(row,) estimated totals, in hectares, of (row, point) values: Stehman 2014, equation 2."""
        return np.asarray(values @ self.weights)

    def errors(self, values: Floats) -> Floats:
        """(row,) standard errors of ``totals``: Stehman 2014, equation 25.

        NaN where a stratum has one point and more pixels: one point has no variance.
        """
        variance = np.zeros(len(values))
        for h, (area, n, correction) in enumerate(zip(self._area_ha, self._n, self._correction, strict=True)):
            if correction == 0:  # labelled whole
                continue
            inside = values[:, self._index == h]
            spread = inside.var(axis=1, ddof=1) if n > 1 else np.full(len(values), np.nan)
            variance += area**2 * correction * spread / n
        return np.asarray(np.sqrt(variance), np.float64)

    def ratios(self, upper: Floats, lower: Floats) -> tuple[Floats, Floats]:
        """(row,) ratios of two totals and their standard errors: Stehman 2014, equations 27 and 28."""
        below = self.totals(lower)
        below[below == 0] = np.nan
        ratio = self.totals(upper) / below
        known = np.nan_to_num(ratio)  # rows without points have no residuals, but 0 / NaN below
        residuals = upper - known[:, None] * lower
        return np.asarray(ratio, np.float64), np.asarray(self.errors(residuals) / below, np.float64)


def _one_hot(classes: Ints, n_classes: int) -> Floats:
    """(class, point) 1 where the point is of the class."""
    return np.asarray(np.arange(n_classes)[:, None] == classes, np.float64)
