"""Pictures of a class map: the bare map for the HTML report, and a sheet with legend and scale bar."""

import io
import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from PIL import Image, ImageDraw, ImageFont
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from geoseg.errors import OutputError, one_line
from geoseg.legend import CLASS_NODATA
from geoseg.report.facts import ClassArea, GridFacts, Report, crs_name, ground_height_m, ground_width_m

ClassIds = npt.NDArray[np.uint8]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_INK, _QUIET, _LINE, _PAPER, _NOWHERE = "#1d232b", "#5b6673", "#c9d0d8", "#ffffff", "#eef1f4"
_MARGIN, _PANEL, _FOOTER, _ROW = 24, 300, 78, 30
_MIN_MAP_WIDTH, _MAX_ROWS = 340, 24


def write_preview(class_tif: Path, path: Path, *, report: Report, max_px: int = 1024) -> Path:
    """A PNG of the map with title, legend with shares, north arrow, scale bar and attribution.

    Args:
        class_tif: The class map; read from its overviews, so a large map costs no more than a small one.
        path: The file to write; appears when whole.
        report: Of the same map: its names, colours, shares, grid and attribution.
        max_px: Longest side of the map in the picture. Smaller maps are magnified by a whole number.

    Raises:
        OutputError: when the map cannot be read or the picture not written.
    """
    class_ids = read_small(class_tif, report.grid, max_px=max_px)
    sheet = _draw_sheet(_map_image(class_ids, report.classes), report)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        sheet.save(temporary, format="PNG", optimize=True)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(
            f"Cannot write {path}: {error.strerror}. Check the folder and its rights."
        ) from error
    return path


def map_png_bytes(class_tif: Path, *, report: Report, max_px: int = 1024) -> bytes:
    """A palette PNG of the map alone, nodata transparent, for ``render_html``.

    Raises:
        OutputError: when the map cannot be read.
    """
    image = _map_image(read_small(class_tif, report.grid, max_px=max_px), report.classes)
    sink = io.BytesIO()
    image.save(sink, format="PNG", optimize=True, transparency=CLASS_NODATA)
    return sink.getvalue()


