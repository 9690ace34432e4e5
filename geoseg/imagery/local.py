"""Local or remote files as STAC items, so that they take the same path as a catalog's."""

import re
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pystac
import rasterio
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader

from geoseg.errors import GeosegWarning, ImageryError, RecipeError
from geoseg.imagery.bands import common_names, name_of_file
from geoseg.imagery.changes import FILES, files_of
from geoseg.imagery.loader import MASKED
from geoseg.imagery.reading import gdal_env, read_patiently
from geoseg.imagery.sound import (
    ground_of,
    is_masked,
    kinds_of,
    refuse_short,
    refuse_unmeasured,
    refuse_unplaced,
)
from geoseg.redaction import redact
from geoseg.registry import did_you_mean
from geoseg.stac.metadata import COMMON_NAMES

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
    resolution); a file that brings the same bands again, or lies elsewhere, starts the next item. An item
    covers what all its files cover.

    Args:
        images: paths, ``http(s)://`` or ``s3://`` addresses.
        bands: STAC common names for the bands of the files, in order; ``-`` leaves a band out. As many as
            one file has (then they hold for each file), or as many as all files have together, alpha bands
            not counted. None takes the files' band descriptions, then band numbers in file names.
        scale: reflectance = digital number * ``scale`` + ``offset``, whatever the files say: one value for
            all bands, or one for each in the order of ``bands``.
        offset: see ``scale``.

    Raises:
        ImageryError: a file cannot be opened or is cut short, nothing says where it lies, its bands have no
            names or two have the same, or hold no reflectance (see :mod:`geoseg.imagery.sound`).
        RecipeError: ``bands``, ``scale`` or ``offset`` has the wrong length, or a name is unknown.
    """
    items: list[pystac.Item] = []
    opened = [_describe(image) for image in images]
    if scale is not None or offset is not None:
        counts = [len(info["names"]) for info in opened]
        scales = _spread(list(scale or [1.0]), counts, "scale")
        offsets = _spread(list(offset or [0.0]), counts, "offset")
        for info, s, o in zip(opened, scales, offsets, strict=True):
            alpha = info["is_alpha"]
            info.update(
                scales=_around_alpha(alpha, s, 1.0), offsets=_around_alpha(alpha, o, 0.0), is_stated=True
            )
    names = _names_for(opened, bands)
    for number, (image, info, band_names) in enumerate(zip(images, opened, names, strict=True)):
        _refuse_twins(image, band_names)
        refuse_unmeasured(info, band_names)
        footprint = info["footprint"]
        shared = _shared(items[-1], footprint, band_names) if items else None
        if shared is None:
            items.append(_item(image, info, number, footprint))
        else:
            items[-1].geometry, items[-1].bbox = shared.json, list(shared.boundingbox.bbox)
        items[-1].assets[f"image{number}"] = _asset(image, info, band_names)
    return pystac.ItemCollection(items)


def _shared(item: pystac.Item, footprint: Geometry, names: list[str | None]) -> Geometry | None:
    """What ``item`` and a further file cover together; None if the file belongs to another item."""
    assets = item.assets.values()
    held = {b["common_name"] for a in assets for b in a.extra_fields["eo:bands"] if "common_name" in b}
    both = Geometry(item.geometry, crs="EPSG:4326") & footprint
    return both if both.area > 0 and not held & set(names) else None


def _refuse_twins(image: str, names: list[str | None]) -> None:
    twins = sorted({n for n in names if n and names.count(n) > 1})
    if twins:
        raise ImageryError(
            f"{redact(image)} has two bands named {twins[0]}. Name each once and leave the others out: "
            f"--bands {','.join(n if n and n not in names[:i] else SKIP for i, n in enumerate(names))}"
        )


def _describe(image: str) -> dict[str, Any]:
    if _is_path(image) and not Path(image).exists():
        raise ImageryError(f"There is no file {image}. Check the path.")

    def read(address: str) -> dict[str, Any]:
        with rasterio.open(address) as source:
            return _info(source, image)

    try:
        # A mistyped address is told at once; GDAL itself would repeat even a "404, not found" for 12 s.
        with gdal_env({"GDAL_HTTP_MAX_RETRY": "0"}):
            return read_patiently(image, read)
    except ImageryError:
        if _is_path(image) and Path(image).is_dir():
            raise ImageryError(f"{image} is a folder. Name its files: --image A.tif --image B.tif") from None
        raise


def _is_path(image: str) -> bool:
    """Whether GDAL takes it as a plain path: no address, ``/vsi`` file system or ``DRIVER:`` prefix."""
    return not re.match(r"\w[\w.+-]*:|/vsi", image)


def _info(source: DatasetReader, image: str) -> dict[str, Any]:
    label = redact(image)
    refuse_unplaced(source, label)
    refuse_short(source, label)
    geobox = GeoBox((source.height, source.width), source.transform, str(source.crs))
    is_alpha = [c == ColorInterp.alpha for c in source.colorinterp]
    descriptions = [d or "" for d in source.descriptions]
    if source.count == 1:
        names = [name_of_file(Path(label).stem, descriptions[0])]
    else:
        names = common_names([d for d, alpha in zip(descriptions, is_alpha, strict=True) if not alpha])
    return {
        "geobox": geobox,
        "footprint": ground_of(geobox, label),
        "crs": source.crs,
        "label": label,
        "names": names,
        "is_alpha": is_alpha,
        "descriptions": [d or f"band {i}" for i, d in enumerate(descriptions, 1)],
        "nodata": source.nodatavals,
        "dtypes": source.dtypes,
        "scales": source.scales,
        "offsets": source.offsets,
        "is_stated": any(s != 1 for s in source.scales) or any(o != 0 for o in source.offsets),
        "is_masked": is_masked(source, image),
        "kinds": kinds_of(source),
        "files": files_of(source.files) if _is_path(image) else [],
        "tags": source.tags(),
    }


def _names_for(opened: list[dict[str, Any]], bands: Sequence[str] | None) -> list[list[str | None]]:
    """A common name or None for each band of each file, alpha bands included."""
    if bands is None:
        for info in opened:
            if not any(info["names"]):
                refuse_unmeasured(info, [None] * len(info["kinds"]))
                _refuse_nameless(info)
        named = [info["names"] for info in opened]
    else:
        named = _spread(_known(bands), [len(info["names"]) for info in opened], "bands")
        for info, given in zip(opened, named, strict=True):
            _warn_of_others(info, given)
    return [_around_alpha(info["is_alpha"], names, None) for info, names in zip(opened, named, strict=True)]


def _warn_of_others(info: dict[str, Any], given: list[str | None]) -> None:
    said = zip(info["names"], given, strict=True)
    others = [f"{own}, you say {name}" for own, name in said if own and name and own != name]
    if others:
        warnings.warn(
            f"{info['label']} names its bands otherwise: it says {'; '.join(others)}. --bands was believed.",
            GeosegWarning,
            stacklevel=2,
        )


def _refuse_nameless(info: dict[str, Any]) -> None:
    found = ", ".join(info["descriptions"][:6]) + (", ..." if len(info["descriptions"]) > 6 else "")
    count = f"{len(info['names'])} band{'s' * (len(info['names']) > 1)}"
    raise ImageryError(
        f"No known band name in {info['label']} (it has {found}). Name its {count} in order, as in "
        "--bands blue,green,red,nir,swir16,swir22 ('-' leaves one out)."
    )


def _around_alpha(is_alpha: list[bool], values: list[T], filler: T) -> list[T]:
    """One value per band of the file, with ``filler`` for its alpha bands."""
    rest = iter(values)
    return [filler if alpha else next(rest) for alpha in is_alpha]


def _spread(values: list[T], counts: list[int], flag: str) -> list[list[T]]:
    """A value per band of each file, from one per band of any file, one per band of all, or one number."""
    if flag != "bands" and len(values) == 1:
        return [values * count for count in counts]
    if all(count == len(values) for count in counts):
        return [values] * len(counts)
    if sum(counts) != len(values):
        have = " + ".join(map(str, counts))
        rest = " ('-' leaves a band out)" if flag == "bands" else ", or one for all"
        raise RecipeError(
            f"--{flag} has {len(values)} values, but there are {have} bands (alpha not counted). "
            f"Give one for each{rest}."
        )
    return [values[sum(counts[:i]) : sum(counts[: i + 1])] for i in range(len(counts))]


def _known(bands: Sequence[str]) -> list[str | None]:
    named = [b for b in bands if b != SKIP]
    for band, name in zip(named, found := common_names(named), strict=True):
        if name is None:
            near = did_you_mean(band.lower(), sorted(COMMON_NAMES))
            raise RecipeError(f"--bands {band} is not a STAC common name: {near}")
    names = iter(found)
    return [None if b == SKIP else next(names) for b in bands]


def _item(image: str, info: dict[str, Any], number: int, footprint: Geometry) -> pystac.Item:
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
    epsg = info["crs"].to_epsg()
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
            "proj:code": f"EPSG:{epsg}" if epsg else None,
            "proj:wkt2": None if epsg else info["crs"].to_wkt(version="WKT2_2019"),
            "proj:shape": list(geobox.shape),
            "proj:transform": list(geobox.affine)[:6],
            **({MASKED: True} if info["is_masked"] else {}),
            **({FILES: info["files"]} if info["files"] else {}),
        },
    )
