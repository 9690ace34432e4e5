"""A model as others run it: one network from reflectance to probabilities, with all that geoseg adds."""

import copy

import torch
from torch import nn

from geoseg.models.calibration import LOG_FLOOR
from geoseg.models.context import ContextMLP
from geoseg.models.graphs import as_graph
from geoseg.models.zoo import Model, normalise, probs_of


class Deployed(nn.Module):
    """Reflectance (n, band, y, x), NaN or 0 in all bands = nodata, to probabilities (n, class, y, x).

    It normalises, fills nodata as :func:`geoseg.models.zoo.ready` does, and calibrates where the model has a
    calibration. Zeros are nodata because programs without a notion of it, such as Deepness, fill with them.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.network = as_graph(model.module)
        self._card = model.card
        for part in self.network.modules():
            if isinstance(part, ContextMLP):
                part.is_cut = False  # a graph of strips would be as long as the tile has rows
        self._calibration = copy.copy(model.calibration)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(n, band, y, x) to (n, class, y, x)."""
        # A sum is finite where all bands are.
        is_known = pixels.sum(1, keepdim=True).isfinite() & (pixels.abs().amax(1, keepdim=True) > 0)
        ready = torch.where(is_known, normalise(pixels, self._card), torch.zeros_like(pixels))
        probs = probs_of(self.network(ready), self._card)
        if self._calibration is None:
            return probs
        scaling = self._calibration.scaling
        scale, bias = (probs.new_tensor(v)[:, None, None] for v in (scaling.scale, scaling.bias))
        calibrated: torch.Tensor = (probs.log().clamp_min(LOG_FLOOR) * scale + bias).softmax(1)
        return calibrated
