import xml.etree.ElementTree as ET

import pytest

from geoseg.errors import OutputError
from geoseg.legend import Legend, LegendClass
from geoseg.writers.qml import qml_for_polygons, sld_for_polygons, write_qml

LEGEND = Legend(
    classes=(
        LegendClass(value=7, name="built-up, dense", color_hint="E31A1C"),
        LegendClass(value=0, name="water", color_hint="1F78B4"),
    )
)
OGC = {"ogc": "http://www.opengis.net/ogc", "sld": "http://www.opengis.net/sld"}


def test_raster_style_lists_the_legend_and_nothing_else(tmp_path):
    path = write_qml(tmp_path / "class.qml", LEGEND)
    assert [p.name for p in tmp_path.iterdir()] == ["class.qml"]
    renderer = ET.parse(path).getroot().find("pipe/rasterrenderer")
    assert renderer.get("type") == "paletted"
    assert renderer.get("band") == "1"
    entries = [dict(e.attrib) for e in renderer.iter("paletteEntry")]
    assert entries == [
        {"value": "7", "label": "built-up, dense", "color": "#e31a1c", "alpha": "255"},
        {"value": "0", "label": "water", "color": "#1f78b4", "alpha": "255"},
    ]


def test_polygon_style_has_a_category_and_a_symbol_for_each_class():
    renderer = ET.fromstring(qml_for_polygons(LEGEND).split("\n", 1)[1]).find("renderer-v2")
    assert (renderer.get("type"), renderer.get("attr")) == ("categorizedSymbol", "class_id")
    fills = {
        s.get("name"): s.find("layer/Option/Option[@name='color']").get("value")
        for s in renderer.iter("symbol")
    }
    categories = [(c.get("value"), c.get("label"), fills[c.get("symbol")]) for c in renderer.iter("category")]
    assert categories == [("7", "built-up, dense", "227,26,28,255"), ("0", "water", "31,120,180,255")]


def test_sld_has_a_rule_for_each_class():
    rules = list(
        ET.fromstring(sld_for_polygons(LEGEND, layer="classes").encode()).iter(f"{{{OGC['sld']}}}Rule")
    )
    found = [
        (
            rule.find("sld:Name", OGC).text,
            rule.find(".//ogc:Literal", OGC).text,
            rule.find(".//sld:CssParameter", OGC).text,
        )
        for rule in rules
    ]
    assert found == [("built-up, dense", "7", "#e31a1c"), ("water", "0", "#1f78b4")]


def test_a_missing_folder_is_said(tmp_path):
    with pytest.raises(OutputError, match=r"Cannot write .*class\.qml: No such file or directory\. Check"):
        write_qml(tmp_path / "none" / "class.qml", LEGEND)
