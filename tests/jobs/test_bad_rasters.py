"""Rasters that are odd or broken, through a whole run: the map that their own pixels give, or one clear line.

What is expected is made from the pixels that the test writes: a plain file of the same reflectance has the
class of each pixel, and ``WATER``, ``LAND`` and ``PLANTS`` below are such that no other class can come out.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from builders import smooth
from rasterio.control import GroundControlPoint

from geoseg.errors import GeosegError, ImageryError
from geoseg.imagery import on_grid
from geoseg.imagery.changes import refuse_changed, unchanged
from geoseg.jobs.plan import plan_run
from geoseg.jobs.run import run
from geoseg.recipe import Recipe

MODEL = "spectral-rules-vnir"
VNIR = ("green", "red", "nir")
UTM = "EPSG:32725"
HEIGHT, WIDTH = 40, 50
NORTH_UP = Affine(10, 0, 290_000, 0, -10, 9_110_000)
REFLECTANCE = smooth(1, (HEIGHT, WIDTH), n=3)
DN = np.rint(REFLECTANCE * 10_000).clip(1, 60_000).astype("uint16")
SOUTH_UP = Affine(10, 0, 290_000, 0, 10, 9_110_000 - 10 * HEIGHT)
EAST_LEFT = Affine(-10, 0, 290_000 + 10 * WIDTH, 0, -10, 9_110_000)
TURNED = NORTH_UP @ Affine.rotation(30)


def write(
    path: Path,
    pixels: np.ndarray,
    *,
    names: tuple[str | None, ...] = VNIR,
    crs: str | None = UTM,
    transform: Affine = NORTH_UP,
    driver: str = "GTiff",
    dtype: str | None = None,
    **profile: Any,
) -> Path:
    size = {"count": len(pixels), "height": pixels.shape[1], "width": pixels.shape[2]}
    placed = {"crs": crs, "transform": transform}
    with rasterio.open(
        path, "w", driver=driver, dtype=dtype or pixels.dtype, **size, **placed, **profile
    ) as file:
        file.write(pixels)
        for number, name in enumerate(names[: len(pixels)], 1):
            if name:
                file.set_band_description(number, name)
    return path


def map_of(path: Path, **options: Any) -> np.ndarray:
    """The classes that a run gives to a raster."""
    return placed_map_of(path, **options)[0]


def placed_map_of(path: Path, **options: Any) -> tuple[np.ndarray, Affine]:
    out = path.parent / f"map of {path.name}"
    run(Recipe(image=(str(path),), model=MODEL, out=str(out), overwrite=True, **options))
    with rasterio.open(out / "class.tif") as source:
        return source.read(1), source.transform


def refusal(path: Path, **options: Any) -> str:
    """The one line with which a run refuses a raster; nothing is left of the run."""
    out = path.parent / "refused"
    with pytest.raises(GeosegError) as error:
        run(Recipe(image=(str(path),), model=MODEL, out=str(out), **options))
    text = str(error.value)
    assert "\n" not in text
    assert 30 < len(text.replace(str(path.parent), "")) < 300, text
    assert path.stem in text, "the line names the file"
    assert not out.exists()
    return text


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The classes of the pixels in a plain file; several, all valid."""
    classes = map_of(write(tmp_path_factory.mktemp("plain") / "plain.tif", DN))
    assert len(np.unique(classes)) >= 3
    assert (classes != 255).all()
    return classes


# --- where it lies -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("transform", "flip"),
    [(SOUTH_UP, np.s_[:, ::-1]), (EAST_LEFT, np.s_[:, :, ::-1])],
    ids=["south-up", "east-left"],
)
def test_mirrored_grids_give_the_map_of_a_plain_one(
    tmp_path: Path, plain: np.ndarray, transform: Affine, flip: Any
) -> None:
    found, placed = placed_map_of(write(tmp_path / "a.tif", DN[flip], transform=transform))
    assert placed == NORTH_UP
    np.testing.assert_array_equal(found, plain)


