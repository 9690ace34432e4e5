"""Devices: which there are, copies beside the network, and batches that do not fit. GPUs are played by fakes."""

from contextlib import contextmanager
from itertools import count

import numpy as np
import pytest
import torch
from builders import BANDS, as_image, geobox_at, network, smooth
from torch import nn

from geoseg.errors import GeosegWarning, ModelError, RecipeError
from geoseg.inference import device, runner
from geoseg.inference.backends import CPU, Work, prepare, why_not
from geoseg.inference.backends.choosing import choose
from geoseg.inference.device import Copies, ahead, device_of, devices_of
from geoseg.inference.predictor import predict
from geoseg.inference.runner import Inference
from geoseg.legend import Legend
from geoseg.models.card import ModelCard
from geoseg.models.zoo import Model

SIZE = 32
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")


def model_of(module: nn.Module) -> Model:
    """Three classes; its tiles are run whole."""
    card = ModelCard(
        name="played",
        title="A test",
        family="none",
        bands=BANDS,
        gsd_m=10,
        gsd_range_m=(1, 100),
        tile_size=SIZE,
        tile_multiple=SIZE,
        halo=8,
        legend=Legend.of(a="000000", b="111111", c="222222"),
        license="Apache-2.0",
    )
    return Model(module, card)


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)


@pytest.fixture(autouse=True)
def nothing_known_to_be_too_large(monkeypatch):
    monkeypatch.setattr(device, "_AT_MOST", {})


@pytest.fixture
def batched(monkeypatch):
    """Batches on the CPU too."""
    monkeypatch.setattr(runner, "n_at_a_time", lambda device, batch_size: batch_size)


# --- which device ---------------------------------------------------------------------------------


def test_a_device_has_a_number(two_gpus):
    assert device_of("auto") == device_of("cuda") == torch.device("cuda", 0)
    assert device_of("cuda:1") == torch.device("cuda", 1)
    assert device_of("cpu") == CPU


def test_blocks_are_shared_among_all_gpus_or_have_the_one_named(two_gpus):
    assert devices_of("auto") == devices_of("cuda") == ["cuda:0", "cuda:1"]
    assert devices_of("cuda:1") == ["cuda:1"]
    assert devices_of("cpu") == ["cpu"]


@pytest.mark.parametrize(
    ("name", "n_gpus", "said"),
    [
        ("cuda:2", 2, "torch finds 2 GPUs here, counted from cuda:0. Give cuda:1 or auto"),
        ("cuda", 0, "torch finds no GPU here. Give cpu or auto"),
        ("gpu", 2, "is not a device. Give cpu, cuda, cuda:1 or auto"),
    ],
)
def test_a_device_that_is_not_there_is_refused(monkeypatch, name, n_gpus, said):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_gpus)
    with pytest.raises(RecipeError, match=f"--device {name}:? {said}"):
        device_of(name)


def test_without_a_gpu_auto_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert device_of("auto") == CPU
    assert devices_of("auto") == ["auto"]


def test_a_gpu_without_instructions_for_bf16_is_refused_it(two_gpus, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device", lambda _: contextmanager(lambda: (yield))())
    for is_able in (False, True):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, able=is_able: able)
        reason = why_not("torch-eager", Work(32, device=torch.device("cuda", 1), precision="bf16"))
        assert (reason is None) is is_able
    assert why_not("torch-eager", Work(32, device=torch.device("cuda", 1))) is None


def test_on_a_gpu_float32_is_not_rounded(two_gpus, monkeypatch):
    entered = []
    monkeypatch.setattr(torch.cuda, "device", entered.append)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    device.on(CPU)
    assert torch.backends.cudnn.allow_tf32
    device.on(torch.device("cuda", 1))
    assert entered == [torch.device("cuda", 1)]
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


# --- copies beside the network --------------------------------------------------------------------


