"""Real pixels to compare networks on: tiles of the sample scenes that geoseg ships, as a card's bands."""

import json
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray

from geoseg.errors import ModelError
from geoseg.models.card import ModelCard
from geoseg.resources import resource_folder

_SCENES = ("landsat7-olinda/l7-etm-olinda", "sentinel2-patagonia/s2-msi-patagonia")
_NEAREST = {
    "coastal": "blue", "green05": "green", "yellow": "red", "pan": "red", "rededge": "nir",
    "rededge071": "red", "rededge075": "nir", "rededge078": "nir", "nir": "nir08", "nir08": "nir",
    "nir09": "nir", "cirrus": "blue", "swir16": "swir22", "swir22": "swir16",
}  # fmt: skip
"""The band of the scenes that looks most like one which they lack."""


def sample_tiles(card: ModelCard, size: int) -> list[NDArray[np.float32]]:
    """(band, size, size) float32 reflectance, NaN = nodata: one tile of each scene, mirrored if too small.

    A band that a scene lacks is the one nearest to it, or else, such as a radar's, the first one: the tile
    then has the shapes of land if not its values.

    Raises:
        ModelError: the scenes are not where they were installed.
    """
    folder = resource_folder("catalogs") / "sample"
    try:
        return [_tile(folder / scene, card, size) for scene in _SCENES]
    except (OSError, rasterio.errors.RasterioError) as error:
        raise ModelError(
            f"The sample scenes in {folder} cannot be read: {error}. Install geoseg again."
        ) from None


def _tile(folder: Path, card: ModelCard, size: int) -> NDArray[np.float32]:
    assets = json.loads((folder / "item.json").read_text("utf-8"))["assets"]
    layers = [_layer(folder, assets[_asset_for(band, assets)]) for band in card.bands]
    pixels = np.stack(layers)
    for axis, length in ((1, pixels.shape[1]), (2, pixels.shape[2])):
        mirrored = np.arange(size) % (2 * length)
        pixels = pixels.take(np.minimum(mirrored, 2 * length - 1 - mirrored), axis)
    return np.ascontiguousarray(pixels)


def _asset_for(band: str, assets: dict[str, object]) -> str:
    for name in (band, _NEAREST.get(band, ""), _NEAREST.get(_NEAREST.get(band, ""), "")):
        if name in assets:
            return name
    return next(iter(assets))


def _layer(folder: Path, asset: dict[str, object]) -> NDArray[np.float32]:
    stored = asset["raster:bands"][0]  # type: ignore[index]
    with rasterio.open(folder / str(asset["href"])) as source:
        numbers = source.read(1)
    scale, offset = np.float32(stored["scale"]), np.float32(stored["offset"])
    reflectance: NDArray[np.float32] = numbers.astype(np.float32) * scale + offset
    reflectance[numbers == stored["nodata"]] = np.nan
    return reflectance
