"""ONNX Runtime: on the CPU in float32 or int8, on a GPU in float32."""

import io
from typing import Any

import numpy as np
import torch

from geoseg.errors import ModelError, one_line
from geoseg.inference.backends import CPU, Network, Work, missing_package, register_backend
from geoseg.inference.backends.torch_eager import module_for
from geoseg.models.graphs import INPUT, OUTPUT, write_graph
from geoseg.models.int8_network import RUNTIME_OPTIONS, rounded
from geoseg.models.onnx_network import PROVIDERS, providers_for
from geoseg.models.zoo import Model


def _why_not(device: torch.device) -> str | None:
    if (missing := missing_package("onnxruntime", "onnx")) is not None:
        return missing
    import onnxruntime

    if PROVIDERS.get(device.type) not in onnxruntime.get_available_providers():
        return f"has no {device.type} in the onnxruntime that is installed: pip install onnxruntime-gpu"
    return None


@register_backend("onnxruntime", why_not=_why_not, precisions=("float32", "int8"), prepare_s=5)
def onnxruntime_(model: Model, work: Work) -> Network:
    """A graph of one size of tile, for any batch."""
    contents = graph_of(model, work)
    session = session_of(contents, n_threads=work.n_threads, device=work.device)

    def run(batch: torch.Tensor) -> torch.Tensor:
        (logits,) = session.run([OUTPUT], {INPUT: np.ascontiguousarray(batch.cpu().numpy())})
        return torch.from_numpy(logits).to(batch.device)

    return run


def graph_of(model: Model, work: Work, *, batch_size: int | None = None) -> bytes:
    """The ONNX graph of the model for that work.

    Raises:
        ModelError: the network cannot be written as ONNX, or the ranges are not its own.
    """
    memory, on_cpu = io.BytesIO(), Work(work.size)
    module = rounded(model, work.int8) if work.precision == "int8" and work.int8 else None
    write_graph(
        module or module_for(model, on_cpu),
        memory,
        n_bands=len(model.card.bands),
        size=work.size,
        batch_size=batch_size,
    )
    return memory.getvalue()


def session_of(contents: bytes, *, n_threads: int, device: torch.device = CPU) -> Any:
    """A session of ONNX Runtime.

    Raises:
        ModelError: it cannot read the graph.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False  # it grows by doubling, and never gives back: 430 MB of 1,890
    for key, value in RUNTIME_OPTIONS.items():
        options.add_session_config_entry(key, value)
    try:
        session = onnxruntime.InferenceSession(contents, options, providers=providers_for(device)[:1])
        session._model_bytes = (
            None  # kept for other providers, which nobody asks for: as large as the weights
        )
        return session
    except Exception as error:  # its errors share no class but RuntimeError's parents
        raise ModelError(f"onnxruntime cannot run the network: {one_line(error)[:300]}.") from None