class Streams:
    """Stands in for ``torch.cuda``: notes what is asked of streams in order, and holds results back.

    A copy to the host fills in its values only when its event is waited for: who reads earlier sees zeros.
    """

    def __init__(self):
        self.log, names, self._numbers = [], iter(("there", "back")), count()
        self.Stream = lambda _: Stream(self, next(names))
        self._current, self._network = None, Stream(self, "network")

    def current_stream(self, _):
        return self._current or self._network

    @contextmanager
    def stream(self, stream):
        self._current = stream
        self.log.append(f"use {stream.name}")
        yield
        self._current = None


class Stream:
    def __init__(self, cuda, name):
        self._cuda, self.name = cuda, name

    def wait_stream(self, other):
        self._cuda.log.append(f"{self.name} waits for {other.name}")

    def record_event(self):
        return Event(self._cuda, next(self._cuda._numbers))


class Event:
    def __init__(self, cuda, number):
        self._cuda, self._number = cuda, number
        cuda.log.append(f"event {number} on {cuda.current_stream(None).name}")

    def synchronize(self):
        self._cuda.log.append(f"host waits for event {self._number}")


class Noting(nn.Module):
    """The mean over bands as every class but the first; says when it is called."""

    def __init__(self, log):
        super().__init__()
        self._log = log

    def forward(self, pixels):
        self._log.append("network")
        return torch.cat([pixels[:, :1], pixels.mean(1, keepdim=True).expand(-1, 2, -1, -1)], 1)


def test_streams_wait_for_each_other_and_the_host_only_for_the_event():
    cuda = Streams()
    copies = Copies(CPU, cuda)
    batch = copies.to_device([np.full((2, 3, 3), n, np.float32) for n in range(2)])
    wait = copies.to_host(batch + 1, batch)
    assert cuda.log == [
        "use there",
        "network waits for there",
        "back waits for network",
        "use back",
        "event 0 on back",
    ]
    found = wait()
    assert cuda.log[5:] == ["host waits for event 0"]
    assert found.shape == (2, 2, 3, 3)
    assert (found[0] == 1).all()
    assert (found[1] == 2).all()


def test_what_streams_read_is_kept_until_they_have_read_it():
    """As long as another stream may read them, or their memory would be given to the next batch."""
    import weakref

    copies = Copies(CPU, Streams())
    batch = copies.to_device([np.zeros((1, 2, 2), np.float32)])
    layers = batch + 1
    gone = [weakref.ref(batch), weakref.ref(layers)]
    wait = copies.to_host(layers, batch)
    del batch, layers
    assert all(ref() is not None for ref in gone)
    wait()
    assert all(ref() is None for ref in gone)


def test_on_the_cpu_nothing_is_copied():
    copies = Copies(CPU)
    batch = copies.to_device([np.zeros((1, 2, 2), np.float32)])
    assert copies.n_ahead == 0
    assert copies.to_host(batch, batch)().ctypes.data == batch.data_ptr()


def test_items_come_after_those_that_follow_have_been_asked_for():
    asked = []

    def items():
        for n in range(4):
            asked.append(n)
            yield n

    seen = [(n, list(asked)) for n in ahead(items(), 1)]
    assert seen == [(0, [0, 1]), (1, [0, 1, 2]), (2, [0, 1, 2, 3]), (3, [0, 1, 2, 3])]
    assert list(ahead(iter(()), 1)) == []


def test_a_batch_is_in_the_network_before_the_one_before_is_waited_for(monkeypatch, batched):
    cuda = Streams()
    monkeypatch.setattr(runner, "Copies", lambda on: Copies(on, cuda))
    model = model_of(Noting(cuda.log))
    image = as_image(smooth(2, (70, 70)), geobox_at(height=70, width=70))
    predict(image, model=model, how=Inference(batch_size=4))
    order = [line for line in cuda.log if line == "network" or line.startswith("host waits")]
    n_batches = order.count("network")
    assert n_batches > 4
    expected = ["network"]
    for n in range(n_batches - 1):
        expected += ["network", f"host waits for event {n}"]
    assert order == [*expected, f"host waits for event {n_batches - 1}"]


