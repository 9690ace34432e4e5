"""Band names from descriptions, numbers and file names."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.imagery.bands import SENTINEL2, SUBSTITUTES, common_name, common_names, name_of_file
from geoseg.imagery.harmonise import choose_bands
from geoseg.stac.metadata import COMMON_NAMES

ALL_12 = ["B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("red", "red"),
        ("RED", "red"),
        (" Red ", "red"),
        ("SWIR1", "swir16"),
        ("swir_2", "swir22"),
        ("SWIR 1", "swir16"),
        ("Near-Infrared", "nir"),
        ("NIR narrow", "nir08"),
        ("Red Edge 2", "rededge075"),
        ("Coastal aerosol", "coastal"),
        ("B04", "red"),
        ("b8a", "nir08"),
        ("T33UXP_20200101T101031_B03_10m", "green"),
        ("S2A_MSIL2A_20200101.B12", "swir22"),
        ("s2_B11", "swir16"),
        # Landsat's own numbers, which are not Sentinel-2's
        ("LC08_L2SP_214066_20200114_20200824_02_T1_SR_B5", "nir08"),
        ("LC09_L1TP_214066_20220114_20220824_02_T1_B11", None),
        ("LE07_L2SP_044033_20210329_20210424_02_T1_SR_B4", "nir08"),
        ("LT05_L2SP_044033_19990329_20200424_02_T1_SR_B7", "swir22"),
        ("LE07_L1TP_044033_20210329_B6", None),
        ("HLS.L30.T17SLU.2020209T155956.v2.0.B05", "nir08"),
        ("HLS.S30.T17SLU.2020209T155956.v2.0.B05", "rededge071"),
        ("LC08_L2SP_214066_20200114_20200824_02_T1_QA_PIXEL", None),
        # not clear
        ("B4", None),
        ("B8", None),
        ("band 4", None),
        ("Vegetation red edge 1", None),
        ("AB04C", None),
        ("", None),
    ],
)
def test_common_name(text: str, name: str | None) -> None:
    assert common_name(text) == name


@given(st.sampled_from(sorted(COMMON_NAMES)), st.sampled_from([str.upper, str.title, str.lower]))
def test_common_names_are_their_own(name: str, case: object) -> None:
    assert common_name(case(name)) == name  # type: ignore[operator]


def test_sentinel2_numbers_by_their_company() -> None:
    expected = [name for number, name in SENTINEL2.items() if number != "B10"]
    assert common_names(ALL_12) == expected
    assert common_names([b.lower() for b in ALL_12]) == expected
    assert common_names(["B2", "B8", "B8A"]) == ["blue", "nir", "nir08"]


@settings(max_examples=50)
@given(st.lists(st.sampled_from([f"B{i}" for i in (*range(1, 10), 10, 11)]), min_size=1, unique=True))
def test_landsats_numbers_are_never_taken_for_sentinel2s(numbers: list[str]) -> None:
    # Landsat 8 has B1 to B11: its B5 is near infrared, its B11 thermal.
    names = common_names(numbers)
    assert all(n is None for number, n in zip(numbers, names, strict=True) if number not in ("B10", "B11"))


@pytest.mark.parametrize("numbers", [["B4"], ["B1", "B2", "B3", "B4"], ["B8A", "B2", "elevation"]])
def test_numbers_that_are_not_clear_are_not_guessed(numbers: list[str]) -> None:
    assert not {"red", "blue", "nir"} & set(common_names(numbers))


@pytest.mark.parametrize(
    ("stem", "description", "name"),
    [
        ("scene_B04", "nir", "nir"),  # a word beats a number
        ("HLS.L30.T17SLU.2020209T155956.v2.0.B05", "B05", "nir08"),  # the file's name says which B05
        ("T33UXP_B04_10m", "Band 1", "red"),
        ("mosaic", "B8A", "nir08"),
        ("mosaic", "", None),
    ],
)
def test_name_of_a_single_band_file(stem: str, description: str, name: str | None) -> None:
    assert name_of_file(stem, description) == name


@given(
    st.lists(st.sampled_from(["red", "nir", "nir08", "swir16"]), min_size=1, unique=True),
    st.sets(st.sampled_from(["red", "nir", "nir08", "swir16", "blue"])),
)
def test_each_wanted_band_is_served_by_itself_or_a_substitute_and_none_serves_two(
    wanted: list[str], available: set[str]
) -> None:
    chosen, missing = choose_bands(tuple(wanted), available)
    assert sorted([*chosen, *missing]) == sorted(wanted)
    assert len(set(chosen.values())) == len(chosen)
    for name, used in chosen.items():
        assert used in available
        assert used == name if name in available else used in SUBSTITUTES[name]
    assert not set(missing) & available
