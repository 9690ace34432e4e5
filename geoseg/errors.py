"""Every error and warning that geoseg raises on purpose.

GeosegError
├── AoiError         the area asked for cannot be used
├── CatalogError     a catalog file or address cannot be used, or does not answer
│   └── CatalogUnreachable
├── CoverageError    no items, or items that leave too much of the area uncovered
├── ImageryError     pixels cannot be read
├── PreflightError   the imagery does not fit the model
├── ModelError       a model folder, its card or its weights cannot be used
├── RecipeError      an option or a recipe key cannot be used
├── EvaluationError  a reference, a sample or a benchmark cannot be scored
├── TrainingError    a model cannot be trained on these data in this way
├── StoreError       what was put into an object store does not come back as it was
└── OutputError      an output cannot be written

Each message is one line that says what was got, what was expected and what to do next. The command
line prints it without a traceback and exits 2; any other exception is a bug and exits 1.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

_FEW = 8


class GeosegError(Exception):
    """Something the user can mend; ``str(error)`` is the whole message, on one line."""


class AoiError(GeosegError):
    """The area asked for is empty, broken, without CRS, not a polygon, or too large."""


class CatalogError(GeosegError):
    """A catalog is unknown, malformed or answers with something that is not STAC."""


class CatalogUnreachable(CatalogError):
    """A catalog did not answer at its address."""


class CoverageError(GeosegError):
    """The items found leave more of the area uncovered than ``min_coverage`` allows."""


class ImageryError(GeosegError):
    """An asset or a local file cannot be read as pixels."""


class PreflightError(GeosegError):
    """Bands, scaling, CRS or coverage of the imagery do not fit the model's card."""


class ModelError(GeosegError):
    """A model is unknown, or its folder, card or weights cannot be used."""


class RecipeError(GeosegError):
    """A recipe file, one of its keys, or a command-line option has no usable value."""


class EvaluationError(GeosegError):
    """A reference, a labelled sample or a benchmark folder does not fit what it is compared with."""


class TrainingError(GeosegError):
    """Data, losses or settings that no model can be trained with."""


class StoreError(GeosegError):
    """A part of a block does not come back from its object store as it was put there."""


class OutputError(GeosegError):
    """An output exists already, or cannot be written."""


class GeosegWarning(UserWarning):
    """Something was repaired or adapted; the run goes on and the report repeats the text."""


_PYDANTIC = "Input should be "
_PLAIN = {
    r"^greater than or equal to (\S+)$": r"\1 or more",
    r"^less than or equal to (\S+)$": r"\1 or less",
    "^greater than ": "more than ",
    "^a valid integer.*": "a whole number",
    "^a valid boolean.*": "true or false",
    "^a valid string$": "a text",
    "^a valid (tuple|list)$": "a list",
    "^a valid (dictionary|mapping).*": "a table",
    "^a valid (number).*": r"a \1",
}


def some(values: Sequence[object], word: str) -> str:
    """``value 7``, or ``values 7, 8, 9 and 20 more``: a message is a line."""
    first = ", ".join(map(str, values[:_FEW]))
    more = f" and {len(values) - _FEW} more" if len(values) > _FEW else ""
    return f"{word}{'s' * (len(values) > 1)} {first}{more}"


def expected(mistake: Mapping[str, Any]) -> str:
    """What one of a pydantic error's mistakes asks for: ``expected 1 or more`` for ``Input should be greater
    than or equal to 1``. Other words than "Input should be" stay.
    """
    text = str(mistake["msg"]).removeprefix("Value error, ")
    if not text.startswith(_PYDANTIC):
        return text
    wanted = text.removeprefix(_PYDANTIC)
    for pattern, plain in _PLAIN.items():
        wanted = re.sub(pattern, plain, wanted)
    return f"expected {wanted}"


def one_line(error: Exception) -> str:
    """What an exception says, on one line and without a full stop, to be quoted in a message.

    Of a pydantic ``ValidationError`` the first mistake and where it is.
    """
    if "See previous exception" in str(error) and isinstance(error.__cause__, Exception):  # rasterio
        return one_line(error.__cause__)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    mistakes = getattr(error, "errors", None)
    if callable(mistakes):
        first = mistakes()[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{where}: {expected(first)}" if where else expected(first)
    return " ".join(str(error).split()).rstrip(".")
