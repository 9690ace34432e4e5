"""The U-Nets of the PyPI package ukis-csmask as geoseg models, against that package's own code.

It downloads the package (145 MB) into the folder that ``GEOSEG_CSMASK`` names, or into a temporary one.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from builders import as_image, geobox_at

from geoseg.inference.predictor import predict
from geoseg.models.import_card import ImportCard
from geoseg.models.importing import import_model
from geoseg.models.zoo import create_model, normalise, save_model

pytestmark = pytest.mark.lane
SCENES = Path(__file__).parents[3] / "shared/data/imagery"
ORDER = ("red", "green", "blue", "nir")
THEIRS = """
import sys, warnings
import numpy as np
warnings.simplefilter("ignore")
from ukis_csmask.mask import CSmask
image, order, out = np.load(sys.argv[1]), sys.argv[2].split(","), sys.argv[3]
mask = CSmask(np.moveaxis(image, 0, -1).copy(), order, product_level="l2a")
tile = np.moveaxis(mask.img[:256, :256], -1, 0)[None]
np.savez(out, csm=mask.csm[..., 0], logits=mask.session.run(None, {mask.input_names: tile})[0])
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = Path(os.environ.get("GEOSEG_CSMASK") or tmp_path_factory.mktemp("csmask"))
    if not (folder / "ukis_csmask").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
        found = subprocess.run([*pip, "ukis-csmask==1.0.0"], capture_output=True, text=True, check=False)
        if found.returncode:
            pytest.skip(f"pip cannot fetch ukis-csmask: {found.stderr.strip().splitlines()[-1]}")
    return folder / "ukis_csmask"


def scene(name, bands):
    path = SCENES / name
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    with rasterio.open(path) as source:
        return source.read(bands).astype(np.float32) / 10_000


def clouded(image):
    """With a white cloud and its shadow, as the real scene has none."""
    rows, cols = np.mgrid[: image.shape[1], : image.shape[2]]

    def blob(row, col, radius):
        return np.clip(1.5 - np.hypot(rows - row, cols - col) / radius, 0, 1)

    height, width = image.shape[1:]
    shaded = image * (1 - 0.8 * blob(height * 0.6, width * 0.55, 35))
    cloud = blob(height * 0.35, width * 0.4, 40)
    return (shaded * (1 - cloud) + 0.8 * cloud).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "name", "layers", "order"),
    [
        ("4b", "ftw_s2_austria/inference-img.tif", [1, 2, 3, 4], ORDER),
        ("6b", "rstoolbox_sen2/rstoolbox_sen2_12band.tif", [2, 3, 4, 8, 11, 12],
         ("blue", "green", "red", "nir", "swir16", "swir22")),
    ],
)  # fmt: skip
def test_a_map_is_as_the_package_makes_it(package, kind, name, layers, order, tmp_path):
    image = scene(name, layers) - (0.1 if kind == "6b" else 0)
    if min(image.shape[1:]) < 256:  # the package wants whole tiles
        image = np.pad(image, ((0, 0), (0, 256 - image.shape[1]), (0, 256 - image.shape[2])), "symmetric")
    image = clouded(image)
    told = json.loads((package / f"model_{kind}_l2a.json").read_text())["data"]["dataset_statistics"]
    bands = tuple(told["band_names"])
    given = ImportCard(
        bands=bands, classes=("clear", "cloud", "shadow"), mean=told["img"][0], std=told["img"][1], gsd_m=10, halo=48,
        license="Apache-2.0",
    )  # fmt: skip
    save_model(import_model(package / f"model_{kind}_l2a.onnx", given, name="csmask"), tmp_path / "model")
    model = create_model(str(tmp_path / "model"))
    assert (model.card.tile_size, model.card.tile_multiple) == (256, 256)

    np.save(tmp_path / "image.npy", image)
    arguments = [str(tmp_path / "image.npy"), ",".join(order), str(tmp_path / "theirs.npz")]
    environment = {**os.environ, "PYTHONPATH": str(package.parent)}
    subprocess.run([sys.executable, "-c", THEIRS, *arguments], check=True, env=environment)
    theirs = np.load(tmp_path / "theirs.npz")

    ours = image[[order.index(band) for band in bands]]
    tile = normalise(torch.from_numpy(ours[None, :, :256, :256]), model.card)
    logits = model.module(tile).numpy()
    assert np.allclose(logits, theirs["logits"], atol=1e-3)
    assert (logits.argmax(1) == theirs["logits"].argmax(1)).mean() > 0.9999
    found = predict(
        as_image(ours, geobox_at(height=image.shape[1], width=image.shape[2]), bands), model=model
    ).class_id.to_numpy()
    assert len(np.unique(theirs["csm"])) > 1
    agreement = (found == theirs["csm"]).mean()
    print(f"{kind}: {agreement:.3%} of classes are the package's")
    assert agreement > 0.9, "tiles lie elsewhere, and a cloud that is cut off is another one to it"
