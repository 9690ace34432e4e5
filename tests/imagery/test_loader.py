"""Pixels of items on a grid: exact where they lie on it, NaN where there is nothing, lazy, and alike in any window."""

from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import xarray as xr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from imagery_files import NORTH_UP, UTM, Pixels, dn, item_of, read_on, write
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry

from geoseg.errors import ImageryError
from geoseg.imagery.harmonise import prepare
from geoseg.imagery.loader import CELL, CLOUDS, load, load_clouds
from geoseg.imagery.reading import gdal_env
from geoseg.stac.catalog import CollectionConfig

GRID = GeoBox((40, 50), NORTH_UP, UTM)
NEXT_ZONE = "EPSG:32724"


def prepared(item: pystac.Item, bands: dict[str, Any], **config: Any) -> pystac.Item:
    """The item as ``check_inputs`` hands it on, read as that table of bands says."""
    found = CollectionConfig.model_validate({"bands": bands, **config})
    return prepare(item, config=found, bands=found.bands, has_clouds=True)


def simple(path: str, name: str = "item", **band: Any) -> pystac.Item:
    return prepared(item_of((path, {}), name=name), {"red": {"asset": "a", **band}})


def red(*items: pystac.Item, geobox: GeoBox = GRID, **given_too: Any) -> xr.DataArray:
    return read_on(pystac.ItemCollection(items), geobox, ("red",), **given_too)[:, 0]


