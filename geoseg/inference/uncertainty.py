"""How much a model does not know: the layers that a map may have beside class and confidence.

A pixel's total uncertainty is the entropy of its probabilities. Its epistemic part is what more training
would take away: how far several answers to the same pixels disagree (mutual information: Houlsby et al. 2011,
arXiv:1112.5745; Gal et al. 2017, arXiv:1703.02910, equation 3), or the evidence that is lacking (vacuity:
Sensoy et al. 2018, arXiv:1806.01768, equation 1).
"""

import copy
import math
import zlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from rasterio.windows import Window
from torch import nn
from torch.nn import functional as F  # noqa: N812  (torch's own name for it)

from geoseg.errors import ModelError
from geoseg.legend import CONFIDENCE_NODATA, CONFIDENCE_SCALE
from geoseg.models.calibration import ModelCalibration
from geoseg.models.card import ModelCard
from geoseg.models.ensemble import Ensemble
from geoseg.models.zoo import Model, probs_of

LAYER_OF = {
    "entropy": "entropy",
    "conformal": "set_size",
    "mc-dropout": "epistemic",
    "ensemble": "epistemic",
    "evidential": "epistemic",
}
"""What ``--uncertainty`` takes, and the layer that it adds."""
_ADDED = ("entropy", "set_size", "epistemic")
Epistemic = Callable[[torch.Tensor, torch.Tensor, Window], torch.Tensor]
"""Normalised input (1, band, y, x), what the network said (answer, class, y, x) and where the tile lies ->
(y, x) 0..1. There is one answer, but for the members of an ensemble."""


def layers_of(uncertainty: Sequence[str]) -> tuple[str, ...]:
    """The layers of a map, in the order in which they are stored."""
    asked = {LAYER_OF[name] for name in uncertainty}
    return ("class_id", "confidence", *(layer for layer in _ADDED if layer in asked))


def raster_names(uncertainty: Sequence[str]) -> tuple[str, ...]:
    """The files of a map's layers, in the same order."""
    return ("class.tif", *(f"{layer}.tif" for layer in layers_of(uncertainty)[1:]))


def check_uncertainty(model: Model, uncertainty: Sequence[str]) -> None:
    """Refuse what the model cannot say.

    Raises:
        ModelError: it has no calibration, dropout, members or evidence.
    """
    name = model.card.name
    if "conformal" in uncertainty and model.calibration is None:
        raise ModelError(
            f"--uncertainty conformal: {name} has no calibration. Measure one on labelled images: "
            "geoseg calibrate."
        )
    if "mc-dropout" in uncertainty and not _dropouts(model.module):
        raise ModelError(
            f"--uncertainty mc-dropout: {name} has no dropout. Take a model trained with some, or another "
            "--uncertainty."
        )
    if "ensemble" in uncertainty and not isinstance(model.module, Ensemble):
        raise ModelError(
            f"--uncertainty ensemble: {name} is a single network. Put several into one: "
            "geoseg models ensemble A B C --out FOLDER."
        )
    if "evidential" in uncertainty and model.card.activation != "evidential":
        raise ModelError(
            f"--uncertainty evidential: {name} was trained with softmax. Take a model with activation "
            "evidential, or another --uncertainty."
        )


def epistemic_of(
    module: nn.Module, card: ModelCard, uncertainty: Sequence[str], *, passes: int
) -> Epistemic | None:
    """What measures the epistemic part of a tile; None where it was not asked for.

    Args:
        module: a network, on the device where it runs.
        card: says how its logits become probabilities.
        uncertainty: what was asked for.
        passes: answers that Monte Carlo dropout asks for.
    """
    if "mc-dropout" in uncertainty:
        return _Dropped(module, card, passes)
    if "ensemble" in uncertainty:
        return lambda pixels, answers, window: _disagreement(answers.softmax(1))
    if "evidential" in uncertainty:
        return lambda pixels, answers, window: _vacuity(answers[0])
    return None


