"""Which bands chips hold."""

from collections.abc import Callable, Sequence

import pystac

from geoseg.errors import PreflightError, RecipeError
from geoseg.imagery.bands import common_names
from geoseg.imagery.harmonise import available_bands, choose_bands
from geoseg.jobs.plan import CardFor
from geoseg.legend import Legend
from geoseg.models.card import ModelCard
from geoseg.models.zoo import DEFAULT_MODEL, card_of
from geoseg.registry import did_you_mean
from geoseg.stac.catalog import Catalog, collection_config
from geoseg.stac.metadata import COMMON_NAMES


def card_for_chips(keep: Sequence[str] | None, say: Callable[[str], None]) -> CardFor:
    """What imagery must fit to be cut into chips: reflectance in the bands to keep, pixels of any size.

    Args:
        keep: common names; None for the bands of the default model that the imagery has.
        say: told which those are.

    Raises:
        RecipeError: a name is none.
    """
    wanted = None if keep is None else _known(keep)

    def card_for(items: pystac.ItemCollection, catalog: Catalog) -> ModelCard:
        there = {band for item in items for band in available_bands(item, collection_config(catalog, item))}
        return _card(wanted or _of_default(there, say), there)

    return card_for


def _known(keep: Sequence[str]) -> tuple[str, ...]:
    found = []
    for name, common in zip(keep, common_names(keep), strict=True):
        if common is None:
            near = did_you_mean(name.lower(), sorted(COMMON_NAMES))
            raise RecipeError(f"--keep-bands {name} is not a STAC common name: {near}")
        found.append(common)
    if len(set(found)) < len(found):
        raise RecipeError(f"--keep-bands names a band twice: {', '.join(found)}.")
    return tuple(found)


def _of_default(there: set[str], say: Callable[[str], None]) -> tuple[str, ...]:
    chosen, lacking = choose_bands(card_of(DEFAULT_MODEL).bands, there)
    if not chosen:
        raise PreflightError(
            f"The imagery has {', '.join(sorted(there)) or 'no band with a known name'}, none of the bands "
            f"of {DEFAULT_MODEL}. Say which to keep: --keep-bands."
        )
    bands = tuple(dict.fromkeys(chosen.values()))
    which = f"those of {DEFAULT_MODEL}{' that the imagery has' if lacking else ''}"
    say(f"bands: {', '.join(bands)}, {which} (--keep-bands)")
    return bands


def _card(bands: tuple[str, ...], there: set[str]) -> ModelCard:
    if lacking := choose_bands(bands, there)[1]:
        raise PreflightError(
            f"The imagery has no {', '.join(lacking)}; it has {', '.join(sorted(there)) or 'no known band'}. "
            "Change --keep-bands, or name the bands of the images by --bands."
        )
    return ModelCard(
        name="chips",
        title="Chips to learn from",
        family="chips",
        bands=bands,
        gsd_m=1,
        gsd_range_m=(1e-9, 1e9),
        halo=0,
        legend=Legend.of(any="808080"),
        license="none",
    )