# --- values --------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(-60, 60), st.integers(-60, 60), st.integers(1, 90), st.integers(1, 90))
def test_pixels_on_the_grid_are_the_files_own_and_nan_outside(
    tmp_path_factory: pytest.TempPathFactory, row: int, col: int, height: int, width: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "on_grid.tif"
    pixels = dn(1)
    if not path.exists():
        write(path, pixels)
    found = red(
        simple(str(path)), geobox=GeoBox((height, width), NORTH_UP @ Affine.translation(col, row), UTM)
    )
    around = np.full((260, 260), np.nan, np.float32)
    around[100:140, 100:150] = pixels[0]
    top, left = 100 + row, 100 + col
    np.testing.assert_array_equal(found[0], around[top : top + height, left : left + width])


def test_a_south_up_file_is_turned(tmp_path: Path) -> None:
    pixels = dn(1)
    path = write(tmp_path / "a.tif", pixels, transform=Affine(10, 0, 500_000, 0, 10, 9_000_000 - 400))
    np.testing.assert_array_equal(red(simple(path))[0], pixels[0, ::-1])


FILL = {"uint16": 65535, "int16": -9999, "float32": -3.4028234663852886e38, "uint8": 255}


@pytest.mark.parametrize("dtype", FILL)
@pytest.mark.parametrize("where", ["file", "item", "both", "they differ"])
def test_declared_nodata_becomes_nan(tmp_path: Path, dtype: str, where: str) -> None:
    fill = FILL[dtype]
    pixels = (dn(1) % 200).astype(dtype)
    pixels[0, :5] = fill
    in_file = {"item": None, "they differ": 250}.get(where, fill)
    path = write(tmp_path / "a.tif", pixels, nodata=in_file)
    item = simple(path, **({} if where == "file" else {"nodata": fill}))
    found = red(item)[0].to_numpy()
    np.testing.assert_array_equal(found, np.where(pixels[0] == fill, np.nan, pixels[0].astype("f4")))


def test_nan_is_nodata_and_no_nodata_keeps_zeros(tmp_path: Path) -> None:
    pixels = dn(1).astype("float32")
    pixels[0, :5], pixels[0, 5:10] = np.nan, 0
    np.testing.assert_array_equal(red(simple(write(tmp_path / "a.tif", pixels)))[0], pixels[0])
    np.testing.assert_array_equal(red(simple(write(tmp_path / "b.tif", pixels, nodata=np.nan)))[0], pixels[0])


@pytest.mark.parametrize("nodata", [None, 0])
def test_resampled_pixels_near_nodata_hold_nothing_of_it(tmp_path: Path, nodata: int | None) -> None:
    pixels = np.full((1, 20, 25), 1000, np.uint16)
    pixels[0, :, :12] = 0
    path = write(tmp_path / "a.tif", pixels, transform=NORTH_UP @ Affine.scale(2), nodata=nodata)
    found = red(simple(path, **({} if nodata is not None else {"nodata": 0})))[0].to_numpy()
    assert set(np.unique(found[np.isfinite(found)])) == {1000}
    assert np.isnan(found[:, :22]).all()


def test_scale_and_offset_of_each_band_spare_nodata(tmp_path: Path) -> None:
    pixels = dn(2)
    pixels[:, 0] = 0
    item = prepared(
        item_of((write(tmp_path / "a.tif", pixels, nodata=0), {})),
        {
            "red": {"asset": "a", "index": 1, "scale": 1e-4, "offset": -0.1},
            "nir": {"asset": "a", "index": 2, "scale": 0.0000275, "offset": -0.2},
        },
    )
    found = read_on(pystac.ItemCollection([item]), GRID, ("nir", "red"))
    assert found.dtype == np.float32
    valid = np.where(pixels == 0, np.nan, pixels.astype("f4"))
    np.testing.assert_array_equal(found.sel(band="red")[0], valid[0] * np.float32(1e-4) + np.float32(-0.1))
    np.testing.assert_array_equal(
        found.sel(band="nir")[0], valid[1] * np.float32(0.0000275) + np.float32(-0.2)
    )


def test_layers_in_another_order_in_each_item(tmp_path: Path) -> None:
    pixels = dn(3)
    config = {"red": {"asset": "a", "index": 3}, "nir": {"asset": "a", "index": 1}}
    first = prepared(item_of((write(tmp_path / "a.tif", pixels), {}), name="first"), config)
    config = {"red": {"asset": "a", "index": 2}, "nir": {"asset": "a", "index": 3}}
    second = prepared(item_of((write(tmp_path / "b.tif", pixels), {}), name="second"), config)
    found = read_on(pystac.ItemCollection([first, second]), GRID, ("nir", "red"))
    np.testing.assert_array_equal(found, pixels[[[0, 2], [2, 1]]])


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(4)))
def test_times_come_in_the_order_of_the_items(
    tmp_path_factory: pytest.TempPathFactory, order: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("order")
    paths = [write(folder / f"{n}.tif", np.full((1, 4, 4), n, np.uint8)) for n in range(4)]
    found = red(*[simple(paths[n], name=f"item{n}") for n in order], geobox=GeoBox((4, 4), NORTH_UP, UTM))
    assert found[:, 0, 0].values.tolist() == order


def test_coarser_bands_are_resampled_onto_the_grid(tmp_path: Path) -> None:
    fine = write(tmp_path / "fine.tif", dn(1))
    coarse = write(tmp_path / "coarse.tif", dn(1, 20, 25), transform=NORTH_UP @ Affine.scale(2))
    item = prepared(item_of((fine, {}), (coarse, {})), {"red": "a", "swir16": "b"})
    found = read_on(pystac.ItemCollection([item]), GRID, ("red", "swir16"), resampling="nearest")
    np.testing.assert_array_equal(found[0, 0], dn(1)[0])
    np.testing.assert_array_equal(found[0, 1], np.kron(dn(1, 20, 25)[0], np.ones((2, 2))))


def ground(geobox: GeoBox, crs: str = UTM) -> Pixels:
    """(1, y, x) uint16: a smooth function of the place, in metres of ``crs``, whatever the grid."""
    cols, rows = np.meshgrid(np.arange(geobox.shape.x) + 0.5, np.arange(geobox.shape.y) + 0.5)
    x, y = geobox.affine @ (cols, rows)
    if str(geobox.crs) != crs:
        points = np.array([p.coords[0] for p in _points(x.ravel(), y.ravel(), str(geobox.crs), crs)])
        x, y = points[:, 0].reshape(x.shape), points[:, 1].reshape(y.shape)
    return (2000 + 1000 * np.sin(x / 700) + 500 * np.cos(y / 900))[None].astype(np.uint16)


def _points(x: Pixels, y: Pixels, source: str, target: str) -> list[Any]:
    from pyproj import Transformer
    from shapely import points

    return list(points(*Transformer.from_crs(source, target, always_xy=True).transform(x, y)))


def test_items_of_two_zones_show_the_same_ground(tmp_path: Path) -> None:
    here = GeoBox(
        (60, 60), Affine(10, 0, 166_000, 0, -10, 9_000_000), UTM
    )  # near the border of zones 24 and 25
    there = GeoBox.from_geopolygon(here.extent.buffer(300).to_crs(NEXT_ZONE), resolution=10, crs=NEXT_ZONE)
    paths = [
        write(tmp_path / "here.tif", ground(here), transform=here.affine),
        write(tmp_path / "there.tif", ground(there), transform=there.affine, crs=NEXT_ZONE),
    ]
    first, second = red(simple(paths[0], "here"), simple(paths[1], "there"), geobox=here)
    np.testing.assert_array_equal(first, ground(here)[0])
    assert np.isfinite(second).all()
    assert float(abs(second - first).max()) < 15  # of 3500; half a pixel is 7


# --- the law on which the same bytes for any block size rest ----------------------------------


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pystac.Item]:
    """Files on the grid, off it by a part of a pixel, coarser, with overviews, and in other CRSs, with nodata."""
    folder = tmp_path_factory.mktemp("cells")
    area = GeoBox((1300, 1300), Affine(10, 0, 166_000, 0, -10, 9_000_000), UTM).extent
    grids = {
        "on": GeoBox((1300, 1300), Affine(10, 0, 166_000, 0, -10, 9_000_000), UTM),
        "shifted": GeoBox((1300, 1300), Affine(10, 0, 166_004, 0, -10, 9_000_003), UTM),
        "coarser": GeoBox((650, 650), Affine(20, 0, 166_000, 0, -20, 9_000_000), UTM),
        "odd": GeoBox((430, 430), Affine(30, 0, 166_015, 0, -30, 9_000_015), UTM),
        "next zone": GeoBox.from_geopolygon(area.to_crs(NEXT_ZONE), resolution=10, crs=NEXT_ZONE),
        "degrees": GeoBox.from_geopolygon(area.to_crs("EPSG:4326"), resolution=1e-4, crs="EPSG:4326"),
    }
    made = {}
    for name, grid in grids.items():
        pixels = np.random.default_rng(0).integers(1, 4000, (1, *grid.shape)).astype(np.uint16)
        pixels[:, 100:130, 200:240] = 0
        path = write(
            folder / f"{name}.tif", pixels, transform=grid.affine, crs=str(grid.crs), nodata=0, tiled=True,
            blockxsize=256, blockysize=256,
        )  # fmt: skip
        made[name] = simple(path, name)
    return made


