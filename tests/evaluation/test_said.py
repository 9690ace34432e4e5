"""Nothing is left out of a comparison without a word."""

from typing import Annotated

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from builders import geobox_at
from odc.geo.xr import xr_zeros
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from geoseg.errors import EvaluationError, one_line
from geoseg.evaluation.labelled import benchmark_of
from geoseg.evaluation.rasters import Request, score
from geoseg.legend import Legend
from geoseg.writers.cog import write_cog

GRID = geobox_at(height=40, width=50)
LEGEND = Legend.of(water="1F78B4", land="33A02C")


def write_map(path, values):
    return write_cog(xr_zeros(GRID, dtype="uint8").copy(data=values), path, nodata=255, legend=LEGEND)


@pytest.fixture
def made(tmp_path):
    values = np.zeros((40, 50), np.uint8)
    values[:, 25:] = 1
    values[:4] = 255
    return write_map(tmp_path / "class.tif", values)


def notes_of(made, reference, **options):
    return " ".join(score(Request(made, reference, **options)).scores.notes)


def test_pixels_left_out_are_counted(made, tmp_path):
    truth = np.zeros((40, 50), np.uint8)
    truth[30:] = 255
    reference = write_map(tmp_path / "truth.tif", truth)
    text = notes_of(made, reference)
    assert "500 pixels of the map have no reference" in text
    assert "200 pixels have a reference but no class in the map" in text
    assert "but no class" not in notes_of(made, reference, nodata_is_wrong=True)


def layers(path, values, *, photometric):
    count = len(values)
    profile = {"driver": "GTiff", "count": count, "dtype": "uint8", "height": 40, "width": 50}
    place = {"crs": str(GRID.crs), "transform": GRID.affine}
    with rasterio.open(path, "w", **profile, **place, photometric=photometric) as sink:
        sink.write(values)
    return path


def test_a_picture_is_no_reference_and_layers_are_said(made, tmp_path):
    values = np.zeros((3, 40, 50), np.uint8)
    with pytest.raises(EvaluationError, match="is a picture in red, green and blue"):
        score(Request(made, layers(tmp_path / "rgb.tif", values, photometric="RGB")))
    two = layers(tmp_path / "two.tif", values[:2], photometric="MINISBLACK")
    assert "has 2 layers: the first is compared" in notes_of(made, two)


def points(path, classes, **columns):
    xy = [GRID.affine * (5.5 + n, 20.5) for n in range(len(classes))]
    frame = gpd.GeoDataFrame(
        {"class": classes, **columns}, geometry=[shapely.Point(*p) for p in xy], crs=str(GRID.crs)
    )
    frame.to_file(path)
    return path


def test_points_without_a_label_and_points_of_strata_are_said(made, tmp_path):
    plain = points(tmp_path / "plain.gpkg", ["water", None, "land", "water"])
    assert "1 features of plain.gpkg have no class, or no place: left out" in notes_of(made, plain)
    drawn = points(tmp_path / "drawn.gpkg", ["water", "land"], stratum=["a", "b"])
    assert "geoseg area estimate does" in notes_of(made, drawn)
    empty = points(tmp_path / "empty.gpkg", ["water"])
    gpd.read_file(empty).iloc[:0].to_file(empty)
    with pytest.raises(EvaluationError, match="holds no features"):
        score(Request(made, empty))


def test_polygons_of_one_name_are_one_place(made, tmp_path):
    left, bottom, right, top = GRID.boundingbox.bbox
    step = (right - left) / 6
    boxes = [shapely.box(left + n * step, bottom, left + (n + 1) * step, top) for n in range(6)]
    places = gpd.GeoDataFrame({"name": list("aabbcd")}, geometry=boxes, crs=str(GRID.crs))
    places.to_file(tmp_path / "places.gpkg")
    request = Request(made, made, places=tmp_path / "places.gpkg", place_field="name")
    scores = score(request).scores
    assert [p.place for p in scores.places] == ["a", "b", "c", "d"]
    assert scores.intervals == {}  # four places, not six
    assert sum(p.compared for p in scores.places) == 36 * 50


def test_a_path_that_is_not_there_is_no_misspelled_name():
    with pytest.raises(EvaluationError, match=r"There is no file nope.toml"):
        benchmark_of("nope.toml")


def test_errors_are_quoted_in_one_line():
    class Model(BaseModel):
        n: int

    with pytest.raises(ValidationError) as caught:
        Model(n="x")
    assert one_line(caught.value) == "n: expected a whole number"
    for kind, value, words in (
        (Annotated[int, Field(ge=1)], 0, "expected 1 or more"),
        (Annotated[float, Field(le=100)], 101, "expected 100 or less"),
        (Annotated[float, Field(gt=0)], 0, "expected more than 0"),
        (Annotated[float, Field(lt=1)], 1, "expected less than 1"),
        (bool, "maybe", "expected true or false"),
        (tuple[str, ...], 3, "expected a list"),
        (float, "x", "expected a number"),
    ):
        with pytest.raises(ValidationError) as caught:
            TypeAdapter(kind).validate_python(value)
        assert one_line(caught.value) == words
    assert one_line(ValueError("two\nlines.")) == "two lines"
    assert one_line(FileNotFoundError(2, "No such file", "x")) == "No such file"