def read_small(class_tif: Path, grid: GridFacts, *, max_px: int) -> ClassIds:
    """Class ids (y, x) with the map's proportions on the ground and a longest side of at most ``max_px``.

    Large maps are reduced by mode, small ones magnified by the largest whole number that fits.

    Raises:
        OutputError: when the map cannot be read.
    """
    aspect = (ground_height_m(grid) / grid.height) / (ground_width_m(grid) / grid.width)
    zoom = max_px / max(grid.height * aspect, grid.width)
    zoom = float(int(zoom)) if zoom > 1 else zoom
    shape = max(1, round(grid.height * aspect * zoom)), max(1, round(grid.width * zoom))
    try:
        with rasterio.open(class_tif) as dataset:
            if zoom < 1:
                reduced: ClassIds = dataset.read(1, out_shape=shape, resampling=Resampling.mode)
                return reduced
            values: ClassIds = dataset.read(1)
    except RasterioError as error:
        raise OutputError(f"Cannot read {class_tif}: {one_line(error)}. Run again.") from error
    rows, cols = (np.arange(n) * full // n for n, full in zip(shape, values.shape, strict=True))
    return values[np.ix_(rows, cols)]


@dataclass(frozen=True)
class ScaleBar:
    """A round length and its share of the map's width."""

    label: str
    length_m: float
    share: float


def scale_bar(width_m: float, *, at_most: float = 1 / 3) -> ScaleBar:
    """The longest of 1, 2, 5, 10, 20 ... m that takes at most that share of the map's width.

    Example:
        >>> scale_bar(9_000)
        ScaleBar(label='2 km', length_m=2000.0, share=0.2222222222222222)
    """
    power = 10.0 ** np.floor(np.log10(width_m * at_most))
    length_m = float(
        max(step * power for step in (1, 2, 5) if step * power <= width_m * at_most * (1 + 1e-9))
    )
    label = f"{length_m / 1000:g} km" if length_m >= 1000 else f"{length_m:g} m"
    return ScaleBar(label, length_m, length_m / width_m)


def _map_image(class_ids: ClassIds, classes: tuple[ClassArea, ...]) -> Image.Image:
    """Palette image; its index is the class id."""
    palette = np.zeros((256, 3), np.uint8)
    palette[CLASS_NODATA] = tuple(bytes.fromhex(_NOWHERE[1:]))
    for entry in classes:
        palette[entry.class_id] = tuple(bytes.fromhex(entry.color))
    image = Image.fromarray(np.ascontiguousarray(class_ids))
    image.putpalette(palette.tobytes())
    return image


def _draw_sheet(map_image: Image.Image, report: Report) -> Image.Image:
    """Map at the left, legend at the right, scale bar and attribution below."""
    map_width, map_height = max(map_image.width, _MIN_MAP_WIDTH), map_image.height
    shown = _shown(report.classes)
    panel_height = 104 + _ROW * (len(shown) + 2)
    height = max(map_height, panel_height) + 2 * _MARGIN + _FOOTER
    sheet = Image.new("RGB", (map_width + _PANEL + 3 * _MARGIN, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    corner = (_MARGIN, _MARGIN)
    sheet.paste(map_image.convert("RGB"), corner)
    frame = (corner[0] - 1, corner[1] - 1, corner[0] + map_image.width, corner[1] + map_height)
    draw.rectangle(frame, outline=_LINE)
    _draw_legend(draw, (map_width + 2 * _MARGIN, _MARGIN), shown, report)
    _draw_footer(draw, (_MARGIN, height - _FOOTER), map_image.width, report)
    return sheet


def _draw_legend(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], shown: tuple[ClassArea, ...], report: Report
) -> None:
    x, y = at
    for line in _wrap(report.title, 22, _PANEL, lines=2):
        _text(draw, (x, y), line, 22, _INK)
        y += 28
    valid_ha = sum(c.area_ha for c in report.classes)
    decimals = 1 if valid_ha < 1e5 else 0
    area = f"{valid_ha:.3g} ha" if valid_ha < 100 else f"{valid_ha / 100:,.{decimals}f} sq km"
    _text(draw, (x, y + 2), f"{area} mapped", 15, _QUIET)
    y += 44
    for entry in shown:
        draw.rectangle((x, y, x + 20, y + 20), fill=f"#{entry.color}", outline=_LINE)
        _text(draw, (x + 32, y + 2), _clip(entry.class_name, 16, _PANEL - 95), 16, _INK)
        _text(draw, (x + _PANEL, y + 2), percent(entry.share), 16, _INK, anchor="ra")
        y += _ROW
    left_out = len(report.classes) - len(shown)
    if left_out:
        _text(draw, (x + 32, y + 2), f"{left_out} more classes", 15, _QUIET)
        y += _ROW
    if report.nodata_pixels:
        draw.rectangle((x, y, x + 20, y + 20), fill=_NOWHERE, outline=_LINE)
        _text(draw, (x + 32, y + 2), "no value", 16, _QUIET)


def _draw_footer(draw: ImageDraw.ImageDraw, at: tuple[int, int], map_width: int, report: Report) -> None:
    x, y = at
    bar = scale_bar(ground_width_m(report.grid))
    length = round(bar.share * map_width)
    draw.polygon([(x + 7, y), (x + 14, y + 20), (x + 7, y + 15), (x, y + 20)], fill=_INK)
    _text(draw, (x + 22, y + 3), "N", 15, _INK)
    left = x + 56
    draw.line((left, y + 12, left + length, y + 12), fill=_INK, width=3)
    for end in (left, left + length):
        draw.line((end, y + 6, end, y + 18), fill=_INK, width=2)
    _text(draw, (left + length + 12, y + 4), bar.label, 15, _INK)
    facts = [
        crs_name(report.grid),
        f"{report.grid.gsd_m:.4g} m pixels",
        date_range(report),
        report.attribution,
    ]
    line = "  ·  ".join([*(fact for fact in facts if fact), f"geoseg {report.geoseg_version}"])
    _text(draw, (x, y + 38), _clip(line, 14, map_width + _PANEL + _MARGIN), 14, _QUIET)


def date_range(report: Report) -> str:
    """First and last acquisition, as ``2024-06-01 to 2024-08-31``; empty when no item has a date."""
    days = sorted({item.datetime.date().isoformat() for item in report.items if item.datetime})
    return "" if not days else days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def percent(share: float) -> str:
    """``12.3%``; what is there but rounds to nothing is ``<0.1%``.

    Example:
        >>> percent(0.1234), percent(0.0001), percent(0.0)
        ('12.3%', '<0.1%', '0%')
    """
    return "0%" if share == 0 else "<0.1%" if share < 0.0005 else f"{share:.1%}"


def _shown(classes: tuple[ClassArea, ...]) -> tuple[ClassArea, ...]:
    """All classes of a short legend, the largest present ones of a long one; always in its order."""
    if len(classes) <= _MAX_ROWS:
        return classes
    largest = sorted(classes, key=lambda c: -c.pixels)[: _MAX_ROWS - 1]
    return tuple(c for c in classes if c in largest and c.pixels)


def _text(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: int, color: str, **options: Any
) -> None:
    font, text = _font(size, text)
    draw.text(at, text, fill=color, font=font, **options)


def _font(size: int, text: str) -> tuple[Font, str]:
    """Pillow's own font for ASCII, a system font for the rest; without one, the nearest ASCII letters."""
    if text.replace("·", "").isascii():
        return ImageFont.load_default(size), text
    for name in ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial.ttf"):
        try:
            return ImageFont.truetype(name, size), text
        except OSError:
            continue
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return ImageFont.load_default(size), plain


def _width(text: str, size: int) -> float:
    font, text = _font(size, text)
    return float(font.getlength(text))


def _clip(text: str, size: int, width: float) -> str:
    """The text, cut with dots where it is wider than ``width`` px."""
    if _width(text, size) <= width:
        return text
    while text and _width(f"{text}...", size) > width:
        text = text[:-1]
    return f"{text.rstrip()}..."


def _wrap(text: str, size: int, width: float, *, lines: int) -> list[str]:
    """At most that many lines of whole words; the last one is cut."""
    wrapped = [""]
    for word in text.split():
        longer = f"{wrapped[-1]} {word}".strip()
        if wrapped[-1] and _width(longer, size) > width and len(wrapped) < lines:
            wrapped.append(word)
        else:
            wrapped[-1] = longer
    return [_clip(line, size, width) for line in wrapped]
