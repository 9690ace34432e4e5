"""The Sentinel-2 offset: flag, declared offset and baseline set what to expect, pixels overrule it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from imagery_files import IMAGERY
from numpy.typing import NDArray

from geoseg.imagery.offset import OffsetDecision, decide_offset

RNG = np.random.default_rng(1)
FLAG, BASELINE = "earthsearch:boa_offset_applied", "s2:processing_baseline"
DARK_GROUND = [RNG.integers(150, 4000, 5000).astype(np.float32) for _ in range(4)]
"""Vegetation, water, shadow: reflectance x 10000 without the offset."""
WITH_OFFSET = [layer + 900 for layer in DARK_GROUND]
"""Darkest at 1050."""
OVERCORRECTED = [np.where(RNG.random(5000) < 0.005, 850, layer).astype(np.float32) for layer in WITH_OFFSET]
"""The same with some shadows whose reflectance came out as -0.015."""
DESERT = [RNG.integers(low, low + 2500, 5000).astype(np.float32) for low in (1100, 1700, 2300, 3000)]
"""Bright, and no telling: with or without the offset such ground exists."""
NO_SAMPLES: list[NDArray[np.float32]] = []


@pytest.mark.parametrize(
    ("properties", "declared", "expected"),
    [
        ({}, None, 0),
        ({BASELINE: "02.14"}, None, 0),
        ({BASELINE: "04.00"}, None, -1000),  # Planetary Computer: the baseline decides
        ({BASELINE: "05.09"}, None, -1000),
        ({BASELINE: "05.10"}, -0.1, -1000),  # Collection 1
        ({BASELINE: "N0400"}, None, -1000),
        ({BASELINE: "0214"}, None, 0),
        ({BASELINE: 5.11}, None, -1000),
        ({BASELINE: "99.99"}, None, -1000),
        ({BASELINE: "unknown"}, None, 0),
        ({"processing:version": "05.00"}, None, -1000),
        ({"processing:version": "02.12"}, None, 0),
        ({}, -0.1, -1000),
        ({BASELINE: "02.14"}, -0.1, -1000),  # a declared offset beats the baseline
        ({BASELINE: "05.09"}, 0.0, 0),
        ({FLAG: True, BASELINE: "05.09"}, -0.1, 0),  # Earth Search v1 contradicts itself: applied already
        ({FLAG: True}, None, 0),
        ({FLAG: False, BASELINE: "05.09"}, -0.1, -1000),
        ({FLAG: False, BASELINE: "02.14"}, None, 0),
        ({FLAG: False, BASELINE: "04.00"}, None, -1000),
    ],
)
@pytest.mark.parametrize(
    "samples", [NO_SAMPLES, DESERT, [s[:50] for s in DARK_GROUND]], ids=["none", "bright", "few"]
)
def test_metadata_decides_where_pixels_are_silent(
    properties: dict[str, Any], declared: float | None, expected: int, samples: list[NDArray[np.float32]]
) -> None:
    choice = decide_offset(properties, declared, samples)
    assert choice.offset_dn == expected
    assert not choice.is_conflict


METADATA = [
    ({}, None),
    ({BASELINE: "02.14"}, None),
    ({BASELINE: "05.09"}, None),
    ({FLAG: True}, -0.1),
    ({}, -0.1),
]


@pytest.mark.parametrize(("properties", "declared"), METADATA)
@pytest.mark.parametrize(("samples", "truth"), [(DARK_GROUND, 0), (WITH_OFFSET, -1000)], ids=["out", "in"])
def test_pixels_overrule_metadata_and_say_so(
    properties: dict[str, Any], declared: float | None, samples: list[NDArray[np.float32]], truth: int
) -> None:
    expected = decide_offset(properties, declared, []).offset_dn
    is_told = bool(properties or declared)
    choice = decide_offset(properties, declared, samples)
    assert choice.offset_dn == truth
    assert choice.is_conflict == (is_told and expected != truth)
    assert ("the pixels were believed" in choice.reason) == choice.is_conflict
    if is_told and not choice.is_conflict:
        assert choice.reason.endswith("the pixels agree")


def test_some_overcorrected_shadows_do_not_overrule_a_baseline() -> None:
    assert decide_offset({BASELINE: "05.09"}, None, OVERCORRECTED).offset_dn == -1000
    assert not decide_offset({BASELINE: "05.09"}, None, OVERCORRECTED).is_conflict


def test_without_metadata_dark_pixels_are_a_hint() -> None:
    assert decide_offset({}, None, OVERCORRECTED) == OffsetDecision(0, "dark pixels lie below 900", False)
    assert not decide_offset({}, None, DESERT).is_known
    assert not decide_offset({}, None, []).is_known


@settings(max_examples=40, deadline=None)
@given(st.floats(0.01, 0.9), st.integers(0, 2**32 - 1))
def test_fill_of_zero_proves_nothing(share: float, seed: int) -> None:
    is_fill = np.random.default_rng(seed).random(5000) < share
    filled = [np.where(is_fill, 0, layer).astype(np.float32) for layer in WITH_OFFSET]
    if (~is_fill).sum() > 1000:
        assert decide_offset({BASELINE: "02.14"}, None, filled).offset_dn == -1000


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(4)), st.sampled_from([DARK_GROUND, WITH_OFFSET, DESERT, OVERCORRECTED]))
def test_the_order_of_bands_does_not_matter(order: list[int], samples: list[NDArray[np.float32]]) -> None:
    shuffled = [samples[i] for i in order]
    assert decide_offset({BASELINE: "04.00"}, None, shuffled) == decide_offset(
        {BASELINE: "04.00"}, None, samples
    )


@pytest.mark.parametrize(
    ("file", "truth"),
    [
        ("rstoolbox_sen2/rstoolbox_sen2_12band.tif", -1000),
        ("xrspatial_s2_multires/xrspatial_s2_10m_bgrn.tif", 0),
        ("ftw_s2_austria/inference-img.tif", 0),
    ],
)
@pytest.mark.parametrize("properties", [{}, {BASELINE: "02.14"}, {BASELINE: "04.00"}, {FLAG: True}])
def test_real_images(file: str, truth: int, properties: dict[str, Any]) -> None:
    path = Path(IMAGERY / file)
    if not path.is_file():
        pytest.skip("../shared/data/imagery is not on this machine")
    with rasterio.open(path) as source:
        samples = [band.astype(np.float32).ravel() for band in source.read()]
    choice = decide_offset(properties, None, samples)
    is_steppe = "xrspatial" in file  # Patagonia: nothing dark enough for proof, so metadata stands
    assert choice.offset_dn == (-1000 if is_steppe and properties.get(BASELINE) == "04.00" else truth)
    assert choice.is_known


@pytest.mark.parametrize("properties", [{FLAG: True}, {BASELINE: "02.14"}])
def test_even_dark_ground_is_no_proof_of_an_offset(properties: dict[str, Any]) -> None:
    ash = [RNG.integers(1200, 1350, 5000).astype(np.float32) for _ in range(4)]
    choice = decide_offset(properties, None, ash)
    assert (choice.offset_dn, choice.is_conflict) == (0, False)
