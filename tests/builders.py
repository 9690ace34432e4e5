"""Small real things that tests are made of: images on disk, models with weights, recipes."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import torch
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from rasterio.features import rasterize

from geoseg.jobs.listener import Silence
from geoseg.legend import Legend
from geoseg.models.calibration import Calibration, ModelCalibration
from geoseg.models.card import ModelCard
from geoseg.models.conformal import Conformal
from geoseg.models.zoo import FAMILIES, Model, prepare_model, save_model

BANDS = ("green", "red", "nir", "swir16")


def geobox_at(col: int = 0, row: int = 0, *, height: int = 100, width: int = 100, gsd: float = 10) -> GeoBox:
    """A grid in EPSG:32725 whose first pixel is (row, col) pixels from a fixed corner."""
    return GeoBox(
        (height, width), Affine(gsd, 0, 290_000 + col * gsd, 0, -gsd, 9_110_000 - row * gsd), "EPSG:32725"
    )


def as_image(pixels: np.ndarray, geobox: GeoBox, bands: tuple[str, ...] = BANDS) -> xr.DataArray:
    """(band, y, x) with georeferencing."""
    return xr.DataArray(
        pixels.astype(np.float32),
        dims=("band", "y", "x"),
        coords={**xr_coords(geobox), "band": list(bands)},
    )


def smooth(seed: int, shape: tuple[int, int], *, n: int = 4) -> np.ndarray:
    """(n, y, x) float32 fields of about 0..0.6 with patches of some 20 pixels, like land."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((n, shape[0] // 16 + 3, shape[1] // 16 + 3))
    fine = coarse.repeat(16, 1).repeat(16, 2)
    for axis in (1, 2):
        fine = (fine + np.roll(fine, 5, axis) + np.roll(fine, 9, axis)) / 3
    noise = rng.random((n, *shape)) * 0.1
    return (fine[:, 16 : 16 + shape[0], 16 : 16 + shape[1]] * 0.6 + noise).astype(np.float32)


class Said(Silence):
    """A listener that keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def write_image(
    path: Path,
    reflectance: np.ndarray,
    geobox: GeoBox,
    *,
    bands: tuple[str, ...] = BANDS,
    nodata: int = 0,
) -> Path:
    """A uint16 GeoTIFF of reflectance x 10000 with named bands; NaN is ``nodata``."""
    dn = np.where(np.isfinite(reflectance), np.rint(reflectance * 10_000).clip(1, 60_000), nodata)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=len(bands),
        dtype="uint16",
        height=geobox.shape.y,
        width=geobox.shape.x,
        crs=str(geobox.crs),
        transform=geobox.affine,
        nodata=nodata,
    ) as target:
        target.write(dn.astype(np.uint16))
        target.descriptions = bands
    return path


def network(
    family: str = "unet",
    *,
    size: int = 64,
    halo: int = 16,
    seed: int = 0,
    bands: tuple[str, ...] = BANDS,
    **hyperparameters: str | int | float | bool,
) -> Model:
    """A small untrained network with fixed random weights that uses its whole tile."""
    small = {"width": 8, "depth": 3} if family == "small-unet" else {"encoder_name": "resnet18"}
    card = ModelCard(
        name=f"tiny-{family}",
        title="A test",
        family=family,
        hyperparameters=small | hyperparameters,
        bands=bands,
        mean=(0.1, 0.1, 0.3, 0.2, 0.2, 0.1)[: len(bands)],
        std=(0.1, 0.1, 0.2, 0.1, 0.1, 0.1)[: len(bands)],
        gsd_m=10,
        gsd_range_m=(1, 100),
        tile_size=size,
        tile_multiple=32,
        halo=halo,
        legend=Legend.of(first="1F78B4", second="33A02C", third="D7191C"),
        license="Apache-2.0",
    )
    torch.manual_seed(seed)
    module = FAMILIES[family](card)
    if family == "small-unet":
        getattr(module, "network", module).head.weight.data *= 15  # untrained it says next to nothing
    # One pass in training mode gives batch norm the statistics of real input, else all outputs are alike.
    module.train()
    with torch.no_grad():
        for _ in range(20):
            module(torch.randn(4, len(bands), size, size))
    return prepare_model(module, card)


def model_folder(path: Path, **options: object) -> Path:
    """A model folder with the weights of :func:`network`."""
    save_model(network(**options), path)  # type: ignore[arg-type]
    return path


def measured(
    sha256: str | None, n_classes: int = 3, *, temperature: float = 2.0, tta: str = "none"
) -> ModelCalibration:
    """A calibration of weights, as if it had been measured."""
    return ModelCalibration(
        weights_sha256=sha256,
        measured_on="a test",
        tta=tta,
        scaling=Calibration(
            method="temperature",
            scale=(1 / temperature,) * n_classes,
            bias=(0.0,) * n_classes,
            n=10,
            places=("a",),
            nll_before=1.0,
            nll_after=0.9,
            ece_before=0.2,
            ece_after=0.1,
        ),
        conformal=Conformal(
            alpha=0.1,
            kind="lac",
            by_class=False,
            thresholds=(0.7,) * n_classes,
            n=10,
            class_n=(4,) * n_classes,
            places=("b",),
        ),
        coverage=None,
        ece_before=None,
        ece_after=None,
    )


def polygons_of(out: Path) -> gpd.GeoDataFrame:
    """The polygons of the map in ``out``, seen to be valid and, burned back, its raster pixel for pixel."""
    polygons = gpd.read_file(out / "classes.gpkg", layer="classes")
    with rasterio.open(out / "class.tif") as source:
        burned = rasterize(
            zip(polygons.geometry, polygons.class_id, strict=True),
            out_shape=source.shape,
            transform=source.transform,
            fill=255,
            dtype="uint8",
        )
        assert (burned == source.read(1)).all()
    assert polygons.is_valid.all()
    return polygons
