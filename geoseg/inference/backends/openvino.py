"""OpenVINO on the CPU, from the ONNX graph."""

import numpy as np
import torch

from geoseg.errors import ModelError, one_line
from geoseg.inference.backends import Network, Work, full_batch, missing_package, register_backend
from geoseg.inference.backends.onnxruntime import graph_of
from geoseg.models.openvino_runtime import openvino as runtime
from geoseg.models.zoo import Model

_HINTS = {"float32": "f32", "bf16": "bf16", "int8": "f32"}
"""Of what is not quantised; unset, processors with bf16 would use it unasked."""


def _why_not(device: torch.device) -> str | None:
    if device.type != "cpu":
        return "runs on the CPU here: give --device cpu"
    return missing_package("openvino", "openvino")


@register_backend("openvino", why_not=_why_not, precisions=("float32", "bf16", "int8"), prepare_s=8)
def openvino(model: Model, work: Work) -> Network:
    """A graph of one size of tile and batch, compiled for this processor."""
    ov = runtime()
    core = ov.Core()
    hints = {
        "INFERENCE_PRECISION_HINT": _HINTS[work.precision],
        "INFERENCE_NUM_THREADS": work.n_threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # other processes of a run share the cores
    }
    try:
        graph = core.read_model(graph_of(model, work, batch_size=work.batch_size), b"")
        request = core.compile_model(graph, "CPU", hints).create_infer_request()
    except RuntimeError as error:
        raise ModelError(f"OpenVINO cannot run the network: {one_line(error)[:300]}.") from None

    def run(batch: torch.Tensor) -> torch.Tensor:
        pixels = np.ascontiguousarray(full_batch(batch, work.batch_size).numpy())
        found = request.infer([pixels], share_inputs=True)[0]  # a copy: requests reuse their memory
        return torch.from_numpy(found[: len(batch)])

    return run
