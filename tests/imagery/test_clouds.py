"""Cloud masks: SCL classes, QA_PIXEL and Fmask bits as the shipped catalogs say."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.imagery.clouds import mask_clouds
from geoseg.stac.catalog import CloudRule, list_catalogs

RULES = [
    (f"{catalog.name}/{name}", config.clouds)
    for catalog in list_catalogs()
    for name, config in catalog.collections.items()
    if config.clouds
]
SCL = [(n, r) for n, r in RULES if "sentinel-2" in n]
LANDSAT = [(n, r) for n, r in RULES if "landsat-c2" in n]
HLS = [(n, r) for n, r in RULES if "hls" in n.lower()]


def masked(values: list[float], rule: dict[str, list[int]]) -> list[bool]:
    """Whether a pixel of each value is masked."""
    layer = np.array(values, np.float32).reshape(1, 1, -1)
    clouds = xr.DataArray(layer, dims=("time", "y", "x"), attrs={"rules": [rule]})
    data = xr.DataArray(np.ones((1, 2, 1, len(values)), np.float32), dims=("time", "band", "y", "x"))
    done = mask_clouds(data, clouds)
    assert (np.isnan(done[0, 0]) == np.isnan(done[0, 1])).all()
    return [bool(v) for v in np.isnan(done.to_numpy()[0, 0, 0])]


def as_given(rule: CloudRule) -> dict[str, list[int]]:
    return {"values": list(rule.values)} if rule.values else {"bits": list(rule.bits)}


def test_every_kind_of_rule_is_shipped() -> None:
    assert len(SCL) >= 4
    assert len(LANDSAT) >= 2
    assert len(HLS) >= 4


@pytest.mark.parametrize(("name", "rule"), SCL, ids=[n for n, _ in SCL])
def test_scl(name: str, rule: CloudRule) -> None:
    # Sentinel-2 L2A: 0 nodata, 1 saturated, 2 dark, 3 shadow, 4 vegetation, 5 soil, 6 water, 7 unclassified, 8 and
    # 9 cloud, 10 cirrus, 11 snow.
    found = masked(list(range(12)), as_given(rule))
    assert [value for value, is_masked in enumerate(found) if is_masked] == [0, 1, 3, 8, 9, 10]


@pytest.mark.parametrize(("name", "rule"), LANDSAT, ids=[n for n, _ in LANDSAT])
def test_qa_pixel_values_of_real_scenes(name: str, rule: CloudRule) -> None:
    # Landsat 8-9 Collection 2 Level 2 Science Product Guide, table of QA_PIXEL values. Clear: land, water, cloud
    # of middling confidence only (land, water), snow. The rest: fill, dilated cloud, cloud, shadow, cirrus.
    clear = [21824, 21888, 22080, 22144, 30048]
    cloudy = [
        1,
        21826,
        21890,
        22280,
        23888,
        23952,
        24088,
        24216,
        24344,
        24472,
        54596,
        54852,
        55052,
        56856,
        57240,
    ]
    assert not any(masked([float(v) for v in clear], as_given(rule)))
    assert all(masked([float(v) for v in cloudy], as_given(rule)))


@pytest.mark.parametrize(("name", "rule"), HLS, ids=[n for n, _ in HLS])
def test_fmask(name: str, rule: CloudRule) -> None:
    # HLS 2.0 user guide: bit 1 cloud, 2 adjacent, 3 shadow, 4 snow, 5 water, 6-7 aerosol.
    clear = [0, 1, 16, 32, 64, 128, 192, 224, 240]
    cloudy = [2, 4, 8, 66, 194, 200, 14, 34]
    assert not any(masked([float(v) for v in clear], as_given(rule)))
    assert all(masked([float(v) for v in cloudy], as_given(rule)))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 2**24 - 1), min_size=1, max_size=20), st.lists(st.integers(0, 23), min_size=1))
def test_bits_are_bits(values: list[int], bits: list[int]) -> None:
    expected = [any(value >> bit & 1 for bit in bits) for value in values]
    assert masked([float(v) for v in values], {"bits": bits}) == expected


@pytest.mark.parametrize("rule", [{"values": [3]}, {"bits": [3]}])
def test_unknown_quality_is_masked(rule: dict[str, list[int]]) -> None:
    assert masked([np.nan, 0.0], rule) == [True, False]


def test_each_time_has_its_own_rule_and_no_rule_masks_nothing() -> None:
    clouds = xr.DataArray(
        np.array([8, 8, np.nan], np.float32).reshape(3, 1, 1),
        dims=("time", "y", "x"),
        attrs={"rules": [{"values": [8]}, {"bits": [0]}, {}]},
    )
    data = xr.DataArray(np.ones((3, 1, 1, 1), np.float32), dims=("time", "band", "y", "x"))
    assert np.isnan(mask_clouds(data, clouds).to_numpy().ravel()).tolist() == [True, False, False]


def test_no_clouds_no_change_and_lazy_stays_lazy() -> None:
    data = xr.DataArray(np.ones((1, 1, 2, 2), np.float32), dims=("time", "band", "y", "x")).chunk()
    assert mask_clouds(data, None) is data
    clouds = xr.DataArray(
        np.zeros((1, 2, 2), np.float32), dims=("time", "y", "x"), attrs={"rules": [{"bits": [1]}]}
    )
    done = mask_clouds(data, clouds.chunk())
    assert done.chunks is not None
    assert done.dims == ("time", "band", "y", "x")
    assert done.dtype == np.float32
