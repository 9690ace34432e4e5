"""What int8 costs: a model against itself, rounded as an int8 runtime rounds it."""

from dataclasses import dataclass

import numpy as np
import torch

from geoseg.evaluation.metrics import OVERALL
from geoseg.models.int8 import Int8
from geoseg.models.int8_network import rounded
from geoseg.models.zoo import Model
from geoseg.training.data import Chips
from geoseg.training.module import classes_of, counts_of, pieces


@dataclass(frozen=True)
class Cost:
    """Scores on the same images, 0..1; NaN where nothing is labelled."""

    accuracy: float
    accuracy_int8: float
    miou: float
    miou_int8: float
    same: float
    """Share of all pixels that have the same class in both."""


@torch.no_grad()
def cost_of_int8(model: Model, int8: Int8, chips: Chips) -> Cost:
    """Scores of ``model`` in float and in int8, on whole images."""
    n = len(model.card.legend.classes)
    networks = model.module, rounded(model, int8)
    counts = [np.zeros((n, n + 1), np.int64) for _ in networks]
    n_same = n_pixels = 0
    for k in range(len(chips)):
        pixels, labels = chips.whole(k)
        for at in pieces(labels.shape):
            found = [classes_of(network, pixels[:, *at], model.card) for network in networks]
            for one, classes in zip(counts, found, strict=True):
                one += counts_of(labels[*at], classes, n)
            n_same, n_pixels = n_same + int((found[0] == found[1]).sum()), n_pixels + found[0].numel()
    accuracy, miou = ([float(OVERALL[name](c)) for c in counts] for name in ("pixel_accuracy", "miou"))
    return Cost(
        accuracy=accuracy[0],
        accuracy_int8=accuracy[1],
        miou=miou[0],
        miou_int8=miou[1],
        same=n_same / n_pixels,
    )
