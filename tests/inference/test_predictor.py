"""Laws of prediction: nothing about how the work is cut may show in the map."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import as_image, geobox_at, network, smooth
from hypothesis import given, settings
from hypothesis import strategies as st
from law_models import Identity, Mean, in_blocks, model_of
from rasterio.windows import Window
from torch import nn

from geoseg.errors import ModelError
from geoseg.grid.tiling import TilePlan
from geoseg.inference import predictor, runner
from geoseg.inference.predictor import _classified, predict
from geoseg.inference.runner import Inference
from geoseg.legend import CONFIDENCE_SCALE, Legend
from geoseg.models.zoo import Model, create_model


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 9999),
    st.integers(0, 9999),
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(0, 3),
    st.integers(0, 40),
)
def test_the_identity_model_returns_its_input(col, row, height, width, halo, extra):
    pixels = smooth(col, (height, width))
    image = as_image(pixels, geobox_at(col, row, height=height, width=width))
    model = model_of(Identity(), size=4 * max(halo, 1) + extra, halo=halo)
    result = predict(image, model=model)
    probs = np.exp(pixels) / np.exp(pixels).sum(0)
    top = np.sort(probs, axis=0)
    clear = top[-1] - top[-2] > 1e-5
    assert (result.class_id.values[clear] == probs.argmax(0)[clear]).all()
    assert np.abs(result.confidence.values * CONFIDENCE_SCALE - probs.max(0)).max() <= CONFIDENCE_SCALE


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.integers(30, 120), st.sampled_from([None, 17, 64]), st.integers(1, 5))
def test_blocks_chunks_and_batches_do_not_show(seed, block_size, chunks, batch_size):
    pixels = smooth(seed, (80, 110))
    pixels[:, 30:50, 60:90] = np.nan
    image = as_image(pixels, geobox_at(seed, 7, height=80, width=110))
    model = model_of(Mean(), size=32, halo=8)
    whole = predict(image, model=model)
    class_id, confidence = in_blocks(image, model, block_size, batch_size=batch_size, chunks=chunks)
    assert class_id.tobytes() == whole.class_id.values.tobytes()
    assert confidence.tobytes() == whole.confidence.values.tobytes()


@pytest.mark.parametrize("family", ["unet", "deeplabv3plus"])
def test_a_real_network_gives_the_same_bytes_in_any_blocks(family):
    image = as_image(smooth(1, (90, 110)), geobox_at(3, 5, height=90, width=110))
    model = network(family)
    whole = predict(image, model=model)
    assert len(np.unique(whole.class_id)) > 1, "the test would be blind with one class"
    for block_size in (50, 100):
        class_id, confidence = in_blocks(image, model, block_size, batch_size=3, chunks=48)
        assert class_id.tobytes() == whole.class_id.values.tobytes()
        assert confidence.tobytes() == whole.confidence.values.tobytes()


@pytest.fixture
def batches(monkeypatch):
    """Real batches on the CPU, where :func:`predict` otherwise runs tiles one at a time; those that were run."""
    sizes = []

    class Counting(runner.Runner):
        def _forward(self, tiles):
            sizes.append(len(tiles))
            return super()._forward(tiles)

    monkeypatch.setattr(predictor, "Runner", Counting)
    monkeypatch.setattr(runner, "n_at_a_time", lambda device, batch_size: batch_size)
    return sizes


def _holed_mask(height, width):
    """True but for a hole as large as some tiles: they are not run, those around them are."""
    mask = np.ones((height, width), bool)
    mask[20:130, 60:170] = False
    return mask


@pytest.mark.parametrize("batch_size", [1, 2, 3, 50])
def test_batches_of_plain_sums_do_not_show(batches, batch_size):
    """Each tile of a batch gets its own answer, whatever lies between: the bytes are those of single tiles."""
    image = as_image(smooth(2, (150, 200)), geobox_at(3, 5, height=150, width=200))
    model, mask = model_of(Mean(), size=32, halo=8), _holed_mask(150, 200)
    alone = predict(image, model=model, mask=mask)
    n_tiles = sum(batches)
    batches.clear()
    together = predict(image, model=model, mask=mask, how=Inference(batch_size=batch_size))
    rows = list(TilePlan(image.odc.geobox, 32, 8).rows(Window(0, 0, 200, 150)))
    assert max(batches) == min(batch_size, n_tiles)
    assert sum(batches) == n_tiles < sum(map(len, rows)), "tiles of the hole are run too"
    assert together.class_id.values.tobytes() == alone.class_id.values.tobytes()
    assert together.confidence.values.tobytes() == alone.confidence.values.tobytes()


@pytest.mark.parametrize(
    ("family", "batch_size"), [pytest.param("unet", 2, marks=pytest.mark.lane), ("deeplabv3plus", 3)]
)
def test_batches_of_a_real_network_change_last_bits_only(batches, family, batch_size):
    """What is promised of a GPU: a class may differ where two are equally probable, nowhere else."""
    image = as_image(smooth(1, (150, 200)), geobox_at(3, 5, height=150, width=200))
    model, mask = network(family), _holed_mask(150, 200)
    alone = predict(image, model=model, mask=mask)
    batches.clear()
    together = predict(image, model=model, mask=mask, how=Inference(batch_size=batch_size))
    assert set(batches) >= {batch_size}
    assert len(np.unique(alone.class_id)) > 2, "the test would be blind with one class"
    steps = together.confidence.values.astype(int) - alone.confidence.values
    assert np.abs(steps).max() <= 1
    assert (steps != 0).mean() < 0.01
    assert (together.class_id.values != alone.class_id.values).mean() < 0.001


def test_the_network_given_is_not_changed():
    """Neither moved to another device nor laid out anew: it may be the caller's, and another thread's."""
    model = network()
    model = Model(model.module.to(memory_format=torch.contiguous_format), model.card)
    before = {k: (t.data_ptr(), t.device, t.stride()) for k, t in model.module.state_dict().items()}
    image = as_image(smooth(1, (64, 64)), geobox_at(height=64, width=64))
    predict(image, model=model)
    with pytest.raises(NotImplementedError):  # of PyTorch: tensors of "meta" have no values
        predict(image, model=model, how=Inference(device="meta"))
    after = {k: (t.data_ptr(), t.device, t.stride()) for k, t in model.module.state_dict().items()}
    assert after == before


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60))
def test_moving_the_area_by_whole_pixels_moves_the_map(rows, cols):
    """A place gets the same class whatever area was asked for, wherever its context is there."""
    pixels = smooth(3, (200, 200))
    model = model_of(Mean(), size=32, halo=8)
    everything = as_image(pixels, geobox_at(11, 13, height=200, width=200))
    plan = TilePlan(geobox_at(11 + cols, 13 + rows, height=100, width=100), 32, 8)
    moved = predict(everything, model=model, plan=plan, window=Window(0, 0, 100, 100))
    whole = predict(everything, model=model)
    inside = np.s_[rows + 40 : rows + 90, cols + 40 : cols + 90]
    assert (moved.class_id.values[40:90, 40:90] == whole.class_id.values[inside]).all()
    assert (moved.confidence.values[40:90, 40:90] == whole.confidence.values[inside]).all()


def test_there_is_no_seam_where_tiles_meet():
    """A model that leans on its tile's edge must not draw the lattice: steps at borders are like any others."""

    class Edge(nn.Module):
        def forward(self, pixels):
            ramp = torch.linspace(-1, 1, pixels.shape[-1])
            return pixels + 2 * ramp  # wrong towards both ends, in opposite ways

    flat = as_image(np.full((4, 256, 256), 0.3, np.float32), geobox_at(height=256, width=256))
    probs = predict(flat, model=model_of(Edge(), size=64, halo=16)).confidence.values.astype(int)
    assert np.abs(np.diff(probs, axis=1)).max() <= 3


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1))
def test_nodata_in_any_band_is_nodata_out_and_nowhere_else(seed, share):
    rng = np.random.default_rng(seed)
    pixels = smooth(seed, (60, 60))
    hidden = rng.random((60, 60)) < share
    pixels[rng.integers(0, 4), hidden] = np.nan
    result = predict(
        as_image(pixels, geobox_at(height=60, width=60)), model=model_of(Mean(), size=32, halo=8)
    )
    assert ((result.class_id.values == 255) == hidden).all()
    assert ((result.confidence.values == 255) == hidden).all()


