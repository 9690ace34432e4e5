"""What a run will do, worked out before anything long begins."""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pystac
import shapely
import shapely.affinity
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from shapely.geometry.base import BaseGeometry

from geoseg.errors import GeosegWarning, RecipeError
from geoseg.grid.geobox import crs_title, geobox_for, project
from geoseg.grid.ground import is_true, plane_to_ground
from geoseg.grid.tiling import Block, TilePlan, blocks_of
from geoseg.imagery.composite import COMPOSITES
from geoseg.imagery.gaps import Gaps
from geoseg.imagery.local import COLLECTION
from geoseg.imagery.preflight import Preflight, check_inputs, with_bands
from geoseg.inference.backends import AUTO, BACKENDS
from geoseg.inference.device import device_of
from geoseg.inference.runner import Inference
from geoseg.inference.tta import views_of
from geoseg.inference.uncertainty import check_uncertainty
from geoseg.jobs.clusters import Cluster, maker_of
from geoseg.jobs.defaults import with_defaults
from geoseg.jobs.find import find_items, in_order
from geoseg.jobs.folders import NAMELESS, name_of, place_of
from geoseg.models.calibration import ModelCalibration
from geoseg.models.card import ModelCard
from geoseg.models.zoo import calibration_of, card_of, create_model, model_names
from geoseg.object_storage import is_address
from geoseg.recipe import Recipe
from geoseg.stac.catalog import Catalog, load_catalog
from geoseg.stac.items import Selection, select_items

Say = Callable[[str], None]
AREA_PRECISION_PX = 2.0**-8
"""Of the corners of an area, a part of a pixel that floating point numbers hold exactly."""
STORED_PARTS = ".parts"
"""Below the address of a map, until it is whole."""
CardFor = Callable[[pystac.ItemCollection, Catalog], ModelCard]


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
    calibration: ModelCalibration | None
    """What the model's probabilities are worth; None where that was not measured."""
    how: Inference
    selection: Selection
    inputs: Preflight
    tiles: TilePlan
    blocks: tuple[Block, ...]
    out: Path
    """Output folder; of one that is an address, where the map is made on this machine."""
    before: Path
    """Where the map is that lies in the output folder; of one at an address, a copy of what is needed."""
    timings_s: dict[str, float]
    cluster: Cluster | None = None
    """Where blocks run; None in this process."""

    @property
    def geobox(self) -> GeoBox:
        """THE grid."""
        return self.tiles.geobox

    @property
    def address(self) -> str | None:
        """Of the output folder, if it is in an object store."""
        return self.recipe.out if self.recipe.out and is_address(self.recipe.out) else None

    @property
    def store(self) -> str | None:
        """Address that workers leave parts at; None for a folder that they share."""
        return self.recipe.store or (self.address and f"{self.address}/{STORED_PARTS}")

    @property
    def name(self) -> str:
        """What the map is called: as the file of the area or the image, else as the output folder."""
        name = name_of(self.recipe)
        return self.out.name if name == NAMELESS else name

    @property
    def attribution(self) -> str:
        """Whose data the map is made from: as the items say, else their catalog."""
        said = [item.properties.get("geoseg:attribution") for item in self.selection.items]
        return "; ".join(dict.fromkeys(filter(None, said))) or self.catalog.attribution

    @property
    def scaling(self) -> list[str]:
        """How numbers become reflectance, a line for each way."""
        ways: dict[str, list[str]] = {}
        for item_id, reason in self.inputs.calibrations.items():
            ways.setdefault(reason, []).append(item_id)
        return [
            f"{ids[0]}{f' and {len(ids) - 1} more' if len(ids) > 1 else ''}: {reason}"
            for reason, ids in ways.items()
        ]

    @property
    def aoi_px(self) -> BaseGeometry | None:
        """The area in pixels (col, row) of the grid; None where the map is not cut.

        Corners are multiples of 1/256 pixel, so that arithmetic with them is exact wherever a window begins.
        """
        if not self.is_cut:
            return None
        inverse = ~self.geobox.affine
        matrix = [inverse.a, inverse.b, inverse.d, inverse.e, inverse.c, inverse.f]
        area = shapely.affinity.affine_transform(project(self.aoi, str(self.geobox.crs)).geom, matrix)
        return shapely.set_precision(area, AREA_PRECISION_PX)


