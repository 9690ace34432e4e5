"""What is drawn, how often, and how it is varied."""

import numpy as np
import pytest
import torch
from builders import network
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.models.zoo import ready
from geoseg.training.augment import Augmentation, match_histograms
from geoseg.training.data import Chips, EpochSampler, image_weights, read_splits, statistics
from geoseg.training.tables import Augment, Data

CARD = network("small-unet").card


@pytest.fixture(scope="module")
def split(chips):
    return read_splits(Data(benchmark=str(chips / "chips.toml"), root=str(chips)))


def data(**options):
    return Data(benchmark="x", root="y", **options)


def test_images_are_reflectance_and_labels_are_indices(split):
    pixels, labels = Chips(split[0], CARD).whole(0)
    assert (pixels.shape, labels.shape) == ((4, 64, 64), (64, 64))
    assert pixels[:, -4:, -4:].isnan().all()
    assert 0 <= pixels[:, :-4].nan_to_num(0.1).min() <= pixels[:, :-4].nan_to_num(0.1).max() < 1
    assert (pixels.dtype, labels.dtype) == (torch.float32, torch.uint8), "five bytes, not twelve, for a band"
    assert (labels[:6, :6] == 255).all()
    assert (labels[-4:, -4:] == 255).all(), "no value, no label"
    assert set(labels.unique().tolist()) == {0, 1, 2, 3, 255}


def test_statistics_are_those_of_numpy(split):
    chips = Chips(split[0], CARD)
    weights = np.full(len(chips), 1 / len(chips))
    found = statistics(chips, weights)
    every = np.stack([chips.whole(n)[0].numpy().astype(float) for n in range(len(chips))])
    assert found.mean == pytest.approx(np.nanmean(every, axis=(0, 2, 3)), abs=1e-6)
    assert found.std == pytest.approx(np.nanstd(every, axis=(0, 2, 3)), abs=1e-6)
    labels = torch.stack([chips.whole(n)[1] for n in range(len(chips))])
    shares = np.bincount(labels[labels < 4].numpy(), minlength=4)
    assert found.class_shares == pytest.approx(shares / shares.sum())
    assert (
        found.value_range[0]
        < np.nanquantile(every, 0.001)
        < np.nanquantile(every, 0.999)
        < found.value_range[1]
    )


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=40, deadline=None)
def test_places_are_drawn_by_their_power(places, power):
    names = [str(p) for p in places]
    weights = image_weights(names, np.ones((len(names), 3), np.int64), data(place_power=power))
    assert weights.sum() == pytest.approx(1)
    sizes = {name: names.count(name) for name in names}
    of_place = {name: weights[[n == name for n in names]].sum() for name in sizes}
    total = sum(size**power for size in sizes.values())
    assert of_place == pytest.approx({name: size**power / total for name, size in sizes.items()})


def test_rare_classes_are_drawn_more_often():
    counts = np.array([[100, 0], [100, 0], [100, 0], [90, 10]])
    even = image_weights(list("aaaa"), counts, data())
    rare = image_weights(list("aaaa"), counts, data(class_power=1.0))
    assert rare[3] > 4 * rare[0], "a tenth of it is of the rare class, which is one pixel in forty"
    assert even == pytest.approx([0.25] * 4)
    assert image_weights(list("abcd"), counts, data(class_power=1.0)) == pytest.approx(rare), (
        "where each image is a place of its own, there are no places to balance"
    )


@given(
    st.lists(st.integers(0, 100_000), min_size=20, max_size=20),
    st.floats(0.1, 1),
    st.sampled_from([0, 0.5, 1]),
)
@settings(max_examples=40, deadline=None)
def test_rare_classes_leave_places_their_share(n_rare, class_power, place_power):
    places = list("a" * 5 + "b" * 15)
    counts = np.stack([np.full(20, 100_000), np.array(n_rare)], 1)
    asked = {"place_power": place_power}
    weights = image_weights(places, counts, data(class_power=class_power, **asked))
    plain = image_weights(places, counts, data(**asked))
    assert weights.sum() == pytest.approx(1)
    assert weights[:5].sum() == pytest.approx(plain[:5].sum())
    assert weights.max() <= 10 * plain.max()


def test_a_single_rare_pixel_hardly_counts():
    counts = np.array([[9999, 1], [10_000, 0]])
    weights = image_weights(["a", "a"], counts, data(class_power=0.3))
    assert weights == pytest.approx([0.5, 0.5], abs=0.01)
    assert image_weights(["a", "a"], np.zeros((2, 2), np.int64), data(class_power=1)) == pytest.approx(
        [0.5, 0.5]
    )


def test_an_epoch_is_drawn_from_its_number():
    sampler = EpochSampler(np.array([0.5, 0.3, 0.2]), 50, seed=1)
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(1)
    second = list(sampler)
    assert second != first
    sampler.set_epoch(0)
    assert list(sampler) == first
    assert len(first) == len(sampler) == 50


