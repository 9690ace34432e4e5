"""What a run will do, worked out before anything long begins."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pystac
import shapely
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from shapely.geometry.base import BaseGeometry

from geoseg.aoi import area_km2, read_aoi, swapped, to_degrees
from geoseg.errors import CoverageError, RecipeError
from geoseg.grid.geobox import geobox_for, project
from geoseg.grid.tiling import Block, TilePlan, blocks_of
from geoseg.imagery.composite import COMPOSITES, ORDER_BY_CLOUDS, ORDER_BY_DATE
from geoseg.imagery.local import COLLECTION, items_from_images
from geoseg.imagery.preflight import Preflight, check_inputs, with_bands
from geoseg.models.card import ModelCard
from geoseg.models.zoo import card_of
from geoseg.recipe import Recipe
from geoseg.stac.catalog import Catalog, load_catalog
from geoseg.stac.items import Selection, search, select_items

Say = Callable[[str], None]
_EVERYTHING = "../.."
_FAR_PX = 64
"""Items whose footprint is nearer than this to a block are handed to it: footprints are drawn roughly."""


@dataclass(frozen=True)
class Plan:
    """Everything that is known before the first pixel of the map is computed."""

    recipe: Recipe
    """With the dates and the output folder that were chosen."""
    assumed: tuple[str, ...]
    """One line for each choice the user did not make."""
    aoi: Geometry
    is_cut: bool
    """Whether pixels outside ``aoi`` are nodata; not when the area is simply that of the images."""
    catalog: Catalog
    card: ModelCard
    selection: Selection
    inputs: Preflight
    tiles: TilePlan
    blocks: tuple[Block, ...]
    out: Path
    timings_s: dict[str, float]

    @property
    def geobox(self) -> GeoBox:
        """THE grid."""
        return self.tiles.geobox

    @property
    def aoi_px(self) -> BaseGeometry | None:
        """The area in pixels (col, row) of the grid; None where the map is not cut."""
        if not self.is_cut:
            return None
        inverse = ~self.geobox.affine
        matrix = [inverse.a, inverse.b, inverse.d, inverse.e, inverse.c, inverse.f]
        return shapely.affinity.affine_transform(project(self.aoi, str(self.geobox.crs)).geom, matrix)


def plan_run(recipe: Recipe, *, say: Say) -> Plan:
    """Read the area, find and check the imagery, lay out grid, tiles and blocks.

    Args:
        recipe: what is asked for.
        say: told what was assumed, as soon as it is known.

    Raises:
        GeosegError: the area, catalog, imagery or model cannot be used; the message says what to do.
    """
    COMPOSITES[recipe.composite]
    card = card_of(recipe.model)
    catalog = _catalog_of(recipe)
    recipe, assumed = _with_defaults(recipe, catalog)
    for line in assumed:
        say(line)
    watch = _Watch()
    items, aoi = _find(recipe, catalog)
    items = with_bands(items, card, catalog=catalog)
    selection = select_items(items, aoi, per_place=recipe.max_items, min_coverage=recipe.min_coverage)
    watch.lap("search")
    ordered = _in_order(selection.items, found=items, recipe=recipe)
    inputs = check_inputs(
        ordered,
        card,
        aoi=aoi,
        catalog=catalog,
        gsd_m=recipe.gsd,
        crs=recipe.crs,
    )
    watch.lap("check")
    if recipe.keep_clouds:
        inputs = replace(inputs, has_clouds=False)
    geobox = geobox_for(aoi, gsd_m=inputs.gsd_m, crs=inputs.crs, anchor=inputs.anchor)
    return Plan(
        recipe=recipe,
        assumed=tuple(assumed),
        aoi=aoi,
        is_cut=recipe.aoi is not None,
        catalog=catalog,
        card=card,
        selection=selection,
        inputs=inputs,
        tiles=_tile_plan(geobox, recipe, card),
        blocks=tuple(blocks_of(geobox, recipe.block_size)),
        out=Path(str(recipe.out)),
        timings_s=watch.laps,
    )


def items_near(plan: Plan, block: Block) -> list[pystac.Item]:
    """The prepared items that may have pixels for a block, in order of preference."""
    hull = plan.tiles.hull(block.window)
    affine = plan.geobox.affine
    left, top = affine * (hull.col_off - _FAR_PX, hull.row_off - _FAR_PX)
    right, bottom = affine * (hull.col_off + hull.width + _FAR_PX, hull.row_off + hull.height + _FAR_PX)
    box = Geometry(shapely.box(left, bottom, right, top), crs=plan.geobox.crs)
    near = to_degrees(box).geom
    return [i for i in plan.inputs.items if shapely.geometry.shape(i.geometry).intersects(near)]


class _Watch:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.laps[stage] = round(now - self._last, 3)
        self._last = now


# --- what the user left open ---------------------------------------------------------------------


def _catalog_of(recipe: Recipe) -> Catalog:
    if recipe.image:
        return Catalog(name=COLLECTION, title="the images given", url="")
    return load_catalog(recipe.catalog)


def _with_defaults(recipe: Recipe, catalog: Catalog) -> tuple[Recipe, list[str]]:
    given, assumed, chosen = recipe.model_fields_set, [], {}
    if not recipe.image:
        if "catalog" not in given:
            assumed.append(f"catalog: {catalog.title} (--catalog)")
        if recipe.collection is None and catalog.default_collection:
            chosen["collection"] = catalog.default_collection
            assumed.append(f"collection: {catalog.default_collection} (--collection)")
        if recipe.datetime is None:
            chosen["datetime"], words = _dates(catalog)
            assumed.append(f"dates: {words} (--datetime)")
        config = catalog.collections.get(recipe.collection or str(chosen.get("collection")))
        if recipe.max_cloud_cover is None and config and config.max_cloud_cover is not None:
            assumed.append(f"items with at most {config.max_cloud_cover:g} % clouds (--max-cloud-cover)")
        if "max_items" not in given:
            assumed.append(f"per place the {recipe.max_items} least cloudy items (--max-items)")
    if "composite" not in given:
        assumed.append(f"composite: {recipe.composite} (--composite)")
    if "model" not in given:
        assumed.append(f"model: {recipe.model} (--model)")
    if recipe.out is None:
        chosen["out"] = str(Path("geoseg-out") / _name_of(recipe))
        assumed.append(f"output: {chosen['out']}/ (--out)")
    return recipe.model_copy(update=chosen), assumed


def _dates(catalog: Catalog) -> tuple[str, str]:
    if not catalog.url.startswith(("http://", "https://")):
        return _EVERYTHING, "all that the catalog has"
    today = datetime.now(UTC).date()
    interval = f"{today - timedelta(days=365)}/{today}"
    return interval, f"the last 12 months, {interval}"


def _name_of(recipe: Recipe) -> str:
    source = recipe.aoi or recipe.image[0]
    path = Path(source.partition("|")[0])
    return path.stem if path.exists() or recipe.aoi is None else "area"


# --- finding -------------------------------------------------------------------------------------


def _find(recipe: Recipe, catalog: Catalog) -> tuple[pystac.ItemCollection, Geometry]:
    if recipe.image:
        items = items_from_images(
            list(recipe.image), bands=recipe.bands, scale=recipe.scale, offset=recipe.offset
        )
        return items, _aoi_of(recipe, items)
    aoi = _read(recipe, str(recipe.aoi))
    try:
        return _search(recipe, catalog, aoi), aoi
    except CoverageError as error:
        other = swapped(aoi)
        if other is not None and _is_covered(recipe, catalog, other):
            hint = "With longitude and latitude swapped there would be items: check the order of coordinates."
            raise CoverageError(f"{error} {hint}") from None
        raise


def _search(recipe: Recipe, catalog: Catalog, aoi: Geometry) -> pystac.ItemCollection:
    return search(
        aoi,
        catalog=catalog,
        collection=recipe.collection,
        datetime=recipe.datetime or _EVERYTHING,
        max_cloud_cover=recipe.max_cloud_cover,
    )


def _is_covered(recipe: Recipe, catalog: Catalog, aoi: Geometry) -> bool:
    try:
        return len(_search(recipe, catalog, aoi)) > 0
    except CoverageError:
        return False


def _read(recipe: Recipe, source: str) -> Geometry:
    return read_aoi(source, crs=recipe.aoi_crs, max_area_km2=recipe.max_area_km2)


def _aoi_of(recipe: Recipe, items: pystac.ItemCollection) -> Geometry:
    """The area given, else what the first image covers in its own CRS, so that its own pixels are mapped."""
    if recipe.aoi is not None:
        return _read(recipe, recipe.aoi)
    extents = []
    for asset in (a for i in items for a in i.assets.values()):
        fields = asset.extra_fields
        shape, transform = fields["proj:shape"], fields["proj:transform"]
        affine = GeoBox(shape, _affine(transform), fields["proj:code"] or fields["proj:wkt2"])
        extents.append((abs(transform[0]), affine.extent))
    finest = min(size for size, _ in extents)
    same = [e for size, e in extents if math.isclose(size, finest, rel_tol=1e-6)]
    aoi = same[0]
    for extent in same[1:]:
        aoi = aoi | extent.to_crs(str(aoi.crs))
    if area_km2(aoi) > recipe.max_area_km2:
        raise RecipeError(
            f"The images cover {area_km2(aoi):,.0f} km², more than --max-area-km2 {recipe.max_area_km2:,.0f}. "
            "Give an --aoi, or raise the limit."
        )
    return aoi


def _affine(transform: list[float]):  # type: ignore[no-untyped-def]
    from affine import Affine

    return Affine(*transform[:6])


def _in_order(
    items: pystac.ItemCollection, *, found: pystac.ItemCollection, recipe: Recipe
) -> pystac.ItemCollection:
    """The items selected (least cloudy first), in the order in which the composite prefers them."""
    if recipe.image:
        chosen = {item.id for item in items}
        return pystac.ItemCollection([item for item in found if item.id in chosen])
    if recipe.composite == ORDER_BY_DATE and recipe.date:
        try:
            wanted = date.fromisoformat(recipe.date)
        except ValueError:
            raise RecipeError(f"--date {recipe.date} is not a date. Give it as 2024-07-01.") from None
        return pystac.ItemCollection(
            sorted(items.items, key=lambda i: _nearness(i, wanted))
        )
    if recipe.composite == ORDER_BY_CLOUDS:
        return items
    return pystac.ItemCollection(sorted(items, key=lambda i: (_day(i), i.id)))


def _nearness(item: pystac.Item, wanted: date) -> tuple[int, int, str]:
    day = _day(item)
    return abs((day - wanted).days), -day.toordinal(), item.id


def _day(item: pystac.Item) -> date:
    return (item.datetime or item.common_metadata.start_datetime or datetime(1970, 1, 1, tzinfo=UTC)).date()


def _tile_plan(geobox: GeoBox, recipe: Recipe, card: ModelCard) -> TilePlan:
    size = recipe.tile_size or card.tile_size
    halo = card.halo if recipe.halo is None else recipe.halo
    if size % card.tile_multiple:
        raise RecipeError(
            f"--tile-size {size} is not a multiple of {card.tile_multiple}, which model {card.name} needs. "
            f"Give {max(size // card.tile_multiple, 1) * card.tile_multiple}."
        )
    return TilePlan(geobox, size, halo)
