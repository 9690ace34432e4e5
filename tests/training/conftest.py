"""Labelled images that can be learned: the class of a pixel is its brightest band."""

import csv

import numpy as np
import pytest
import rasterio
import torch
from builders import BANDS, geobox_at, smooth, write_image

SIDE = 64


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Tiny tensors, here and in other processes; and the same bits in both."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    torch.set_num_threads(before)


def write_chips(folder, name, images, rows):
    """Images with labels on disk, and ``chips.toml`` that describes them; label 9 is ignored.

    ``images`` are pairs of (band, y, x) reflectance and (y, x) labels; ``rows`` say n, place and split.
    """
    for n, (pixels, labels) in enumerate(images):
        height, width = labels.shape
        write_image(folder / f"{n}.tif", pixels, geobox_at(height=height, width=width))
        profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "height": height, "width": width}
        with rasterio.open(folder / f"{n}-labels.tif", "w", **profile) as sink:
            sink.write(labels.astype(np.uint8), 1)
    with (folder / "index.csv").open("w", newline="") as sink:
        table = csv.DictWriter(sink, ["n", "place", "split"])
        table.writeheader()
        table.writerows(rows)
    classes = "".join(
        f'[[classes]]\nname = "{band}"\ncolor_hint = "1F78B{n}"\nvalues = [{n}]\n'
        for n, band in enumerate(BANDS)
    )
    (folder / "chips.toml").write_text(
        f"""name = "{name}"
bands = {list(BANDS)}
gsd_m = 10
scale = 0.0001
nodata = 0
index = "index.csv"
images = "{{n}}.tif"
labels = "{{n}}-labels.tif"
place = "place"
split = "split"
splits = ["val", "train"]
{classes}[[ignore]]
values = [9]
"""
    )
    return folder


@pytest.fixture(scope="session")
def chips(tmp_path_factory):
    """16 images of 8 places to learn from, 4 of 4 others to validate on; a corner without labels, one without pixels."""
    images, rows = [], []
    for n in range(20):
        pixels = smooth(n, (SIDE, SIDE))
        labels = pixels.argmax(0)
        labels[:6, :6] = 9
        pixels[:, -4:, -4:] = np.nan
        images.append((pixels, labels))
        rows.append({"n": n, "place": n // 2 if n < 16 else n, "split": "train" if n < 16 else "val"})
    return write_chips(tmp_path_factory.mktemp("chips"), "brightest", images, rows)


def recipe_text(
    chips, *, name="brightest", fit="", extra="", family="small-unet", options="width = 8, depth = 3"
):
    return f"""name = "{name}"
title = "The brightest band"
license = "Apache-2.0"
{extra}
[data]
benchmark = "{chips / "chips.toml"}"
root = "{chips}"
[network]
family = "{family}"
hyperparameters = {{ {options} }}
tile_size = 64
tile_multiple = 32
halo = 8
[augment]
gain = 0.0
band_gain = 0.0
noise = 0.0
scale = [1.0, 1.0]
[fit]
precision = "32-true"
{fit}
"""
