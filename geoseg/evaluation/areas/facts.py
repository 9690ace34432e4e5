"""The words of ``areas.json``, as frozen pydantic models."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from geoseg.evaluation.areas.estimate import Z_95, AreaEstimate

Floats = NDArray[np.float64]

FEW_POINTS = 30
"""With fewer points in a region, intervals are too rough to rely on."""

METHOD = (
    "Stratified estimation (Stehman 2014, equations 2, 3, 14, 25 to 28); where strata are the map's classes, "
    "the figures are those of Olofsson et al. 2014, equations 1 to 11. Intervals are 1.96 standard errors to "
    "both sides. The correction for finite populations is applied where more than 5 % of a stratum's pixels "
    "are in the sample. Regions: difference estimator (pixel-counted area plus estimated error), accuracies "
    "as ratios over the points inside. Pixel-counted areas carry the map's errors: they are biased and shown "
    "for comparison only."
)
REFERENCES = (
    "Olofsson, P., Foody, G.M., Stehman, S.V., Woodcock, C.E. 2013. Remote Sensing of Environment 129: "
    "122-131. doi:10.1016/j.rse.2012.10.031",
    "Olofsson, P., Foody, G.M., Herold, M., Stehman, S.V., Woodcock, C.E., Wulder, M.A. 2014. Remote Sensing "
    "of Environment 148: 42-57. doi:10.1016/j.rse.2014.02.015",
    "Stehman, S.V. 2014. International Journal of Remote Sensing 35: 4923-4939. "
    "doi:10.1080/01431161.2014.930207",
    "Särndal, C.-E., Swensson, B., Wretman, J. 1992. Model Assisted Survey Sampling. Springer. Section 6.3.",
    "Cochran, W.G. 1977. Sampling Techniques, 3rd edition. Wiley. Sections 2.6 and 5.5.",
)


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClassFigures(_Facts):
    """One class."""

    class_id: int | None
    """None where no legend gives one."""
    class_name: str
    mapped_ha: float | None
    """Pixel-counted area: biased by the map's errors. None where it is not known."""
    area_ha: float | None
    """Estimated area. None in a region without points."""
    area_se_ha: float | None
    """Its standard error; None where it is not defined."""
    interval_ha: tuple[float, float] | None
    """95 % interval, kept between 0 and the whole area."""
    users_accuracy: float | None
    """Share of what is mapped as the class that is it, 0..1; None where no point is mapped so."""
    users_accuracy_se: float | None
    producers_accuracy: float | None
    """Share of what is the class that is mapped so, 0..1; None where no point is so."""
    producers_accuracy_se: float | None
    n_mapped: int
    """Points mapped as the class."""
    n_reference: int
    """Points that are the class."""


class ErrorMatrix(_Facts):
    """Rows are map classes, columns reference classes, both in the order of the classes of the figures."""

    counts: tuple[tuple[int, ...], ...]
    """Points."""
    area_ha: tuple[tuple[float, ...], ...]
    """Estimated hectares."""


class AreaFigures(_Facts):
    """The map as a whole, or a region."""

    name: str
    """Of the map or the sample, or of the region."""
    n_points: int
    """Labelled points in it."""
    total_ha: float
    """Area of all classes."""
    overall_accuracy: float | None
    """Share of the area where the map is right, 0..1."""
    overall_accuracy_se: float | None
    classes: tuple[ClassFigures, ...]
    error_matrix: ErrorMatrix
    notes: tuple[str, ...]
    """What limits these figures."""


class StratumFacts(_Facts):
    """One stratum of the sample."""

    stratum: str
    """Its name."""
    area_ha: float
    pixels: int | None
    """None where it is not known."""
    n_labelled: int
    n_missing: int
    """Points drawn that have no label."""


class AreaReport(_Facts):
    """All that ``areas.json`` says."""

    whole: AreaFigures
    regions: tuple[AreaFigures, ...]
    strata: tuple[StratumFacts, ...]
    n_points: int
    """In the file."""
    n_missing: int
    """Of them without a label."""
    notes: tuple[str, ...]
    """What people should know."""
    method: str = METHOD
    references: tuple[str, ...] = REFERENCES
    geoseg_version: str

    def to_json(self) -> str:
        """Indented JSON, the same text for the same facts."""
        return self.model_dump_json(indent=2) + "\n"


def figures_of(
    estimate: AreaEstimate,
    *,
    name: str,
    classes: Sequence[tuple[int | None, str]],
    mapped_ha: Floats | None,
    total_ha: float,
) -> AreaFigures:
    """An estimate in words and plain numbers; what is not defined becomes None."""
    n_points = int(estimate.counts.sum())
    return AreaFigures(
        name=name,
        n_points=n_points,
        total_ha=total_ha,
        overall_accuracy=_known(estimate.overall),
        overall_accuracy_se=_known(estimate.overall_se),
        classes=tuple(
            _class_figures(estimate, i, class_id, class_name, mapped_ha, total_ha)
            for i, (class_id, class_name) in enumerate(classes)
        ),
        error_matrix=ErrorMatrix(
            counts=tuple(map(tuple, estimate.counts.tolist())),
            area_ha=tuple(map(tuple, estimate.cells_ha.tolist())),
        ),
        notes=_notes(estimate, n_points, [n for _, n in classes]),
    )


def _class_figures(
    estimate: AreaEstimate,
    i: int,
    class_id: int | None,
    class_name: str,
    mapped_ha: Floats | None,
    total_ha: float,
) -> ClassFigures:
    has_points = bool(estimate.counts.any())
    area, se = float(estimate.area_ha[i]), float(estimate.area_se_ha[i])
    low, high = np.clip([area - Z_95 * se, area + Z_95 * se], 0, total_ha).tolist()
    return ClassFigures(
        class_id=class_id,
        class_name=class_name,
        mapped_ha=None if mapped_ha is None else float(mapped_ha[i]),
        area_ha=area if has_points else None,
        area_se_ha=_known(se) if has_points else None,
        interval_ha=(low, high) if has_points and np.isfinite(se) else None,
        users_accuracy=_known(estimate.users[i]),
        users_accuracy_se=_known(estimate.users_se[i]),
        producers_accuracy=_known(estimate.producers[i]),
        producers_accuracy_se=_known(estimate.producers_se[i]),
        n_mapped=int(estimate.counts[i].sum()),
        n_reference=int(estimate.counts[:, i].sum()),
    )


def _notes(estimate: AreaEstimate, n_points: int, names: Sequence[str]) -> tuple[str, ...]:
    if n_points == 0:
        return ("No labelled point lies here: nothing can be estimated.",)
    notes = []
    if n_points < FEW_POINTS:
        notes.append(
            f"Only {n_points} labelled points lie here: intervals are rough below {FEW_POINTS}. Draw more "
            "points."
        )
    if below := [c for c, ha in zip(names, estimate.area_ha, strict=True) if ha < 0]:
        notes.append(
            f"The estimate of {', '.join(below)} is below 0: there are too few points for so small an area."
        )
    # The matrix has an entry off the diagonal for each class that the sample saw in error.
    errors = estimate.counts.sum(axis=0) + estimate.counts.sum(axis=1) - 2 * estimate.counts.diagonal()
    is_seen = (estimate.counts.sum(axis=0) + estimate.counts.sum(axis=1)) > 0
    if clean := [c for c, n, seen in zip(names, errors, is_seen, strict=True) if seen and n == 0]:
        notes.append(
            f"The sample saw no error in {', '.join(clean)}: a standard error of 0 says that, not that there "
            "is none."
        )
    return tuple(notes)


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
