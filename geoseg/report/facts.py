"""The words of ``report.json``: what is known of a finished map, as frozen pydantic models."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

import numpy as np
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from pyproj import CRS, Geod

from geoseg.redaction import redact

Redacted = Annotated[str, BeforeValidator(lambda text: redact(text) if isinstance(text, str) else text)]
"""Text whose URLs have lost users, passwords and queries: reports are mailed around, keys must not be."""

Share = Annotated[float, Field(ge=0)]
"""A part of a whole, 0..1."""


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AreaAsked(_Facts):
    """The area of interest."""

    source: Redacted
    """Where it came from: a file name, ``bbox``, standard input."""
    area_km2: Annotated[float, Field(gt=0)]
    """On the ground, km²."""


class GridFacts(_Facts):
    """The grid of the map."""

    crs: str
    gsd_m: float
    """Side of a pixel on the ground, m; in a CRS of degrees, the mean over the map."""
    width: int
    height: int
    bounds: tuple[float, float, float, float]
    """(west, south, east, north) in units of the CRS."""


class ClassArea(_Facts):
    """One class of the map."""

    class_id: int
    class_name: str
    color: Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{6}$")]
    """RGB as ``RRGGBB``."""
    pixels: int
    area_ha: float
    share: Share
    """Of the pixels that have a class."""


class Coverage(_Facts):
    """How much of the area became map."""

    aoi_km2: float
    covered_km2: float
    """Part of the area that lies under an item's footprint."""
    share: Share
    """covered_km2 / aoi_km2."""
    valid_share: Share
    """Area with a class / aoi_km2; less than ``share`` where clouds or nodata hid the ground. Whole pixels at
    the outline can raise it a little above 1; it is cut there."""


class ItemFacts(_Facts):
    """One source image."""

    id: str
    collection: str | None = None
    datetime: AwareDatetime | None = None
    cloud_cover: float | None = None
    """Percent, as the catalog says."""
    href: Redacted = ""
    calibration: str = ""
    """How its numbers became reflectance, in words."""


class ModelFacts(_Facts):
    """What turned pixels into classes."""

    name: str
    title: str = ""
    license: str = ""
    sha256: str | None = None
    bands: tuple[str, ...] = ()
    calibration: str = ""
    """What its probabilities are worth, as measured on labelled images; empty where that was not done."""
    run_by: str = ""
    """Backend and precision of the network."""


class SeamFacts(_Facts):
    """How much of the map depends on where its tiles lie: the seam score."""

    share: Annotated[float, Field(ge=0, le=1)] | None = None
    """Of the pixels compared, those that get another class when the tiles lie half a stride further right and
    down; None where none were."""
    pixels: int = 0
    """Compared: those with a class at the spots where the map was predicted again."""
    spots: int = 0
    text: Redacted = "not measured"
    """The same in words, or why nothing was compared."""


class RunFacts(_Facts):
    """What happened on the way to the map."""

    assumptions: tuple[Redacted, ...] = ()
    """Options that were not given, and what was taken instead."""
    adapted: tuple[Redacted, ...] = ()
    """What the preflight changed to make the imagery fit the model, and why."""
    warnings: tuple[Redacted, ...] = ()
    attribution: str = ""
    """What the imagery's license wants shown beside the map."""
    timings_s: Mapping[str, float] = Field(default_factory=dict)
    """Stage to seconds; stages may run side by side."""
    elapsed_s: float = 0.0
    """From start to map, by the clock."""
    peak_memory_mb: float | None = None
    pixels_run: int = 0
    """Pixels that went through the network for the map, halos, overlaps and views of ``tta`` included."""
    seams: SeamFacts = SeamFacts()
    created: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    geoseg_version: str


class Report(_Facts):
    """Everything that ``report.json`` says and ``report.html`` shows."""

    title: str
    aoi: AreaAsked
    assumptions: tuple[Redacted, ...]
    grid: GridFacts
    classes: tuple[ClassArea, ...]
    """In the order of the legend, classes without pixels included."""
    nodata_pixels: int
    coverage: Coverage
    items: tuple[ItemFacts, ...]
    adapted: tuple[Redacted, ...]
    model: ModelFacts
    attribution: str
    timings_s: Mapping[str, float]
    """Stage to seconds, and ``total`` by the clock."""
    km2_per_s: float
    """Area with a class per second of ``total``; 0 when that is unknown."""
    peak_memory_mb: float | None
    pixels_run: int
    """Pixels that went through the network for the map, halos, overlaps and views of ``tta`` included."""
    seams: SeamFacts
    warnings: tuple[Redacted, ...]
    geoseg_version: str
    created: AwareDatetime

    def to_json(self) -> str:
        """Indented JSON, the same text for the same facts."""
        return self.model_dump_json(indent=2) + "\n"


def ground_width_m(grid: GridFacts) -> float:
    """Length of the map's middle row on the ground, m."""
    west, south, east, north = grid.bounds
    crs = CRS.from_user_input(grid.crs)
    if not crs.is_geographic:
        return float((east - west) * crs.axis_info[0].unit_conversion_factor)
    middle = (south + north) / 2
    steps = np.linspace(
        west, east, 9
    )  # short hops, so that a map of half the Earth is not measured the other way
    return float(Geod(ellps="WGS84").line_length(steps, np.full(9, middle)))


def ground_height_m(grid: GridFacts) -> float:
    """Length of a column of the map on the ground, m."""
    west, south, _, north = grid.bounds
    crs = CRS.from_user_input(grid.crs)
    if not crs.is_geographic:
        return float((north - south) * crs.axis_info[0].unit_conversion_factor)
    return float(Geod(ellps="WGS84").line_length([west, west], [south, north]))


def crs_name(grid: GridFacts) -> str:
    """The CRS for people: its code where it has one, else its name."""
    return grid.crs if grid.crs.startswith("EPSG:") else CRS.from_user_input(grid.crs).name
