"""A plan as tasks: what each block needs, ready to be sent to a worker."""

from pathlib import Path

from geoseg.jobs.blocks import BlockTask, aoi_mask
from geoseg.jobs.near import blocks_within, items_near
from geoseg.jobs.plan import Plan
from geoseg.models.zoo import fingerprint_of


def tasks_of(plan: Plan, parts: Path) -> list[BlockTask]:
    """A task for each block that the area touches; none where the area holds no centre of a pixel."""
    aoi_px = plan.aoi_px
    blocks = blocks_within(plan)
    if not any(aoi_mask(aoi_px, block.window).any() for block in blocks):
        return []
    folder = Path(plan.recipe.model)
    model = str(folder.resolve()) if folder.is_dir() else plan.recipe.model
    fingerprint = fingerprint_of(plan.card, plan.calibration)
    small = {id(item): item.to_dict(include_self_link=False) for item in plan.inputs.items}
    return [
        BlockTask(
            block=block,
            items=[small[id(item)] for item in items],
            plan=plan.tiles,
            aoi_px=aoi_px,
            bands=plan.inputs.bands,
            composite=plan.recipe.composite,
            has_clouds=plan.inputs.has_clouds,
            catalog=plan.catalog,
            model=model,
            model_fingerprint=fingerprint,
            how=plan.how,
            parts=parts,
            store=plan.store,
        )
        for block, items in zip(blocks, items_near(plan, blocks), strict=True)
    ]