@pytest.mark.parametrize("kind", ["on", "shifted", "coarser", "odd", "next zone", "degrees"])
@pytest.mark.parametrize("resampling", ["bilinear", "nearest"])
def test_a_cell_is_the_same_in_every_window(
    sources: dict[str, pystac.Item], kind: str, resampling: str
) -> None:
    n = 3
    big = GeoBox((n * CELL, n * CELL), Affine(10, 0, 165_000, 0, -10, 9_001_000), UTM)
    items = pystac.ItemCollection([sources[kind]])
    whole = read_on(items, big, ("red",), resampling=resampling).to_numpy()[0, 0]
    assert np.isfinite(whole).mean() > 0.4
    for rows, cols in [((0, 1), (0, 1)), ((1, 2), (1, 2)), ((1, 3), (0, 2)), ((2, 3), (1, 3))]:
        window = np.s_[rows[0] * CELL : rows[1] * CELL, cols[0] * CELL : cols[1] * CELL]
        part = read_on(items, big[window], ("red",), resampling=resampling).to_numpy()[0, 0]
        np.testing.assert_array_equal(part, whole[window])


# --- lazily --------------------------------------------------------------------------------------


def test_chunks_are_cells(tmp_path: Path) -> None:
    item = simple(write(tmp_path / "a.tif", dn(1)))
    geobox = GeoBox((1200, 700), NORTH_UP, UTM)
    lazy = load(pystac.ItemCollection([item, item]), geobox=geobox, bands=("red",), sign=str)
    assert lazy.chunks == ((1, 1), (1,), (CELL, CELL, 1200 - 2 * CELL), (CELL, 700 - CELL))
    assert lazy.dims == ("time", "band", "y", "x")
    assert lazy.odc.geobox == geobox


