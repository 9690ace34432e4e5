"""How an area is named: a file, a layer in it, and which of its features."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from geoseg.resources import path_exists

_SOURCE = re.compile(
    r"(?P<file>.+?)(?:\|layername=(?P<layer>.*?))?(?:\|(?P<attribute>[^|=]+)=(?P<value>.*))?",
    re.DOTALL,
)


@dataclass(frozen=True)
class AoiSource:
    """``districts.gpkg|layername=north|name=Olinda``, taken apart."""

    file: str
    layer: str | None = None
    attribute: str | None = None
    """Only features whose ``attribute`` is ``value``; None for all of them."""
    value: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of what ``aoi`` says, where that names a file. One whose name looks like all this comes first."""
        match = None if path_exists(Path(text)) else _SOURCE.fullmatch(text)
        if match is None:
            return cls(text)
        found = match.groupdict()
        return cls(found["file"], found["layer"] or None, found["attribute"], found["value"] or "")

    def __str__(self) -> str:
        layer = f"|layername={self.layer}" if self.layer else ""
        return f"{self.file}{layer}" + (f"|{self.attribute}={self.value}" if self.attribute else "")


def can_name(attribute: str) -> bool:
    """Whether features can be said by this attribute."""
    return attribute != "layername" and not {"|", "="} & set(attribute)
