from datetime import UTC, datetime

import numpy as np
import pytest
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr

from geoseg.legend import Legend
from geoseg.report.facts import AreaAsked, ItemFacts, ModelFacts, RunFacts
from geoseg.report.summary import summarize
from geoseg.writers.cog import write_cog

LEGEND = Legend.of(water="1F78B4", tree="33A02C", bare="C8AD7F", built="E31A1C")
HOSTILE = "<script src=\"https://evil.example/x.js\">alert('&')</script>"
"""Text that must come out as text wherever a report shows it."""


@pytest.fixture
def make_report(tmp_path):
    """class_id, crs, gsd and any field of the report's parts -> (class.tif, Report)."""

    def make(class_id=None, *, crs="EPSG:32725", gsd=10.0, legend=LEGEND, title="Olinda", **run):
        class_id = blocks() if class_id is None else class_id
        box = grid(*class_id.shape, crs, gsd)
        path = write_cog(wrap_xr(class_id, box), tmp_path / "class.tif", legend=legend)
        report = summarize(
            path,
            legend,
            title=title,
            aoi=AreaAsked(source=run.pop("source", "area.geojson"), area_km2=run.pop("area_km2", 2.0)),
            covered_km2=run.pop("covered_km2", 1.5),
            items=run.pop("items", (an_item(),)),
            model=run.pop(
                "model", ModelFacts(name="spectral-rules", license="Apache-2.0", bands=("green", "nir08"))
            ),
            run=RunFacts(**{"geoseg_version": "0.1.0", "created": datetime(2026, 11, 22, tzinfo=UTC)} | run),
        )
        return path, report

    return make


def an_item(**facts) -> ItemFacts:
    defaults = {
        "id": "S2A_1",
        "collection": "sentinel-2-l2a",
        "datetime": datetime(2024, 6, 1, 12, tzinfo=UTC),
    }
    return ItemFacts(**{**defaults, "cloud_cover": 3.25, "href": "https://example.com/items/1", **facts})


def blocks() -> np.ndarray:
    """100 x 140 px: three columns of classes, a corner of nodata; class ``built`` is absent."""
    class_id = np.repeat(np.array([0, 1, 2], "uint8"), [40, 60, 40])[None].repeat(100, 0)
    class_id[:20, :30] = 255
    return class_id


def grid(height: int, width: int, crs: str, gsd: float) -> GeoBox:
    left, top = (280_000, 9_120_000) if gsd > 1 else (20.0, 60.0)
    bounds = (left, top - height * gsd, left + width * gsd, top)
    return GeoBox.from_bbox(bounds, crs, shape=(height, width), tight=True)