@pytest.mark.parametrize("chunks", [None, 17, 64])
@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_reading_ahead_does_not_show(monkeypatch, batched, chunks, batch_size):
    """Tiles of the next rows are taken while rows are unfinished, across a hole in what is wanted, and none of
    it reads a row that is gone."""
    pixels = smooth(3, (150, 110))
    pixels[:, 40:60, 30:90] = np.nan
    image = as_image(pixels, geobox_at(3, 5, height=150, width=110))
    mask = np.ones((150, 110), bool)
    mask[20:90, 40:], mask[100:140] = False, False
    model = model_of(Noting([]))
    alone = predict(image, model=model, mask=mask)
    monkeypatch.setattr(runner, "Copies", lambda on: Copies(on, Streams()))
    source = image if chunks is None else image.chunk({"y": chunks})
    found = predict(source, model=model, mask=mask, how=Inference(batch_size=batch_size))
    assert ((alone.class_id.values != 255) == (mask & np.isfinite(pixels).all(0))).all()
    for layer in ("class_id", "confidence"):
        assert found[layer].values.tobytes() == alone[layer].values.tobytes()


# --- batches that do not fit ----------------------------------------------------------------------


class Small(nn.Module):
    """A network on a device with memory for ``fits`` tiles at a time; notes the batches it was given."""

    def __init__(self, fits):
        super().__init__()
        self.fits, self.given = fits, []

    def forward(self, pixels):
        self.given.append(len(pixels))
        if len(pixels) > self.fits and pixels.any():  # folding asks copies about zeros
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return pixels[:, :3]


def an_image():
    return as_image(smooth(2, (70, 70)), geobox_at(height=70, width=70))


def test_a_batch_that_does_not_fit_is_halved_once_and_the_map_is_the_same(batched):
    fitting = predict(an_image(), model=model_of(Small(99)))
    module = Small(2)
    model = model_of(module)
    with pytest.warns(GeosegWarning, match="no memory for 8 tiles of 32 .* Lower --batch-size") as told:
        found = predict(an_image(), model=model, how=Inference(batch_size=8))
    assert sum(issubclass(one.category, GeosegWarning) for one in told) == 1
    assert module.given[:3] == [8, 4, 2]
    again = predict(an_image(), model=model, how=Inference(batch_size=8))  # a warning would be an error
    assert max(module.given[2:]) == 2, "what did not fit is not tried again, by the next block neither"
    for one in (found, again):
        assert one.confidence.values.tobytes() == fitting.confidence.values.tobytes()


def test_one_tile_that_does_not_fit_is_one_line(batched):
    module = Small(0)
    with (
        pytest.warns(GeosegWarning, match="no memory for 4 tiles"),
        pytest.raises(ModelError, match=r"no memory for one tile of 32 pixels.* Lower --tile-size") as told,
    ):
        predict(an_image(), model=model_of(module), how=Inference(batch_size=4))
    assert module.given == [4, 2, 1]
    assert "\n" not in str(told.value)


def test_a_network_of_fixed_batches_is_made_ready_for_smaller_ones(monkeypatch, batched):
    made = []

    def prepare(name, model, work):
        made.append(work.batch_size)
        if work.batch_size > 3:
            raise torch.OutOfMemoryError("no memory for the graph")
        return lambda batch: batch[:, :3]

    monkeypatch.setattr(runner, "prepare", prepare)
    with pytest.warns(GeosegWarning, match="no memory for 12 tiles"):
        predict(an_image(), model=model_of(nn.Identity()), how=Inference(batch_size=12))
    assert made == [12, 6, 3]
    assert [kept[2].batch_size for kept in runner._ready.last[:1]] == [3]


