"""Places in splits: whole, the same in whatever order they come, and classes in all of them where they can be."""

import numpy as np
import pytest
from builders import geobox_at
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geom import box

from geoseg.errors import TrainingError
from geoseg.evaluation.benchmark import Sample
from geoseg.grid.geobox import project
from geoseg.training.data import Images, refuse_leaks
from geoseg.training.leaks import overlaps
from geoseg.training.splits import choose_splits, lacking

COUNTS = st.lists(st.lists(st.integers(0, 5000), min_size=3, max_size=3), min_size=3, max_size=25)


def places(counts):
    return {f"p{n}": np.array(c) for n, c in enumerate(counts)}


@given(
    COUNTS,
    st.integers(0, 3),
    st.sampled_from([(0.2, 0.0), (0.3, 0.1), (0.05, 0.05), (0.0, 0.0)]),
    st.randoms(),
)
@settings(max_examples=60, deadline=None)
def test_each_place_has_one_split_and_order_says_nothing(counts, seed, shares, random):
    given_ = places(counts)
    asked = {"val_share": shares[0], "test_share": shares[1], "seed": seed}
    found = choose_splits(given_, **asked)
    assert set(found) == set(given_)
    assert set(found.values()) == {"train"} | {
        s for s, share in zip(("val", "test"), shares, strict=True) if share
    }
    names = list(given_)
    random.shuffle(names)
    assert choose_splits({name: given_[name] for name in names}, **asked) == found


@given(st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_shares_are_met_and_rare_classes_are_in_every_split(seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(100, 1000, (40, 3))
    counts[:, 2] = 0
    counts[rng.choice(40, 4, replace=False), 2] = 50  # a rare class, in four places
    given_ = places(counts)
    found = choose_splits(given_, val_share=0.2, test_share=0.1)
    assert lacking(given_, found, ["a", "b", "rare"]) == {}
    for split, share in (("val", 0.2), ("test", 0.1)):
        have = sum(given_[p] for p in given_ if found[p] == split)
        assert have[:2] / counts.sum(0)[:2] == pytest.approx([share, share], abs=0.06)


def test_places_keep_their_split_and_too_few_are_refused():
    given_ = places([[5, 5], [6, 6], [7, 7], [8, 8]])
    found = choose_splits(given_, val_share=0.5, test_share=0, fixed={"p3": "val", "gone": "train"})
    assert found["p3"] == "val"
    with pytest.raises(TrainingError, match="1 place cannot be parted into train, val"):
        choose_splits(places([[1, 2]]), val_share=0.2, test_share=0)
    only = places([[5, 0], [5, 0], [0, 3]])
    assert lacking(only, choose_splits(only, val_share=0.3, test_share=0), ["a", "b"])


# --- ground --------------------------------------------------------------------------------------


@given(st.integers(-30, 30), st.integers(-30, 30))
@settings(max_examples=40, deadline=None)
def test_boxes_overlap_as_their_pixels_do(col, row):
    one, other = geobox_at(height=20, width=20).extent, geobox_at(col, row, height=20, width=20).extent
    pairs, shares = overlaps([one], [other])
    shared = max(20 - abs(col), 0) * max(20 - abs(row), 0) / 400
    assert len(pairs) == (shared > 0)
    assert shares.sum() == pytest.approx(shared)


def test_neighbours_in_another_zone_do_not_overlap_and_the_same_ground_does():
    grid = geobox_at(height=256, width=256)
    here, beside = grid.extent, geobox_at(256, 0, height=256, width=256).extent
    there = project(here, "EPSG:32724")
    pairs, shares = overlaps([beside, here], [there])
    assert pairs.tolist() == [[1, 0]]
    assert shares[0] == pytest.approx(1, abs=0.01)


def test_ground_in_two_splits_is_refused_whatever_its_name():
    def images(*corners):
        each = [
            Sample(f"{x}", f"place {x}", lambda: None, None, ground=box(x, 0, x + 100, 100, "EPSG:32633"))
            for x in corners
        ]
        return Images((*each, Sample("unplaced", f"no ground {corners}", lambda: None, None)), None)

    refuse_leaks(images(0, 100), images(200, 300))
    with pytest.raises(TrainingError, match=r"150 \(place 150\) shares 50% with 100 \(place 100\)"):
        refuse_leaks(images(0, 100), images(150, 300))
