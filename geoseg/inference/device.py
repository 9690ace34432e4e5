"""Where networks run: which devices there are, and copies to and from them beside the network.

What needs a GPU is written after torch's notes on CUDA semantics
(docs.pytorch.org/docs/stable/notes/cuda.html) and has not yet run on one.
"""

import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from geoseg.errors import GeosegWarning, ModelError, RecipeError

T = TypeVar("T")
_AT_MOST: dict[tuple[str, int, torch.device], int] = {}
"""By model, size of tiles and device: how many are tried at a time since more did not fit."""
_OWN_THREADS = torch.get_num_threads()
_CAPTURING = threading.Lock()
"""torch allows one capture of a CUDA graph at a time in a process."""


def device_of(name: str) -> torch.device:
    """The device called ``name``, with its number; ``auto`` is a GPU where there is one.

    Raises:
        RecipeError: there is no such device here.
    """
    n_gpus = torch.cuda.device_count()
    if name == "auto":
        name = "cuda" if n_gpus else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise RecipeError(f"--device {name} is not a device. Give cpu, cuda, cuda:1 or auto.") from None
    if device.type != "cuda":
        return device
    if not n_gpus:
        raise RecipeError(f"--device {name}: torch finds no GPU here. Give cpu or auto.")
    number = torch.cuda.current_device() if device.index is None else device.index
    if number >= n_gpus:
        raise RecipeError(
            f"--device {name}: torch finds {n_gpus} GPU{'s' * (n_gpus > 1)} here, counted from cuda:0. "
            f"Give cuda:{n_gpus - 1} or auto."
        )
    return torch.device("cuda", number)


def devices_of(name: str) -> list[str]:
    """The devices that share the blocks here: all GPUs for ``auto`` and ``cuda``, else the one named."""
    n_gpus = torch.cuda.device_count()
    return [f"cuda:{n}" for n in range(n_gpus)] if n_gpus and name in ("auto", "cuda") else [name]


def own_threads() -> int:
    """Threads on the CPU that this process began with, whatever a job has set since."""
    return _OWN_THREADS


def use_threads(n: int | None) -> None:
    """From now on torch has ``n`` threads on the CPU in this process; None for as many as it has.

    Its convolutions of single pixels, SiLU and bilinear upsampling cut their work into as many pieces, so
    that last bits depend on it.
    """
    if n is not None and n != torch.get_num_threads():
        torch.set_num_threads(n)


@contextmanager
def threads_kept() -> Iterator[int]:
    """The threads that torch has now, and again at the end."""
    before = torch.get_num_threads()
    try:
        yield before
    finally:
        use_threads(before)


def n_at_a_time(device: torch.device, batch_size: int) -> int:
    """Tiles in a batch on that device."""
    return 1 if device.type == "cpu" else batch_size


def at_most(batch_size: int, *, model: str, size: int, device: torch.device) -> int:
    """Tiles of ``size`` in a batch, as far as is known from :func:`halved`."""
    return min(batch_size, _AT_MOST.get((model, size, device), batch_size))


def halved(batch_size: int, *, model: str, size: int, device: torch.device) -> int:
    """Half as many tiles in a batch as the device had no memory for; a warning says so the first time.

    Raises:
        ModelError: it was one tile.
    """
    if batch_size == 1:
        raise ModelError(
            f"{model}: {device} has no memory for one tile of {size} pixels, and no batch is smaller. "
            "Lower --tile-size, or --workers where several share a GPU, or give --device cpu."
        )
    if (model, size, device) not in _AT_MOST:
        warnings.warn(
            f"{device} has no memory for {batch_size} tiles of {size} pixels at a time: batches are halved "
            "until they fit. Lower --batch-size to save the tries.",
            GeosegWarning,
            stacklevel=2,
        )
    _AT_MOST[model, size, device] = batch_size // 2
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what is kept in pieces of the old sizes
    return batch_size // 2


