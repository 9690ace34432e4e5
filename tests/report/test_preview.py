import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geoseg.errors import OutputError
from geoseg.legend import Legend, LegendClass
from geoseg.report.preview import map_png_bytes, read_small, scale_bar, write_preview
from tests.report.conftest import LEGEND, blocks


def colours(image: Image.Image) -> dict[tuple[int, ...], int]:
    return {colour: n for n, colour in image.getcolors(1 << 20)}


def test_map_shows_each_pixel_in_its_colour_and_nodata_as_nothing(make_report):
    class_tif, report = make_report()
    image = Image.open(io.BytesIO(map_png_bytes(class_tif, report=report, max_px=420))).convert("RGBA")
    assert image.size == (420, 300)
    shown = np.asarray(image)[1::3, 1::3]  # magnified three times
    rgba = {c.value: (*c.rgb, 255) for c in LEGEND.classes}
    class_id = blocks()
    for value in (0, 1, 2):
        assert (shown[class_id == value] == rgba[value]).all()
    assert (shown[class_id == 255][:, 3] == 0).all()


def test_a_large_map_is_reduced_by_mode(make_report):
    class_id = np.zeros((900, 1200), "uint8")
    class_id[:, 600:] = 2
    class_id[::7, ::7] = 1  # rare: no average, no new classes, and no majority anywhere
    class_tif, report = make_report(class_id)
    small = read_small(class_tif, report.grid, max_px=200)
    assert small.shape == (150, 200)
    assert (small[:, :99] == 0).all()
    assert (small[:, 101:] == 2).all()


def test_proportions_are_those_on_the_ground(make_report):
    class_tif, report = make_report(np.zeros((100, 100), "uint8"), crs="EPSG:4326", gsd=0.001)
    height, width = read_small(class_tif, report.grid, max_px=400).shape
    assert 390 <= height <= 400
    assert width / height == pytest.approx(0.5, abs=0.01)  # at 60 degrees north


def test_preview_has_the_map_the_swatches_and_the_scale_bar(make_report, tmp_path):
    class_tif, report = make_report(attribution="Contains modified Copernicus Sentinel data 2024")
    path = write_preview(class_tif, tmp_path / "preview.png", report=report, max_px=420)
    image = Image.open(path)
    map_part, side = image.crop((24, 24, 444, 324)), image.crop((460, 24, image.width, image.height))
    assert image.width > 700
    assert colours(map_part)[LEGEND.classes[0].rgb] == 9 * int((blocks() == 0).sum())
    assert all(colours(side)[c.rgb] >= 19 * 19 for c in LEGEND.classes)
    assert path.read_bytes() == write_preview(class_tif, path, report=report, max_px=420).read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["class.tif", "class.tif.aux.xml", "preview.png"]


@pytest.mark.parametrize("title", ["Łódź and 東京", "x" * 300, "many words " * 40, ""])
def test_any_title_and_long_legends_fit(make_report, tmp_path, title):
    legend = Legend(
        classes=tuple(
            LegendClass(value=i, name=f"a rather long name {i}", color_hint=f"{i:06X}") for i in range(60)
        )
    )
    class_id = (np.arange(2000, dtype="uint16").reshape(40, 50) % 60).astype("uint8")
    class_tif, report = make_report(class_id, legend=legend, title=title)
    image = Image.open(write_preview(class_tif, tmp_path / "preview.png", report=report, max_px=300))
    margin = np.asarray(image.convert("L"))[:, -20:]
    assert (margin == 255).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1)])
def test_thin_maps_are_drawn(make_report, tmp_path, shape):
    class_tif, report = make_report(np.zeros(shape, "uint8"))
    path = write_preview(class_tif, tmp_path / "preview.png", report=report, max_px=256)
    assert LEGEND.classes[0].rgb in colours(Image.open(path))


@given(width_m=st.floats(1, 1e7))
def test_scale_bar_is_round_and_fits(width_m):
    bar = scale_bar(width_m)
    assert 1 / 8 < bar.share <= 1 / 3 + 1e-6
    assert bar.length_m == pytest.approx(bar.share * width_m)
    assert f"{bar.length_m:.0e}"[0] in "125"
    number, unit = bar.label.split()
    assert float(number) * (1000 if unit == "km" else 1) == pytest.approx(bar.length_m)


def test_errors_are_one_line(make_report, tmp_path):
    class_tif, report = make_report()
    with pytest.raises(OutputError, match=r"Cannot write .*preview\.png: No such file or directory"):
        write_preview(class_tif, tmp_path / "none" / "preview.png", report=report)
    with pytest.raises(OutputError, match=r"Cannot read .*gone\.tif"):
        map_png_bytes(tmp_path / "gone.tif", report=report)
