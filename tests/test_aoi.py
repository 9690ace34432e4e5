"""Areas as users give them: right ones in every format and CRS, wrong ones with one line that helps."""

import io
import json
import re
import shutil
import sys
import warnings
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geom import Geometry
from pyproj import CRS, Geod
from shapely.geometry import GeometryCollection, LineString, MultiPolygon, Point, Polygon, box, mapping

from geoseg.aoi import area_km2, read_aoi, swapped, to_degrees
from geoseg.errors import AoiError, GeosegWarning

UTM = "EPSG:32725"
HOLED = box(280_000, 9_100_000, 290_000, 9_110_000) - box(283_000, 9_103_000, 286_000, 9_105_000)
DEGREES = box(-35, -8.2, -34.9, -8.1) - box(-34.97, -8.17, -34.94, -8.15)
WORLD_KM2 = 510_065_622
HUGE = 1e10


def write(path: Path, geometries: list, crs: str | None = UTM, **options: str) -> Path:
    frame = gpd.GeoDataFrame({"n": range(len(geometries))}, geometry=geometries, crs=crs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyogrio on frames without CRS
        frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_file(path, **options)
    return path


def text_of(geometry) -> str:
    return json.dumps(mapping(geometry))


def ring(*corners: tuple[float, float], holes: tuple = ()) -> str:
    """A GeoJSON polygon exactly as written."""
    rings = [[*map(list, r), list(r[0])] for r in (corners, *holes)]
    return json.dumps({"type": "Polygon", "coordinates": rings})


def refused(source: str | Path, **options) -> str:
    """The message of the refusal: one line of at least two sentences, what is wrong and how to mend it."""
    with pytest.raises(AoiError) as caught:
        read_aoi(str(source), **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith((".", ")"))
    assert re.search(r"[.:)] (--)?[A-Z]", message), f"no next step: {message}"
    return message


def same(a, b, share: float = 1e-9) -> bool:
    return shapely.symmetric_difference(a, b).area <= share * max(a.area, b.area)


# --- formats -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["a.geojson", "a.json", "a.gpkg", "a.shp", "a.parquet", "a.fgb", "a b é.gpkg"]
)
def test_every_format_gives_the_same_polygon_in_its_crs(tmp_path, name):
    aoi = read_aoi(str(write(tmp_path / name, [HOLED], **{"driver": "GeoJSON"} if "json" in name else {})))
    assert same(aoi.geom, HOLED)
    assert str(aoi.crs) == UTM


@pytest.mark.parametrize(("name", "driver"), [("a.kml", "KML"), ("a.kml", "LIBKML"), ("a.kmz", "LIBKML")])
def test_kml(tmp_path, name, driver):
    aoi = read_aoi(str(write(tmp_path / name, [DEGREES], "EPSG:4326", driver=driver)))
    assert same(aoi.geom, DEGREES)
    assert str(aoi.crs) == "EPSG:4326"


def test_zipped_shapefile_and_folder_of_one(tmp_path):
    folder = tmp_path / "shp"
    folder.mkdir()
    write(folder / "a.shp", [HOLED])
    archive = shutil.make_archive(str(tmp_path / "a"), "zip", folder)
    assert same(read_aoi(archive).geom, HOLED)
    assert same(read_aoi(str(folder)).geom, HOLED)


@pytest.mark.parametrize("text", [text_of(DEGREES), "\ufeff" + text_of(DEGREES), "\n " + text_of(DEGREES)])
def test_geojson_text_and_standard_input(monkeypatch, text):
    assert same(read_aoi(text).geom, DEGREES)
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert same(read_aoi("-").geom, DEGREES)


def test_geojson_text_with_type_last_features_and_long_properties():
    feature = {"properties": {"url": "https://e.org/a.zip", "note": "x" * 9000}, "geometry": mapping(DEGREES)}
    text = json.dumps({"features": [{**feature, "type": "Feature"}], "type": "FeatureCollection"})
    assert same(read_aoi(text).geom, DEGREES)
    assert same(read_aoi(json.dumps({**feature, "type": "Feature"})).geom, DEGREES)


def test_geojson_with_its_own_crs():
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32725"}}
    feature = {"type": "Feature", "properties": {}, "geometry": mapping(HOLED)}
    aoi = read_aoi(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]}))
    assert str(aoi.crs) == UTM
    assert same(aoi.geom, HOLED)


