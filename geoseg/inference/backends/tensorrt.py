"""TensorRT on NVIDIA GPUs, from the ONNX graph. Not yet run on a GPU."""

import torch

from geoseg.inference.backends import Network, Work, full_batch, missing_package, register_backend
from geoseg.inference.backends.onnxruntime import graph_of
from geoseg.models.engines import engine_of, runner_of
from geoseg.models.graphs import OUTPUT
from geoseg.models.zoo import Model


def _why_not(device: torch.device) -> str | None:
    if device.type != "cuda":
        return "needs an NVIDIA GPU: give --device cuda where there is one"
    return missing_package("tensorrt", "tensorrt")


@register_backend("tensorrt", why_not=_why_not, precisions=("float32", "bf16", "int8"), prepare_s=60)
def tensorrt(model: Model, work: Work) -> Network:
    """An engine for one size of tile and batch on this GPU."""
    graph = graph_of(model, work, batch_size=work.batch_size)
    run = runner_of(engine_of(graph, is_bf16=work.precision == "bf16"), OUTPUT)
    return lambda batch: run(full_batch(batch, work.batch_size))[: len(batch)]
