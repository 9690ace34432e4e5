"""TensorRT on NVIDIA GPUs, from the ONNX graph. Written after the documentation of 10.x, not yet run."""

from typing import Any

import torch

from geoseg.errors import ModelError
from geoseg.inference.backends import Network, Work, full_batch, missing_package, register_backend
from geoseg.inference.backends.onnxruntime import graph_of
from geoseg.models.graphs import INPUT, OUTPUT
from geoseg.models.zoo import Model


def _why_not(device: torch.device) -> str | None:
    if device.type != "cuda":
        return "needs an NVIDIA GPU: give --device cuda where there is one"
    return missing_package("tensorrt", "tensorrt")


@register_backend("tensorrt", why_not=_why_not, precisions=("float32", "bf16", "int8"), prepare_s=60)
def tensorrt(model: Model, work: Work) -> Network:
    """An engine for one size of tile and batch on this GPU."""
    import tensorrt as trt

    contents = engine_of(graph_of(model, work, batch_size=work.batch_size), is_bf16=work.precision == "bf16")
    engine = trt.Runtime(trt.Logger(trt.Logger.WARNING)).deserialize_cuda_engine(contents)
    context = engine.create_execution_context()
    n_classes = len(model.card.legend.classes)

    def run(batch: torch.Tensor) -> torch.Tensor:
        pixels = full_batch(batch, work.batch_size).contiguous()
        shape = (work.batch_size, n_classes, work.size, work.size)
        logits = torch.empty(shape, dtype=torch.float32, device=batch.device)
        context.set_tensor_address(INPUT, pixels.data_ptr())
        context.set_tensor_address(OUTPUT, logits.data_ptr())
        stream = torch.cuda.current_stream(batch.device)
        if not context.execute_async_v3(stream.cuda_stream):
            raise ModelError("TensorRT failed to run the network. Give --backend torch-eager.")
        pixels.record_stream(stream)  # its memory is not given away before the engine has read it
        return logits[: len(batch)]

    return run


def engine_of(graph: bytes, *, is_bf16: bool) -> Any:
    """A serialised engine of an ONNX graph for the GPU that is here.

    Raises:
        ModelError: TensorRT cannot build one.
    """
    import tensorrt as trt

    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph):
        raise ModelError(f"TensorRT cannot read the network: {parser.get_error(0).desc()}.")
    config = builder.create_builder_config()
    if is_bf16:
        config.set_flag(trt.BuilderFlag.BF16)
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise ModelError("TensorRT cannot build an engine of the network. Give --backend torch-eager.")
    return built
