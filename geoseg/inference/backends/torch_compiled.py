"""torch.compile: layers fused and weights frozen, by a C++ compiler or Triton."""

import shutil

import torch

from geoseg.errors import ModelError
from geoseg.inference.backends import Network, Work, register_backend
from geoseg.inference.backends.torch_eager import module_for
from geoseg.models.onnx_network import OnnxNetwork
from geoseg.models.zoo import Model


def _why_not(device: torch.device) -> str | None:
    if device.type == "cpu" and not any(shutil.which(c) for c in ("g++", "clang++", "c++")):
        return "needs a C++ compiler: apt install g++"
    return None


@register_backend("torch-compiled", why_not=_why_not, precisions=("float32", "bf16"), prepare_s=40)
def torch_compiled(model: Model, work: Work) -> Network:
    """Compiled for one size of tile and batch. The first call compiles."""
    if any(isinstance(part, OnnxNetwork) for part in model.module.modules()):
        raise ModelError("An imported model is run by onnxruntime as it is.")
    module = module_for(model, work)
    compiled = torch.compile(module, dynamic=False, options={"freezing": True})

    def run(batch: torch.Tensor) -> torch.Tensor:
        if work.precision == "bf16":
            batch = batch.bfloat16()
        with torch.no_grad():  # freezing asks for it
            found: torch.Tensor = compiled(batch)
        return found.float()

    return run