def test_a_crop_is_a_part_and_small_images_are_filled(split):
    torch.manual_seed(0)
    whole, cut = Chips(split[0], CARD), Chips(split[0], CARD, crop=32)
    pixels, labels = cut[2]
    full, _ = whole.whole(2)
    windows = full.unfold(1, 32, 1).unfold(2, 32, 1)  # (band, y, x, 32, 32)
    hits = (
        ((windows == pixels[:, None, None]) | (windows.isnan() & pixels[:, None, None].isnan()))
        .all(-1)
        .all(-1)
    )
    assert hits.all(0).any()
    assert labels.shape == (32, 32)
    larger = Chips(split[0], CARD, crop=96)[2]
    assert larger[0][:, 64:].isnan().all()
    assert (larger[1][64:] == 255).all()


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.6, 1.5)])
def test_labels_move_with_the_image(scale):
    """An image whose one band is its labels stays so, but at borders of classes, where bands are interpolated."""
    torch.manual_seed(3)
    how = Augment(scale=scale, gain=0, band_gain=0, noise=0, cutmix=1.0)
    labels = torch.zeros(6, 64, 64, dtype=torch.long)
    labels[:, 20:50, 8:30] = 1
    labels[:, :8, :] = 255
    pixels = torch.where(labels == 255, 7, labels)[:, None].float().expand(6, 2, 64, 64).clone()
    moved, classes = Augmentation(how, torch.tensor([0.0, 0.0]))(pixels, labels)
    agree = (moved[:, 0].round() == classes) | (classes == 255)
    assert agree.float().mean() > (0.999 if scale == (1.0, 1.0) else 0.97)
    assert not torch.equal(classes, labels)
    assert {0, 1, 255} == set(classes.unique().tolist())


@pytest.mark.parametrize("options", [{}, {"gain": 0.3, "noise": 0.1}, {"scale": (0.6, 1.5), "cutmix": 1.0}])
def test_a_pixel_that_lacks_a_band_has_none_and_teaches_nothing(options):
    """However it is varied, the network gets 0 in all bands there, as where a map is made."""
    torch.manual_seed(0)
    plain = Augment(scale=(1.0, 1.0), gain=0, band_gain=0, noise=0)
    card = CARD.model_copy(update={"bands": ("red", "nir"), "mean": (0.1, 0.2), "std": (1.0, 1.0)})
    pixels = torch.full((8, 2, 32, 32), 0.5)
    pixels[:, 0, :12] = float("nan")
    pixels[:, :, 20:24] = float("nan")
    labels = torch.zeros(8, 32, 32, dtype=torch.long)
    varied, left = Augmentation(plain.model_copy(update=options), torch.tensor(card.mean))(pixels, labels)
    found, is_known = ready(varied, card), left != 255
    assert is_known.any()
    assert (~is_known).any()
    assert (found[:, 0] == 0)[~is_known].all()
    assert (found[:, 1] == 0)[~is_known].all()
    assert (found != 0).all(1)[is_known].all()
    if "gain" not in options:
        assert torch.allclose(varied.movedim(1, -1)[is_known], torch.tensor(0.5)), "none is half a pixel"


def test_bands_drop_to_their_means():
    torch.manual_seed(0)
    how = Augment(flip=False, scale=(1.0, 1.0), gain=0, band_gain=0, noise=0, band_dropout=1.0)
    labels = torch.zeros(8, 16, 16, dtype=torch.long)
    mean = torch.tensor([0.1, 0.2])
    lost, same = Augmentation(how, mean)(torch.full((8, 2, 16, 16), 0.5), labels)
    assert lost.mean((0, 2, 3)) == pytest.approx(mean.numpy())
    assert torch.equal(same, labels)


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_a_matched_image_has_the_others_values_in_its_own_order(seed):
    torch.manual_seed(seed)
    mine, theirs = torch.randn(2, 3, 2, 8, 9)
    found = match_histograms(mine, theirs)
    assert torch.equal(found.flatten(2).sort(-1).values, theirs.flatten(2).sort(-1).values)
    assert torch.equal(found.flatten(2).argsort(-1), mine.flatten(2).argsort(-1))
    assert torch.equal(match_histograms(mine, mine), mine)


def test_gains_are_as_wide_as_said():
    torch.manual_seed(0)
    how = Augment(flip=False, scale=(1.0, 1.0), gain=0.2, band_gain=0.1, noise=0)
    pixels = torch.full((4000, 3, 2, 2), 0.3)
    found, _ = Augmentation(how, torch.zeros(3))(pixels, torch.zeros(4000, 2, 2, dtype=torch.long))
    logs = torch.log(found[:, :, 0, 0] / 0.3)
    assert logs.std(0) == pytest.approx(np.full(3, np.hypot(0.2, 0.1)), rel=0.05)
    assert (logs - logs.mean(1, keepdim=True)).std() == pytest.approx(0.1 * np.sqrt(2 / 3), rel=0.05)


def test_places_are_parted_where_the_data_have_no_split(chips):
    asked = Data(benchmark=str(chips / "chips.toml"), root=str(chips), val_share=0.25)
    train, val = read_splits(asked)
    assert (len(set(train.places)), len(set(val.places))) == (6, 2)
    assert not set(train.places) & set(val.places)
    assert len(train.samples) + len(val.samples) == 16
    assert read_splits(asked)[1].places == val.places
