"""Fixtures of the lanes: a web site with imagery, good and bad."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from lanes.nginx import Nginx, nginx

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "catalogs" / "sample"
BIG = "big.tif"
BIG_BANDS = "green,red,nir,swir16"
ITEM = "landsat7-olinda/l7-etm-olinda/item.json"
_SIDE, _COARSE = 2048, 32


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """nginx over the sample catalog (``sample/``) and a made COG (:data:`BIG`)."""
    folder = tmp_path_factory.mktemp("site")
    root = folder / "www"
    shutil.copytree(SAMPLE, root / "sample")
    make_big(root / BIG)
    with nginx(root, folder) as server:
        yield server


def make_big(path: Path, side: int = _SIDE) -> None:
    """A COG of 2048 x 2048 pixels, four bands, smooth with noise: it takes many reads."""
    rng = np.random.default_rng(2024)
    knots = rng.uniform(200, 5000, (4, _COARSE, _COARSE))
    at = np.linspace(0, _COARSE - 1.001, side)
    low, part = at.astype(int), at % 1
    rows = knots[:, low] * (1 - part)[:, None] + knots[:, low + 1] * part[:, None]
    smooth = rows[:, :, low] * (1 - part) + rows[:, :, low + 1] * part
    pixels = (smooth + rng.normal(0, 60, smooth.shape)).clip(1, 10_000).astype(np.uint16)
    with rasterio.open(
        path,
        "w",
        driver="COG",
        count=4,
        dtype="uint16",
        height=side,
        width=side,
        crs="EPSG:32725",
        transform=from_origin(400_000, 9_000_000, 10, 10),
        compress="deflate",
        blocksize=256,
    ) as cog:
        cog.write(pixels)


RULES = ("--model", "spectral-rules")


def asked(base: str, what: str, folder: Path) -> list[str]:
    """Arguments that read the sample's item, or the made COG, from ``base``."""
    if what == "image":
        return ["--image", base + BIG, "--bands", BIG_BANDS, *RULES]
    item = json.loads((SAMPLE / ITEM).read_text())
    item["links"] = []
    for asset in item["assets"].values():
        asset["href"] = f"{base}sample/{Path(ITEM).parent}/{asset['href'].removeprefix('./')}"
    path = folder / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
    return ["--aoi", str(SAMPLE / "area.geojson"), "--catalog", str(path), *RULES]