def test_outside_the_mask_is_nodata_and_inside_is_unchanged():
    image = as_image(smooth(5, (120, 120)), geobox_at(height=120, width=120))
    model = model_of(Mean(), size=32, halo=8)
    mask = np.zeros((120, 120), bool)
    mask[10:30, 70:110] = True
    mask[90, 3] = True
    whole = predict(image, model=model).class_id.values
    cut = predict(image, model=model, mask=mask).class_id.values
    assert (cut[mask] == whole[mask]).all()
    assert (cut[~mask] == 255).all()


def test_tiles_without_a_wanted_pixel_are_not_run():
    runs = []

    class Counting(Identity):
        def forward(self, pixels):
            runs.append(len(pixels))
            return super().forward(pixels)

    image = as_image(smooth(5, (320, 320)), geobox_at(height=320, width=320))
    mask = np.zeros((320, 320), bool)
    mask[5, 5] = True
    model = model_of(Counting(), size=32, halo=0)
    predict(image, model=model, mask=mask)
    runs.clear()  # making it ready may run it too
    predict(image, model=model, mask=mask)
    assert sum(runs) == 1


def test_each_chunk_of_a_lazy_image_is_computed_once():
    import dask.array as da

    seen: list[tuple] = []

    def source(block_info=None):
        seen.append(tuple(block_info[None]["chunk-location"]))
        return np.full(block_info[None]["chunk-shape"], 0.2, np.float32)

    geobox = geobox_at(height=200, width=200)
    pixels = da.map_blocks(
        source, chunks=((4,), (50,) * 4, (50,) * 4), dtype=np.float32, meta=np.empty((0, 0, 0), "f4")
    )
    image = as_image(np.zeros((4, 200, 200)), geobox).copy(data=pixels)
    predict(image, model=model_of(Mean(), size=32, halo=8))
    assert sorted(seen) == sorted(set(seen))
    assert len(seen) == 16