def test_a_rotated_raster_has_the_class_of_each_place(tmp_path: Path, plain: np.ndarray) -> None:
    """Where a place and all pixels around it are of one class, so is that place in the map."""
    found, placed = placed_map_of(write(tmp_path / "a.tif", DN, transform=TURNED))
    rows, cols = np.indices(found.shape)
    col, row = ~TURNED @ placed @ (cols + 0.5, rows + 0.5)
    is_inside = (col > 0) & (col < WIDTH) & (row > 0) & (row < HEIGHT)
    near_edge = np.maximum(np.maximum(-col, col - WIDTH), np.maximum(-row, row - HEIGHT))
    assert (found[near_edge > 1] == 255).all()
    at = np.floor(row[is_inside]).astype(int), np.floor(col[is_inside]).astype(int)
    padded = np.pad(plain, 1, constant_values=254)
    around = [padded[1 + i : 1 + i + HEIGHT, 1 + j : 1 + j + WIDTH] for i in (-1, 0, 1) for j in (-1, 0, 1)]
    is_uniform = np.all([a == plain for a in around], axis=0)[at]
    assert is_uniform.sum() > 100
    np.testing.assert_array_equal(found[is_inside][is_uniform], plain[at][is_uniform])


@pytest.mark.parametrize("cut", [np.s_[:, 7:8], np.s_[:, :, 9:10]], ids=["row", "column"])
def test_one_row_or_column(tmp_path: Path, plain: np.ndarray, cut: Any) -> None:
    found = map_of(write(tmp_path / "a.tif", DN[cut]), scale=(1e-4,))
    np.testing.assert_array_equal(found, plain[cut[1:]])


@pytest.mark.filterwarnings("ignore:.*geotransform")
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"crs": None}, r"has no CRS, .*gdal_translate -a_srs EPSG:<code> IN\.tif OUT\.tif$"),
        ({"crs": 'LOCAL_CS["of the mine",UNIT["metre",1]]'}, r"neither geographic nor projected.*-a_srs"),
        ({"crs": "EPSG:4978"}, r"neither geographic nor projected"),
        ({"transform": Affine.identity()}, r"no geotransform"),
        ({"transform": Affine(10, 10, 290_000, 10, 10, 9_110_000)}, r"no area .*10, 10, 290000.*-a_ullr"),
        ({"transform": Affine(float("nan"), 0, 290_000, 0, -10, 9_110_000)}, r"no area .*nan.*-a_ullr"),
        ({"transform": Affine(1e-9, 0, 290_000, 0, -1e-9, 9_110_000)}, r"too small to cover any ground"),
        ({"transform": Affine(10, 0, -9e7, 0, -10, 9e9)}, r"lies nowhere in its CRS .*-a_ullr"),
        (
            {"crs": "EPSG:4326", "transform": Affine(1, 0, 500, 0, -1, 400)},
            r"limits of longitude and latitude",
        ),
    ],
)
def test_a_raster_that_lies_nowhere(tmp_path: Path, given: dict[str, Any], said: str) -> None:
    assert re.search(said, refusal(write(tmp_path / "nowhere.tif", DN, **given)))


@pytest.mark.filterwarnings("ignore:.*geotransform")
def test_control_points_only(tmp_path: Path) -> None:
    path = tmp_path / "photo.tif"
    size = {"count": 3, "height": HEIGHT, "width": WIDTH}
    with rasterio.open(path, "w", driver="GTiff", dtype="uint16", **size) as file:
        file.write(DN)
        points = [(0, 0, 29e4, 911e4), (0, 50, 290_500, 911e4), (40, 0, 29e4, 9_109_600)]
        file.gcps = [GroundControlPoint(*p) for p in points], rasterio.crs.CRS.from_epsg(32725)
    assert refusal(path).endswith("Warp it first: gdalwarp -t_srs EPSG:<code> IN.tif OUT.tif")


# --- what has no value ---------------------------------------------------------------------------


def vrt(path: Path, source: Path, nodata: dict[int, str]) -> Path:
    """A VRT over ``source`` with a nodata value of its own for some bands."""
    bands = "".join(
        f'<VRTRasterBand dataType="UInt16" band="{band}"><Description>{name}</Description>'
        + (f"<NoDataValue>{nodata[band]}</NoDataValue>" if band in nodata else "")
        + f'<SimpleSource><SourceFilename relativeToVRT="0">{source}</SourceFilename>'
        f"<SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
        for band, name in enumerate(VNIR, 1)
    )
    place = "<SRS>EPSG:32725</SRS><GeoTransform>290000,10,0,9110000,0,-10</GeoTransform>"
    path.write_text(f'<VRTDataset rasterXSize="{WIDTH}" rasterYSize="{HEIGHT}">{place}{bands}</VRTDataset>')
    return path


