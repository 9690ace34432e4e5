"""The words of ``change.json``: what is known of a finished comparison of two maps."""

import math
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version

from odc.geo.geobox import GeoBox
from pydantic import AwareDatetime, BaseModel, ConfigDict

from geoseg.evaluation.areas.facts import AreaReport
from geoseg.evaluation.change import ChangeCodes, Transitions, name_of
from geoseg.evaluation.change_maps import ChangeCrosswalk, CommonClasses, crs_text
from geoseg.grid.ground import plane_to_ground, row_areas_m2
from geoseg.report.facts import GridFacts

_NODATA = "nodata"


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClassChange(_Facts):
    """What became of one class."""

    class_name: str
    color: str
    before_class_ids: tuple[int, ...]
    """Values of the earlier map that mean the class and occur."""
    after_class_ids: tuple[int, ...]
    before_ha: float
    """On the earlier map, also where the later one has no class."""
    after_ha: float
    """On the later map within the earlier one's grid, also where the earlier one has no class."""
    unchanged_ha: float
    gain_ha: float
    loss_ha: float
    net_ha: float
    """``gain_ha - loss_ha``: where both maps have a class."""


class TransitionFacts(_Facts):
    """One change that occurs."""

    class_id: int
    """Its value in ``change.tif``; 254 for those too many to have one of their own."""
    class_name: str
    before: str
    after: str
    pixels: int
    area_ha: float
    share: float
    """Of what was compared, 0..1."""


class ChangeMatrix(_Facts):
    """Rows the earlier map, columns the later one."""

    names: tuple[str, ...]
    """Of rows and columns; the last is ``nodata``: no class in that map."""
    pixels: tuple[tuple[int, ...], ...]
    area_ha: tuple[tuple[float, ...], ...]


class ChangeReport(_Facts):
    """What changed between two class maps."""

    before: str
    after: str
    grid: GridFacts
    """The earlier map's."""
    compared_ha: float
    """With a class in both maps."""
    changed_ha: float
    changed_share: float
    classes: tuple[ClassChange, ...]
    transitions: tuple[TransitionFacts, ...]
    """Largest first."""
    matrix: ChangeMatrix
    crosswalk: ChangeCrosswalk
    notes: tuple[str, ...]
    """What was done to make the maps comparable, and what to know of the figures."""
    areas: AreaReport | None = None
    """Of each transition, with intervals, by a labelled sample; None without one."""
    created: AwareDatetime
    geoseg_version: str

    def to_json(self) -> str:
        """Indented JSON with a final newline."""
        return self.model_dump_json(indent=2) + "\n"


def change_report(
    transitions: Transitions,
    codes: ChangeCodes,
    classes: CommonClasses,
    *,
    grid: GeoBox,
    maps: tuple[str, str],
    crosswalk: ChangeCrosswalk,
    notes: Sequence[str],
    areas: AreaReport | None,
    created: datetime,
) -> ChangeReport:
    """All that is known of a change.

    Args:
        transitions: the matrix; at least one pixel has a class in both maps.
        codes: how it is written into ``change.tif``.
        classes: what the matrix is of.
        grid: of the earlier map.
        maps: what the earlier and the later map are called.
        crosswalk: what was asked for.
        notes: what was done to make the maps comparable.
        areas: what a labelled sample says of the transitions.
        created: when the comparison was made, with time zone.
    """
    return ChangeReport(
        before=maps[0],
        after=maps[1],
        grid=_grid_facts(grid),
        compared_ha=transitions.compared_ha,
        changed_ha=transitions.changed_ha,
        changed_share=transitions.changed_ha / transitions.compared_ha,
        classes=_classes(transitions, classes),
        transitions=_transitions(transitions, codes),
        matrix=ChangeMatrix(
            names=(*transitions.names, _NODATA),
            pixels=tuple(map(tuple, transitions.pixels.tolist())),
            area_ha=tuple(map(tuple, transitions.area_ha.tolist())),
        ),
        crosswalk=crosswalk,
        notes=(*notes, *_cautions(transitions, maps, grid, has_sample=areas is not None)),
        areas=areas,
        created=created,
        geoseg_version=version("geoseg"),
    )


def _classes(transitions: Transitions, classes: CommonClasses) -> tuple[ClassChange, ...]:
    gain, loss, unchanged = transitions.gain_ha, transitions.loss_ha, transitions.unchanged_ha
    before, after = transitions.area_ha.sum(axis=1), transitions.area_ha.sum(axis=0)
    return tuple(
        ClassChange(
            class_name=name,
            color=classes.colors[n],
            before_class_ids=tuple((classes.before == n).nonzero()[0].tolist()),
            after_class_ids=tuple((classes.after == n).nonzero()[0].tolist()),
            before_ha=float(before[n]),
            after_ha=float(after[n]),
            unchanged_ha=float(unchanged[n]),
            gain_ha=float(gain[n]),
            loss_ha=float(loss[n]),
            net_ha=float(gain[n] - loss[n]),
        )
        for n, name in enumerate(transitions.names)
    )


def _transitions(transitions: Transitions, codes: ChangeCodes) -> tuple[TransitionFacts, ...]:
    return tuple(
        TransitionFacts(
            class_id=int(codes.codes[start, end]),
            class_name=name_of(transitions, start, end),
            before=transitions.names[start],
            after=transitions.names[end],
            pixels=int(transitions.pixels[start, end]),
            area_ha=float(transitions.area_ha[start, end]),
            share=float(transitions.area_ha[start, end]) / transitions.compared_ha,
        )
        for start, end in transitions.pairs()
    )


def _cautions(
    transitions: Transitions, maps: tuple[str, str], grid: GeoBox, *, has_sample: bool
) -> list[str]:
    """What to know of the figures."""
    area_ha, notes = transitions.area_ha, []
    for one, other, left_ha in (
        (maps[0], maps[1], area_ha[:-1, -1].sum()),
        (maps[1], maps[0], area_ha[-1, :-1].sum()),
    ):
        if left_ha:
            notes.append(f"{left_ha:,.1f} ha of {one} were not compared: {other} has no class there.")
    if not 0.99 <= (ratio := plane_to_ground(grid)) <= 1.01:
        notes.append(f"Areas in {crs_text(grid)} are up to {ratio:.3g} times those on the ground here.")
    if not has_sample:
        notes.append(
            "Counted pixels carry the errors of both maps. For areas of change with intervals, draw points "
            "from change.tif (geoseg area sample), label them, and give them as --sample."
        )
    return notes


def _grid_facts(grid: GeoBox) -> GridFacts:
    return GridFacts(
        crs=crs_text(grid),
        gsd_m=round(math.sqrt(float(row_areas_m2(grid).mean())), 6),
        width=grid.shape[1],
        height=grid.shape[0],
        bounds=grid.boundingbox.bbox,
    )
