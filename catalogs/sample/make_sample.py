"""Makes the sample catalog again: COGs and STAC JSON from two packages that may be redistributed.

    python catalogs/sample/make_sample.py                        # downloads both packages
    python catalogs/sample/make_sample.py --deb FILE --wheel FILE

Needs rasterio, numpy and pystac only. The pixels are copied unchanged; what they mean (scale, offset)
is in the items. The facts are in sources.toml, where they come from in ATTRIBUTION.md beside this file.
"""

import argparse
import hashlib
import io
import math
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pystac
import rasterio
from pystac.layout import CustomLayoutStrategy
from rasterio import Affine
from rasterio.warp import transform

HERE = Path(__file__).parent
SOURCES: dict[str, dict[str, Any]] = tomllib.loads((HERE / "sources.toml").read_text(encoding="utf-8"))
SUN_DISTANCE_AU = 1.0145  # on the assumed date of the Landsat scene
NODATA = 0  # both missions' fill value; neither clip has such a pixel
COG_OPTIONS = {"driver": "COG", "compress": "DEFLATE", "level": 9, "predictor": 2, "blocksize": 512}
COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
EXTENSIONS = [
    "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
]


@dataclass(frozen=True)
class Layer:
    """One band, ready to be written: pixels on their grid and what they mean."""

    key: str
    facts: dict[str, Any]
    """The band's entry in ``sources.toml``."""
    pixels: npt.NDArray[Any]  # (y, x)
    crs: str
    transform: Affine
    scale: float
    offset: float

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north in ``crs``."""
        height, width = self.pixels.shape
        west, north, size = self.transform.c, self.transform.f, self.transform.a
        return west, north - height * size, west + width * size, north


def main() -> None:
    """Make the sample in this folder, or in ``--out``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--deb", type=Path, help="r-cran-stars_*.deb, else apt-get download r-cran-stars")
    parser.add_argument("--wheel", type=Path, help="xarray_spatial-*.whl, else pip download xarray-spatial")
    parser.add_argument("--out", type=Path, default=HERE, help="where to write (default: this folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        extract_deb(args.deb or _apt(work), work)
        extract_wheel(args.wheel or _pip(work), work)
        make(work, work, args.out)
    print(f"{sum(p.stat().st_size for p in args.out.rglob('*.tif')) / 1e6:.2f} MB of COGs in {args.out}")


def make(landsat: Path, sentinel: Path, out: Path) -> None:
    """Write the catalog below ``out`` from the folder of ``L7_ETMs.tif`` and that of the six NetCDF files."""
    catalog = pystac.Catalog(
        "sample",
        "Two small real scenes that ship with geoseg. Sources, licences and assumptions: ATTRIBUTION.md.",
        title="geoseg sample",
    )
    for name, folder in (("landsat7-olinda", landsat), ("sentinel2-patagonia", sentinel)):
        _check(folder, SOURCES[name]["sha256"])
        layers = _landsat_layers(folder) if name == "landsat7-olinda" else _sentinel_layers(folder)
        item = _item(SOURCES[name], layers)
        collection = _collection(name, item)
        catalog.add_child(collection)
        collection.add_item(item)
        for layer in layers:
            _write_cog(out / name / item.id / f"{layer.key}.tif", layer)
    layout = CustomLayoutStrategy(item_func=lambda item, parent: f"{parent}/{item.id}/item.json")
    catalog.normalize_hrefs(str(out), strategy=layout)
    catalog.save(catalog_type=pystac.CatalogType.SELF_CONTAINED)


def extract_deb(deb: Path, folder: Path) -> None:
    """``L7_ETMs.tif`` out of the Debian package: an ar archive with ``data.tar.*`` inside."""
    data = deb.read_bytes()
    at = 8  # after the magic "!<arch>\n"; a member is a 60-byte header and a body padded to even length
    while at < len(data):
        member, size = data[at : at + 16].decode().rstrip(" /"), int(data[at + 48 : at + 58])
        if member.startswith("data.tar"):
            with tarfile.open(fileobj=io.BytesIO(data[at + 60 : at + 60 + size])) as tar:
                found = tar.extractfile(next(m for m in tar if m.name.endswith("/tif/L7_ETMs.tif")))
                (folder / "L7_ETMs.tif").write_bytes(found.read() if found else b"")
            return
        at += 60 + size + size % 2
    raise SystemExit(f"{deb} holds no data.tar: it is not a Debian package, or damaged. Download it again.")


def extract_wheel(wheel: Path, folder: Path) -> None:
    """The six NetCDF files out of the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        for name in SOURCES["sentinel2-patagonia"]["sha256"]:
            (folder / name).write_bytes(archive.read(f"xrspatial/datasets/sentinel-2/{name}"))


def _apt(work: Path) -> Path:
    subprocess.run(["apt-get", "download", "r-cran-stars"], cwd=work, check=True)
    return next(work.glob("r-cran-stars_*.deb"))


def _pip(work: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", str(work), "xarray-spatial==0.5.3"]
    subprocess.run(pip, check=True)
    return next(work.glob("xarray_spatial-*.whl"))


def _check(folder: Path, sha256: dict[str, str]) -> None:
    for name, expected in sha256.items():
        got = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        if got != expected:
            raise SystemExit(f"{name} has sha256 {got}, expected {expected}: get the package again.")


def _landsat_layers(folder: Path) -> list[Layer]:
    source = SOURCES["landsat7-olinda"]
    with rasterio.open(folder / "L7_ETMs.tif") as file:
        pixels = file.read()
    sun = source["properties"]["view:sun_elevation"]
    return [
        Layer(
            key, band, pixels[band["layer"] - 1], source["crs"], _grid(source, band), *_etm_scaling(band, sun)
        )
        for key, band in source["bands"].items()
    ]


def _sentinel_layers(folder: Path) -> list[Layer]:
    source = SOURCES["sentinel2-patagonia"]
    layers = []
    for key, band in source["bands"].items():
        with rasterio.open(folder / band["file"]) as file:
            pixels = file.read(1).astype(np.uint16)  # whole numbers that the package keeps as float64
        layers.append(Layer(key, band, pixels, source["crs"], _grid(source, band), 0.0001, 0.0))
    return layers


def _grid(source: dict[str, Any], band: dict[str, Any]) -> Affine:
    west, north = source["upper_left"]
    return Affine(band["size"], 0.0, west, 0.0, -band["size"], north)


def _etm_scaling(band: dict[str, Any], sun_elevation: float) -> tuple[float, float]:
    """Scale and offset from DN (1..255) to top-of-atmosphere reflectance (Chander et al. 2009, eq. 1, 2)."""
    gain = (band["lmax"] - band["lmin"]) / (255 - 1)
    bias = band["lmin"] - gain
    to_reflectance = math.pi * SUN_DISTANCE_AU**2 / (band["esun"] * math.sin(math.radians(sun_elevation)))
    return float(f"{gain * to_reflectance:.6g}"), float(f"{bias * to_reflectance:.6g}")


def _item(source: dict[str, Any], layers: list[Layer]) -> pystac.Item:
    """An item whose footprint is where all layers have pixels: here, the smallest of them."""
    west, south, east, north = min((layer.bounds for layer in layers), key=lambda b: b[2] - b[0])
    ring = [(west, north), (west, south), (east, south), (east, north), (west, north)]
    lon, lat = transform(source["crs"], "EPSG:4326", *zip(*ring, strict=True))
    corners = [[round(x, 6), round(y, 6)] for x, y in zip(lon, lat, strict=True)]
    low, high = (list(map(pick, zip(*corners, strict=True))) for pick in (min, max))
    item = pystac.Item(
        source["item"],
        geometry={"type": "Polygon", "coordinates": [corners]},
        bbox=low + high,
        datetime=datetime.fromisoformat(source["datetime"]),
        properties={**source["properties"], "proj:code": source["crs"], "eo:cloud_cover": 0},
        stac_extensions=EXTENSIONS + source["extensions"],
    )
    for layer in layers:
        item.add_asset(layer.key, _asset(layer))
    return item


def _asset(layer: Layer) -> pystac.Asset:
    eo = {
        "name": layer.facts["band"],
        "common_name": layer.key,
        "center_wavelength": layer.facts["centre_um"],
        "full_width_half_max": layer.facts["width_um"],
    }
    raster = {
        "data_type": str(layer.pixels.dtype),
        "nodata": NODATA,
        "scale": layer.scale,
        "offset": layer.offset,
        "spatial_resolution": layer.transform.a,
    }
    fields = {
        "gsd": layer.facts["gsd"],
        "eo:bands": [eo],
        "raster:bands": [raster],
        "proj:code": layer.crs,
        "proj:shape": list(layer.pixels.shape),
        "proj:transform": list(layer.transform)[:6],
        "proj:bbox": list(layer.bounds),
    }
    title = f"{layer.key} ({layer.facts['band']})"
    roles = ["data", "reflectance"]
    return pystac.Asset(f"./{layer.key}.tif", title, media_type=COG_TYPE, roles=roles, extra_fields=fields)


def _write_cog(path: Path, layer: Layer) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = layer.pixels.shape
    grid = {"width": width, "height": height, "count": 1, "crs": layer.crs, "transform": layer.transform}
    with rasterio.open(path, "w", dtype=layer.pixels.dtype, nodata=NODATA, **grid, **COG_OPTIONS) as cog:
        cog.write(layer.pixels, 1)
        cog.set_band_description(1, layer.key)
        cog.scales, cog.offsets = (layer.scale,), (layer.offset,)


def _collection(name: str, item: pystac.Item) -> pystac.Collection:
    source = SOURCES[name]
    interval = [datetime.fromisoformat(item.properties[f"{end}_datetime"]) for end in ("start", "end")]
    role = pystac.ProviderRole
    collection = pystac.Collection(
        name,
        source["description"],
        pystac.Extent(pystac.SpatialExtent([item.bbox or []]), pystac.TemporalExtent([interval])),
        title=item.properties["title"],
        license="other",
        providers=[
            pystac.Provider(source["producer"], roles=[role.PRODUCER, role.LICENSOR]),
            pystac.Provider(source["package"], roles=[role.PROCESSOR, role.HOST]),
        ],
    )
    collection.add_link(pystac.Link("license", "../ATTRIBUTION.md", "text/markdown", "Sources and licences"))
    return collection


if __name__ == "__main__":
    main()
