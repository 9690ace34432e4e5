"""What runs a network: torch as it is or compiled, OpenVINO, ONNX Runtime, TensorRT. One file each."""

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Final, Literal, Protocol, get_args

import torch

from geoseg.errors import RecipeError
from geoseg.inference.device import on
from geoseg.memory import give_back
from geoseg.models.int8 import Int8
from geoseg.models.zoo import Model
from geoseg.registry import Registry

Precision = Literal["float32", "bf16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
CPU = torch.device("cpu")
EAGER = "torch-eager"
AUTO: Final = "auto"
"""What ``--backend`` and ``--precision`` take for: whichever is fastest."""


class Network(Protocol):
    """A network that is ready to run, by one thread at a time."""

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Logits (n, class, y, x) float32 on the device of ``batch``.

        Args:
            batch: (n, band, size, size) float32 as :func:`geoseg.models.zoo.ready` gives it, ``n`` at most
                the batch size that it was prepared for. Is not changed.
        """
        ...


@dataclass(frozen=True)
class Work:
    """What a network is prepared for."""

    size: int
    """Side of its tiles, pixels."""
    batch_size: int = 1
    """Tiles at a time, at most."""
    device: torch.device = CPU
    precision: Precision = "float32"
    threads: int | None = None
    """On the CPU; None for as many as torch has."""
    int8: Int8 | None = None
    """Ranges of the layers, which ``int8`` needs."""

    @property
    def n_threads(self) -> int:
        """Threads that a runtime is given."""
        return self.threads or torch.get_num_threads()

    def text(self, name: str) -> str:
        """For people: ``openvino float32``."""
        return f"{name} {self.precision}"


Prepare = Callable[[Model, Work], Network]


@dataclass(frozen=True)
class Backend:
    """A way to run networks."""

    prepare: Prepare
    """Makes a network ready; the model is not changed. Raises ModelError where it cannot run this one."""
    why_not: Callable[[torch.device], str | None]
    """Why it cannot run on that device here, with what to install; None where it can."""
    precisions: tuple[Precision, ...]
    """Those that it has."""
    prepare_s: float
    """About how long preparing takes, seconds: it is not tried for less work than that."""
    not_worth: tuple[str, ...] = ()
    """Kinds of devices, as ``cpu``, on which ``auto`` does not try it."""


def _import_backends() -> None:
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")


BACKENDS: Registry[Backend] = Registry("backend", RecipeError, fill=_import_backends)
"""By the name that ``--backend`` takes."""


def register_backend(
    name: str,
    *,
    why_not: Callable[[torch.device], str | None],
    precisions: tuple[Precision, ...],
    prepare_s: float,
    not_worth: tuple[str, ...] = (),
) -> Callable[[Prepare], Prepare]:
    """File what prepares networks under ``name``; see :class:`Backend` for the rest."""

    def add(prepare: Prepare) -> Prepare:
        BACKENDS.register(name)(Backend(prepare, why_not, precisions, prepare_s, not_worth))
        return prepare

    return add


def why_not(name: str, work: Work) -> str | None:
    """Why a backend cannot do that work here, as the end of a sentence; None where it can.

    Raises:
        RecipeError: there is no such backend.
    """
    backend = BACKENDS[name]
    if work.precision not in backend.precisions:
        return f"has no {work.precision}, only {' and '.join(backend.precisions)}"
    if work.precision == "int8" and work.int8 is None:
        return "int8 needs ranges: train with fit.int8, or give tiles to observe them on"
    if work.precision == "bf16" and not has_bf16(work.device):
        return (
            "bf16 is not to be had: this processor has no instructions for it, and takes minutes for a tile"
            if work.device.type == "cpu"
            else "bf16 is not to be had: GPUs before Ampere (2020) have no instructions for it"
        )
    return backend.why_not(work.device)


def has_bf16(device: torch.device = CPU) -> bool:
    """Whether the device computes in bf16 (processors: AVX-512 BF16 or AMX); others imitate it, slowly."""
    if device.type == "cuda":
        with on(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def prepare(name: str, model: Model, work: Work) -> Network:
    """The model as a network that the backend runs.

    Raises:
        RecipeError: there is no such backend, or it cannot do that work here.
        ModelError: it cannot run this network.
    """
    reason = why_not(name, work)
    if reason is not None:
        raise RecipeError(f"--backend {name} {reason}.")
    with on(work.device), torch.inference_mode(False), torch.no_grad():  # else weights could not be traced
        network = BACKENDS[name].prepare(model, work)
    give_back()
    return network


def missing_package(package: str, extra: str) -> str | None:
    """What to type for a package that is not here."""
    return None if find_spec(package) else f"needs {package}: pip install 'geoseg[{extra}]'"


def full_batch(batch: torch.Tensor, n: int) -> torch.Tensor:
    """As many tiles as a graph of fixed size takes; what is missing repeats the last one."""
    return batch if len(batch) == n else torch.cat([batch, batch[-1:].expand(n - len(batch), -1, -1, -1)])
