"""GDAL's virtual mosaics (https://gdal.org/drivers/raster/vrt.html): files that are shown as one raster."""

import glob
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geoseg.errors import OutputError
from geoseg.legend import CLASS_NODATA, Legend

GDAL_TYPES = {
    "uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32",
    "int32": "Int32", "float32": "Float32", "float64": "Float64",
}  # fmt: skip
"""GDAL's names of NumPy's types."""


@dataclass(frozen=True)
class Part:
    """One source of a mosaic and the pixels that it fills."""

    path: Path
    window: Window
    """In the mosaic."""
    block_shape: tuple[int, int]
    shape: tuple[int, int]
    """Of the file."""
    offset: tuple[int, int] = (0, 0)
    """(row, col) in the file of the first pixel that is taken."""

    def within(self, window: Window) -> "Part | None":
        """What lies in that rectangle of the mosaic, counted from its corner; None where nothing does."""
        here = self.window
        top, left = max(here.row_off, window.row_off), max(here.col_off, window.col_off)
        bottom = min(here.row_off + here.height, window.row_off + window.height)
        right = min(here.col_off + here.width, window.col_off + window.width)
        if top >= bottom or left >= right:
            return None
        at = Window(left - window.col_off, top - window.row_off, right - left, bottom - top)
        row, col = self.offset
        offset = row + top - here.row_off, col + left - here.col_off
        return Part(self.path, at, self.block_shape, self.shape, offset)


@dataclass(frozen=True)
class Layer:
    """What a file says about its one band."""

    dtype: str
    nodata: float | None
    scale: float | None
    description: str
    legend: Legend | None


def raster_of(folder: Path, layer: str) -> Path:
    """The raster of a layer of the map in ``folder``: ``class.tif``, or ``class.vrt`` of its sheets."""
    sheets = folder / f"{layer}.vrt"
    return sheets if sheets.exists() else folder / f"{layer}.tif"


def files_of_raster(path: Path) -> list[Path]:
    """The file itself, and the sheets that a .vrt of geoseg's shows."""
    sheets = path.parent.glob(f"{glob.escape(path.stem)}-r*-c*.tif") if path.suffix == ".vrt" else ()
    return [path, *sorted(sheets)]


def digest_of(sha256s: Sequence[str]) -> str:
    """One SHA-256 for the files of a raster, in their order: that of the only one, or of all of theirs."""
    return sha256s[0] if len(sha256s) == 1 else hashlib.sha256("\n".join(sha256s).encode()).hexdigest()


def write_vrt(parts: Sequence[Part], path: Path, *, geobox: GeoBox, layer: Layer) -> Path:
    """A mosaic of files that lie beside it, with colours, category names and nodata.

    Raises:
        OutputError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(mosaic_xml(parts, geobox, layer, is_beside=True) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(
            f"Cannot write {path}: {error.strerror}. Check the folder and its rights."
        ) from error
    return path


def mosaic_xml(
    parts: Sequence[Part], geobox: GeoBox, layer: Layer, *, band: int = 1, is_beside: bool = False
) -> str:
    """The mosaic of one band of the parts, as text.

    Args:
        parts: do not overlap; nodata where none lies.
        geobox: of the mosaic.
        layer: of the mosaic.
        band: of the parts.
        is_beside: files are named as seen from the mosaic's folder, and it says the names of the classes:
            it is to last.
    """
    height, width = geobox.shape
    crs = geobox.crs
    srs = "" if crs is None else f"EPSG:{crs.epsg}" if crs.epsg else crs.to_wkt()
    facts = [f"<Description>{escape(layer.description)}</Description>"] if layer.description else []
    if layer.nodata is not None:
        facts.append(f"<NoDataValue>{layer.nodata:.17g}</NoDataValue>")
    if layer.scale is not None:
        facts.append(f"<Offset>0</Offset><Scale>{layer.scale!r}</Scale>")
    facts.append(_palette_xml(layer.legend) if layer.legend else "<ColorInterp>Gray</ColorInterp>")
    if layer.legend and is_beside:
        facts.append(categories_xml(layer.legend))
    dtype, end = GDAL_TYPES[layer.dtype], "\n" if is_beside else ""
    return end.join(
        [
            f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">',
            f"<SRS>{escape(srs)}</SRS>" if srs else "",
            f"<GeoTransform>{','.join(repr(v) for v in geobox.affine.to_gdal())}</GeoTransform>",
            f'<VRTRasterBand dataType="{dtype}" band="1">',
            *facts,
            *(_source_xml(part, dtype, band, is_beside=is_beside) for part in parts),
            "</VRTRasterBand></VRTDataset>",
        ]
    )


def categories_xml(legend: Legend) -> str:
    """GDAL's names of the values 0, 1, 2 ..., empty where the legend has none."""
    names = {c.value: c.name for c in legend.classes}
    every = (f"<Category>{escape(names.get(i, ''))}</Category>" for i in range(max(names) + 1))
    return "\n".join(["<CategoryNames>", *every, "</CategoryNames>"])


def _palette_xml(legend: Legend) -> str:
    """256 colours: the legend's, else black; TIFF keeps no alpha, GDAL shows nodata as transparent."""
    rgb = dict.fromkeys(range(256), (0, 0, 0)) | {c.value: c.rgb for c in legend.classes}
    entries = (
        f'<Entry c1="{r}" c2="{g}" c3="{b}" c4="{0 if value == CLASS_NODATA else 255}"/>'
        for value, (r, g, b) in rgb.items()
    )
    return f"<ColorInterp>Palette</ColorInterp><ColorTable>{''.join(entries)}</ColorTable>"


def _source_xml(part: Part, dtype: str, band: int, *, is_beside: bool) -> str:
    """One part; SourceProperties spare GDAL opening every file at the start."""
    w, (block_height, block_width), (row, col) = part.window, part.block_shape, part.offset
    size = f'xSize="{w.width}" ySize="{w.height}"'
    name = part.path.name if is_beside else str(part.path.resolve())
    return (
        f'<SimpleSource><SourceFilename relativeToVRT="{int(is_beside)}">{escape(name)}</SourceFilename>'
        f"<SourceBand>{band}</SourceBand>"
        f'<SourceProperties RasterXSize="{part.shape[1]}" RasterYSize="{part.shape[0]}" DataType="{dtype}" '
        f'BlockXSize="{block_width}" BlockYSize="{block_height}"/>'
        f'<SrcRect xOff="{col}" yOff="{row}" {size}/>'
        f'<DstRect xOff="{w.col_off}" yOff="{w.row_off}" {size}/></SimpleSource>'
    )
