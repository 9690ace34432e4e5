"""Why too little was found, in one line that ends with what to do."""

import math
from typing import Any

from geoseg.stac.filters import Sieve, Wanted


def too_little(covered_km2: float, aoi_km2: float, min_coverage: float, asked: dict[str, Any]) -> str:
    """For items that leave too much uncovered.

    Args:
        covered_km2: of the area, by all items together.
        aoi_km2: the area asked for.
        min_coverage: 0..1.
        asked: ``datetime`` and ``max_cloud_cover`` of the search, where there was one.

    Example:
        >>> too_little(37, 41, 0.95, {"datetime": "2024-06/2024-08", "max_cloud_cover": 20.0})
        'Items cover 37 of the 41 km² asked for (90.2%). Widen --datetime 2024-06/2024-08, raise \
--max-cloud-cover 20 or lower --min-coverage 0.95 to 0.902.'
    """
    digits = 0
    while digits < 6 and (
        round(covered_km2, digits) == round(aoi_km2, digits) or round(aoi_km2, digits) < 10
    ):
        digits += 1
    share = math.floor(1000 * covered_km2 / aoi_km2) / 10 if aoi_km2 else 0.0
    ways = []
    if _is_limited(asked.get("datetime")):
        ways.append(f"widen --datetime {asked['datetime']}")
    if asked.get("max_cloud_cover") is not None and asked["max_cloud_cover"] < 100:
        ways.append(f"raise --max-cloud-cover {asked['max_cloud_cover']:g}")
    ways.append(
        f"lower --min-coverage {min_coverage:g} to {share / 100:.3f}" if share else "take another area"
    )
    return (
        f"Items cover {covered_km2:,.{digits}f} of the {aoi_km2:,.{digits}f} km² asked for ({share:g}%). "
        f"{_or(ways)}."
    )


def none_found(sieve: Sieve, wanted: Wanted, asked: dict[str, Any]) -> str:
    """For a search that kept no item: which filters dropped how many, and what to loosen."""
    what = f"{asked['collection']} items" if asked["collection"] else "items"
    where = f"{asked['catalog']} around {_place(wanted)}"
    is_limited = wanted.interval is not None and _is_limited(asked["datetime"])
    when = f" in {asked['datetime']}" if is_limited else ""
    if sieve.n_found == 0:
        widen = f"Widen --datetime {asked['datetime']}, or check" if when else "Check"
        return f"No {what} found in {where}{when}. {widen} that the area is where you mean it."
    reasons = {
        f"{sieve.n_elsewhere} elsewhere": sieve.n_elsewhere,
        f"{sieve.n_off_date} not in {asked['datetime']}": sieve.n_off_date,
        f"{sieve.n_other} not meeting the catalog file's query": sieve.n_other,
        f"{sieve.n_cloudy} cloudier than {wanted.max_cloud_cover or 0:g}%": sieve.n_cloudy,
    }
    dropped = [text for text, count in reasons.items() if count]
    if len(dropped) == 1:
        dropped = ["all " * (sieve.n_found > 1) + dropped[0].split(" ", 1)[1]]
    if sieve.n_cloudy:
        advice = f"raise --max-cloud-cover (the clearest has {math.ceil(10 * (sieve.clearest or 0)) / 10:g}%)"
    elif sieve.nearest:
        advice = f"widen --datetime {asked['datetime']} (the nearest is of {sieve.nearest[1]})"
    elif sieve.n_other:
        advice = "change the query of the collection in the catalog's file"
    else:
        advice = "check that the area is where you mean it" + _others(sieve, wanted)
    what = what.removesuffix("s") if sieve.n_found == 1 else what
    return f"{sieve.n_found} {what} found in {where}, {' and '.join(dropped)}: {advice}."


def _is_limited(datetime: object) -> bool:
    return bool(datetime) and datetime != "../.."


def _others(sieve: Sieve, wanted: Wanted) -> str:
    if not wanted.collection or wanted.collection in sieve.collections or not sieve.collections:
        return ""
    return f", and the --collection (there are {', '.join(sorted(sieve.collections))})"


def _or(ways: list[str]) -> str:
    text = ways[0] if len(ways) == 1 else f"{', '.join(ways[:-1])} or {ways[-1]}"
    return text[0].upper() + text[1:]


def _place(wanted: Wanted) -> str:
    point = wanted.area.representative_point()
    return (
        f"{abs(point.y):.2f}°{'N' if point.y >= 0 else 'S'} {abs(point.x):.2f}°{'E' if point.x >= 0 else 'W'}"
    )