def test_bands_in_the_wrong_order_are_refused():
    image = as_image(
        smooth(0, (20, 20)), geobox_at(height=20, width=20), bands=("red", "green", "nir", "swir16")
    )
    with pytest.raises(ModelError, match=r"takes bands green, red, nir, swir16; the image has red, green"):
        predict(image, model=create_model("spectral-rules"))


def test_a_network_with_the_wrong_number_of_layers_is_refused():
    class Short(nn.Module):
        def forward(self, pixels):
            return pixels[:, :2]

    image = as_image(smooth(0, (20, 20)), geobox_at(height=20, width=20))
    with pytest.raises(ModelError, match=r"gave logits of shape \(1, 2, \d+, \d+\), its card promises"):
        predict(image, model=model_of(Short(), size=32, halo=8))


def test_memory_does_not_grow_with_the_height():
    """The blender holds one row of tiles, whatever the number of rows."""
    from geoseg.inference.blend import RowBlender

    window = Window(0, 0, 64, 64 * 200)
    plan = TilePlan(geobox_at(height=64 * 200, width=64), 32, 8)
    blender = RowBlender(window, n_layers=2, size=32, halo=8)
    largest = 0
    for tiles in plan.rows(window):
        blender.feed(tiles, iter([np.ones((2, 32, 32), np.float32)] * len(tiles)))
        largest = max(largest, blender._room.nbytes)
    assert largest <= 2 * 64 * 32 * 4


def test_memory_of_a_lazy_image_is_that_of_its_strips():
    """Nothing is held of an image that is read piece by piece but some rows, and the result."""
    _peak_bytes(256)  # the first one imports
    low, high = _peak_bytes(2048), _peak_bytes(8192)
    result = 64 * (8192 - 2048) * 3  # class, confidence, mask
    chunk = 4 * 4 * 256 * 64  # the reader may be one ahead or not
    assert high - low < result + chunk + 200_000  # the image is 6,291,456


