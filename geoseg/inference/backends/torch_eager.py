"""torch layer by layer, with batch norms folded into convolutions."""

import copy
from collections.abc import Callable

import torch
from torch import nn

from geoseg.inference.backends import EAGER, Network, Work, register_backend
from geoseg.models.folding import folded
from geoseg.models.zoo import Model


@register_backend(EAGER, why_not=lambda _: None, precisions=("float32", "bf16"), prepare_s=0)
def torch_eager(model: Model, work: Work) -> Network:
    """Folded weights, in ``channels_last``."""
    return in_precision(module_for(model, work), work)


def in_precision(module: Callable[..., torch.Tensor], work: Work) -> Network:
    """What is called in the precision of the work, for float32 logits.

    On the CPU bf16 casts pixels, beside the weights of :func:`module_for`, but not the logits of members. On
    a GPU it is autocast, which leaves norms and softmax in float32; its cache holds no weights that need no
    gradient, and none belongs into a CUDA graph.
    """
    if work.precision == "float32":
        return module
    if work.device.type == "cpu":
        return lambda batch: module(batch.bfloat16()).float()

    def run(batch: torch.Tensor) -> torch.Tensor:
        with torch.autocast(work.device.type, torch.bfloat16, cache_enabled=False):
            return module(batch).float()

    return run


def module_for(model: Model, work: Work) -> nn.Module:
    """The folded network on its device, its weights in bf16 only on the CPU; the model keeps its own."""
    module = folded(model)
    dtype = torch.bfloat16 if (work.precision, work.device.type) == ("bf16", "cpu") else torch.float32
    if dtype == torch.float32 and all(p.device == work.device for p in module.parameters()):
        return module
    module = copy.deepcopy(module) if module is model.module else module
    return module.to(work.device, dtype)
