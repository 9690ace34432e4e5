"""What was measured of a model's probabilities, on the terminal."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from geoseg.models.calibration import ModelCalibration


def print_calibration(found: ModelCalibration, path: Path, *, classes: Sequence[str]) -> None:
    """Scaling, sets, and how both do on places that they were not fitted on.

    Args:
        found: what was measured.
        path: where it is kept.
        classes: names, in the order of the model's outputs.
    """
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    scaling, conformal, held = found.scaling, found.conformal, found.coverage
    table = Table(
        show_header=False, title=escape(f"Calibration on {found.measured_on}"), title_justify="left"
    )
    if scaling.temperature is not None:
        meaning = "the model was too sure" if scaling.temperature > 1 else "the model was not sure enough"
        table.add_row("temperature", f"{scaling.temperature:.3g} ({meaning})")
    else:
        rows = zip(classes, scaling.scale, scaling.bias, strict=True)
        text = ", ".join(f"{name} {scale:.3g} {bias:+.3g}" for name, scale, bias in rows)
        table.add_row("scale and bias", escape(text))
    table.add_row("scaling fitted on", f"{scaling.n:,} pixels of {len(scaling.places)} places")
    new = "of a new place" if conformal.unit == "place" else "of these places"
    each = "each class, for a pixel " if conformal.by_class else "a pixel "
    table.add_row("sets promise", f"{1 - conformal.alpha:.0%} for {each}{new}")
    table.add_row("sets fitted on", f"{conformal.n:,} pixels of {len(conformal.places)} places")
    if held is not None and held.coverage is not None:
        table.add_section()
        table.add_row("[bold]on other places[/]", "")
        low, high = held.low_by_place, held.high_by_place
        spread = "" if low is None or high is None else f" ({low:.1%} to {high:.1%}, by places)"
        table.add_row("sets hold the class", f"{held.coverage:.1%}{spread}")
        table.add_row("mean of places", f"{held.place_mean:.1%}, worst {held.place_min:.1%}")
        table.add_row("classes in a set", f"{held.mean_set_size:.2f} of {len(conformal.thresholds)}")
        table.add_row("calibration error", f"{found.ece_before:.1%} before, {found.ece_after:.1%} after")
    console.print(table)
    messages = Console(stderr=True, highlight=False, soft_wrap=True)
    if (found.ece_after or 0) > (found.ece_before or 0):
        messages.print(
            "On other places its confidence is no better calibrated than before: more places may help.",
            style="yellow",
        )
    if held is not None and (held.mean_set_size or 0) > 0.9 * len(conformal.thresholds):
        messages.print("The sets hold nearly all classes: they tell little of this model.", style="yellow")
    if held is None:
        messages.print("Fewer than 4 places: nothing says how this holds elsewhere.", style="dim")
    elif conformal.unit == "pixel":
        promise = f"{1 - conformal.alpha:.0%}"
        messages.print(f"Too few places to promise {promise} in new ones: see what was held.", style="dim")
    messages.print(f"Kept in {path}. Maps of this model use it.", markup=False)