def test_one_layer_of_many(tmp_path):
    path = write(tmp_path / "a.gpkg", [HOLED], layer="fields")
    write(path, [box(0, 0, 1, 1)], layer="old fields", mode="a")
    message = refused(path)
    assert "fields, old fields" in message
    assert f"{path}|layername=fields" in message
    assert same(read_aoi(f"{path}|layername=fields").geom, HOLED)
    assert "It has: fields, old fields" in refused(f"{path}|layername=feilds")


def test_layers_that_cannot_be_an_area_do_not_count(tmp_path):
    path = write(tmp_path / "a.gpkg", [Point(280_000, 9_100_000)], layer="samples")
    write(path, [LineString([(0, 0), (1, 1)])], layer="roads", mode="a")
    assert "holds Point, not polygons" in refused(path)
    write(path, [HOLED], layer="fields", mode="a")
    pyogrio.write_dataframe(gpd.pd.DataFrame({"a": [1]}), path, layer="styles", append=False)
    assert same(read_aoi(str(path)).geom, HOLED)


def test_a_bbox():
    aoi = read_aoi("-35, -8.2, -34.9,-8.1")
    assert aoi.geom.equals(box(-35, -8.2, -34.9, -8.1))
    assert str(aoi.crs) == "EPSG:4326"


# --- CRS -----------------------------------------------------------------------------------------


def test_shapefile_without_prj_needs_the_crs(tmp_path):
    path = write(tmp_path / "a.shp", [HOLED])
    path.with_suffix(".prj").unlink()
    assert "--aoi-crs" in refused(path)
    assert "--aoi-crs EPSG:999999 is not a CRS" in refused(path, crs="EPSG:999999")
    assert "--aoi-crs fields is not a CRS" in refused(path, crs="fields")
    aoi = read_aoi(str(path), crs=UTM)
    assert same(aoi.geom, HOLED)
    assert str(aoi.crs) == UTM


def test_shapefile_with_esri_prj(tmp_path):
    path = write(tmp_path / "a.shp", [HOLED])
    path.with_suffix(".prj").write_text(CRS(UTM).to_wkt("WKT1_ESRI"))
    aoi = read_aoi(str(path))
    assert same(aoi.geom, HOLED)
    assert area_km2(aoi) == pytest.approx(area_km2(Geometry(HOLED, UTM)), rel=1e-9)


@pytest.mark.parametrize(
    ("wkt", "words"), [("", "not say"), ("rubbish", "not say"), ('PROJCS["rubbish"', "cannot be read")]
)
def test_shapefile_with_broken_prj(tmp_path, wkt, words):
    path = write(tmp_path / "a.shp", [HOLED])
    path.with_suffix(".prj").write_text(wkt)
    assert words in refused(path)


@pytest.mark.parametrize("code", ["EPSG:5773", "EPSG:4978", 'LOCAL_CS["site",UNIT["metre",1]]'])
def test_a_crs_that_is_no_map_is_refused(tmp_path, code):
    path = write(tmp_path / "a.shp", [HOLED])
    path.with_suffix(".prj").unlink()
    assert "no map of the Earth" in refused(path, crs=code)


@pytest.mark.parametrize("name", ["a.gpkg", "a.parquet"])
def test_files_without_crs(tmp_path, name):
    path = write(tmp_path / name, [HOLED], None)
    assert "does not say its CRS" in refused(path)
    assert str(read_aoi(str(path), crs=UTM).crs) == UTM


def test_a_crs_that_is_not_needed_is_said(tmp_path):
    path = write(tmp_path / "a.gpkg", [HOLED])
    assert str(read_aoi(str(path), crs=UTM).crs) == UTM
    with pytest.warns(GeosegWarning, match="--aoi-crs EPSG:31985 is not used"):
        assert str(read_aoi(str(path), crs="EPSG:31985").crs) == UTM