def stored_layers(
    probs: NDArray[np.float32],
    epistemic: NDArray[np.float32] | None,
    *,
    layers: Sequence[str],
    calibration: ModelCalibration | None,
) -> dict[str, NDArray[np.uint8]]:
    """The layers beside the class as stored, of calibrated probabilities (class, n); each (n,) uint8."""
    found = {"confidence": _stored(probs.max(axis=0))}
    if "entropy" in layers:
        logs = np.log(np.maximum(probs, np.finfo(np.float32).tiny))
        found["entropy"] = _stored(-(probs * logs).sum(axis=0) / math.log(max(len(probs), 2)))
    if "set_size" in layers and calibration is not None:
        found["set_size"] = calibration.conformal.set_size(probs.T)
    if epistemic is not None:
        found["epistemic"] = _stored(epistemic)
    return found


def _stored(shares: NDArray[np.float32]) -> NDArray[np.uint8]:
    stored: NDArray[np.uint8] = np.rint(np.clip(shares, 0, 1) / CONFIDENCE_SCALE).astype(np.uint8)
    return np.minimum(stored, np.uint8(CONFIDENCE_NODATA - 1))


def _disagreement(probs: torch.Tensor) -> torch.Tensor:
    """(y, x) mutual information of (answer, class, y, x), as a share of the most it can be, ln(classes)."""
    total = torch.special.entr(probs.mean(0)).sum(0)
    expected = torch.special.entr(probs).sum(1).mean(0)
    share: torch.Tensor = (total - expected) / math.log(max(probs.shape[1], 2))
    return share.clamp(0, 1)


def _vacuity(logits: torch.Tensor) -> torch.Tensor:
    """(y, x) the classes by the sum of the Dirichlet parameters of (class, y, x): 1 without any evidence."""
    return len(logits) / (F.softplus(logits.float()) + 1).sum(0)


def _dropouts(module: nn.Module) -> list[nn.Module]:
    return [m for m in module.modules() if isinstance(m, _KINDS) and m.p > 0]


_KINDS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


class _Dropped:
    """Monte Carlo dropout (Gal and Ghahramani 2016, arXiv:1506.02142).

    What is dropped depends on where the tile lies on the lattice and on nothing else: not on the batch, the
    block, the area or the worker. The copy shares the weights of the network, which stays as it is.
    """

    def __init__(self, module: nn.Module, card: ModelCard, passes: int) -> None:
        shared = {id(p): p for p in (*module.parameters(), *module.buffers())}
        self._module = copy.deepcopy(module, shared)
        self._card, self._passes = card, passes
        device = next(iter(shared.values()), torch.empty(0)).device
        self._generator = torch.Generator(device)
        for parent in list(self._module.modules()):
            for name, child in parent._modules.items():  # named_children would skip one that is used twice
                if isinstance(child, _KINDS):
                    seeded = _SeededDropout(child.p, type(child) is nn.Dropout, self._generator)
                    setattr(parent, name, seeded)

    def __call__(self, pixels: torch.Tensor, answers: torch.Tensor, window: Window) -> torch.Tensor:
        self._generator.manual_seed(_seed_of(window))
        dropped = [probs_of(self._module(pixels), self._card)[0] for _ in range(self._passes)]
        return _disagreement(torch.stack(dropped))


class _SeededDropout(nn.Module):
    """Dropout that draws from a generator of its own, whether training or not."""

    def __init__(self, p: float, is_elementwise: bool, generator: torch.Generator) -> None:
        super().__init__()
        self._p, self._is_elementwise, self._generator = p, is_elementwise, generator

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shape = x.shape if self._is_elementwise else x.shape[:2] + (1,) * (x.ndim - 2)
        kept = torch.rand(shape, generator=self._generator, device=x.device) >= self._p
        return x * kept / (1 - self._p) if self._p < 1 else torch.zeros_like(x)


def _seed_of(window: Window) -> int:
    """32 bits, which is all that torch's generator on the CPU takes of a seed."""
    return zlib.crc32(f"{window.row_off},{window.col_off}".encode())
