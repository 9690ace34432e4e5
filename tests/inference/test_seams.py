"""Laws of the seam score: it counts what depends on where tiles lie, and nothing else."""

import numpy as np
import pytest
import torch
from builders import as_image, geobox_at, smooth
from hypothesis import given, settings
from hypothesis import strategies as st
from law_models import Identity, Mean, model_of, one_tile
from rasterio.windows import Window
from torch import nn

from geoseg import seam_score
from geoseg.grid.tiling import TilePlan
from geoseg.inference import seams
from geoseg.inference.predictor import predict
from geoseg.inference.runner import Inference
from geoseg.inference.seams import SeamScore, pick, spots_of


class Corner(nn.Module):
    """The class says in which quarter of its tile a pixel lies, whatever is there."""

    def forward(self, pixels):
        y, x = (torch.arange(n) >= n // 2 for n in pixels.shape[-2:])
        quarter = 2 * y[:, None].long() + x
        logits = nn.functional.one_hot(quarter, 4).permute(2, 0, 1) * 10.0
        return logits.expand(len(pixels), -1, -1, -1) + 0 * pixels


def scored(pixels, model, *, col=0, row=0, how=Inference()):
    image = as_image(pixels, geobox_at(col, row, height=pixels.shape[1], width=pixels.shape[2]))
    return seam_score(image, predict(image, model=model, how=how).class_id, model=model, how=how)


LATTICES = st.tuples(st.integers(0, 12), st.integers(0, 40)).filter(lambda at: at[0] + at[1] >= 8)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 999), st.integers(60, 150), st.integers(60, 150), LATTICES)
def test_a_model_of_single_pixels_has_no_seams(seed, height, width, lattice):
    halo, extra = lattice
    pixels = smooth(seed, (height, width))
    pixels[0, 20:40, 30:55] = np.nan
    found = scored(pixels, model_of(Identity(), size=4 * halo + extra, halo=halo), col=seed)
    assert (found.share is None) == (found.n_pixels == 0) == (found.n_spots == 0) == bool(found.reason)
    assert found.n_differ == 0
    assert found.n_spots <= seams.MAX_SPOTS


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 999), st.sampled_from([(32, 8), (32, 4), (40, 2), (48, 12), (32, 0), (33, 3)]))
def test_a_model_that_leans_on_its_place_in_the_tile_has_seams(seed, lattice):
    size, halo = lattice
    found = scored(np.full((4, 150, 150), 0.2), model_of(Corner(), size=size, halo=halo), col=seed)
    assert found.share > 0.5, "half a stride away, quarters lie elsewhere"


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 12), st.integers(1, 40), st.integers(20, 200))
def test_a_place_is_said_by_one_tile_or_four_and_lies_within_the_map(col, row, halo, extra, side):
    plan = TilePlan(geobox_at(col, row, height=side, width=side + 7), 4 * halo + extra, halo)
    spots, _ = spots_of(plan, Window(0, 0, side + 7, side))
    n_expected = 1 if extra >= max(halo, 1) else 4
    for spot in spots:
        assert spot.col_off >= 0
        assert spot.row_off >= 0
        assert spot.col_off + spot.width <= side + 7
        assert spot.row_off + spot.height <= side
        assert len(list(plan.shifted().tiles(spot))) <= n_expected


@given(st.integers(1, 100), st.integers(0, 25), st.integers(0, 99))
def test_a_shifted_tile_lies_where_four_meet(stride, halo, col):
    stride = max(stride, 2 * halo)
    plan = TilePlan(geobox_at(col, height=300, width=300), stride + 2 * halo, halo)
    window = Window(100, 100, 50, 50)
    edges = {tile.core.col_off for tile in plan.tiles(window)}
    moved = {tile.core.col_off for tile in plan.shifted().tiles(window)}
    assert {(edge + stride // 2) % stride for edge in edges} == {edge % stride for edge in moved}
    covered = np.zeros((50, 50), int)
    for tile in plan.shifted().tiles(window):
        top, left = tile.core.row_off - 100, tile.core.col_off - 100
        covered[max(top, 0) : max(top + stride, 0), max(left, 0) : max(left + stride, 0)] += 1
    assert (covered == 1).all()


def test_an_area_within_one_tile_has_none():
    image, model = one_tile(), model_of(Mean(), size=64, halo=0)
    found = seam_score(image, predict(image, model=model).class_id, model=model)
    assert found == SeamScore(reason=seams.ONE_TILE)
    assert found.share is None
    assert found.text() == "not measured: the area lies within one tile, which has no seams"


def test_a_map_with_hardly_a_pixel_says_nothing():
    pixels = np.full((4, 150, 150), np.nan, np.float32)
    pixels[:, 70:80, 70:80] = 0.2
    found = scored(pixels, model_of(Mean(), size=32, halo=4))
    assert (found.share, found.reason) == (None, seams.TOO_FEW)


@pytest.mark.parametrize(
    ("n_candidates", "n_tiles", "n"),
    [(1, 1, 1), (99, 1, 1), (120, 1, 2), (9999, 1, 8), (399, 4, 1), (800, 4, 4)],
)
def test_there_is_about_a_place_for_fifty_tiles(n_candidates, n_tiles, n):
    plan = TilePlan(geobox_at(), 64, 16 if n_tiles == 4 else 4)
    candidates = [Window(i, 0, 48, 48) for i in range(n_candidates)]
    picked = pick(candidates, lambda spot: 48 * 48, plan=plan)
    assert len(set(picked)) == len(picked) == n
    assert picked == pick(candidates, lambda spot: 48 * 48, plan=plan)


def test_places_with_enough_of_the_map_go_before_others():
    plan = TilePlan(geobox_at(), 64, 4)
    candidates = [Window(i, 0, 48, 48) for i in range(20)]
    assert pick(candidates, lambda spot: 2000 if spot.col_off == 7 else 300, plan=plan) == [candidates[7]]
    assert pick(candidates, lambda spot: 500 if spot.col_off == 7 else 300, plan=plan) == [candidates[7]]
    many = [Window(i, 0, 48, 48) for i in range(120)]
    assert len(pick(many, lambda spot: 2000 if spot.col_off == 7 else 300, plan=plan)) == 2
    assert pick(candidates, lambda spot: 200, plan=plan) == []


def test_the_score_is_of_the_way_in_which_the_map_was_made():
    """A model that leans to one side of its tile has seams, but none with flips, which undo that."""

    class West(nn.Module):
        def forward(self, pixels):
            lean = torch.linspace(-1, 1, pixels.shape[-1]).expand_as(pixels[:, :1])
            return torch.cat([lean + 0.2, -lean, pixels[:, :2] - 9], 1)

    model, pixels = model_of(West(), size=32, halo=4), np.full((4, 100, 100), 0.2)
    assert scored(pixels, model).share > 0.3
    assert scored(pixels, model, how=Inference(tta="flip")).share == 0


def test_words_are_those_of_the_figures():
    assert SeamScore(1, 1000, 4).text() == (
        "0.40% of 1,000 pixels at 1 spot get another class when the tiles lie half a stride further"
    )
    assert SeamScore(3, 1_000_000, 1).text().startswith("less than 0.01% of 1,000,000 pixels at 3 spots")
    assert SeamScore(3, 1_000_000, 0).text().startswith("0.00% of")
