"""geoseg: from an area and a STAC catalog to a land-cover map you can trust.

The public names, in the order of the path::

    read_aoi -> geobox_for -> search -> check_inputs -> load -> composite -> predict -> write_cog / polygonize
    run(Recipe(...)) = these lines for every block of the area

Names load on first use: ``import geoseg`` imports neither torch nor GDAL.
"""

from importlib import import_module
from importlib.metadata import version
from typing import Any

__version__ = version("geoseg")

_HOME = {
    "Catalog": "geoseg.stac.catalog",
    "GeosegError": "geoseg.errors",
    "GeosegWarning": "geoseg.errors",
    "Legend": "geoseg.legend",
    "ModelCard": "geoseg.models.card",
    "Recipe": "geoseg.recipe",
    "Report": "geoseg.report.facts",
    "TilePlan": "geoseg.grid.tiling",
    "check_inputs": "geoseg.imagery.preflight",
    "composite": "geoseg.imagery.composite",
    "create_model": "geoseg.models.zoo",
    "geobox_for": "geoseg.grid.geobox",
    "items_from_images": "geoseg.imagery.local",
    "load": "geoseg.imagery.loader",
    "load_catalog": "geoseg.stac.catalog",
    "mask_clouds": "geoseg.imagery.clouds",
    "polygonize": "geoseg.polygons.trace",
    "predict": "geoseg.inference.predictor",
    "read_aoi": "geoseg.aoi",
    "run": "geoseg.jobs.run",
    "seam_score": "geoseg.inference.seams",
    "search": "geoseg.stac.items",
    "select_items": "geoseg.stac.items",
    "write_cog": "geoseg.writers.cog",
    "write_gpkg": "geoseg.writers.gpkg",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'geoseg' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