def on(device: torch.device) -> AbstractContextManager[Any]:
    """Within it the device is torch's current one, which kernels that are not torch's own run on.

    On a GPU float32 is float32 from then on, in the whole process: by default torch rounds what goes into
    convolutions to TF32, with 10 bits of mantissa.
    """
    if device.type != "cuda":
        return nullcontext()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return torch.cuda.device(device)


def ahead(items: Iterator[T], n: int) -> Iterator[T]:
    """The same items, each after the ``n`` that follow it have been asked for."""
    waiting: deque[T] = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > n:
            yield waiting.popleft()
    yield from waiting


class Copies:
    """Tiles to a device and layers back, each way on a stream of its own beside the network's.

    Without streams, as on the CPU, the same calls copy at once, or hand over what is there already.
    """

    def __init__(self, device: torch.device, cuda: Any = None) -> None:
        """``cuda`` gives streams: ``torch.cuda`` on a GPU, or what stands in for it in a test."""
        self._device = device
        self._cuda = torch.cuda if cuda is None and device.type == "cuda" else cuda
        self._is_pinned = device.type == "cuda"
        if self._cuda is not None:
            self._there, self._back = self._cuda.Stream(device), self._cuda.Stream(device)
        self.n_ahead = 0 if self._cuda is None else 1
        """Batches that are to be under way while another one's layers are waited for."""

    def to_device(self, tiles: Sequence[NDArray[np.float32]]) -> torch.Tensor:
        """(n, band, y, x) of tiles (band, y, x), for what the current stream does next.

        To be kept until the layers made of it are there: see :meth:`to_host`.
        """
        shape = (len(tiles), *tiles[0].shape)
        batch = torch.empty(shape, dtype=torch.float32, pin_memory=self._is_pinned)
        np.stack(tiles, out=batch.numpy())
        if self._cuda is None:
            return batch.to(self._device)
        with self._cuda.stream(self._there):
            # torch hands out pinned memory anew only when the copies from it are over (CachingHostAllocator).
            found = batch.to(self._device, non_blocking=True)
        self._cuda.current_stream(self._device).wait_stream(self._there)
        return found

    def to_host(self, layers: torch.Tensor, batch: torch.Tensor) -> Callable[[], NDArray[np.float32]]:
        """What waits for the layers that the current stream makes of ``batch``, and gives them, once."""
        if self._cuda is None:
            found = layers.cpu()
            return found.numpy
        self._back.wait_stream(self._cuda.current_stream(self._device))
        with self._cuda.stream(self._back):
            found = torch.empty(layers.shape, dtype=layers.dtype, pin_memory=self._is_pinned)
            found.copy_(layers, non_blocking=True)
            done = self._back.record_event()
        # Each was allocated on one stream and is read on another: memory that is let go may be given out on
        # its own stream before the other one has read it. Kept until then, neither needs record_stream.
        kept = [batch, layers]

        def wait() -> NDArray[np.float32]:
            done.synchronize()
            kept.clear()
            return found.numpy()

        return wait


def graphed(network: Callable[[torch.Tensor], torch.Tensor], batch: torch.Tensor) -> Callable[..., Any]:
    """The network's kernels recorded as a CUDA graph: one launch for every batch of that shape and layout.

    A graph of its own, since those of ``torch.compile(mode="reduce-overhead")`` belong to the thread that
    made the first one (pytorch/pytorch#123177), and blocks run in several.

    Args:
        network: on the current device.
        batch: (n, band, y, x); the graph reads from its memory, so nobody else may use it.
    """
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    graph = torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with _CAPTURING:
        with torch.cuda.stream(stream):
            for _ in range(2):  # compiles, and has libraries make their workspaces for this stream
                network(batch)
        # Other threads go on allocating, which the strictest mode would take for a mistake of this one.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            logits = network(batch)

    def run(pixels: torch.Tensor) -> torch.Tensor:
        batch.copy_(pixels)
        graph.replay()
        return logits.clone()  # the next replay writes over them

    return run
