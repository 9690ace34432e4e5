"""Find items, and choose those that cover the area: ``search`` then ``select_items``."""

import logging
import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pystac
import shapely
from numpy.typing import NDArray
from odc.geo.geom import Geometry
from shapely.geometry.base import BaseGeometry

from geoseg.aoi import to_degrees
from geoseg.errors import CatalogError, CoverageError, GeosegWarning, RecipeError, some
from geoseg.lonlat import polygons_of
from geoseg.stac.catalog import Catalog
from geoseg.stac.coverage import area_km2, footprint, places
from geoseg.stac.dates import parse_interval
from geoseg.stac.filters import Sieve, Wanted, cloud_cover, sift
from geoseg.stac.messages import none_found, too_little
from geoseg.stac.reading import Query, Source
from geoseg.stac.sources import items_from, open_source, takes_conditions

SEARCH_KEY = "geoseg:search"
"""Where the collection that :func:`search` gives says what was asked and what each filter dropped."""
_SLIVER_DEG2 = 1e-10  # about a square metre

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Selection:
    """The items that are worth reading for an area."""

    items: pystac.ItemCollection
    """Least cloudy first, then newest, then by id."""
    aoi_km2: float
    covered_km2: float
    """Of the area asked for."""
    depth_min: int
    """Items over the place that has fewest; 0 where some place has none."""
    depth_max: int

    @property
    def share(self) -> float:
        """Covered part of the area, 0..1."""
        return min(self.covered_km2 / self.aoi_km2, 1.0) if self.aoi_km2 else 0.0


def search(
    aoi: Geometry,
    *,
    catalog: Catalog,
    collection: str | None = None,
    datetime: str,
    max_cloud_cover: float | None = None,
    max_results: int = 5000,
) -> pystac.ItemCollection:
    """The items of a catalog that touch the area, at that time, clear enough; never none.

    Conditions are sent to a server that says it knows them, and all are checked again here. Elevation models
    are found whatever their date. Of several processings of one Sentinel-2 acquisition the newest is kept.

    Args:
        aoi: any CRS; may cross the antimeridian.
        catalog: from :func:`geoseg.stac.catalog.load_catalog`.
        collection: its id; None: the catalog's default, or the only one that has items there.
        datetime: ``2024-06-01/2024-08-31``, ``2024-06``, ``2024``, ``2024-06-01/..``.
        max_cloud_cover: percent of ``eo:cloud_cover``; None: as the catalog's file says. Items that do not
            say are kept, with a warning.
        max_results: reading stops there, with a warning.

    Returns:
        Items with absolute hrefs, in no particular order. ``extra_fields["geoseg:search"]`` says what was
        asked, and how many items each filter dropped.

    Raises:
        CatalogUnreachable: when the catalog does not answer, after retries.
        CatalogError: when it refuses, is no STAC, or a collection must be named.
        CoverageError: when no item remains; it says which filter took the last.
        RecipeError: when ``datetime`` is no date.
    """
    interval = parse_interval(datetime)
    kind, source = open_source(catalog)
    collection = collection or source.catalog.default_collection
    config = source.catalog.collections.get(collection or "")
    is_clouded = config is None or config.sensor == "optical"
    if config is not None and config.caution:
        _warn(f"{config.title or collection} of {catalog.title}: {config.caution}")
    limit = max_cloud_cover if max_cloud_cover is not None or config is None else config.max_cloud_cover
    wanted = Wanted(
        area=to_degrees(aoi).geom,
        collection=collection,
        interval=None if config is not None and config.sensor == "dem" else interval,
        max_cloud_cover=limit if is_clouded else None,
        query=config.query if config is not None else {},
    )
    states_clouds = config is None or config.max_cloud_cover is not None
    sends_clouds = takes_conditions(kind, source) and wanted.max_cloud_cover is not None and states_clouds
    sieve = _fetch(kind, source, wanted, max_results, sends_clouds=sends_clouds)
    if not sieve.kept and sends_clouds:
        # the server may have dropped what only lacks eo:cloud_cover; and the message can name the clearest
        sieve = _fetch(kind, source, wanted, max_results, sends_clouds=False)
    asked: dict[str, Any] = {"catalog": catalog.title, "collection": collection, "datetime": datetime}
    asked["max_cloud_cover"] = wanted.max_cloud_cover
    if not sieve.kept:
        raise CoverageError(none_found(sieve, wanted, asked))
    return _answer(sieve, wanted, asked)


