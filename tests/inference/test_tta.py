"""Laws of test-time augmentation by scales: nothing shows but what the network says of larger and smaller tiles."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from builders import as_image, geobox_at, network, smooth
from hypothesis import given, settings
from hypothesis import strategies as st
from law_models import Identity, Mean, in_blocks, model_of, one_tile
from torch.nn import functional

from geoseg.errors import RecipeError
from geoseg.inference import runner
from geoseg.inference.predictor import predict, predict_probs
from geoseg.inference.runner import Inference
from geoseg.inference.tta import sizes_of, times_of, views_of
from geoseg.models.card import ModelCard
from geoseg.models.ensemble import ensemble_of

SCALED = ("scale", "scale-flip")


def _card(size: int, multiple: int) -> ModelCard:
    return model_of(Identity(), size=size, halo=0).card.model_copy(update={"tile_multiple": multiple})


def holed(seed: int, shape: tuple[int, int]) -> np.ndarray:
    pixels = smooth(seed, shape)
    pixels[:, 20 : 20 + shape[0] // 3, shape[1] // 2 :] = np.nan
    return pixels


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 6), st.integers(1, 6), st.integers(2, 6), st.sampled_from([1, 8, 32]), st.integers(0, 3)
)
def test_a_flat_tile_stays_flat_and_its_holes_stay_holes(rows, cols, whole, multiple, n_holes):
    """What is resampled neither leaks into holes nor out of them, and sides are what a network can take."""
    size = multiple * max(rows, cols, whole)
    card = _card(size, multiple)
    shape = (rows * multiple, cols * multiple)
    tile = torch.full((2, 4, *shape), 0.3)
    for n in range(n_holes):
        tile[:, n, : shape[0] // (n + 2), : shape[1] // 2] = float("nan")
    for view in views_of("scale-flip", size=size, card=card):
        seen = view.there(tile)
        known = seen.isfinite().all(1)
        assert all(side % multiple == 0 for side in seen.shape[-2:])
        assert seen.shape[0] == 2
        if known.any():
            assert (seen.movedim(1, 0)[:, known] - 0.3).abs().max() < 1e-6
        one = view.back(torch.ones(2, 3, *seen.shape[-2:]), shape)
        assert one.shape == (2, 3, *shape)
        assert (one - 1).abs().max() < 1e-6


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 64), st.integers(2, 12))
def test_sizes_of_networks_are_those_of_whole_tiles(multiple, n):
    size = multiple * n
    card = _card(size, multiple)
    views = views_of("scale", size=size, card=card)
    tile = torch.zeros(1, 1, size, size)
    assert {view.there(tile).shape[-1] for view in views} == set(sizes_of(views, size))
    assert len(sizes_of(views, size)) == 3
    assert times_of(views) == pytest.approx(sum(side**2 for side in sizes_of(views, size)) / size**2)


def test_scales_are_three_quarters_one_and_five_quarters_of_common_tiles():
    for size in (128, 256, 512, 1024):
        views = views_of("scale", size=size, card=_card(size, 32))
        assert sizes_of(views, size) == (size, size * 3 // 4, size * 5 // 4)


def test_a_tile_stays_where_it_is():
    """A slope seen at another scale is the same slope, to a tenth of a pixel."""
    card = _card(128, 8)
    slope = torch.linspace(0, 1, 128).expand(1, 4, 128, 128) + torch.linspace(0, 3, 128)[:, None]
    for shape in ((128, 128), (48, 88)):
        tile = slope[..., : shape[0], : shape[1]].contiguous()
        for view in views_of("scale-flip", size=128, card=card):
            seen = view.there(tile)
            filled = torch.where(seen.isfinite(), seen, 0.0)
            inside = np.s_[..., 8:-16, 8:-16]
            assert (view.back(filled, shape) - tile)[inside].abs().max() < 3e-3


@pytest.mark.parametrize("tta", SCALED)
def test_probabilities_are_the_mean_over_the_scales(tta):
    model = network("small-unet", size=64, halo=0)
    image = one_tile()
    batch, found = torch.from_numpy(image.values)[None], []
    mean, std = (torch.tensor(v)[:, None, None] for v in (model.card.mean, model.card.std))
    for flips in ((),) if tta == "scale" else ((), (-1,), (-2,), (-1, -2)):
        for side in (64, 32, 96):
            seen = functional.interpolate(batch.flip(flips), (side, side), mode="bilinear", antialias=True)
            with torch.no_grad():
                probs = model.module((seen - mean) / std).softmax(1)
            back = functional.interpolate(probs, (64, 64), mode="bilinear", antialias=True)
            found.append(back.flip(flips)[0].numpy())
    augmented = predict_probs(image, model=model, how=Inference(tta=tta))
    assert np.abs(augmented - np.mean(found, 0)).max() < 1e-4
    assert np.abs(augmented - found[0]).max() > 0.01, "the test would be blind"


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 10_000), st.integers(40, 120), st.sampled_from([None, 17]), st.sampled_from(SCALED))
def test_blocks_and_chunks_do_not_show(seed, block_size, chunks, tta):
    image = as_image(holed(seed, (80, 110)), geobox_at(seed, 7, height=80, width=110))
    model, how = model_of(Mean(), size=32, halo=8), Inference(tta=tta)
    whole = predict(image, model=model, how=how)
    class_id, confidence = in_blocks(image, model, block_size, chunks=chunks, how=how)
    assert class_id.tobytes() == whole.class_id.values.tobytes()
    assert confidence.tobytes() == whole.confidence.values.tobytes()


def test_a_real_network_gives_the_same_bytes_in_any_blocks():
    image = as_image(holed(1, (90, 110)), geobox_at(3, 5, height=90, width=110))
    model, how = network("small-unet"), Inference(tta="scale")
    whole = predict(image, model=model, how=how)
    assert len(np.unique(whole.class_id)) > 2, "the test would be blind with one class"
    class_id, confidence = in_blocks(image, model, 64, batch_size=3, chunks=48, how=how)
    assert class_id.tobytes() == whole.class_id.values.tobytes()
    assert confidence.tobytes() == whole.confidence.values.tobytes()


@pytest.mark.parametrize("tta", SCALED)
def test_nodata_stays_nodata_and_changes_nothing_else(tta):
    """A model of single pixels says of flat ground what it says without augmentation, up to the hole's edge."""
    pixels = np.full((4, 100, 100), 0.2, np.float32)
    pixels[2] = 0.5
    pixels[1, 30:60, 40:70] = np.nan
    image = as_image(pixels, geobox_at(height=100, width=100))
    model = model_of(Identity(), size=32, halo=8)
    plain, scaled = (predict(image, model=model, how=Inference(tta=t)) for t in ("none", tta))
    assert ((scaled.class_id.values == 255) == np.isnan(pixels).any(0)).all()
    # The network sees nodata as a class of its own kind; its answers are mixed with it next to holes only.
    near = np.zeros((100, 100), bool)
    near[26:64, 36:74] = True
    assert (scaled.class_id.values[~near] == plain.class_id.values[~near]).all()
    steps = scaled.confidence.values.astype(int) - plain.confidence.values
    assert np.abs(steps[~near]).max() <= 1


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_backends_of_fixed_size_get_a_network_for_each_size(backend):
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    image = as_image(smooth(2, (90, 110)), geobox_at(3, 5, height=90, width=110))
    model = network("small-unet", size=64, halo=8)
    eager, other = (
        predict(image, model=model, how=Inference(tta="scale", backend=b)) for b in ("torch-eager", backend)
    )
    # Whole tiles and trimmed ones differ where tiles hang over the image's edge.
    inside = np.s_[60:, 60:]
    assert (eager.class_id.values == other.class_id.values)[inside].mean() > 0.9
    assert {work.size for _, name, work, _ in runner._ready.last if name == backend} == {64, 32, 96}


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("ensemble", lambda: ensemble_of([network("small-unet", seed=s) for s in (0, 1)], name="two")),
        ("mc-dropout", lambda: network("small-unet", dropout=0.3)),
    ],
)
def test_layers_that_look_into_the_network_go_with_scales(name, model):
    """The epistemic layer is of the tile as it lies; the classes are those of the mean."""
    image, model = one_tile(), model()
    plain = predict(image, model=model, how=Inference(uncertainty=(name,)))
    scaled = predict(image, model=model, how=Inference(uncertainty=(name,), tta="scale"))
    assert (scaled.epistemic.values == plain.epistemic.values).all()
    assert (scaled.class_id.values != plain.class_id.values).any()


def test_what_takes_tiles_of_one_size_is_refused():
    card = _card(64, 64)
    with pytest.raises(RecipeError, match=r"--tta scale .* 64 .*--tta flip or d4"):
        views_of("scale", size=64, card=card)


def test_pixels_of_all_scales_are_counted():
    image, model = one_tile(), model_of(Identity(), size=64, halo=0)
    runs = {
        tta: predict(image, model=model, how=Inference(tta=tta)).attrs["n_pixels_run"]
        for tta in ("none", "flip", "d4", *SCALED)
    }
    assert {tta: n / runs["none"] for tta, n in runs.items()} == {
        "none": 1, "flip": 4, "d4": 8, "scale": 3.125, "scale-flip": 12.5,
    }  # fmt: skip
