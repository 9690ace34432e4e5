"""What a map says of itself to catalogs: STAC items, of the map or of its sheets, and their collection."""

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pystac
from odc.geo.geom import Geometry

from geoseg.aoi import to_degrees
from geoseg.grid.geobox import project, window_geobox
from geoseg.grid.sheets import Sheet, sheets_of
from geoseg.imagery.local import COLLECTION
from geoseg.inference.uncertainty import layers_of
from geoseg.jobs.plan import Plan
from geoseg.models.card import CARD_NAME
from geoseg.resources import path_exists
from geoseg.writers.stac_assets import of_all_sheets, of_sheet, outputs_of
from geoseg.writers.stac_collection import About, write_collection
from geoseg.writers.stac_item import Lineage, SourceItem, SourceModel, write_item


def sheets_of_map(plan: Plan) -> list[Sheet]:
    """The files that each raster of the map is cut into; none where one is enough."""
    return sheets_of(plan.geobox, max_file_gb=plan.recipe.max_file_gb, area_px=plan.aoi_px)


def write_records(
    plan: Plan, folder: Path, *, title: str, created: datetime, polygons: Sequence[str]
) -> None:
    """``item.json`` or an item for each sheet, and ``collection.json``."""
    outputs = outputs_of(layers_of(plan.recipe.uncertainty)[2:], polygons=polygons)
    lineage, sheets = _lineage(plan), sheets_of_map(plan)
    footprint = to_degrees(plan.aoi)
    items = {"item.json": (plan.out.name, plan.geobox, footprint, outputs)}
    if sheets:
        items = {
            f"item-{sheet.name}.json": (
                f"{plan.out.name}-{sheet.name}",
                geobox := window_geobox(plan.geobox, sheet.window),
                _inside(plan, geobox.extent),
                of_sheet(outputs, sheet.name),
            )
            for sheet in sheets
        }
    for name, (item_id, geobox, ground, assets) in items.items():
        write_item(
            folder / name,
            item_id=item_id,
            geobox=geobox,
            footprint=ground,
            legend=plan.card.legend,
            lineage=lineage,
            created=created,
            assets=assets,
            collection=plan.out.name,
        )
    write_collection(
        folder,
        collection_id=plan.out.name,
        about=_about(plan, title),
        geobox=plan.geobox,
        footprint=footprint,
        legend=plan.card.legend,
        lineage=lineage,
        created=created,
        items=list(items),
        outputs=outputs,
        assets=of_all_sheets(outputs) if sheets else {},
    )


def _inside(plan: Plan, extent: Geometry) -> Geometry:
    """The part of the area that lies in a sheet; all of the sheet where that is next to nothing."""
    if not plan.is_cut:
        return extent
    inside = project(plan.aoi, str(plan.geobox.crs)) & extent
    return inside if inside.area > 0 else extent


def _about(plan: Plan, title: str) -> About:
    is_of_files = plan.catalog.name == COLLECTION
    return About(title, plan.attribution, "" if is_of_files else plan.catalog.title)


def _lineage(plan: Plan) -> Lineage:
    source = "images" if plan.catalog.name == COLLECTION else plan.catalog.title
    made_of = f"{plan.recipe.composite} of {len(plan.selection.items)} items of {source}"
    read = {item.id: item for item in plan.inputs.items}
    card = Path(plan.recipe.model, CARD_NAME)
    return Lineage(
        sources=tuple(_source_item(item, read[item.id]) for item in plan.selection.items),
        model=SourceModel(plan.card.name, plan.card.sha256, str(card.resolve()) if card.is_file() else None),
        text=f"{made_of}, model {plan.card.name}",
        software={"geoseg": version("geoseg")},
    )


def _source_item(item: pystac.Item, prepared: pystac.Item) -> SourceItem:
    is_dated = item.properties.get("geoseg:datetime_known", True)
    common, href = item.common_metadata, item.get_self_href()
    files = dict.fromkeys(_address(asset.href) for asset in prepared.assets.values())
    return SourceItem(
        id=item.id,
        collection=item.collection_id if item.collection_id != COLLECTION else None,
        href=href,
        files=() if href else tuple(files),
        start=_in_utc(common.start_datetime or item.datetime) if is_dated else None,
        end=_in_utc(common.end_datetime or item.datetime or common.start_datetime) if is_dated else None,
    )


def _address(href: str) -> str:
    """Paths in full: the item lies elsewhere than where the run was started."""
    return str(Path(href).resolve()) if path_exists(Path(href)) else href


def _in_utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment
