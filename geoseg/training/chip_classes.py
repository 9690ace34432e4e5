"""What the numbers of labels mean: which class of the chips each is."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import TrainingError
from geoseg.evaluation.labelled_document import LabelClass
from geoseg.evaluation.maps import IGNORE, Crosswalk, renamed, unused_keys
from geoseg.legend import CLASS_NODATA
from geoseg.training.chip_folder import classes_of
from geoseg.training.label_sources import CONFLICT, NOTHING, Labels


@dataclass(frozen=True)
class Meaning:
    """The classes of chips, and the numbers of the labels that mean them."""

    classes: tuple[LabelClass, ...]
    numbers: NDArray[np.int32]
    """(number,) sorted, ``CONFLICT`` and ``NOTHING`` last."""
    values: NDArray[np.uint8]
    """(number,) class value of each; 255 for none."""

    def of(self, numbers: NDArray[np.int32]) -> NDArray[np.uint8]:
        """Class values of the numbers of labels, of any shape; 255 for none."""
        found: NDArray[np.uint8] = self.values[np.searchsorted(self.numbers, numbers)]
        return found


def meaning_of(
    numbers: Sequence[int],
    labels: Labels,
    *,
    crosswalk: Crosswalk,
    rest: str | None,
    known: Sequence[LabelClass],
    say: Callable[[str], None],
) -> Meaning:
    """The classes that labels have, and which number is which.

    Args:
        numbers: those that come up, without ``NOTHING`` and ``CONFLICT``.
        labels: they are of.
        crosswalk: other names for classes; its table ``reference``.
        rest: the class of pixels without a label; None where that is none.
        known: classes that a folder has already.
        say: told what was changed.

    Raises:
        TrainingError: there is one class or none, or more than 254, or two would have one name.
    """
    own = {n: labels.names.get(n, str(n)) for n in numbers}
    for note in unused_keys(crosswalk.reference, [*own.values(), *map(str, own)], "what is labelled here"):
        say(note)
    meant = {n: name for n, name in renamed(own, crosswalk.reference, "labels").items() if name != IGNORE}
    colors = {
        _plain(meant[n]): labels.colors[name]
        for n, name in own.items()
        if n in meant and name in labels.colors
    }
    plain = _plain_names([*meant.values(), *([rest] if rest else [])], say)
    names = [plain[name] for name in meant.values()] + ([plain[rest]] if rest else [])
    classes = classes_of(names, colors, known)
    if len(classes) < 2:
        what = (
            f"{classes[0].name} is the only class of the labels"
            if classes
            else "The labels have no class here"
        )
        raise TrainingError(
            f"{what}: there is nothing to tell apart. Give --rest NAME if what is not labelled is a class of "
            "its own, or other labels."
        )
    value = {c.name: c.values[0] for c in classes}
    every = [*sorted(own), CONFLICT, NOTHING]
    table = {n: value[plain[name]] for n, name in meant.items()}
    if rest is not None:
        table[NOTHING] = value[plain[rest]]
    return Meaning(
        classes, np.array(every, np.int32), np.array([table.get(n, CLASS_NODATA) for n in every], np.uint8)
    )


def _plain_names(names: Sequence[str], say: Callable[[str], None]) -> dict[str, str]:
    """Names as a legend takes them."""
    plain = {name: _plain(name) for name in names}
    by_plain: dict[str, str] = {}
    for name, text in plain.items():
        if text in by_plain:
            raise TrainingError(
                f"Classes {by_plain[text]!r} and {name!r} would both be called {text!r}. "
                "Rename one by a --crosswalk."
            )
        by_plain[text] = name
    if changed := [f"{name} is {text}" for name, text in plain.items() if name != text]:
        say(f"class names are plain letters: {', '.join(changed[:5])}{', ...' * (len(changed) > 5)}")
    return plain


def _plain(name: str) -> str:
    text = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return " ".join(re.sub(r"[^A-Za-z0-9 _,/-]+", " ", text).split()) or f"class-{name.encode().hex()[:8]}"
