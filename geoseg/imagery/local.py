"""Local or remote files as STAC items, so that they take the same path as a catalog's."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pystac
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from geoseg.errors import ImageryError, RecipeError
from geoseg.imagery.bands import common_name, common_names
from geoseg.stac.metadata import COMMON_NAMES
from geoseg.stac.signing import redact

T = TypeVar("T")
COLLECTION = "images"
SKIP = "-"


def items_from_images(
    images: list[str],
    *,
    bands: Sequence[str] | None = None,
    scale: Sequence[float] | None = None,
    offset: Sequence[float] | None = None,
) -> pystac.ItemCollection:
    """One item per date and place from GeoTIFFs or anything else that GDAL reads.

    Files that add bands to the one before are put into the same item (a file per band, or a file per
    resolution); a file that brings the same bands again starts the next item.

    Args:
        images: paths, ``http(s)://`` or ``s3://`` addresses.
        bands: STAC common names for the bands of the files, in order; ``-`` leaves a band out. As many as
            one file has (then they hold for each file), or as many as all files have together. None takes
            the files' band descriptions, then Sentinel-2 band numbers in file names.

        scale: reflectance = digital number * ``scale`` + ``offset``, whatever the files say: one value for
            all bands, or one for each in the order of ``bands``.
        offset: see ``scale``.

    Raises:
        ImageryError: a file cannot be opened, has no CRS, or its bands have no names.
        RecipeError: ``bands``, ``scale`` or ``offset`` has the wrong length, or a name is unknown.
    """
    items: list[pystac.Item] = []
    opened = [_describe(image) for image in images]
    if scale is not None or offset is not None:
        counts = [len(info["names"]) for info in opened]
        scales = _spread(list(scale or [1.0]), counts, "scale")
        offsets = _spread(list(offset or [0.0]), counts, "offset")
        for info, s, o in zip(opened, scales, offsets, strict=True):
            info.update(scales=s, offsets=o, is_stated=True)
    names = _names_for(opened, bands)
    for number, (image, info, band_names) in enumerate(zip(images, opened, names, strict=True)):
        new = {n for n in band_names if n}
        held = {b["common_name"] for b in _eo_bands(items[-1])} if items else set()
        if not items or held & new:
            items.append(_item(image, info, number))
        items[-1].assets[f"image{number}"] = _asset(image, info, band_names)
    return pystac.ItemCollection(items)


def _eo_bands(item: pystac.Item) -> list[dict[str, Any]]:
    assets = item.assets.values()
    return [b for a in assets for b in a.extra_fields["eo:bands"] if "common_name" in b]


def _describe(image: str) -> dict[str, Any]:
    try:
        with rasterio.open(image) as source:
            return _info(source, image)
    except RasterioError as error:
        reason = " ".join(str(error).split())
        raise ImageryError(
            f"{redact(image)} cannot be opened as an image: {reason.replace(image, redact(image))}. "
            "Check the path, or convert it to GeoTIFF."
        ) from None


def _info(source: DatasetReader, image: str) -> dict[str, Any]:
    label = redact(image)
    if source.crs is None:
        raise ImageryError(
            f"{label} has no CRS, so nothing says where it lies. Assign one: "
            f"gdal_edit.py -a_srs EPSG:... {label}"
        )
    if source.transform.is_identity:
        raise ImageryError(
            f"{label} has no geotransform. Georeference it first (gdalwarp, QGIS Georeferencer)."
        )
    geobox = GeoBox((source.height, source.width), source.transform, str(source.crs))
    stem = Path(label).stem
    descriptions = [d or (stem if source.count == 1 else "") for d in source.descriptions]
    return {
        "geobox": geobox,
        "names": common_names(descriptions),
        "descriptions": [d or f"band {i}" for i, d in enumerate(source.descriptions, 1)],
        "nodata": source.nodatavals,
        "dtypes": source.dtypes,
        "scales": source.scales,
        "offsets": source.offsets,
        "is_stated": any(s != 1 for s in source.scales) or any(o != 0 for o in source.offsets),
        "tags": source.tags(),
    }


def _names_for(opened: list[dict[str, Any]], bands: Sequence[str] | None) -> list[list[str | None]]:
    counts = [len(info["names"]) for info in opened]
    if bands is None:
        for info in opened:
            if not any(info["names"]):
                raise ImageryError(
                    f"The {len(info['names'])} bands of the image have no names that are known "
                    f"({', '.join(info['descriptions'][:6])}). Name them in order: --bands blue,green,red,nir "
                    "('-' leaves one out)."
                )
        return [info["names"] for info in opened]
    return _spread([None if b == SKIP else _known(b) for b in bands], counts, "bands")


def _spread(values: list[T], counts: list[int], flag: str) -> list[list[T]]:
    """A value for each band of each file, from one per band of any file, one per band of all, or (numbers) just one."""
    if flag != "bands" and len(values) == 1:
        return [values * count for count in counts]
    if all(count == len(values) for count in counts):
        return [values] * len(counts)
    if sum(counts) != len(values):
        raise RecipeError(
            f"--{flag} has {len(values)} values; the images have {' + '.join(map(str, counts))} bands. "
            "Give one for each band ('-' among --bands leaves one out)."
        )
    return [values[sum(counts[:i]) : sum(counts[: i + 1])] for i in range(len(counts))]


def _known(band: str) -> str:
    name = common_name(band)
    if name is None:
        raise RecipeError(
            f"--bands {band} is not a STAC common name. Known: {', '.join(sorted(COMMON_NAMES))}."
        )
    return name


def _item(image: str, info: dict[str, Any], number: int) -> pystac.Item:
    footprint = info["geobox"].extent.to_crs(
        "EPSG:4326", resolution=0.01 if info["geobox"].crs.geographic else 1000
    )
    when = _acquired(info["tags"])
    return pystac.Item(
        id=f"{Path(redact(image)).stem or 'image'}-{number}",
        geometry=footprint.json,
        bbox=list(footprint.boundingbox.bbox),
        datetime=when or datetime(1970, 1, 1, tzinfo=UTC),
        properties={"geoseg:datetime_known": when is not None},
        collection=COLLECTION,
    )


def _acquired(tags: dict[str, str]) -> datetime | None:
    """The date a TIFF states (TIFFTAG_DATETIME is ``YYYY:MM:DD HH:MM:SS``), if any."""
    try:
        return datetime.strptime(tags.get("TIFFTAG_DATETIME", ""), "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _asset(image: str, info: dict[str, Any], names: list[str | None]) -> pystac.Asset:
    geobox: GeoBox = info["geobox"]
    raster = [
        {"data_type": dtype, "nodata": nodata, "scale": scale, "offset": offset}
        for dtype, nodata, scale, offset in zip(
            info["dtypes"], info["nodata"], info["scales"], info["offsets"], strict=True
        )
    ]
    for band in raster:
        if band["nodata"] is None:
            del band["nodata"]
        if not info["is_stated"]:
            del band["scale"], band["offset"]
    eo = [{"name": n, "common_name": n} if n else {"name": f"band{i}"} for i, n in enumerate(names, 1)]
    return pystac.Asset(
        href=str(Path(image).resolve()) if Path(image).exists() else image,
        media_type="image/tiff; application=geotiff",
        roles=["data"],
        extra_fields={
            "eo:bands": eo,
            "raster:bands": raster,
            "proj:code": geobox.crs.to_epsg() and f"EPSG:{geobox.crs.to_epsg()}",
            "proj:wkt2": None if geobox.crs.to_epsg() else geobox.crs.to_wkt(),
            "proj:shape": list(geobox.shape),
            "proj:transform": list(geobox.affine)[:6],
        },
    )