def select_items(
    items: pystac.ItemCollection, aoi: Geometry, *, per_place: int = 8, min_coverage: float = 0.95
) -> Selection:
    """Per place of the area the ``per_place`` least cloudy items, and all that is needed to cover it.

    Items are taken in rank order, each if some place that it covers has fewer than ``per_place`` so far.
    Places are some 3,500 points; ground between them that stays uncovered draws in further items, so the
    selection covers all that ``items`` cover. The order of ``items`` does not matter.

    Args:
        items: of one collection, or of several that may be mixed.
        aoi: any CRS.
        per_place: how many to composite, at least 1.
        min_coverage: least covered share of the area, 0..1.

    Raises:
        CoverageError: when the items leave more uncovered than ``min_coverage`` allows.
    """
    if per_place < 1 or not 0 <= min_coverage <= 1:
        raise RecipeError(
            f"Items per place must be at least 1 (got {per_place}) and --min-coverage 0 to 1 "
            f"(got {min_coverage:g})."
        )
    area = to_degrees(aoi).geom
    unique = {(item.collection_id, item.id): item for item in sorted(items, key=_rank, reverse=True)}
    ranked = sorted(unique.values(), key=_rank)
    prints = [footprint(item) for item in ranked]
    points = places(area)
    chosen = _fill_places(prints, points, per_place)
    covered = polygons_of(shapely.unary_union([prints[k] for k in chosen]).intersection(area))
    chosen, covered = _fill_gaps(prints, area, chosen, covered)
    kept = [ranked[k] for k in sorted(chosen)]
    depth = sum((_is_over(prints[k], points) for k in chosen), np.zeros(len(points), dtype=np.int64))
    selection = Selection(
        items=pystac.ItemCollection(kept, extra_fields=dict(items.extra_fields), clone_items=False),
        aoi_km2=area_km2(area),
        covered_km2=area_km2(covered),
        depth_min=int(depth.min(initial=len(ranked))),
        depth_max=int(depth.max(initial=0)),
    )
    if selection.share < min_coverage:
        asked = items.extra_fields.get(SEARCH_KEY, {})
        raise CoverageError(too_little(selection.covered_km2, selection.aoi_km2, min_coverage, asked))
    return selection


# --- searching --------------------------------------------------------------------------------------


def _fetch(kind: str, source: Source, wanted: Wanted, max_results: int, *, sends_clouds: bool) -> Sieve:
    conditions = dict(wanted.query)
    if sends_clouds:
        conditions["eo:cloud_cover"] = {"lte": wanted.max_cloud_cover}
    query = Query(
        aoi=wanted.area,
        collection=wanted.collection,
        interval=wanted.interval.rfc3339 if wanted.interval else None,
        conditions=conditions,
        max_results=max_results,
    )
    documents = list(items_from(kind, source, query))
    if len(documents) >= max_results:
        _warn(
            f"{source.catalog.title} has more than {max_results} items there, and the rest was not read: "
            "narrow --datetime or lower --max-cloud-cover."
        )
    return sift(_parsed(documents, source), wanted)


def _parsed(documents: Iterable[dict[str, Any]], source: Source) -> list[pystac.Item]:
    items, bad = [], []
    for document in documents:
        try:
            item = pystac.Item.from_dict(document, migrate=True, preserve_dict=False)
            footprint(item)
            items.append(item)
        except Exception as error:  # anything may stand in somebody's JSON
            bad.append(document.get("id"))
            logger.info("item %s is malformed: %s", document.get("id"), error)
    if bad and not items:
        raise CatalogError(f"{source.catalog.title} holds no readable item. Malformed: {some(bad, 'item')}.")
    if bad:
        _warn(f"Malformed in {source.catalog.title} and left out: {some(bad, 'item')}.")
    return items


def _answer(sieve: Sieve, wanted: Wanted, asked: dict[str, Any]) -> pystac.ItemCollection:
    names = sorted({item.collection_id or "" for item in sieve.kept})
    if len(names) > 1:
        raise CatalogError(
            f"{asked['catalog']} has items of several collections there; name one with --collection: "
            f"{', '.join(name or '(none)' for name in names)}."
        )
    if wanted.max_cloud_cover is not None and sieve.n_cloud_unknown:
        _warn(
            f"{sieve.n_cloud_unknown} of {len(sieve.kept)} items do not say their cloud cover: "
            "they were kept, and come after those that do."
        )
    counts = {key: getattr(sieve, key) for key in vars(sieve) if key.startswith("n_")}
    logger.info("search %s: %s", asked, counts)
    found = {**asked, "collection": asked["collection"] or names[0] or None, **counts}
    return pystac.ItemCollection(sieve.kept, extra_fields={SEARCH_KEY: found}, clone_items=False)


def _warn(text: str) -> None:
    warnings.warn(text, GeosegWarning, stacklevel=3)


# --- selecting --------------------------------------------------------------------------------------


def _rank(item: pystac.Item) -> tuple[float, float, str, str]:
    clouds = cloud_cover(item)
    when = item.datetime or item.common_metadata.start_datetime
    age = -when.timestamp() if when is not None else math.inf
    return (clouds if clouds is not None else 101.0, age, item.collection_id or "", item.id)


def _fill_places(prints: list[BaseGeometry], points: NDArray[np.float64], per_place: int) -> list[int]:
    depth = np.zeros(len(points), dtype=np.int64)
    chosen: list[int] = []
    for k, ground in enumerate(prints):
        wants = depth < per_place
        if not wants.any():
            break
        if _is_over(ground, points[wants]).any():
            chosen.append(k)
            depth += _is_over(ground, points)
    return chosen


def _is_over(ground: BaseGeometry, points: NDArray[np.float64]) -> NDArray[np.int64]:
    shapely.prepare(ground)
    over: NDArray[np.int64] = shapely.intersects_xy(ground, points).astype(np.int64)
    return over


def _fill_gaps(
    prints: list[BaseGeometry], area: BaseGeometry, chosen: list[int], covered: BaseGeometry
) -> tuple[list[int], BaseGeometry]:
    missing = area.difference(covered)
    added: list[int] = []
    for k in sorted(set(range(len(prints))) - set(chosen)):
        if missing.area <= _SLIVER_DEG2:
            break
        if prints[k].intersects(missing) and prints[k].intersection(missing).area > _SLIVER_DEG2:
            added.append(k)
            missing = missing.difference(prints[k])
    if added:
        covered = polygons_of(shapely.unary_union([covered, *(prints[k].intersection(area) for k in added)]))
    return chosen + added, covered