PLACES = [
    ("EPSG:32725", -35, -8),
    ("EPSG:32633", 15, 48),
    ("EPSG:2263", -74, 40.7),  # US survey feet
    ("EPSG:2193", 175, -41),  # northing before easting
    ("EPSG:4674", -35, -8),  # degrees of another datum
    ("EPSG:4807", 2, 48),  # grads from Paris
    ("EPSG:4807", 2, 83),  # more than 90 of them
    ("EPSG:3857", 10, 50),
    ("EPSG:4979", 10, 50),
    ("EPSG:32725+5773", -35, -8),
    ("+proj=laea +lat_0=10 +lon_0=20 +units=km", 25, 12),
    ("EPSG:3413", 179.9, 75),
    ("EPSG:3031", -60, -88),
]


@pytest.mark.parametrize(("crs", "lon", "lat"), PLACES)
def test_the_place_and_its_area_do_not_depend_on_the_crs(tmp_path, crs, lon, lat):
    here = box(lon, lat, lon + 0.3, lat + 0.2) - box(lon + 0.1, lat + 0.05, lon + 0.2, lat + 0.1)
    frame = gpd.GeoSeries([shapely.segmentize(here, 0.001)], crs="EPSG:4326").to_crs(crs)
    path = write(tmp_path / "a.parquet", list(frame), crs)
    aoi = read_aoi(str(path))
    expected = read_aoi(text_of(here))
    assert same(to_degrees(aoi).geom, expected.geom, 1e-4)
    assert area_km2(aoi) == pytest.approx(area_km2(expected), rel=1e-5)


def test_long_straight_edges_stay_straight_in_their_crs():
    aoi = Geometry(box(200_000, 6_000_000, 800_000, 6_001_000), "EPSG:32633")
    assert area_km2(aoi) == pytest.approx(600, rel=0.002)
    assert to_degrees(aoi).geom.bounds[3] > 54.15  # the middle of the top edge, north of both its ends


# --- areas ---------------------------------------------------------------------------------------


def test_known_areas():
    def geodesic(polygon) -> float:
        return abs(Geod(ellps="WGS84").geometry_area_perimeter(shapely.segmentize(polygon, 0.01))[0]) / 1e6

    for south in (0, -30, 60, 89):
        cell = box(10, south, 11, south + 1)
        assert area_km2(Geometry(cell, "EPSG:4326")) == pytest.approx(geodesic(cell), rel=1e-6)
    assert area_km2(Geometry(box(0, 0, 1, 1), "EPSG:4326")) == pytest.approx(12_308.46, abs=0.01)
    assert area_km2(Geometry(box(-180, -90, 180, 90), "EPSG:4326")) == pytest.approx(WORLD_KM2, rel=1e-7)


@given(
    st.permutations([(0, 0), (1, 0), (1, 1), (0, 1)]).filter(lambda c: Polygon(c).is_valid),
    st.booleans(),
)
@settings(max_examples=20, deadline=None)
def test_holes_take_away_whichever_way_rings_turn(corners, is_reversed):
    hole = [(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)]
    aoi = read_aoi(ring(*corners, holes=(hole[::-1] if is_reversed else hole,)))
    assert area_km2(aoi) == pytest.approx(0.75 * 12_308.46, rel=1e-5)


def test_parts_that_turn_differently_add_up():
    parts = [[[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]], [[[2, 0], [2, 1], [3, 1], [3, 0], [2, 0]]]]
    aoi = read_aoi(json.dumps({"type": "MultiPolygon", "coordinates": parts}))
    assert area_km2(aoi) == pytest.approx(2 * 12_308.46, rel=1e-5)


def test_features_are_joined(tmp_path):
    path = write(tmp_path / "a.gpkg", [box(0, 0, 200, 100), box(100, 0, 300, 100), box(900, 900, 950, 950)])
    aoi = read_aoi(str(path))
    assert same(aoi.geom, MultiPolygon([box(0, 0, 300, 100), box(900, 900, 950, 950)]))
    assert aoi.geom.is_valid


