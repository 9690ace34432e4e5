"""The STAC collection of a map."""

import json
from datetime import UTC, datetime

import pystac
import pytest
from odc.geo.geobox import GeoBox
from odc.geo.geom import box

from geoseg.legend import Legend
from geoseg.writers.stac_assets import of_all_sheets, of_sheet, outputs_of
from geoseg.writers.stac_collection import About, write_collection
from geoseg.writers.stac_item import Lineage, SourceItem, SourceModel
from tests.stac_validation import validate_stac

LEGEND = Legend.of(water="1F78B4", crops="E6C34D")
BOX = GeoBox.from_bbox((280_000, 9_110_000, 281_000, 9_111_500), "EPSG:32725", resolution=10)
CREATED = datetime(2026, 11, 22, 17, 30, tzinfo=UTC)
A = SourceItem("a", start=datetime(2024, 6, 1, tzinfo=UTC), end=datetime(2024, 6, 2, tzinfo=UTC))
B = SourceItem("b", start=datetime(2024, 5, 1, tzinfo=UTC), end=datetime(2024, 5, 1, tzinfo=UTC))
UNDATED = SourceItem("c")


def write(folder, *sources, geobox=BOX, footprint=None, assets=None, about=None):
    text = "Median of items of https://user:key@example.com/s?sig=SECRET"
    return write_collection(
        folder,
        collection_id="map-1",
        about=about or About("Land cover of a farm", "Contains Sentinel data", "Some catalog"),
        geobox=geobox,
        footprint=geobox.extent if footprint is None else footprint,
        legend=LEGEND,
        lineage=Lineage(sources or (A, B, UNDATED), SourceModel("rules"), text, {"geoseg": "0.1.0"}),
        created=CREATED,
        items=["item.json"],
        outputs=outputs_of(("entropy",)),
        assets=assets or {},
    )


def test_it_is_valid_and_says_what_its_items_have_in_common(tmp_path):
    path = write(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["collection.json"]
    validate_stac(path)
    said = pystac.Collection.from_file(str(path))
    assert said.extent.temporal.intervals == [
        [datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 6, 2, tzinfo=UTC)]
    ]
    summaries = said.summaries.to_dict()
    assert summaries == {
        "gsd": [10],
        "proj:code": ["EPSG:32725"],
        "classification:classes": LEGEND.to_stac(),
    }
    assert set(said.item_assets) == {"class", "confidence", "entropy"}
    assert [provider.name for provider in said.providers] == ["geoseg", "Some catalog"]
    assert [link.get_absolute_href() for link in said.get_links("item")] == [str(tmp_path / "item.json")]
    assert "SECRET" not in path.read_text()
    assert "key@" not in path.read_text()


def test_without_a_date_it_is_that_of_the_map(tmp_path):
    said = pystac.Collection.from_file(str(write(tmp_path, UNDATED)))
    assert said.extent.temporal.intervals == [[CREATED, CREATED]]


@pytest.mark.parametrize(
    ("footprint", "expected"),
    [
        (box(-35.5, -9, -35, -8, "EPSG:4326"), [-35.5, -9, -35, -8]),
        # 360° further east this one is narrower by rounding
        (box(-34.91392, -9, -34.82888, -8, "EPSG:4326"), [-34.91392, -9, -34.82888, -8]),
        (
            box(179, -17, 180, -16, "EPSG:4326") | box(-180, -17, -179, -16, "EPSG:4326"),
            [179, -17, -179, -16],
        ),
    ],
)
def test_its_extent_lies_where_the_map_lies(tmp_path, footprint, expected):
    document = json.loads(write(tmp_path, footprint=footprint).read_text())
    assert document["extent"]["spatial"]["bbox"] == [expected]


def test_a_crs_without_a_code_is_left_to_the_items(tmp_path):
    geobox = GeoBox.from_bbox((0, 0, 100, 100), "+proj=laea +lat_0=-8 +lon_0=-35 +datum=WGS84", resolution=10)
    path = write(tmp_path, geobox=geobox)
    validate_stac(path)
    assert "proj:code" not in json.loads(path.read_text())["summaries"]


def test_images_without_a_catalog_name_no_provider(tmp_path):
    document = json.loads(write(tmp_path, about=About("A")).read_text())
    assert [provider["name"] for provider in document["providers"]] == ["geoseg"]


def test_of_a_map_in_sheets_it_holds_what_belongs_to_no_sheet(tmp_path):
    outputs = outputs_of(("entropy",), polygons=("classes-0000.parquet", "classes-0001.parquet"))
    path = write(tmp_path, assets=of_all_sheets(outputs))
    validate_stac(path)
    assets = json.loads(path.read_text())["assets"]
    assert {key: assets[key]["href"] for key in ("class", "entropy", "classes-0001", "report")} == {
        "class": "./class.vrt",
        "entropy": "./entropy.vrt",
        "classes-0001": "./classes-0001.parquet",
        "report": "./report.html",
    }
    assert "classes" not in assets
    assert assets["class"]["classification:classes"] == LEGEND.to_stac()
    assert {key: asset.file_name for key, asset in of_sheet(outputs, "r0001-c0002").items()} == {
        "class": "class-r0001-c0002.tif",
        "confidence": "confidence-r0001-c0002.tif",
        "entropy": "entropy-r0001-c0002.tif",
    }
