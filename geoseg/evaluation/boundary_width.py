"""How wide a boundary is, in the unit that a person gives it in."""

import re
from dataclasses import dataclass
from typing import Literal, cast

from geoseg.errors import EvaluationError
from geoseg.evaluation.boundary import boundary_distance, distance_in_pixels


@dataclass(frozen=True)
class BoundaryWidth:
    """How far from a boundary a pixel may be to count as near it."""

    value: float
    unit: Literal["m", "px", "%"]
    """``%`` is of the diagonal of an image; 2 % is the published width (Cheng et al. 2021)."""

    @classmethod
    def read(cls, text: str) -> "BoundaryWidth":
        """The width that a text says.

        Raises:
            EvaluationError: it is none.

        Example:
            >>> BoundaryWidth.read("2%"), BoundaryWidth.read("30 m").value
            (BoundaryWidth(value=2.0, unit='%'), 30.0)
        """
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(m|px|%)\s*", text)
        if found is None or float(found[1]) == 0:
            raise EvaluationError(
                f"{text!r} is no width of a boundary. Give metres (30m), pixels (3px), or a share of the "
                "image's diagonal (2%)."
            )
        return cls(float(found[1]), cast(Literal["m", "px", "%"], found[2]))

    def pixels(self, shape: tuple[int, int], *, gsd_m: float | None) -> int:
        """The width on an image of (height, width), 1 or more.

        Raises:
            EvaluationError: it is in metres, and nothing says how large pixels are.
        """
        if self.unit == "%":
            return boundary_distance(shape, ratio_of_diagonal=self.value / 100)
        if self.unit == "px":
            return max(round(self.value), 1)
        if gsd_m is None:
            raise EvaluationError(
                f"Nothing says how wide pixels are on the ground, so {self} means nothing. Give --boundary "
                "in pixels (3px) or as a share of the diagonal (2%)."
            )
        return distance_in_pixels(self.value, gsd_m=gsd_m)

    def __str__(self) -> str:
        return f"{self.value:g} %" if self.unit == "%" else f"{self.value:g} {self.unit}"
