import itertools
import json
import resource
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr
from rio_cogeo import cog_validate

from geoseg.errors import OutputError
from geoseg.legend import CONFIDENCE_SCALE, Legend, LegendClass
from geoseg.writers.cog import mosaic_cog, write_cog

LEGEND = Legend.of(water="1F78B4", tree="33A02C", bare="C8AD7F")


def grid(height: int, width: int, crs: str = "EPSG:32725", gsd: float = 10) -> GeoBox:
    left, top = (280_000, 9_120_000) if gsd > 1 else (-35.0, -8.0)
    return GeoBox.from_bbox(
        (left, top - height * gsd, left + width * gsd, top), crs, shape=(height, width), tight=True
    )


def blobs(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.choice([0, 1, 2, 255], size=(height // 7 + 1, width // 7 + 1)).astype("uint8")
    fine = np.kron(coarse, np.ones((7, 7), "uint8"))[:height, :width]
    return np.where(rng.random(fine.shape) < 0.05, 1, fine).astype("uint8")


def write_part(path: Path, class_id: np.ndarray, confidence: np.ndarray, geobox: GeoBox, rows, cols) -> Path:
    box = geobox[rows, cols]
    with rasterio.open(
        path, "w", driver="GTiff", height=box.height, width=box.width, count=2, dtype="uint8",
        crs=str(geobox.crs), transform=box.affine, tiled=True, blockxsize=256, blockysize=256,
        compress="deflate",
    ) as sink:  # fmt: skip
        sink.write(np.stack([class_id[rows, cols], confidence[rows, cols]]))
    return path


@settings(max_examples=25, deadline=None)
@given(
    class_id=hnp.arrays(
        "uint8",
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=70),
        elements=st.sampled_from([0, 1, 2, 255]),
    ),
    crs_gsd=st.sampled_from([("EPSG:32725", 10.0), ("EPSG:4326", 1e-4), ("EPSG:3035", 28.5)]),
)
def test_read_back_equals_the_array(class_id, crs_gsd):
    box = grid(*class_id.shape, *crs_gsd)
    with tempfile.TemporaryDirectory() as folder:
        path = write_cog(wrap_xr(class_id, box), Path(folder, "class.tif"), legend=LEGEND)
        assert cog_validate(path, strict=True)[0]
        with rasterio.open(path) as read:
            np.testing.assert_array_equal(read.read(1), class_id)
            np.testing.assert_array_equal(read.read_masks(1) == 0, class_id == 255)
            assert read.nodata == 255
            assert read.crs.to_epsg() == box.crs.epsg
            assert read.transform.almost_equals(box.affine, precision=1e-12)


@st.composite
def partitions(draw, height: int, width: int):
    """Rectangles that fill the grid: strips of random heights, each cut at its own columns."""
    rows = sorted({0, height, *draw(st.lists(st.integers(1, height - 1), max_size=2))})
    rectangles = []
    for top, bottom in itertools.pairwise(rows):
        cols = sorted({0, width, *draw(st.lists(st.integers(1, width - 1), max_size=2))})
        rectangles += [(slice(top, bottom), slice(a, b)) for a, b in itertools.pairwise(cols)]
    return draw(st.permutations(rectangles))


@settings(max_examples=8, deadline=None)
@given(rectangles=partitions(1100, 1300))
def test_bytes_do_not_depend_on_the_parts(rectangles, one_part_bytes):
    class_id, confidence, box, expected = one_part_bytes
    with tempfile.TemporaryDirectory() as folder:
        parts = [
            write_part(Path(folder, f"{i}.tif"), class_id, confidence, box, rows, cols)
            for i, (rows, cols) in enumerate(rectangles)
        ]
        assert _both(parts, Path(folder), box) == expected


@pytest.fixture(scope="module")
def one_part_bytes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    class_id, box = blobs(1100, 1300), grid(1100, 1300)
    confidence = np.where(class_id == 255, 255, np.add.outer(np.arange(1100), np.arange(1300)) % 255).astype(
        "uint8"
    )
    part = write_part(folder / "part.tif", class_id, confidence, box, slice(None), slice(None))
    return class_id, confidence, box, _both([part], folder, box)


def _both(parts, folder, box) -> list[bytes]:
    class_tif = mosaic_cog(
        parts, folder / "class.tif", geobox=box, band=1, legend=LEGEND, description="class"
    )
    confidence_tif = mosaic_cog(
        parts, folder / "confidence.tif", geobox=box, band=2, description="confidence", scale=CONFIDENCE_SCALE
    )
    aux = class_tif.with_name("class.tif.aux.xml")
    return [p.read_bytes() for p in (class_tif, confidence_tif, aux)]


def test_an_array_and_its_part_give_the_same_bytes(one_part_bytes, tmp_path):
    class_id, _, box, expected = one_part_bytes
    path = write_cog(wrap_xr(class_id, box), tmp_path / "class.tif", legend=LEGEND, description="class")
    assert path.read_bytes() == expected[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["class.tif", "class.tif.aux.xml"]


def test_class_map_has_blocks_overviews_by_mode_colours_and_names(one_part_bytes, tmp_path):
    class_id, _, box, _ = one_part_bytes
    path = write_cog(wrap_xr(class_id, box), tmp_path / "class.tif", legend=LEGEND, description="class")
    with rasterio.open(path) as read:
        assert read.block_shapes == [(512, 512)]
        assert read.overviews(1) == [2, 4]
        assert read.descriptions == ("class",)
        colours = read.colormap(1)
    assert [colours[i] for i in (0, 1, 2)] == [(*c.rgb, 255) for c in LEGEND.classes]
    assert colours[255][3] == 0
    with rasterio.open(path, overview_level=0) as half:
        values = half.read(1)
    groups = class_id.reshape(550, 2, 650, 2).swapaxes(1, 2).reshape(550, 650, 4)
    is_uniform = (groups == groups[..., :1]).all(-1)
    np.testing.assert_array_equal(values[is_uniform], groups[is_uniform][:, 0])
    is_majority = np.stack([(groups == v).sum(-1) >= 3 for v in (0, 1, 2)])
    for value, where in enumerate(is_majority):
        assert (values[where] == value).all()
    aux = ET.parse(tmp_path / "class.tif.aux.xml").getroot()
    assert [e.text for e in aux.iter("Category")] == ["water", "tree", "bare"]
    rows = [[f.text for f in row] for row in aux.iter("Row")]
    assert rows[1] == ["1", "tree", "51", "160", "44"]


def test_categories_follow_values_with_gaps(tmp_path):
    legend = Legend(
        classes=(
            LegendClass(value=5, name="a/b", color_hint="010203"),
            LegendClass(value=2, name="c", color_hint="040506"),
        )
    )
    path = write_cog(wrap_xr(np.full((3, 3), 5, "uint8"), grid(3, 3)), tmp_path / "m.tif", legend=legend)
    aux = ET.parse(f"{path}.aux.xml").getroot()
    assert [e.text or "" for e in aux.iter("Category")] == ["", "", "c", "", "", "a/b"]
    with rasterio.open(path) as read:
        assert read.colormap(1)[5] == (1, 2, 3, 255)


def test_confidence_is_scaled_and_averaged(one_part_bytes, tmp_path):
    _, confidence, box, _ = one_part_bytes
    stale = tmp_path / "confidence.tif.aux.xml"
    stale.write_text("<PAMDataset/>")
    path = write_cog(
        wrap_xr(confidence, box),
        tmp_path / "confidence.tif",
        scale=CONFIDENCE_SCALE,
        description="confidence",
    )
    assert cog_validate(path, strict=True)[0]
    assert not stale.exists()
    with rasterio.open(path) as read:
        assert read.scales == (CONFIDENCE_SCALE,)
        assert read.offsets == (0.0,)
        np.testing.assert_array_equal(read.read(1), confidence)
    with rasterio.open(path, overview_level=0) as half:
        values = half.read(1)
    groups = confidence.reshape(550, 2, 650, 2).swapaxes(1, 2).reshape(550, 650, 4).astype(float)
    is_valid = (groups != 255).all(-1)
    assert np.abs(values[is_valid] - groups[is_valid].mean(-1)).max() <= 0.5


def test_no_parts_give_a_map_of_nodata(tmp_path):
    path = mosaic_cog([], tmp_path / "class.tif", geobox=grid(20, 30), band=1, legend=LEGEND)
    with rasterio.open(path) as read:
        assert read.shape == (20, 30)
        assert (read.read(1) == 255).all()


def test_floats_keep_nan_as_nodata(tmp_path):
    data = np.array([[np.nan, 0.5], [1.5, -2]], "float32")
    path = write_cog(wrap_xr(data, grid(2, 2)), tmp_path / "f.tif")
    with rasterio.open(path) as read:
        np.testing.assert_array_equal(read.read(1), data)
        assert np.isnan(read.nodata)


def test_a_crs_without_a_code_is_kept(tmp_path):
    box = grid(4, 5, "+proj=laea +lat_0=-8 +lon_0=-35 +datum=WGS84 +units=m")
    path = write_cog(wrap_xr(np.zeros((4, 5), "uint8"), box), tmp_path / "class.tif", legend=LEGEND)
    with rasterio.open(path) as read:
        assert read.crs.to_dict()["proj"] == "laea"
        assert read.transform == box.affine


@pytest.mark.parametrize(
    "shift", [(0.3, 0), (0, 2), (-1, 0)], ids=["between pixels", "over the edge", "before it"]
)
def test_a_part_off_the_grid_is_refused(tmp_path, shift):
    box = grid(20, 20)
    moved = GeoBox(box.shape, box.affine * box.affine.translation(*shift), box.crs)
    zeros = np.zeros(box.shape, "uint8")
    part = write_part(tmp_path / "p.tif", zeros, zeros, moved, slice(None), slice(None))
    with pytest.raises(ValueError, match="does not lie on the pixels of the 20 x 20 grid"):
        mosaic_cog([part], tmp_path / "class.tif", geobox=box, band=1, legend=LEGEND)


def test_a_damaged_part_gives_one_line_and_leaves_the_old_map(tmp_path):
    box = grid(600, 600)
    class_id = blobs(600, 600)
    old = write_cog(wrap_xr(class_id, box), tmp_path / "class.tif", legend=LEGEND)
    before = old.read_bytes()
    part = write_part(tmp_path / "p.tif", class_id, class_id, box, slice(None), slice(None))
    part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
    with pytest.raises(OutputError) as caught:
        mosaic_cog([part], old, geobox=box, band=2, legend=LEGEND)
    assert "\n" not in str(caught.value)
    assert old.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["class.tif", "class.tif.aux.xml", "p.tif"]


def test_errors_name_what_is_wrong(tmp_path):
    class_id = wrap_xr(np.zeros((2, 2), "uint8"), grid(2, 2))
    with pytest.raises(OutputError, match=r"Cannot write .*/none/.*No such file or directory"):
        write_cog(class_id, tmp_path / "none" / "class.tif", legend=LEGEND)
    with pytest.raises(OutputError, match="int64 pixels; convert them to one of uint8"):
        write_cog(class_id.astype("int64"), tmp_path / "class.tif")
    with pytest.raises(OutputError, match="without georeference"):
        write_cog(xr.DataArray(np.zeros((2, 2), "uint8"), dims=("y", "x")), tmp_path / "class.tif")
    with pytest.raises(OutputError, match=r"gone\.tif: No such file.*Run the job again"):
        mosaic_cog([tmp_path / "gone.tif"], tmp_path / "class.tif", geobox=grid(2, 2), band=1)


@pytest.mark.lane
def test_memory_does_not_grow_with_the_area(tmp_path):
    peaks = [_peak_mb(tmp_path, side) for side in (4_000, 10_000)]
    raw_growth_mb = (10_000**2 - 4_000**2) / 2**20
    assert peaks[1] - peaks[0] < raw_growth_mb, peaks  # 42 of 80; with GDAL's default cache 220


def _peak_mb(folder: Path, side: int) -> float:
    """Peak of a process that mosaics parts of 2000 px square."""
    box, zeros = grid(side, side), np.zeros((2000, 2000), "uint8")
    parts = []
    for row, col in itertools.product(range(0, side, 2000), repeat=2):
        corner = box[row : row + 2000, col : col + 2000]
        path = folder / f"{side}_{row}_{col}.tif"
        parts.append(str(write_part(path, zeros, zeros, corner, slice(None), slice(None))))
    done = subprocess.run(
        [sys.executable, __file__, json.dumps(parts), str(folder / f"{side}.tif"), str(side)],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return float(done.stdout)


if __name__ == "__main__":
    mosaic_cog(
        [Path(p) for p in json.loads(sys.argv[1])],
        Path(sys.argv[2]),
        geobox=grid(int(sys.argv[3]), int(sys.argv[3])),
        band=1,
        legend=LEGEND,
    )
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
