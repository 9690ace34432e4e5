import json
from datetime import UTC, datetime

import pystac
import pytest
import shapely
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry

from geoseg.errors import OutputError
from geoseg.legend import CONFIDENCE_SCALE, Legend, LegendClass
from geoseg.writers.stac_item import OUTPUTS, Lineage, write_item
from tests.stac_validation import validate_item

LEGEND = Legend(
    classes=(
        LegendClass(value=0, name="water", color_hint="1F78B4", description="Open water."),
        LegendClass(value=1, name="crops, irrigated", color_hint="E6C34D"),
    )
)
BOX = GeoBox.from_bbox((280_000, 9_110_000, 281_000, 9_111_500), "EPSG:32725", resolution=10)
LINEAGE = Lineage(
    source_hrefs=(
        "https://user:key@example.com/items/b?sig=SECRET",
        "https://example.com/items/a",
        "https://example.com/items/a",
    ),
    start=datetime(2024, 6, 1, 12, tzinfo=UTC),
    end=datetime(2024, 8, 30, 12, tzinfo=UTC),
    text="Median of 2 items, classified by spectral-rules.",
    software={"geoseg": "0.1.0"},
    model_href="https://example.com/models/spectral-rules/item.json",
)
CREATED = datetime(2026, 11, 22, 17, 30, tzinfo=UTC)


def write(folder, *, geobox=BOX, footprint=None, lineage=LINEAGE, legend=LEGEND):
    return write_item(
        folder / "item.json",
        item_id="map-1",
        geobox=geobox,
        footprint=geobox.extent if footprint is None else footprint,
        legend=legend,
        lineage=lineage,
        created=CREATED,
    )


def test_item_is_valid_and_tells_the_grid_the_classes_and_the_sources(tmp_path):
    path = write(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["item.json"]
    validate_item(path)
    item = json.loads(path.read_text())
    properties, assets = item["properties"], item["assets"]
    assert properties["proj:code"] == "EPSG:32725"
    assert properties["proj:shape"] == [150, 100]
    assert properties["proj:transform"] == [10, 0, 280_000, 0, -10, 9_111_500]
    assert properties["proj:bbox"] == [280_000, 9_110_000, 281_000, 9_111_500]
    assert properties["datetime"] is None
    assert properties["start_datetime"] == "2024-06-01T12:00:00Z"
    assert properties["processing:software"] == {"geoseg": "0.1.0"}
    assert {a["href"] for a in assets.values()} == {f"./{o.file_name}" for o in OUTPUTS.values()}
    assert assets["class"]["classification:classes"] == LEGEND.to_stac()
    assert assets["class"]["raster:bands"][0]["nodata"] == 255
    assert assets["confidence"]["raster:bands"][0]["scale"] == CONFIDENCE_SCALE
    assert [(link["rel"], link["href"]) for link in item["links"]] == [
        ("derived_from", "https://example.com/items/a"),
        ("derived_from", "https://example.com/items/b"),
        ("derived_from", "https://example.com/models/spectral-rules/item.json"),
    ]
    assert "SECRET" not in path.read_text()
    assert "key@" not in path.read_text()


def test_pystac_reads_it(tmp_path):
    item = pystac.Item.from_file(write(tmp_path))
    assert item.ext.proj.epsg == 32725
    assert item.assets["class"].get_absolute_href() == str(tmp_path / "class.tif")


def test_same_input_same_bytes(tmp_path):
    assert write(tmp_path).read_bytes() == write(tmp_path).read_bytes()


def test_one_date_is_the_datetime(tmp_path):
    lineage = Lineage((), LINEAGE.start, LINEAGE.start, "One item.", {"geoseg": "0.1.0"})
    path = write(tmp_path, lineage=lineage)
    validate_item(path)
    item = json.loads(path.read_text())
    assert item["properties"]["datetime"] == "2024-06-01T12:00:00Z"
    assert "start_datetime" not in item["properties"]
    assert item["links"] == []


def test_a_crs_without_a_code_is_given_in_full(tmp_path):
    box = GeoBox.from_bbox((0, 0, 100, 100), "+proj=laea +lat_0=-8 +lon_0=-35 +datum=WGS84", resolution=10)
    path = write(tmp_path, geobox=box)
    validate_item(path)
    properties = json.loads(path.read_text())["properties"]
    assert properties["proj:code"] is None
    assert properties["proj:wkt2"].startswith("PROJCRS")


@pytest.mark.parametrize(
    ("footprint", "geobox"),
    [
        (None, GeoBox.from_bbox((800_000, -1_900_000, 900_000, -1_800_000), "EPSG:32660", resolution=1000)),
        (shapely.box(179.5, -10, 180.5, -9), BOX),
        (shapely.MultiPolygon([shapely.box(179, -10, 180, -9), shapely.box(-180, -10, -179, -9)]), BOX),
        (Geometry(shapely.box(-180.5, -10, -179.5, -9), "EPSG:4326"), BOX),
    ],
    ids=["utm", "beyond 180", "halves", "beyond -180"],
)
def test_across_the_antimeridian_west_is_greater_than_east(tmp_path, footprint, geobox):
    path = write(tmp_path, footprint=footprint, geobox=geobox)
    validate_item(path)
    item = json.loads(path.read_text())
    west, _, east, _ = item["bbox"]
    assert 178 < west < 180
    assert -180 < east < -178
    geometry = shapely.geometry.shape(item["geometry"])
    assert geometry.geom_type == "MultiPolygon"
    assert geometry.is_valid
    assert all(part.exterior.is_ccw for part in geometry.geoms)
    assert geometry.area < 2.1


def test_errors_are_one_line(tmp_path):
    with pytest.raises(OutputError, match=r"Cannot write .*item\.json: No such file or directory"):
        write(tmp_path / "none")
    with pytest.raises(OutputError, match="The footprint of the map is empty"):
        write(tmp_path, footprint=shapely.Polygon())
