"""``geoseg doctor``: is everything here that a run needs?"""

import platform
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

_PACKAGES = (
    "geoseg",
    "torch",
    "rasterio",
    "odc-stac",
    "dask",
    "geopandas",
    "pystac-client",
    "segmentation-models-pytorch",
)
_RASTER_DRIVERS = ("COG", "GTiff", "VRT", "JP2OpenJPEG", "netCDF")
_VECTOR_DRIVERS = ("GPKG", "GeoJSON", "ESRI Shapefile", "KML", "LIBKML")
_TIMEOUT_S = 5


def doctor(json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Say which versions, GDAL drivers and devices there are, and which catalogs answer."""
    import json as json_

    from rich.console import Console
    from rich.table import Table

    facts = {
        "versions": {"python": platform.python_version(), **{p: _version(p) for p in _PACKAGES}},
        "GDAL": _gdal(),
        "devices": _devices(),
        "catalogs": _catalogs(),
    }
    if json:
        typer.echo(json_.dumps(facts, indent=2))
        return
    table = Table(show_header=False, box=None)
    for group, values in facts.items():
        table.add_row(f"[bold]{group}[/bold]", "")
        for name, value in values.items():
            table.add_row(f"  {name}", value)
    Console().print(table)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _gdal() -> dict[str, str]:
    import pyogrio
    import rasterio
    from rasterio.drivers import raster_driver_extensions
    from rasterio.env import GDALVersion

    with rasterio.Env() as env:
        raster = env.drivers()
    vector = pyogrio.list_drivers(write=False)
    has = {d: d in raster or d in raster_driver_extensions().values() for d in _RASTER_DRIVERS}
    has |= {d: d in vector for d in _VECTOR_DRIVERS}
    words = {d: "yes" if found else "missing" for d, found in has.items()}
    return {
        "rasterio's": str(GDALVersion.runtime()),
        "pyogrio's": ".".join(map(str, pyogrio.__gdal_version__)),
        **words,
    }


def _devices() -> dict[str, str]:
    import torch

    found = {"cpu": f"{torch.get_num_threads()} threads"}
    for i in range(torch.cuda.device_count()):
        found[f"cuda:{i}"] = torch.cuda.get_device_name(i)
    return found


def _catalogs() -> dict[str, str]:
    from geoseg.stac.catalog import list_catalogs

    catalogs = list_catalogs()
    with ThreadPoolExecutor(len(catalogs)) as pool:
        return dict(
            zip([c.name for c in catalogs], pool.map(_answers, [c.url for c in catalogs]), strict=True)
        )


def _answers(url: str) -> str:
    from pathlib import Path

    import requests

    if not url.startswith("http"):
        return "here" if Path(url).exists() else f"missing: {url}"
    try:
        status = requests.get(url, timeout=_TIMEOUT_S).status_code
    except requests.RequestException as error:
        return f"not reachable ({type(error).__name__})"
    return "answers" if status < 400 else f"answers with status {status}"
