import json
from datetime import UTC, datetime

import pystac
import pytest
import shapely
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry

from geoseg.errors import OutputError
from geoseg.legend import CONFIDENCE_SCALE, Legend, LegendClass
from geoseg.writers.stac_assets import OUTPUTS, outputs_of
from geoseg.writers.stac_item import Lineage, SourceItem, SourceModel, write_item
from tests.stac_validation import validate_item

LEGEND = Legend(
    classes=(
        LegendClass(value=0, name="water", color_hint="1F78B4", description="Open water."),
        LegendClass(value=1, name="crops, irrigated", color_hint="E6C34D"),
    )
)
BOX = GeoBox.from_bbox((280_000, 9_110_000, 281_000, 9_111_500), "EPSG:32725", resolution=10)
START, END = datetime(2024, 6, 1, 12, tzinfo=UTC), datetime(2024, 8, 30, 12, tzinfo=UTC)
A = SourceItem("a", "s2", href="https://example.com/items/a", start=START, end=START)
B = SourceItem("b", "s2", href="https://user:key@example.com/items/b?sig=SECRET", start=END, end=END)
FILE = SourceItem("scene-0", files=("https://user:key@example.com/scene.tif?sig=SECRET", "/data/scene.tif"))
MODEL_HREF = "https://example.com/models/spectral-rules/item.json"
LINEAGE = Lineage(
    sources=(B, A, A),
    model=SourceModel("spectral-rules", sha256="ab" * 32, href=MODEL_HREF),
    text="Median of 2 items, classified by spectral-rules.",
    software={"geoseg": "0.1.0"},
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
        assets=outputs_of(("entropy", "set_size", "epistemic")),
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
    for shares in ("confidence", "entropy", "epistemic"):
        assert assets[shares]["raster:bands"][0]["scale"] == CONFIDENCE_SCALE
    assert "scale" not in assets["set_size"]["raster:bands"][0]
    assert [(link["rel"], link["href"]) for link in item["links"]] == [
        ("derived_from", "https://example.com/items/a"),
        ("derived_from", "https://example.com/items/b"),
        ("derived_from", MODEL_HREF),
    ]
    assert properties["geoseg:source_items"][0] == {
        "id": "b",
        "collection": "s2",
        "href": "https://example.com/items/b",
    }
    assert properties["geoseg:model"] == {"name": "spectral-rules", "sha256": "ab" * 32}
    assert properties["processing:expression"] == {"format": "stac-mlm", "expression": MODEL_HREF}
    assert "SECRET" not in path.read_text()
    assert "key@" not in path.read_text()


def test_pystac_reads_it(tmp_path):
    item = pystac.Item.from_file(write(tmp_path))
    assert item.ext.proj.epsg == 32725
    assert item.assets["class"].get_absolute_href() == str(tmp_path / "class.tif")


def test_same_input_same_bytes(tmp_path):
    assert write(tmp_path).read_bytes() == write(tmp_path).read_bytes()


def lineage_of(*sources):
    return Lineage(sources, SourceModel("rules"), "Some items.", {"geoseg": "0.1.0"})


def test_one_date_is_the_datetime(tmp_path):
    path = write(tmp_path, lineage=lineage_of(A))
    validate_item(path)
    item = json.loads(path.read_text())
    assert item["properties"]["datetime"] == "2024-06-01T12:00:00Z"
    assert "start_datetime" not in item["properties"]
    assert "description" not in item["properties"]
    assert item["properties"]["geoseg:model"] == {"name": "rules"}


def test_sources_without_an_address_or_a_date_are_named(tmp_path):
    path = write(tmp_path, lineage=lineage_of(FILE))
    validate_item(path)
    item = json.loads(path.read_text())
    files = ["https://example.com/scene.tif", "/data/scene.tif"]
    assert item["properties"]["geoseg:source_items"] == [{"id": "scene-0", "files": files}]
    assert item["properties"]["datetime"] == "2026-11-22T17:30:00Z"
    assert "state no date" in item["properties"]["description"]
    assert item["links"] == []


def test_dates_are_those_of_the_sources_that_state_one(tmp_path):
    path = write(tmp_path, lineage=lineage_of(A, FILE, B))
    validate_item(path)
    properties = json.loads(path.read_text())["properties"]
    assert (properties["start_datetime"], properties["end_datetime"]) == (
        "2024-06-01T12:00:00Z",
        "2024-08-30T12:00:00Z",
    )
    assert properties["description"].startswith("1 of 3 images state no date")


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
        (shapely.Polygon([(179.5, -10), (-179.5, -10), (-179.5, -9), (179.5, -9)]), BOX),
        (shapely.MultiPolygon([shapely.box(179, -10, 179.5, -9), shapely.box(-179.5, -10, -179, -9)]), BOX),
    ],
    ids=["utm", "beyond 180", "halves", "beyond -180", "leap", "both sides of it"],
)
def test_across_the_antimeridian_west_is_greater_than_east(tmp_path, footprint, geobox):
    path = write(tmp_path, footprint=footprint, geobox=geobox)
    validate_item(path)
    item = json.loads(path.read_text())
    west, _, east, _ = item["bbox"]
    assert 178 < west < 180
    assert -180 < east < -178
    assert item["bbox"] == [round(edge, 7) for edge in item["bbox"]]
    geometry = shapely.geometry.shape(item["geometry"])
    assert geometry.geom_type == "MultiPolygon"
    assert geometry.is_valid
    assert all(part.exterior.is_ccw for part in geometry.geoms)
    assert geometry.area < 2.1


@pytest.mark.parametrize(("crs", "pole"), [("EPSG:3031", -90), ("EPSG:3413", 90)])
def test_over_a_pole(tmp_path, crs, pole):
    box = GeoBox.from_bbox((-300_000, -300_000, 300_000, 300_000), crs, resolution=10_000)
    path = write(tmp_path, geobox=box)
    validate_item(path)
    item = json.loads(path.read_text())
    assert (item["bbox"][0], item["bbox"][2]) == (-180, 180)
    assert pole in item["bbox"]
    assert shapely.geometry.shape(item["geometry"]).covers(shapely.Point(77, pole))


def test_errors_are_one_line(tmp_path):
    with pytest.raises(OutputError, match=r"Cannot write .*item\.json: No such file or directory"):
        write(tmp_path / "none")
    with pytest.raises(OutputError, match="The footprint of the map is empty"):
        write(tmp_path, footprint=shapely.Polygon())
