"""Wall-to-wall products as references: found by STAC where their makers have them, read on the map's grid."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pystac
import rasterio
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from geoseg.aoi import to_degrees
from geoseg.errors import EvaluationError
from geoseg.evaluation.confusion import IGNORED
from geoseg.evaluation.maps import Compared, Crosswalk
from geoseg.evaluation.reading import by_cells
from geoseg.evaluation.references import Meanings, Reference, on_grid, stored_in
from geoseg.evaluation.wall_to_wall import PRODUCTS, Product, StacSource, crosswalk_of
from geoseg.grid.geobox import window_geobox
from geoseg.imagery.reading import gdal_env, read_patiently
from geoseg.stac.catalog import Catalog, load_catalog
from geoseg.stac.coverage import footprint
from geoseg.stac.items import search
from geoseg.stac.signing import read_environment, signer

_ALL_YEARS = "../.."
_NEAR_DEG = 1e-3
"""Footprints and windows are compared with this much to spare: their edges bend between CRSs."""


def is_product(path: Path) -> bool:
    """Whether a reference is no file but the name of a product, such as ``worldcover`` or ``nlcd:2019``."""
    return not path.exists() and product_of(str(path).partition(":")[0]) is not None


def product_reference(
    name: str, *, grid: GeoBox, classes: Compared, crosswalk: Crosswalk, catalog: str | None = None
) -> Reference:
    """A product on the grid of a map.

    Pixels are taken as from a raster; of several items, from the first one by id that has a class there.

    Args:
        name: of a product, or ``name:year``; without a year the newest that there is.
        grid: of the map.
        classes: that are compared.
        crosswalk: from the product's values or names to them. Where it says nothing, the product's own names
            must be the map's, or the map's classes those of Dynamic World.
        catalog: see :func:`geoseg.stac.catalog.load_catalog`; None for where its makers have it.

    Raises:
        EvaluationError: no catalog has it, or its classes are not the map's.
        CatalogError: the catalog does not answer, or is none.
        CoverageError: it has nothing there.
    """
    key, _, year = name.partition(":")
    product = product_of(key)
    if product is None:
        raise EvaluationError(f"No product {key!r}. There are: {', '.join(PRODUCTS)}.")
    source = _source_of(product, catalog)
    if year and not (year.isdigit() and len(year) == 4):
        raise EvaluationError(f"{year!r} is no year. Give a product and a year as {key}:2021.")
    opened = load_catalog(source.api)
    found = search(
        grid.extent, catalog=opened, collection=source.collection or None, datetime=year or _ALL_YEARS
    )
    newest = max(map(_year_of, found))
    items = sorted((item for item in found if _year_of(item) == newest), key=lambda item: item.id)
    filled, how = crosswalk_of(product, classes, crosswalk)
    means = Meanings("uint8", {c.value: c.name for c in product.legend.classes}, classes, filled)
    means.leave_out(*product.nodata)
    mosaic = _Mosaic(items, source.asset, grid=grid, catalog=opened, means=means, nodata=product.nodata[0])
    notes = [
        f"{product.title} {newest}: {len(items)} items of {opened.title} ({product.license}), by the nearest "
        "pixel or, where those are finer, by majority. It has errors of its own.",
        *how,
    ]
    return Reference(by_cells(mosaic.read, grid.shape), tuple(notes))


class _Mosaic:
    """The items of a product on the grid of a map."""

    def __init__(
        self,
        items: Sequence[pystac.Item],
        asset: str,
        *,
        grid: GeoBox,
        catalog: Catalog,
        means: Meanings,
        nodata: int,
    ) -> None:
        self._parts: list[tuple[BaseGeometry, str]] = [
            (footprint(item).buffer(_NEAR_DEG), _address_of(item, asset)) for item in items
        ]
        self._grid, self._catalog, self._means, self._nodata = grid, catalog, means, nodata
        self._sign = signer(catalog.signing)

    def read(self, window: Window) -> NDArray[np.int32]:
        """Class indices of a window; ``IGNORED`` where no item has a class."""
        found = np.full((window.height, window.width), IGNORED, np.int32)
        area = to_degrees(window_geobox(self._grid, window).extent).geom
        with gdal_env(read_environment(self._catalog)):
            for ground, address in self._parts:
                if shapely.intersects(ground, area) and (found == IGNORED).any():
                    here = read_patiently(address, lambda a: self._read_one(a, window), sign=self._sign)
                    found = np.where(found == IGNORED, here, found)
        return found

    def _read_one(self, address: str, window: Window) -> NDArray[np.int32]:
        with rasterio.open(address) as source:
            _refuse_no_classes(source.dtypes[0], address)
            with on_grid(source, self._grid, nodata=self._nodata) as (values, _):
                return self._means.of(*stored_in(values, window))


def _refuse_no_classes(dtype: str, address: str) -> None:
    if dtype != "uint8":
        raise EvaluationError(f"{address} holds {dtype}, expected classes as uint8. Give another catalog.")


def product_of(name: str) -> Product | None:
    """By its name, or that without its maker."""
    return next((p for p in PRODUCTS.values() if name in (p.name, p.name.split("-", 1)[-1])), None)


def _source_of(product: Product, catalog: str | None) -> StacSource:
    if catalog is None:
        if not product.stac:
            raise EvaluationError(
                f"No public STAC catalog has {product.title}. Give a file of it as --reference, or "
                f"--reference-catalog. Files: {product.files}"
            )
        return product.stac[0]
    known = next((source for source in product.stac if source.api == catalog), None)
    return known or StacSource(catalog, "", product.stac[0].asset if product.stac else "")


def _address_of(item: pystac.Item, asset: str) -> str:
    """Of the asset with the classes: by its key, else the only one with the role ``data``."""
    if asset in item.assets:
        return item.assets[asset].href
    data = [a for a in item.assets.values() if "data" in (a.roles or ())]
    if len(data) != 1:
        raise EvaluationError(
            f"Item {item.id} has the assets {', '.join(item.assets)}: expected {asset!r}, or one with the "
            "role data. Give another --reference-catalog."
        )
    return data[0].href


def _year_of(item: pystac.Item) -> int:
    when = item.common_metadata.start_datetime or item.datetime
    return 0 if when is None else when.year