def test_larger_than_the_limit():
    message = refused("0,0,3,3")
    assert "110,732 km², more than --max-area-km2 25,000" in message
    assert area_km2(read_aoi("0,0,3,3", max_area_km2=120_000)) < 120_000
    assert "510,065,622 km²" in refused("-180,-90,180,90")


@pytest.mark.parametrize("wide", ["-100,0,100,1", "-170,0,170,1", "-180,0,180,1", "0,0,359,1"])
def test_a_wide_box_is_wide_and_not_across_the_antimeridian(wide):
    west, _, east, _ = map(float, wide.split(","))
    aoi = read_aoi(wide, max_area_km2=HUGE)
    assert area_km2(aoi) == pytest.approx((east - west) * 12_308.46, rel=1e-5)


def test_a_wide_polygon_without_leaps_is_left_alone():
    corners = [(-100, 0), (0, 0), (100, 0), (100, 1), (0, 1), (-100, 1)]
    assert read_aoi(ring(*corners), max_area_km2=HUGE).geom.equals(Polygon(corners))


# --- antimeridian and poles ----------------------------------------------------------------------


def across(west: float, east: float, south: float, north: float) -> dict[str, str]:
    """All the ways to write the box between ``west`` (below 180) and ``east`` (above 180)."""
    wrapped = east - 360
    halves = MultiPolygon([box(west, south, 180, north), box(-180, south, wrapped, north)])
    return {
        "bbox": f"{west},{south},{wrapped},{north}",
        "bbox to 181": f"{west},{south},{east},{north}",
        "drawn to 181": text_of(box(west, south, east, north)),
        "drawn from -181": text_of(box(west - 360, south, wrapped, north)),
        "split": text_of(halves),
        "leaps": ring((west, south), (wrapped, south), (wrapped, north), (west, north)),
        "leaps from the east": ring((wrapped, north), (west, north), (west, south), (wrapped, south)),
        "by way of 180": ring(
            *((west, south), (180, south), (-180, south), (wrapped, south)),
            *((wrapped, north), (-180, north), (180, north), (west, north)),
        ),
    }


