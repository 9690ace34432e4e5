"""What a file must be before its pixels are believed: placed, whole, and holding measurements."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import DatasetReader

from geoseg.aoi import to_degrees
from geoseg.errors import AoiError, ImageryError
from geoseg.redaction import redact

_ASSIGN = "gdal_translate -a_srs EPSG:<code> IN.tif OUT.tif"
_MADE_FROM = "Give the imagery it was made from"


def is_masked(source: DatasetReader, image: str) -> bool:
    """Whether a mask or an alpha band hides pixels.

    Raises:
        ImageryError: it does, and cannot be read where the file lies.
    """
    found = any(MaskFlags.per_dataset in flags for flags in source.mask_flag_enums)
    if found and "?" in image:
        raise ImageryError(
            f"{redact(image)} has a mask or an alpha band, which cannot be read at an address with '?'. "
            "Copy or rename the file first."
        )
    return found


# --- placed --------------------------------------------------------------------------------------


def refuse_unplaced(source: DatasetReader, label: str) -> None:
    """A file whose CRS or geotransform do not say where on Earth its pixels lie.

    Raises:
        ImageryError: with the command that mends it.
    """
    if source.crs is None and (source.gcps[0] or source.rpcs):
        raise ImageryError(
            f"{label} is placed by control points or RPCs, not by a geotransform. Warp it first: "
            "gdalwarp -t_srs EPSG:<code> IN.tif OUT.tif"
        )
    if source.crs is None:
        raise ImageryError(f"{label} has no CRS, so nothing says where it lies. Assign one: {_ASSIGN}")
    if not (source.crs.is_projected or source.crs.is_geographic):
        raise ImageryError(
            f"{label} has a CRS that is neither geographic nor projected, so nothing says where on Earth it "
            f"lies. Assign the true one: {_ASSIGN}"
        )
    if source.transform.is_identity:
        raise ImageryError(
            f"{label} has a CRS but no geotransform. Georeference it first (gdalwarp, QGIS Georeferencer)."
        )
    transform: Affine = source.transform
    # A sheared or scaled-down grid is judged against its own size: pixels of degrees are small numbers.
    sides = math.hypot(transform.a, transform.d) * math.hypot(transform.b, transform.e)
    if not (math.isfinite(sides) and abs(transform.determinant) > 1e-9 * sides > 0):
        raise _misplaced(f"{label} has a geotransform that gives its pixels no area", transform)


def ground_of(geobox: GeoBox, label: str) -> Geometry:
    """What the file covers, in degrees.

    Raises:
        ImageryError: that is nowhere on Earth.
    """
    try:
        found: Geometry = to_degrees(geobox.extent)
    except AoiError:
        raise _misplaced(f"{label} lies nowhere in its CRS", geobox.affine) from None
    if found.is_empty:
        raise _misplaced(f"{label} has pixels too small to cover any ground", geobox.affine)
    # Its middle: global grids of cell centres go half a pixel beyond the poles, some go from 0 to 360.
    west, south, east, north = found.boundingbox.bbox
    if abs(south + north) / 2 > 90 or abs(west + east) / 2 > 360:
        raise _misplaced(f"{label} lies beyond the limits of longitude and latitude", geobox.affine)
    return found


def _misplaced(what: str, transform: Affine) -> ImageryError:
    numbers = ", ".join(f"{v:.10g}" for v in transform[:6])
    return ImageryError(
        f"{what} (its geotransform is {numbers}). Correct it: "
        "gdal_translate -a_srs EPSG:<code> -a_ullr <west> <north> <east> <south> IN.tif OUT.tif"
    )


# --- whole ---------------------------------------------------------------------------------------


def refuse_short(source: DatasetReader, label: str) -> None:
    """A file on disk that ends before its last pixels.

    GDAL reads what an ENVI file lacks as zeros, without a word (it takes the file for a sparse one). A
    GeoTIFF would fail when its missing blocks are read, hours later perhaps.

    Raises:
        ImageryError: with both sizes.
    """
    path = Path(source.name)
    if path.is_file() and (end := _end_of(source)) > (size := path.stat().st_size):
        raise ImageryError(
            f"{label} is cut short: it has {size:,} bytes, its pixels go on to byte {end:,}. "
            "Copy or download it again."
        )
    if source.driver == "VRT":
        for name in source.files:
            part = Path(name)
            if part.is_file() and part.with_suffix(".hdr").is_file():  # ENVI
                with rasterio.open(part) as inner:
                    refuse_short(inner, f"{part}, a source of {label},")


def _end_of(source: DatasetReader) -> int:
    """How long the file must be at least, as far as its header tells."""
    if source.driver == "ENVI":
        header: dict[str, str] = source.tags(ns="ENVI")
        if header.get("file_compression", "0") != "0":
            return 0
        n_values = source.width * source.height * source.count
        end: int = int(header.get("header_offset", 0)) + n_values * np.dtype(source.dtypes[0]).itemsize
        return end
    if source.driver == "GTiff":  # gdal.org/drivers/raster/gtiff.html, "Internal: block offsets"
        height, width = source.block_shapes[0]
        last = f"{(source.width - 1) // width}_{(source.height - 1) // height}"
        return max(_block_end(source, last, band) for band in source.indexes)
    return 0


def _block_end(source: DatasetReader, block: str, band: int) -> int:
    """Where the bytes of a block end; 0 for one that was left out, as nodata."""
    offset = source.get_tag_item(f"BLOCK_OFFSET_{block}", "TIFF", bidx=band)
    size = source.get_tag_item(f"BLOCK_SIZE_{block}", "TIFF", bidx=band)
    return int(offset) + int(size) if offset and size else 0


# --- measurements --------------------------------------------------------------------------------


def kinds_of(source: DatasetReader) -> list[str]:
    """For each band what its numbers are, where that is no measurement: complex, palette, bit, or nothing."""
    kinds = []
    for band, (dtype, meaning) in enumerate(zip(source.dtypes, source.colorinterp, strict=True), 1):
        is_bit = source.tags(band, ns="IMAGE_STRUCTURE").get("NBITS") == "1"
        is_complex = str(dtype).startswith("complex")
        is_palette = meaning == ColorInterp.palette
        kinds.append("complex" if is_complex else "palette" if is_palette else "bit" if is_bit else "")
    return kinds


def refuse_unmeasured(info: dict[str, Any], names: Sequence[str | None]) -> None:
    """Bands to be read (those with a name; all where none has) that hold no reflectance.

    Bits and entries of a colour table pass where a scale says what they mean.

    Raises:
        ImageryError: complex numbers, colour tables, bits; a scale or offset that leaves nothing of them.
    """
    label = info["label"]
    for i, kind in enumerate(info["kinds"]):
        if names[i] is None and any(names):
            continue
        band = f"Band {names[i] or i + 1} of {label}"
        if kind == "complex":
            raise ImageryError(
                f"{band} holds complex numbers ({info['dtypes'][i]}), expected real ones. "
                "Take their amplitude: gdal_translate DERIVED_SUBDATASET:AMPLITUDE:IN.tif OUT.tif"
            )
        if kind == "palette" and not info["is_stated"]:
            raise ImageryError(
                f"{band} has a colour table: its numbers are entries of it, a picture or "
                f"a class map, not reflectance. {_MADE_FROM}, or say what the numbers mean with --scale."
            )
        if kind == "bit" and not info["is_stated"]:
            raise ImageryError(
                f"{band} has 1 bit per pixel: a mask, not reflectance. {_MADE_FROM}, or "
                "say what 0 and 1 mean with --scale and --offset."
            )
        scale, offset = info["scales"][i], info["offsets"][i]
        if scale == 0 or not math.isfinite(scale) or not math.isfinite(offset):
            raise ImageryError(
                f"{band} has a scale of {scale:g} and an offset of {offset:g}, which leave nothing of its "
                "values. Give the true ones with --scale and --offset, such as --scale 0.0001 --offset 0."
            )
