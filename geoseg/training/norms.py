"""A model used to other imagery, without labels: the statistics of its norms are taken there anew."""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
import torch
from torch import nn

from geoseg.errors import ModelError
from geoseg.inference.known import Pixels
from geoseg.models.zoo import Model, ready

_BATCH = 16
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@torch.no_grad()
def adapted(model: Model, tiles: Iterable[Pixels]) -> Model:
    """A copy whose batch norms have the means and deviations of the features of other tiles; weights stay.

    Adaptive batch normalisation (Li et al. 2018, Pattern Recognition 80:109, arXiv:1603.04779). It helps
    where sensor, season or region shift all colours, and harms where the tiles hold few of the classes. The
    calibration is left behind, as it was measured on another model.

    Args:
        model: any with batch norms.
        tiles: (band, size, size) float32 reflectance, NaN = nodata; sixteen at a time make a batch, whose
            means and deviations are averaged, so neighbours should not follow each other.

    Raises:
        ModelError: the model has no batch norms, or there are no tiles.
    """
    module = copy.deepcopy(model.module)
    norms = [m for m in module.modules() if isinstance(m, _NORMS) and m.track_running_stats]
    if not norms:
        raise ModelError(f"{model.card.name} has no batch norms, whose statistics could be adapted.")
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all tiles
        norm.train()
    is_empty = True
    for some in _in_batches(tiles):
        module(ready(torch.from_numpy(np.stack(some)), model.card))
        is_empty = False
    if is_empty:
        raise ModelError(
            f"No tile of {model.card.tile_size} pixels fits into the area's pixels. Give a larger area."
        )
    return replace(model, module=module.eval(), calibration=None)


def _in_batches(tiles: Iterable[Pixels]) -> Iterator[list[Pixels]]:
    rest = iter(tiles)
    while some := list(islice(rest, _BATCH)):
        yield some
