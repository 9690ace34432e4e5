"""torch.compile: layers fused and weights frozen, by a C++ compiler, or Triton and a CUDA graph."""

import shutil

import torch

from geoseg.errors import ModelError
from geoseg.inference.backends import Network, Work, full_batch, register_backend
from geoseg.inference.backends.torch_eager import in_precision, module_for
from geoseg.inference.device import graphed
from geoseg.models.onnx_network import OnnxNetwork
from geoseg.models.zoo import Model


def _why_not(device: torch.device) -> str | None:
    if device.type == "cpu" and not any(shutil.which(c) for c in ("g++", "clang++", "c++")):
        return "needs a C++ compiler: apt install g++"
    return None


@register_backend(
    "torch-compiled",
    why_not=_why_not,
    precisions=("float32", "bf16"),
    prepare_s=40,
    not_worth=("cpu",),  # no faster than OpenVINO, a minute of C++, and 150 MB that stay
)
def torch_compiled(model: Model, work: Work) -> Network:
    """Compiled for one size of tile and batch: by the first call on the CPU, here on a GPU."""
    if any(isinstance(part, OnnxNetwork) for part in model.module.modules()):
        raise ModelError("An imported model is run by onnxruntime as it is.")
    module = module_for(model, work)
    compiled = in_precision(torch.compile(module, dynamic=False, options={"freezing": True}), work)

    def run(batch: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():  # freezing asks for it
            return compiled(batch).float()

    if work.device.type != "cuda":
        return run
    shape = work.batch_size, len(model.card.bands), work.size, work.size
    own = torch.zeros(shape, device=work.device).contiguous(memory_format=torch.channels_last)
    replay = graphed(run, own)
    return lambda batch: replay(full_batch(batch, work.batch_size))[: len(batch)]
