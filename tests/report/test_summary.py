import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from odc.geo.xr import wrap_xr
from pydantic import ValidationError
from pyproj import Geod

from geoseg.errors import OutputError
from geoseg.legend import Legend
from geoseg.report.facts import (
    AreaAsked,
    ClassArea,
    GridFacts,
    ModelFacts,
    Report,
    RunFacts,
    ground_height_m,
    ground_width_m,
)
from geoseg.report.summary import summarize
from geoseg.writers.cog import write_cog
from tests.report.conftest import LEGEND, an_item, blocks, grid

FACTS = {
    "title": "T",
    "aoi": AreaAsked(source="bbox", area_km2=0.1),
    "covered_km2": 0.1,
    "items": (),
    "model": ModelFacts(name="m"),
    "run": RunFacts(geoseg_version="0"),
}
"""What :func:`summarize` is told beside the map."""


@settings(max_examples=20, deadline=None)
@given(
    class_id=hnp.arrays(
        "uint8",
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=40),
        elements=st.sampled_from([0, 1, 2, 3, 255]),
    )
)
def test_counts_are_those_of_the_array_and_leave_no_pixel_out(class_id):
    with tempfile.TemporaryDirectory() as folder:
        path = write_cog(
            wrap_xr(class_id, grid(*class_id.shape, "EPSG:32725", 10)), Path(folder, "class.tif")
        )
        report = summarize(path, LEGEND, **FACTS)
    assert [c.pixels for c in report.classes] == [int((class_id == v).sum()) for v in LEGEND.values]
    assert sum(c.pixels for c in report.classes) + report.nodata_pixels == class_id.size
    assert [c.area_ha for c in report.classes] == pytest.approx([c.pixels / 100 for c in report.classes])
    n_valid = int((class_id != 255).sum())
    assert sum(c.share for c in report.classes) == pytest.approx(1.0 if n_valid else 0.0)
    assert report.coverage.valid_share == pytest.approx(min(n_valid * 1e-4 / 0.1, 1))


def test_a_map_larger_than_a_block_is_counted_whole(make_report):
    rng = np.random.default_rng(0)
    class_id = rng.choice(np.array([0, 1, 255], "uint8"), size=(700, 1100))
    _, report = make_report(class_id)
    assert [c.pixels for c in report.classes] == [int((class_id == v).sum()) for v in LEGEND.values]


def test_areas_in_degrees_are_those_on_the_ellipsoid(make_report):
    class_id = np.repeat(np.array([0, 1], "uint8"), [30, 70])[:, None].repeat(50, 1)  # the north is water
    _, report = make_report(class_id, crs="EPSG:4326", gsd=0.01)
    geod = Geod(ellps="WGS84")
    for entry, (north, south) in zip(report.classes[:2], [(60.0, 59.7), (59.7, 59.0)], strict=True):
        lons = np.concatenate([np.linspace(20, 20.5, 500), np.linspace(20.5, 20, 500)])  # along the parallels
        lats = np.repeat([south, north], 500)
        expected_m2, _ = geod.polygon_area_perimeter(lons, lats)
        assert entry.area_ha == pytest.approx(expected_m2 / 1e4, rel=1e-6)
    assert report.grid.gsd_m == pytest.approx(np.sqrt(sum(c.area_ha for c in report.classes) * 1e4 / 5000))


def test_report_has_the_facts_it_was_given(make_report):
    _, report = make_report(timings_s={"read": 3.0, "predict": 2.0}, elapsed_s=4.0, peak_memory_mb=512.0)
    assert report.grid == GridFacts(
        crs="EPSG:32725", gsd_m=10, width=140, height=100, bounds=(280_000, 9_119_000, 281_400, 9_120_000)
    )
    assert report.timings_s == {"read": 3.0, "predict": 2.0, "total": 4.0}
    assert report.km2_per_s == pytest.approx(1.34 / 4)
    assert report.coverage.share == 0.75
    assert report.coverage.valid_share == pytest.approx(0.67)
    assert [c.class_name for c in report.classes] == ["water", "tree", "bare", "built"]
    assert report.classes[3] == ClassArea(
        class_id=3, class_name="built", color="E31A1C", pixels=0, area_ha=0, share=0
    )


def test_json_says_the_same_and_is_stable(make_report):
    _, report = make_report(warnings=("Something.",))
    assert Report.model_validate_json(report.to_json()) == report
    assert json.loads(report.to_json())["model"]["license"] == "Apache-2.0"
    assert make_report(warnings=("Something.",))[1].to_json() == report.to_json()


def test_secrets_do_not_reach_the_report(make_report):
    secret = "https://user:KEY@example.com/a.tif?sig=KEY"
    _, report = make_report(
        source=secret,
        items=(an_item(href=secret),),
        warnings=(f"Could not read {secret}.",),
        assumptions=(secret,),
        adapted=(secret,),
    )
    assert "KEY" not in report.to_json()
    assert report.items[0].href == "https://example.com/a.tif"


def test_a_map_without_any_class_is_reported(make_report):
    _, report = make_report(np.full((5, 6), 255, "uint8"))
    assert report.nodata_pixels == 30
    assert [c.share for c in report.classes] == [0, 0, 0, 0]
    assert report.km2_per_s == 0


def test_unknown_keys_are_refused(make_report):
    _, report = make_report()
    with pytest.raises(ValidationError):
        Report.model_validate({**report.model_dump(), "surprise": 1})


def test_a_value_without_a_name_is_an_error(make_report):
    with pytest.raises(
        OutputError, match=r"class\.tif holds the values 1, 2, which its legend \(0\) does not know"
    ):
        make_report(blocks(), legend=Legend.of(water="1F78B4"))


def test_a_missing_map_is_one_line(tmp_path):
    with pytest.raises(OutputError, match=r"Cannot read .*gone\.tif: .*No such file.*Run the job again\.$"):
        summarize(tmp_path / "gone.tif", LEGEND, **FACTS)


def test_ground_lengths():
    metric = GridFacts(crs="EPSG:32725", gsd_m=10, width=2, height=3, bounds=(0, 0, 20, 30))
    assert (ground_width_m(metric), ground_height_m(metric)) == (20, 30)
    degrees = GridFacts(crs="EPSG:4326", gsd_m=1, width=1, height=1, bounds=(10, 59.9, 10.2, 60.1))
    assert ground_height_m(degrees) == pytest.approx(22_283, rel=1e-3)
    assert ground_width_m(degrees) == pytest.approx(11_160, rel=1e-3)
    feet = GridFacts(crs="EPSG:2263", gsd_m=1, width=1, height=1, bounds=(0, 0, 1000, 1000))
    assert ground_width_m(feet) == pytest.approx(304.8, rel=1e-4)
