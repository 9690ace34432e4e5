"""The grid that items lie on."""

from datetime import UTC as UTC_TIME
from datetime import datetime
from typing import Any

import numpy as np
import pystac
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geom import Geometry, box

from geoseg.errors import PreflightError
from geoseg.grid.geobox import crs_title, geobox_for
from geoseg.imagery.loader import CLOUDS
from geoseg.imagery.native import NativeGrid, grid_of

AOI = box(-35.0, -9.0, -34.9, -8.9, "EPSG:4326")  # UTM 25 south
DAY = datetime(2024, 6, 1, tzinfo=UTC_TIME)
UTM, NEXT = "EPSG:32725", "EPSG:32724"


def item(*assets: dict[str, Any], **properties: Any) -> pystac.Item:
    made = pystac.Item("i", None, None, DAY, properties={**properties})
    for number, fields in enumerate(assets):
        made.add_asset(f"a{number}", pystac.Asset("x.tif", extra_fields=fields))
    return made


def placed(size: float, x: float = 0, y: float = 0, crs: str = UTM) -> dict[str, Any]:
    return {"proj:code": crs, "proj:transform": [size, 0, x, 0, -size, y]}


def grid(
    *items: pystac.Item, gsd_m: float | None = None, crs: str | None = None, aoi: Geometry = AOI
) -> NativeGrid:
    return grid_of(pystac.ItemCollection(items), aoi, gsd_m=gsd_m, crs=crs)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([10.0, 20.0, 28.5, 30.0, 0.6]),
    st.floats(-1e6, 1e6),
    st.floats(0, 1e7),
    st.integers(-3000, 3000),
    st.integers(-3000, 3000),
)
def test_pixel_corners_of_the_map_fall_on_those_of_the_items(
    size: float, x: float, y: float, col: int, row: int
) -> None:
    found = grid(item(placed(size, x, y)))
    left, top = x + col * size, y + row * size
    aoi = box(left + 0.2 * size, top - 5.2 * size, left + 7.7 * size, top - 0.3 * size, UTM)
    geobox = geobox_for(aoi, gsd_m=found.gsd_m, crs=found.crs, anchor=found.anchor)
    assert found.adapted == []
    assert geobox.shape == (6, 8)
    np.testing.assert_allclose([geobox.affine.c, geobox.affine.f], [left, top], atol=1e-4 * size)


def test_landsats_half_pixel_is_kept() -> None:
    assert grid(item(placed(30, 288_885, 9_000_015))) == NativeGrid(30, UTM, (15, 15), [])


def test_the_finest_band_decides_and_coarser_ones_are_no_news() -> None:
    assert grid(item(placed(20), placed(10), placed(60))) == NativeGrid(10, UTM, (0, 0), [])


def test_cloud_masks_have_no_say() -> None:
    made = item(placed(30))
    made.add_asset(CLOUDS, pystac.Asset("x.tif", extra_fields=placed(10)))
    assert grid(made).gsd_m == 30


def test_two_zones_are_mapped_in_that_of_the_area_and_it_is_said() -> None:
    found = grid(item(placed(10)), item(placed(10, crs=NEXT)))
    assert (found.crs, found.gsd_m) == (UTM, 10)
    assert found.adapted == ["resampled from EPSG:32724 at 10 m to EPSG:32725 at 10 m"]


def test_another_zone_than_the_areas_is_kept_where_all_items_share_it() -> None:
    assert grid(item(placed(10, crs=NEXT))) == NativeGrid(10, NEXT, (0, 0), [])


@pytest.mark.parametrize(("degrees", "size"), [(8.983152841214912e-05, 10.0), (0.0008084837557075694, 90.0)])
def test_degrees_become_utm(degrees: float, size: float) -> None:
    found = grid(item(placed(degrees, crs="EPSG:4326")))
    assert (found.crs, found.gsd_m, found.anchor) == (UTM, size, (0, 0))
    assert found.adapted == [f"resampled from EPSG:4326 at {size:g} m to EPSG:32725 at {size:g} m"]


def test_feet_become_metres() -> None:
    assert grid(item(placed(10, crs="EPSG:2263"))).gsd_m == 3.05


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        ([10, 0, 5, 0, -20, 5], "EPSG:32725 at 10 m by 20 m"),
        ([6, 8, 5, 8, -6, 5], "EPSG:32725 at 10 m, turned against the CRS,"),
    ],
)
def test_grids_that_no_map_can_have(transform: list[float], said: str) -> None:
    found = grid(item({"proj:code": UTM, "proj:transform": transform}))
    assert found == NativeGrid(10, UTM, (0, 0), [f"resampled from {said} to EPSG:32725 at 10 m"])


