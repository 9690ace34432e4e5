"""Items of any catalog in one form."""

import json
from datetime import UTC, datetime

import pystac
from hypothesis import given
from hypothesis import strategies as st

from geoseg.imagery.changes import FILES
from geoseg.imagery.harmonise import available_bands, prepare
from geoseg.imagery.loader import CLOUDS, band_metadata
from geoseg.stac.catalog import CollectionConfig

DAY = datetime(2024, 6, 1, tzinfo=UTC)
CONFIG = CollectionConfig.model_validate({
    "scale": 0.5, "nodata": 0, "dtype": "uint16", "gsd_m": 10,
    "bands": {"red": {"asset": "stack", "index": 3}, "nir": {"asset": "stack", "index": 1}, "swir16": {"asset": "swir", "gsd_m": 20}},
    "clouds": {"asset": "scl", "values": [8], "nodata": 0},
})  # fmt: skip


def item(**assets: dict[str, object]) -> pystac.Item:
    made = pystac.Item("i", None, None, DAY, properties={"noise": 1, "proj:code": "EPSG:32725"})
    made.collection_id = "c"
    made.add_link(pystac.Link("self", "https://example.com/i.json"))
    made.add_asset("thumbnail", pystac.Asset("https://example.com/t.png?sig=1"))
    for key, fields in assets.items():
        made.add_asset(key, pystac.Asset(f"https://example.com/{key}.tif", extra_fields=dict(fields)))
    return made


def test_layers_are_told_by_their_index() -> None:
    small = prepare(item(stack={}, swir={}, scl={}), config=CONFIG, bands=CONFIG.bands, has_clouds=True)
    names = [band["name"] for band in small.assets["stack"].extra_fields["eo:bands"]]
    assert (names[0], names[2]) == ("nir", "red")
    assert "common_name" not in small.assets["stack"].extra_fields["eo:bands"][1]
    assert set(band_metadata(small)) == {"red", "nir", "swir16", CLOUDS}


def test_what_the_item_declares_wins() -> None:
    declared = {"raster:bands": [{"scale": 2.0, "offset": -0.1, "nodata": -9999, "data_type": "int16"}]}
    small = prepare(item(stack={}, swir=declared), config=CONFIG, bands=CONFIG.bands, has_clouds=True)
    found = band_metadata(small)
    assert found["swir16"] == {"scale": 2.0, "offset": -0.1, "nodata": -9999, "data_type": "int16"}
    assert found["red"] == {"scale": 0.5, "nodata": 0, "data_type": "uint16"}


def test_a_declared_zero_is_declared() -> None:
    declared = {"raster:bands": [{"offset": 0, "nodata": 0}]}
    found = band_metadata(
        prepare(
            item(swir=declared), config=CONFIG, bands={"swir16": CONFIG.bands["swir16"]}, has_clouds=False
        )
    )
    assert found["swir16"]["offset"] == 0
    assert found["swir16"]["nodata"] == 0


def test_only_what_is_needed_travels() -> None:
    bands = {"red": CONFIG.bands["red"]}
    small = prepare(
        item(stack={"proj:shape": [1, 1], "junk": 1}, swir={}, scl={}),
        config=CONFIG,
        bands=bands,
        has_clouds=True,
    )
    assert set(small.assets) == {"stack", CLOUDS}
    assert small.links == []
    assert "noise" not in small.properties
    assert small.properties["proj:code"] == "EPSG:32725"
    assert "junk" not in small.assets["stack"].extra_fields
    assert small.assets["stack"].extra_fields["gsd"] == 10
    assert "sig=" not in json.dumps(small.to_dict())


def test_clouds_only_where_asked_for_and_there() -> None:
    bands = {"swir16": CONFIG.bands["swir16"]}
    assert CLOUDS in prepare(item(swir={}, scl={}), config=CONFIG, bands=bands, has_clouds=True).assets
    assert CLOUDS not in prepare(item(swir={}, scl={}), config=CONFIG, bands=bands, has_clouds=False).assets
    assert CLOUDS not in prepare(item(swir={}), config=CONFIG, bands=bands, has_clouds=True).assets


@given(st.sets(st.sampled_from(["stack", "swir", "scl", "other"])))
def test_available_bands_are_those_of_assets_that_are_there(keys: set[str]) -> None:
    expected = {name for name, band in CONFIG.bands.items() if band.asset in keys}
    assert set(available_bands(item(**{key: {} for key in keys}), CONFIG)) == expected


def test_the_original_is_left_alone() -> None:
    original = item(stack={"raster:bands": [{"scale": 1}]}, swir={}, scl={})
    before = json.dumps(original.to_dict())
    small = prepare(original, config=CONFIG, bands=CONFIG.bands, has_clouds=True)
    for values in band_metadata(small).values():
        values["scale"] = 99
    assert json.dumps(original.to_dict()) == before


def test_what_says_that_a_file_is_another_one_travels() -> None:
    states = {"file:checksum": "1220aa", "file:size": 7, FILES: [["/tmp/a.tif", 7, 8]]}
    given = item(swir=states)
    given.properties["updated"] = "2026-01-01T00:00:00Z"
    small = prepare(given, config=CONFIG, bands={"swir16": CONFIG.bands["swir16"]}, has_clouds=False)
    assert small.properties["updated"] == "2026-01-01T00:00:00Z"
    assert states.items() <= small.assets["swir"].extra_fields.items()
