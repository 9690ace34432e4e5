"""Where maps are: output folders named after their area, and after the dates of their map."""

import re
from collections.abc import Callable
from datetime import timedelta
from glob import escape
from hashlib import sha256
from pathlib import Path
from unicodedata import category, normalize

from geoseg.aoi_source import AoiSource
from geoseg.errors import RecipeError
from geoseg.files import cache_folder
from geoseg.jobs.leavings import target_names
from geoseg.object_storage import is_address
from geoseg.recipe import Recipe
from geoseg.redaction import redact
from geoseg.resources import path_exists
from geoseg.stac.dates import parse_interval
from geoseg.stac.relative_dates import interval_of

NAMELESS = "area"
"""What a map is called whose area has no file."""
_DATE = re.compile(r"\{(start|end|month(?:-1)?|year(?:-1)?)\}")
_SIGNS = " _-.,'()&+"
_LONGEST = 100
"""Bytes of UTF-8 in the name of a folder, which may have 255: hidden folders add to it."""
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Windows keeps these to itself."""
_MARKED = re.compile(r".*-[0-9a-f]{8}", re.DOTALL)


def has_dates(out: str) -> bool:
    """Whether a name asks for dates, as ``maps/{month}`` does."""
    return _DATE.search(out) is not None


def dated(out: str, interval: str) -> str:
    """``maps/2026-10`` for ``maps/{month}``: the dates that are searched, so that each month has its map;
    ``maps/2026-09`` for ``maps/{month-1}``.

    Raises:
        RecipeError: the interval has no such end.
    """
    dates = parse_interval(interval)
    first, last = (f"{day:%Y-%m-%d}" if day else "" for day in (dates.start, dates.end))
    words = {"start": first, "end": last, "month": first[:7], "year": first[:4]}
    if dates.start:
        before = dates.start.replace(day=1) - timedelta(days=1)
        words |= {"month-1": f"{before:%Y-%m}", "year-1": f"{dates.start.year - 1:04}"}

    def word(match: re.Match[str]) -> str:
        if found := words.get(match[1]):
            return found
        which = f"{interval} has none" if dates.start or dates.end else "none are given"
        raise RecipeError(f"{out}: {match[0]} is of the dates, and {which}. Give --datetime.")

    return _DATE.sub(word, out)


def place_of(out: str) -> Path:
    """Where the map of an output folder is made on this machine: there; or, if it is an address, at a place
    of the cache that is the same each time, so that a run that was killed can go on.
    """
    return _made_here() / out.replace("://", "/") if is_address(out) else Path(out)


def local_folder(out: str) -> Path:
    """A folder of this machine.

    Raises:
        RecipeError: it is the address of an object store.
    """
    if is_address(out):
        raise RecipeError(f"--out {redact(out)}: only maps are written to object stores. Give a folder.")
    return Path(out)


def where(out: Path) -> str:
    """What people call a place of :func:`place_of`: the folder, or the address."""
    if not out.is_relative_to(_made_here()):
        return str(out)
    scheme, _, rest = out.relative_to(_made_here()).as_posix().partition("/")
    return f"{scheme}://{rest}"


def _made_here() -> Path:
    return cache_folder() / "maps"


def name_of(recipe: Recipe) -> str:
    """What its map is called: as the features, or the file, of the area or of the first image, else
    :data:`NAMELESS`.
    """
    if recipe.aoi is None:
        return Path(redact(recipe.image[0])).stem
    source = AoiSource.parse(recipe.aoi)
    if not path_exists(path := Path(source.file)):
        return NAMELESS
    return source.value if source.attribute else path.stem


def folder_name(value: str, *, is_marked: bool = False) -> str:
    """The name of a folder for any text: the text where that is one everywhere, else what is left of it with
    eight digits of its SHA-256, so that no two texts share one.

    Args:
        value: from an attribute, say; nothing in it is taken as a path.
        is_marked: with the digits whatever it is.
    """
    name = "".join(c if category(c)[0] in "LMN" or c in _SIGNS else "-" for c in normalize("NFC", value))
    name = name.encode()[:_LONGEST].decode(errors="ignore").strip(" .-")
    is_good = name == value != "" and not _RESERVED.fullmatch(name) and not _MARKED.fullmatch(name)
    if is_good and not is_marked:
        return name
    return f"{name or NAMELESS}-{sha256(value.encode(errors='surrogatepass')).hexdigest()[:8]}"


def default_out(recipe: Recipe) -> str:
    """The output folder of a recipe that does not say one."""
    name = name_of(recipe)
    is_value = recipe.aoi is not None and AoiSource.parse(recipe.aoi).attribute is not None
    return str(Path("geoseg-out") / (folder_name(name) if is_value else name))


def outs_of(recipe: Recipe) -> list[Path]:
    """The output folders that a recipe has or had: of ``maps/{month}`` those of all months that are there,
    or were begun, and the one that a run would make today, where the recipe says ``datetime``.
    """
    out = place_of(recipe.out or default_out(recipe))
    if not has_dates(str(out)):
        return [out]
    made = Path(_with(str(out), "*", escape))
    name = _with(out.name, "[0-9-]+", re.escape)
    begun = [place / found for place in _glob(made.parent) for found in target_names(place, name)]
    is_named = re.compile(_with(str(out), "[0-9-]+", re.escape))
    found = {path for path in {*_glob(made), *begun} if is_named.fullmatch(str(path))}
    if recipe.datetime is not None:
        dates = interval_of(recipe.datetime) or recipe.datetime
        found.add(Path(dated(str(out), dates)))
    return sorted(found)


def _with(out: str, date: str, quoted: Callable[[str], str]) -> str:
    return date.join(map(quoted, _DATE.split(out)[::2]))


def _glob(pattern: Path) -> list[Path]:
    return (
        list(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))))
        if pattern.name
        else [pattern]
    )
