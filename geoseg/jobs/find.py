"""Which items a run reads, and in which order."""

import math
from datetime import UTC, date, datetime

import pystac
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry

from geoseg.aoi import area_km2, read_aoi, swapped, to_degrees
from geoseg.errors import CoverageError, RecipeError
from geoseg.imagery.composite import ORDER_BY_CLOUDS, ORDER_BY_DATE
from geoseg.imagery.local import items_from_images
from geoseg.recipe import Recipe
from geoseg.stac.catalog import Catalog
from geoseg.stac.coverage import footprint
from geoseg.stac.items import search

EVERYTHING = "../.."
"""The interval of all dates."""


def find_items(recipe: Recipe, catalog: Catalog) -> tuple[pystac.ItemCollection, Geometry]:
    """Items from the catalog or the images, and the area to map.

    Raises:
        AoiError, CatalogError, ImageryError: see the functions this calls.
        CoverageError: nothing is found; it says so when exchanged coordinates would find something.
    """
    if recipe.image:
        items = items_from_images(
            list(recipe.image), bands=recipe.bands, scale=recipe.scale, offset=recipe.offset
        )
        aoi = _aoi_of(recipe, items)
        if recipe.aoi is not None:
            _refuse_apart(items, aoi)
        return items, aoi
    aoi = _read(recipe, str(recipe.aoi))
    try:
        return _search(recipe, catalog, aoi), aoi
    except CoverageError as error:
        other = swapped(aoi)
        if other is not None and _is_covered(recipe, catalog, other):
            hint = "With longitude and latitude swapped there would be items: check the order of coordinates."
            raise CoverageError(f"{error} {hint}") from None
        raise


def _refuse_apart(items: pystac.ItemCollection, aoi: Geometry) -> None:
    prints = [footprint(item) for item in items]
    area = to_degrees(aoi).geom
    if not any(p.intersects(area) for p in prints):
        west, south, east, north = area.bounds
        image = ",".join(f"{v:.3f}" for v in prints[0].bounds)
        raise CoverageError(
            f"The area ({west:.3f},{south:.3f},{east:.3f},{north:.3f}) lies outside the images: "
            f"{items[0].id} covers {image}. Give an area there, or other images."
        )


def _search(recipe: Recipe, catalog: Catalog, aoi: Geometry) -> pystac.ItemCollection:
    return search(
        aoi,
        catalog=catalog,
        collection=recipe.collection,
        datetime=recipe.datetime or EVERYTHING,
        max_cloud_cover=recipe.max_cloud_cover,
    )


def _is_covered(recipe: Recipe, catalog: Catalog, aoi: Geometry) -> bool:
    try:
        return len(_search(recipe, catalog, aoi)) > 0
    except CoverageError:
        return False


def _read(recipe: Recipe, source: str) -> Geometry:
    if recipe.per_feature is not None:
        raise RecipeError(
            f"--per-feature {recipe.per_feature} asks for several maps, but this is about one area. "
            f"Name it: --aoi 'FILE|{recipe.per_feature}=VALUE'."
        )
    return read_aoi(source, crs=recipe.aoi_crs, max_area_km2=recipe.max_area_km2)


def _aoi_of(recipe: Recipe, items: pystac.ItemCollection) -> Geometry:
    """The area given, else what the first image covers in its own CRS, so that its own pixels are mapped."""
    if recipe.aoi is not None:
        return _read(recipe, recipe.aoi)
    extents = []
    for asset in (a for i in items for a in i.assets.values()):
        fields = asset.extra_fields
        shape, transform = fields["proj:shape"], fields["proj:transform"]
        geobox = GeoBox(shape, Affine(*transform[:6]), fields.get("proj:code") or fields["proj:wkt2"])
        extents.append((abs(transform[0]), geobox.extent))
    finest = min(size for size, _ in extents)
    same = [e for size, e in extents if math.isclose(size, finest, rel_tol=1e-6)]
    aoi = same[0]
    for extent in same[1:]:
        aoi = aoi | extent.to_crs(str(aoi.crs))
    if area_km2(aoi) > recipe.max_area_km2:
        raise RecipeError(
            f"The images cover {area_km2(aoi):,.0f} km², more than --max-area-km2 "
            f"{recipe.max_area_km2:,.0f}. Give an --aoi, or raise the limit."
        )
    return aoi


def in_order(
    items: pystac.ItemCollection, *, found: pystac.ItemCollection, recipe: Recipe
) -> pystac.ItemCollection:
    """The items selected (least cloudy first), in the order in which the composite prefers them.

    Args:
        items: as ``select_items`` gives them.
        found: all that were found; images keep the order in which they were given.
        recipe: says which composite.

    Raises:
        RecipeError: ``date`` is not a date.
    """
    if recipe.image:
        chosen = {item.id for item in items}
        return pystac.ItemCollection([item for item in found if item.id in chosen])
    if recipe.composite == ORDER_BY_DATE and recipe.date:
        try:
            wanted = date.fromisoformat(recipe.date)
        except ValueError:
            raise RecipeError(f"--date {recipe.date} is not a date. Give it as 2024-07-01.") from None
        nearest: list[pystac.Item] = sorted(
            items, key=lambda i: (abs(_day(i) - wanted), wanted > _day(i), i.id)
        )
        return pystac.ItemCollection(nearest)
    if recipe.composite == ORDER_BY_CLOUDS:
        return items
    earliest: list[pystac.Item] = sorted(items, key=lambda i: (_day(i), i.id))
    return pystac.ItemCollection(earliest)


def _day(item: pystac.Item) -> date:
    return (item.datetime or item.common_metadata.start_datetime or datetime(1970, 1, 1, tzinfo=UTC)).date()
