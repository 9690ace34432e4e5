"""torchgeo: RasterDataset, GridGeoSampler and a SemanticSegmentationTask; it has no stitching of its own.

As in its tutorial "Introduction to TorchGeo" (a sampler that tiles a region, a DataLoader with stack_samples)
and the docs of GridGeoSampler. Stitching is left to the user: here the cheapest, of each chip the classes of
its middle, so that nothing but uint8 is kept.
"""

import numpy as np
import rasterio
import torch
from asked import Asked, load_network, read_command_line, write_classes
from torch.utils.data import DataLoader
from torchgeo.datasets import RasterDataset, stack_samples
from torchgeo.samplers import GridGeoSampler
from torchgeo.trainers import SemanticSegmentationTask


def _scaled(sample: dict) -> dict:
    sample["image"] = sample["image"] / 255
    return sample


def _predict(asked: Asked) -> np.ndarray:
    dataset = RasterDataset(paths=[str(asked.image)], transforms=_scaled)
    sampler = GridGeoSampler(dataset, size=asked.tile, stride=asked.stride)
    loader = DataLoader(dataset, batch_size=asked.batch_size, sampler=sampler, collate_fn=stack_samples)
    task = SemanticSegmentationTask(
        model="unet", backbone=asked.encoder, in_channels=asked.n_bands, num_classes=asked.n_classes
    ).eval()
    task.model.load_state_dict(load_network(asked).state_dict())
    with rasterio.open(asked.image) as source:
        to_pixel, shape = ~source.transform, source.shape
    margin = asked.overlap // 2
    classes = np.zeros(shape, np.uint8)
    with torch.inference_mode():
        for batch in loader:
            found = task(batch["image"]).argmax(1).to(torch.uint8).numpy()  # (n, y, x)
            for bounds, chip in zip(batch["bounds"], found, strict=True):
                col, row = map(round, to_pixel * (bounds[0].start, bounds[1].stop))
                _put(classes, chip, row, col, margin)
    return classes


def _put(classes: np.ndarray, chip: np.ndarray, row: int, col: int, margin: int) -> None:
    """The middle of a chip, and its margin too along the border of the map."""
    height, width = classes.shape
    size = len(chip)
    top = 0 if row <= 0 else row + margin
    left = 0 if col <= 0 else col + margin
    bottom = height if row + size >= height else row + size - margin
    right = width if col + size >= width else col + size - margin
    classes[top:bottom, left:right] = chip[top - row : bottom - row, left - col : right - col]


if __name__ == "__main__":
    asked = read_command_line()
    write_classes(asked, _predict(asked))
