"""A map in sheets is the map in one file."""

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rio_cogeo import cog_validate

from geoseg.evaluation.maps import legend_of
from geoseg.grid.sheets import sheets_of
from geoseg.legend import Legend
from geoseg.writers.cog import mosaic_cog
from geoseg.writers.vrt import raster_of

LEGEND = Legend.of(water="1F78B4", tree="33A02C", bare="C8AD7F")
HEIGHT, WIDTH = 700, 1100
BOX = GeoBox.from_bbox((280_120, 9_110_040, 291_120, 9_117_040), "EPSG:32725", resolution=10)


def content() -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.choice([0, 1, 2, 255], size=(HEIGHT // 7 + 1, WIDTH // 7 + 1)).astype("uint8")
    return np.kron(coarse, np.ones((7, 7), "uint8"))[:HEIGHT, :WIDTH]


PIXELS = content()


def write_parts(folder: Path, rectangles) -> list[Path]:
    parts = []
    for i, (rows, cols) in enumerate(rectangles):
        box, path = BOX[rows, cols], folder / f"part{i}.tif"
        with rasterio.open(
            path, "w", driver="GTiff", height=box.height, width=box.width, count=1, dtype="uint8",
            crs=str(BOX.crs), transform=box.affine, tiled=True, blockxsize=256, blockysize=256,
        ) as sink:  # fmt: skip
            sink.write(PIXELS[rows, cols], 1)
        parts.append(path)
    return parts


def write(folder: Path, rectangles, *, max_file_gb=1e-4) -> Path:
    sheets = sheets_of(BOX, max_file_gb=max_file_gb, area_px=None)
    parts = write_parts(folder, rectangles)
    path = folder / "class.tif"
    return mosaic_cog(parts, path, geobox=BOX, band=1, sheets=sheets, legend=LEGEND, description="class")


ALL = [(slice(0, HEIGHT), slice(0, WIDTH))]


@pytest.fixture(scope="module")
def sheets(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("sheets"), ALL)


@st.composite
def partitions(draw):
    rows = sorted({0, HEIGHT, *draw(st.lists(st.integers(1, HEIGHT - 1), max_size=2))})
    rectangles = []
    for top, bottom in itertools.pairwise(rows):
        cols = sorted({0, WIDTH, *draw(st.lists(st.integers(1, WIDTH - 1), max_size=2))})
        rectangles += [(slice(top, bottom), slice(a, b)) for a, b in itertools.pairwise(cols)]
    return draw(st.permutations(rectangles))


@settings(max_examples=5, deadline=None)
@given(partitions())
def test_the_bytes_of_sheets_do_not_depend_on_the_parts(sheets, rectangles):
    with tempfile.TemporaryDirectory() as name:
        found = write(Path(name), rectangles).parent
        for expected in sorted(sheets.parent.glob("class*")):
            assert (found / expected.name).read_bytes() == expected.read_bytes()


def test_the_vrt_is_the_single_file_pixel_for_pixel(sheets, tmp_path):
    single = write(tmp_path, ALL, max_file_gb=None)
    assert (single.name, sheets.name) == ("class.tif", "class.vrt")
    with rasterio.open(single) as one, rasterio.open(sheets) as many:
        assert len(many.files) > 4
        assert (many.read(1) == PIXELS).all()
        assert (many.read_masks(1) == one.read_masks(1)).all()
        for of in ("nodata", "transform", "crs", "shape", "descriptions", "dtypes", "colorinterp"):
            assert getattr(many, of) == getattr(one, of), of
        assert many.colormap(1) == one.colormap(1)
    assert legend_of(sheets) == legend_of(single)


def test_each_sheet_is_a_cog_with_the_legend(sheets):
    for path in sheets.parent.glob("class-*.tif"):
        assert cog_validate(path, strict=True, quiet=True)[0]
        assert legend_of(path) == legend_of(sheets)


def test_the_folder_can_be_moved(sheets, tmp_path):
    for path in sheets.parent.glob("class*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with rasterio.open(tmp_path / "class.vrt") as moved:
        assert (moved.read(1) == PIXELS).all()
        assert all(Path(file).parent == tmp_path for file in moved.files)


def test_where_no_sheet_is_there_is_nodata(sheets, tmp_path):
    some = sheets_of(BOX, max_file_gb=1e-4, area_px=None)[1:]
    parts = write_parts(tmp_path, ALL)
    path = mosaic_cog(parts, tmp_path / "class.tif", geobox=BOX, band=1, sheets=some, legend=LEGEND)
    with rasterio.open(path) as source:
        found = source.read(1)
    first = sheets_of(BOX, max_file_gb=1e-4, area_px=None)[0].window
    expected = PIXELS.copy()
    expected[first.toslices()] = 255
    assert (found == expected).all()


def test_the_raster_of_a_layer_is_found_in_either_form(sheets, tmp_path):
    assert raster_of(sheets.parent, "class") == sheets
    assert raster_of(tmp_path, "class") == tmp_path / "class.tif"