def test_the_fastest_is_measured_with_batches_that_fit():
    module = Small(2)
    model, tiles = model_of(module), [smooth(n, (32, 32)).astype(np.float32) for n in range(2)]
    with pytest.warns(GeosegWarning, match="no memory for 4 tiles"):
        choice = choose(model, tiles, Work(32, batch_size=4), n_tiles=100, names=[])
    assert choice.work.batch_size == 2
    assert max(module.given[-4:]) == 2


# --- CUDA graphs ----------------------------------------------------------------------------------


def test_a_graph_has_memory_of_its_own_and_answers_are_the_callers(monkeypatch):
    """A graph reads and writes the same memory at each replay; this one doubles what it was recorded on."""
    own, logits, calls = torch.zeros(2, 3), torch.zeros(2, 3), []

    class Graph:
        def replay(self):
            logits.copy_(own * 2)

    def network(pixels):
        assert pixels is own
        calls.append("network")
        return logits

    @contextmanager
    def recording(graph, **how):
        calls.append(how["capture_error_mode"])
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    for name, stand_in in (
        ("Stream", lambda: Stream(Streams(), "side")),
        ("current_stream", Streams()._network),
    ):
        monkeypatch.setattr(torch.cuda, name, stand_in if callable(stand_in) else lambda s=stand_in: s)
    monkeypatch.setattr(torch.cuda, "stream", Streams().stream)
    run = device.graphed(network, own)
    assert calls == ["network", "network", "thread_local", "network"]
    first = run(torch.full((2, 3), 1.0))
    second = run(torch.full((2, 3), 2.0))
    assert (first == 2).all()
    assert (second == 4).all()
    assert len(calls) == 4, "a replay calls nothing"


# --- on a GPU -------------------------------------------------------------------------------------


@needs_gpu
@pytest.mark.parametrize("backend", ["torch-eager", "torch-compiled"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_gpu_says_what_the_cpu_says(backend, precision):
    image = as_image(smooth(1, (300, 340)), geobox_at(3, 5, height=300, width=340))
    model, work = network(), Work(64, device=device_of("cuda"), precision=precision)
    if (reason := why_not(backend, work)) is not None:
        pytest.skip(reason)
    here = predict(image, model=model)
    how = Inference(batch_size=4, device="cuda", backend=backend, precision=precision)
    there = predict(image, model=model, how=how)
    least = {"float32": 0.999, "bf16": 0.97}[precision]
    if backend != "torch-eager":  # whole tiles: nodata beyond the border is another neighbour
        here, there = (one.isel(y=slice(64, -64), x=slice(64, -64)) for one in (here, there))
    assert (there.class_id == here.class_id).mean() >= least


@needs_gpu
@pytest.mark.parametrize("backend", ["torch-eager", "torch-compiled"])
def test_a_short_batch_and_a_later_one_leave_answers_alone_on_a_gpu(backend):
    model, gpu = network(), device_of("cuda")
    batch = torch.randn(6, len(model.card.bands), 64, 64, generator=torch.Generator().manual_seed(0))
    batch = batch.to(gpu).contiguous(memory_format=torch.channels_last)
    with device.on(gpu), torch.inference_mode():
        run = prepare(backend, model, Work(64, batch_size=4, device=gpu))
        four, two = run(batch[:4]), run(batch[4:])
        kept = four.clone()
        run(batch[2:6])
        assert torch.equal(four, kept)
        expected = model.module(batch.cpu())
    assert (torch.cat([four, two]).cpu() - expected).abs().max() < 1e-3


@needs_gpu
def test_copies_beside_the_network_do_not_show_on_a_gpu():
    """Thousands of small batches: memory that was given out too early would show."""
    image = as_image(smooth(4, (900, 900)), geobox_at(height=900, width=900))
    model = model_of(Noting([]))
    expected = predict(image, model=model)
    found = predict(image, model=model, how=Inference(batch_size=3, device="cuda"))
    assert found.confidence.values.tobytes() == expected.confidence.values.tobytes()
