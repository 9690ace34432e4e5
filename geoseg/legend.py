"""What the numbers of a class map mean: ids, names, colours."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

CLASS_NODATA = 255
"""The value of a class map where nothing is known. Never a class."""

CONFIDENCE_NODATA = 255
"""The value of a stored confidence where nothing is known."""

CONFIDENCE_SCALE = 1 / 254
"""Stored confidence 0..254 times this is the probability of the winning class, 0..1."""


class LegendClass(BaseModel):
    """One class, in the words of the STAC classification extension v2."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: Annotated[int, Field(ge=0, le=254)]
    """Its value in ``class.tif``."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9 _,/-]+$")]
    """What people read in a legend, such as ``water``."""
    color_hint: str
    """RGB as ``RRGGBB``."""
    description: str = ""
    """One sentence on what counts as this class."""

    @field_validator("color_hint")
    @classmethod
    def _is_rgb(cls, value: str) -> str:
        if not re.fullmatch(r"[0-9A-Fa-f]{6}", value):
            raise ValueError(f"a colour is six hexadecimal digits such as 1F78B4, got {value!r}")
        return value.upper()

    def to_stac(self) -> dict[str, Any]:
        """The class as one entry of ``classification:classes``."""
        return {
            "value": self.value,
            "name": re.sub(r"[^A-Za-z0-9-]+", "_", self.name),
            "title": self.name,
            "description": self.description or self.name,
            "color_hint": self.color_hint,
        }

    @classmethod
    def from_stac(cls, entry: dict[str, Any]) -> "LegendClass":
        """The class that an entry of ``classification:classes`` describes."""
        name = entry.get("title") or entry["name"]
        description = entry.get("description", "")
        return cls(
            value=entry["value"],
            name=name,
            color_hint=entry.get("color_hint", "808080"),
            description="" if description == name else description,
        )

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green, blue, each 0..255."""
        return tuple(bytes.fromhex(self.color_hint))  # type: ignore[return-value]


class Legend(BaseModel):
    """The classes of a map, in the order of the model's output layers.

    Example:
        >>> legend = Legend.of(water="1F78B4", land="B2DF8A")
        >>> [(c.value, c.name, c.rgb) for c in legend.classes]
        [(0, 'water', (31, 120, 180)), (1, 'land', (178, 223, 138))]
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: Annotated[tuple[LegendClass, ...], Field(min_length=1, max_length=255)]
    """Output layer ``i`` of the model is ``classes[i]``; its pixels are stored as ``classes[i].value``."""

    @classmethod
    def of(cls, **colors: str) -> "Legend":
        """A legend with ids 0, 1, 2 ... from names and colours."""
        return cls(
            classes=tuple(
                LegendClass(value=i, name=name, color_hint=color)
                for i, (name, color) in enumerate(colors.items())
            )
        )

    @model_validator(mode="after")
    def _is_unique(self) -> "Legend":
        for what in ("value", "name"):
            seen = [getattr(c, what) for c in self.classes]
            if len(set(seen)) < len(seen):
                raise ValueError(f"two classes share a {what}: {seen}")
        return self

    @property
    def values(self) -> tuple[int, ...]:
        """Class ids in the order of the output layers."""
        return tuple(c.value for c in self.classes)

    def to_stac(self) -> list[dict[str, Any]]:
        """The classes as ``classification:classes`` of a STAC asset, nodata included.

        The extension (v2.0) takes only letters, digits, ``-`` and ``_`` in names; ``title`` has it as it is.
        """
        nodata = {"value": CLASS_NODATA, "name": "nodata", "description": "No value here.", "nodata": True}
        return [c.to_stac() for c in self.classes] + [nodata]
