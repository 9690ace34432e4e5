"""What is asked of ``geoseg chips``, beside the recipe of its imagery."""

from dataclasses import dataclass
from pathlib import Path

from geoseg.errors import RecipeError

SIDE = 256
"""Of a chip by default, pixels."""
NO_LICENSE = "not stated"
_LEAST_SIDE = 16


@dataclass(frozen=True)
class ChipRequest:
    """How chips are cut from the imagery that a recipe finds."""

    labels: str
    """A class raster, polygons, or the name of a product: see :mod:`geoseg.training.label_sources`."""
    label_field: str | None = None
    """Attribute that says the class of a polygon; None for one with a usual name."""
    legend: Path | None = None
    """Names and colours of a raster's values."""
    crosswalk: Path | None = None
    """Other names for the classes, or ``ignore``; see :class:`geoseg.evaluation.maps.Crosswalk`."""
    labels_catalog: str | None = None
    """Where a product is searched; None for where its makers have it."""
    rest: str | None = None
    """The class of pixels that have no label; None: they are not learned from."""
    keep_bands: tuple[str, ...] | None = None
    """Bands of the chips; None for those of the default model that the imagery has."""
    chip_size: int | None = None
    """Side of a chip, pixels; None for that of the folder that is added to, else :data:`SIDE`."""
    min_labelled: float = 0.01
    """A chip with labels on a smaller part of its pixels is left out."""
    max_nodata: float = 0.5
    """A chip with a larger part of its pixels without a value is left out."""
    place_field: str | None = None
    """Attribute of the label polygons, or of the area, that names places; None for blocks."""
    block_m: float | None = None
    """Side of the blocks that are places, metres; None for two chips."""
    val_share: float = 0.2
    """Of the labelled pixels, to validate on."""
    test_share: float = 0.0
    """Of the labelled pixels, to be left alone until the end."""
    seed: int = 0
    """Same seed, same splits."""
    license: str = NO_LICENSE
    """Of images and labels."""
    add: bool = False
    """Add to the folder of an earlier run."""

    def __post_init__(self) -> None:
        if self.chip_size is not None and self.chip_size < _LEAST_SIDE:
            raise RecipeError(
                f"--chip-size {self.chip_size} is too small. Give {_LEAST_SIDE} pixels or more."
            )
        if self.block_m is not None and not self.block_m > 0:
            raise RecipeError(f"--block-m {self.block_m:g} is no length. Give metres, such as 5000.")
        if self.block_m is not None and self.place_field is not None:
            raise RecipeError("--place-field and --block-m both say what a place is. Give one of them.")
        for flag in ("min_labelled", "max_nodata", "val_share", "test_share"):
            if not 0 <= getattr(self, flag) <= 1:
                name = f"--{flag.replace('_', '-')}"
                raise RecipeError(f"{name} {getattr(self, flag):g} is no share. Give a number from 0 to 1.")
        if self.val_share + self.test_share >= 1:
            raise RecipeError(
                "--val-share and --test-share leave nothing to learn from. Give less than 1 in all."
            )
