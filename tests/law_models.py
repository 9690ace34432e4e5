"""Models whose answers are known beforehand, and prediction cut as jobs cut it."""

from dataclasses import replace

import numpy as np
import torch
from builders import BANDS, as_image, geobox_at, smooth
from rasterio.windows import Window
from torch import nn

from geoseg.grid.geobox import lattice_origin
from geoseg.grid.tiling import TilePlan, blocks_of
from geoseg.inference.predictor import predict
from geoseg.inference.runner import Inference
from geoseg.legend import Legend
from geoseg.models.card import ModelCard
from geoseg.models.zoo import Model


class Identity(nn.Module):
    """Its logits are its input: the class is the brightest band."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels


class Mean(nn.Module):
    """Says what it sees around: each logit is the mean of a band over the whole tile."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.mean((2, 3), keepdim=True).expand_as(pixels)


def model_of(module: nn.Module, *, size: int, halo: int) -> Model:
    card = ModelCard(
        name="law",
        title="A law",
        family="none",
        bands=BANDS,
        gsd_m=10,
        gsd_range_m=(1, 100),
        tile_size=size,
        halo=halo,
        legend=Legend.of(a="000000", b="111111", c="222222", d="333333"),
        license="Apache-2.0",
    )
    return Model(module, card)


def in_blocks(image, model, block_size, *, batch_size=1, chunks=None, mask=None, how=Inference()):
    """Predict block by block as a job does: each from its own window, put together afterwards."""
    geobox = image.odc.geobox
    plan = TilePlan(geobox, model.card.tile_size, model.card.halo)
    class_id, confidence = np.zeros(geobox.shape, np.uint8), np.zeros(geobox.shape, np.uint8)
    source = image if chunks is None else image.chunk({"y": chunks, "x": chunks})
    for block in blocks_of(geobox, block_size):
        w = block.window
        at = np.s_[w.row_off : w.row_off + w.height, w.col_off : w.col_off + w.width]
        part = predict(
            source,
            model=model,
            plan=plan,
            window=w,
            mask=None if mask is None else mask[at],
            how=replace(how, batch_size=batch_size),
        )
        class_id[at], confidence[at] = part.class_id, part.confidence
    return class_id, confidence


def one_tile(size: int = 64):
    """An image that is one tile of the lattice of a model without halo."""
    row, col = lattice_origin(geobox_at())
    grid = geobox_at(-col % size, -row % size, height=size, width=size)
    assert len(list(TilePlan(grid, size, 0).tiles(Window(0, 0, size, size)))) == 1
    return as_image(smooth(4, (size, size)), grid)
