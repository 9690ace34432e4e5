"""Does the imagery fit the model? What is taken, what is adapted and said, what is refused in one line."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from imagery_files import (
    DAY,
    IMAGERY,
    IMAGES,
    NORTH_UP,
    UTM,
    Pixels,
    area_of,
    card,
    checked,
    dn,
    item_of,
    read,
    read_on,
    write,
)  # fmt: skip
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry

from geoseg.aoi import read_aoi
from geoseg.errors import GeosegWarning, PreflightError
from geoseg.grid.geobox import geobox_for
from geoseg.imagery.loader import CLOUDS, band_metadata
from geoseg.imagery.local import items_from_images
from geoseg.imagery.preflight import Preflight, check_inputs, with_bands
from geoseg.models.zoo import card_of
from geoseg.resources import resource_folder
from geoseg.stac.catalog import Catalog, CollectionConfig, load_catalog
from geoseg.stac.items import search

VNIR = ("green", "red", "nir")
BARE = np.random.default_rng(2).integers(1500, 4500, (3, 40, 50)).astype(np.uint16)
"""Bright: nothing tells whether the Sentinel-2 offset is in."""


def refused(text: str, *paths: str, **given_too: Any) -> str:
    with pytest.raises(PreflightError, match=text) as error:
        checked(*paths, **given_too)
    assert "\n" not in str(error.value)
    return str(error.value)


def one_line(inputs: Preflight) -> str:
    (text,) = inputs.calibrations.values()
    return text


# --- bands ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wanted", "has"), [("nir", "nir08"), ("nir08", "nir")])
def test_one_near_infrared_for_the_other_is_said(tmp_path: Path, wanted: str, has: str) -> None:
    pixels = dn(2)
    path = write(tmp_path / "a.tif", pixels, names=[has, "red"])
    inputs = checked(path, model=card("red", wanted))
    assert inputs.bands == ("red", wanted)
    assert f"{has} is used as {wanted}" in inputs.adapted
    found = read(inputs, area_of(items_from_images([path])))
    np.testing.assert_array_equal(found[0], pixels[::-1] * np.float32(1e-4))


def test_the_band_itself_comes_before_its_substitute(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", dn(2), names=["nir08", "nir"])
    inputs = checked(path, model=card("nir"))
    assert inputs.adapted == ()
    np.testing.assert_array_equal(
        read(inputs, area_of(items_from_images([path])))[0, 0], dn(2)[1] * np.float32(1e-4)
    )


def test_one_band_does_not_serve_two(tmp_path: Path) -> None:
    refused(
        "Missing: nir08", write(tmp_path / "a.tif", dn(2), names=["red", "nir"]), model=card("nir", "nir08")
    )


def test_a_missing_band_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", dn(2), names=["green", "red"])
    text = refused("Missing: nir, swir16", path, model=card("green", "nir", "swir16"))
    assert text.startswith("Model test-model needs green, nir, swir16; the imagery has green, red.")
    assert "geoseg models list" in text


def test_items_that_lack_a_band_are_left_out_with_a_warning(tmp_path: Path) -> None:
    full = write(tmp_path / "full.tif", dn(3), names=VNIR)
    half = write(tmp_path / "half.tif", dn(2), names=VNIR[:2])
    with pytest.warns(GeosegWarning, match=r"^1 of 2 items lack nir, left out\.$"):
        inputs = checked(full, half)
    assert [item.id for item in inputs.items] == ["full-0"]


def test_items_keep_their_order_and_what_the_collection_says(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{name}.tif", dn(3), names=VNIR) for name in "cab"]
    items = items_from_images(paths)
    items.extra_fields["searched"] = True
    kept = with_bands(items, card(*VNIR), catalog=IMAGES)
    assert [item.id for item in kept] == ["c-0", "a-1", "b-2"]
    assert kept.extra_fields == {"searched": True}


# --- grid ----------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(st.sampled_from([(10, 0, 0), (30, 15, 15), (28.5, 4.25, 20.75), (20, 0, 10)]), st.booleans())
def test_pixels_are_taken_unresampled(
    tmp_path_factory: pytest.TempPathFactory, grid: tuple[float, float, float], part: bool
) -> None:
    size, x, y = grid
    pixels = dn(3)
    path = write(
        tmp_path_factory.mktemp("native") / "a.tif", pixels, names=VNIR,
        transform=Affine(size, 0, 300_000 + x, 0, -size, 9_000_000 + y),
    )  # fmt: skip
    inputs = checked(path, model=card(*VNIR, halo=0))
    aoi = area_of(items_from_images([path]))
    window = np.s_[:, :, :, :]
    if part:  # an area that cuts through pixels
        west, _, _, north = aoi.boundingbox.bbox
        x0, y0 = west + 3.4 * size, north - 5.6 * size
        aoi = Geometry(aoi.geom.intersection(_box(x0, y0 - 10 * size, x0 + 20 * size, y0)), aoi.crs)
        window = np.s_[:, :, 5:16, 3:24]
    assert inputs.adapted == ()
    np.testing.assert_array_equal(read(inputs, aoi), (pixels * np.float32(1e-4))[None][window])


def _box(*bounds: float) -> Any:
    from shapely import box

    return box(*bounds)


def test_degrees_are_mapped_in_utm(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.tif", dn(3), names=VNIR, crs="EPSG:4326", transform=Affine(1e-4, 0, -35, 0, -1e-4, -9)
    )
    inputs = checked(path)
    assert (inputs.crs, inputs.gsd_m, inputs.anchor) == ("EPSG:32725", 11.1, (0, 0))
    assert inputs.adapted == ("resampled from EPSG:4326 at 11.1 m to EPSG:32725 at 11.1 m",)


def test_two_zones(tmp_path: Path) -> None:
    here = write(tmp_path / "a.tif", dn(3), names=VNIR, transform=Affine(10, 0, 170_000, 0, -10, 9_000_000))
    with rasterio.open(here) as file:
        over = GeoBox(file.shape, file.transform, UTM).extent.buffer(100).to_crs("EPSG:32724")
    grid = GeoBox.from_geopolygon(over, resolution=10, crs="EPSG:32724")
    there = write(tmp_path / "b.tif", dn(3, *grid.shape), names=VNIR, transform=grid.affine, crs="EPSG:32724")
    inputs = checked(here, there)
    assert (inputs.crs, inputs.gsd_m) == (UTM, 10)
    assert inputs.adapted == ("resampled from EPSG:32724 at 10 m to EPSG:32725 at 10 m",)


@pytest.mark.parametrize("gsd_m", [0.5, 500])
def test_pixel_sizes_outside_the_cards_range(tmp_path: Path, gsd_m: float) -> None:
    path = write(tmp_path / "a.tif", dn(3), names=VNIR)
    text = refused(
        f"^Pixels of {gsd_m:g} m do not fit model test-model, made for 1 to 120 m", path, gsd_m=gsd_m
    )
    assert "--gsd 10" in text


def test_pixel_sizes_far_from_the_cards_are_said_where_context_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", dn(3), names=VNIR, transform=NORTH_UP @ Affine.scale(3))
    said = "pixels of 30 m are mapped with a model made for 10 m"
    assert said in checked(path).adapted
    assert said not in checked(path, model=card(*VNIR, halo=0)).adapted


# --- values --------------------------------------------------------------------------------------


def test_eight_bit_numbers_are_refused(tmp_path: Path) -> None:
    pixels = (dn(3) % 250).astype(np.uint8)
    text = refused(
        r"^a-0 holds 8-bit numbers \(99 % are below 24\d\)", write(tmp_path / "a.tif", pixels, names=VNIR)
    )
    assert "--scale" in text
    inputs = checked(str(tmp_path / "a.tif"), scale=[0.004])
    assert one_line(inputs) == "scale 0.004, offset 0 as declared"


def test_reflectance_is_taken_as_it_is(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).random((3, 40, 50), np.float32)
    path = write(tmp_path / "a.tif", pixels, names=VNIR)
    inputs = checked(path)
    assert "were taken as reflectance" in one_line(inputs)
    np.testing.assert_array_equal(read(inputs, area_of(items_from_images([path])))[0], pixels)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_reflectance_times_10000(tmp_path: Path, dtype: str) -> None:
    inputs = checked(write(tmp_path / "a.tif", dn(3).astype(dtype), names=VNIR))
    assert one_line(inputs).endswith(
        "were taken as reflectance x 10000; Sentinel-2 offset 0: many pixels lie below 600"
    )


def test_the_offset_is_seen_and_taken_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", dn(3, low=50) + np.uint16(1000), names=VNIR)
    inputs = checked(path)
    assert "offset -1000: the darkest pixels of every band lie near 1000" in one_line(inputs)
    found = read(inputs, area_of(items_from_images([path])))
    np.testing.assert_allclose(found[0], dn(3, low=50) * 1e-4, atol=1e-6)


def test_an_offset_that_cannot_be_told_is_warned_of(tmp_path: Path) -> None:
    with pytest.warns(GeosegWarning, match=r"a-0: its pixels do not tell .* --scale 0\.0001 --offset -0\.1"):
        inputs = checked(write(tmp_path / "a.tif", BARE, names=VNIR))
    assert "offset 0" in one_line(inputs)


@pytest.mark.parametrize(
    ("pixels", "text"),
    [
        (dn(3).astype("float32") / 100, r"holds values up to 49 and states no scale"),  # percent
        (dn(3, low=0, high=60_000), r"holds values up to 59,\d+ and states no scale"),
        (dn(3).astype("float32") * 100, r"holds values up to 49\d,\d+ and states no scale"),
        (dn(3, low=0, high=2), r"holds values up to 1\.00 and states no scale"),  # a mask
        (dn(3, low=7300, high=25_000), r"--scale 0\.0000275 --offset -0\.2"),  # Landsat Collection 2
    ],
    ids=["percent", "16 bit", "radiance", "mask", "landsat"],
)
def test_numbers_that_are_no_reflectance(tmp_path: Path, pixels: Pixels, text: str) -> None:
    refused(text, write(tmp_path / "a.tif", pixels, names=VNIR))


@pytest.mark.parametrize("scale", [0.01, 1.0])
def test_a_scale_that_makes_no_reflectance(tmp_path: Path, scale: float) -> None:
    path = write(tmp_path / "a.tif", dn(3), names=VNIR)
    text = refused(
        r"^Band green lies between .* after scaling; model test-model expects -0.2 to 2", path, scale=[scale]
    )
    assert "--scale" in text


def test_all_is_nodata(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.zeros((3, 40, 50), np.uint16), names=VNIR, nodata=0)
    refused("no valid pixel in the area: all is nodata", path)
    refused("Band green has no valid pixel in the area", path, scale=[1e-4])


def test_an_image_without_pixels_here_is_read_as_the_others(tmp_path: Path) -> None:
    full = write(tmp_path / "full.tif", dn(3), names=VNIR, nodata=0)
    empty = write(tmp_path / "empty.tif", np.zeros((3, 40, 50), np.uint16), names=VNIR, nodata=0)
    for paths in ([full, empty], [empty, full]):
        metadata = [band_metadata(item)["red"] for item in checked(*paths).items]
        assert metadata[0] == metadata[1]


def test_more_images_than_are_sampled_of_a_catalog(tmp_path: Path) -> None:
    with_offset = dn(3, low=50) + np.uint16(1000)
    paths = [write(tmp_path / f"{n}.tif", with_offset if n == 10 else dn(3), names=VNIR) for n in range(11)]
    offsets = [band_metadata(item)["red"]["offset"] for item in checked(*paths).items]
    assert offsets == [0.0] * 10 + [pytest.approx(-0.1)]


@pytest.mark.parametrize(
    ("fill", "dtype"), [(0, "uint16"), (0, "float32"), (65535, "uint16"), (-9999, "int16")]
)
@pytest.mark.parametrize("scale", [None, [1e-4]])
def test_undeclared_nodata_is_found_and_said(
    tmp_path: Path, fill: int, dtype: str, scale: list[float] | None
) -> None:
    pixels = dn(3).astype(dtype)
    pixels[:, :, :10] = fill
    path = write(tmp_path / "a.tif", pixels, names=VNIR)
    inputs = checked(path, scale=scale)
    assert inputs.adapted == (
        f"a-0: pixels of {fill} in all bands were taken as nodata, as none is declared",
    )
    found = read(inputs, area_of(items_from_images([path])))[0].to_numpy()
    np.testing.assert_array_equal(found, np.where(pixels == fill, np.nan, pixels * np.float32(1e-4)))


def test_zeros_of_single_bands_are_measured_ones(tmp_path: Path) -> None:
    pixels = dn(3)
    pixels[2, :, :10] = 0  # water in the near infrared
    pixels[:, 0] = 0  # and some shadow in all
    inputs = checked(write(tmp_path / "a.tif", pixels, names=VNIR))
    assert inputs.adapted == ()
    assert "nodata" not in band_metadata(inputs.items[0])["nir"]


def test_declared_nodata_is_believed(tmp_path: Path) -> None:
    pixels = dn(3)
    pixels[:, :, :10] = 0
    inputs = checked(write(tmp_path / "a.tif", pixels, names=VNIR, nodata=7))
    assert band_metadata(inputs.items[0])["nir"]["nodata"] == 7


def test_scales_of_the_files_are_honoured(tmp_path: Path) -> None:
    pixels = dn(3)
    path = write(
        tmp_path / "a.tif", pixels, names=VNIR, scales=[1e-4, 2e-4, 1e-4], offsets=[0, 0, 0.01], nodata=3
    )  # fmt: skip
    inputs = checked(path)
    assert one_line(inputs) == "scale and offset of each band as declared"
    found = read(inputs, area_of(items_from_images([path])))[0].to_numpy()
    expected = pixels * np.array([1e-4, 2e-4, 1e-4], np.float32)[:, None, None]
    expected[2] += np.float32(0.01)
    np.testing.assert_allclose(found, np.where(pixels == 3, np.nan, expected), rtol=1e-6)


# --- catalogs ------------------------------------------------------------------------------------

S2 = CollectionConfig.model_validate({
    "scale": 1e-4, "nodata": 0, "dtype": "uint16", "gsd_m": 10, "boa_offset": True,
    "bands": {"green": "a", "red": "b", "nir": "c"}, "clouds": {"asset": "d", "values": [8, 9], "nodata": 0},
})  # fmt: skip
SENTINEL = Catalog(name="s2", title="S2", url="", collections={"somewhere": S2})
BANDS_OF_EARTH_SEARCH = {
    "raster:bands": [{"scale": 1e-4, "offset": -0.1, "nodata": 0, "data_type": "uint16"}]
}


def sentinel2(
    folder: Path, pixels: Pixels, *, fields: dict[str, Any] | None = None, **properties: Any
) -> Preflight:
    """Three bands and an SCL as an item of a catalog, through the preflight."""
    paths = [write(folder / f"{n}.tif", pixels[n : n + 1], nodata=0) for n in range(3)]
    scl = write(folder / "scl.tif", np.full((1, 20, 25), 4, np.uint8), transform=NORTH_UP @ Affine.scale(2))
    item = item_of(*[(p, fields or {}) for p in paths], (scl, {}), **properties)
    aoi = GeoBox((40, 50), NORTH_UP, UTM).extent
    return check_inputs(pystac.ItemCollection([item]), card(*VNIR), aoi=aoi, catalog=SENTINEL)


IN, OUT = dn(3, low=50) + np.uint16(1000), dn(3)
FLAG, BASELINE = "earthsearch:boa_offset_applied", "s2:processing_baseline"


@pytest.mark.parametrize(
    ("pixels", "fields", "properties", "offset"),
    [
        (OUT, BANDS_OF_EARTH_SEARCH, {FLAG: True, BASELINE: "05.09"}, 0),  # Earth Search contradicts itself
        (BARE, BANDS_OF_EARTH_SEARCH, {FLAG: True, BASELINE: "05.09"}, 0),
        (IN, None, {BASELINE: "05.09"}, -0.1),  # Planetary Computer says neither
        (BARE, None, {BASELINE: "05.09"}, -0.1),
        (BARE, None, {BASELINE: "02.14"}, 0),
        (IN, BANDS_OF_EARTH_SEARCH, {FLAG: False, BASELINE: "05.10"}, -0.1),  # Collection 1
        (BARE, {"raster:bands": [{"scale": 1e-4, "offset": 0}]}, {BASELINE: "05.10"}, 0),
    ],
)
def test_sentinel2_offsets(
    tmp_path: Path, pixels: Pixels, fields: dict[str, Any] | None, properties: dict[str, Any], offset: float
) -> None:
    inputs = sentinel2(tmp_path, pixels, fields=fields, **properties)
    for name, metadata in band_metadata(inputs.items[0]).items():
        if name != CLOUDS:
            assert metadata["scale"] == 1e-4
            assert metadata["offset"] == pytest.approx(offset)
    assert f"offset {offset * 10000:g}" in one_line(inputs)
    assert inputs.has_clouds


@pytest.mark.parametrize(("pixels", "baseline", "offset"), [(IN, "02.14", -0.1), (OUT, "05.09", 0)])
def test_pixels_overrule_what_sentinel2_items_say(
    tmp_path: Path, pixels: Pixels, baseline: str, offset: float
) -> None:
    with pytest.warns(GeosegWarning, match=r"^item: processing baseline .*: the pixels were believed\.$"):
        inputs = sentinel2(tmp_path, pixels, **{BASELINE: baseline})
    assert band_metadata(inputs.items[0])["red"]["offset"] == pytest.approx(offset)


def several(folder: Path, pixels: list[Pixels], **properties: Any) -> Preflight:
    """Items of one kind, newest last."""
    items = []
    for number, layer in enumerate(pixels):
        paths = [write(folder / f"{number}-{n}.tif", layer[n : n + 1], nodata=0) for n in range(3)]
        items.append(item_of(*[(p, {}) for p in paths], name=f"i{number}", **properties))
    aoi = GeoBox((40, 50), NORTH_UP, UTM).extent
    return check_inputs(pystac.ItemCollection(items), card(*VNIR), aoi=aoi, catalog=SENTINEL)


def test_items_of_one_kind_are_scaled_alike_whether_sampled_or_not(tmp_path: Path) -> None:
    with pytest.warns(GeosegWarning, match=r"^i0 and 9 like it: .*: the pixels were believed\.$"):
        inputs = several(tmp_path, [OUT] * 10, **{BASELINE: "05.09"})
    assert {band_metadata(i)["red"]["offset"] for i in inputs.items} == {0}


def test_sampling_goes_on_until_there_is_a_valid_pixel(tmp_path: Path) -> None:
    empty = np.zeros_like(OUT)
    inputs = several(tmp_path, [*[empty] * 9, OUT], **{BASELINE: "02.14"})
    assert {band_metadata(i)["red"]["offset"] for i in inputs.items} == {0}
    with pytest.raises(PreflightError, match="no valid pixel in the area"):
        several(tmp_path, [empty] * 10, **{BASELINE: "02.14"})


def test_who_pays_is_said_before_the_first_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    config = S2.model_copy(update={"title": "Scenes", "read_options": {"AWS_REQUEST_PAYER": "requester"}})
    monkeypatch.setitem(SENTINEL.collections, "somewhere", config)
    with pytest.warns(GeosegWarning, match="Scenes of S2 lies in a requester-pays bucket"):
        sentinel2(tmp_path, OUT, **{BASELINE: "02.14"})


def test_values_of_a_catalog_that_are_no_reflectance(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", dn(3))
    config = CollectionConfig.model_validate(
        {"bands": {n: {"asset": "a", "index": i} for i, n in enumerate(VNIR, 1)}}
    )
    catalog = Catalog(name="c", title="C", url="", collections={"somewhere": config})
    with pytest.raises(
        PreflightError, match=r"Band green lies between .* in a catalog file: see catalogs/README\.md"
    ):
        check_inputs(
            pystac.ItemCollection([item_of((path, {}))]), card(*VNIR), aoi=GeoBox((40, 50), NORTH_UP, UTM).extent,
            catalog=catalog,
        )  # fmt: skip


def test_items_beyond_the_sampled_ones_are_decided_too(tmp_path: Path) -> None:
    pixels = OUT.copy()
    pixels[:, :, :5] = 0
    path = write(tmp_path / "a.tif", pixels)
    config = CollectionConfig.model_validate({
        "scale": 1e-4, "bands": {n: {"asset": "a", "index": i} for i, n in enumerate(VNIR, 1)},
    })  # fmt: skip
    catalog = Catalog(name="c", title="C", url="", collections={"somewhere": config})
    items = [item_of((path, {}), name=f"i{n}") for n in range(12)]
    for n, item in enumerate(items):
        item.datetime = DAY + timedelta(days=n)
    aoi = GeoBox((40, 50), NORTH_UP, UTM).extent
    inputs = check_inputs(pystac.ItemCollection(items), card(*VNIR), aoi=aoi, catalog=catalog)
    assert [item.id for item in inputs.items] == list(inputs.calibrations) == [f"i{n}" for n in range(12)]
    assert {band_metadata(item)["red"]["nodata"] for item in inputs.items} == {0}


def test_prepared_items_are_json(tmp_path: Path) -> None:
    inputs = sentinel2(tmp_path, OUT, **{BASELINE: "02.14"})
    (item,) = inputs.items
    assert len(json.dumps(item.to_dict())) < 8000
    again = pystac.Item.from_dict(json.loads(json.dumps(item.to_dict())))
    geobox = GeoBox((40, 50), NORTH_UP, UTM)
    found = read_on(pystac.ItemCollection([again]), geobox, VNIR)
    np.testing.assert_array_equal(found[0], OUT * np.float32(1e-4))


@pytest.mark.parametrize(
    ("area", "grid", "adapted"),
    [
        ("area.geojson", ("EPSG:31985", 28.5), ("nir08 is used as nir",)),
        ("area-patagonia.geojson", ("EPSG:32719", 10), ()),
    ],
)
def test_the_sample_catalog(area: str, grid: tuple[str, float], adapted: tuple[str, ...]) -> None:
    catalog = load_catalog("sample")
    aoi = read_aoi(str(resource_folder("catalogs") / "sample" / area), max_area_km2=1e6)
    items = search(aoi, catalog=catalog, datetime="../..")
    inputs = check_inputs(items, card_of("spectral-rules"), aoi=aoi, catalog=catalog)
    assert inputs.crs == grid[0]
    assert inputs.gsd_m == pytest.approx(grid[1])
    assert inputs.adapted == adapted
    geobox = geobox_for(aoi, gsd_m=inputs.gsd_m, crs=inputs.crs, anchor=inputs.anchor)
    found = read_on(inputs.items, geobox, inputs.bands)[0]
    item = inputs.items[0]
    asset = next(
        a for a in item.assets.values() if a.extra_fields["eo:bands"][0].get("common_name") == "green"
    )
    metadata = band_metadata(item)["green"]
    with rasterio.open(asset.href) as file:
        col, row = (round(v) for v in ~file.transform @ (geobox.affine.c, geobox.affine.f))
        window = rasterio.windows.Window(col, row, geobox.shape.x, geobox.shape.y)
        stored = file.read(1, window=window, boundless=True, fill_value=0).astype("f4")
    expected = stored * np.float32(metadata["scale"]) + np.float32(metadata.get("offset", 0))
    known = np.isfinite(found[0].to_numpy())
    assert known.mean() > 0.9
    np.testing.assert_array_equal(found[0].to_numpy()[known], expected[known])


# --- real images ---------------------------------------------------------------------------------

PERU = [f"landsat_peru_timeseries/{year}.tif" for year in (1985, 2020)]


@pytest.mark.skipif(not IMAGERY.is_dir(), reason="../shared/data/imagery is not on this machine")
@pytest.mark.parametrize(
    ("files", "given_too", "text"),
    [
        (["rstoolbox_sen2/rstoolbox_sen2_12band.tif"], {}, "offset -1000: the darkest pixels of every band"),
        (["xrspatial_s2_multires/xrspatial_s2_10m_bgrn.tif"], {}, "offset 0: dark pixels lie below 900"),
        (
            ["ftw_s2_austria/inference-img.tif"],
            {"bands": ["red", "green", "blue", "nir", "-", "-", "-", "-"]},
            "offset 0: many pixels lie below 600",
        ),
        (["terratorch_hls/hls_10band_texas_224.tif"], {"bands": ["-", "green", "red", "-", "-", "-", "nir", "-", "-", "-"]}, "offset 0: many"),
        (PERU, {"bands": ["-", "nir", "red", "green"], "scale": [0.004]}, "scale 0.004, offset 0 as declared"),
    ],
)  # fmt: skip
def test_real_images(files: list[str], given_too: dict[str, Any], text: str) -> None:
    inputs = checked(*[str(IMAGERY / f) for f in files], **given_too)
    assert len(inputs.items) == len(files)
    assert all(text in reason for reason in inputs.calibrations.values())


def test_an_offset_that_the_user_forgot_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", IN, names=VNIR)
    with pytest.warns(
        GeosegWarning, match=r"hold Sentinel-2's offset of -1000, but none .* give --offset -0\.1"
    ):
        checked(path, scale=[1e-4])