def _peak_bytes(height: int) -> int:
    import dask.array as da

    grid = geobox_at(height=height, width=64)
    values = da.full((4, height, 64), 0.2, chunks=(4, 256, 64), dtype=np.float32)
    image = as_image(np.zeros((4, height, 64)), grid).copy(data=values)
    tracemalloc.start()
    predict(image, model=model_of(Mean(), size=32, halo=8))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 64),
    st.integers(0, 64),
    st.integers(0, 64),
    st.integers(0, 64),
    st.sampled_from([1, 8, 32]),
)
def test_the_part_of_a_tile_that_is_run_holds_all_that_is_known(
    top: int, bottom: int, left: int, right: int, multiple: int
) -> None:
    pixels = np.full((3, 64, 64), np.nan, np.float32)
    pixels[:, top:bottom, left:right] = 1
    pixels[0] = 2  # what lacks a band is not known
    rows, cols = runner.known_part(pixels, multiple)
    for span, low, high in ((rows, top, bottom), (cols, left, right)):
        assert span.start % multiple == 0
        assert span.stop % multiple == 0
        assert 0 <= span.start < span.stop <= 64
        if top < bottom and left < right:
            assert span.start <= low < span.start + multiple
            assert span.stop - multiple < high <= span.stop


def test_rims_without_pixels_are_not_run() -> None:
    model, box = network(), geobox_at(height=100, width=200)
    pixels = smooth(3, (100, 200))
    pixels[:, :, 150:] = np.nan
    plan = TilePlan(box, 64, 16)
    cut, whole = (predict(as_image(p, box), model=model, plan=plan) for p in (pixels, smooth(3, (100, 200))))
    assert cut.attrs["n_pixels_run"] < whole.attrs["n_pixels_run"]
    assert (cut.class_id.to_numpy()[:, 150:] == 255).all()
    assert (cut.class_id.to_numpy()[:, :150] != 255).all()
    far = np.s_[:, :64]  # tiles there see nothing of the rim
    np.testing.assert_array_equal(cut.class_id.to_numpy()[far], whole.class_id.to_numpy()[far])


@given(st.integers(1, 9), st.integers(1, 50), st.integers(0, 2**32 - 1))
def test_the_largest_is_that_of_argmax(n_classes: int, n: int, seed: int) -> None:
    probs = np.random.default_rng(seed).integers(0, 4, (n_classes, n)).astype(np.float32)
    np.testing.assert_array_equal(predictor._largest(probs), probs.argmax(axis=0))


def test_a_network_is_made_ready_once_and_a_few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = []

    def prepare(name: str, model: Model, work: object) -> nn.Module:
        prepared.append(model)
        return model.module

    monkeypatch.setattr(runner, "prepare", prepare)
    models = [model_of(Identity(), size=32, halo=8) for _ in range(6)]
    for model in (models[0], models[0], *models, models[5]):
        runner.Runner(model, Inference(), size=32)
    assert prepared == models
    runner.Runner(models[5], Inference(precision="bf16"), size=32)
    assert len(prepared) == 7
    assert len(runner._ready.last) == 4


def test_entropy_does_not_depend_on_what_is_known_elsewhere():
    """Eight classes are added in one order, whether another pixel of its rows is nodata or not."""
    names = ["class_id", "confidence", "entropy"]
    model = network("unet")
    colours = {f"c{n}": f"{n:06X}" for n in range(8)}
    model = replace(model, card=model.card.model_copy(update={"legend": Legend.of(**colours)}))
    probs = np.random.default_rng(0).dirichlet([1] * 8, 1 << 21).T.reshape(8, 1024, 2048)
    probs = probs.astype(np.float32, order="C")
    known = np.ones((1024, 2048), bool)
    known[0, 0] = False
    all_known, but_one = (_classified(probs, k, model, names) for k in (np.ones_like(known), known))
    for name in names:
        assert (all_known[name] == but_one[name])[known].all()