def holed(pixels: np.ndarray, values: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Pixels with a value of its own as a hole in each band, and where any band has one."""
    pixels, hole = pixels.copy(), np.zeros((HEIGHT, WIDTH), bool)
    for band, (value, place) in enumerate(
        zip(values, (np.s_[3:6, :9], np.s_[10:14, 20:40], np.s_[:, 45:47]), strict=True)
    ):
        pixels[band][place] = value
        hole[place] = True
    return pixels, hole


def test_each_band_has_its_own_nodata(tmp_path: Path, plain: np.ndarray) -> None:
    pixels, hole = holed(DN, (7, 9, 11))
    # The nodata of one band is a measured number in another.
    pixels[:, 30, 30] = (9, 11, 7)
    path = write(tmp_path / "a.tif", pixels)
    found = map_of(vrt(tmp_path / "a.vrt", path, {1: "7", 2: "9", 3: "11"}))
    np.testing.assert_array_equal(found == 255, hole)
    is_same = ~hole
    is_same[30, 30] = False
    np.testing.assert_array_equal(found[is_same], plain[is_same])


@pytest.mark.parametrize("nodata", ["-9999", "nan", "0.5"])
def test_a_nodata_value_that_no_pixel_can_have_hides_none(
    tmp_path: Path, plain: np.ndarray, nodata: str
) -> None:
    path = vrt(tmp_path / "a.vrt", write(tmp_path / "a.tif", DN), dict.fromkeys((1, 2, 3), nodata))
    np.testing.assert_array_equal(map_of(path), plain)


@pytest.mark.parametrize("nodata", [None, np.nan, np.inf])
def test_nan_and_infinities_are_no_values(tmp_path: Path, plain: np.ndarray, nodata: float | None) -> None:
    pixels, hole = holed(REFLECTANCE, (np.nan, np.inf, -np.inf))
    found = map_of(write(tmp_path / "a.tif", pixels, nodata=nodata))
    np.testing.assert_array_equal(found, np.where(hole, 255, plain))


def test_infinities_on_another_grid_spread_by_a_pixel_at_most(tmp_path: Path) -> None:
    pixels, hole = holed(REFLECTANCE, (np.nan, np.inf, -np.inf))
    found = map_of(write(tmp_path / "a.tif", pixels), gsd=5)
    fine = hole.repeat(2, 0).repeat(2, 1)
    assert (found[fine] == 255).all()
    grown = np.pad(fine, 2)
    near = np.any([grown[i : i + 2 * HEIGHT, j : j + 2 * WIDTH] for i in range(5) for j in range(5)], axis=0)
    assert (found[~near] != 255).all()


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("int32", 2**24 + 1), ("uint32", 2**32 - 1), ("int32", -(2**31)), ("int64", -9999)]
)
def test_whole_numbers_beyond_those_of_float32(
    tmp_path: Path, plain: np.ndarray, dtype: str, nodata: int
) -> None:
    """A measured number that float32 rounds to the nodata value stays one."""
    scale = 1e-8 if dtype != "uint32" else 1 / 2**31
    pixels = (REFLECTANCE.astype("f8") / scale).round().astype(dtype)
    pixels[:, 5:9, 5:9] = nodata
    near = nodata + (-1 if nodata > 0 else 64)
    pixels[:, 20, 20] = near
    found = map_of(write(tmp_path / "a.tif", pixels, nodata=nodata), scale=(scale,))
    hole = np.zeros(plain.shape, bool)
    hole[5:9, 5:9] = True
    np.testing.assert_array_equal(found == 255, hole)
    hole[20, 20] = True
    assert (found[~hole] == plain[~hole]).mean() > 0.999  # a rounded 1/10000 may cross a threshold


@pytest.mark.parametrize("kind", ["alpha", "inside", "beside"])
def test_masks_and_alpha_bands(tmp_path: Path, plain: np.ndarray, kind: str) -> None:
    shown = np.ones((HEIGHT, WIDTH), bool)
    shown[:10] = shown[20, 30] = False
    path = tmp_path / "a.tif"
    if kind == "alpha":
        opaque = shown[None].astype("uint16") * 65535
        write(path, np.concatenate([DN, opaque]), photometric="RGB", alpha="yes")
    else:
        write(path, DN)
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=kind == "inside"), rasterio.open(path, "r+") as file:
            file.write_mask(shown)
    assert (tmp_path / "a.tif.msk").exists() == (kind == "beside")
    np.testing.assert_array_equal(map_of(path), np.where(shown, plain, 255))


# --- what the numbers are ------------------------------------------------------------------------


def scaled(path: Path, scale: float, offset: float) -> Path:
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (scale,) * 3, (offset,) * 3
    return path


@pytest.mark.parametrize("dtype", ["float64", "float16", "uint64"])
def test_number_types(tmp_path: Path, plain: np.ndarray, dtype: str) -> None:
    kind = {"dtype": "float32", "nbits": 16} if dtype == "float16" else {"dtype": dtype}
    pixels = REFLECTANCE if dtype.startswith("float") else DN
    found = map_of(write(tmp_path / "a.tif", pixels.astype(kind["dtype"]), **kind))
    assert (found == plain).mean() > (0.999 if dtype == "float16" else 0.9999)


def test_bytes_with_a_sign(tmp_path: Path) -> None:
    pixels = (REFLECTANCE * 120).round().astype("int8")
    exact = map_of(write(tmp_path / "exact.tif", pixels.astype("float32") / 128))
    np.testing.assert_array_equal(map_of(write(tmp_path / "a.tif", pixels), scale=(1 / 128,)), exact)
    assert "8-bit numbers" in refusal(tmp_path / "a.tif")


def test_scale_and_offset_of_the_file(tmp_path: Path, plain: np.ndarray) -> None:
    pixels = np.rint((REFLECTANCE.astype("f8") + 0.2) / 2e-5).astype("uint16")
    found = map_of(scaled(write(tmp_path / "a.tif", pixels), 2e-5, -0.2))
    assert (found == plain).mean() > 0.999


@pytest.mark.parametrize(("scale", "offset"), [(0, 0.1), (float("nan"), 0), (1e-4, float("inf"))])
def test_a_scale_that_leaves_nothing_of_the_values(tmp_path: Path, scale: float, offset: float) -> None:
    path = scaled(write(tmp_path / "scaled.tif", DN), scale, offset)
    text = refusal(path)
    assert f"Band green of {path} has a scale of {scale:g} and an offset of {offset:g}" in text
    assert "--scale 0.0001" in text


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "complex_int16"])
def test_complex_numbers(tmp_path: Path, plain: np.ndarray, dtype: str) -> None:
    path = write(tmp_path / "radar.tif", DN.astype("complex64"), dtype=dtype)
    text = refusal(path)
    assert f"holds complex numbers ({dtype}), expected real ones" in text
    # The line to type is one that GDAL takes, band by band as the file has them.
    amplitude = tmp_path / "amplitude.tif"
    rasterio.shutil.copy(f"DERIVED_SUBDATASET:AMPLITUDE:{path}", amplitude, driver="GTiff")
    np.testing.assert_array_equal(map_of(amplitude, bands=VNIR), plain)


GREY = (REFLECTANCE * 255).astype("uint8")


def palette(path: Path, band: int = 0, **options: Any) -> Path:
    write(path, GREY[band : band + 1], **options)
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {i: (i, 255 - i, i // 2, 255) for i in range(256)})
    return path


def test_a_paletted_picture(tmp_path: Path) -> None:
    for name in ("red", None):
        text = refusal(palette(tmp_path / "picture.tif", names=(name,)))
        assert f"Band {name or 1} of" in text
        assert "has a colour table" in text


def test_a_palette_that_a_scale_gives_a_meaning(tmp_path: Path) -> None:
    """Grey tables are hung on measured bytes, too."""
    paths = [palette(tmp_path / f"{name}.tif", band, names=(name,)) for band, name in enumerate(VNIR)]
    out = tmp_path / "map"
    run(Recipe(image=tuple(map(str, paths)), model=MODEL, scale=(1 / 255,), out=str(out)))
    without = map_of(write(tmp_path / "grey.tif", GREY), scale=(1 / 255,))
    assert len(np.unique(without)) > 1
    with rasterio.open(out / "class.tif") as source:
        np.testing.assert_array_equal(source.read(1), without)


def test_one_bit_per_pixel(tmp_path: Path) -> None:
    bits = (REFLECTANCE > 0.3).astype("uint8")
    path = write(tmp_path / "mask.tif", bits, nbits=1)
    assert "has 1 bit per pixel: a mask, not reflectance" in refusal(path)
    exact = map_of(write(tmp_path / "exact.tif", bits.astype("float32") * 0.5))
    np.testing.assert_array_equal(map_of(path, scale=(0.5,)), exact)


def test_bands_that_are_left_out_may_be_anything(tmp_path: Path, plain: np.ndarray) -> None:
    path = write(tmp_path / "a.tif", np.concatenate([DN, DN[:1]]).astype("complex64"), names=())
    real = write(tmp_path / "b.tif", DN, names=())
    both = tmp_path / "a.vrt"
    rasterio.shutil.copy(str(real), str(both), driver="VRT")
    extra = (
        '<VRTRasterBand dataType="CFloat32" band="4"><SimpleSource><SourceFilename relativeToVRT="0">'
        f"{path}</SourceFilename><SourceBand>4</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    both.write_text(both.read_text().replace("</VRTDataset>", extra))
    np.testing.assert_array_equal(map_of(both, bands=(*VNIR, "-")), plain)


@pytest.mark.parametrize("bands", [None, ("-", "green", "red", "nir", "-", "-")])
def test_more_bands_than_asked(tmp_path: Path, plain: np.ndarray, bands: tuple[str, ...] | None) -> None:
    names = ("blue", *VNIR, "swir16", "swir22") if bands is None else ()
    pixels = np.concatenate([DN[:1] // 2 + 1, DN, DN[:2]])
    np.testing.assert_array_equal(map_of(write(tmp_path / "a.tif", pixels, names=names), bands=bands), plain)


# --- what is not whole ---------------------------------------------------------------------------


BIG = np.rint(smooth(3, (600, 600), n=3) * 10_000).clip(1).astype("uint16")


@pytest.fixture(scope="module")
def cog(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("cog")
    source = write(folder / "a.tif", BIG)
    rasterio.shutil.copy(
        str(source), str(folder / "cog.tif"), driver="COG", compress="deflate", blocksize=128
    )
    return (folder / "cog.tif").read_bytes()


@pytest.mark.parametrize("share", [0.999, 0.6, 0.3])
def test_a_cog_that_is_cut_short_is_told_from_its_header(tmp_path: Path, cog: bytes, share: float) -> None:
    """Before a pixel is computed: a long run would fail at its end."""
    path = tmp_path / "cut.tif"
    path.write_bytes(cog[: int(len(cog) * share)])
    text = refusal(path)
    size = path.stat().st_size
    assert re.search(rf"is cut short: it has {size:,} bytes, its pixels go on to byte [\d,]+\. Copy", text)


@pytest.mark.parametrize("n_bytes", [0, 4, 50, 400])
def test_a_header_that_is_cut_short(tmp_path: Path, cog: bytes, n_bytes: int) -> None:
    path = tmp_path / "cut.tif"
    path.write_bytes(cog[:n_bytes])
    text = refusal(path)
    assert ("is empty: it has 0 bytes" if n_bytes == 0 else "is cut short or damaged") in text
    assert "Copy or download it again" in text


@pytest.mark.parametrize("options", [{"compress": "none"}, {"compress": "deflate"}, {"interleave": "band"}])
def test_a_geotiff_that_is_cut_short(tmp_path: Path, options: dict[str, Any]) -> None:
    path = write(tmp_path / "cut.tif", BIG, tiled=True, blockxsize=128, blockysize=128, **options)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    assert "cut short" in refusal(path)


def test_damage_in_the_middle_says_which_pixels(tmp_path: Path, cog: bytes) -> None:
    path = tmp_path / "hole in it.tif"
    half, quarter = len(cog) * 3 // 5, len(cog) // 5
    path.write_bytes(cog[:half] + bytes(quarter) + cog[half + quarter :])
    text = refusal(path)
    assert re.search(
        r"is cut short or damaged: rows \d+ to \d+ of bands \d, \d, \d cannot be read \(.*\)\. "
        r"Copy or download it again; gdalinfo -checksum '.*hole in it\.tif' says whether it is whole\.$",
        text,
    )


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
def test_an_envi_file_that_is_cut_short(tmp_path: Path, plain: np.ndarray, interleave: str) -> None:
    """GDAL gives zeros for what is not there, without a word."""
    path = write(tmp_path / "cut.img", DN, driver="ENVI", interleave=interleave)
    over = vrt(tmp_path / "over.vrt", path, {})
    if interleave == "bsq":
        np.testing.assert_array_equal(map_of(path, bands=VNIR), plain)
        np.testing.assert_array_equal(map_of(over), plain)
    path.write_bytes(path.read_bytes()[: 6 * HEIGHT * WIDTH * 6 // 10])
    with rasterio.open(path) as source:
        assert (source.read() == 0).any()
    expected = f"is cut short: it has 7,200 bytes, its pixels go on to byte {6 * HEIGHT * WIDTH:,}."
    assert expected in refusal(path, bands=VNIR)
    assert "a source of" in (text := refusal(over))
    assert expected in text


def test_no_image_at_all(tmp_path: Path) -> None:
    page = tmp_path / "page.tif"
    page.write_text("<!doctype html>\n<title>Please log in</title>")
    assert (
        "is no image that GDAL knows: it begins with the text '<!doctype html> <title>Please log in"
        in refusal(page)
    )
    (tmp_path / "folder.tif").mkdir()
    assert "is a folder. Name its files" in refusal(tmp_path / "folder.tif")
    nothing = tmp_path / "nothing.vrt"
    nothing.write_text('<VRTDataset rasterXSize="0" rasterYSize="0"></VRTDataset>')
    assert "rasterXSize" in refusal(nothing)
    assert "gone.tif" in refusal(vrt(tmp_path / "over.vrt", tmp_path / "gone.tif", {}))


# --- what changes while it is read ---------------------------------------------------------------


def touch(path: Path) -> None:
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1_000_000))


def rewrite(path: Path) -> None:
    other = path.with_suffix(".new")
    write(other, STRIP[:, ::-1])
    other.replace(path)


def shorten(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


STRIP = BIG[:, :40, :560]
"""Two blocks, with ``block_size=512``."""
CHANGES = {"touched": touch, "rewritten": rewrite, "shortened": shorten, "removed": Path.unlink}


@pytest.mark.parametrize("change", CHANGES)
def test_files_that_changed_are_refused(tmp_path: Path, change: str) -> None:
    path = write(tmp_path / "a.tif", STRIP)
    plan = plan_run(Recipe(image=(str(path),), model=MODEL, out=str(tmp_path / "m")), say=lambda _: None)
    with unchanged(plan.selection.items):
        pass
    CHANGES[change](path)
    said = rf"^{path} (was removed|changed) while it was being read.*run again\.$"
    with pytest.raises(ImageryError, match=said) as error:
        refuse_changed(plan.selection.items)
    assert "\n" not in str(error.value)
    with pytest.raises(ImageryError, match=said), unchanged(plan.selection.items):
        raise ImageryError("what a half-written file gives")
    with pytest.raises(ZeroDivisionError), unchanged(plan.selection.items):
        1 / 0  # noqa: B018


def test_sources_and_files_beside_count_too(tmp_path: Path) -> None:
    pixels = write(tmp_path / "a.tif", DN)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(pixels, "r+") as file:
        file.write_mask(np.ones((HEIGHT, WIDTH), bool))
    over = vrt(tmp_path / "a.vrt", pixels, {})
    for image, changed in ((pixels, tmp_path / "a.tif.msk"), (over, pixels), (over, over)):
        plan = plan_run(Recipe(image=(str(image),), model=MODEL, out=str(tmp_path / "m")), say=lambda _: None)
        touch(changed)
        with pytest.raises(ImageryError, match=rf"^{changed} changed"):
            refuse_changed(plan.selection.items)


def at_second_block(monkeypatch: pytest.MonkeyPatch, path: Path, do: Callable[[Path], None]) -> None:
    """Something happens to the file after the first rows of it were read."""
    read, done = on_grid._read_rows, list[str]()

    def watched(address: str, *args: Any) -> Any:
        found = read(address, *args)
        done.append(address)
        if len(done) == 1:
            do(path)
        return found

    plan_run(Recipe(image=(str(path),), model=MODEL, out=str(path.parent / "m")), say=lambda _: None)
    monkeypatch.setattr(on_grid, "_read_rows", watched)


@pytest.mark.parametrize("change", ["shortened", "removed"])
def test_a_file_that_breaks_off_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    path = write(tmp_path / "a.tif", STRIP)
    at_second_block(monkeypatch, path, CHANGES[change])
    refusal(path, block_size=512)


@pytest.mark.parametrize("change", ["touched", "rewritten"])
def test_a_file_that_is_rewritten_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    path = write(tmp_path / "a.tif", STRIP)
    at_second_block(monkeypatch, path, CHANGES[change])
    assert "changed while it was being read" in refusal(path, block_size=512)
