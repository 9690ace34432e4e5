"""The TOML file that describes labelled images of one's own: its keys, and what must fit together."""

from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from geoseg.evaluation.name_patterns import placeholders
from geoseg.legend import Legend, LegendClass
from geoseg.registry import did_you_mean

SKIP = "-"
"""In ``bands``: a layer of the image that is left out."""
ALL = "all"
"""The only split of images that are not split."""
_CONFIG = ConfigDict(frozen=True, extra="forbid")

Layer = Annotated[int, Field(ge=1)]
"""Number of a layer of a raster, from 1."""
Factor = float | tuple[float, ...]
"""One for all bands, or one for each in the order of ``bands``."""


class LabelClass(BaseModel):
    """A class and the label values that mean it."""

    model_config = _CONFIG

    name: str
    """What people read in a legend, such as ``water``."""
    values: Annotated[tuple[int, ...], Field(min_length=1)]
    """Of the label layer."""
    color_hint: str = "808080"
    """RGB as ``RRGGBB``."""
    description: str = ""
    """One sentence on what counts as this class."""


class IgnoreRule(BaseModel):
    """Pixels that are not scored: those with certain values, or bits, in a layer of the label file."""

    model_config = _CONFIG

    layer: Layer | None = None
    """None for the layer of the labels."""
    values: tuple[int, ...] = ()
    """A pixel with one of these is not scored."""
    bits: tuple[Annotated[int, Field(ge=0, le=31)], ...] = ()
    """A pixel in which one of these is set is not scored; 0 is the lowest."""
    only: tuple[str, ...] = ()
    """Classes: the rule is for pixels that are labelled as one of these; empty for all."""
    unless: tuple[str, ...] = ()
    """Classes: the rule is for pixels that are not labelled as one of these."""

    @model_validator(mode="after")
    def _is_one_rule(self) -> Self:
        if bool(self.values) == bool(self.bits):
            raise ValueError("a rule has either values or bits")
        if self.only and self.unless:
            raise ValueError("a rule has only or unless, not both")
        return self


class LabelledImages(BaseModel):
    """What the TOML file says."""

    model_config = _CONFIG

    name: Annotated[str, Field(pattern=r"^[a-z0-9]+([-.][a-z0-9]+)*$")]
    """Short, such as ``texas-chips``."""
    title: str = ""
    """For people; without one the name."""
    license: str = "not stated"
    """Of images and labels."""
    home: str = ""
    """Where a person gets the data; without it messages name the TOML file."""
    bands: Annotated[tuple[str, ...], Field(min_length=1)]
    """STAC common names of the image's layers in order; ``-`` leaves a layer out."""
    gsd_m: Annotated[float, Field(gt=0)] | None = None
    """Side of a pixel, metres."""
    scale: Factor
    """Reflectance (or brightness 0..1) = stored number * scale + offset."""
    offset: Factor = 0.0
    """See ``scale``."""
    nodata: float | None = None
    """Stored number that is no value; None for what the image file declares, if it does."""
    index: str | None = None
    """CSV with one row per image, beside the TOML file or below the root. None: the files that fit
    ``images``, with what its placeholders stand for as columns."""
    images: str
    """Path below the root, with columns as ``{placeholders}``."""
    labels: str
    """Likewise, of the label raster on the image's grid."""
    label_layer: Layer = 1
    """The layer of the label file that holds the classes."""
    place: str | None = None
    """Column that says where an image was taken; None: each is a place of its own."""
    ground: tuple[str, str, str, str, str] | None = None
    """Columns that say what an image covers: its CRS, then west, south, east and north in it. With them,
    images of different splits that overlap are not trained with."""
    split: str | None = None
    """Column that says which split an image belongs to; None: all are one split, ``all``."""
    splits: tuple[str, ...] = ()
    """The splits there are; the first is scored by default. Rows of other ones are left out."""
    other: Literal["refuse", "ignore"] = "refuse"
    """What becomes of label values that are no class and that no rule ignores."""
    classes: Annotated[tuple[LabelClass, ...], Field(min_length=1, max_length=254)]
    """In the order of the scores."""
    ignore: tuple[IgnoreRule, ...] = ()
    """Pixels that are not scored. Those that the label file declares as nodata are not scored either, unless
    their value is one of a class."""

    @field_validator("images", "labels", "index")
    @classmethod
    def _is_below_root(cls, value: str | None) -> str | None:
        if value is not None:
            placeholders(value)
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        values = [v for c in self.classes for v in c.values]
        if twice := sorted({v for v in values if values.count(v) > 1}):
            raise ValueError(f"label value {twice[0]} means two classes")
        names = [c.name for c in self.classes]
        for name in (n for rule in self.ignore for n in rule.only + rule.unless if n not in names):
            raise ValueError(f"no class {name!r} to ignore: {did_you_mean(name, names)}")
        kept = [band for band in self.bands if band != SKIP]
        if not kept or len(set(kept)) < len(kept):
            raise ValueError(f"bands need a name each, once: {', '.join(self.bands)}")
        for key in ("scale", "offset"):
            of_bands = getattr(self, key)
            if isinstance(of_bands, tuple) and len(of_bands) != len(self.bands):
                raise ValueError(f"{key} has {len(of_bands)} numbers for {len(self.bands)} bands")
        if (self.split is None) == bool(self.splits):
            raise ValueError("split, a column, and splits, the names in it, go together")
        if self.index is None:
            self._refuse_unknown_columns()
        return self

    def _refuse_unknown_columns(self) -> None:
        columns = placeholders(self.images, with_widths=False)
        asked = [*placeholders(self.labels), *filter(None, (self.place, self.split)), *(self.ground or ())]
        for name in (n for n in asked if n not in columns):
            raise ValueError(f"{name!r} is no placeholder of images, and there is no index")

    @cached_property
    def legend(self) -> Legend:
        """The classes as 0, 1, 2 ..."""
        return Legend(
            classes=tuple(
                LegendClass(value=v, name=c.name, color_hint=c.color_hint, description=c.description)
                for v, c in enumerate(self.classes)
            )
        )
