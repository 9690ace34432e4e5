"""Engines of TensorRT for the GPU that is here. Written after the documentation of 10.x, not yet run."""

from collections.abc import Callable
from typing import Any

import torch

from geoseg.errors import ModelError
from geoseg.models.graphs import INPUT


def engine_of(graph: bytes, *, is_bf16: bool) -> Any:
    """A serialised engine of an ONNX graph of fixed sizes.

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
    config.clear_flag(trt.BuilderFlag.TF32)  # float32 is float32
    if is_bf16:
        config.set_flag(trt.BuilderFlag.BF16)
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise ModelError("TensorRT cannot build an engine of the network. Give --backend torch-eager.")
    return built


def runner_of(engine: Any, output: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """What runs a serialised engine: (n, band, size, size) on the GPU, of the size that it was built for."""
    import tensorrt as trt

    # The runtime and the engine must live as long as the context.
    runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
    loaded = runtime.deserialize_cuda_engine(engine)
    context = loaded.create_execution_context()
    shape = tuple(loaded.get_tensor_shape(output))

    def run(pixels: torch.Tensor) -> torch.Tensor:
        pixels = pixels.contiguous()
        found = torch.empty(shape, dtype=torch.float32, device=pixels.device)
        context.set_tensor_address(INPUT, pixels.data_ptr())
        context.set_tensor_address(output, found.data_ptr())
        stream = torch.cuda.current_stream(pixels.device)
        if not context.execute_async_v3(stream.cuda_stream):
            raise ModelError("TensorRT failed to run the network. Give --backend torch-eager.")
        pixels.record_stream(stream)  # its memory is not given away before the engine has read it
        return found

    return run