@given(st.floats(175, 179.99), st.floats(180.01, 185), st.floats(-85, 80), st.floats(0.01, 4), st.data())
@settings(max_examples=30, deadline=None)
def test_all_spellings_of_a_crossing_are_the_same_area(west, east, south, height, data):
    name, source = data.draw(st.sampled_from(sorted(across(west, east, south, south + height).items())))
    expected = MultiPolygon(
        [box(west, south, 180, south + height), box(-180, south, east - 360, south + height)]
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", GeosegWarning)
        aoi = read_aoi(source, max_area_km2=HUGE)
    assert same(aoi.geom, expected)
    assert aoi.geom.is_valid
    assert len(aoi.geom.geoms) == 2
    assert bool([w for w in caught if w.category is GeosegWarning]) == (name[:2] in ("le", "by"))


@pytest.mark.parametrize("hole", [(178.2, 178.8), (-178.8, -178.2), (179.5, -179.5)])
def test_a_hole_in_a_leaping_ring_stays_a_hole(hole):
    a, b = hole
    shell = [(178, 0), (-178, 0), (-178, 1), (178, 1)]
    source = ring(*shell, holes=([(a, 0.2), (b, 0.2), (b, 0.8), (a, 0.8)],))
    with pytest.warns(GeosegWarning, match="crossing the antimeridian"):
        aoi = read_aoi(source, max_area_km2=HUGE)
    assert area_km2(aoi) == pytest.approx((4 - (b - a) % 360 * 0.6) * 12_308.46, rel=1e-4)
    middle = (a + (b - a) % 360 / 2 + 180) % 360 - 180
    assert not aoi.geom.intersects(Point(middle, 0.5))


def test_longitudes_up_to_360_are_brought_home():
    assert same(read_aoi(text_of(box(190, 0, 191, 1))).geom, box(-170, 0, -169, 1))


@pytest.mark.parametrize(
    ("crs", "x"), [("EPSG:32701", 180_000), ("EPSG:32760", 820_000), ("EPSG:3857", 2.0037e7)]
)
def test_a_projected_area_across_the_antimeridian_is_split_in_degrees(crs, x):
    aoi = Geometry(box(x - 9000, 8_000_000, x + 9000, 8_010_000), crs)
    degrees = to_degrees(aoi).geom
    assert degrees.is_valid
    assert degrees.bounds[0] == -180
    assert degrees.bounds[2] == 180
    assert max(p.bounds[2] - p.bounds[0] for p in degrees.geoms) < 0.3
    scale = 1 if crs != "EPSG:3857" else np.cos(np.radians(shapely.centroid(degrees).y)) ** 2
    assert area_km2(aoi) == pytest.approx(180 * scale, rel=0.01)


@pytest.mark.parametrize(("crs", "pole"), [("EPSG:3031", -90), ("EPSG:3413", 90), ("EPSG:32661", 90)])
def test_an_area_around_a_pole_holds_it(crs, pole):
    x = 2_000_000 if crs == "EPSG:32661" else 0
    square = box(x - 50_000, x - 50_000, x + 50_000, x + 50_000)
    whole = to_degrees(Geometry(square, crs)).geom
    assert whole.is_valid
    near, far = sorted([pole, pole / 90 * 89.36])
    assert whole.bounds == pytest.approx((-180, near, 180, far), abs=0.02)
    assert shapely.distance(whole, Point(33, pole)) == 0
    scale = {"EPSG:3031": 0.9728, "EPSG:3413": 0.9699, "EPSG:32661": 0.994}[crs]
    assert area_km2(Geometry(square, crs)) == pytest.approx(10_000 / scale**2, rel=1e-3)
    ringed = Geometry(square - box(x - 20_000, x - 20_000, x + 20_000, x + 20_000), crs)
    assert area_km2(ringed) == pytest.approx(8_400 / scale**2, rel=1e-3)
    assert shapely.distance(to_degrees(ringed).geom, Point(33, pole)) > 0.1


@pytest.mark.parametrize("sign", [1, -1])
def test_a_ring_of_longitudes_around_a_pole(sign):
    corners = [(lon, sign * 89) for lon in range(-180, 180, 20)]
    with pytest.warns(GeosegWarning, match="crossing the antimeridian"):
        around = read_aoi(ring(*corners), max_area_km2=HUGE)
    cap = read_aoi(f"-180,{min(sign * 89, sign * 90)},180,{max(sign * 89, sign * 90)}", max_area_km2=HUGE)
    assert same(around.geom, cap.geom)
    assert area_km2(cap) == pytest.approx(39_192, rel=1e-4)
    assert same(read_aoi(text_of(cap.geom), max_area_km2=HUGE).geom, cap.geom)
    four_corners = shapely.box(*cap.geom.bounds)
    assert same(read_aoi(text_of(four_corners), max_area_km2=HUGE).geom, cap.geom)


# --- mended with a warning -----------------------------------------------------------------------


def test_a_bow_tie_is_repaired():
    with pytest.warns(GeosegWarning, match=r"repaired 1 polygon\(s\): Self-intersection\[0.5 0.5\]"):
        aoi = read_aoi(ring((0, 0), (1, 1), (1, 0), (0, 1)))
    assert aoi.geom.is_valid
    assert area_km2(aoi) == pytest.approx(12_308.46 / 2, rel=1e-4)


def test_an_open_ring_is_closed():
    text = '{"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1]]]}'
    assert same(read_aoi(text).geom, box(0, 0, 1, 1))


def test_some_features_without_geometry(tmp_path):
    path = write(tmp_path / "a.geojson", [box(0, 0, 1, 1), None, Polygon()], "EPSG:4326")
    with pytest.warns(GeosegWarning, match="a.geojson: 2 of 3 features have no geometry"):
        assert same(read_aoi(str(path)).geom, box(0, 0, 1, 1))


def test_points_beside_polygons():
    collection = GeometryCollection(
        [Point(5, 5), GeometryCollection([box(0, 0, 1, 1), LineString([(0, 0), (2, 2)])])]
    )
    with pytest.warns(GeosegWarning, match=r"2 point\(s\) or line\(s\) have no area"):
        assert same(read_aoi(text_of(collection)).geom, box(0, 0, 1, 1))


def test_heights_are_dropped(tmp_path):
    solid = MultiPolygon([Polygon([(0, 0, 5), (1, 0, 5), (1, 1, 5)])])
    for source in (text_of(solid), str(write(tmp_path / "a.gpkg", [solid], "EPSG:4979"))):
        aoi = read_aoi(source)
        assert not aoi.geom.has_z
        assert str(aoi.crs) == "EPSG:4326"
        assert same(aoi.geom, Polygon([(0, 0), (1, 0), (1, 1)]))


def test_degrees_labelled_as_metres_are_suspected(tmp_path):
    path = write(tmp_path / "a.gpkg", [box(10, 50, 19, 60)], "EPSG:32632")
    with pytest.warns(GeosegWarning, match="look like degrees"):
        read_aoi(str(path))


# --- refused -------------------------------------------------------------------------------------

POINTS = GeometryCollection([Point(0, 0), Point(1, 1)])
NULLS = {
    "type": "FeatureCollection",
    "features": [{"type": "Feature", "properties": {}, "geometry": None}] * 3,
}
REFUSALS = {
    "not JSON": ('{"type": ', "not JSON"),
    "too deep": ('{"type":' + "[" * 50_000, "not JSON"),
    "endless number": ('{"type": ' + "9" * 5000 + "}", "not JSON"),
    "no type": ("{}", "type 'None'"),
    "unknown type": ('{"type": "Circle"}', "type 'Circle'"),
    "type is a list": ('{"type": ["Polygon"]}', "type"),
    "no features": ('{"type": "FeatureCollection", "features": []}', "no features"),
    "features is a number": ('{"type": "FeatureCollection", "features": 3}', "cannot be read"),
    "null geometries": (json.dumps(NULLS), "none of its 3 features has a geometry"),
    "null geometry": ('{"type": "Feature", "properties": {}, "geometry": null}', "none of its 1 features"),
    "empty polygon": ('{"type": "Polygon", "coordinates": []}', "none of its 1 features"),
    "one corner": ('{"type": "Polygon", "coordinates": [[[0, 0]]]}', "none of its 1 features"),
    "words for numbers": (
        '{"type": "Polygon", "coordinates": [[["a", 0], [1, 1], [0, 1]]]}',
        "cannot be read",
    ),
    "point": (text_of(Point(0, 0)), "holds Point, not polygons. Buffer it"),
    "line": (text_of(LineString([(0, 0), (1, 1)])), "holds LineString"),
    "collection of points": (text_of(POINTS), "holds Point,"),
    "swapped": (ring((-8, -120), (-8.1, -120), (-8.1, -120.1)), "latitude of -120.1.*look swapped"),
    "latitude too far": (
        ring((100, 100), (110, 100), (110, 95)),
        "latitude of 100, beyond 90. Coordinates are",
    ),
    "metres as degrees": (
        text_of(HOLED),
        "EPSG:4326 .degrees., but has coordinates up to 9110000.*like metres",
    ),
    "infinite": ('{"type": "Polygon", "coordinates": [[[0, 0], [1, 1e999], [0, 1], [0, 0]]]}', "not finite"),
    "far out": (
        '{"type": "Polygon", "coordinates": [[[0, 0], [1, 1e300], [0, 1], [0, 0]]]}',
        "beyond the Earth",
    ),
    "sliver": (ring((0, 0), (1e-3, 0), (1e-3, 1e-12)), "encloses no area"),
    "box upside down": ("0,5,1,4", "south 5 not below north 4"),
    "box without width": ("3,4,3,5", "no width"),
    "box of nan": ("nan,4,3,5", "not numbers"),
    "endless box": ("-inf,4,inf,5", "not numbers"),
    "box in metres": ("280000,9100000,290000,9110000", "like metres"),
    "immense box": ("0,0,1e300,1", "beyond the Earth"),
    "swapped box": ("-8,-120,-7,-119", "look swapped"),
    "three numbers": ("1,2,3", "has 3 numbers, expected 4"),
    "a box that goes round": ("10,0,5,1", "swap them back"),
    "missing file": ("nowhere.geojson", "nowhere.geojson does not exist. Give --aoi a vector file"),
    "two lines": ("no\nwhere", "no where does not exist"),
    "nothing": ("", "does not exist"),
    "blank": ("  ", "does not exist"),
    "long name": ("x" * 5000, "does not exist"),
    "null byte": ("a\0b", "does not exist"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name):
    source, pattern = REFUSALS[name]
    assert re.search(pattern, refused(source))


def test_specks_in_metres_enclose_no_area(tmp_path):
    speck = Polygon([(0, 0), (1e-12, 0), (1e-12, 1e-12)])
    with pytest.warns(GeosegWarning, match="look like degrees"):
        assert "encloses no area" in refused(write(tmp_path / "a.gpkg", [speck]))


def test_zero_area_after_repair():
    folded = ring((2, 1), (181, 0), (181, 1e-22))
    for source in (
        ring((0, 0), (1, 1), (2, 2)),
        ring((0, 0), (1, 1)),
        ring((0, 0), (1, 0), (1, 1e-16)),
        folded,
    ):
        with pytest.warns(GeosegWarning, match="repaired"):
            assert "encloses no area" in refused(source)


@pytest.mark.parametrize("text", ["", " \n", "\ufeff"])
def test_empty_standard_input(monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert "is empty" in refused("-")


def test_standard_input_that_is_not_text(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\x89PNG\xff\xfe"), "utf-8"))
    assert "not text in UTF-8" in refused("-")


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".shp", ".parquet", ".kml", ".fgb", ""])
def test_files_that_are_not_what_they_are_called(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"")
    assert "is empty (0 bytes)" in refused(path)
    path.write_bytes(b"hello, world, this is a long text about nothing at all\n" * 20)
    assert path.name in refused(path)


def test_things_that_are_no_vector_file(tmp_path):
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", width=4, height=4, count=1, dtype="uint8",
        crs=UTM, transform=rasterio.transform.from_origin(280_000, 9_100_000, 10, 10),
    ):  # fmt: skip
        pass
    assert "imagery goes to --image" in refused(tmp_path / "a.tif")
    (tmp_path / "folder").mkdir()
    assert "folder is not a vector file" in refused(tmp_path / "folder")
    gpd.pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "table.parquet")
    assert "table without geometries" in refused(tmp_path / "table.parquet")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    assert "no geometries" in refused(tmp_path / "table.csv")


