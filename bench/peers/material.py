"""What all peers are given: one image and one network."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import torch
from affine import Affine
from rasterio.windows import Window

from geoseg.bench.networks import BANDS, make_network
from geoseg.bench.scenes import BLOCK, CRS, GSD_M, SCALE, scene_pixels
from geoseg.models.zoo import save_model

ENCODER = "resnet34"
TOP = 0.6
"""Reflectance that is stored as 255. The network takes stored values over 255, as peers divide by that."""
_ORIGIN_M = (420_000.0, 5_460_000.0)


@dataclass(frozen=True)
class Material:
    """Files to predict from."""

    image: Path
    model: Path
    """Model folder of geoseg; beside its ``weights.safetensors`` lies the same as ``weights.pth``."""
    n_classes: int

    @property
    def weights(self) -> Path:
        """State dict of the U-Net."""
        return self.model / "weights.safetensors"


def make_material(folder: Path, *, size: int, n_steps: int) -> Material:
    """An image of ``size`` pixels square and a network, made in ``folder`` unless they are there.

    Args:
        folder: where they are kept.
        size: side of the image, pixels.
        n_steps: of training; see :func:`geoseg.bench.networks.make_network`.
    """
    image, model = folder / f"scene-{size}.tif", folder / f"model-{n_steps}"
    if not (model / "item.json").is_file():
        network = make_network(
            "unet", ENCODER, n_steps=n_steps, mean=(0.0,) * len(BANDS), std=(TOP,) * len(BANDS)
        )
        save_model(network, model)
        torch.save(network.module.state_dict(), model / "weights.pth")
        classes = [c.name for c in network.card.legend.classes]
        (model / "classes.json").write_text(json.dumps(classes), "utf-8")
    if not image.is_file():
        _write_image(image, size)
    return Material(image, model, len(json.loads((model / "classes.json").read_text("utf-8"))))


def _write_image(path: Path, size: int) -> None:
    """uint8, blocks of 512 pixels, DEFLATE. Bands are named and scaled for geoseg alone."""
    temporary = path.with_suffix(".tmp")
    with rasterio.open(
        temporary,
        "w",
        driver="GTiff",
        width=size,
        height=size,
        count=len(BANDS),
        dtype="uint8",
        crs=CRS,
        transform=Affine.translation(*_ORIGIN_M) @ Affine.scale(GSD_M, -GSD_M),
        tiled=True,
        blockxsize=BLOCK,
        blockysize=BLOCK,
        compress="deflate",
        predictor=2,
    ) as sink:
        sink.descriptions = BANDS
        sink.scales = (TOP / 255,) * len(BANDS)
        sink.update_tags(TIFFTAG_DATETIME="2024:07:01 10:00:00")
        for row in range(0, size, BLOCK):
            for col in range(0, size, BLOCK):
                window = Window(col, row, min(BLOCK, size - col), min(BLOCK, size - row))
                reflectance = scene_pixels(window, BANDS) * SCALE
                stored = np.clip(np.rint(reflectance * (255 / TOP)), 1, 255).astype(np.uint8)
                sink.write(stored, window=window)
    temporary.rename(path)
