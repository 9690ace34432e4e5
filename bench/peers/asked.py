"""What run.py asks of each peer's script, on its command line, and the network that all of them run."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import load_file


@dataclass(frozen=True)
class Asked:
    """One map."""

    image: Path
    """GeoTIFF of uint8, all of whose bands the network takes, divided by 255."""
    weights: Path
    """State dict of a U-Net of segmentation-models-pytorch; the same as ``.pth`` lies beside it."""
    encoder: str
    n_bands: int
    n_classes: int
    out: Path
    """The class map to write."""
    tile: int
    stride: int
    batch_size: int

    @property
    def overlap(self) -> int:
        """Pixels that neighbouring tiles share."""
        return self.tile - self.stride


def read_command_line() -> Asked:
    """The options; torch is given its threads on the way."""
    parser = argparse.ArgumentParser()
    for name in ("image", "weights", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--encoder", required=True)
    for name in ("n-bands", "n-classes", "tile", "stride", "batch-size", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    values = vars(parser.parse_args())
    torch.set_num_threads(values.pop("threads"))
    return Asked(**values)


def load_network(asked: Asked) -> torch.nn.Module:
    """The network with its weights, ready to predict."""
    network = smp.Unet(
        asked.encoder, encoder_weights=None, in_channels=asked.n_bands, classes=asked.n_classes
    )
    network.load_state_dict(load_file(asked.weights))
    return network.eval().requires_grad_(False)


def write_classes(asked: Asked, classes: np.ndarray) -> None:
    """(y, x) uint8 as a GeoTIFF on the image's grid, for peers that leave this to their users."""
    with rasterio.open(asked.image) as source:
        profile = source.profile | {"count": 1, "dtype": "uint8", "nodata": None}
    with rasterio.open(asked.out, "w", **profile) as sink:
        sink.write(classes, 1)
