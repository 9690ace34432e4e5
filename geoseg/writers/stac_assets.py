"""The files of a map as STAC assets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from odc.geo.geobox import GeoBox

from geoseg.legend import CLASS_NODATA, CONFIDENCE_NODATA, CONFIDENCE_SCALE, Legend

COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"


@dataclass(frozen=True)
class OutputAsset:
    """One file that lies beside the STAC item."""

    file_name: str
    title: str
    media_type: str
    roles: tuple[str, ...]


OUTPUTS: Mapping[str, OutputAsset] = {
    "class": OutputAsset("class.tif", "Class map", COG_TYPE, ("data",)),
    "confidence": OutputAsset(
        "confidence.tif", "Confidence of the class, 0..1", COG_TYPE, ("data", "confidence")
    ),
    "entropy": OutputAsset(
        "entropy.tif", "Entropy of the class probabilities, 0..1 of its largest value", COG_TYPE, ("data",)
    ),
    "set_size": OutputAsset(
        "set_size.tif", "Classes that may be true, by conformal prediction", COG_TYPE, ("data",)
    ),
    "epistemic": OutputAsset(
        "epistemic.tif", "Uncertainty that more training would take away, 0..1", COG_TYPE, ("data",)
    ),
    "classes": OutputAsset("classes.gpkg", "Class polygons", "application/geopackage+sqlite3", ("data",)),
    "preview": OutputAsset("preview.png", "Preview", "image/png", ("overview",)),
    "style": OutputAsset("class.qml", "QGIS style of the class map", "application/xml", ("metadata",)),
    "report": OutputAsset("report.html", "Report for people", "text/html", ("metadata",)),
    "report_json": OutputAsset("report.json", "Report for programs", "application/json", ("metadata",)),
    "manifest": OutputAsset("manifest.json", "Recipe, versions, hashes", "application/json", ("metadata",)),
}
"""What a run may write, by asset key."""
LAYERS = ("class", "confidence", "entropy", "set_size", "epistemic")
"""Those that are rasters on the map's grid."""
COUNTS = ("set_size",)
"""Rasters of whole numbers. The others but ``class`` hold shares in steps of 1/254."""
_GEOPARQUET, _VRT = "application/vnd.apache.parquet", "application/x-gdal-vrt"
_OPTIONAL = ("entropy", "set_size", "epistemic")


def outputs_of(
    layers: Sequence[str] = (), *, polygons: Sequence[str] = ("classes.gpkg",)
) -> dict[str, OutputAsset]:
    """The files of a map with these layers of uncertainty and these files of polygons, by asset key."""
    outputs = {key: asset for key, asset in OUTPUTS.items() if key not in _OPTIONAL or key in layers}
    if "classes.gpkg" not in polygons:
        del outputs["classes"]
    tables = (name for name in polygons if name.endswith(".parquet"))
    return outputs | {Path(n).stem: OutputAsset(n, "Class polygons", _GEOPARQUET, ("data",)) for n in tables}


def of_sheet(outputs: Mapping[str, OutputAsset], name: str) -> dict[str, OutputAsset]:
    """Of these files, the rasters as they are of one sheet."""
    return {
        key: replace(asset, file_name=f"{Path(asset.file_name).stem}-{name}.tif")
        for key, asset in outputs.items()
        if key in LAYERS
    }


def of_all_sheets(outputs: Mapping[str, OutputAsset]) -> dict[str, OutputAsset]:
    """These files with the VRT that shows all sheets in place of each raster."""
    return {
        key: replace(asset, file_name=f"{Path(asset.file_name).stem}.vrt", media_type=_VRT)
        if key in LAYERS
        else asset
        for key, asset in outputs.items()
    }


def asset_of(key: str, asset: OutputAsset, geobox: GeoBox, legend: Legend) -> dict[str, Any]:
    """A file as a STAC asset; of rasters with the meaning of their pixels."""
    fields: dict[str, Any] = {
        "href": f"./{asset.file_name}",
        "title": asset.title,
        "type": asset.media_type,
        "roles": list(asset.roles),
    }
    band: dict[str, Any] = {"data_type": "uint8", "sampling": "area"}
    if geobox.crs and not geobox.crs.geographic:
        band["spatial_resolution"] = abs(geobox.resolution.x)
    if key == "class":
        fields["raster:bands"] = [{"nodata": CLASS_NODATA, **band}]
        fields["classification:classes"] = legend.to_stac()
    elif key in LAYERS:
        scaled = {} if key in COUNTS else {"scale": CONFIDENCE_SCALE, "offset": 0}
        fields["raster:bands"] = [{"nodata": CONFIDENCE_NODATA, **band, **scaled}]
    return fields