@settings(max_examples=20, deadline=None)
@given(
    dtype=st.sampled_from(["uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"]),
    stated=st.sampled_from([None, 0, 3, -1.0]),
    own=st.sampled_from([None, 0, 5]),
    at=st.tuples(st.integers(-700, 60), st.integers(-60, 60)),
    block=st.sampled_from([None, 16, 64]),
)
def test_local_files_on_the_grid_are_read_as_all_others_are(
    tmp_path_factory: pytest.TempPathFactory,
    dtype: str,
    stated: float | None,
    own: int | None,
    at: tuple[int, int],
    block: int | None,
) -> None:
    path = tmp_path_factory.mktemp("files") / "a.tif"
    pixels = np.random.default_rng(0).integers(0, 9, (3, 130, 90)).astype(dtype)
    tiles = {"tiled": True, "blockxsize": block, "blockysize": block} if block else {}
    write(path, pixels, nodata=own, **tiles)
    nodata = {} if stated is None else {"nodata": stated}
    bands = {"red": {"asset": "a", "index": 3, "scale": 1e-4, "offset": -0.1, **nodata}}
    bands["nir"] = {"asset": "a", "index": 1, **nodata}
    item = prepared(item_of((str(path), {})), bands)
    grid = GeoBox((1500, 100), NORTH_UP @ Affine.translation(at[1], at[0]), UTM)
    one = pystac.ItemCollection([item])
    fast = load(one, geobox=grid, bands=("nir", "red"))
    slow = load(one, geobox=grid, bands=("nir", "red"), sign=str)
    assert len(fast.chunks[3]) == 1, "whole rows"
    assert fast.data.name != slow.data.name
    assert fast.odc.geobox == slow.odc.geobox
    xr.testing.assert_equal(fast.compute(scheduler="threads"), slow.compute(scheduler="threads"))


def test_rows_are_read_by_whole_blocks_of_the_file(tmp_path: Path) -> None:
    tiles = {"tiled": True, "blockxsize": 256, "blockysize": 256}
    item = simple(write(tmp_path / "a.tif", np.ones((1, 2000, 300), np.uint8), **tiles))
    grid = GeoBox((1500, 100), NORTH_UP @ Affine.translation(0, 100), UTM)
    assert load(pystac.ItemCollection([item]), geobox=grid, bands=("red",)).chunks[2] == (412, 512, 512, 64)


def test_nothing_is_read_before_it_is_computed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", dn(1))
    item = simple(path)
    with gdal_env():
        lazy = load(pystac.ItemCollection([item]), geobox=GRID, bands=("red",))
        Path(path).unlink()
        with pytest.raises(ImageryError, match=r"a\.tif cannot be read"):
            lazy.compute(scheduler="threads")


def test_addresses_are_signed_when_they_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", dn(1))
    item = simple(str(tmp_path / "unsigned.tif").replace("unsigned", "a"))
    item.assets["a"].href = str(tmp_path / "unsigned.tif")
    signed: list[str] = []

    def sign(address: str) -> str:
        signed.append(address)
        return path

    with gdal_env():
        lazy = load(pystac.ItemCollection([item]), geobox=GRID, bands=("red",), sign=sign)
        assert signed == []
        np.testing.assert_array_equal(lazy.compute(scheduler="threads")[0, 0], dn(1)[0])
    assert signed == [str(tmp_path / "unsigned.tif")]


