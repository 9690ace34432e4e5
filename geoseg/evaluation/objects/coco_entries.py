"""Entries of COCO's JSON, checked before they are used (cocodataset.org/#format-data)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from geoseg.errors import EvaluationError

Json = Mapping[str, Any]
Number = Annotated[float, Field(allow_inf_nan=False)]
Name = int | str


class _Entry(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class RunLengths(_Entry):
    """A mask as run lengths."""

    size: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)]
    counts: str | bytes | list[int]


class Mask(_Entry):
    """What annotations and results share."""

    image_id: Name | None = None
    category_id: int | None = None
    segmentation: RunLengths | list[list[Number]]


class NamedResult(Mask):
    """A mask with a confidence, of an image by any of its names."""

    score: Number


class Result(NamedResult):
    """A mask with a confidence."""

    image_id: Name
    category_id: int


class Annotation(Mask):
    """A mask of a reference."""

    image_id: Name
    category_id: int
    iscrowd: int | bool = 0


class Image(_Entry):
    """An image of a reference."""

    id: Name
    height: Annotated[int, Field(ge=0)]
    width: Annotated[int, Field(ge=0)]


class CategoryEntry(_Entry):
    """A class of a reference."""

    id: int
    color: Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(min_length=3, max_length=3)] = [128] * 3
    isthing: int | bool = 1


class Segment(_Entry):
    """A segment of a panoptic image."""

    id: int
    category_id: int
    iscrowd: int | bool = 0


def refuse_malformed(entries: Sequence[Any], kind: type[BaseModel], what: str) -> None:
    """Check that all entries are of a kind.

    Args:
        entries: of a list in the JSON.
        kind: one of the classes above.
        what: how messages call the list.

    Raises:
        EvaluationError: one is not; it says which and why.
    """
    required = [name for name, field in kind.model_fields.items() if field.is_required()]
    lacking = sorted({key for entry in entries for key in required if key not in entry})
    if lacking:
        raise EvaluationError(
            f"Some of the {what} lack {' and '.join(lacking)}, which each needs in COCO's JSON."
        )
    try:
        TypeAdapter(list[kind]).validate_python(list(entries))  # type: ignore[valid-type]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        number, *path = first["loc"]
        where = ".".join(str(part) for part in path)
        raise EvaluationError(
            f"Entry {number} of the {what} has {where or 'something'} {str(first['input'])[:40]!r}: "
            f"{first['msg']}. Give COCO's JSON."
        ) from None
