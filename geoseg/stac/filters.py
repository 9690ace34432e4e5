"""What is kept of the items a source gave: checked here, whatever the source says it has filtered."""

import math
import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pystac
import shapely
from shapely.geometry.base import BaseGeometry

from geoseg.stac.coverage import footprint
from geoseg.stac.dates import Interval

_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "neq": operator.ne,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
    "in": lambda value, choices: value in choices,
}
_SAME_GROUND = 0.95
"""A newer version replaces an older one when it covers this share of it."""
_TAKEN = re.compile(r"S2[A-Z]_(?:MSIL2A_)?(\d{8}T\d{6})")
_TILE = re.compile(r"(?:^|_)T?(\d{2}[C-X][A-Z]{2})(?:_|$)")


@dataclass(frozen=True)
class Wanted:
    """The conditions an item must meet."""

    area: BaseGeometry
    """Degrees."""
    collection: str | None
    interval: Interval | None
    """None: any date."""
    max_cloud_cover: float | None
    """Percent; None: any. Items that do not say are kept."""
    query: dict[str, dict[str, Any]]


@dataclass
class Sieve:
    """The items kept, and how many fell at each filter, in the order of the filters."""

    kept: list[pystac.Item] = field(default_factory=list)
    n_found: int = 0
    n_elsewhere: int = 0
    """Of another collection, or not touching the area."""
    n_off_date: int = 0
    n_other: int = 0
    """Not meeting the collection's query."""
    n_cloudy: int = 0
    clearest: float | None = None
    """The least cloud cover among those too cloudy, percent."""
    n_cloud_unknown: int = 0
    """Kept, but without ``eo:cloud_cover``."""
    n_superseded: int = 0
    """Older versions of items kept."""
    nearest: tuple[timedelta, str] | None = None
    """How far from the interval the nearest of the items off it is, and its day."""
    collections: set[str] = field(default_factory=set)
    """Those of the items found."""


def sift(items: Iterable[pystac.Item], wanted: Wanted) -> Sieve:
    """The items that meet every condition, each once, without those a newer processing replaces."""
    sieve, seen = Sieve(), set()
    for item in items:
        key = (item.collection_id, item.id)
        if key not in seen:
            seen.add(key)
            _sift_one(item, wanted, sieve)
    newest = without_superseded(sieve.kept)
    sieve.n_superseded = len(sieve.kept) - len(newest)
    sieve.kept = newest
    return sieve


def cloud_cover(item: pystac.Item) -> float | None:
    """``eo:cloud_cover`` in percent; None where the item does not say (Landsat writes -1)."""
    try:
        value = float(item.properties.get("eo:cloud_cover", "nan"))
    except (TypeError, ValueError):
        return None
    return value if 0 <= value <= 100 else None


def without_superseded(items: list[pystac.Item]) -> list[pystac.Item]:
    """The items without older processings of the same Sentinel-2 acquisition and tile.

    Both must show the same ground: a tile at the end of a datastrip comes in two parts, and both are needed.
    """
    groups: dict[tuple[str, ...], list[pystac.Item]] = {}
    for item in items:
        key = _acquisition(item)
        if key is not None:
            groups.setdefault(key, []).append(item)
    dropped = set()
    for group in groups.values():
        ranked = sorted(group, key=_version, reverse=True)
        prints = [footprint(item) for item in ranked]
        for i in range(1, len(ranked)):
            ground = prints[i].area
            if any(prints[i].intersection(newer).area >= _SAME_GROUND * ground for newer in prints[:i]):
                dropped.add(id(ranked[i]))
    return [item for item in items if id(item) not in dropped]


def _sift_one(item: pystac.Item, wanted: Wanted, sieve: Sieve) -> None:
    sieve.n_found += 1
    sieve.collections.add(item.collection_id or "")
    is_other = wanted.collection is not None and item.collection_id not in (None, wanted.collection)
    if is_other or not shapely.intersects(footprint(item), wanted.area):
        sieve.n_elsewhere += 1
    elif wanted.interval is not None and not wanted.interval.meets(item):
        sieve.n_off_date += 1
        taken = item.datetime or item.common_metadata.start_datetime
        here = (wanted.interval.gap(item), f"{taken:%Y-%m-%d}")
        sieve.nearest = min(here, sieve.nearest or here)
    elif not _meets(item.properties, wanted.query):
        sieve.n_other += 1
    else:
        clouds = cloud_cover(item)
        if wanted.max_cloud_cover is not None and clouds is not None and clouds > wanted.max_cloud_cover:
            sieve.n_cloudy += 1
            sieve.clearest = min(clouds, sieve.clearest if sieve.clearest is not None else math.inf)
            return
        sieve.n_cloud_unknown += clouds is None
        sieve.kept.append(item)


def _meets(properties: dict[str, Any], query: dict[str, dict[str, Any]]) -> bool:
    return all(
        name in properties and all(_TESTS[op](properties[name], value) for op, value in condition.items())
        for name, condition in query.items()
    )


def _acquisition(item: pystac.Item) -> tuple[str, ...] | None:
    """Platform, time and tile of a Sentinel-2 item; None for others."""
    properties = item.properties
    if not item.id.startswith("S2") and not any(key.startswith("s2:") for key in properties):
        return None
    uri = str(properties.get("s2:product_uri", ""))
    tile = str(properties.get("s2:mgrs_tile") or properties.get("grid:code") or "").removeprefix("MGRS-")
    for text in (uri, item.id):
        tile = tile or (found.group(1) if (found := _TILE.search(text.removesuffix(".SAFE"))) else "")
    taken = ""
    for text in (str(properties.get("s2:datatake_id", "")).lstrip("G"), uri, item.id):
        taken = taken or (found.group(1) if (found := _TAKEN.search(text)) else "")
    if not taken and item.datetime is not None:
        taken = item.datetime.strftime("%Y%m%dT%H")
    if not tile or not taken:
        return None
    return (item.collection_id or "", str(properties.get("platform", item.id[:3])).lower(), taken, tile)


def _version(item: pystac.Item) -> tuple[float, float, str, str, str]:
    """Orders processings: baseline, sequence, time of processing. Baseline 99.99 marks trials, the lowest."""
    properties = item.properties
    baseline = _number(properties.get("s2:processing_baseline") or properties.get("processing:version"))
    sequence = _number(properties.get("s2:sequence") or properties.get("earthsearch:sequence"))
    when = str(properties.get("s2:generation_time") or properties.get("created") or "")
    return (baseline if baseline < 90 else 0.0, sequence, when, str(properties.get("updated") or ""), item.id)


def _number(value: Any) -> float:
    try:
        return float(str(value).lstrip("Nn"))
    except ValueError:
        return 0.0