def plan_run(recipe: Recipe, *, say: Say, card_for: CardFor | None = None) -> Plan:
    """Read the area, find and check the imagery, lay out grid, tiles and blocks.

    Args:
        recipe: what is asked for.
        say: told what was assumed, as soon as it is known.
        card_for: where no model is run: what the imagery must fit, by the items found.

    Raises:
        GeosegError: the area, catalog, imagery or model cannot be used; the message says what to do.
    """
    COMPOSITES[recipe.composite]
    if card_for is None:
        _check_model(recipe)
    if recipe.cluster is not None:
        maker_of(recipe)
    catalog = catalog_of(recipe)
    recipe, assumed = with_defaults(recipe, catalog)
    for line in assumed:
        say(line)
    watch = _Watch()
    items, aoi = find_items(recipe, catalog)
    card = card_of(recipe.model) if card_for is None else card_for(items, catalog)
    built_in = [card_of(name) for name in model_names()]
    items = with_bands(items, card, catalog=catalog, others=built_in)
    selection = select_items(items, aoi, per_place=recipe.max_items, min_coverage=recipe.min_coverage)
    for item in selection.items:
        if caution := item.properties.get("geoseg:caution"):
            warnings.warn(f"{item.id}: {caution}.", GeosegWarning, stacklevel=2)
    watch.lap("search")
    ordered = in_order(selection.items, found=items, recipe=recipe)
    inputs = check_inputs(
        ordered,
        card,
        aoi=aoi,
        catalog=catalog,
        gsd_m=recipe.gsd,
        crs=recipe.crs,
        gaps=(gaps := Gaps() if recipe.on_missing == "skip" else None),
    )
    for _, reason in gaps.reasons if gaps else ():
        warnings.warn(f"Its values could not be looked at: {reason}", GeosegWarning, stacklevel=2)
    watch.lap("check")
    if recipe.keep_clouds:
        inputs = replace(inputs, has_clouds=False)
    geobox = geobox_for(aoi, gsd_m=inputs.gsd_m, crs=inputs.crs, anchor=inputs.anchor)
    if not is_true(ratio := plane_to_ground(geobox)):
        warnings.warn(
            f"Areas measured in {crs_title(inputs.crs)} are up to {ratio:.3g} times those on the ground. "
            "For true hectares give --crs equal-area.",
            GeosegWarning,
            stacklevel=2,
        )
    return Plan(
        recipe=recipe,
        assumed=tuple(assumed),
        aoi=aoi,
        is_cut=recipe.aoi is not None,
        catalog=catalog,
        card=card,
        calibration=calibration_of(recipe.model) if card_for is None else None,
        how=_how(recipe),
        selection=selection,
        inputs=inputs,
        tiles=_tile_plan(geobox, recipe, card),
        blocks=tuple(blocks_of(geobox, recipe.block_size)),
        out=(out := place_of(str(recipe.out))),
        before=out,
        timings_s=watch.laps,
    )


def _check_model(recipe: Recipe) -> None:
    """It can do what is asked, and its calibration was measured in this way; else a warning."""
    card, calibration = card_of(recipe.model), calibration_of(recipe.model)
    if recipe.backend != AUTO:
        BACKENDS[recipe.backend]
    if not recipe.is_on_cluster:
        device_of(recipe.device)
    if recipe.uncertainty:
        check_uncertainty(create_model(recipe.model), recipe.uncertainty)
    if calibration is not None and calibration.tta != recipe.tta:
        warnings.warn(
            f"The calibration of {card.name} was measured with --tta {calibration.tta}, the map is made with "
            f"{recipe.tta}: its confidence may be off. Calibrate with --tta {recipe.tta}.",
            GeosegWarning,
            stacklevel=3,
        )


def _how(recipe: Recipe) -> Inference:
    return Inference(
        batch_size=recipe.batch_size,
        device=recipe.device,
        tta=recipe.tta,
        uncertainty=recipe.uncertainty,
        dropout_passes=recipe.dropout_passes,
        threads=recipe.threads or (1 if recipe.is_on_cluster else None),
    )


class _Watch:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.laps[stage] = round(now - self._last, 3)
        self._last = now


def catalog_of(recipe: Recipe) -> Catalog:
    """Where the items of a recipe are looked for; of images given, one that holds nothing else.

    Raises:
        CatalogError: there is none, or its file cannot be used.
    """
    if recipe.image:
        return Catalog(name=COLLECTION, title="the images given", url="")
    return load_catalog(recipe.catalog)


def _tile_plan(geobox: GeoBox, recipe: Recipe, card: ModelCard) -> TilePlan:
    size = recipe.tile_size or card.tile_size
    halo = card.halo if recipe.halo is None else recipe.halo
    if size % card.tile_multiple:
        raise RecipeError(
            f"--tile-size {size} is not a multiple of {card.tile_multiple}, which model {card.name} needs. "
            f"Give {max(size // card.tile_multiple, 1) * card.tile_multiple}."
        )
    views_of(recipe.tta, size=size, card=card)  # refuses what cannot be
    return TilePlan(geobox, size, halo)
