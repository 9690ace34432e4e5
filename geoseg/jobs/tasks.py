"""A plan as tasks: what each block needs, ready to be sent to a worker."""

from pathlib import Path

from geoseg.jobs.blocks import BlockTask, aoi_mask
from geoseg.jobs.plan import Plan, items_near
from geoseg.models.zoo import fingerprint_of


def tasks_of(plan: Plan, parts: Path) -> list[BlockTask]:
    """A task for each block that holds some of the area."""
    aoi_px = plan.aoi_px
    folder = Path(plan.recipe.model)
    model = str(folder.resolve()) if folder.is_dir() else plan.recipe.model
    return [
        BlockTask(
            block=block,
            items=[item.to_dict(include_self_link=False) for item in items_near(plan, block)],
            plan=plan.tiles,
            aoi_px=aoi_px,
            bands=plan.inputs.bands,
            composite=plan.recipe.composite,
            has_clouds=plan.inputs.has_clouds,
            catalog=plan.catalog,
            model=model,
            model_fingerprint=fingerprint_of(plan.card, plan.calibration),
            how=plan.how,
            parts=parts,
        )
        for block in plan.blocks
        if aoi_mask(aoi_px, block.window).any()
    ]
