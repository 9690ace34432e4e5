"""What a block takes of the area."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from rasterio.features import rasterize
from rasterio.windows import Window

from geoseg.jobs.blocks import aoi_mask
from geoseg.jobs.plan import AREA_PRECISION_PX, plan_run
from geoseg.recipe import Recipe
from geoseg.resources import resource_folder

SIDE = 40


def rings(step):
    """Corners at multiples of a number of pixels, some outside the grid."""
    corner = st.integers(int(-5 / step), int((SIDE + 5) / step)).map(lambda n: n * step)
    return st.lists(st.tuples(corner, corner), min_size=3, max_size=8)


@st.composite
def areas(draw):
    """Parts that overlap nowhere, with holes and without; many corners on centres of pixels."""
    drawn = draw(st.lists(st.one_of(rings(0.5), rings(0.001)), min_size=1, max_size=4))
    whole = shapely.unary_union([shapely.make_valid(shapely.Polygon(ring)) for ring in drawn])
    whole = shapely.set_precision(whole, AREA_PRECISION_PX)
    return shapely.MultiPolygon([p for p in shapely.get_parts(whole) if p.geom_type == "Polygon"])


@given(
    areas(), st.integers(0, SIDE - 1), st.integers(0, SIDE - 1), st.integers(1, SIDE), st.integers(1, SIDE)
)
def test_the_mask_of_a_block_is_that_of_the_whole_area_cut(area, col, row, width, height):
    window = Window(col, row, min(width, SIDE - col), min(height, SIDE - row))
    whole = np.zeros((SIDE, SIDE), bool)
    if not area.is_empty:
        whole = rasterize([(area, 1)], out_shape=(SIDE, SIDE), dtype="uint8").astype(bool)

    rows, cols = window.toslices()
    np.testing.assert_array_equal(aoi_mask(area, window), whole[rows, cols])
    assert aoi_mask(None, window).all()


@pytest.mark.filterwarnings("ignore:l7-etm-olinda")
def test_corners_of_a_plan_are_numbers_that_stay_exact():
    area = resource_folder("catalogs") / "sample" / "area.geojson"
    plan = plan_run(Recipe(aoi=str(area), catalog="sample", model="spectral-rules"), say=lambda _: None)
    corners = shapely.get_coordinates(plan.aoi_px) / AREA_PRECISION_PX
    assert (corners == np.round(corners)).all()
    assert (corners % (1 / AREA_PRECISION_PX) != 0).any(), "they are no whole pixels"