def test_an_item_survives_the_journey_to_a_worker(tmp_path: Path) -> None:
    item = simple(write(tmp_path / "a.tif", dn(1)), scale=1e-4, nodata=0)
    again = pystac.Item.from_dict(item.to_dict())
    xr.testing.assert_identical(red(again), red(item))


# --- clouds --------------------------------------------------------------------------------------

CLOUD_RULE = {"asset": "b", "values": [8], "nodata": 0}


def cloudy(tmp_path: Path, name: str, classes: Pixels, rule: dict[str, Any] = CLOUD_RULE) -> pystac.Item:
    image = write(tmp_path / f"{name}.tif", dn(1))
    quality = write(tmp_path / f"{name}-quality.tif", classes, transform=NORTH_UP @ Affine.scale(2))
    item = item_of((image, {}), (quality, {}), name=name)
    return prepared(item, {"red": "a"}, clouds=rule)


def test_clouds_are_classes_on_the_grid(tmp_path: Path) -> None:
    classes = np.random.default_rng(0).integers(1, 12, (1, 20, 25)).astype(np.uint8)
    classes[0, 0, 0] = 0
    items = pystac.ItemCollection([
        cloudy(tmp_path, "one", classes),
        simple(write(tmp_path / "none.tif", dn(1)), "none"),
        cloudy(tmp_path, "bits", classes, {"asset": "b", "bits": [1]}),
    ])  # fmt: skip
    with gdal_env():
        lazy = load_clouds(items, geobox=GRID)
        assert lazy is not None
        assert lazy.chunks is not None
        found = lazy.compute(scheduler="threads")
    assert found.dims == ("time", "y", "x")
    assert found.attrs["rules"] == [{"values": [8]}, {}, {"bits": [1]}]
    expected = np.kron(classes[0].astype("f4"), np.ones((2, 2)))
    np.testing.assert_array_equal(found[2], expected)
    np.testing.assert_array_equal(found[0], np.where(expected == 0, np.nan, expected))
    assert np.isnan(found[1]).all()


def test_no_clouds_anywhere(tmp_path: Path) -> None:
    items = pystac.ItemCollection([simple(write(tmp_path / "a.tif", dn(1)))])
    assert CLOUDS not in items[0].assets
    assert load_clouds(items, geobox=GRID) is None


def test_landsat_flags_stay_whole(tmp_path: Path) -> None:
    flags = np.array([21824, 65535, 55052, 1], np.uint16).reshape(1, 2, 2)
    image = write(tmp_path / "a.tif", dn(1, 2, 2))
    item = prepared(
        item_of((image, {}), (write(tmp_path / "qa.tif", flags), {})),
        {"red": "a"},
        clouds={"asset": "b", "bits": [0, 1, 2, 3, 4], "nodata": 1},
    )
    with gdal_env():
        found = load_clouds(pystac.ItemCollection([item]), geobox=GeoBox((2, 2), NORTH_UP, UTM))
        assert found is not None
        np.testing.assert_array_equal(found.compute()[0], [[21824, 65535], [55052, np.nan]])


# --- refusals ------------------------------------------------------------------------------------


def test_an_item_that_lost_a_band(tmp_path: Path) -> None:
    item = simple(write(tmp_path / "a.tif", dn(1)))
    with pytest.raises(ImageryError, match=r"^Item item lost its bands nir\. Run geoseg check on it\.$"):
        load(pystac.ItemCollection([item]), geobox=GRID, bands=("red", "nir"))


def test_far_from_any_item_all_is_nodata(tmp_path: Path) -> None:
    far = Geometry(GRID.extent.geom, UTM)
    geobox = GeoBox((10, 10), Affine(10, 0, far.boundingbox.left + 1e6, 0, -10, 8_000_000), UTM)
    assert np.isnan(red(simple(write(tmp_path / "a.tif", dn(1)), nodata=0), geobox=geobox)).all()