def test_south_up_is_on_the_grid() -> None:
    assert grid(item({"proj:code": UTM, "proj:transform": [10, 0, 3, 0, 10, 7]})) == NativeGrid(
        10, UTM, (3, 7), []
    )


@pytest.mark.parametrize("crs", ["EPSG:32725", "epsg:32725", "32725"])
def test_the_crs_asked_for_however_it_is_written(crs: str) -> None:
    assert grid(item(placed(30, 15, 15)), crs=crs) == NativeGrid(30, UTM, (15, 15), [])


def test_what_is_asked_for_is_taken_and_the_difference_said() -> None:
    found = grid(item(placed(10)), gsd_m=25, crs="EPSG:3857")
    assert (found.gsd_m, found.crs) == (25, "EPSG:3857")
    assert found.adapted == ["resampled from EPSG:32725 at 10 m to EPSG:3857 at 25 m"]


@pytest.mark.parametrize("fields", [{"proj:epsg": 32725}, {"proj:code": UTM}])
def test_other_ways_to_say_the_crs(fields: dict[str, Any]) -> None:
    assert grid(item({"proj:transform": [30, 0, 15, 0, -30, 15], **fields})).anchor == (15, 15)


def test_item_wide_transform() -> None:
    assert grid(item({}, **placed(30, 15, 15))).anchor == (15, 15)


def test_pixel_size_alone() -> None:
    found = grid(item({"gsd": 30}))
    assert (found.crs, found.gsd_m) == (UTM, 30)
    assert found.adapted == ["resampled from an unstated CRS at 30 m to EPSG:32725 at 30 m"]


def test_wkt_is_named_not_quoted() -> None:
    wkt = Geometry(AOI.geom, "EPSG:3035").crs.to_wkt().replace("3035", "0").replace("EPSG", "NOBODY")
    found = grid(item({"proj:wkt2": wkt, "proj:transform": [10, 0, 5, 0, -20, 5]}))
    assert all(len(text) < 150 for text in found.adapted)


def test_nothing_stated() -> None:
    with pytest.raises(PreflightError, match=r"state no pixel size .* Give --gsd in metres\.$"):
        grid(item({}))
    assert grid(item({}), gsd_m=10) == NativeGrid(
        10, UTM, (0, 0), ["resampled from an unstated grid to EPSG:32725 at 10 m"]
    )


WIDE = box(1.0, -1.0, 16.0, 1.0, "EPSG:4326")
ZONES = [item(placed(30, 15, 15, f"EPSG:326{zone}")) for zone in (31, 32, 33)]


def test_an_area_too_wide_for_a_zone_is_mapped_equal_area() -> None:
    found = grid(*ZONES, aoi=WIDE)
    assert crs_title(found.crs) == "WGS 84 / LAEA 0N 10E"
    assert found.anchor == (0, 0)
    assert found.adapted[0] == (
        "mapped on WGS 84 / LAEA 0N 10E, which is equal-area: areas in EPSG:32632 would be up to 1.02 times "
        "those on the ground (--crs)"
    )
    assert grid(*ZONES, aoi=box(1, 45, 16, 47, "EPSG:4326")).crs == "EPSG:32632", "true to 1 % there"


def test_an_area_that_no_zone_holds_is_mapped_equal_area() -> None:
    found = grid(*ZONES, aoi=box(-100, -1, 100, 1, "EPSG:4326"))
    assert crs_title(found.crs) == "WGS 84 / LAEA 0N 0E"


def test_a_crs_that_was_asked_for_or_is_shared_stays() -> None:
    assert grid(*ZONES, aoi=WIDE, crs="utm").crs == "EPSG:32632"
    assert grid(ZONES[0], aoi=WIDE).crs == "EPSG:32631"
    narrow = box(5.9, 45, 6.1, 45.1, "EPSG:4326")
    assert grid(*ZONES, aoi=narrow, crs="equal-area").crs == "EPSG:3035"
    assert grid(*ZONES, aoi=narrow, crs="equal-area").adapted == [
        "resampled from EPSG:32631 at 30 m, EPSG:32632 at 30 m, EPSG:32633 at 30 m to EPSG:3035 at 30 m"
    ]