def test_an_empty_layer(tmp_path):
    for name in ("a.gpkg", "a.geojson", "a.parquet"):
        assert "no features" in refused(write(tmp_path / name, [], UTM))


def test_coordinates_that_are_no_numbers_or_no_place(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of shapely on NaN
        path = write(tmp_path / "nan.gpkg", [Polygon([(0, 0), (1, np.nan), (1, 1)])])
        assert "not finite" in refused(path)
    assert "beyond the Earth" in refused(write(tmp_path / "a.gpkg", [box(0, 0, 1e12, 1e12)]))
    lambert = "+proj=laea +lat_0=10 +lon_0=20"
    assert "nowhere in" in refused(write(tmp_path / "b.parquet", [box(9e7, 9e7, 9.1e7, 9.1e7)], lambert))


# --- whatever comes ------------------------------------------------------------------------------

NUMBERS = st.one_of(st.integers(-400, 400), st.floats(-200, 200), st.floats(), st.none(), st.text(max_size=2))
POSITIONS = st.lists(NUMBERS, max_size=4) | st.tuples(st.floats(-180, 180), st.floats(-90, 90)).map(list)
RINGS = st.lists(POSITIONS, max_size=6)
COORDINATES = st.one_of(POSITIONS, RINGS, st.lists(RINGS, max_size=3), st.lists(st.lists(RINGS, max_size=2)))
GEOMETRY_TYPES = st.sampled_from(["Polygon", "MultiPolygon", "LineString", "Point", "Foo"])
GEOMETRIES = st.recursive(
    st.fixed_dictionaries({"type": GEOMETRY_TYPES, "coordinates": COORDINATES}) | NUMBERS,
    lambda inner: st.fixed_dictionaries(
        {"type": st.just("GeometryCollection"), "geometries": st.lists(inner, max_size=3)}
    ),
    max_leaves=4,
)
FEATURES = st.fixed_dictionaries(
    {"type": st.sampled_from(["Feature", "feature", 3]), "geometry": GEOMETRIES},
    optional={"properties": st.none() | st.dictionaries(st.text(max_size=3), NUMBERS, max_size=2)},
)
DOCUMENTS = st.one_of(
    GEOMETRIES,
    FEATURES,
    st.fixed_dictionaries({"type": st.just("FeatureCollection"), "features": st.lists(FEATURES, max_size=4)}),
)


def survives(source: str) -> None:
    """Either a valid area, or one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GeosegWarning)
        try:
            aoi = read_aoi(source, max_area_km2=HUGE)
        except AoiError as error:
            assert "\n" not in str(error)  # noqa: PT017
            return
    assert aoi.geom.geom_type in ("Polygon", "MultiPolygon")
    assert aoi.geom.is_valid
    assert 0 < area_km2(aoi) < WORLD_KM2 + 1


@given(DOCUMENTS)
@settings(max_examples=250, deadline=None)
def test_no_geojson_breaks_it(document):
    survives("{}" if not isinstance(document, dict) else json.dumps(document))


@given(st.lists(st.tuples(st.floats(-360, 360), st.floats(-90, 90)), min_size=3, max_size=9))
@settings(max_examples=150, deadline=None)
def test_no_ring_of_numbers_breaks_it(corners):
    survives(ring(*corners))


@given(st.text(max_size=30) | st.lists(st.floats().map(str), min_size=4, max_size=4).map(",".join))
@settings(max_examples=100, deadline=None)
def test_no_text_breaks_it(text):
    if not text.startswith(("/", ".")) and text != "-":
        survives(text)


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("originals")
    paths = [write(folder / f"a.{s}", [HOLED]) for s in ("gpkg", "shp", "parquet", "fgb", "geojson")]
    return [*paths, write(folder / "a.kml", [DEGREES], "EPSG:4326", driver="KML")]


@given(st.integers(0, 5), st.data())
@settings(
    max_examples=120,
    deadline=None,
    derandomize=True,  # what drivers do with broken bytes is theirs: no surprises on other days
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_damage_to_a_file_breaks_it(originals, tmp_path, number, data):
    path = originals[number]
    for sibling in path.parent.glob("a.*"):
        shutil.copy(sibling, tmp_path)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, min(len(raw) - 1, 2**14)))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.none() | st.integers(0, len(raw)))
    (tmp_path / path.name).write_bytes(raw[:cut])
    survives(str(tmp_path / path.name))


def test_numbers_next_to_zero_are_zero():
    corners = [(1, 2), (0, -1.4e-45), (2, 0), (0, -1), (1, 0), (0, 1), (0, 0)]
    with pytest.warns(GeosegWarning, match="repaired"):
        assert read_aoi(ring(*corners), max_area_km2=HUGE).geom.is_valid


def test_nonsense_far_from_its_crs_takes_no_time(tmp_path):
    spike = Polygon([(300_000, 9_000_000), (310_000, 9.9e7), (320_000, 9_000_000)])
    with pytest.raises(AoiError, match="more than --max-area-km2"):
        read_aoi(str(write(tmp_path / "a.gpkg", [spike])))


# --- swapped -------------------------------------------------------------------------------------


def test_swapped_exchanges_longitude_and_latitude():
    aoi = read_aoi("-35,-8.2,-34.9,-8.1")
    other = swapped(aoi)
    assert other is not None
    assert same(other.geom, box(-8.2, -35, -8.1, -34.9))
    assert same(swapped(other).geom, aoi.geom)
    assert swapped(read_aoi("-120,40,-119,41")) is None


def test_swapped_takes_any_crs():
    other = swapped(Geometry(HOLED, UTM))
    assert other is not None
    assert same(swapped(other).geom, to_degrees(Geometry(HOLED, UTM)).geom)
