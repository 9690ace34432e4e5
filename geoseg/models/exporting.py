"""Models written for other programs: a file gets its name when it has said what torch says."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from geoseg.errors import ModelError
from geoseg.files import sha256_of
from geoseg.models.card import ModelCard, to_item
from geoseg.models.deepness import deepness_metadata
from geoseg.models.deployed import Deployed
from geoseg.models.formats import FORMATS, OUTPUT, Deployable, Format, Run, written
from geoseg.models.int8 import Int8, read_int8
from geoseg.models.int8_network import observe, rounded
from geoseg.models.sample_tiles import sample_tiles
from geoseg.models.zoo import Model, folder_of

Precision = Literal["float32", "int8"]
LEAST_ALIKE: dict[Precision, float] = {"float32": 0.999, "int8": 0.995}
"""Share of pixels whose class must be torch's."""
LARGEST_DIFFERENCE: dict[Precision, float] = {"float32": 1e-3, "int8": 1.0}
"""Of any probability."""
ITEM_SUFFIX = ".item.json"


@dataclass(frozen=True)
class Exported:
    """What was written, and how it compares with torch on real tiles."""

    path: Path
    item: Path
    """Its STAC MLM item."""
    n_pixels: int
    difference: float
    """The largest of any probability."""
    alike: float
    """Share of pixels with the same class."""

    def text(self) -> str:
        """One line for people."""
        return (
            f"{self.path}: on {self.n_pixels:,} real pixels {self.alike:.3%} of classes are torch's, "
            f"probabilities differ by {self.difference:.1e} at most. Its item: {self.item.name}"
        )


def export(
    model: Model,
    out: Path,
    *,
    format: str,
    precision: Precision = "float32",
    tile_size: int | None = None,
    scale: float = 1e-4,
    offset: float = 0.0,
    int8: Int8 | None = None,
) -> Exported:
    """A file that takes reflectance (n, band, size, size) and gives probabilities (n, class, size, size).

    See :class:`geoseg.models.deployed.Deployed`. It is written into a hidden folder, run from there on tiles
    of the sample scenes, and named only when it agrees with torch.

    Args:
        model: is not changed.
        out: the new file; its item lies beside it as ``FILE.item.json``.
        format: of :data:`geoseg.models.formats.FORMATS`.
        precision: int8 for formats that have it.
        tile_size: side of its input; None for the card's.
        scale: of the numbers in the user's QGIS layers, which Deepness is told; see there.
        offset: see ``scale``.
        int8: ranges; None observes them on the sample tiles.

    Raises:
        ModelError: it cannot be written or checked here, exists already, or says something else than torch.
    """
    form, size = FORMATS[format], tile_size or model.card.tile_size
    _check(model, out, form, format, precision, size)
    card = model.card.model_copy(update={"tile_size": size})
    tiles = sample_tiles(card, size)
    network = model
    if precision == "int8":
        network = replace(model, module=rounded(model, int8 or observe(model, tiles)))
    what = Deployable(
        Deployed(network).eval(), len(card.bands), size, deepness_metadata(card, scale=scale, offset=offset)
    )
    temporary = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        found = _compared(model, written(form, what, temporary / out.name), tiles)
        _refuse_other(found, precision, format)
        item = out.with_name(out.name + ITEM_SUFFIX)
        (temporary / item.name).write_text(
            json.dumps(_item(card, form, temporary / out.name), indent=2) + "\n", "utf-8"
        )
        for part in sorted(temporary.iterdir(), key=lambda p: p.name == out.name):  # the file itself last
            part.replace(out.with_name(part.name))
    except OSError as error:
        raise ModelError(f"{out} cannot be written: {error.strerror}. Give another --out.") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    difference, alike = found
    return Exported(out, item, len(tiles) * size * size, difference, alike)


def int8_of_folder(name: str, card: ModelCard) -> Int8 | None:
    """The ranges that the model called ``name`` was trained with; None where it was not."""
    folder = folder_of(name)
    return None if folder is None else read_int8(folder, weights_sha256=card.sha256)


def _check(model: Model, out: Path, form: Format, format: str, precision: Precision, size: int) -> None:
    if (reason := form.why_not()) is not None:
        raise ModelError(f"--format {format} {reason}.")
    if precision == "int8" and not form.has_int8:
        raise ModelError(f"--format {format} has no int8: give --format onnx or openvino.")
    if out.suffix != form.suffix:
        raise ModelError(f"--format {format} is written to a file *{form.suffix}, got {out.name}.")
    if out.exists():
        raise ModelError(f"{out} exists already. Give another --out.")
    if size % model.card.tile_multiple:
        raise ModelError(f"--tile-size {size} is not a multiple of {model.card.tile_multiple}.")


@torch.no_grad()
def _compared(model: Model, run: Run, tiles: list[NDArray[np.float32]]) -> tuple[float, float]:
    reference, differences, alike = Deployed(model).eval(), [], []
    for tile in tiles:
        expected = reference(torch.from_numpy(tile)[None]).numpy()
        found = run(tile[None])
        if found.shape != expected.shape:
            raise ModelError(f"The written file gives {found.shape}, torch {expected.shape}.")
        differences.append(float(np.abs(found - expected).max()))
        alike.append(float((found.argmax(1) == expected.argmax(1)).mean()))
    return float(np.max(differences)), float(np.mean(alike))


def _refuse_other(found: tuple[float, float], precision: Precision, format: str) -> None:
    difference, alike = found
    if alike >= LEAST_ALIKE[precision] and difference <= LARGEST_DIFFERENCE[precision]:  # NaN is not
        return
    remedy = "Train with fit.int8" if precision == "int8" else "Give another --format"
    raise ModelError(
        f"As {format} {precision} the model says something else than in torch: {alike:.2%} of classes are "
        f"the same (needed {LEAST_ALIKE[precision]:.1%}), probabilities differ by {difference:.1e} at most. "
        f"Nothing was written. {remedy}."
    )


def _item(card: ModelCard, form: Format, path: Path) -> dict[str, Any]:
    """The card's item, of the file: it takes reflectance as it is, and gives probabilities."""
    item = to_item(card)
    properties = item["properties"]
    properties["mlm:framework"] = form.framework
    properties["mlm:input"][0]["value_scaling"] = None
    properties["mlm:output"][0]["name"] = OUTPUT
    asset = item["assets"]["weights"]
    asset["href"] = f"./{path.name}"
    asset["type"] = f"application/octet-stream; framework={form.framework.lower()}"
    asset["title"] = "Network from reflectance to probabilities"
    asset["mlm:artifact_type"] = form.framework.lower() if form.framework != "pytorch" else path.suffix[1:]
    if path.is_file():
        asset["file:checksum"] = "1220" + sha256_of(path)
    else:  # a package of CoreML is a folder
        asset.pop("file:checksum", None)
    return item
