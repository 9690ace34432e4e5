"""What a recipe leaves open: catalog, dates, output folder; each choice is said."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from geoseg.errors import RecipeError
from geoseg.jobs.find import EVERYTHING
from geoseg.jobs.folders import dated, default_out, has_dates
from geoseg.recipe import Recipe
from geoseg.stac.catalog import Catalog
from geoseg.stac.relative_dates import interval_of


def with_defaults(recipe: Recipe, catalog: Catalog) -> tuple[Recipe, list[str]]:
    """The recipe with dates and output folder as they are chosen, and a line for each such choice.

    Raises:
        RecipeError: dates or folders cannot be what the recipe says.
    """
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
        elif interval := interval_of(recipe.datetime):
            chosen["datetime"] = interval
            assumed.append(f"dates: {recipe.datetime}, {interval}")
        config = catalog.collections.get(recipe.collection or str(chosen.get("collection")))
        if recipe.max_cloud_cover is None and config and config.max_cloud_cover is not None:
            assumed.append(f"items with at most {config.max_cloud_cover:g} % clouds (--max-cloud-cover)")
        if "max_items" not in given:
            assumed.append(f"per place the {recipe.max_items} least cloudy items (--max-items)")
    if "composite" not in given:
        assumed.append(f"composite: {recipe.composite} (--composite)")
    if "model" not in given:
        assumed.append(f"model: {recipe.model} (--model)")
    dates = str(chosen.get("datetime", recipe.datetime or EVERYTHING))
    if recipe.out is None:
        chosen["out"] = default_out(recipe)
        assumed.append(f"output: {chosen['out']}/ (--out)")
    elif has_dates(recipe.out):
        chosen["out"] = dated(recipe.out, dates)
        assumed.append(f"output: {chosen['out']}/")
    elif Path(recipe.out).name in ("", ".."):  # such as ".": the map is named after its folder
        chosen["out"] = str(Path(recipe.out).resolve())
    if recipe.change_from is not None:
        chosen["change_from"] = _earlier(recipe.change_from, dates, out=str(chosen.get("out", recipe.out)))
    return recipe.model_copy(update=chosen), assumed


def _earlier(folder: str, dates: str, *, out: str) -> str:
    earlier = dated(folder, dates)
    if Path(earlier).resolve() == Path(out).resolve():
        raise RecipeError(
            f"--change-from {folder} is {out}, the output folder itself. Name that of an earlier map."
        )
    return earlier


def _dates(catalog: Catalog) -> tuple[str, str]:
    if not catalog.url.startswith(("http://", "https://")):
        return EVERYTHING, "all that the catalog has"
    today = datetime.now(UTC).date()
    interval = f"{today - timedelta(days=365)}/{today}"
    return interval, f"the last 12 months, {interval}"
