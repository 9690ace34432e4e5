"""The report for people: one HTML file that needs nothing but itself."""

import base64
import io
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from geoseg.report.facts import Report, crs_name, ground_width_m
from geoseg.report.preview import date_range, percent, scale_bar

_TEMPLATE = "report.html.j2"


def render_html(report: Report, map_png: bytes) -> str:
    """``report.html``: map, legend, areas, coverage, sources, what was assumed, warnings, timings, versions.

    Nothing is loaded from outside (a content security policy in the file forbids it), all text is
    escaped, and it reads on paper, on a phone and in the dark.

    Args:
        report: The facts.
        map_png: The bare map, as ``map_png_bytes`` gives it; set into the page.
    """
    environment = page_environment()
    environment.filters |= {
        "percent": percent, "hectares": hectares, "km2": km2, "seconds": seconds, "moment": moment,
    }  # fmt: skip
    present = sorted((c for c in report.classes if c.pixels), key=lambda c: -c.pixels)
    stages = {stage: s for stage, s in report.timings_s.items() if stage != "total"}
    return environment.get_template(_TEMPLATE).render(
        report=report,
        map_src=data_url(map_png),
        map_text=", ".join(f"{c.class_name} {percent(c.share)}" for c in present) or "no pixel has a class",
        mapped_ha=sum(c.area_ha for c in report.classes),
        largest_share=max((c.share for c in report.classes), default=0) or 1,
        longest_s=max(stages.values(), default=0) or 1,
        stages=stages,
        dates=date_range(report),
        aspect=_aspect(map_png),
        crs=crs_name(report.grid),
        bar=scale_bar(ground_width_m(report.grid)),
    )


def page_environment() -> Environment:
    """For templates of this room: all text is escaped, an unknown name is an error."""
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def data_url(png: bytes) -> str:
    """A picture as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def hectares(area_ha: float) -> str:
    """Hectares with thousands marks; two decimals below 100.

    Example:
        >>> hectares(3558.873), hectares(2.345), hectares(0.0)
        ('3,559', '2.35', '0')
    """
    return "0" if area_ha == 0 else f"{area_ha:,.0f}" if area_ha >= 100 else f"{area_ha:,.2f}"


def km2(area_km2: float) -> str:
    """Square kilometres with three figures that count.

    Example:
        >>> km2(12345.6), km2(97.834), km2(0.0213)
        ('12,346', '97.8', '0.0213')
    """
    return f"{area_km2:,.0f}" if area_km2 >= 100 else f"{area_km2:.3g}"


def seconds(duration_s: float) -> str:
    """A duration as people say it.

    Example:
        >>> seconds(0.123), seconds(6.4), seconds(75), seconds(4000)
        ('0.12 s', '6.4 s', '1 min 15 s', '1 h 6 min')
    """
    if duration_s < 60:
        return f"{duration_s:.2f} s" if duration_s < 1 else f"{duration_s:.1f} s"
    minutes, rest = divmod(round(duration_s), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def moment(value: datetime) -> str:
    """Day and minute in UTC.

    Example:
        >>> moment(datetime(2024, 6, 1, 10, 5, tzinfo=UTC))
        '2024-06-01 10:05 UTC'
    """
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _aspect(map_png: bytes) -> float:
    """Width over height."""
    with Image.open(io.BytesIO(map_png)) as image:
        return image.width / image.height
